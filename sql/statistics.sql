-- Purpose: what is counted of calls, by the views. This server is not preloaded with dms_refs, so the counters are this
-- session's; test/tap/010_statistics.pl looks at those of all sessions.
\set VERBOSITY terse
SELECT t.new_store('s', 40);
SELECT dms_refs.stat_reset();
SELECT storage, max_entries, not_recorded FROM dms_refs.stat_status();

-- Said once.
SELECT count(*) FROM dms_refs.stat_calls;
SELECT count(*) FROM dms_refs.stat_calls;

-- Every path, and what it counts.
SELECT success FROM s.InsertReferences(1, 1::smallint, t.ids(2, 3, 4, 4), t.keys(2, 3, 4, 4), true);
SELECT success FROM s.InsertReferences(1, 1::smallint, t.ids(2, 3, 4), t.keys(2, 3, 4));
SELECT success FROM s.InsertReferences(1, 1::smallint, t.ids(2, 3, 5), t.keys(2, 3, 5));
SELECT success FROM s.InsertReferences(1, 1::smallint, t.ids(2, 3, 5, 6), t.keys(2, 3, 5, 6));
SELECT success FROM s.InsertReferences(1, 1::smallint, t.ids(2), t.keys(2));
SELECT success, cardinality(invalid_ids) FROM s.InsertReferences(1, 1::smallint, t.ids(2, 98, 99), t.keys(2, 98, 99));
SELECT state FROM t.error('SELECT s.InsertReferences(77, 1::smallint, t.ids(2), t.keys(2))');
SELECT state FROM t.error('SELECT s.InsertReferences(1, 1::smallint, t.ids(2), t.keys(2, 3))');
SELECT state FROM t.error($$SELECT dms_refs.insert_references(1, 1::smallint, t.ids(2), t.keys(2), store => 'nowhere')$$);
SELECT count(*) FROM dms_refs.sync_references(2, 2::smallint, t.ids(3, 4), t.keys(3, 4), store => 's');
SELECT count(*) FROM dms_refs.diff_references(2, 2::smallint, t.ids(3, 5), t.keys(3, 5), store => 's');
SELECT ordinal, path FROM dms_refs.sync_references_batch('{3,4,5}', '{3,0,1}', '{1,2,0}', t.ids(1, 1, 2), t.keys(1, 1, 2), store => 's');
SELECT path FROM dms_refs.apply_resolved_references(6, 2::smallint, '{2}', '{101}', '{1}', '{1}', store => 's');
SELECT count(*) FROM dms_refs.resolve_references(t.ids(1, 2, 99), t.keys(1, 2, 99), 's');
SELECT count(*) FROM dms_refs.find_invalid_references(t.ids(1, 2, 99), t.keys(1, 2, 99), 's');
SELECT count(*) FROM dms_refs.referencing_documents(1, 1::smallint, 's');
SELECT relation, function, path, engine, calls, documents, given, read, inserted, updated, deleted, kept, invalid
FROM dms_refs.stat_calls ORDER BY function COLLATE "C", path COLLATE "C", engine COLLATE "C", calls DESC;
SELECT datname = current_database() AS this_database, relid = 's.reference'::regclass AS this_table, relation,
       calls, fast_calls, full_calls, round(fast_ratio::numeric, 3) AS fast_ratio, invalid_calls, error_calls,
       wal_bytes_per_fast_call, wal_bytes_per_full_call > 0 AS full_calls_write_wal,
       equal_count_unchanged, equal_count_changed, different_count
FROM dms_refs.stat_paths ORDER BY relation::text COLLATE "C";
-- The failed call without a table is that of a store that does not exist.
SELECT bool_and(calls = fast_calls + full_calls + invalid_calls + error_calls) FROM dms_refs.stat_paths;

-- Costs.
SELECT bool_and(total_time > 0), bool_and(min_time <= mean_time AND mean_time <= max_time), bool_and(stddev_time >= 0),
       bool_and(resolve_time + read_time + apply_time = 0) AS phases_not_timed,
       bool_and(first_call <= last_call), bool_and(shared_blks_hit + shared_blks_read > 0)
