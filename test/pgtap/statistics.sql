-- Purpose: the contract of the statistics: functions, views with their columns, grants; and that the views agree with each other
-- and with what generated calls did.
\set QUIET 1
\pset format unaligned
\pset tuples_only true
BEGIN;
SET client_min_messages = warning;
CREATE EXTENSION dms_refs;
SELECT plan(17);

SELECT results_eq($$SELECT proname::text COLLATE "C", pg_get_function_identity_arguments(oid), prokind::text, provolatile::text, proparallel::text, proisstrict
        FROM pg_proc WHERE pronamespace = 'dms_refs'::regnamespace AND proname ~ '^(stat|histogram)_' AND proname <> 'stat_entries' ORDER BY 1$$, $$VALUES
    ('histogram_add' COLLATE "C", 'a bigint[], b bigint[]', 'f', 'i', 's', true),
    ('histogram_buckets', 'histogram bigint[], unit double precision, OUT at_least double precision, OUT below double precision, OUT count bigint, OUT cumulative bigint', 'f', 'i', 's', true),
    ('histogram_percentile', 'histogram bigint[], fraction double precision, unit double precision', 'f', 'i', 's', true),
    ('histogram_subtract', 'a bigint[], b bigint[]', 'f', 'i', 's', true),
    ('histogram_sum', 'bigint[]', 'a', 'i', 's', false),
    ('stat_reset', 'target regclass', 'f', 'v', 'u', false),
    ('stat_running', 'OUT pid integer, OUT datid oid, OUT relid oid, OUT function text, OUT phase text, OUT references_done bigint, OUT references_total bigint, OUT started timestamp with time zone', 'f', 'v', 'r', false),
    ('stat_staged', 'OUT datid oid, OUT relid oid, OUT rows_staged bigint, OUT bytes_staged bigint, OUT peak_bytes bigint, OUT overflows bigint, OUT discards bigint, OUT stats_reset timestamp with time zone', 'f', 'v', 'r', false),
    ('stat_status', 'OUT storage text, OUT entries bigint, OUT max_entries bigint, OUT not_recorded bigint', 'f', 'v', 'r', false)$$,
    'the functions');
SELECT ok(NOT has_function_privilege('public', 'dms_refs.stat_reset(regclass)', 'EXECUTE'), 'not everyone may reset');

CREATE FUNCTION pg_temp.columns_of(view regclass) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = view AND attnum > 0 $$;
SELECT is(pg_temp.columns_of('dms_refs.stat_calls'), 'datname name, relid oid, relation regclass, function text, path text, engine text, calls bigint, '
    'documents bigint, given bigint, read bigint, inserted bigint, updated bigint, deleted bigint, kept bigint, invalid bigint, '
    'total_time double precision, min_time double precision, max_time double precision, mean_time double precision, stddev_time double precision, '
    'resolve_time double precision, read_time double precision, apply_time double precision, wal_records bigint, wal_fpi bigint, wal_bytes bigint, '
    'shared_blks_hit bigint, shared_blks_read bigint, shared_blks_dirtied bigint, first_call timestamp with time zone, '
    'last_call timestamp with time zone, stats_reset timestamp with time zone', 'stat_calls');
SELECT is(pg_temp.columns_of('dms_refs.stat_paths'), 'datname name, relid oid, relation regclass, calls bigint, fast_calls bigint, full_calls bigint, '
    'fast_ratio double precision, invalid_calls bigint, error_calls bigint, wal_bytes_per_fast_call double precision, '
    'wal_bytes_per_full_call double precision, equal_count_unchanged bigint, equal_count_changed bigint, different_count bigint', 'stat_paths');
SELECT is(pg_temp.columns_of('dms_refs.stat_latency'), 'datname name, relid oid, relation regclass, path text, calls bigint, p50 double precision, '
    'p90 double precision, p95 double precision, p99 double precision, p999 double precision, max double precision, histogram bigint[]', 'stat_latency');
SELECT is(pg_temp.columns_of('dms_refs.stat_set_size'), 'datname name, relid oid, relation regclass, documents bigint, set_size_p50 double precision, '
    'set_size_p95 double precision, set_size_max double precision, change_size_p50 double precision, change_size_p95 double precision, '
    'change_size_max double precision, set_size_histogram bigint[], change_size_histogram bigint[]', 'stat_set_size');
SELECT is(pg_temp.columns_of('dms_refs.stat_staging'), 'datname name, relid oid, relation regclass, rows_staged bigint, bytes_staged bigint, '
    'peak_bytes bigint, overflows bigint, discards bigint, stats_reset timestamp with time zone', 'stat_staging');
SELECT is(pg_temp.columns_of('dms_refs.stat_progress'), 'pid integer, datname name, relid oid, relation regclass, function text, phase text, '
    'references_done bigint, references_total bigint, started timestamp with time zone', 'stat_progress');

