-- Purpose: every error of insert_references, sync_references and diff_references with its SQLSTATE, and that an error leaves nothing behind.
\set VERBOSITY sqlstate
SELECT t.new_store('s');
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3), t.keys(2, 3), store => 's');

-- One statement for all three functions: what each of them says to the same arguments.
CREATE FUNCTION t.errors(arguments text) RETURNS TABLE (function text, state text, message text) LANGUAGE sql AS $$
    SELECT f, e.state, e.message
    FROM unnest('{insert_references,sync_references,diff_references}'::text[]) WITH ORDINALITY u(f, n),
         LATERAL t.error(format('SELECT * FROM dms_refs.%s(%s)', f, arguments)) e ORDER BY n $$;

-- NULL where a value is needed.
SELECT function, state FROM t.errors($$NULL, 1::smallint, '{}', '{}', store => 's'$$);
SELECT function, state FROM t.errors($$1, NULL, '{}', '{}', store => 's'$$);
SELECT function, state FROM t.errors($$1, 1::smallint, NULL, '{}', store => 's'$$);
SELECT function, state FROM t.errors($$1, 1::smallint, '{}', NULL, store => 's'$$);
SELECT function, state FROM t.errors($$1, 1::smallint, '{}', '{}', NULL, store => 's'$$);
SELECT function, state FROM t.errors($$1, 1::smallint, '{}', '{}', store => NULL$$);
SELECT state FROM t.error($$SELECT * FROM dms_refs.sync_references(1, 1::smallint, '{}', '{}', include_kept => NULL, store => 's')$$);
SELECT state FROM t.error($$SELECT * FROM dms_refs.diff_references(1, 1::smallint, '{}', '{}', include_kept => NULL, store => 's')$$);
SELECT state FROM t.error($$SELECT * FROM s.InsertReferences(NULL, 1::smallint, '{}', '{}')$$);
SELECT state FROM t.error($$SELECT * FROM s.InsertReferences(1, NULL, '{}', '{}')$$);
SELECT state FROM t.error($$SELECT * FROM s.InsertReferences(1, 1::smallint, NULL, '{}')$$);
SELECT state FROM t.error($$SELECT * FROM s.InsertReferences(1, 1::smallint, '{}', NULL)$$);
SELECT state FROM t.error($$SELECT * FROM s.InsertReferences(1, 1::smallint, '{}', '{}', NULL)$$);

-- NULL elements, with their position counted from 1.
SELECT function, state, message ~ '\m2\M' AS names_position FROM t.errors($$1, 1::smallint, ARRAY[t.u(2), NULL, t.u(3)], '{3,3,0}', store => 's'$$);
SELECT function, state, message ~ '\m3\M' AS names_position FROM t.errors($$1, 1::smallint, t.ids(2, 3, 4), '{3,0,NULL}', store => 's'$$);
SELECT function, state, message ~ '\m1\M' AS names_position FROM t.errors($$1, 1::smallint, '{NULL}', '{3}', store => 's'$$);
SELECT state, message ~ '\m2\M' AS names_position FROM t.error($$SELECT * FROM s.InsertReferences(1, 1::smallint, ARRAY[t.u(2), NULL], '{3,3}')$$);
SELECT state, message ~ '\m2\M' AS names_position FROM t.error($$SELECT * FROM dms_refs.resolve_references(ARRAY[t.u(2), NULL], '{3,3}', 's')$$);
SELECT state, message ~ '\m2\M' AS names_position FROM t.error($$SELECT * FROM dms_refs.find_invalid_references(t.ids(2, 3), '{3,NULL}', 's')$$);
SELECT state, message ~ '\m2\M' AS names_position
FROM t.error($$SELECT * FROM dms_refs.sync_references_batch('{1,NULL}', '{1,1}', '{0,0}', '{}', '{}', store => 's')$$);
SELECT state, message ~ '\m3\M' AS names_position
FROM t.error($$SELECT * FROM dms_refs.sync_references_batch('{1,2}', '{1,2}', '{1,2}', ARRAY[t.u(2), t.u(3), NULL], '{3,0,0}', store => 's')$$);
SELECT state, message ~ '\m2\M' AS names_position
FROM t.error($$SELECT * FROM dms_refs.apply_resolved_references(1, 1::smallint, '{3,0}', '{102,NULL}', '{2,3}', '{2,3}', store => 's')$$);

