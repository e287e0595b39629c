-- Purpose: constraints of the store's tables: CHECK, NOT NULL, extra foreign keys, deferrable ones, disabled ones, missing ones.
\set VERBOSITY sqlstate
SELECT t.new_store('s');

-- CHECK, on the table and on a partition; violated on the way, the call leaves nothing.
ALTER TABLE s.reference ADD CONSTRAINT not_seven CHECK (aliasid <> 107);
ALTER TABLE s.reference_01 ADD CONSTRAINT not_nine CHECK (referenceddocumentid <> 9);
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3), t.keys(2, 3), store => 's');
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(3, 6, 7, 8), t.keys(3, 6, 7, 8), store => 's');
SELECT state, message LIKE '%not_seven%' AS names_constraint
FROM t.error($$SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(3, 6, 7, 8), t.keys(3, 6, 7, 8), store => 's')$$);
SELECT state, message LIKE '%not_nine%' AS names_constraint
FROM t.error($$SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(3, 9), t.keys(3, 9), store => 's')$$);
SELECT t.stored('s', 1);
-- On an update too; and only where the row is: document 2 lives in another partition.
UPDATE s.alias SET documentid = 9, documentpartitionkey = 1 WHERE id = 103;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3), t.keys(2, 3), store => 's');
SELECT success FROM dms_refs.insert_references(2, 2::smallint, t.ids(3, 9), t.keys(3, 9), store => 's');
UPDATE s.alias SET documentid = 3, documentpartitionkey = 3 WHERE id = 103;
SELECT t.stored('s', 1), t.stored('s', 2);
-- One that is never violated keeps nothing from being written; a CHECK may call a function.
ALTER TABLE s.reference DROP CONSTRAINT not_seven;
ALTER TABLE s.reference_01 DROP CONSTRAINT not_nine;
CREATE FUNCTION t.fine(bigint) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1 < 1000; END';
ALTER TABLE s.reference ADD CONSTRAINT fine CHECK (t.fine(aliasid)) NOT VALID;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(4, 5), t.keys(4, 5), store => 's');
SELECT t.stored('s', 1);
INSERT INTO s.alias (id, referentialpartitionkey, referentialid, documentid, documentpartitionkey) OVERRIDING SYSTEM VALUE VALUES (1001, 0, t.u(1001), 1, 1);
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(4, 1001), '{1,0}', store => 's');
ALTER TABLE s.reference DROP CONSTRAINT fine;

-- A NOT NULL column without a default is an error as for any INSERT, and no error where nothing is inserted.
ALTER TABLE s.reference ADD COLUMN must int;
UPDATE s.reference SET must = 1;
ALTER TABLE s.reference ALTER COLUMN must SET NOT NULL;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(4, 5, 6), t.keys(4, 5, 6), store => 's');
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(4), t.keys(4), store => 's');
ALTER TABLE s.reference ALTER COLUMN must SET DEFAULT 7;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(4, 5), t.keys(4, 5), store => 's');
SELECT aliasid, must FROM s.reference WHERE parentdocumentid = 1 ORDER BY aliasid;
ALTER TABLE s.reference DROP COLUMN must;

-- A domain over one of the extra columns.
CREATE DOMAIN t.small AS int DEFAULT 3 CHECK (VALUE < 10);
ALTER TABLE s.reference ADD COLUMN tiny t.small;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(5, 6), t.keys(5, 6), store => 's');
SELECT aliasid, tiny FROM s.reference WHERE parentdocumentid = 1 ORDER BY aliasid;
ALTER TABLE s.reference ALTER COLUMN tiny SET DEFAULT 30;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(5, 7), t.keys(5, 7), store => 's');
ALTER TABLE s.reference DROP COLUMN tiny;
SELECT t.stored('s', 1);

