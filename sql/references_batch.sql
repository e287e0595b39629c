-- Purpose: sync_references_batch: many documents in one call, a row a document.
\set VERBOSITY sqlstate
SELECT t.new_store('s');

-- Every path, in one call after another.
SELECT * FROM dms_refs.sync_references_batch('{1,2,3}', '{1,2,3}', '{2,1,0}', t.ids(2, 3, 4), t.keys(2, 3, 4), store => 's');
SELECT n, t.stored('s', n) FROM generate_series(1, 3) n;
SELECT * FROM dms_refs.sync_references_batch('{1,2,3}', '{1,2,3}', '{2,1,0}', t.ids(2, 3, 4), t.keys(2, 3, 4), store => 's');
UPDATE s.alias SET documentid = 9, documentpartitionkey = 1 WHERE id = 104;
SELECT * FROM dms_refs.sync_references_batch('{1,2,3,4,5}', '{1,2,3,0,1}', '{3,1,2,0,1}',
    t.ids(2, 3, 5, 4, 6, 99, 98), t.keys(2, 3, 5, 4, 6, 99, 98), store => 's');
SELECT n, t.stored('s', n) FROM generate_series(1, 5) n;
SELECT * FROM dms_refs.sync_references_batch('{1,2,3}', '{1,2,3}', '{2,0,1}', t.ids(3, 7, 6), t.keys(3, 7, 6), store => 's');
SELECT * FROM dms_refs.sync_references_batch('{1,3}', '{1,3}', '{1,1}', t.ids(7, 6), t.keys(7, 6), store => 's');
SELECT n, t.stored('s', n) FROM generate_series(1, 3) n;

-- An update alone, an update with an insert, a delete with an insert: all mixed.
SELECT path FROM dms_refs.sync_references_batch('{1,2,3}', '{1,2,3}', '{2,2,2}', t.ids(7, 8, 7, 8, 7, 8), t.keys(7, 8, 7, 8, 7, 8), store => 's');
UPDATE s.alias SET documentid = 9, documentpartitionkey = 1 WHERE id = 108;
SELECT * FROM dms_refs.sync_references_batch('{1,2,3}', '{1,2,3}', '{2,3,2}', t.ids(7, 8, 7, 8, 9, 7, 9), t.keys(7, 8, 7, 8, 9, 7, 9), store => 's');
SELECT n, t.stored('s', n) FROM generate_series(1, 3) n;

-- Nothing at all; one document without references.
SELECT * FROM dms_refs.sync_references_batch('{}', '{}', '{}', '{}', '{}', store => 's');
SELECT * FROM dms_refs.sync_references_batch('{6}', '{2}', '{0}', '{}', '{}', store => 's');

-- The same document twice: in input order, so that the last set stays.
SELECT * FROM dms_refs.sync_references_batch('{6,6,6}', '{2,2,2}', '{2,1,2}', t.ids(1, 2, 3, 4, 3), t.keys(1, 2, 3, 4, 3), store => 's');
SELECT t.stored('s', 6);

-- Documents of one id under two partition keys are two documents.
INSERT INTO s.document (id, documentpartitionkey, documentuuid, resourcename, resourceversion, isdescriptor, projectname, edfidoc, lastmodifiedtraceid)
    OVERRIDING SYSTEM VALUE VALUES (6, 3, t.u(6), 'School', '5.0.0', false, 'Ed-Fi', '{}', 'test');
SELECT ordinal, inserted, deleted, kept FROM dms_refs.sync_references_batch('{6,6}', '{3,2}', '{1,1}', t.ids(1, 3), t.keys(1, 3), store => 's');
SELECT parentdocumentid, parentdocumentpartitionkey, aliasid FROM s.reference WHERE parentdocumentid = 6 ORDER BY 1, 2, 3;

-- Hints, a right one and wrong ones.
SELECT * FROM dms_refs.sync_references_batch('{7,6,6}', '{3,2,3}', '{1,2,0}', t.ids(1, 3, 4), t.keys(1, 3, 4), are_pure_inserts => '{t,t,t}', store => 's');
SELECT t.stored('s', 7), t.stored('s', 6);
SELECT * FROM dms_refs.sync_references_batch('{7,6}', '{3,2}', '{1,2}', t.ids(1, 3, 4), t.keys(1, 3, 4), are_pure_inserts => '{f,f}', store => 's');

-- Invalid ids: skip leaves the document as it was and does the others; abort does nothing at all.
SELECT * FROM dms_refs.sync_references_batch('{7,8,9}', '{3,0,1}', '{3,1,2}', t.ids(99, 1, 98, 1, 97, 97), t.keys(99, 1, 98, 1, 97, 97), store => 's');
SELECT t.stored('s', 7), t.stored('s', 8), t.stored('s', 9);
SELECT * FROM dms_refs.sync_references_batch('{7,8}', '{3,0}', '{1,2}', t.ids(2, 99, 1), t.keys(2, 99, 1), on_invalid => 'skip', store => 's');
SELECT t.stored('s', 7), t.stored('s', 8);
SELECT * FROM dms_refs.sync_references_batch('{7,8}', '{3,0}', '{1,2}', t.ids(3, 1, 99), t.keys(3, 1, 99), on_invalid => 'abort', store => 's');
SELECT t.stored('s', 7), t.stored('s', 8);
SELECT inserted, deleted FROM dms_refs.sync_references_batch('{7,8}', '{3,0}', '{1,2}', t.ids(3, 1, 4), t.keys(3, 1, 4), on_invalid => 'abort', store => 's');

