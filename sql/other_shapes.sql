-- Purpose: stores of every shape that register_store takes: plain tables, range and hash partitions, views, foreign-less, temporary and unlogged tables.
\set VERBOSITY sqlstate
SET client_min_messages = error;
-- The same script for each: every action, invalid ids, lookups. Documents 1 to 6, alias 100 + n with key (n + 1) % 4, as in t.new_store.
CREATE FUNCTION t.fill(space name) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('INSERT INTO %I.document (id, documentpartitionkey) SELECT n, n %% 4 FROM generate_series(1, 6) n', space);
    EXECUTE format('INSERT INTO %I.alias (id, referentialpartitionkey, referentialid, documentid, documentpartitionkey)
        SELECT 100 + n, (n + 1) %% 4, t.u(n), n, n %% 4 FROM generate_series(1, 6) n', space);
END $$;
CREATE FUNCTION t.script(store name) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT 'insert: ' || success || ' ' || t.stored(store, 1) FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3, 4), t.keys(2, 3, 4), store => store);
    EXECUTE format('UPDATE %I.alias SET documentid = 6, documentpartitionkey = 2 WHERE id = 103', store);
    RETURN QUERY SELECT concat_ws(' ', 'diff:', ordinal, action, alias_id, referenced_document_id) FROM dms_refs.diff_references(1, 1::smallint, t.ids(5, 3, 4), t.keys(5, 3, 4), include_kept => true, store => store);
    RETURN QUERY SELECT concat_ws(' ', 'sync:', ordinal, action, alias_id, referenced_document_id) FROM dms_refs.sync_references(1, 1::smallint, t.ids(5, 3, 4), t.keys(5, 3, 4), include_kept => true, store => store);
    RETURN QUERY SELECT concat_ws(' ', 'invalid:', success, right(invalid_ids[1]::text, 2)) FROM dms_refs.insert_references(1, 1::smallint, t.ids(5, 99), t.keys(5, 99), store => store);
    RETURN QUERY SELECT 'stored: ' || t.stored(store, 1);
    RETURN QUERY SELECT concat_ws(' ', 'batch:', ordinal, success, inserted, updated, deleted, kept, path) FROM dms_refs.sync_references_batch('{1,2,3}', '{1,2,3}', '{1,2,1}', t.ids(5, 1, 5, 99), t.keys(5, 1, 5, 99), store => store);
    RETURN QUERY SELECT concat_ws(' ', 'apply:', inserted, updated, deleted, kept, path) FROM dms_refs.apply_resolved_references(2, 2::smallint, '{2}', '{101}', '{1}', '{1}', store => store);
    RETURN QUERY SELECT concat_ws(' ', 'resolve:', ordinal, alias_id, document_id) FROM dms_refs.resolve_references(t.ids(6, 99, 1), t.keys(6, 99, 1), store);
    RETURN QUERY SELECT concat_ws(' ', 'referencing:', parent_document_id, parent_document_partition_key) FROM dms_refs.referencing_documents(5, 1::smallint, store);
    RETURN QUERY SELECT 'missing key: ' || state FROM t.error(format('SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(2), ''{777}'', store => %L)', store));
    RETURN QUERY SELECT 'missing parent: ' || state FROM t.error(format('SELECT * FROM dms_refs.insert_references(777, 1::smallint, t.ids(2), t.keys(2), store => %L)', store));
END $$;

