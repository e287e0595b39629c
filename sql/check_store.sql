-- Purpose: check_store finds what must not be in a store, and nothing where all is well, whatever the caller's settings are.
\set VERBOSITY sqlstate
CREATE SCHEMA t_amcheck;
SELECT t.new_store('s');
SELECT path FROM dms_refs.sync_references_batch('{1,2,3}', '{1,2,3}', '{3,2,1}', t.ids(2, 3, 4, 5, 6, 7), t.keys(2, 3, 4, 5, 6, 7), store => 's');
-- Without amcheck the indexes are not looked at, and it says so.
SELECT * FROM dms_refs.check_store('s');
CREATE EXTENSION amcheck SCHEMA t_amcheck;
SELECT * FROM dms_refs.check_store('s');
SELECT * FROM dms_refs.check_store();
SELECT * FROM dms_refs.check_store(NULL);

-- What a database without triggers lets in. Each statement is one kind of violation.
CREATE FUNCTION t.planted() RETURNS TABLE (violation text, relation regclass, key jsonb, detail text) LANGUAGE sql AS
$$ SELECT * FROM dms_refs.check_store('s') ORDER BY violation COLLATE "C", key::text COLLATE "C" $$;
SET session_replication_role = replica;
DELETE FROM s.document WHERE id = 2;
DELETE FROM s.alias WHERE id = 103;
DELETE FROM s.document WHERE id = 4;
UPDATE s.alias SET documentid = 9, documentpartitionkey = 1 WHERE id = 105;
SELECT * FROM t.planted();
-- A trigger that was disabled for a while.
RESET session_replication_role;
INSERT INTO s.document (id, documentpartitionkey, documentuuid, resourcename, resourceversion, isdescriptor, projectname, edfidoc, lastmodifiedtraceid)
    OVERRIDING SYSTEM VALUE SELECT n, n % 4, t.u(n), 'r', '1', false, 'p', '{}', 't' FROM unnest('{2,4}'::int[]) n;
DELETE FROM s.reference WHERE aliasid IN (103, 105);
SELECT * FROM t.planted();
ALTER TABLE s.reference_02 DISABLE TRIGGER ALL;
INSERT INTO s.reference (parentdocumentid, parentdocumentpartitionkey, aliasid, referentialpartitionkey, referenceddocumentid, referenceddocumentpartitionkey)
    VALUES (77, 2, 188, 1, 9, 1);
ALTER TABLE s.reference_02 ENABLE TRIGGER ALL;
SELECT * FROM t.planted();

-- A caller's settings, schema and snapshot change nothing; a role needs no more than SELECT.
CREATE ROLE regress_dms_check;
GRANT USAGE ON SCHEMA s, t TO regress_dms_check;
GRANT SELECT ON s.document, s.alias TO regress_dms_check;
SET ROLE regress_dms_check;
SELECT * FROM t.planted();
RESET ROLE;
GRANT SELECT ON s.reference TO regress_dms_check;
SET ROLE regress_dms_check;
SET enable_seqscan = off;
SET enable_hashjoin = off;
SET constraint_exclusion = on;
SELECT * FROM t.planted();
RESET enable_seqscan;
RESET enable_hashjoin;
RESET constraint_exclusion;
RESET ROLE;
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY;
SELECT violation FROM t.planted();
COMMIT;
-- Row security: an answer about all rows, or none.
ALTER TABLE s.alias ENABLE ROW LEVEL SECURITY;
CREATE POLICY few ON s.alias USING (id < 105);
SET ROLE regress_dms_check;
SELECT * FROM t.planted();
RESET ROLE;
SELECT violation FROM t.planted();
ALTER TABLE s.alias DISABLE ROW LEVEL SECURITY;
DELETE FROM s.reference WHERE parentdocumentid = 77;
SELECT * FROM t.planted();

-- An index that missed a row: the joins do not look through it, and amcheck finds it.
SET allow_system_table_mods = on;
UPDATE pg_index SET indisready = false WHERE indexrelid = 's.alias_02_pkey'::regclass;
INSERT INTO s.document (id, documentpartitionkey, documentuuid, resourcename, resourceversion, isdescriptor, projectname, edfidoc, lastmodifiedtraceid)
    OVERRIDING SYSTEM VALUE VALUES (21, 1, t.u(21), 'r', '1', false, 'p', '{}', 't');
