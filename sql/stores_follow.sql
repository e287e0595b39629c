-- Purpose: a store follows its tables: renamed, moved, emptied, rebuilt, dropped; in the same session that has used it before.
\set VERBOSITY sqlstate
SELECT t.new_store('s');
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3), t.keys(2, 3), store => 's');

-- Tables renamed.
ALTER TABLE s.reference RENAME TO refs;
ALTER TABLE s.alias RENAME TO names;
ALTER TABLE s.document RENAME TO docs;
ALTER TABLE s.reference_01 RENAME TO refs_one;
SELECT store, document, alias, reference FROM dms_refs.stores;
SELECT ordinal, action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(3, 4), t.keys(3, 4), store => 's');
SELECT aliasid FROM s.refs ORDER BY aliasid;
SELECT aliasid FROM s.refs_one ORDER BY aliasid;

-- Moved to another schema: the store and its drop-in functions find them.
CREATE SCHEMA elsewhere;
ALTER TABLE s.refs SET SCHEMA elsewhere;
ALTER TABLE s.names SET SCHEMA elsewhere;
SELECT store, document, alias, reference FROM dms_refs.stores;
SELECT ordinal, action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(4, 5), t.keys(4, 5), store => 's');
SELECT * FROM s.InsertReferences(1, 1::smallint, t.ids(5, 6), t.keys(5, 6));
SELECT aliasid FROM elsewhere.refs ORDER BY aliasid;
ALTER TABLE elsewhere.refs SET SCHEMA s;
ALTER TABLE elsewhere.names SET SCHEMA s;
DROP SCHEMA elsewhere;

-- New tables under the old names are not the store's.
CREATE TABLE s.reference (LIKE s.refs);
CREATE TABLE s.alias (LIKE s.names);
SELECT ordinal, action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(6, 7), t.keys(6, 7), store => 's');
SELECT count(*) FROM s.reference;
SELECT aliasid FROM s.refs ORDER BY aliasid;
DROP TABLE s.reference, s.alias;

-- The schema renamed: the store keeps its name, the functions in the schema keep their store.
ALTER SCHEMA s RENAME TO s2;
SELECT store, document, alias, reference FROM dms_refs.stores;
SELECT ordinal, action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(7, 8), t.keys(7, 8), store => 's');
SELECT * FROM s2.InsertReferences(1, 1::smallint, t.ids(8, 9), t.keys(8, 9));
SELECT * FROM s2.GetInvalidReferencesAndClear(1, 1::smallint);
SELECT aliasid FROM s2.refs ORDER BY aliasid;
ALTER SCHEMA s2 RENAME TO s;

-- Rebuilt and emptied: rows at other addresses, files of other names.
VACUUM FULL s.names;
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(8, 9), t.keys(8, 9), include_kept => true, store => 's');
REINDEX TABLE s.refs;
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(9, 2), t.keys(9, 2), include_kept => true, store => 's');
TRUNCATE s.refs;
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(9, 2), t.keys(9, 2), include_kept => true, store => 's');

-- An index replaced by another one under the same columns, and one gone for good.
CREATE UNIQUE INDEX other_unique ON s.names (referentialid, referentialpartitionkey);
ALTER TABLE s.names DROP CONSTRAINT ux_alias_referentialid;
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(2, 3, 4), t.keys(2, 3, 4), include_kept => true, store => 's');
DROP INDEX s.other_unique;
SELECT inserted, deleted, kept FROM dms_refs.apply_resolved_references(1, 1::smallint, '{3,1,3}', '{102,104,106}', '{2,4,6}', '{2,0,2}', store => 's');
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(3, 4, 5), t.keys(3, 4, 5), include_kept => true, store => 's');
ALTER TABLE s.refs DROP CONSTRAINT ux_reference_parent_alias;
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(4, 5, 6), t.keys(4, 5, 6), include_kept => true, store => 's');
SELECT aliasid FROM s.refs ORDER BY aliasid;

-- A dropped column of ours is an error that names the problem, not a crash.
ALTER TABLE s.refs RENAME COLUMN aliasid TO alias_number;
SELECT state FROM t.error($$SELECT * FROM dms_refs.sync_references(1, 1::smallint, t.ids(4), t.keys(4), store => 's')$$);
ALTER TABLE s.refs RENAME COLUMN alias_number TO aliasid;
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(4, 5, 6), t.keys(4, 5, 6), include_kept => true, store => 's');

