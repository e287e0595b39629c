-- Purpose: resolve_references, find_invalid_references and referencing_documents: the functions that only read.
\set VERBOSITY sqlstate
SELECT t.new_store('s');

-- A row an id, in input order, NULLs where it does not resolve.
SELECT * FROM dms_refs.resolve_references(t.ids(5, 99, 2, 1), t.keys(5, 99, 2, 1), 's');
SELECT * FROM dms_refs.find_invalid_references(t.ids(5, 99, 2, 98, 1), t.keys(5, 99, 2, 98, 1), 's');
SELECT * FROM dms_refs.resolve_references('{}', '{}', 's');
SELECT * FROM dms_refs.find_invalid_references('{}', '{}', 's');
SELECT * FROM dms_refs.find_invalid_references(t.ids(5, 2), t.keys(5, 2), 's');
-- The partition key belongs to the name.
SELECT ordinal, alias_id FROM dms_refs.resolve_references(t.ids(5, 5, 5, 5), '{0,1,2,3}', 's');
SELECT ordinal, referential_partition_key FROM dms_refs.find_invalid_references(t.ids(5, 5, 5, 5), '{0,1,2,3}', 's');
-- They say what insert_references will say.
SELECT (SELECT array_agg(referential_id ORDER BY ordinal) FROM dms_refs.find_invalid_references(t.ids(97, 5, 96), t.keys(97, 5, 96), 's'))
     = (dms_refs.insert_references(1, 1::smallint, t.ids(97, 5, 96), t.keys(97, 5, 96), store => 's')).invalid_ids AS equal;
-- Many at once.
SELECT t.add_documents('s', 10, 1200);
SELECT count(*), count(alias_id), count(*) FILTER (WHERE alias_id = 100 + n AND document_id = n AND document_partition_key = n % 4 AND ordinal = n - 99)
FROM dms_refs.resolve_references(
    (SELECT array_agg(t.u(n) ORDER BY n) FROM generate_series(100, 1499) n),
    (SELECT array_agg(((n + 1) % 4)::smallint ORDER BY n) FROM generate_series(100, 1499) n), 's') r,
    LATERAL (SELECT ltrim(right(referential_id::text, 12), '0')::int AS n) x;
SELECT count(*), min(ordinal), max(ordinal) FROM dms_refs.find_invalid_references(
    (SELECT array_agg(t.u(n) ORDER BY n) FROM generate_series(100, 1499) n),
    (SELECT array_agg(((n + 1) % 4)::smallint ORDER BY n) FROM generate_series(100, 1499) n), 's');

-- Who refers to a document: from every partition, each document once, by partition key and id.
SELECT * FROM dms_refs.referencing_documents(2, 2::smallint, 's');
SELECT n, (dms_refs.insert_references(n, (n % 4)::smallint, t.ids(2, 3), t.keys(2, 3), store => 's')).success FROM generate_series(1, 9) n;
SELECT * FROM dms_refs.referencing_documents(2, 2::smallint, 's');
SELECT * FROM dms_refs.referencing_documents(4, 0::smallint, 's');
-- The document's partition key belongs to it.
SELECT * FROM dms_refs.referencing_documents(2, 1::smallint, 's');
-- Through two aliases it is still one document.
INSERT INTO s.alias (id, referentialpartitionkey, referentialid, documentid, documentpartitionkey) OVERRIDING SYSTEM VALUE VALUES (5002, 0, t.u(5002), 2, 2);
SELECT success FROM dms_refs.insert_references(9, 1::smallint, t.ids(2, 5002), '{3,0}', store => 's');
SELECT success FROM dms_refs.insert_references(8, 0::smallint, '{}', '{}', store => 's');
SELECT * FROM dms_refs.referencing_documents(2, 2::smallint, 's');
-- After an update by hand and a delete of a parent.
UPDATE s.reference SET referenceddocumentid = 4, referenceddocumentpartitionkey = 0 WHERE parentdocumentid = 5 AND aliasid = 102;
DELETE FROM s.document WHERE id = 1;
SELECT * FROM dms_refs.referencing_documents(2, 2::smallint, 's');
SELECT * FROM dms_refs.referencing_documents(4, 0::smallint, 's');
SELECT * FROM dms_refs.referencing_documents(123456, 99::smallint, 's');

-- They join like tables.
SELECT d.id, r.* FROM generate_series(3, 4) d(id), dms_refs.referencing_documents(d.id, (d.id % 4)::smallint, 's') r
WHERE parent_document_id < 6 ORDER BY 1, 3, 2;

