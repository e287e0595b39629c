-- Purpose: partitions that come, go and differ from their table: other column order, dropped columns, other bounds; seen by the session that used them.
\set VERBOSITY sqlstate
SELECT t.new_store('s');
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3, 4), t.keys(2, 3, 4), store => 's');
SELECT success FROM dms_refs.insert_references(2, 2::smallint, t.ids(2, 3), t.keys(2, 3), store => 's');

-- A partition of references detached: its key has none any more, its rows stay with it.
ALTER TABLE s.reference DETACH PARTITION s.reference_01;
SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(2), t.keys(2), store => 's');
SELECT state, message ~ '\m1\M' AS names_key FROM t.error($$SELECT * FROM dms_refs.insert_references(1, 1::smallint, '{}', '{}', store => 's')$$);
SELECT * FROM dms_refs.diff_references(1, 1::smallint, t.ids(2), t.keys(2), store => 's');
SELECT path FROM dms_refs.sync_references_batch('{2,1}', '{2,1}', '{1,1}', t.ids(2, 2), t.keys(2, 2), store => 's');
SELECT * FROM dms_refs.referencing_documents(2, 2::smallint, 's');
SELECT t.stored('s', 2);
SELECT aliasid FROM s.reference_01 ORDER BY aliasid;
-- The others are served.
SELECT action, alias_id FROM dms_refs.sync_references(2, 2::smallint, t.ids(3, 4), t.keys(3, 4), store => 's');
-- Back again.
ALTER TABLE s.reference ATTACH PARTITION s.reference_01 FOR VALUES IN (1);
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(4, 5), t.keys(4, 5), store => 's');
SELECT t.stored('s', 1);
SELECT * FROM dms_refs.referencing_documents(4, 0::smallint, 's');

-- Replaced by a table whose columns stand in another order, after a dropped one, with one that the table has too but elsewhere.
ALTER TABLE s.reference ADD COLUMN noted text DEFAULT 'from the table';
CREATE TABLE s.other_order (gone int, noted text DEFAULT 'from the partition', referenceddocumentid bigint NOT NULL, aliasid bigint NOT NULL, gone_too text,
    id bigint NOT NULL, referentialpartitionkey smallint NOT NULL, parentdocumentid bigint NOT NULL,
    referenceddocumentpartitionkey smallint NOT NULL, parentdocumentpartitionkey smallint NOT NULL);
ALTER TABLE s.other_order DROP COLUMN gone, DROP COLUMN gone_too;
INSERT INTO s.other_order (noted, referenceddocumentid, aliasid, id, referentialpartitionkey, parentdocumentid, referenceddocumentpartitionkey, parentdocumentpartitionkey)
SELECT 'moved', referenceddocumentid, aliasid, id, referentialpartitionkey, parentdocumentid, referenceddocumentpartitionkey, parentdocumentpartitionkey FROM s.reference_01;
BEGIN;
ALTER TABLE s.reference DETACH PARTITION s.reference_01;
ALTER TABLE s.reference ATTACH PARTITION s.other_order FOR VALUES IN (1);
COMMIT;
SELECT action, alias_id, referenced_document_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(4, 5), t.keys(4, 5), include_kept => true, store => 's');
SELECT action, alias_id, referenced_document_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(5, 6, 7), t.keys(5, 6, 7), include_kept => true, store => 's');
UPDATE s.alias SET documentid = 9, documentpartitionkey = 1 WHERE id = 106;
SELECT action, alias_id, referenced_document_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(5, 6, 7), t.keys(5, 6, 7), include_kept => true, store => 's');
SELECT t.stored('s', 1);
SELECT aliasid, noted FROM s.reference WHERE parentdocumentid = 1 ORDER BY aliasid;
SELECT count(*) = count(DISTINCT id) AS distinct_identities, count(*) FROM s.reference;
SELECT * FROM dms_refs.referencing_documents(9, 1::smallint, 's');
SELECT * FROM dms_refs.insert_references(77, 1::smallint, t.ids(5), t.keys(5), store => 's');
DROP TABLE s.reference_01;

-- Alias and document partitions in another order.
DELETE FROM s.reference;
BEGIN;
CREATE TABLE s.alias_other (documentpartitionkey smallint NOT NULL, gone int, referentialid uuid NOT NULL, documentid bigint NOT NULL, id bigint NOT NULL, referentialpartitionkey smallint NOT NULL);
ALTER TABLE s.alias_other DROP COLUMN gone;
INSERT INTO s.alias_other (id, referentialpartitionkey, referentialid, documentid, documentpartitionkey)
SELECT id, referentialpartitionkey, referentialid, documentid, documentpartitionkey FROM s.alias_03;
ALTER TABLE s.alias DETACH PARTITION s.alias_03;
ALTER TABLE s.alias ATTACH PARTITION s.alias_other FOR VALUES IN (3);
COMMIT;
SELECT ordinal, alias_id, document_id, document_partition_key FROM dms_refs.resolve_references(t.ids(2, 3, 6), t.keys(2, 3, 6), 's');
SELECT action, alias_id, referenced_document_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(2, 3, 6), t.keys(2, 3, 6), store => 's');
SELECT action, referential_id, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(3), t.keys(3), store => 's');
SELECT t.stored('s', 1);

