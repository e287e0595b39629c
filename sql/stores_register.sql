-- Purpose: register_store and unregister_store: foreign names, what is missing, warnings, errors.
\set VERBOSITY sqlstate
-- Tables of another application, with names and types of its own making, columns in another order.
CREATE SCHEMA app;
CREATE TABLE app."Papers" (title text, shard smallint NOT NULL, number bigint NOT NULL, UNIQUE (shard, number)) PARTITION BY LIST (shard);
CREATE TABLE app."Papers 0" PARTITION OF app."Papers" FOR VALUES IN (0);
CREATE TABLE app."Papers 1" PARTITION OF app."Papers" FOR VALUES IN (1);
CREATE TABLE app."Names" (paper bigint NOT NULL, "Ref Uuid" uuid NOT NULL, paper_shard smallint NOT NULL, name_shard smallint NOT NULL,
    "Name No" bigint NOT NULL, PRIMARY KEY (name_shard, "Name No"), UNIQUE (name_shard, "Ref Uuid"),
    FOREIGN KEY (paper_shard, paper) REFERENCES app."Papers" (shard, number)) PARTITION BY LIST (name_shard);
CREATE TABLE app."Names 0" PARTITION OF app."Names" FOR VALUES IN (0);
CREATE TABLE app."Names 1" PARTITION OF app."Names" FOR VALUES IN (1);
CREATE TABLE app."Cites" (cited bigint NOT NULL, cited_shard smallint NOT NULL, "Name No" bigint NOT NULL, name_shard smallint NOT NULL,
    citing bigint NOT NULL, citing_shard smallint NOT NULL, noted text DEFAULT 'x', UNIQUE (citing_shard, citing, "Name No"),
    FOREIGN KEY (citing_shard, citing) REFERENCES app."Papers" (shard, number),
    FOREIGN KEY (name_shard, "Name No") REFERENCES app."Names" (name_shard, "Name No")) PARTITION BY LIST (citing_shard);
CREATE TABLE app."Cites 0" PARTITION OF app."Cites" FOR VALUES IN (0);
CREATE TABLE app."Cites 1" PARTITION OF app."Cites" FOR VALUES IN (1);
INSERT INTO app."Papers" SELECT 'paper ' || n, n % 2, n FROM generate_series(1, 4) n;
INSERT INTO app."Names" SELECT n, t.u(n), n % 2, (n + 1) % 2, 100 + n FROM generate_series(1, 4) n;

SELECT dms_refs.register_store('papers', 'app."Papers"', 'app."Names"', 'app."Cites"', drop_in_schema => 'app', columns => '{
    "document.documentpartitionkey": "shard", "document.id": "number",
    "alias.referentialpartitionkey": "name_shard", "alias.referentialid": "Ref Uuid", "alias.id": "Name No",
    "alias.documentpartitionkey": "paper_shard", "alias.documentid": "paper",
    "parentdocumentpartitionkey": "citing_shard", "parentdocumentid": "citing", "aliasid": "Name No",
    "reference.referentialpartitionkey": "name_shard", "referenceddocumentpartitionkey": "cited_shard", "referenceddocumentid": "cited"}');
SELECT store, layout, document, alias, reference, drop_in_schema, reads FROM dms_refs.stores;
SELECT jsonb_pretty(columns) FROM dms_refs.stores;
SELECT * FROM app.InsertReferences(1, 1::smallint, ARRAY[t.u(2), t.u(3)], '{1,0}');
SELECT * FROM dms_refs.sync_references(1, 1::smallint, ARRAY[t.u(3), t.u(4)], '{0,1}', include_kept => true, store => 'papers');
SELECT * FROM app."Cites" ORDER BY "Name No";
SELECT * FROM dms_refs.sync_references(1, 1::smallint, ARRAY[t.u(3), t.u(9)], '{0,1}', store => 'papers');
SELECT * FROM app.GetInvalidReferencesAndClear(1, 1::smallint);
SELECT * FROM dms_refs.referencing_documents(4, 0::smallint, 'papers');

-- Forgotten: its functions go, its tables stay.
SELECT dms_refs.unregister_store('papers');
SELECT count(*) FROM pg_proc WHERE pronamespace = 'app'::regnamespace;
SELECT count(*) FROM dms_refs.stores;
SELECT count(*) FROM app."Cites";
SELECT * FROM dms_refs.insert_references(1, 1::smallint, '{}', '{}', store => 'papers');

-- Two stores over the same tables, and names of ours taken as they are.
SELECT dms_refs.create_store('made', 4, 'lean');
SELECT dms_refs.register_store('again', 'made.document', 'made.alias', 'made.reference');
SELECT store, layout, reference FROM dms_refs.stores ORDER BY store COLLATE "C";
SELECT t.add_documents('made', 1, 3);
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2), t.keys(2), store => 'again');
SELECT * FROM dms_refs.diff_references(1, 1::smallint, t.ids(2), t.keys(2), include_kept => true, store => 'made');
SELECT dms_refs.unregister_store('again');
SELECT t.stored('made', 1);

