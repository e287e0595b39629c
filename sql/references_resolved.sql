-- Purpose: apply_resolved_references: the second half of a call, for callers that resolve elsewhere.
\set VERBOSITY sqlstate
SELECT t.new_store('s');

-- Arguments: partition keys and ids of the aliases, ids and partition keys of the documents.
SELECT * FROM dms_refs.apply_resolved_references(1, 1::smallint, '{3,0}', '{102,103}', '{2,3}', '{2,3}', store => 's');
SELECT t.stored('s', 1);
SELECT * FROM dms_refs.apply_resolved_references(1, 1::smallint, '{0,3}', '{103,102}', '{3,2}', '{3,2}', store => 's');
SELECT * FROM dms_refs.apply_resolved_references(1, 1::smallint, '{1,0,3}', '{104,103,102}', '{4,3,2}', '{0,3,2}', store => 's');
SELECT * FROM dms_refs.apply_resolved_references(1, 1::smallint, '{1}', '{104}', '{4}', '{0}', store => 's');
SELECT t.stored('s', 1);
-- The caller says where the alias leads: another document is an update.
SELECT * FROM dms_refs.apply_resolved_references(1, 1::smallint, '{1}', '{104}', '{5}', '{1}', store => 's');
SELECT t.stored('s', 1);
SELECT * FROM dms_refs.apply_resolved_references(1, 1::smallint, '{1,2}', '{104,105}', '{4,5}', '{0,1}', store => 's');
SELECT t.stored('s', 1);
SELECT * FROM dms_refs.apply_resolved_references(1, 1::smallint, '{0}', '{107}', '{7}', '{3}', store => 's');
SELECT * FROM dms_refs.apply_resolved_references(1, 1::smallint, '{}', '{}', '{}', '{}', store => 's');
SELECT * FROM dms_refs.apply_resolved_references(1, 1::smallint, '{}', '{}', '{}', '{}', store => 's');

-- The two halves together are insert_references.
SELECT p.* FROM (
    SELECT array_agg(referential_partition_key ORDER BY ordinal) AS keys, array_agg(alias_id ORDER BY ordinal) AS aliases,
           array_agg(document_id ORDER BY ordinal) AS documents, array_agg(document_partition_key ORDER BY ordinal) AS document_keys
    FROM dms_refs.resolve_references(t.ids(9, 8, 7, 1), t.keys(9, 8, 7, 1), 's')) r,
    LATERAL dms_refs.apply_resolved_references(1, 1::smallint, r.keys, r.aliases, r.documents, r.document_keys, store => 's') p;
SELECT * FROM dms_refs.diff_references(1, 1::smallint, t.ids(9, 8, 7, 1), t.keys(9, 8, 7, 1), store => 's');
SELECT t.stored('s', 1);

-- Hints.
SELECT * FROM dms_refs.apply_resolved_references(2, 2::smallint, '{3}', '{102}', '{2}', '{2}', is_pure_insert => true, store => 's');
SELECT * FROM dms_refs.apply_resolved_references(2, 2::smallint, '{0}', '{103}', '{3}', '{3}', is_pure_insert => true, store => 's');
SELECT t.stored('s', 2);

-- The same reference twice is one; one alias id under two partition keys cannot be told apart in the table.
SELECT * FROM dms_refs.apply_resolved_references(2, 2::smallint, '{0,0,0}', '{103,103,103}', '{3,3,3}', '{3,3,3}', store => 's');
SELECT * FROM dms_refs.apply_resolved_references(2, 2::smallint, '{0,1}', '{103,103}', '{3,3}', '{3,3}', store => 's');
SELECT t.stored('s', 2);

