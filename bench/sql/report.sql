-- Prints what bench/references measured: the figures, and how they compare with the targets.
\pset null ''
\set QUIET 1
SET client_min_messages = warning;

CREATE OR REPLACE VIEW bench.figure AS
SELECT size, work, contestant, spread[2] AS us, spread[1] AS us_from, spread[3] AS us_to, wal_bytes, most_wal_bytes, wal_records, hits
FROM (SELECT size, work, contestant, percentile_cont('{0.1,0.5,0.9}'::float8[]) WITHIN GROUP (ORDER BY us) AS spread,
             percentile_cont(0.5) WITHIN GROUP (ORDER BY wal_bytes) AS wal_bytes, max(wal_bytes) AS most_wal_bytes,
             percentile_cont(0.5) WITHIN GROUP (ORDER BY wal_records) AS wal_records, percentile_cont(0.5) WITHIN GROUP (ORDER BY hits) AS hits
      FROM bench.result GROUP BY size, work, contestant) f;

-- R4 in the ratios is the faster of R4 and R4s.
CREATE OR REPLACE VIEW bench.best_sql AS
SELECT DISTINCT ON (size, work) * FROM bench.figure WHERE contestant IN ('R4', 'R4s') ORDER BY size, work, us;

\echo
\echo 'Microseconds a call on the server: median over all slices of calls, and the range that holds 80 % of them. R1/x and R4/x: how many'
\echo 'times faster than these (R4: the faster of R4 and R4s). WAL and buffers: a call.'
SELECT f.size, f.work, f.contestant, round(f.us::numeric, 1) AS us, round(f.us_from::numeric, 1) || ' - ' || round(f.us_to::numeric, 1) AS range,
       round((r1.us / f.us)::numeric, 1) AS "R1/x", round((r4.us / f.us)::numeric, 1) AS "R4/x",
       round(f.wal_bytes::numeric) AS wal_bytes, round(f.wal_records::numeric, 1) AS wal_records, round(f.hits::numeric) AS buffers
FROM bench.figure f
LEFT JOIN bench.figure r1 ON (r1.size, r1.work, r1.contestant) = (f.size, f.work, 'R1')
LEFT JOIN bench.best_sql r4 ON (r4.size, r4.work) = (f.size, f.work)
ORDER BY f.size, array_position('{unchanged,changed,insert}', f.work),
         array_position('{nothing,dms_refs,dms_refs_sql,R1,R2,R3,R4,R4s}', f.contestant);

\echo 'dms_refs (engine = auto) beside its targets'
WITH target(size, work, r1, r4, wal) AS (VALUES
    (10, 'unchanged', 10, 3, 0), (10, 'changed', 9, 3.5, NULL), (10, 'insert', 9, 3.4, 0.9),
    (100, 'unchanged', 30, 5, 0), (100, 'changed', 6.5, 2.8, NULL), (100, 'insert', 7, 3.2, NULL)),
compared AS (
    SELECT f.size, f.work, u.what, u.wanted, u.observed, u.most
    FROM target t JOIN bench.figure f ON (f.size, f.work, f.contestant) = (t.size, t.work, 'dms_refs')
    LEFT JOIN bench.figure r1 ON (r1.size, r1.work, r1.contestant) = (f.size, f.work, 'R1')
    LEFT JOIN bench.best_sql r4 ON (r4.size, r4.work) = (f.size, f.work),
    LATERAL (VALUES ('times faster than R1', t.r1, r1.us / f.us, false), ('times faster than R4', t.r4, r4.us / f.us, false),
                    (CASE WHEN t.wal = 0 THEN 'WAL bytes (any slice)' ELSE 'WAL, share of R4''s' END, t.wal,
                     CASE WHEN t.wal = 0 THEN f.most_wal_bytes ELSE f.wal_bytes / r4.wal_bytes END, true)) u(what, wanted, observed, most)
    WHERE u.wanted IS NOT NULL AND u.observed IS NOT NULL
    UNION ALL
    SELECT l.size, l.work, 'times the cost of a set of ' || s.size, 0.12 * l.size, l.us / s.us, true
    FROM bench.figure l JOIN bench.figure s ON (s.work, s.contestant) = (l.work, l.contestant)
    WHERE l.contestant = 'dms_refs' AND (l.size, s.size) = (1000, 10))
SELECT size, work, what, CASE WHEN most THEN 'at most ' ELSE 'at least ' END || trim_scale(wanted::numeric) AS wanted,
       round(observed::numeric, 2) AS observed, CASE WHEN (observed <= wanted) = most OR observed = wanted THEN 'yes' ELSE 'no' END AS reached
FROM compared ORDER BY size, array_position('{unchanged,changed,insert}', work), most, what;