-- A registered store is not dropped.
SELECT dms_refs.register_store('again', 'made.document', 'made.alias', 'made.reference');
SELECT dms_refs.drop_store('again');
SELECT dms_refs.drop_store('again', cascade => true);
SELECT count(*) FROM dms_refs.stores WHERE store = 'again';
SELECT dms_refs.unregister_store('again');

-- Arguments.
SELECT dms_refs.register_store('made', 'made.document', 'made.alias', 'made.reference');
SELECT dms_refs.register_store(NULL, 'made.document', 'made.alias', 'made.reference');
SELECT dms_refs.register_store('x', NULL, 'made.alias', 'made.reference');
SELECT dms_refs.register_store('x', 'made.document', NULL, 'made.reference');
SELECT dms_refs.register_store('x', 'made.document', 'made.alias', NULL);
SELECT dms_refs.register_store('x', 'made.document', 'made.alias', 'made.reference', NULL);
SELECT dms_refs.register_store('x', 'made.document', 'made.alias', 'made.nothing');
SELECT dms_refs.register_store('x', 'made.document', 'made.alias', 'made.reference', '[]');
SELECT dms_refs.register_store('x', 'made.document', 'made.alias', 'made.reference', '"id"');
SELECT dms_refs.register_store('x', 'made.document', 'made.alias', 'made.reference', '{"alias.ref": "y"}');
SELECT dms_refs.register_store('x', 'made.document', 'made.alias', 'made.reference', '{"ref": "y"}');
SELECT dms_refs.register_store('x', 'made.document', 'made.alias', 'made.reference', drop_in_schema => 'nowhere');
SELECT dms_refs.register_store('x', 'made.document', 'made.alias', 'made.reference', drop_in_schema => 'made');
SELECT dms_refs.unregister_store(NULL);

-- Each thing that is missing is named, with the statement that mends it. All of them at once.
CREATE SCHEMA half;
CREATE TABLE half.document (id int NOT NULL, documentpartitionkey smallint NOT NULL);
CREATE TABLE half.alias (id bigint, referentialpartitionkey smallint, referentialid uuid, documentid bigint, documentpartitionkey smallint);
CREATE TABLE half.reference (parentdocumentid bigint, parentdocumentpartitionkey smallint, aliasid bigint, referentialpartitionkey int,
    referenceddocumentid bigint);
SELECT e.state, e.message, line.* FROM t.error($$SELECT dms_refs.register_store('x', 'half.document', 'half.alias', 'half.reference')$$) e,
    LATERAL (SELECT * FROM unnest(string_to_array(e.detail, E'\n'), string_to_array(e.hint, E'\n')) u(detail, hint)) line;
-- Its own hints mend it, up to a table that serves.
DO $$
DECLARE
    e record;
    remedy text;
BEGIN
    FOR i IN 1 .. 3 LOOP
        SELECT * INTO e FROM t.error($s$SELECT dms_refs.register_store('x', 'half.document', 'half.alias', 'half.reference')$s$);
        EXIT WHEN e.state = '00000';
        FOREACH remedy IN ARRAY string_to_array(e.hint, E'\n') LOOP
            EXECUTE split_part(remedy, '; or say', 1);
        END LOOP;
    END LOOP;
    RAISE INFO '%', e.state;
END $$;
SELECT i.indrelid::regclass AS tab, pg_get_indexdef(i.indexrelid) AS definition FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE c.relnamespace = 'half'::regnamespace ORDER BY pg_get_indexdef(i.indexrelid) COLLATE "C";

-- A store without foreign keys works, and registering it warns.
SELECT dms_refs.unregister_store('x');
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT dms_refs.register_store('x', 'half.document', 'half.alias', 'half.reference');
\set VERBOSITY sqlstate
INSERT INTO half.document VALUES (1, 1), (2, 2);
INSERT INTO half.alias VALUES (101, 0, t.u(1), 1, 1), (102, 0, t.u(2), 2, 2);
SELECT * FROM dms_refs.insert_references(1, 1::smallint, ARRAY[t.u(1), t.u(2)], '{0,0}', store => 'x');
SELECT * FROM dms_refs.insert_references(77, 7::smallint, ARRAY[t.u(1)], '{0}', store => 'x');
SELECT * FROM half.reference ORDER BY parentdocumentid, aliasid;
SELECT dms_refs.unregister_store('x');

-- What is no table at all; a partial, an expression and an invalid unique index do not count as unique.
CREATE SEQUENCE half.sequence;
SELECT state, detail FROM t.error($$SELECT dms_refs.register_store('x', 'half.document', 'half.sequence', 'half.reference')$$);
CREATE TABLE half.partial (id bigint, referentialpartitionkey smallint, referentialid uuid, documentid bigint, documentpartitionkey smallint);
CREATE UNIQUE INDEX ON half.partial (referentialpartitionkey, referentialid) WHERE documentid > 0;
CREATE UNIQUE INDEX ON half.partial (referentialpartitionkey, (id + 0));
CREATE INDEX ON half.partial (referentialpartitionkey, id);
CREATE UNIQUE INDEX ON half.partial (referentialpartitionkey, referentialid, id);
SELECT state, detail, hint FROM t.error($$SELECT dms_refs.register_store('x', 'half.document', 'half.partial', 'half.reference')$$);

