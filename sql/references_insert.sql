-- Purpose: insert_references and its drop-in: the stored set becomes the given one, or nothing is written.
\set VERBOSITY sqlstate
SELECT t.new_store('s');

-- A new set; the same again; grown; shrunk; exchanged; emptied.
SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3, 4), t.keys(2, 3, 4), store => 's');
SELECT t.stored('s', 1);
SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3, 4), t.keys(2, 3, 4), store => 's');
SELECT t.stored('s', 1);
SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(5, 4, 3, 2, 6), t.keys(5, 4, 3, 2, 6), store => 's');
SELECT t.stored('s', 1);
SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(6), t.keys(6), store => 's');
SELECT t.stored('s', 1);
SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(7, 8), t.keys(7, 8), store => 's');
SELECT t.stored('s', 1);
SELECT * FROM dms_refs.insert_references(1, 1::smallint, '{}', '{}', store => 's');
SELECT t.stored('s', 1);
SELECT * FROM dms_refs.insert_references(1, 1::smallint, '{}', '{}', store => 's');

-- A reference to oneself, and every document as a parent.
SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(1), t.keys(1), store => 's');
SELECT t.stored('s', 1);
SELECT n, (dms_refs.insert_references(n, (n % 4)::smallint, t.ids(1, 2, 3, 4, 5, 6, 7, 8, 9), t.keys(1, 2, 3, 4, 5, 6, 7, 8, 9), store => 's')).success
FROM generate_series(1, 9) n;
SELECT parentdocumentpartitionkey, parentdocumentid, count(*) FROM s.reference GROUP BY 1, 2 ORDER BY 1, 2;
SELECT count(*) FROM s.reference r JOIN s.alias a ON a.id = r.aliasid AND a.referentialpartitionkey = r.referentialpartitionkey
    AND a.documentid = r.referenceddocumentid AND a.documentpartitionkey = r.referenceddocumentpartitionkey;
-- One parent's call leaves the others alone.
SELECT * FROM dms_refs.insert_references(5, 1::smallint, '{}', '{}', store => 's');
SELECT parentdocumentpartitionkey, parentdocumentid, count(*) FROM s.reference GROUP BY 1, 2 ORDER BY 1, 2;

-- Rows that stay are the rows that were: same identity, same place.
SELECT * FROM dms_refs.insert_references(5, 1::smallint, t.ids(1, 2, 3), t.keys(1, 2, 3), store => 's');
CREATE TEMP TABLE before AS SELECT ctid AS place, xmin AS writer, id, aliasid FROM s.reference WHERE parentdocumentid = 5;
SELECT * FROM dms_refs.insert_references(5, 1::smallint, t.ids(4, 3, 2), t.keys(4, 3, 2), store => 's');
SELECT r.aliasid, (r.ctid, r.xmin, r.id) = (b.place, b.writer, b.id) AS untouched
FROM s.reference r LEFT JOIN before b USING (aliasid) WHERE r.parentdocumentid = 5 ORDER BY aliasid;
DROP TABLE before;

-- Identity values are used up by inserted rows only.
SELECT max(id) AS last_id FROM s.reference \gset
SELECT * FROM dms_refs.insert_references(5, 1::smallint, t.ids(4, 3, 2), t.keys(4, 3, 2), store => 's');
SELECT * FROM dms_refs.insert_references(5, 1::smallint, t.ids(4, 3, 2, 99), t.keys(4, 3, 2, 99), store => 's');
SELECT * FROM dms_refs.insert_references(5, 1::smallint, t.ids(4, 3, 2, 5), t.keys(4, 3, 2, 5), store => 's');
SELECT id - :last_id AS used FROM s.reference WHERE parentdocumentid = 5 AND aliasid = 105;

