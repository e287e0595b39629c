-- Purpose: calls and transactions: several calls in one, what each sees, savepoints, rollback, read-only, isolation levels.
\set VERBOSITY sqlstate
SELECT t.new_store('s');

-- Several calls in one transaction, each sees what came before, by call or by statement.
BEGIN;
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(2, 3), t.keys(2, 3), store => 's');
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(3, 4), t.keys(3, 4), store => 's');
DELETE FROM s.reference WHERE parentdocumentid = 1 AND aliasid = 103;
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(3, 4), t.keys(3, 4), include_kept => true, store => 's');
SELECT t.add_documents('s', 10, 12);
SELECT action, alias_id FROM dms_refs.sync_references(10, 2::smallint, t.ids(10, 11, 12, 2), t.keys(10, 11, 12, 2), store => 's');
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(10, 4), t.keys(10, 4), store => 's');
COMMIT;
SELECT t.stored('s', 1), t.stored('s', 10);

-- Rolled back as a whole.
BEGIN;
SELECT t.add_documents('s', 20, 22);
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(20, 21), t.keys(20, 21), store => 's');
SELECT action, alias_id FROM dms_refs.sync_references(20, 0::smallint, t.ids(1), t.keys(1), store => 's');
ROLLBACK;
SELECT t.stored('s', 1), t.stored('s', 20);
-- The alias that never came to be does not resolve, though this session has seen it.
SELECT ordinal, action FROM dms_refs.sync_references(1, 1::smallint, t.ids(4, 20), t.keys(4, 20), store => 's');

-- Savepoints: what is rolled back is not seen, what is released is.
BEGIN;
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(2), t.keys(2), store => 's');
SAVEPOINT a;
SELECT t.add_documents('s', 30, 31);
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(2, 3, 30), t.keys(2, 3, 30), store => 's');
SAVEPOINT b;
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, '{}', '{}', store => 's');
ROLLBACK TO b;
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(2, 3, 30), t.keys(2, 3, 30), include_kept => true, store => 's');
ROLLBACK TO a;
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(2, 3), t.keys(2, 3), include_kept => true, store => 's');
SELECT ordinal, action FROM dms_refs.sync_references(1, 1::smallint, t.ids(2, 3, 30), t.keys(2, 3, 30), store => 's');
SAVEPOINT c;
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(3), t.keys(3), store => 's');
RELEASE c;
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(3, 5), t.keys(3, 5), include_kept => true, store => 's');
COMMIT;
SELECT t.stored('s', 1);

-- A call that fails inside a savepoint leaves the transaction usable and nothing behind.
BEGIN;
SELECT success FROM dms_refs.insert_references(2, 2::smallint, t.ids(2), t.keys(2), store => 's');
SAVEPOINT a;
SELECT success FROM dms_refs.insert_references(77, 1::smallint, t.ids(2), t.keys(2), store => 's');
SELECT 1;
ROLLBACK TO a;
SELECT success FROM dms_refs.insert_references(2, 2::smallint, t.ids(2), '{9}', store => 's');
ROLLBACK TO a;
SELECT action, alias_id FROM dms_refs.sync_references(2, 2::smallint, t.ids(2, 4), t.keys(2, 4), include_kept => true, store => 's');
COMMIT;
SELECT t.stored('s', 2);

-- A set exchanged back and forth in one transaction.
BEGIN;
SELECT success FROM dms_refs.insert_references(3, 3::smallint, t.ids(1, 2), t.keys(1, 2), store => 's');
SELECT success FROM dms_refs.insert_references(3, 3::smallint, t.ids(3, 4), t.keys(3, 4), store => 's');
SELECT success FROM dms_refs.insert_references(3, 3::smallint, t.ids(1, 2), t.keys(1, 2), store => 's');
SELECT success FROM dms_refs.insert_references(3, 3::smallint, '{}', '{}', store => 's');
SELECT success FROM dms_refs.insert_references(3, 3::smallint, t.ids(4, 1), t.keys(4, 1), store => 's');
COMMIT;
SELECT t.stored('s', 3);