-- What a store says otherwise than the plain tables did, from the same beginning.
CREATE TEMP TABLE plain_lines (line text);
CREATE FUNCTION t.compare(store name) RETURNS TABLE (only_in text, line text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('UPDATE %I.alias SET documentid = 3, documentpartitionkey = 3 WHERE id = 103', store);
    PERFORM dms_refs.insert_references(n, n::smallint, '{}', '{}', store => store) FROM generate_series(1, 3) n;
    CREATE TEMP TABLE lines AS SELECT * FROM t.script(store) line;
    RETURN QUERY SELECT 'plain tables'::text, x.line FROM (SELECT * FROM plain_lines EXCEPT ALL SELECT * FROM lines) x
        UNION ALL SELECT 'this store', x.line FROM (SELECT * FROM lines EXCEPT ALL SELECT * FROM plain_lines) x;
    DROP TABLE lines;
END $$;

-- Plain tables: any key is a good key.
CREATE SCHEMA plain;
CREATE TABLE plain.document (id bigint, documentpartitionkey smallint, PRIMARY KEY (documentpartitionkey, id));
CREATE TABLE plain.alias (id bigint, referentialpartitionkey smallint, referentialid uuid, documentid bigint, documentpartitionkey smallint,
    PRIMARY KEY (referentialpartitionkey, id), UNIQUE (referentialpartitionkey, referentialid));
CREATE TABLE plain.reference (parentdocumentid bigint, parentdocumentpartitionkey smallint, aliasid bigint, referentialpartitionkey smallint,
    referenceddocumentid bigint, referenceddocumentpartitionkey smallint, PRIMARY KEY (parentdocumentpartitionkey, parentdocumentid, aliasid),
    FOREIGN KEY (parentdocumentpartitionkey, parentdocumentid) REFERENCES plain.document (documentpartitionkey, id),
    FOREIGN KEY (referentialpartitionkey, aliasid) REFERENCES plain.alias (referentialpartitionkey, id));
SELECT t.fill('plain');
SELECT dms_refs.register_store('plain', 'plain.document', 'plain.alias', 'plain.reference');
SELECT reads, writes FROM dms_refs.stores WHERE store = 'plain';
INSERT INTO plain_lines SELECT * FROM t.script('plain');
SELECT * FROM plain_lines;

-- The same columns in indexes and foreign keys of another order.
CREATE SCHEMA reversed;
CREATE TABLE reversed.document (id bigint, documentpartitionkey smallint, PRIMARY KEY (id, documentpartitionkey));
CREATE TABLE reversed.alias (LIKE plain.alias, PRIMARY KEY (id, referentialpartitionkey), UNIQUE (referentialid, referentialpartitionkey));
CREATE TABLE reversed.reference (LIKE plain.reference, PRIMARY KEY (aliasid, parentdocumentid, parentdocumentpartitionkey),
    FOREIGN KEY (parentdocumentid, parentdocumentpartitionkey) REFERENCES reversed.document (id, documentpartitionkey),
    FOREIGN KEY (aliasid, referentialpartitionkey) REFERENCES reversed.alias (id, referentialpartitionkey));
SELECT t.fill('reversed');
SELECT dms_refs.register_store('reversed', 'reversed.document', 'reversed.alias', 'reversed.reference');
SELECT * FROM t.compare('reversed');

-- Range and hash partitions; one of each is missing.
CREATE SCHEMA ranges;
CREATE TABLE ranges.document (LIKE plain.document, PRIMARY KEY (documentpartitionkey, id)) PARTITION BY RANGE (documentpartitionkey);
CREATE TABLE ranges.document_a PARTITION OF ranges.document FOR VALUES FROM (0) TO (2);
CREATE TABLE ranges.document_b PARTITION OF ranges.document FOR VALUES FROM (2) TO (100);
CREATE TABLE ranges.alias (LIKE plain.alias, PRIMARY KEY (referentialpartitionkey, id), UNIQUE (referentialpartitionkey, referentialid)) PARTITION BY HASH (referentialpartitionkey);
CREATE TABLE ranges.alias_a PARTITION OF ranges.alias FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE ranges.alias_b PARTITION OF ranges.alias FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE ranges.reference (LIKE plain.reference, PRIMARY KEY (parentdocumentpartitionkey, parentdocumentid, aliasid),
    FOREIGN KEY (parentdocumentpartitionkey, parentdocumentid) REFERENCES ranges.document (documentpartitionkey, id),
    FOREIGN KEY (referentialpartitionkey, aliasid) REFERENCES ranges.alias (referentialpartitionkey, id)) PARTITION BY RANGE (parentdocumentpartitionkey);
CREATE TABLE ranges.reference_a PARTITION OF ranges.reference FOR VALUES FROM (MINVALUE) TO (3);
CREATE TABLE ranges.reference_b PARTITION OF ranges.reference FOR VALUES FROM (3) TO (5);
SELECT t.fill('ranges');
SELECT dms_refs.register_store('ranges', 'ranges.document', 'ranges.alias', 'ranges.reference');
SELECT reads, writes FROM dms_refs.stores WHERE store = 'ranges';
SELECT * FROM t.compare('ranges');
SELECT state FROM t.error($$SELECT * FROM dms_refs.insert_references(1, 5::smallint, '{}', '{}', store => 'ranges')$$);
SELECT state FROM t.error($$SELECT * FROM dms_refs.insert_references(1, (-5)::smallint, '{}', '{}', store => 'ranges')$$);

-- Partitioned by another column than the key: SQL statements serve.
CREATE SCHEMA others;
CREATE TABLE others.document (LIKE plain.document, PRIMARY KEY (documentpartitionkey, id));
CREATE TABLE others.alias (LIKE plain.alias, PRIMARY KEY (referentialpartitionkey, id), UNIQUE (referentialpartitionkey, referentialid));
CREATE TABLE others.reference (LIKE plain.reference, PRIMARY KEY (parentdocumentpartitionkey, parentdocumentid, aliasid),
    FOREIGN KEY (parentdocumentpartitionkey, parentdocumentid) REFERENCES others.document (documentpartitionkey, id),
    FOREIGN KEY (referentialpartitionkey, aliasid) REFERENCES others.alias (referentialpartitionkey, id)) PARTITION BY HASH (aliasid);
CREATE TABLE others.reference_a PARTITION OF others.reference FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE others.reference_b PARTITION OF others.reference FOR VALUES WITH (MODULUS 2, REMAINDER 1);
SELECT t.fill('others');
SELECT dms_refs.register_store('others', 'others.document', 'others.alias', 'others.reference');
SELECT reads, writes, reason IS NOT NULL AS says_why FROM dms_refs.stores WHERE store = 'others';
SELECT * FROM t.compare('others');

-- An alias table that is a view over two tables; then all three are views.
CREATE SCHEMA views;
CREATE TABLE views.document (LIKE plain.document, PRIMARY KEY (documentpartitionkey, id));
CREATE TABLE views.even (LIKE plain.alias);
CREATE TABLE views.odd (LIKE plain.alias);
CREATE VIEW views.alias AS SELECT * FROM views.even UNION ALL SELECT * FROM views.odd;
CREATE FUNCTION t.route() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        UPDATE views.even SET documentid = NEW.documentid, documentpartitionkey = NEW.documentpartitionkey WHERE id = NEW.id;
        UPDATE views.odd SET documentid = NEW.documentid, documentpartitionkey = NEW.documentpartitionkey WHERE id = NEW.id;
    ELSIF NEW.id % 2 = 0 THEN INSERT INTO views.even VALUES (NEW.*); ELSE INSERT INTO views.odd VALUES (NEW.*); END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER route INSTEAD OF INSERT OR UPDATE ON views.alias FOR EACH ROW EXECUTE FUNCTION t.route();
CREATE TABLE views.reference (LIKE plain.reference, PRIMARY KEY (parentdocumentpartitionkey, parentdocumentid, aliasid),
    FOREIGN KEY (parentdocumentpartitionkey, parentdocumentid) REFERENCES views.document (documentpartitionkey, id));
SELECT t.fill('views');
SELECT dms_refs.register_store('views', 'views.document', 'views.alias', 'views.reference');
SELECT reads, reason IS NOT NULL AS says_why FROM dms_refs.stores WHERE store = 'views';
SELECT * FROM t.compare('views');
ALTER TABLE views.document RENAME TO document_table;
ALTER TABLE views.reference RENAME TO reference_table;
CREATE VIEW views.document AS SELECT documentpartitionkey, id FROM views.document_table;
CREATE VIEW views.reference AS SELECT * FROM views.reference_table;
SELECT dms_refs.unregister_store('views');
SELECT dms_refs.register_store('views', 'views.document', 'views.alias', 'views.reference');
SELECT reads, writes, reason IS NOT NULL AS says_why FROM dms_refs.stores WHERE store = 'views';
SELECT * FROM t.compare('views');
-- A materialised view as the alias table: what it holds is what resolves.
CREATE MATERIALIZED VIEW views.alias_copy AS SELECT * FROM views.alias;
SELECT dms_refs.unregister_store('views');
SELECT dms_refs.register_store('views', 'views.document', 'views.alias_copy', 'views.reference');
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(5, 2), t.keys(5, 2), include_kept => true, store => 'views');