-- Arrays that do not fit.
SELECT function, state FROM t.errors($$1, 1::smallint, t.ids(2, 3), t.keys(2), store => 's'$$);
SELECT function, state FROM t.errors($$1, 1::smallint, t.ids(2), t.keys(2, 3), store => 's'$$);
SELECT function, state FROM t.errors($$1, 1::smallint, '{}', t.keys(2), store => 's'$$);
SELECT function, state FROM t.errors($$1, 1::smallint, t.ids(2), '{}', store => 's'$$);
SELECT function, state FROM t.errors($$1, 1::smallint, ARRAY[t.ids(2, 3), t.ids(4, 5)], '{1,2,3,4}', store => 's'$$);
SELECT function, state FROM t.errors($$1, 1::smallint, t.ids(2, 3), '{{3,0}}', store => 's'$$);
SELECT function, state FROM t.errors($$1, 1::smallint, ARRAY[t.ids(2)], '{{3}}', store => 's'$$);

-- A partition key without a partition, of a reference and of the document, is named.
SELECT function, state, message ~ '\m4\M' AS names_key FROM t.errors($$1, 1::smallint, t.ids(2, 3), '{3,4}', store => 's'$$);
SELECT function, state, message ~ '-1\M' AS names_key FROM t.errors($$1, 1::smallint, t.ids(2), '{-1}', store => 's'$$);
SELECT function, state, message ~ '\m32767\M' AS names_key FROM t.errors($$1, 1::smallint, t.ids(2), '{32767}', store => 's'$$);
SELECT function, state, message ~ '-32768\M' AS names_key FROM t.errors($$1, 1::smallint, t.ids(2), '{-32768}', store => 's'$$);
SELECT function, state, message ~ '\m7\M' AS names_key FROM t.errors($$1, 7::smallint, t.ids(2), '{3}', store => 's'$$);
SELECT function, state, message ~ '\m7\M' AS names_key FROM t.errors($$1, 7::smallint, '{}', '{}', store => 's'$$);
SELECT function, state, message ~ '-32768\M' AS names_key FROM t.errors($$1, (-32768)::smallint, '{}', '{}', store => 's'$$);

-- An unknown store is named.
SELECT function, state, message LIKE '%nowhere%' AS names_store FROM t.errors($$1, 1::smallint, '{}', '{}', store => 'nowhere'$$);
SELECT function, state FROM t.errors($$1, 1::smallint, '{}', '{}', store => ''$$);
SELECT function, state FROM t.errors($$1, 1::smallint, '{}', '{}', store => 'S'$$);
SELECT function, state FROM t.errors($$1, 1::smallint, '{}', '{}'$$);
-- A drop-in whose store is gone.
SELECT t.new_store('gone', 3, 'lean');
DELETE FROM dms_refs.store_config WHERE store = 'gone';
SELECT * FROM gone.InsertReferences(1, 1::smallint, '{}', '{}');
SET client_min_messages = warning;
DROP SCHEMA gone CASCADE;
RESET client_min_messages;

-- After all that the set is what it was, and the session works.
SELECT t.stored('s', 1);
SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(3, 4), t.keys(3, 4), store => 's');
SELECT t.stored('s', 1);

-- The internal functions are not for calling by hand, and do not crash.
SELECT dms_refs.store_changed();
CREATE TABLE t.any_table (x int);
CREATE TRIGGER misused BEFORE INSERT ON t.any_table FOR EACH ROW EXECUTE FUNCTION dms_refs.store_changed();
SELECT state IN ('00000', '39P01') AS harmless FROM t.error('INSERT INTO t.any_table VALUES (1)');
DROP TABLE t.any_table;
DROP FUNCTION t.errors;
SELECT dms_refs.drop_store('s');
