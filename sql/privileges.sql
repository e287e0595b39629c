-- Purpose: privileges: what a caller needs, one by one; columns, schemas, SECURITY DEFINER, SET ROLE, owners; and who may run what.
\set VERBOSITY sqlstate
SELECT t.new_store('s');
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3), t.keys(2, 3), store => 's');
CREATE ROLE regress_dms_caller;
CREATE ROLE regress_dms_owner;
GRANT USAGE ON SCHEMA t TO PUBLIC;
-- Every function, as the caller: the SQLSTATE of each, 00000 where it works.
CREATE FUNCTION t.rights(OUT writes text, OUT diff text, OUT resolves text, OUT referencing text) LANGUAGE plpgsql SECURITY INVOKER AS $$
BEGIN
    SELECT string_agg(DISTINCT e.state, ' ' ORDER BY e.state) INTO writes FROM unnest(ARRAY[
        $s$SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(3, 4), t.keys(3, 4), store => 's')$s$,
        $s$SELECT * FROM s.InsertReferences(1, 1::smallint, t.ids(2, 3), t.keys(2, 3))$s$,
        $s$SELECT * FROM dms_refs.sync_references(1, 1::smallint, t.ids(3, 4), t.keys(3, 4), store => 's')$s$,
        $s$SELECT * FROM dms_refs.sync_references_batch('{1}', '{1}', '{2}', t.ids(2, 3), t.keys(2, 3), store => 's')$s$,
        $s$SELECT * FROM dms_refs.apply_resolved_references(1, 1::smallint, '{0,1}', '{103,104}', '{3,4}', '{3,0}', store => 's')$s$,
        $s$SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3), t.keys(2, 3), store => 's')$s$]) q, t.error(q) e;
    SELECT state INTO diff FROM t.error($s$SELECT * FROM dms_refs.diff_references(1, 1::smallint, t.ids(3, 4), t.keys(3, 4), store => 's')$s$);
    SELECT string_agg(DISTINCT e.state, ' ' ORDER BY e.state) INTO resolves FROM unnest(ARRAY[
        $s$SELECT * FROM dms_refs.resolve_references(t.ids(3, 4), t.keys(3, 4), 's')$s$,
        $s$SELECT * FROM dms_refs.find_invalid_references(t.ids(3, 4), t.keys(3, 4), 's')$s$]) q, t.error(q) e;
    SELECT state INTO referencing FROM t.error($s$SELECT * FROM dms_refs.referencing_documents(3, 3::smallint, 's')$s$);
END $$;
SELECT * FROM t.rights();

-- Nothing granted, then one right after another.
SET ROLE regress_dms_caller;
SELECT * FROM t.rights();
RESET ROLE;
GRANT SELECT, INSERT, UPDATE, DELETE ON s.reference TO regress_dms_caller;
GRANT SELECT ON s.alias TO regress_dms_caller;
SET ROLE regress_dms_caller;
SELECT * FROM t.rights();
RESET ROLE;
-- The schema as well, and that is all: nothing is asked of the document table, of partitions or of sequences.
GRANT USAGE ON SCHEMA s TO regress_dms_caller;
SET ROLE regress_dms_caller;
SELECT * FROM t.rights();
SELECT has_table_privilege('s.document', 'SELECT'), has_table_privilege('s.reference_01', 'SELECT'), has_sequence_privilege('s.reference_id_seq', 'USAGE');
RESET ROLE;
-- Each of them taken away again.
REVOKE SELECT ON s.alias FROM regress_dms_caller;
SET ROLE regress_dms_caller;
SELECT * FROM t.rights();
RESET ROLE;
GRANT SELECT (referentialpartitionkey, referentialid, id, documentid) ON s.alias TO regress_dms_caller;
SET ROLE regress_dms_caller;
SELECT * FROM t.rights();
RESET ROLE;
GRANT SELECT (documentpartitionkey) ON s.alias TO regress_dms_caller;
SET ROLE regress_dms_caller;
SELECT * FROM t.rights();
RESET ROLE;
REVOKE SELECT ON s.reference FROM regress_dms_caller;
SET ROLE regress_dms_caller;
SELECT * FROM t.rights();
RESET ROLE;
GRANT SELECT (parentdocumentpartitionkey, parentdocumentid, aliasid, referentialpartitionkey, referenceddocumentpartitionkey, referenceddocumentid) ON s.reference TO regress_dms_caller;
SET ROLE regress_dms_caller;
SELECT * FROM t.rights();
RESET ROLE;
REVOKE INSERT ON s.reference FROM regress_dms_caller;
SET ROLE regress_dms_caller;
SELECT writes LIKE '%42501%' AS refused, diff FROM t.rights();
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3, 5), t.keys(2, 3, 5), store => 's');
RESET ROLE;
GRANT INSERT (parentdocumentpartitionkey, parentdocumentid, aliasid, referentialpartitionkey, referenceddocumentpartitionkey, referenceddocumentid) ON s.reference TO regress_dms_caller;
SET ROLE regress_dms_caller;
SELECT * FROM t.rights();
RESET ROLE;
REVOKE DELETE ON s.reference FROM regress_dms_caller;
SET ROLE regress_dms_caller;
SELECT writes LIKE '%42501%' AS refused, diff FROM t.rights();
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(3), t.keys(3), store => 's');
RESET ROLE;
GRANT DELETE ON s.reference TO regress_dms_caller;
REVOKE UPDATE ON s.reference FROM regress_dms_caller;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3), t.keys(2, 3), store => 's');
UPDATE s.alias SET documentid = 8, documentpartitionkey = 0 WHERE id = 103;
SET ROLE regress_dms_caller;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3), t.keys(2, 3), store => 's');
RESET ROLE;
GRANT UPDATE (referentialpartitionkey, referenceddocumentpartitionkey, referenceddocumentid) ON s.reference TO regress_dms_caller;
SET ROLE regress_dms_caller;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3), t.keys(2, 3), store => 's');
RESET ROLE;
SELECT t.stored('s', 1);
-- Both engines ask the same.
SET dms_refs.engine = 'sql';
SET ROLE regress_dms_caller;
SELECT * FROM t.rights();
RESET ROLE;
REVOKE DELETE ON s.reference FROM regress_dms_caller;
SET ROLE regress_dms_caller;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(3), t.keys(3), store => 's');
RESET ROLE;
GRANT DELETE ON s.reference TO regress_dms_caller;
RESET dms_refs.engine;
-- A right that is lost between two executions of a prepared statement.
SET ROLE regress_dms_caller;
PREPARE call AS SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3), t.keys(2, 3), store => 's');
EXECUTE call;
RESET ROLE;
EXECUTE call;
REVOKE SELECT ON s.alias FROM regress_dms_caller;
REVOKE SELECT (referentialpartitionkey, referentialid, id, documentid, documentpartitionkey) ON s.alias FROM regress_dms_caller;
SET ROLE regress_dms_caller;
EXECUTE call;
RESET ROLE;
DEALLOCATE call;