-- An alias or a document that does not exist.
SELECT * FROM dms_refs.apply_resolved_references(2, 2::smallint, '{0,0}', '{103,999}', '{3,3}', '{3,3}', store => 's');
SELECT state, message LIKE '%fk_reference_referencedalias%' AS names_constraint
FROM t.error($$SELECT * FROM dms_refs.apply_resolved_references(2, 2::smallint, '{0,0}', '{103,999}', '{3,3}', '{3,3}', store => 's')$$);
-- Alias 104 lives under key 1, not 0.
SELECT * FROM dms_refs.apply_resolved_references(2, 2::smallint, '{0,0}', '{103,104}', '{3,4}', '{3,0}', store => 's');
SELECT * FROM dms_refs.apply_resolved_references(77, 2::smallint, '{0}', '{103}', '{3}', '{3}', store => 's');
SELECT state, message LIKE '%fk_reference_parentdocument%' AS names_constraint
FROM t.error($$SELECT * FROM dms_refs.apply_resolved_references(77, 2::smallint, '{0}', '{103}', '{3}', '{3}', store => 's')$$);
SELECT t.stored('s', 2);
-- The document behind the alias is not behind a foreign key: elsewhere it may well exist.
SELECT * FROM dms_refs.apply_resolved_references(2, 2::smallint, '{0}', '{103}', '{123456}', '{77}', store => 's');
SELECT t.stored('s', 2);

-- Partition keys without a partition.
SELECT * FROM dms_refs.apply_resolved_references(2, 9::smallint, '{0}', '{103}', '{3}', '{3}', store => 's');
SELECT * FROM dms_refs.apply_resolved_references(2, 9::smallint, '{}', '{}', '{}', '{}', store => 's');
SELECT state, message LIKE '%9%' AS names_key
FROM t.error($$SELECT * FROM dms_refs.apply_resolved_references(2, 2::smallint, '{9}', '{103}', '{3}', '{3}', store => 's')$$);

-- Arguments.
SELECT * FROM dms_refs.apply_resolved_references(NULL, 1::smallint, '{}', '{}', '{}', '{}', store => 's');
SELECT * FROM dms_refs.apply_resolved_references(1, NULL, '{}', '{}', '{}', '{}', store => 's');
SELECT * FROM dms_refs.apply_resolved_references(1, 1::smallint, NULL, '{}', '{}', '{}', store => 's');
SELECT * FROM dms_refs.apply_resolved_references(1, 1::smallint, '{}', NULL, '{}', '{}', store => 's');
SELECT * FROM dms_refs.apply_resolved_references(1, 1::smallint, '{}', '{}', NULL, '{}', store => 's');
SELECT * FROM dms_refs.apply_resolved_references(1, 1::smallint, '{}', '{}', '{}', NULL, store => 's');
SELECT * FROM dms_refs.apply_resolved_references(1, 1::smallint, '{}', '{}', '{}', '{}', NULL, store => 's');
SELECT * FROM dms_refs.apply_resolved_references(1, 1::smallint, '{}', '{}', '{}', '{}', store => NULL);
SELECT * FROM dms_refs.apply_resolved_references(1, 1::smallint, '{NULL}', '{103}', '{3}', '{3}', store => 's');
SELECT * FROM dms_refs.apply_resolved_references(1, 1::smallint, '{0}', '{NULL}', '{3}', '{3}', store => 's');
SELECT * FROM dms_refs.apply_resolved_references(1, 1::smallint, '{0}', '{103}', '{NULL}', '{3}', store => 's');
SELECT * FROM dms_refs.apply_resolved_references(1, 1::smallint, '{0}', '{103}', '{3}', '{NULL}', store => 's');
SELECT * FROM dms_refs.apply_resolved_references(1, 1::smallint, '{0,0}', '{103}', '{3}', '{3}', store => 's');
SELECT * FROM dms_refs.apply_resolved_references(1, 1::smallint, '{0}', '{103,104}', '{3}', '{3}', store => 's');
SELECT * FROM dms_refs.apply_resolved_references(1, 1::smallint, '{0}', '{103}', '{}', '{3}', store => 's');
SELECT * FROM dms_refs.apply_resolved_references(1, 1::smallint, '{0}', '{103}', '{3}', '{}', store => 's');
SELECT * FROM dms_refs.apply_resolved_references(1, 1::smallint, '{{0}}', '{103}', '{3}', '{3}', store => 's');
SELECT * FROM dms_refs.apply_resolved_references(1, 1::smallint, '{}', '{}', '{}', '{}', store => 'nowhere');
SELECT dms_refs.drop_store('s');