-- In read-only transactions.
BEGIN READ ONLY;
SELECT ordinal, alias_id FROM dms_refs.resolve_references(t.ids(5, 9999), t.keys(5, 9999), 's');
SELECT ordinal FROM dms_refs.find_invalid_references(t.ids(5, 9999), t.keys(5, 9999), 's');
SELECT * FROM dms_refs.referencing_documents(4, 0::smallint, 's');
SELECT action, alias_id FROM dms_refs.diff_references(3, 3::smallint, t.ids(3, 4), t.keys(3, 4), store => 's');
COMMIT;

-- Arguments.
SELECT * FROM dms_refs.resolve_references(NULL, '{}', 's');
SELECT * FROM dms_refs.resolve_references('{}', NULL, 's');
SELECT * FROM dms_refs.resolve_references('{}', '{}', NULL);
SELECT * FROM dms_refs.resolve_references('{NULL}', '{1}', 's');
SELECT * FROM dms_refs.resolve_references(t.ids(1), '{NULL}', 's');
SELECT * FROM dms_refs.resolve_references(t.ids(1, 2), '{1}', 's');
SELECT * FROM dms_refs.resolve_references(ARRAY[t.ids(1)], '{{1}}', 's');
SELECT * FROM dms_refs.resolve_references(t.ids(1), '{4}', 's');
SELECT * FROM dms_refs.resolve_references(t.ids(1), '{-1}', 's');
SELECT * FROM dms_refs.resolve_references('{}', '{}', 'nowhere');
SELECT * FROM dms_refs.find_invalid_references(NULL, '{}', 's');
SELECT * FROM dms_refs.find_invalid_references('{}', NULL, 's');
SELECT * FROM dms_refs.find_invalid_references('{}', '{}', NULL);
SELECT * FROM dms_refs.find_invalid_references('{NULL}', '{1}', 's');
SELECT * FROM dms_refs.find_invalid_references(t.ids(1), '{NULL}', 's');
SELECT * FROM dms_refs.find_invalid_references(t.ids(1), '{1,2}', 's');
SELECT * FROM dms_refs.find_invalid_references(ARRAY[t.ids(1)], '{{1}}', 's');
SELECT * FROM dms_refs.find_invalid_references(t.ids(1), '{4}', 's');
SELECT * FROM dms_refs.find_invalid_references('{}', '{}', 'nowhere');
SELECT * FROM dms_refs.referencing_documents(NULL, 1::smallint, 's');
SELECT * FROM dms_refs.referencing_documents(1, NULL, 's');
SELECT * FROM dms_refs.referencing_documents(1, 1::smallint, NULL);
SELECT * FROM dms_refs.referencing_documents(1, 1::smallint, 'nowhere');
-- More than are sorted at a time, in no order and some twice.
CREATE TEMPORARY TABLE given AS SELECT o, CASE WHEN o % 1000 = 0 THEN 1 + o / 1000 % 9 ELSE 1000 + o * 7919 % 140009 END AS n FROM generate_series(1, 150000) o;
CREATE TEMPORARY TABLE sent AS SELECT array_agg(t.u(n) ORDER BY o) AS ids, array_agg(((n + 1) % 4)::smallint ORDER BY o) AS keys FROM given;
SELECT count(*), count(DISTINCT referential_id), bool_and(referential_id = t.u(n)) AS right_ones, bool_and(ordinal > coalesce(before, 0)) AS in_order
FROM (SELECT *, lag(ordinal) OVER () AS before FROM dms_refs.find_invalid_references((SELECT ids FROM sent), (SELECT keys FROM sent), 's')) f JOIN given ON o = ordinal;
SELECT count(*) AS resolved, count(DISTINCT alias_id), bool_and(referential_id = t.u(n) AND alias_id = 100 + n) AS right_ones
FROM dms_refs.resolve_references((SELECT ids FROM sent), (SELECT keys FROM sent), 's') JOIN given ON o = ordinal WHERE alias_id IS NOT NULL;
SELECT count(*), count(DISTINCT referential_id), bool_and(action = 'invalid' AND referential_id = t.u(n)) AS right_ones, bool_and(ordinal > coalesce(before, 0)) AS in_order
FROM (SELECT *, lag(ordinal) OVER () AS before FROM dms_refs.diff_references(1, 1::smallint, (SELECT ids FROM sent), (SELECT keys FROM sent), store => 's')) f JOIN given ON o = ordinal;
DROP TABLE given, sent;

SELECT dms_refs.drop_store('s');