-- An alias partition detached and left out: its key has none; empty first, for the foreign key's sake.
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(3), t.keys(3), store => 's');
ALTER TABLE s.alias DETACH PARTITION s.alias_other;
SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(3, 2), t.keys(3, 2), store => 's');
SELECT * FROM dms_refs.resolve_references(t.ids(2), t.keys(2), 's');
SELECT * FROM dms_refs.find_invalid_references(t.ids(2), t.keys(2), 's');
SELECT * FROM dms_refs.apply_resolved_references(1, 1::smallint, '{3}', '{102}', '{2}', '{2}', store => 's');
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(3, 4), t.keys(3, 4), store => 's');
ALTER TABLE s.alias ATTACH PARTITION s.alias_other FOR VALUES IN (3);
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(3, 2), t.keys(3, 2), store => 's');

-- New partitions: a key that had none gets one in the same session.
SELECT * FROM dms_refs.insert_references(44, 4::smallint, '{}', '{}', store => 's');
CREATE TABLE s.document_04 PARTITION OF s.document FOR VALUES IN (4);
CREATE TABLE s.alias_04 PARTITION OF s.alias FOR VALUES IN (4);
CREATE TABLE s.reference_04 PARTITION OF s.reference FOR VALUES IN (4);
INSERT INTO s.document (id, documentpartitionkey, documentuuid, resourcename, resourceversion, isdescriptor, projectname, edfidoc, lastmodifiedtraceid)
    OVERRIDING SYSTEM VALUE VALUES (44, 4, t.u(44), 'School', '5.0.0', false, 'Ed-Fi', '{}', 'test');
INSERT INTO s.alias (id, referentialpartitionkey, referentialid, documentid, documentpartitionkey) OVERRIDING SYSTEM VALUE VALUES (144, 4, t.u(44), 44, 4);
SELECT * FROM dms_refs.sync_references(44, 4::smallint, t.ids(44, 2), '{4,3}', store => 's');
-- Dropped again.
DELETE FROM s.reference WHERE parentdocumentpartitionkey = 4;
DROP TABLE s.reference_04;
SELECT * FROM dms_refs.insert_references(44, 4::smallint, '{}', '{}', store => 's');

-- Partitions that hold several keys, a default partition, and partitions of partitions.
CREATE TABLE s.reference_rest PARTITION OF s.reference DEFAULT PARTITION BY LIST (parentdocumentpartitionkey);
CREATE TABLE s.reference_4_5 PARTITION OF s.reference_rest FOR VALUES IN (4, 5);
SELECT action, alias_id FROM dms_refs.sync_references(44, 4::smallint, t.ids(44, 2), '{4,3}', store => 's');
SELECT * FROM dms_refs.insert_references(55, 5::smallint, '{}', '{}', store => 's');
SELECT * FROM dms_refs.insert_references(66, 6::smallint, '{}', '{}', store => 's');
CREATE TABLE s.reference_all_rest PARTITION OF s.reference_rest DEFAULT;
SELECT * FROM dms_refs.insert_references(66, 6::smallint, '{}', '{}', store => 's');
SELECT * FROM dms_refs.insert_references(66, 6::smallint, t.ids(3), t.keys(3), store => 's');
CREATE TABLE s.alias_rest PARTITION OF s.alias DEFAULT;
SELECT * FROM dms_refs.insert_references(44, 4::smallint, t.ids(44, 2, 3), '{4,3,17}', store => 's');
INSERT INTO s.alias (id, referentialpartitionkey, referentialid, documentid, documentpartitionkey) OVERRIDING SYSTEM VALUE VALUES (717, 17, t.u(17), 44, 4);
SELECT action, alias_id, referential_partition_key FROM dms_refs.sync_references(44, 4::smallint, t.ids(44, 17), '{4,17}', include_kept => true, store => 's');
SELECT parentdocumentid, aliasid, referentialpartitionkey, tableoid::regclass FROM s.reference WHERE parentdocumentid = 44 ORDER BY aliasid;

-- A partition under the same name with other rows.
DELETE FROM s.reference WHERE parentdocumentpartitionkey = 2;
DROP TABLE s.reference_02;
CREATE TABLE s.reference_02 PARTITION OF s.reference FOR VALUES IN (2);
SELECT action, alias_id FROM dms_refs.sync_references(2, 2::smallint, t.ids(3, 4), t.keys(3, 4), include_kept => true, store => 's');
SELECT tableoid::regclass, count(*) FROM s.reference WHERE parentdocumentid = 2 GROUP BY 1;
-- Dropped and made again within a transaction that is rolled back. Meanwhile the default partition has its key.
BEGIN;
DROP TABLE s.reference_02;
SAVEPOINT a;
SELECT * FROM dms_refs.insert_references(2, 2::smallint, '{}', '{}', store => 's');
ROLLBACK TO a;
CREATE TABLE s.reference_02 PARTITION OF s.reference FOR VALUES IN (2);
SELECT action, alias_id FROM dms_refs.sync_references(2, 2::smallint, t.ids(3), t.keys(3), include_kept => true, store => 's');
ROLLBACK;
SELECT action, alias_id FROM dms_refs.sync_references(2, 2::smallint, t.ids(3, 4), t.keys(3, 4), include_kept => true, store => 's');
DROP TABLE s.alias_03;
SELECT dms_refs.drop_store('s');