-- Tables that inherit: what the children hold belongs to the set, and SQL statements serve.
CREATE SCHEMA heirs;
CREATE TABLE heirs.document (LIKE plain.document, PRIMARY KEY (documentpartitionkey, id));
CREATE TABLE heirs.alias (LIKE plain.alias, PRIMARY KEY (referentialpartitionkey, id), UNIQUE (referentialpartitionkey, referentialid));
CREATE TABLE heirs.more_aliases () INHERITS (heirs.alias);
CREATE TABLE heirs.reference (LIKE plain.reference, PRIMARY KEY (parentdocumentpartitionkey, parentdocumentid, aliasid));
CREATE TABLE heirs.more_references () INHERITS (heirs.reference);
INSERT INTO heirs.document VALUES (1, 1);
INSERT INTO heirs.alias VALUES (101, 2, t.u(1), 1, 1);
INSERT INTO heirs.more_aliases VALUES (102, 3, t.u(2), 1, 1);
INSERT INTO heirs.more_references VALUES (1, 1, 102, 3, 1, 1);
SELECT dms_refs.register_store('heirs', 'heirs.document', 'heirs.alias', 'heirs.reference');
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(1, 2), t.keys(1, 2), include_kept => true, store => 'heirs');
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(1), t.keys(1), include_kept => true, store => 'heirs');
SELECT aliasid, tableoid::regclass FROM heirs.reference;

