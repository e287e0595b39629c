-- Purpose: one script under every engine and setting: the same rows, the same answers, the same errors.
\set VERBOSITY sqlstate
-- The script works on a fresh store and returns what it sees, line by line.
CREATE FUNCTION t.add(INOUT lines text[], statement text) LANGUAGE plpgsql AS $$
DECLARE
    line text;
    state text;
BEGIN
    FOR line IN EXECUTE 'SELECT x::text FROM (' || statement || ') x' LOOP
        lines := lines || line;
    END LOOP;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE;
    lines := lines || ('ERROR ' || state);
END $$;
CREATE FUNCTION t.script(layout text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    lines text[] := '{}';
    all_stored text := 'SELECT n, t.stored(''z'', n) FROM generate_series(1, 9) n';
    q text;
BEGIN
    PERFORM t.new_store('z', 9, layout);
    FOREACH q IN ARRAY ARRAY[
        'SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3, 4), t.keys(2, 3, 4), store => ''z'')',
        'SELECT * FROM dms_refs.sync_references(1, 1::smallint, t.ids(4, 5, 2), t.keys(4, 5, 2), include_kept => true, store => ''z'')',
        'SELECT * FROM dms_refs.sync_references(1, 1::smallint, t.ids(4, 5, 2), t.keys(4, 5, 2), store => ''z'')',
        'SELECT * FROM dms_refs.diff_references(1, 1::smallint, t.ids(9, 5, 8), t.keys(9, 5, 8), include_kept => true, store => ''z'')',
        'SELECT * FROM dms_refs.sync_references(1, 1::smallint, t.ids(99, 5, 98), t.keys(99, 5, 98), include_kept => true, store => ''z'')',
        'SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(99, 5, 98, 99), t.keys(99, 5, 98, 99), store => ''z'')',
        'SELECT * FROM dms_refs.last_invalid_references()',
        'SELECT * FROM z.InsertReferences(2, 2::smallint, t.ids(1, 1, 3), t.keys(1, 1, 3), true)',
        'SELECT * FROM z.InsertReferences(2, 2::smallint, t.ids(3, 6), t.keys(3, 6), true)',
        'SELECT * FROM dms_refs.sync_references_batch(''{3,4,5,3}'', ''{3,0,1,3}'', ''{2,0,2,1}'', t.ids(1, 2, 3, 99, 2), t.keys(1, 2, 3, 99, 2), store => ''z'')',
        'SELECT * FROM dms_refs.sync_references_batch(''{3,4}'', ''{3,0}'', ''{1,1}'', t.ids(9, 99), t.keys(9, 99), on_invalid => ''abort'', store => ''z'')',
        'SELECT * FROM dms_refs.apply_resolved_references(6, 2::smallint, ''{3,0}'', ''{102,103}'', ''{2,3}'', ''{2,3}'', store => ''z'')',
        'SELECT * FROM dms_refs.apply_resolved_references(6, 2::smallint, ''{0,1}'', ''{103,104}'', ''{8,4}'', ''{0,0}'', store => ''z'')',
        'SELECT * FROM dms_refs.resolve_references(t.ids(9, 99, 1), t.keys(9, 99, 1), ''z'')',
        'SELECT * FROM dms_refs.find_invalid_references(t.ids(9, 99, 1), t.keys(9, 99, 1), ''z'')',
        'SELECT * FROM dms_refs.referencing_documents(2, 2::smallint, ''z'')',
        all_stored,
        'SELECT * FROM dms_refs.insert_references(77, 1::smallint, t.ids(2), t.keys(2), store => ''z'')',
        'SELECT * FROM dms_refs.insert_references(77, 1::smallint, ''{}'', ''{}'', store => ''z'')',
        'SELECT * FROM dms_refs.insert_references(1, 4::smallint, t.ids(2), t.keys(2), store => ''z'')',
        'SELECT * FROM dms_refs.insert_references(1, 4::smallint, ''{}'', ''{}'', store => ''z'')',
        'SELECT * FROM dms_refs.insert_references(1, 4::smallint, t.ids(99), t.keys(99), store => ''z'')',
        'SELECT * FROM dms_refs.diff_references(1, 4::smallint, ''{}'', ''{}'', store => ''z'')',
        'SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(2), ''{4}'', store => ''z'')',
        'SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(99, 2), ''{0,4}'', store => ''z'')',
        'SELECT * FROM dms_refs.diff_references(1, 1::smallint, t.ids(2), ''{-1}'', store => ''z'')',
        'SELECT * FROM dms_refs.resolve_references(t.ids(2), ''{4}'', ''z'')',
        'SELECT * FROM dms_refs.find_invalid_references(t.ids(2), ''{4}'', ''z'')',
        'SELECT * FROM dms_refs.sync_references_batch(''{1,1}'', ''{1,4}'', ''{0,0}'', ''{}'', ''{}'', store => ''z'')',
        'SELECT * FROM dms_refs.apply_resolved_references(6, 2::smallint, ''{4}'', ''{103}'', ''{3}'', ''{3}'', store => ''z'')',
        'SELECT * FROM dms_refs.apply_resolved_references(6, 4::smallint, ''{}'', ''{}'', ''{}'', ''{}'', store => ''z'')',
        'SELECT * FROM dms_refs.apply_resolved_references(6, 2::smallint, ''{0}'', ''{12345}'', ''{3}'', ''{3}'', store => ''z'')',
        'SELECT * FROM dms_refs.apply_resolved_references(6, 2::smallint, ''{0,1}'', ''{103,103}'', ''{3,3}'', ''{3,3}'', store => ''z'')',
        'SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3), t.keys(2), store => ''z'')',
        'SELECT * FROM dms_refs.insert_references(1, 1::smallint, ARRAY[NULL::uuid], ''{1}'', store => ''z'')',
        all_stored,
        'SELECT count(*) FROM z.reference']
    LOOP
        lines := t.add(lines, q);
    END LOOP;
    -- Retargeted aliases, documents that go, aliases that come and go.
    UPDATE z.alias SET documentid = 9, documentpartitionkey = 1 WHERE id IN (102, 103);
    DELETE FROM z.document WHERE id = 4 AND NOT EXISTS (SELECT FROM z.reference WHERE aliasid = 104);
    FOREACH q IN ARRAY ARRAY[
        'SELECT * FROM dms_refs.sync_references(1, 1::smallint, t.ids(2, 3, 5), t.keys(2, 3, 5), include_kept => true, store => ''z'')',
        'SELECT * FROM dms_refs.sync_references(2, 2::smallint, t.ids(3, 7), t.keys(3, 7), include_kept => true, store => ''z'')',
        'SELECT * FROM dms_refs.sync_references_batch(''{6,7}'', ''{2,3}'', ''{1,2}'', t.ids(3, 3, 8), t.keys(3, 3, 8), store => ''z'')',
        all_stored,
        'SELECT * FROM dms_refs.sync_references(1, 1::smallint, ''{}'', ''{}'', store => ''z'')',
        all_stored]
    LOOP
        lines := t.add(lines, q);
    END LOOP;
    PERFORM dms_refs.drop_store('z');
    RETURN QUERY SELECT * FROM unnest(lines);
END $$;
CREATE TEMP TABLE runs (run text, n bigint, line text);
CREATE FUNCTION t.run(run text, layout text DEFAULT 'edfi') RETURNS bigint LANGUAGE sql AS $$
    INSERT INTO runs SELECT run, n, line FROM t.script(layout) WITH ORDINALITY s(line, n);
    SELECT count(*) FROM runs WHERE runs.run = run.run $$;

SELECT t.run('auto') > 0;
SELECT line FROM runs ORDER BY n;
SET dms_refs.engine = 'direct';
SELECT t.run('direct') > 0;
SET dms_refs.native_fk_checks = off;
SELECT t.run('direct, keys checked by triggers') > 0;
SET dms_refs.engine = 'sql';
SELECT t.run('sql') > 0;
RESET dms_refs.native_fk_checks;
SELECT t.run('sql, lean', 'lean') > 0;
RESET dms_refs.engine;
SELECT t.run('auto, lean', 'lean') > 0;
SET dms_refs.alias_cache = 0;
SELECT t.run('no cache') > 0;
SET dms_refs.alias_cache = 2;
SELECT t.run('tiny cache') > 0;
RESET dms_refs.alias_cache;
SET dms_refs.lock_parent = 'always';
SELECT t.run('always locked') > 0;
SET dms_refs.lock_parent = 'never';
SELECT t.run('never locked') > 0;
RESET dms_refs.lock_parent;
SET plan_cache_mode = force_custom_plan;
SET enable_indexscan = off;
SET dms_refs.engine = 'sql';
SELECT t.run('sql, other planner settings') > 0;
RESET ALL;
SET default_transaction_isolation = 'repeatable read';
SELECT t.run('repeatable read') > 0;
SET default_transaction_isolation = 'serializable';
SELECT t.run('serializable') > 0;
RESET default_transaction_isolation;
-- Where a run says something else than the first.
SELECT r.run, r.n, r.line, a.line AS auto FROM runs r FULL JOIN (SELECT * FROM runs WHERE run = 'auto') a USING (n)
WHERE r.line IS DISTINCT FROM a.line ORDER BY 1, 2;
SELECT run FROM runs GROUP BY run HAVING count(*) <> (SELECT count(*) FROM runs WHERE run = 'auto');
SELECT count(DISTINCT run) FROM runs;

-- direct, where it cannot be: an error that says why; auto and sql serve.
SELECT t.new_store('z', 3);
CREATE FUNCTION t.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER each_statement AFTER INSERT ON z.reference FOR EACH STATEMENT EXECUTE FUNCTION t.nothing();
SELECT reads, writes, reason IS NOT NULL AS says_why FROM dms_refs.stores;
SET dms_refs.engine = 'direct';
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2), t.keys(2), store => 'z');
SELECT state, concat(message, detail, hint) LIKE '%each_statement%' OR concat(message, detail, hint) LIKE '%trigger%' AS says_why
FROM t.error($$SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(2), t.keys(2), store => 'z')$$);
SELECT t.stored('z', 1);
SET dms_refs.engine = 'sql';
SELECT reads, writes FROM dms_refs.stores;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2), t.keys(2), store => 'z');
SET dms_refs.engine = 'auto';
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3), t.keys(2, 3), store => 'z');
SELECT t.stored('z', 1);
DROP TRIGGER each_statement ON z.reference;
SET dms_refs.engine = 'direct';
SELECT reads, writes, reason FROM dms_refs.stores;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(3), t.keys(3), store => 'z');
SELECT t.stored('z', 1);
RESET dms_refs.engine;
DROP TABLE runs;
DROP FUNCTION t.add, t.script, t.run, t.nothing;
SELECT dms_refs.drop_store('z');