-- A dropped table.
DROP TABLE s.refs;
SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(2), t.keys(2), store => 's');
SELECT * FROM dms_refs.diff_references(1, 1::smallint, t.ids(2), t.keys(2), store => 's');
SELECT * FROM dms_refs.referencing_documents(1, 1::smallint, store => 's');
SELECT store, document, alias FROM dms_refs.stores;
SELECT dms_refs.drop_store('s');
SELECT count(*) FROM dms_refs.stores;
SELECT count(*) FROM pg_namespace WHERE nspname = 's';

-- Made again under the same name in the same session: another store.
SELECT t.new_store('s', 3, 'lean');
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(2, 3), t.keys(2, 3), store => 's');
SELECT t.stored('s', 1);

-- A registered store changed by hand in the configuration table is looked at again.
SELECT t.new_store('s3', 3, 'lean');
UPDATE dms_refs.store_config SET (document, alias, reference) = (SELECT document, alias, reference FROM dms_refs.store_config WHERE store = 's3')
WHERE store = 's';
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(3), t.keys(3), store => 's');
SELECT t.stored('s', 1), t.stored('s3', 1);
UPDATE dms_refs.store_config SET (document, alias, reference) = ('s.document', 's.alias', 's.reference') WHERE store = 's';
SELECT t.add_documents('s', 4, 9), t.add_documents('s3', 4, 9);
-- By a session whose triggers do not fire, as those of a replica or of a restore.
CREATE FUNCTION t.repoint(to_store name) RETURNS void LANGUAGE sql AS $$
    UPDATE dms_refs.store_config SET (document, alias, reference) = (format('%I.document', to_store)::regclass, format('%I.alias', to_store)::regclass,
        format('%I.reference', to_store)::regclass) WHERE store = 's' $$;
SET session_replication_role = replica;
SELECT t.repoint('s3');
RESET session_replication_role;
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(4), t.keys(4), store => 's');
SELECT t.stored('s', 1), t.stored('s3', 1);
ALTER TABLE dms_refs.store_config DISABLE TRIGGER ALL;
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(5), t.keys(5), store => 's');
SELECT t.repoint('s');
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(6), t.keys(6), store => 's');
SELECT t.stored('s', 1), t.stored('s3', 1);
ALTER TABLE dms_refs.store_config ENABLE TRIGGER ALL;
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(7), t.keys(7), store => 's');
SET session_replication_role = replica;
SELECT t.repoint('s3');
RESET session_replication_role;
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(8), t.keys(8), store => 's');
SELECT t.stored('s', 1), t.stored('s3', 1);
ALTER TABLE dms_refs.store_config ENABLE ALWAYS TRIGGER store_changed, ENABLE ALWAYS TRIGGER stores_emptied;
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(9), t.keys(9), store => 's');
BEGIN;
SELECT t.repoint('s');
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(9), t.keys(9), store => 's');
ROLLBACK;
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(9), t.keys(9), include_kept => true, store => 's');
BEGIN;
TRUNCATE dms_refs.store_config;
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(9), t.keys(9), store => 's');
ROLLBACK;
SELECT t.repoint('s');
DROP FUNCTION t.repoint;

-- Schemas exchanged: each store keeps its tables, and a drop-in function the store of the tables beside it.
SELECT t.new_store('s4', 9, 'lean');
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2), t.keys(2), store => 's4');
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(3), t.keys(3), store => 's3');
SELECT * FROM s3.InsertReferences(1, 1::smallint, t.ids(3), t.keys(3));
ALTER SCHEMA s3 RENAME TO held;
ALTER SCHEMA s4 RENAME TO s3;
ALTER SCHEMA held RENAME TO s4;
SELECT * FROM s3.InsertReferences(1, 1::smallint, t.ids(2, 5), t.keys(2, 5));
SELECT * FROM s4.InsertReferences(1, 1::smallint, t.ids(3, 6), t.keys(3, 6));
SELECT t.stored('s3', 1), t.stored('s4', 1);
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(2, 5), t.keys(2, 5), include_kept => true, store => 's4');
ALTER SCHEMA s3 RENAME TO held;
ALTER SCHEMA s4 RENAME TO s3;
ALTER SCHEMA held RENAME TO s4;
SELECT dms_refs.drop_store('s4');
SELECT dms_refs.drop_store('s');
SELECT dms_refs.drop_store('s3');