-- Generated calls: what the views say beside what a table of the results says.
SELECT dms_refs.create_store('counted', 2, 'lean');
INSERT INTO counted.document (documentpartitionkey, id) OVERRIDING SYSTEM VALUE SELECT n % 2, n FROM generate_series(1, 60) n;
INSERT INTO counted.alias (id, referentialpartitionkey, referentialid, documentid, documentpartitionkey) OVERRIDING SYSTEM VALUE
    SELECT n, n % 2, lpad(n::text, 32, '0')::uuid, n, n % 2 FROM generate_series(1, 60) n;
SELECT setseed(0.7) \g /dev/null
CREATE TEMPORARY TABLE call AS
SELECT c, 1 + floor(random() * 8)::int AS parent, 1 + floor(random() * 61)::int AS first, floor(random() * 4)::int AS size FROM generate_series(1, 400) c;
SELECT dms_refs.stat_reset();
CREATE TEMPORARY TABLE result AS
SELECT c.c, f.*
FROM call c, dms_refs.sync_references_batch(ARRAY[parent::bigint], ARRAY[(parent % 2)::smallint], ARRAY[size],
    ARRAY(SELECT lpad(n::text, 32, '0')::uuid FROM generate_series(first, first + size - 1) n),
    ARRAY(SELECT (n % 2)::smallint FROM generate_series(first, first + size - 1) n), store => 'counted') f;
CREATE TEMPORARY TABLE counted AS SELECT * FROM dms_refs.stat_calls WHERE relation = 'counted.reference'::regclass;
SELECT results_eq('SELECT path COLLATE "C", calls, documents, inserted, updated, deleted, kept FROM counted ORDER BY 1',
    'SELECT path COLLATE "C", count(*), count(*), sum(inserted)::bigint, sum(updated)::bigint, sum(deleted)::bigint, sum(kept)::bigint FROM result GROUP BY 1 ORDER BY 1',
    'calls and rows by path');
SELECT is((SELECT sum(given)::bigint FROM counted), (SELECT sum(size) FROM call), 'references given');
SELECT is((SELECT sum(invalid)::bigint FROM counted), (SELECT sum(cardinality(invalid_ids)) FROM result), 'invalid ones');
SELECT cmp_ok((SELECT count(*) FROM counted WHERE path IN ('unchanged', 'pure_insert', 'delete_only', 'mixed', 'invalid')), '=', 5::bigint, 'many paths were taken');
SELECT is((SELECT sum(read)::bigint FROM counted), (SELECT sum(updated + deleted + kept)::bigint FROM counted), 'what was read was kept, changed or deleted');
SELECT results_eq('SELECT calls, fast_calls, full_calls, invalid_calls, error_calls FROM dms_refs.stat_paths WHERE relation = ''counted.reference''::regclass',
    $$SELECT count(*), count(*) FILTER (WHERE path = 'unchanged'), count(*) FILTER (WHERE path NOT IN ('unchanged', 'invalid')),
             count(*) FILTER (WHERE path = 'invalid'), 0::bigint FROM result$$, 'fast and full calls');
SELECT results_eq($$SELECT equal_count_unchanged, equal_count_changed, different_count FROM dms_refs.stat_paths WHERE relation = 'counted.reference'::regclass$$,
    $$SELECT count(*) FILTER (WHERE r.updated + r.deleted + r.kept = c.size AND path = 'unchanged'),
             count(*) FILTER (WHERE r.updated + r.deleted + r.kept = c.size AND path <> 'unchanged'),
             count(*) FILTER (WHERE r.updated + r.deleted + r.kept <> c.size) FROM result r JOIN call c USING (c) WHERE r.success$$,
    'what equal counts would have predicted');
SELECT results_eq($$SELECT documents, set_size_histogram, change_size_histogram FROM dms_refs.stat_set_size WHERE relation = 'counted.reference'::regclass$$,
    $$WITH d AS (SELECT c.size, r.inserted + r.updated + r.deleted AS changed FROM result r JOIN call c USING (c) WHERE r.success)
      SELECT (SELECT count(*) FROM d),
             (SELECT array_agg((SELECT count(*) FROM d WHERE size = n) ORDER BY n) FROM generate_series(0, (SELECT max(size) FROM d)) n),
             (SELECT array_agg((SELECT count(*) FROM d WHERE changed = n) ORDER BY n) FROM generate_series(0, (SELECT max(changed) FROM d)) n)$$,
    'sizes of sets and changes');
SELECT is((SELECT sum(n)::bigint FROM dms_refs.stat_latency, unnest(histogram) n WHERE relation = 'counted.reference'::regclass), 400::bigint, 'latencies');
SELECT * FROM finish();
ROLLBACK;