-- Temporary and unlogged tables.
CREATE SCHEMA brief;
CREATE UNLOGGED TABLE brief.document (LIKE plain.document INCLUDING ALL);
CREATE UNLOGGED TABLE brief.alias (LIKE plain.alias INCLUDING ALL);
CREATE UNLOGGED TABLE brief.reference (LIKE plain.reference INCLUDING ALL, FOREIGN KEY (parentdocumentid, parentdocumentpartitionkey) REFERENCES brief.document);
SELECT t.fill('brief');
SELECT dms_refs.register_store('brief', 'brief.document', 'brief.alias', 'brief.reference');
SELECT * FROM t.compare('brief');
CREATE TEMP TABLE temp_document (LIKE plain.document INCLUDING ALL);
CREATE TEMP TABLE temp_alias (LIKE plain.alias INCLUDING ALL);
CREATE TEMP TABLE temp_reference (LIKE plain.reference INCLUDING ALL);
INSERT INTO temp_document SELECT * FROM plain.document;
INSERT INTO temp_alias SELECT * FROM plain.alias;
SELECT dms_refs.register_store('temporary', 'temp_document', 'temp_alias', 'temp_reference');
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(1, 2), t.keys(1, 2), store => 'temporary');
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(2), t.keys(2), include_kept => true, store => 'temporary');
DROP TABLE temp_document, temp_alias, temp_reference;

SELECT dms_refs.unregister_store(store) FROM dms_refs.store_config ORDER BY store COLLATE "C";
DROP TABLE plain_lines;
DROP SCHEMA plain, reversed, ranges, others, views, heirs, brief CASCADE;
DROP FUNCTION t.fill, t.script, t.compare, t.route;
