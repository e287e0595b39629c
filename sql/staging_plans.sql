-- Purpose: the planner knows a stage's rows without ANALYZE, and makes the plan that a freshly analysed temporary table would get.
\set VERBOSITY terse
CREATE TABLE t.large (id int PRIMARY KEY, kind int, v text);
INSERT INTO t.large SELECT g, g % 50, md5(g::text) FROM generate_series(1, 20000) g;
VACUUM ANALYZE t.large;
SELECT dms_refs.create_stage('stage_side', columns => 'id int NOT NULL, kind int, v text', key => '{id}', on_commit => 'preserve');
CREATE TEMP TABLE table_side (id int NOT NULL, kind int, v text);
CREATE UNIQUE INDEX ON table_side (id);

-- A plan as one line: each scan by what it reads and how, joins by how; costs left out.
CREATE FUNCTION t.shape(statement text, side text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE line text; result text := ''; word text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || replace(statement, '{}', side) LOOP
        word := substring(line FROM '(?:->\s+|^)(Hash .*Join|Hash Join|Nested Loop.*|Merge .*Join|Foreign Scan|Seq Scan on \w+|Index (?:Only )?Scan using \w+|Bitmap Heap Scan on \w+)');
        CONTINUE WHEN word IS NULL AND line !~ 'Lookup by Key';
        IF line ~ 'Lookup by Key' THEN
            result := regexp_replace(result, 'side all$', 'side by key');
        ELSE
            result := result || ' / ' || CASE WHEN word LIKE 'Foreign Scan%' OR word = 'Seq Scan on table_side' THEN 'side all'
                WHEN word LIKE '%table_side%' THEN 'side by key' WHEN word LIKE 'Index%large%' THEN 'large by key'
                WHEN word LIKE 'Seq Scan on large' THEN 'large all' ELSE word END;
        END IF;
    END LOOP;
    RETURN substr(result, 4);
END $$;
CREATE FUNCTION t.estimate(statement text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT json) ' || statement INTO plan;
    RETURN (plan -> 0 -> 'Plan' ->> 'Plan Rows')::bigint;
END $$;
CREATE FUNCTION t.compare() RETURNS TABLE (statement text, plan text, as_analysed boolean) LANGUAGE plpgsql AS $$
BEGIN
    FOREACH statement IN ARRAY ARRAY[
        'SELECT * FROM {} s JOIN t.large l USING (id)',
        'SELECT * FROM {} s JOIN t.large l ON l.id = s.kind',
        'SELECT * FROM t.large l LEFT JOIN {} s ON s.id = l.id',
        'SELECT * FROM {} s WHERE s.v = ''5''']
    LOOP
        plan := t.shape(statement, 'stage_side');
        as_analysed := plan = t.shape(statement, 'table_side');
        IF NOT as_analysed THEN plan := plan || ' instead of ' || t.shape(statement, 'table_side'); END IF;
        RETURN NEXT;
    END LOOP;
END $$;

SELECT t.estimate('SELECT * FROM stage_side');
INSERT INTO stage_side SELECT g * 2000, (g * 7919) % 20000, 'v' || g FROM generate_series(1, 10) g;
INSERT INTO table_side TABLE stage_side;
ANALYZE table_side;
SELECT t.estimate('SELECT * FROM stage_side');
SELECT * FROM t.compare();
TRUNCATE stage_side, table_side;
INSERT INTO stage_side SELECT g * 20, (g * 7919) % 20000, 'v' || g FROM generate_series(1, 1000) g;
INSERT INTO table_side TABLE stage_side;
ANALYZE table_side;
SELECT * FROM t.compare();
TRUNCATE stage_side, table_side;
INSERT INTO stage_side SELECT g, (g * 7919) % 20000, 'v' || g FROM generate_series(1, 20000) g;
INSERT INTO table_side TABLE stage_side;
ANALYZE table_side;
SELECT t.estimate('SELECT * FROM stage_side');
SELECT t.estimate('SELECT * FROM stage_side JOIN t.large USING (id)');
SELECT * FROM t.compare();
-- A lookup in memory is cheaper than one in an index of a table: it is taken more often.
SELECT t.shape('SELECT * FROM {} s WHERE s.id = 5', 'stage_side');
SELECT t.shape('SELECT * FROM t.large l JOIN {} s ON s.id = l.kind WHERE l.id = 77', 'stage_side');
SELECT t.shape('SELECT * FROM t.large l, LATERAL (SELECT v FROM {} s WHERE s.id = l.kind OFFSET 0) x WHERE l.id < 10', 'stage_side');
-- So are the columns' values: estimates of conditions, and rows that lie at one end of the large table.
INSERT INTO stage_side SELECT g, g % 10, 'common' FROM generate_series(100001, 120000) g;
INSERT INTO table_side SELECT g, g % 10, 'common' FROM generate_series(100001, 120000) g;
ANALYZE table_side;
SELECT condition, greatest(n, m) <= 1.3 * least(n, m) + 5 AS as_analysed FROM unnest(ARRAY['v = ''common''', 'v = ''v7''', 'kind < 10', 'kind = 3', 'id > 110000', 'v IS NULL']) condition,
    LATERAL (SELECT t.estimate('SELECT * FROM stage_side WHERE ' || condition) / 1000 AS n, t.estimate('SELECT * FROM table_side WHERE ' || condition) / 1000 AS m) e;
DELETE FROM stage_side WHERE id > 100000;
DELETE FROM table_side WHERE id > 100000;
-- Widths come from the rows.
EXPLAIN SELECT v FROM stage_side WHERE id < 0;
-- Rows deleted are not counted, those of a savepoint no longer once it is rolled back.
BEGIN;
DELETE FROM stage_side WHERE id > 100;
SELECT t.estimate('SELECT * FROM stage_side');
SAVEPOINT a;
INSERT INTO stage_side SELECT g, 1, 'v' FROM generate_series(1001, 2000) g;
SELECT t.estimate('SELECT * FROM stage_side');
ROLLBACK TO a;
SELECT t.estimate('SELECT * FROM stage_side');
ROLLBACK;
-- A generic plan is made anew once the stage has grown tenfold; until then it stands.
TRUNCATE stage_side;
INSERT INTO stage_side SELECT g * 2000, 1, 'v' FROM generate_series(1, 10) g;
SET plan_cache_mode = force_generic_plan;
PREPARE joined AS SELECT count(l.v) FROM t.large l JOIN stage_side s USING (id);
EXECUTE joined;
EXPLAIN (COSTS OFF) EXECUTE joined;
INSERT INTO stage_side SELECT g, 1, 'v' FROM generate_series(1, 20000) g ON CONFLICT DO NOTHING;
EXECUTE joined;
EXPLAIN (COSTS OFF) EXECUTE joined;
RESET plan_cache_mode;
DEALLOCATE joined;
-- Keys of several columns, other types than the key's, outer joins, lateral.
SELECT dms_refs.create_stage('two', columns => 'a bigint, b text COLLATE "C", c int', key => '{a,b}', on_commit => 'preserve');
INSERT INTO two SELECT g, 'k' || g, g FROM generate_series(1, 5000) g;
EXPLAIN (COSTS OFF) SELECT * FROM two WHERE b = 'k7' AND a = 7;
SELECT * FROM two WHERE b = 'k7' AND a = 7;
SELECT * FROM two WHERE 7::smallint = a AND b = 'k7';
SELECT * FROM two WHERE a = 7 AND b = NULL;
EXPLAIN (COSTS OFF) SELECT * FROM two WHERE a = 7;
SELECT t.shape('SELECT * FROM t.large l JOIN {} x ON x.a = l.id AND x.b = ''k'' || l.kind WHERE l.id = 8', 'two');
SELECT l.id, c FROM t.large l JOIN two ON two.a = l.id AND two.b = 'k' || l.kind WHERE l.id IN (8, 9, 60);
SELECT l.id, c FROM t.large l LEFT JOIN two ON two.a = l.id AND two.b = 'k' || l.kind WHERE l.id IN (8, 60) ORDER BY 1;
SELECT l.id, c FROM t.large l, LATERAL (SELECT c FROM two WHERE a = l.id AND b = 'k' || l.kind OFFSET 0) x WHERE l.id < 4;
-- A comparison under another collation is no lookup.
EXPLAIN (COSTS OFF) SELECT * FROM two WHERE a = 7 AND b = 'k7' COLLATE "POSIX";
DROP FOREIGN TABLE stage_side, two;
DROP TABLE table_side, t.large;
DROP FUNCTION t.shape, t.estimate, t.compare;
