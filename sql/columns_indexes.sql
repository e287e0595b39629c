-- Purpose: extra columns and indexes of the reference table: defaults, generated, dropped, wide; unique, partial, expression, other methods.
\set VERBOSITY sqlstate
SELECT t.new_store('s');
-- Makes {2, 3, 4}, then {4, 5, 3 retargeted}: an insert, an update, a delete, a kept row.
CREATE FUNCTION t.replace_set() RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    UPDATE s.alias SET documentid = 3, documentpartitionkey = 3 WHERE id = 103;
    PERFORM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3, 4), t.keys(2, 3, 4), store => 's');
    UPDATE s.alias SET documentid = 8, documentpartitionkey = 0 WHERE id = 103;
    PERFORM dms_refs.insert_references(1, 1::smallint, t.ids(4, 5, 3), t.keys(4, 5, 3), store => 's');
    RETURN t.stored('s', 1);
END $$;
SELECT t.replace_set();

-- Defaults: constant, volatile, from a sequence, from the session; on the table and, other than the table's, on the partition.
CREATE SEQUENCE t.counter;
ALTER TABLE s.reference
    ADD COLUMN kind text DEFAULT 'plain',
    ADD COLUMN counted bigint DEFAULT nextval('t.counter'),
    ADD COLUMN who text DEFAULT current_setting('application_name'),
    ADD COLUMN big text DEFAULT repeat('x', 9000),
    ADD COLUMN nothing int;
SELECT t.replace_set();
SELECT aliasid, kind, counted IS NOT NULL AS counted, who = current_setting('application_name') AS who, length(big), nothing
FROM s.reference ORDER BY aliasid;
ALTER TABLE s.reference ALTER COLUMN kind SET DEFAULT 'other';
ALTER TABLE s.reference_01 ALTER COLUMN kind SET DEFAULT 'the partition''s own';
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(6), t.keys(6), store => 's');
SELECT success FROM dms_refs.insert_references(2, 2::smallint, t.ids(6), t.keys(6), store => 's');
SELECT parentdocumentid, aliasid, kind FROM s.reference ORDER BY parentdocumentid;
ALTER TABLE s.reference ALTER COLUMN kind DROP DEFAULT;
SELECT success FROM dms_refs.insert_references(2, 2::smallint, t.ids(7), t.keys(7), store => 's');
SELECT parentdocumentid, aliasid, kind FROM s.reference WHERE parentdocumentid = 2;
-- A default that fails.
ALTER TABLE s.reference ALTER COLUMN nothing SET DEFAULT 1 / (current_setting('application_name') = 'nobody')::int;
SELECT success FROM dms_refs.insert_references(2, 2::smallint, t.ids(8), t.keys(8), store => 's');
SELECT success FROM dms_refs.insert_references(2, 2::smallint, t.ids(7), t.keys(7), store => 's');
SELECT t.stored('s', 2);
-- Updates leave the extra columns as they were.
ALTER TABLE s.reference ALTER COLUMN nothing DROP DEFAULT;
UPDATE s.alias SET documentid = 9, documentpartitionkey = 1 WHERE id = 107;
UPDATE s.reference SET kind = 'kept', nothing = 42 WHERE parentdocumentid = 2;
SELECT action FROM dms_refs.sync_references(2, 2::smallint, t.ids(7), t.keys(7), store => 's');
SELECT aliasid, referenceddocumentid, kind, nothing, length(big) FROM s.reference WHERE parentdocumentid = 2;
-- Dropped columns leave holes.
ALTER TABLE s.reference DROP COLUMN big, DROP COLUMN kind, DROP COLUMN who;
SELECT t.replace_set();

-- Generated columns, from ours and from the extra ones; updated with them.
ALTER TABLE s.reference ADD COLUMN twice bigint GENERATED ALWAYS AS (referenceddocumentid * 2) STORED,
    ADD COLUMN label text GENERATED ALWAYS AS (parentdocumentid::text || '-' || aliasid::text) STORED;
SELECT t.replace_set();
SELECT aliasid, referenceddocumentid, twice, label FROM s.reference WHERE parentdocumentid = 1 ORDER BY aliasid;
DELETE FROM s.reference WHERE parentdocumentid = 2;
ALTER TABLE s.reference ADD CONSTRAINT small_twice CHECK (twice < 18);
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(9), t.keys(9), store => 's');
SELECT t.stored('s', 1);
ALTER TABLE s.reference DROP COLUMN twice, DROP COLUMN label, DROP COLUMN counted, DROP COLUMN nothing;

