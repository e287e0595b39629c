-- Purpose: last_invalid_references and GetInvalidReferencesAndClear: what the session's last call could not resolve, asked once.
\set VERBOSITY sqlstate
SELECT t.new_store('s');
SELECT t.new_store('other', 3, 'lean');
SELECT * FROM dms_refs.last_invalid_references();

-- Asked once, in input order, each id once.
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(99, 2, 98, 99), t.keys(99, 2, 98, 99), store => 's');
SELECT * FROM dms_refs.last_invalid_references();
SELECT * FROM dms_refs.last_invalid_references();

-- The drop-in asks for a document.
SELECT success FROM s.InsertReferences(1, 1::smallint, t.ids(99, 2, 98), t.keys(99, 2, 98));
SELECT * FROM s.GetInvalidReferencesAndClear(2, 1::smallint);
SELECT success FROM s.InsertReferences(1, 1::smallint, t.ids(99, 2, 98), t.keys(99, 2, 98));
SELECT * FROM s.GetInvalidReferencesAndClear(1, 2::smallint);
SELECT success FROM s.InsertReferences(1, 1::smallint, t.ids(99, 2, 98), t.keys(99, 2, 98));
SELECT * FROM s.GetInvalidReferencesAndClear(1, 1::smallint);
SELECT * FROM s.GetInvalidReferencesAndClear(1, 1::smallint);
SELECT * FROM dms_refs.last_invalid_references();
SELECT referentialId FROM s.GetInvalidReferencesAndClear(p_parentDocumentId => 1, p_parentDocumentPartitionKey => 1::smallint);
-- In one statement, as Ed-Fi's callers do.
SELECT success, ARRAY(SELECT i FROM s.GetInvalidReferencesAndClear(1, 1::smallint) i) AS invalid
FROM s.InsertReferences(1, 1::smallint, t.ids(97), t.keys(97)) OFFSET 0;

-- A call without invalid ids clears it, whoever's call it is.
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(99), t.keys(99), store => 's');
SELECT success FROM dms_refs.insert_references(2, 2::smallint, t.ids(3), t.keys(3), store => 's');
SELECT * FROM dms_refs.last_invalid_references();
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(99), t.keys(99), store => 's');
SELECT success FROM dms_refs.insert_references(1, 1::smallint, '{}', '{}', store => 'other');
SELECT * FROM dms_refs.last_invalid_references();

-- The other functions that set references or compare them.
SELECT ordinal, action FROM dms_refs.sync_references(1, 1::smallint, t.ids(96, 95), t.keys(96, 95), store => 's');
SELECT * FROM s.GetInvalidReferencesAndClear(1, 1::smallint);
SELECT ordinal, action FROM dms_refs.diff_references(1, 1::smallint, t.ids(94, 93), t.keys(94, 93), store => 's');
SELECT * FROM dms_refs.last_invalid_references();
SELECT ordinal, invalid_ids FROM dms_refs.sync_references_batch('{1,2,3}', '{1,2,3}', '{2,1,2}',
    t.ids(92, 2, 3, 91, 92), t.keys(92, 2, 3, 91, 92), store => 's');
SELECT * FROM dms_refs.last_invalid_references();
SELECT ordinal, action FROM dms_refs.diff_references(1, 1::smallint, t.ids(94), t.keys(94), store => 's');
SELECT ordinal, action FROM dms_refs.diff_references(1, 1::smallint, t.ids(2), t.keys(2), store => 's');
SELECT * FROM dms_refs.last_invalid_references();
SELECT ordinal, action FROM dms_refs.diff_references(1, 1::smallint, t.ids(94), t.keys(94), store => 's');
SELECT path FROM dms_refs.sync_references_batch('{1}', '{1}', '{1}', t.ids(2), t.keys(2), store => 's');
SELECT * FROM dms_refs.last_invalid_references();

-- Those that only look do not count as calls.
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(99), t.keys(99), store => 's');
SELECT count(*) FROM dms_refs.resolve_references(t.ids(2), t.keys(2), 's');
SELECT count(*) FROM dms_refs.find_invalid_references(t.ids(98), t.keys(98), 's');
SELECT count(*) FROM dms_refs.referencing_documents(2, 2::smallint, 's');
SELECT * FROM dms_refs.last_invalid_references();

-- It is the session's, and outlives the transaction of the call.
BEGIN;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(99), t.keys(99), store => 's');
COMMIT;
SELECT * FROM dms_refs.last_invalid_references();
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(99), t.keys(99), store => 's');
\c -
SELECT * FROM dms_refs.last_invalid_references();
SET client_min_messages = warning;
SELECT dms_refs.drop_store('s');
SELECT dms_refs.drop_store('other');