FROM dms_refs.stat_calls WHERE calls > 0 AND path <> 'error';
SELECT path, wal_records > 0 AS wal_records, wal_bytes > 0 AS wal_bytes FROM dms_refs.stat_calls
WHERE function = 'insert_references' AND path IN ('unchanged', 'mixed', 'invalid') ORDER BY path COLLATE "C";
SELECT relation, path, calls, p50 > 0 AND p50 <= p90 AND p90 <= p95 AND p95 <= p99 AND p99 <= p999 AS rise,
       p999 <= max * 1.063 AS below_max, (SELECT sum(n) FROM unnest(histogram) n) AS counted
FROM dms_refs.stat_latency ORDER BY relation::text COLLATE "C", path COLLATE "C";
SELECT relation, documents, set_size_p50, set_size_p95, set_size_max, change_size_p50, change_size_p95, change_size_max,
       set_size_histogram, change_size_histogram
FROM dms_refs.stat_set_size;
SELECT count(*) FROM dms_refs.stat_progress;

-- Phases, by SQL, and what is not to be counted.
SELECT dms_refs.stat_reset('s.reference');
SELECT count(*) FROM dms_refs.stat_calls WHERE relation = 's.reference'::regclass;
SET dms_refs.track_timing = on;
SET dms_refs.engine = 'sql';
SELECT success FROM s.InsertReferences(1, 1::smallint, t.ids(2, 7), t.keys(2, 7));
RESET dms_refs.track_timing;
RESET dms_refs.engine;
SET dms_refs.track = 'none';
SELECT success FROM s.InsertReferences(1, 1::smallint, t.ids(2, 8), t.keys(2, 8));
RESET dms_refs.track;
SELECT function, path, engine, calls, inserted, resolve_time > 0 AS resolve, read_time > 0 AS read, apply_time > 0 AS apply,
       resolve_time + read_time + apply_time <= total_time AS within
FROM dms_refs.stat_calls WHERE relation = 's.reference'::regclass ORDER BY path COLLATE "C";

-- A call within a trigger of another call.
CREATE FUNCTION s.also() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.parentdocumentid = 9 THEN
        PERFORM s.InsertReferences(10, 2::smallint, t.ids(1), t.keys(1));
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER also AFTER INSERT ON s.reference FOR EACH ROW EXECUTE FUNCTION s.also();
SELECT dms_refs.stat_reset('s.reference');
SELECT success FROM s.InsertReferences(9, 1::smallint, t.ids(1, 2), t.keys(1, 2));
SELECT path, calls, inserted, stats_reset > first_call - interval '1 hour' AS was_reset
FROM dms_refs.stat_calls WHERE relation = 's.reference'::regclass ORDER BY path COLLATE "C";
SET dms_refs.track = 'all';
SELECT success FROM s.InsertReferences(9, 1::smallint, t.ids(1, 2, 3), t.keys(1, 2, 3));
RESET dms_refs.track;
SELECT path, calls, inserted FROM dms_refs.stat_calls WHERE relation = 's.reference'::regclass ORDER BY path COLLATE "C";

-- Errors: caught ones, and in the middle of a batch.
SELECT dms_refs.stat_reset('s.reference');
SELECT state FROM t.error($$SELECT dms_refs.sync_references_batch('{11,12}', '{3,0}', '{1,1}', t.ids(1, 99), t.keys(1, 99), on_invalid => 'abort', store => 's')$$);
SELECT path, calls, documents, inserted FROM dms_refs.stat_calls WHERE relation = 's.reference'::regclass ORDER BY path COLLATE "C";

-- Who may see what.
CREATE ROLE regress_stats_reader;
CREATE ROLE regress_stats_all IN ROLE pg_read_all_stats;
SET ROLE regress_stats_reader;
SELECT count(*) FROM dms_refs.stat_calls;
SELECT dms_refs.stat_reset();
RESET ROLE;
GRANT USAGE ON SCHEMA s TO regress_stats_reader;
GRANT SELECT (id) ON s.reference TO regress_stats_reader;
GRANT EXECUTE ON FUNCTION dms_refs.stat_reset(regclass) TO regress_stats_reader;
SET ROLE regress_stats_reader;
SELECT count(*) > 0 AS sees, bool_and(relation = 's.reference'::regclass) AS only_this FROM dms_refs.stat_calls;
SELECT dms_refs.stat_reset('s.reference');
SET ROLE regress_stats_all;
SELECT relation::text FROM dms_refs.stat_calls WHERE function = 'sync_references_batch' ORDER BY 1;
SELECT count(*) > 0 AS sees_failed FROM dms_refs.stat_calls WHERE relid IS NULL;
RESET ROLE;