-- Ids that do not resolve: false, each once, in input order, nothing written.
SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(99, 2, 98, 99, 97), t.keys(99, 2, 98, 99, 97), store => 's');
SELECT count(*) FROM s.reference WHERE parentdocumentid = 1;
-- An id that exists under another partition key is not found under this one.
SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(2), t.keys(3), store => 's');
-- The same id under two keys is named once where both fail.
SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(99, 99), '{0,1}', store => 's');
SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 2), '{3,1}', store => 's');
-- For a parent that does not exist too: nothing would be written, so no key is violated.
SELECT * FROM dms_refs.insert_references(77, 1::smallint, t.ids(99), t.keys(99), store => 's');
SELECT * FROM dms_refs.insert_references(77, 1::smallint, '{}', '{}', store => 's');
-- With references it is the foreign key's error, and nothing stays.
SELECT * FROM dms_refs.insert_references(77, 1::smallint, t.ids(2), t.keys(2), store => 's');
SELECT state, message LIKE '%fk_reference_parentdocument%' AS names_constraint
FROM t.error($$SELECT * FROM dms_refs.insert_references(77, 1::smallint, t.ids(2), t.keys(2), store => 's')$$);
-- The parent's partition key counts: document 1 lives under key 1.
SELECT * FROM dms_refs.insert_references(1, 2::smallint, t.ids(2), t.keys(2), store => 's');
SELECT count(*) FROM s.reference WHERE parentdocumentid = 77 OR (parentdocumentid = 1 AND parentdocumentpartitionkey = 2);

-- is_pure_insert is a hint: right or wrong, the set is the given one.
SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 9), t.keys(2, 9), is_pure_insert => true, store => 's');
SELECT t.stored('s', 1);
SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 9), t.keys(2, 9), is_pure_insert => true, store => 's');
SELECT t.stored('s', 1);
SELECT * FROM dms_refs.insert_references(1, 1::smallint, '{}', '{}', is_pure_insert => true, store => 's');
SELECT t.stored('s', 1);
SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 9), t.keys(2, 9), is_pure_insert => true, store => 's');
SELECT t.stored('s', 1);

-- The drop-in: positions, the names that Ed-Fi's callers use, its default.
SELECT * FROM s.InsertReferences(1, 1::smallint, t.ids(3), t.keys(3), true);
SELECT * FROM s.insertreferences(p_parentDocumentId => 1, p_parentDocumentPartitionKey => 1::smallint,
    p_referentialIds => t.ids(3, 99), p_referentialPartitionKeys => t.keys(3, 99), p_isPureInsert => false);
SELECT * FROM s.InsertReferences(1, 1::smallint, t.ids(4), t.keys(4));
SELECT t.stored('s', 1);
SELECT (s.InsertReferences(1, 1::smallint, t.ids(4), t.keys(4))).success;

-- The lean layout.
SELECT t.new_store('l', 9, 'lean');
SELECT * FROM l.InsertReferences(1, 1::smallint, t.ids(2, 3, 4), t.keys(2, 3, 4));
SELECT * FROM l.InsertReferences(1, 1::smallint, t.ids(3, 4, 5), t.keys(3, 4, 5));
SELECT * FROM l.InsertReferences(1, 1::smallint, t.ids(3, 99), t.keys(3, 99));
SELECT t.stored('l', 1);

-- Large sets: a thousand at once, shuffled, then every second one.
SELECT t.add_documents('l', 10, 2000);
SELECT success FROM dms_refs.insert_references(2, 2::smallint,
    (SELECT array_agg(t.u(n) ORDER BY hashint4(n)) FROM generate_series(1, 1000) n),
    (SELECT array_agg(((n + 1) % 4)::smallint ORDER BY hashint4(n)) FROM generate_series(1, 1000) n), store => 'l');
SELECT count(*), sum(aliasid), sum(referenceddocumentid) FROM l.reference WHERE parentdocumentid = 2;
SELECT success FROM dms_refs.insert_references(2, 2::smallint,
    (SELECT array_agg(t.u(n) ORDER BY hashint4(-n)) FROM generate_series(2, 2000, 2) n),
    (SELECT array_agg(((n + 1) % 4)::smallint ORDER BY hashint4(-n)) FROM generate_series(2, 2000, 2) n), store => 'l');
SELECT count(*), sum(aliasid), sum(referenceddocumentid) FROM l.reference WHERE parentdocumentid = 2;
SELECT t.stored('l', 1);
SELECT dms_refs.drop_store('s');
SELECT dms_refs.drop_store('l');
