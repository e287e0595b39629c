-- Purpose: the same reference given more than once, and two references that lead to the same place.
\set VERBOSITY sqlstate
SELECT t.new_store('s');

-- The same pair twice is one reference: the first position counts.
SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3, 2, 2, 3), t.keys(2, 3, 2, 2, 3), store => 's');
SELECT t.stored('s', 1);
SELECT * FROM dms_refs.sync_references(1, 1::smallint, t.ids(3, 4, 3, 4, 2), t.keys(3, 4, 3, 4, 2), include_kept => true, store => 's');
SELECT * FROM dms_refs.diff_references(1, 1::smallint, t.ids(5, 5, 5), t.keys(5, 5, 5), include_kept => true, store => 's');
SELECT * FROM dms_refs.sync_references(1, 1::smallint, t.ids(99, 2, 99), t.keys(99, 2, 99), store => 's');
SELECT inserted, updated, deleted, kept, path
FROM dms_refs.sync_references_batch('{1}', '{1}', '{4}', t.ids(2, 2, 5, 5), t.keys(2, 2, 5, 5), store => 's');
SELECT t.stored('s', 1);

-- Or an error that names both positions.
SET dms_refs.duplicate_references = 'error';
SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3, 2), t.keys(2, 3, 2), store => 's');
SELECT state, message ~ '\m2\M.*\m4\M' AS names_positions
FROM t.error($$SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(4, 2, 3, 2), t.keys(4, 2, 3, 2), store => 's')$$);
SELECT state, message ~ '\m2\M.*\m4\M' AS names_positions
FROM t.error($$SELECT * FROM dms_refs.sync_references(1, 1::smallint, t.ids(4, 2, 3, 2), t.keys(4, 2, 3, 2), store => 's')$$);
SELECT state, message ~ '\m2\M.*\m4\M' AS names_positions
FROM t.error($$SELECT * FROM dms_refs.diff_references(1, 1::smallint, t.ids(4, 2, 3, 2), t.keys(4, 2, 3, 2), store => 's')$$);
SELECT * FROM dms_refs.diff_references(1, 1::smallint, t.ids(99, 99), t.keys(99, 99), store => 's');
SELECT * FROM dms_refs.sync_references_batch('{1}', '{1}', '{2}', t.ids(2, 2), t.keys(2, 2), store => 's');
-- The same id under two keys is not a duplicate; nor the same reference of two documents.
SELECT ordinal, action, alias_id FROM dms_refs.diff_references(1, 1::smallint, t.ids(2, 2), '{3,0}', store => 's');
SELECT path FROM dms_refs.sync_references_batch('{2,3}', '{2,3}', '{1,1}', t.ids(2, 2), t.keys(2, 2), store => 's');
SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3), t.keys(2, 3), store => 's');
SELECT t.stored('s', 1);
RESET dms_refs.duplicate_references;

-- Two aliases of one document are two references.
INSERT INTO s.alias (id, referentialpartitionkey, referentialid, documentid, documentpartitionkey) OVERRIDING SYSTEM VALUE
VALUES (201, 0, t.u(21), 2, 2), (202, 3, t.u(22), 2, 2);
SELECT ordinal, action, alias_id, referenced_document_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(2, 21, 22), '{3,0,3}', store => 's');
SELECT t.stored('s', 1);
SELECT * FROM dms_refs.referencing_documents(2, 2::smallint, 's');

-- One referential id under two partition keys: two aliases, two references.
INSERT INTO s.alias (id, referentialpartitionkey, referentialid, documentid, documentpartitionkey) OVERRIDING SYSTEM VALUE
VALUES (203, 1, t.u(22), 5, 1);
SELECT * FROM dms_refs.sync_references(1, 1::smallint, t.ids(22, 22), '{1,3}', include_kept => true, store => 's');
SELECT t.stored('s', 1);

-- resolve_references and find_invalid_references answer for every position.
SELECT ordinal, referential_partition_key, alias_id FROM dms_refs.resolve_references(t.ids(2, 99, 2, 99), t.keys(2, 99, 2, 99), 's');
SELECT ordinal, referential_partition_key FROM dms_refs.find_invalid_references(t.ids(2, 99, 2, 99), t.keys(2, 99, 2, 99), 's');
SELECT dms_refs.drop_store('s');