-- Histograms.
SELECT dms_refs.histogram_percentile('{}', 0.5), dms_refs.histogram_percentile('{0,0}', 0.5),
       dms_refs.histogram_percentile('{1,1,1,1}', 0.5), dms_refs.histogram_percentile('{1,1,1,1}', 0),
       dms_refs.histogram_percentile('{1,1,1,1}', 1, 10), dms_refs.histogram_percentile(NULL, 0.5);
SELECT dms_refs.histogram_percentile('{1}', 95);
SELECT dms_refs.histogram_percentile('{{1}}', 0.5);
SELECT dms_refs.histogram_percentile('{1,NULL}', 0.5);
SELECT dms_refs.histogram_percentile(array_fill(1::bigint, ARRAY[1000]), 0.5);
SELECT dms_refs.histogram_add('{1,2}', '{1,1,1}'), dms_refs.histogram_subtract('{2,3,1}', '{1,1,1}'), dms_refs.histogram_subtract('{2}', '{}');
SELECT dms_refs.histogram_sum(h) FROM (VALUES ('{1,2}'::bigint[]), ('{0,0,5}'), (NULL), ('{}')) v(h);
SELECT dms_refs.histogram_sum(h) FROM (SELECT '{}'::bigint[] WHERE false) v(h);
-- Sums stay at the largest number there is.
SELECT dms_refs.histogram_add('{9223372036854775807,5}', '{1,1}'), dms_refs.histogram_subtract('{-9223372036854775808,5}', '{1,1}'),
       dms_refs.histogram_subtract('{1}', '{-9223372036854775808}');
SELECT dms_refs.histogram_percentile('{9223372036854775807,9223372036854775807}', 0.9), dms_refs.histogram_percentile('{0,9223372036854775807}', 1);
SELECT count, cumulative FROM dms_refs.histogram_buckets('{9223372036854775807,9223372036854775807}');
SELECT dms_refs.histogram_sum(h) FROM (VALUES ('{9223372036854775807}'::bigint[]), ('{9223372036854775807}')) v(h);
SELECT * FROM dms_refs.histogram_buckets('{0,0,3,0,0,0,0,0,1,0,0,0,0,0,0,0,2}', 0.5);

-- Stages.
SELECT dms_refs.create_stage('s.stage', columns => 'a int, b text', key => '{a}', on_commit => 'preserve');
INSERT INTO s.stage SELECT n, 'x' FROM generate_series(1, 100) n;
INSERT INTO s.stage VALUES (1, 'again');
UPDATE s.stage SET b = 'y' WHERE a <= 10;
DELETE FROM s.stage WHERE a > 50;
SELECT relation, rows_staged, bytes_staged BETWEEN 110 * 24 AND 110 * 48 AS bytes, peak_bytes >= bytes_staged AS peak, overflows, discards
FROM dms_refs.stat_staging;
SET dms_refs.staging_memory = '64kB';
INSERT INTO s.stage SELECT n, repeat('long', 1000) FROM generate_series(101, 200) n;
RESET dms_refs.staging_memory;
DISCARD TEMP;
DISCARD TEMP;
SELECT relation, rows_staged, overflows, discards FROM dms_refs.stat_staging;
SELECT count(*) FROM dms_refs.stat_calls WHERE relation = 's.stage'::regclass;
SELECT dms_refs.stat_reset('s.stage');
SELECT count(*) FROM dms_refs.stat_staging;
DROP FOREIGN TABLE s.stage;

DROP OWNED BY regress_stats_reader;
DROP ROLE regress_stats_reader, regress_stats_all;
DROP TRIGGER also ON s.reference;
DROP FUNCTION s.also();
SELECT dms_refs.drop_store('s');