-- An extra foreign key of the reference table to another table.
DELETE FROM s.reference;
CREATE TABLE t.permitted (id bigint PRIMARY KEY);
INSERT INTO t.permitted SELECT n FROM generate_series(101, 107) n;
ALTER TABLE s.reference ADD CONSTRAINT fk_permitted FOREIGN KEY (aliasid) REFERENCES t.permitted;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(5, 6, 7), t.keys(5, 6, 7), store => 's');
SELECT state, message LIKE '%fk_permitted%' AS names_constraint
FROM t.error($$SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(5, 8), t.keys(5, 8), store => 's')$$);
SELECT t.stored('s', 1);
ALTER TABLE s.reference DROP CONSTRAINT fk_permitted;
DROP TABLE t.permitted;
-- One to the alias table over other columns, and a second one over the same.
DELETE FROM s.reference;
ALTER TABLE s.alias ADD CONSTRAINT ux_target UNIQUE (referentialpartitionkey, id, documentid);
ALTER TABLE s.reference ADD CONSTRAINT fk_target FOREIGN KEY (referentialpartitionkey, aliasid, referenceddocumentid)
    REFERENCES s.alias (referentialpartitionkey, id, documentid) ON UPDATE CASCADE;
ALTER TABLE s.reference ADD CONSTRAINT fk_again FOREIGN KEY (referentialpartitionkey, aliasid) REFERENCES s.alias (referentialpartitionkey, id);
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 8), t.keys(2, 8), store => 's');
SELECT state, message LIKE '%fk_target%' AS names_constraint
FROM t.error($$SELECT * FROM dms_refs.apply_resolved_references(1, 1::smallint, '{3}', '{102}', '{3}', '{3}', store => 's')$$);
SELECT t.stored('s', 1);
UPDATE s.alias SET documentid = 7, documentpartitionkey = 3 WHERE id = 102;
SELECT action, alias_id, referenced_document_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(2, 8), t.keys(2, 8), store => 's');
ALTER TABLE s.reference DROP CONSTRAINT fk_target;
ALTER TABLE s.reference DROP CONSTRAINT fk_again;

-- A foreign key of another table to the reference table: it refuses the delete, or follows it.
CREATE TABLE t.notes (pk smallint, id bigint, FOREIGN KEY (pk, id) REFERENCES s.reference (parentdocumentpartitionkey, id));
INSERT INTO t.notes SELECT parentdocumentpartitionkey, id FROM s.reference WHERE parentdocumentid = 1 AND aliasid = 108;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3), t.keys(2, 3), store => 's');
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(3, 8), t.keys(3, 8), store => 's');
SELECT t.stored('s', 1);
DROP TABLE t.notes;
CREATE TABLE t.notes (pk smallint, id bigint, FOREIGN KEY (pk, id) REFERENCES s.reference (parentdocumentpartitionkey, id) ON DELETE CASCADE);
INSERT INTO t.notes SELECT parentdocumentpartitionkey, id FROM s.reference WHERE parentdocumentid = 1;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3), t.keys(2, 3), store => 's');
SELECT t.stored('s', 1), count(*) AS notes FROM t.notes;
DROP TABLE t.notes;

-- The parent's key deferrable: checked at the end of the statement, or of the transaction.
ALTER TABLE s.reference ALTER CONSTRAINT fk_reference_parentdocument DEFERRABLE INITIALLY IMMEDIATE;
SELECT success FROM dms_refs.insert_references(11, 3::smallint, t.ids(2), t.keys(2), store => 's');
BEGIN;
SET CONSTRAINTS s.fk_reference_parentdocument DEFERRED;
SELECT success FROM dms_refs.insert_references(11, 3::smallint, t.ids(2), t.keys(2), store => 's');
SELECT t.add_documents('s', 11, 11);
COMMIT;
SELECT t.stored('s', 11);
ALTER TABLE s.reference ALTER CONSTRAINT fk_reference_parentdocument DEFERRABLE INITIALLY DEFERRED;
BEGIN;
SELECT success FROM dms_refs.insert_references(12, 0::smallint, t.ids(2), t.keys(2), store => 's');
SELECT t.stored('s', 12);
COMMIT;
SELECT t.stored('s', 12);
BEGIN;
SELECT success FROM dms_refs.insert_references(12, 0::smallint, t.ids(2), t.keys(2), store => 's');
SELECT success FROM dms_refs.insert_references(12, 0::smallint, '{}', '{}', store => 's');
COMMIT;
SELECT success FROM dms_refs.insert_references(11, 3::smallint, t.ids(3), t.keys(3), store => 's');
SELECT t.stored('s', 11);
ALTER TABLE s.reference ALTER CONSTRAINT fk_reference_parentdocument NOT DEFERRABLE;
-- And the alias's.
ALTER TABLE s.reference ALTER CONSTRAINT fk_reference_referencedalias DEFERRABLE INITIALLY DEFERRED;
BEGIN;
SELECT inserted FROM dms_refs.apply_resolved_references(11, 3::smallint, '{0}', '{999}', '{3}', '{3}', store => 's');
COMMIT;
BEGIN;
SELECT inserted FROM dms_refs.apply_resolved_references(11, 3::smallint, '{0}', '{999}', '{3}', '{3}', store => 's');
INSERT INTO s.alias (id, referentialpartitionkey, referentialid, documentid, documentpartitionkey) OVERRIDING SYSTEM VALUE VALUES (999, 0, t.u(999), 3, 3);
COMMIT;
SELECT t.stored('s', 11);
ALTER TABLE s.reference ALTER CONSTRAINT fk_reference_referencedalias NOT DEFERRABLE;