-- The parent, its alias and its references made in one transaction, in any order that the keys allow.
BEGIN;
SELECT t.add_documents('s', 40, 40);
SELECT success FROM dms_refs.insert_references(40, 0::smallint, t.ids(40, 1), t.keys(40, 1), is_pure_insert => true, store => 's');
DELETE FROM s.reference WHERE aliasid = 140;
DELETE FROM s.document WHERE id = 40;
SELECT success FROM dms_refs.insert_references(40, 0::smallint, t.ids(1), t.keys(1), store => 's');
ROLLBACK;
SELECT t.stored('s', 40);

-- Read-only: the functions that write refuse, even where nothing would change; those that read work.
BEGIN READ ONLY;
SAVEPOINT a;
SELECT * FROM dms_refs.insert_references(3, 3::smallint, t.ids(1, 4), t.keys(1, 4), store => 's');
ROLLBACK TO a;
SELECT * FROM dms_refs.insert_references(3, 3::smallint, t.ids(99), t.keys(99), store => 's');
ROLLBACK TO a;
SELECT * FROM s.InsertReferences(3, 3::smallint, t.ids(1, 4), t.keys(1, 4));
ROLLBACK TO a;
SELECT * FROM dms_refs.sync_references(3, 3::smallint, t.ids(1, 4), t.keys(1, 4), store => 's');
ROLLBACK TO a;
SELECT * FROM dms_refs.sync_references_batch('{3}', '{3}', '{2}', t.ids(1, 4), t.keys(1, 4), store => 's');
ROLLBACK TO a;
SELECT * FROM dms_refs.sync_references_batch('{}', '{}', '{}', '{}', '{}', store => 's');
ROLLBACK TO a;
SELECT * FROM dms_refs.apply_resolved_references(3, 3::smallint, '{2,1}', '{101,104}', '{1,4}', '{1,0}', store => 's');
ROLLBACK TO a;
SELECT action, alias_id FROM dms_refs.diff_references(3, 3::smallint, t.ids(2, 4), t.keys(2, 4), store => 's');
SELECT action, ordinal FROM dms_refs.diff_references(3, 3::smallint, t.ids(99), t.keys(99), store => 's');
SELECT alias_id FROM dms_refs.resolve_references(t.ids(2), t.keys(2), 's');
SELECT ordinal FROM dms_refs.find_invalid_references(t.ids(2, 99), t.keys(2, 99), 's');
SELECT * FROM dms_refs.referencing_documents(4, 0::smallint, 's');
SELECT * FROM dms_refs.last_invalid_references();
SELECT store, reads FROM dms_refs.stores;
COMMIT;
SELECT t.stored('s', 3);

-- The higher isolation levels, without anybody else.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT action, alias_id FROM dms_refs.sync_references(3, 3::smallint, t.ids(2, 4), t.keys(2, 4), include_kept => true, store => 's');
SELECT action, alias_id FROM dms_refs.sync_references(3, 3::smallint, t.ids(2, 5), t.keys(2, 5), include_kept => true, store => 's');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT action, alias_id FROM dms_refs.sync_references(3, 3::smallint, t.ids(5, 6), t.keys(5, 6), include_kept => true, store => 's');
SELECT action, alias_id FROM dms_refs.sync_references(3, 3::smallint, t.ids(6, 7), t.keys(6, 7), include_kept => true, store => 's');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY;
SELECT action, alias_id FROM dms_refs.diff_references(3, 3::smallint, t.ids(5, 6), t.keys(5, 6), include_kept => true, store => 's');
COMMIT;
SELECT t.stored('s', 3);

-- Every way to lock the parent leaves the same set.
SET dms_refs.lock_parent = 'always';
SELECT action, alias_id FROM dms_refs.sync_references(3, 3::smallint, t.ids(7, 8), t.keys(7, 8), include_kept => true, store => 's');
SELECT action, alias_id FROM dms_refs.sync_references(3, 3::smallint, t.ids(7, 8), t.keys(7, 8), include_kept => true, store => 's');
SELECT success FROM dms_refs.insert_references(77, 1::smallint, t.ids(2), t.keys(2), store => 's');
SET dms_refs.lock_parent = 'never';
SELECT action, alias_id FROM dms_refs.sync_references(3, 3::smallint, t.ids(8, 9), t.keys(8, 9), include_kept => true, store => 's');
SELECT success FROM dms_refs.insert_references(77, 1::smallint, t.ids(2), t.keys(2), store => 's');
RESET dms_refs.lock_parent;
SELECT t.stored('s', 3);
SELECT dms_refs.drop_store('s');
