-- What tools/quickstart prints at the end: what its calls did and cost, and whether the table holds what
-- was sent last and could be resolved, worked out in plain SQL without the extension.
\set ON_ERROR_STOP 1
\pset pager off
\pset footer off
\pset null '-'
\pset border 2

SELECT s.name AS "sent", c.path, to_char(count(*), 'FM999,999,999') AS calls,
       to_char(sum(given), 'FM999,999,999') AS "references given", to_char(sum(written), 'FM999,999,999') AS "rows written",
       round(avg(wal_bytes), 1) AS "WAL bytes a call", round(avg(us)::numeric, 1) AS "us a call",
       round((percentile_cont(0.5) WITHIN GROUP (ORDER BY us))::numeric, 1) AS "median us"
FROM quickstart.call c JOIN quickstart.step s USING (step)
GROUP BY s.step, s.name, c.path ORDER BY s.step, count(*) DESC;

WITH member AS (
    SELECT s.step, s.id AS parent, a.id AS alias, a.documentid AS document
    FROM quickstart.sent s, unnest(s.ids, s.keys) r (ref, ref_key)
    LEFT JOIN dms.alias a ON a.referentialpartitionkey = r.ref_key AND a.referentialid = r.ref
), accepted AS (
    SELECT max(step) AS step, id AS parent FROM quickstart.sent s
    WHERE NOT EXISTS (SELECT FROM member m WHERE m.step = s.step AND m.parent = s.id AND m.alias IS NULL)
    GROUP BY id
), expected AS (
    SELECT DISTINCT parent, alias, document FROM member JOIN accepted USING (step, parent)
), stored AS (
    SELECT parentdocumentid, aliasid, referenceddocumentid FROM dms.reference
), difference AS (
    (SELECT * FROM expected EXCEPT ALL SELECT * FROM stored)
    UNION ALL
    (SELECT * FROM stored EXCEPT ALL SELECT * FROM expected)
)
SELECT (SELECT count(*) FROM stored) AS rows_stored, (SELECT count(*) FROM difference) AS rows_different,
       (SELECT count(*) FROM difference) = 0 AS equal \gset
\if :equal
\echo 'Checked: the' :rows_stored 'rows of dms.reference are what was sent, by a query in plain SQL.'
\else
\warn 'WRONG: dms.reference differs from what was sent in' :rows_different 'rows.'
\q 3
\endif