-- Native checks or the triggers' own: the same answers.
SET dms_refs.native_fk_checks = off;
SELECT success FROM dms_refs.insert_references(11, 3::smallint, t.ids(2, 3), t.keys(2, 3), store => 's');
SELECT success FROM dms_refs.insert_references(77, 1::smallint, t.ids(2), t.keys(2), store => 's');
SELECT inserted FROM dms_refs.apply_resolved_references(11, 3::smallint, '{0}', '{12345}', '{3}', '{3}', store => 's');
RESET dms_refs.native_fk_checks;
SELECT t.stored('s', 11);

-- Keys that are switched off are not checked, in either way.
SET session_replication_role = replica;
SELECT success FROM dms_refs.insert_references(77, 1::smallint, t.ids(2), t.keys(2), store => 's');
SELECT inserted FROM dms_refs.apply_resolved_references(78, 2::smallint, '{0}', '{12345}', '{3}', '{3}', store => 's');
RESET session_replication_role;
SELECT t.stored('s', 77), t.stored('s', 78);
-- Such a row's id is looked up in vain, and it goes like any other.
SELECT * FROM dms_refs.sync_references(78, 2::smallint, '{}', '{}', store => 's');
ALTER TABLE s.reference DISABLE TRIGGER ALL;
SELECT success FROM dms_refs.insert_references(79, 3::smallint, t.ids(2), t.keys(2), store => 's');
ALTER TABLE s.reference ENABLE TRIGGER ALL;
SELECT success FROM dms_refs.insert_references(80, 0::smallint, t.ids(2), t.keys(2), store => 's');
SELECT t.stored('s', 79), t.stored('s', 80);
-- Keys that are gone.
DELETE FROM s.reference WHERE parentdocumentid > 50;
ALTER TABLE s.reference DROP CONSTRAINT fk_reference_parentdocument;
SELECT success FROM dms_refs.insert_references(80, 0::smallint, t.ids(2), t.keys(2), store => 's');
SELECT t.stored('s', 80);
SELECT inserted FROM dms_refs.apply_resolved_references(80, 0::smallint, '{0}', '{12345}', '{3}', '{3}', store => 's');
ALTER TABLE s.reference DROP CONSTRAINT fk_reference_referencedalias;
SELECT inserted FROM dms_refs.apply_resolved_references(80, 0::smallint, '{0}', '{12345}', '{3}', '{3}', store => 's');
SELECT t.stored('s', 80);

-- The unique index of the set, deferrable: sets still come out right.
ALTER TABLE s.reference DROP CONSTRAINT ux_reference_parent_alias;
ALTER TABLE s.reference ADD CONSTRAINT ux_later UNIQUE (parentdocumentpartitionkey, parentdocumentid, aliasid) DEFERRABLE INITIALLY DEFERRED;
SELECT action, alias_id FROM dms_refs.sync_references(80, 0::smallint, t.ids(2, 3), t.keys(2, 3), store => 's');
SELECT action, alias_id FROM dms_refs.sync_references(80, 0::smallint, t.ids(3, 4), t.keys(3, 4), include_kept => true, store => 's');
SELECT t.stored('s', 80);
DROP FUNCTION t.fine;
DROP DOMAIN t.small;
SELECT dms_refs.drop_store('s');