-- Indexes: partial, expression, with INCLUDE, hash, BRIN, GIN over an expression.
CREATE INDEX ON s.reference (referenceddocumentid) WHERE referenceddocumentid > 3;
CREATE INDEX ON s.reference ((aliasid * 2), (parentdocumentid + referenceddocumentid));
CREATE INDEX ON s.reference (aliasid DESC NULLS LAST) INCLUDE (parentdocumentid);
CREATE INDEX ON s.reference USING hash (aliasid);
CREATE INDEX ON s.reference USING brin (parentdocumentid);
CREATE INDEX ON s.reference USING gin ((ARRAY[aliasid, referenceddocumentid]));
CREATE UNIQUE INDEX ON s.reference (parentdocumentpartitionkey, parentdocumentid, (aliasid + 0));
SELECT t.replace_set();
SET enable_seqscan = off;
SET enable_bitmapscan = on;
SELECT count(*) FROM s.reference WHERE referenceddocumentid = 8;
SELECT count(*) FROM s.reference WHERE aliasid * 2 = 206 AND parentdocumentid + referenceddocumentid = 9;
SELECT count(*) FROM s.reference WHERE ARRAY[aliasid, referenceddocumentid] @> ARRAY[103, 8]::bigint[];
RESET enable_seqscan;
RESET enable_bitmapscan;

-- A unique index that the set violates, its error, and one that it does not because the delete comes first.
CREATE UNIQUE INDEX one_each ON s.reference (parentdocumentpartitionkey, parentdocumentid, referenceddocumentid);
INSERT INTO s.alias (id, referentialpartitionkey, referentialid, documentid, documentpartitionkey) OVERRIDING SYSTEM VALUE VALUES (205, 0, t.u(205), 5, 1);
SELECT state, message LIKE '%reference_01_%' AS names_index
FROM t.error($$SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(5, 205), '{2,0}', store => 's')$$);
SELECT t.stored('s', 1);
SELECT action, alias_id, referenced_document_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(4, 205), '{1,0}', store => 's');
SELECT t.stored('s', 1);
-- Two updates that exchange their values meet each other on it, as two rows of one UPDATE would.
UPDATE s.alias SET documentid = CASE id WHEN 104 THEN 5 ELSE 4 END, documentpartitionkey = CASE id WHEN 104 THEN 1 ELSE 0 END WHERE id IN (104, 205);
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(4, 205), '{1,0}', store => 's');
DROP INDEX s.one_each;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(4, 205), '{1,0}', store => 's');
SELECT t.stored('s', 1);

-- An exclusion constraint on the partition.
ALTER TABLE s.reference_01 ADD CONSTRAINT apart EXCLUDE USING btree (aliasid WITH =) WHERE (aliasid > 107);
SELECT success FROM dms_refs.insert_references(5, 1::smallint, t.ids(2, 8), t.keys(2, 8), store => 's');
SELECT success FROM dms_refs.insert_references(9, 1::smallint, t.ids(2, 8), t.keys(2, 8), store => 's');
SELECT t.stored('s', 5), t.stored('s', 9);
ALTER TABLE s.reference_01 DROP CONSTRAINT apart;

-- Indexes of the alias table that are no use for resolving.
CREATE INDEX ON s.alias USING hash (referentialid);
CREATE UNIQUE INDEX ON s.alias (referentialid, referentialpartitionkey) INCLUDE (documentid);
CREATE INDEX ON s.alias (referentialid) WHERE documentid < 0;
SELECT t.replace_set();
ALTER TABLE s.alias DROP CONSTRAINT ux_alias_referentialid;
SELECT t.replace_set();

-- Replica identity and publications: what SQL would refuse is refused.
SET client_min_messages = error;
CREATE PUBLICATION everything FOR TABLE s.reference;
RESET client_min_messages;
SELECT t.replace_set();
ALTER TABLE s.reference_01 REPLICA IDENTITY FULL;
SELECT t.replace_set();
ALTER TABLE s.reference_01 REPLICA IDENTITY NOTHING;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(4, 5), t.keys(4, 5), store => 's');
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(3, 4, 5, 6), t.keys(3, 4, 5, 6), store => 's');
SELECT t.stored('s', 1);
ALTER PUBLICATION everything SET (publish = 'insert');
SELECT t.replace_set();
DROP PUBLICATION everything;
SELECT t.replace_set();

DROP FUNCTION t.replace_set;
SELECT dms_refs.drop_store('s');
DROP SEQUENCE t.counter;