INSERT INTO s.alias (id, referentialpartitionkey, referentialid, documentid, documentpartitionkey) OVERRIDING SYSTEM VALUE VALUES (121, 2, t.u(21), 21, 1);
UPDATE pg_index SET indisready = true WHERE indexrelid = 's.alias_02_pkey'::regclass;
SET session_replication_role = replica;
INSERT INTO s.reference (parentdocumentid, parentdocumentpartitionkey, aliasid, referentialpartitionkey, referenceddocumentid, referenceddocumentpartitionkey)
    VALUES (1, 1, 121, 2, 21, 1);
RESET session_replication_role;
SELECT violation, relation, key, detail ~ 'lacks matching index tuple' AS says_what FROM t.planted();
REINDEX INDEX s.alias_02_pkey;
SELECT * FROM t.planted();

-- A row in a partition that does not take its key.
ALTER TABLE s.reference DETACH PARTITION s.reference_03;
ALTER TABLE s.reference_03 ADD CONSTRAINT is_three CHECK (parentdocumentpartitionkey IS NOT NULL AND parentdocumentpartitionkey = 3) NOT VALID;
SET session_replication_role = replica;
ALTER TABLE s.reference_03 DROP CONSTRAINT is_three;
INSERT INTO s.reference_03 (id, parentdocumentid, parentdocumentpartitionkey, aliasid, referentialpartitionkey, referenceddocumentid, referenceddocumentpartitionkey)
    VALUES (1000, 1, 1, 107, 0, 7, 3);
RESET session_replication_role;
ALTER TABLE s.reference_03 ADD CONSTRAINT is_three CHECK (parentdocumentpartitionkey IS NOT NULL AND parentdocumentpartitionkey = 3) NOT VALID;
UPDATE pg_constraint SET convalidated = true WHERE conname = 'is_three';
ALTER TABLE s.reference ATTACH PARTITION s.reference_03 FOR VALUES IN (3);
SELECT * FROM t.planted();
DELETE FROM s.reference_03 WHERE id = 1000;
RESET allow_system_table_mods;

-- Tables with none of it: nulls, repeated rows, no keys to rely on; names that need quotes.
CREATE SCHEMA "T 1";
CREATE TABLE "T 1"."d'" (k smallint, id bigint);
CREATE TABLE "T 1"."a""" (k smallint, u uuid, id bigint, dk smallint, d bigint);
CREATE TABLE "T 1"."R %s" ("P k" smallint, p bigint, a bigint, "a'k" smallint, dk smallint, d bigint);
CREATE VIEW "T 1"."V" AS SELECT * FROM "T 1"."R %s";
INSERT INTO "T 1"."d'" VALUES (1, 1), (1, 1), (2, 2), (3, 3);
INSERT INTO "T 1"."a""" VALUES (2, t.u(2), 102, 2, 2), (2, t.u(2), 103, 2, 2), (3, t.u(3), 104, 3, 3), (3, t.u(4), 104, 3, 3), (3, t.u(5), 105, NULL, 3);
INSERT INTO "T 1"."R %s" VALUES (1, 1, 102, 2, 2, 2), (1, 1, 102, 2, 2, 2), (1, 1, 103, 2, 2, NULL), (NULL, 1, 103, 2, 2, 2), (3, 3, 105, 3, 3, 3);
INSERT INTO dms_refs.store_config VALUES ('T', 'registered', '"T 1"."d''"', '"T 1"."a"""', '"T 1"."V"',
    '{k,id}', '{k,u,id,dk,d}', '{P k,p,a,a''k,dk,d}');
SELECT * FROM dms_refs.check_store('T') ORDER BY violation COLLATE "C", relation::text COLLATE "C", key::text COLLATE "C";
-- A table of the store that is gone; a column that is gone.
ALTER TABLE "T 1"."d'" RENAME COLUMN k TO kk;
SELECT * FROM dms_refs.check_store('T');
DROP TABLE "T 1"."d'";
SELECT * FROM dms_refs.check_store('T');
SELECT dms_refs.unregister_store('T');

SET client_min_messages = error;
DROP SCHEMA "T 1", t_amcheck CASCADE;
RESET client_min_messages;
DROP FUNCTION t.planted;
REVOKE USAGE ON SCHEMA t FROM regress_dms_check;
SELECT dms_refs.drop_store('s');
DROP ROLE regress_dms_check;