-- Inside a SECURITY DEFINER function the definer's rights count, not the caller's; and not for longer.
REVOKE ALL ON s.reference, s.alias FROM regress_dms_caller;
CREATE FUNCTION t.definer() RETURNS boolean LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS
$$ SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(5), t.keys(5), store => 's') $$;
SET ROLE regress_dms_caller;
SELECT t.definer();
SELECT * FROM t.rights();
RESET ROLE;
SELECT t.stored('s', 1);
ALTER FUNCTION t.definer() OWNER TO regress_dms_caller;
SELECT t.definer();

-- An owner without the superuser's rights: foreign keys are checked with the owner's rights, the engine with the caller's.
ALTER TABLE s.document OWNER TO regress_dms_owner;
ALTER TABLE s.alias OWNER TO regress_dms_owner;
ALTER TABLE s.reference OWNER TO regress_dms_owner;
GRANT USAGE ON SCHEMA s TO regress_dms_owner;
SET ROLE regress_dms_owner;
SELECT * FROM t.rights();
SELECT state FROM t.error($$SELECT * FROM dms_refs.insert_references(77, 1::smallint, t.ids(3), t.keys(3), store => 's')$$);
RESET ROLE;
GRANT SELECT, INSERT, UPDATE, DELETE ON s.reference TO regress_dms_caller;
GRANT SELECT ON s.alias TO regress_dms_caller;
SET ROLE regress_dms_caller;
SELECT * FROM t.rights();
SELECT state FROM t.error($$SELECT * FROM dms_refs.insert_references(77, 1::smallint, t.ids(3), t.keys(3), store => 's')$$);
RESET ROLE;
-- An extra column whose default the caller may not evaluate.
CREATE SEQUENCE t.forbidden;
ALTER TABLE s.reference ADD COLUMN counted bigint DEFAULT nextval('t.forbidden');
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(3), t.keys(3), store => 's');
SET ROLE regress_dms_caller;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(3, 4), t.keys(3, 4), store => 's');
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(3), t.keys(3), store => 's');
RESET ROLE;
ALTER TABLE s.reference DROP COLUMN counted;
DROP SEQUENCE t.forbidden;
-- A generated column calls its function as the caller.
CREATE FUNCTION t.who(bigint) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN current_user; END';
ALTER TABLE s.reference ADD COLUMN writer text GENERATED ALWAYS AS (t.who(aliasid)) STORED;
SET ROLE regress_dms_caller;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(3, 4), t.keys(3, 4), store => 's');
SELECT aliasid, writer FROM s.reference WHERE parentdocumentid = 1 AND aliasid = 104;
RESET ROLE;
ALTER TABLE s.reference DROP COLUMN writer;
DROP FUNCTION t.who;

-- Anybody may look at the stores; not everybody may make them, and nobody may change the table by hand.
SET ROLE regress_dms_caller;
SELECT store, reads, writes FROM dms_refs.stores;
SELECT count(*) FROM dms_refs.store_config;
SELECT dms_refs.create_store('mine', 1);
SELECT dms_refs.register_store('mine', 's.document', 's.alias', 's.reference');
SELECT dms_refs.unregister_store('s');
SELECT dms_refs.drop_store('s');
INSERT INTO dms_refs.store_config SELECT * FROM dms_refs.store_config;
UPDATE dms_refs.store_config SET store = 'x';
DELETE FROM dms_refs.store_config;
TRUNCATE dms_refs.store_config;
RESET ROLE;
SELECT store FROM dms_refs.store_config;

SELECT dms_refs.drop_store('s');
DROP FUNCTION t.rights, t.definer;
REVOKE USAGE ON SCHEMA t FROM PUBLIC;
DROP ROLE regress_dms_caller, regress_dms_owner;
