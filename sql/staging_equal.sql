-- Purpose: a stage gives the same rows, counts and SQLSTATEs as a temporary table, statement by statement: generated queries and changes, with
-- savepoints at random, against a temporary table with a unique index in the same transaction. Only differences are shown.
\set VERBOSITY terse
SELECT dms_refs.create_stage('stage_side', columns => 'a int, b text NOT NULL DEFAULT ''d'', c numeric CHECK (c < 90), d int GENERATED ALWAYS AS (a * 3) STORED',
    key => '{a}', on_commit => 'preserve');
CREATE TEMP TABLE table_side (a int UNIQUE, b text NOT NULL DEFAULT 'd', c numeric CHECK (c < 90), d int GENERATED ALWAYS AS (a * 3) STORED);
CREATE TABLE t.other (a int PRIMARY KEY, x text);
INSERT INTO t.other SELECT g, 'x' || g % 7 FROM generate_series(1, 400) g;
ANALYZE t.other;

-- What a statement does to one side: its rows in an order of their own and its count, or its SQLSTATE.
CREATE FUNCTION t.outcome(statement text, side text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text; n bigint; wrapped text := replace(statement, '{}', side);
BEGIN
    IF wrapped ~ '^(SELECT|WITH)' THEN
        EXECUTE format('SELECT string_agg(q::text, '';'' ORDER BY q::text) FROM (%s) q', wrapped) INTO result;
        RETURN coalesce(result, 'no rows');
    ELSIF wrapped ~ ' RETURNING ' THEN
        EXECUTE format('WITH q AS (%s) SELECT count(*), string_agg(q::text, '';'' ORDER BY q::text) FROM q', wrapped) INTO n, result;
        RETURN n || ': ' || coalesce(result, 'no rows');
    END IF;
    EXECUTE wrapped;
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;

CREATE FUNCTION t.pick(VARIADIC choices text[]) RETURNS text LANGUAGE sql VOLATILE AS
$$ SELECT choices[1 + floor(random() * cardinality(choices))::int] $$;
CREATE FUNCTION t.number(top int) RETURNS text LANGUAGE sql VOLATILE AS $$ SELECT (1 + floor(random() * top)::int)::text $$;
CREATE FUNCTION t.condition() RETURNS text LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN CASE floor(random() * 9)::int
        WHEN 0 THEN 's.a = ' || t.number(120)
        WHEN 1 THEN 's.a < ' || t.number(120)
        WHEN 2 THEN 's.b LIKE ''%' || t.number(9) || '%'''
        WHEN 3 THEN 's.c IS NULL OR s.a = ' || t.number(120)
        WHEN 4 THEN format('s.a BETWEEN %s AND %s', t.number(60), t.number(120))
        WHEN 5 THEN format('s.a IN (%s, %s, %s)', t.number(120), t.number(120), t.number(120))
        WHEN 6 THEN 's.a % ' || t.number(5) || ' = 0'
        WHEN 7 THEN format('(s.a = %s AND s.b <> ''q'')', t.number(120))
        ELSE format('EXISTS (SELECT FROM t.other o WHERE o.a = s.a AND o.x = ''x%s'')', t.number(7)) END;
END $$;
CREATE FUNCTION t.query() RETURNS text LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN CASE floor(random() * 10)::int
        WHEN 0 THEN 'SELECT * FROM {} s WHERE ' || t.condition()
        WHEN 1 THEN 'SELECT count(*), sum(c), min(b), max(d), count(DISTINCT b) FROM {} s WHERE ' || t.condition()
        WHEN 2 THEN 'SELECT s.a, o.x FROM {} s JOIN t.other o USING (a) WHERE ' || t.condition()
        WHEN 3 THEN 'SELECT o.a, s.b FROM t.other o LEFT JOIN {} s ON s.a = o.a WHERE o.a < ' || t.number(60)
        WHEN 4 THEN 'SELECT b, count(*), avg(c) FROM {} s GROUP BY b HAVING count(*) > ' || t.number(3)
        WHEN 5 THEN format('SELECT s.* FROM {} s JOIN {} r ON r.a = s.d WHERE %s', t.condition())
        WHEN 6 THEN 'SELECT a, row_number() OVER (ORDER BY a, b, c), lag(b) OVER (ORDER BY a, b, c) FROM {} s WHERE ' || t.condition()
        WHEN 7 THEN format('SELECT o.a, (SELECT s.b FROM {} s WHERE s.a = o.a) FROM t.other o WHERE o.a > %s', t.number(400))
        WHEN 8 THEN 'SELECT a FROM {} s WHERE ' || t.condition() || ' EXCEPT SELECT a FROM t.other WHERE a % 2 = 0'
        ELSE format('WITH x AS MATERIALIZED (SELECT * FROM {} s WHERE %s) SELECT x.b, y.* FROM x, LATERAL (SELECT * FROM {} r WHERE r.a = x.a + %s) y',
                    t.condition(), t.number(4)) END;
END $$;
CREATE FUNCTION t.change() RETURNS text LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN CASE floor(random() * 12)::int
        WHEN 0 THEN format('INSERT INTO {} (a, b, c) VALUES (%s, ''v%s'', %s), (NULL, ''n'', NULL)', t.number(120), t.number(9), t.number(95))
        WHEN 1 THEN format('INSERT INTO {} AS s (a, b) SELECT g, ''g'' || g FROM generate_series(%s, %s, %s) g RETURNING s.*', t.number(100), t.number(160), t.number(20))
        WHEN 2 THEN format('INSERT INTO {} (a, b) SELECT a + %s, b FROM {} WHERE a < 40', t.number(90))
        WHEN 3 THEN format('UPDATE {} s SET b = b || %s WHERE %s RETURNING s.*', t.number(9), t.condition())
        WHEN 4 THEN format('UPDATE {} s SET a = a + %s WHERE a > %s', 1000, t.number(120))
        WHEN 5 THEN format('UPDATE {} s SET a = o.a, c = o.a / 4 FROM t.other o WHERE o.a = s.a - 1000 AND (%s) RETURNING s.*', t.condition())
        WHEN 6 THEN format('UPDATE {} s SET c = %s WHERE %s', t.number(95), t.condition())
        WHEN 7 THEN format('DELETE FROM {} s WHERE %s', t.condition())
        WHEN 8 THEN format('DELETE FROM {} s USING t.other o WHERE o.a = s.a AND o.x = ''x%s'' RETURNING s.a', t.number(7))
        WHEN 9 THEN format('INSERT INTO {} (a, b) VALUES (%s, ''c'') ON CONFLICT DO NOTHING', t.number(120))
        WHEN 10 THEN CASE WHEN random() < 0.2 THEN 'TRUNCATE {}' ELSE format('UPDATE {} s SET a = NULL WHERE a = %s', t.number(120)) END
        ELSE format('INSERT INTO {} (a, b) VALUES (%s, %L)', t.number(5000), CASE WHEN random() < 0.1 THEN NULL ELSE repeat('long ', 1000) END) END;
END $$;

-- One step on both sides; a block that ends in an exception is a savepoint that is rolled back.
CREATE FUNCTION t.step() RETURNS int LANGUAGE plpgsql AS $$
DECLARE statement text := CASE WHEN random() < 0.5 THEN t.query() ELSE t.change() END; one text; other text;
BEGIN
    one := t.outcome(statement, 'stage_side');
    other := t.outcome(statement, 'table_side');
    IF one IS DISTINCT FROM other THEN
        RAISE WARNING '%: % instead of %', statement, left(one, 300), left(other, 300);
        RETURN 1;
    END IF;
    RETURN 0;
END $$;
CREATE FUNCTION t.steps(depth int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE wrong int := 0; inner_wrong int;
BEGIN
    FOR i IN 1 .. 1 + floor(random() * 6)::int LOOP
        IF depth < 5 AND random() < 0.35 THEN
            BEGIN
                inner_wrong := t.steps(depth + 1);
                IF random() < 0.5 THEN RAISE division_by_zero; END IF;
            EXCEPTION WHEN division_by_zero THEN NULL;
            END;
            wrong := wrong + coalesce(inner_wrong, 0);
        ELSE
            wrong := wrong + t.step();
        END IF;
        IF (SELECT count(*) FROM ((TABLE stage_side EXCEPT ALL TABLE table_side) UNION ALL (TABLE table_side EXCEPT ALL TABLE stage_side)) d) > 0
            OR (SELECT rows FROM dms_refs.stages WHERE stage = 'stage_side'::regclass) <> (SELECT count(*) FROM table_side) THEN
            RAISE WARNING 'the sides differ';
            RETURN wrong + 1;
        END IF;
    END LOOP;
    RETURN wrong;
END $$;
CREATE PROCEDURE t.rounds(n int, INOUT wrong int) LANGUAGE plpgsql AS $$
BEGIN
    wrong := 0;
    FOR i IN 1 .. n LOOP
        wrong := wrong + t.steps(0);
        IF random() < 0.3 THEN ROLLBACK; ELSE COMMIT; END IF;
        -- A key that holds nearly everything is no use: begin anew now and then.
        IF i % 20 = 0 THEN EXECUTE 'TRUNCATE stage_side'; EXECUTE 'TRUNCATE table_side'; END IF;
    END LOOP;
END $$;
SET client_min_messages = warning;
-- Disabled plans cost so much that the server would compile them.
SET jit = off;
SELECT setseed(0.4);
CALL t.rounds(150, NULL);
-- Lookups through the key wherever there is one, and nowhere.
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SELECT setseed(0.5);
CALL t.rounds(100, NULL);
RESET enable_hashjoin;
RESET enable_mergejoin;
SET enable_nestloop = off;
SELECT setseed(0.6);
CALL t.rounds(50, NULL);
RESET enable_nestloop;
SELECT (SELECT count(*) FROM stage_side) = (SELECT count(*) FROM table_side) AS same_size;
TRUNCATE stage_side;
SELECT rows, bytes FROM dms_refs.stages WHERE stage = 'stage_side'::regclass;

DROP FOREIGN TABLE stage_side;
DROP TABLE table_side, t.other;
DROP PROCEDURE t.rounds;
DROP FUNCTION t.outcome, t.pick, t.number, t.condition, t.query, t.change, t.step, t.steps;