-- One column in two roles. Of the table of references each is written with values of its own: refused.
CREATE TABLE half.doc (tenant smallint, id bigint, PRIMARY KEY (tenant, id));
CREATE TABLE half.name (tenant smallint, id bigint, uid uuid NOT NULL, doc bigint NOT NULL, PRIMARY KEY (tenant, id), UNIQUE (tenant, uid),
    FOREIGN KEY (tenant, doc) REFERENCES half.doc);
CREATE TABLE half.link (tenant smallint, doc bigint, name bigint, PRIMARY KEY (tenant, doc, name),
    FOREIGN KEY (tenant, doc) REFERENCES half.doc, FOREIGN KEY (tenant, name) REFERENCES half.name);
CREATE FUNCTION t.register_tenants(reference regclass, names jsonb) RETURNS void LANGUAGE sql AS $$
    SELECT dms_refs.register_store('tenants', 'half.doc', 'half.name', reference, names || '{"document.documentpartitionkey": "tenant", "document.id": "id",
        "alias.referentialpartitionkey": "tenant", "alias.documentpartitionkey": "tenant", "alias.referentialid": "uid", "alias.documentid": "doc",
        "parentdocumentpartitionkey": "tenant", "parentdocumentid": "doc", "aliasid": "name"}') $$;
SELECT state, detail, hint FROM t.error($$SELECT t.register_tenants('half.link', '{"reference.referentialpartitionkey": "tenant",
    "referenceddocumentpartitionkey": "tenant", "referenceddocumentid": "doc"}')$$);
SELECT state, detail FROM t.error($$SELECT dms_refs.register_store('x', 'made.document', 'made.reference', 'made.reference')$$) e;
SELECT state, right(detail, 80) AS detail FROM t.error($$SELECT dms_refs.register_store('x', 'made.reference', 'made.alias', 'made.reference')$$) e;
-- Its hint mends it. Of aliases, which are only read, one column may be more than one thing: here each has the key of its document.
ALTER TABLE half.link ADD COLUMN referentialpartitionkey smallint, ADD COLUMN referenceddocumentpartitionkey smallint, ADD COLUMN referenceddocumentid bigint;
SELECT t.register_tenants('half.link', '{}');
INSERT INTO half.doc VALUES (1, 1), (1, 2), (2, 2);
INSERT INTO half.name VALUES (1, 10, t.u(10), 2), (2, 20, t.u(20), 2);
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, ARRAY[t.u(10)], '{1}', store => 'tenants');
SET dms_refs.engine = 'sql';
SELECT action, alias_id FROM dms_refs.sync_references(2, 1::smallint, ARRAY[t.u(10)], '{1}', store => 'tenants');
RESET dms_refs.engine;
SELECT * FROM half.link ORDER BY doc;
-- A store of an early version, or changed by hand: it is looked at where it is used.
UPDATE dms_refs.store_config SET reference_columns[4] = 'tenant' WHERE store = 'tenants';
SELECT * FROM t.error($$SELECT dms_refs.insert_references(1, 1::smallint, ARRAY[t.u(20)], '{2}', store => 'tenants')$$);
UPDATE dms_refs.store_config SET reference_columns[4] = 'referentialpartitionkey', alias = reference WHERE store = 'tenants';
SELECT * FROM t.error($$SELECT * FROM dms_refs.referencing_documents(1, 1::smallint, store => 'tenants')$$);
SELECT store, reason FROM dms_refs.stores WHERE store = 'tenants';
UPDATE dms_refs.store_config SET alias = 'half.name' WHERE store = 'tenants';
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, ARRAY[t.u(10)], '{1}', include_kept => true, store => 'tenants');
SELECT dms_refs.unregister_store('tenants');
DROP FUNCTION t.register_tenants;

-- Partitioned by something else: it warns that SQL statements will serve.
CREATE TABLE half.by_other (LIKE half.reference, UNIQUE (parentdocumentpartitionkey, parentdocumentid, aliasid),
    FOREIGN KEY (parentdocumentpartitionkey, parentdocumentid) REFERENCES half.document (documentpartitionkey, id)) PARTITION BY RANGE (aliasid);
SELECT dms_refs.register_store('x', 'half.document', 'half.alias', 'half.by_other');
SELECT store FROM dms_refs.stores ORDER BY 1;

SELECT dms_refs.unregister_store('x');
SELECT dms_refs.drop_store('made');
SET client_min_messages = warning;
DROP SCHEMA app, half CASCADE;