-- An error in one document undoes the call.
SELECT * FROM dms_refs.sync_references_batch('{7,77}', '{3,1}', '{1,1}', t.ids(5, 1), t.keys(5, 1), store => 's');
SELECT * FROM dms_refs.sync_references_batch('{7,8}', '{3,4}', '{1,1}', t.ids(5, 1), t.keys(5, 1), store => 's');
SELECT * FROM dms_refs.sync_references_batch('{7,8}', '{3,0}', '{1,1}', t.ids(5, 1), '{2,4}', store => 's');
SELECT t.stored('s', 7), t.stored('s', 8);

-- Many documents of many references.
SELECT t.add_documents('s', 10, 400);
SELECT count(*), sum(inserted), min(path), max(path)
FROM dms_refs.sync_references_batch(
    (SELECT array_agg(n) FROM generate_series(100, 299) n),
    (SELECT array_agg((n % 4)::smallint) FROM generate_series(100, 299) n),
    (SELECT array_agg(n % 7) FROM generate_series(100, 299) n),
    (SELECT array_agg(t.u(n + k) ORDER BY n, k) FROM generate_series(100, 299) n, generate_series(1, n % 7) k),
    (SELECT array_agg(((n + k + 1) % 4)::smallint ORDER BY n, k) FROM generate_series(100, 299) n, generate_series(1, n % 7) k), store => 's');
SELECT count(*), count(*) FILTER (WHERE referenceddocumentid - parentdocumentid BETWEEN 1 AND parentdocumentid % 7) AS right_ones
FROM s.reference WHERE parentdocumentid >= 100;

-- Arguments.
SELECT * FROM dms_refs.sync_references_batch(NULL, '{1}', '{0}', '{}', '{}', store => 's');
SELECT * FROM dms_refs.sync_references_batch('{1}', NULL, '{0}', '{}', '{}', store => 's');
SELECT * FROM dms_refs.sync_references_batch('{1}', '{1}', NULL, '{}', '{}', store => 's');
SELECT * FROM dms_refs.sync_references_batch('{1}', '{1}', '{0}', NULL, '{}', store => 's');
SELECT * FROM dms_refs.sync_references_batch('{1}', '{1}', '{0}', '{}', NULL, store => 's');
SELECT * FROM dms_refs.sync_references_batch('{1}', '{1}', '{0}', '{}', '{}', on_invalid => NULL, store => 's');
SELECT * FROM dms_refs.sync_references_batch('{1}', '{1}', '{0}', '{}', '{}', store => NULL);
SELECT * FROM dms_refs.sync_references_batch('{1,NULL}', '{1,2}', '{0,0}', '{}', '{}', store => 's');
SELECT * FROM dms_refs.sync_references_batch('{1,2}', '{1,NULL}', '{0,0}', '{}', '{}', store => 's');
SELECT * FROM dms_refs.sync_references_batch('{1,2}', '{1,2}', '{0,NULL}', '{}', '{}', store => 's');
SELECT * FROM dms_refs.sync_references_batch('{1}', '{1}', '{1}', '{NULL}', '{1}', store => 's');
SELECT * FROM dms_refs.sync_references_batch('{1}', '{1}', '{1}', t.ids(1), '{NULL}', store => 's');
SELECT * FROM dms_refs.sync_references_batch('{1,2}', '{1,2}', '{0,0}', '{}', '{}', are_pure_inserts => '{t,NULL}', store => 's');
SELECT * FROM dms_refs.sync_references_batch('{1,2}', '{1}', '{0,0}', '{}', '{}', store => 's');
SELECT * FROM dms_refs.sync_references_batch('{1,2}', '{1,2}', '{0}', '{}', '{}', store => 's');
SELECT * FROM dms_refs.sync_references_batch('{1}', '{1}', '{1}', t.ids(1), '{}', store => 's');
SELECT * FROM dms_refs.sync_references_batch('{1}', '{1}', '{1}', '{}', '{1}', store => 's');
SELECT * FROM dms_refs.sync_references_batch('{1}', '{1}', '{0}', '{}', '{}', are_pure_inserts => '{t,f}', store => 's');
SELECT * FROM dms_refs.sync_references_batch('{1}', '{1}', '{2}', t.ids(1), '{1}', store => 's');
SELECT * FROM dms_refs.sync_references_batch('{1}', '{1}', '{0}', t.ids(1), '{1}', store => 's');
SELECT * FROM dms_refs.sync_references_batch('{1,2}', '{1,2}', '{2,-1}', t.ids(1), '{1}', store => 's');
SELECT * FROM dms_refs.sync_references_batch('{1,2}', '{1,2}', '{2147483647,2147483647}', t.ids(1), '{1}', store => 's');
SELECT * FROM dms_refs.sync_references_batch('{{1,2}}', '{1,2}', '{0,0}', '{}', '{}', store => 's');
SELECT * FROM dms_refs.sync_references_batch('{1}', '{1}', '{0}', '{}', '{}', on_invalid => 'ignore', store => 's');
SELECT * FROM dms_refs.sync_references_batch('{1}', '{1}', '{0}', '{}', '{}', store => 'nowhere');
SELECT dms_refs.drop_store('s');
