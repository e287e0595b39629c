-- Purpose: a staged row's place: rows of all sizes are deleted, moved together, and deleted again, and each statement changes the rows that it names.
\set VERBOSITY sqlstate
SELECT dms_refs.create_stage('plain', columns => 'id int, v text', on_commit => 'preserve');
SELECT dms_refs.create_stage('keyed', columns => 'id int, v text', key => '{id}', on_commit => 'preserve');
CREATE TEMP TABLE model (id int, v text);

-- The same statement (on table $) on all three: whether they name the same rows and hold the same afterwards.
CREATE FUNCTION t.on_all(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    results text[];
    result text;
    stage text;
BEGIN
    FOREACH stage IN ARRAY '{plain,keyed,model}'::text[] LOOP
        EXECUTE format('WITH x AS (%s RETURNING id) SELECT count(*) || '' rows, '' || md5(string_agg(id::text, '' '' ORDER BY id)) FROM x',
                       replace(statement, '$', stage)) INTO result;
        results := results || coalesce(result, 'none');
    END LOOP;
    IF results[1] <> results[3] OR results[2] <> results[3] THEN
        RETURN 'DIFFERENT ROWS: ' || statement;
    END IF;
    FOREACH stage IN ARRAY '{plain,keyed}'::text[] LOOP
        EXECUTE format('SELECT count(*) FROM ((TABLE %1$s EXCEPT ALL TABLE model) UNION ALL (TABLE model EXCEPT ALL TABLE %1$s)) d', stage) INTO result;
        IF result <> '0' THEN
            RETURN format('%s DIFFERS: ', stage) || statement;
        END IF;
    END LOOP;
    EXECUTE 'SELECT count(*) FROM model m WHERE (SELECT count(*) FROM keyed k WHERE k.id = m.id) <> 1' INTO result;
    IF result <> '0' THEN
        RETURN 'NOT FOUND BY KEY: ' || statement;
    END IF;
    RETURN split_part(results[3], ',', 1);
END $$;

-- One large row in front of many small ones: when it goes, they do not follow into its place.
SELECT t.on_all('INSERT INTO $ VALUES (0, repeat(''x'', 4000000))');
SELECT t.on_all('INSERT INTO $ SELECT g, lpad(g::text, 40, ''0'') FROM generate_series(1, 30000) g');
SELECT t.on_all('DELETE FROM $ WHERE id = 0 OR id % 3 = 0');
SELECT stage, rows, bytes < 3000000 AS given_back FROM dms_refs.stages ORDER BY stage;
SELECT t.on_all('DELETE FROM $ WHERE id = 25000');
SELECT t.on_all('UPDATE $ SET v = ''new'' WHERE id IN (1, 9998, 19999, 29999)');
SELECT t.on_all('DELETE FROM $ WHERE id % 10 = 7');

-- Large rows between small ones, some of which stay; rows as large as a block of many, a little less, a little more.
SELECT t.on_all('INSERT INTO $ SELECT 100000 + g, repeat(''y'', CASE WHEN g % 100 = 0 THEN 300000 WHEN g % 10 = 0 THEN 40000 ELSE g % 200 END) FROM generate_series(1, 1000) g');
SELECT t.on_all('INSERT INTO $ SELECT 200000 + g, repeat(''z'', 262144 - 80 + 8 * g) FROM generate_series(1, 20) g');
SELECT t.on_all('INSERT INTO $ SELECT 300000 + g, lpad(g::text, 20) FROM generate_series(1, 20000) g');
SELECT t.on_all('DELETE FROM $ WHERE id BETWEEN 100000 AND 199999 AND id % 200 <> 0');
SELECT t.on_all('DELETE FROM $ WHERE id < 100000 OR id % 2 = 1');
SELECT t.on_all('DELETE FROM $ WHERE id BETWEEN 200000 AND 299999');
SELECT t.on_all('UPDATE $ SET v = v || ''!'' WHERE id % 1000 = 0');

-- Of all sizes in no order, in transactions that end in either way.
CREATE PROCEDURE t.rounds(seed float8, n int) LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    PERFORM setseed(seed);
    CREATE TEMP TABLE incoming (id int, v text);
    FOR i IN 1 .. n LOOP
        TRUNCATE incoming;
        INSERT INTO incoming SELECT i * 1000000 + g, repeat(chr(97 + g % 26), CASE WHEN random() < 0.02 THEN (random() * 700000)::int
            WHEN random() < 0.1 THEN (random() * 50000)::int ELSE (random() * 100)::int END) FROM generate_series(1, 200) g;
        FOREACH result IN ARRAY ARRAY[t.on_all('INSERT INTO $ SELECT * FROM incoming'),
                t.on_all(format('DELETE FROM $ WHERE hashint4(id) %% 7 = %s', i % 7)),
                t.on_all(format('UPDATE $ SET v = left(v, 30) WHERE hashint4(id) %% 5 = %s', i % 5))] LOOP
            IF result LIKE '%: %' THEN RAISE NOTICE 'round %: %', i, result; END IF;
        END LOOP;
        IF i % 4 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
    END LOOP;
    IF EXISTS (SELECT FROM dms_refs.stages WHERE bytes > 1000000 + 2 * (SELECT sum(pg_column_size(v) + 100) FROM model)) THEN
        RAISE NOTICE 'memory is not given back';
    END IF;
END $$;
SELECT t.on_all('DELETE FROM $');
CALL t.rounds(0.5, 12);
SELECT t.on_all('DELETE FROM $');
SELECT stage, rows, bytes FROM dms_refs.stages ORDER BY stage;

-- A place that a user makes up is compared, and nothing else.
INSERT INTO plain VALUES (1, 'a'), (2, 'b');
DELETE FROM plain WHERE ctid = '(0,65535)' OR ctid = '(4294967295,1)' RETURNING id;
DELETE FROM plain p USING (SELECT ctid AS place, id FROM plain) q WHERE p.ctid = q.place AND q.id = 2 RETURNING p.id;
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM plain;
FETCH c;
DELETE FROM plain WHERE CURRENT OF c;
ROLLBACK;
SELECT id, ctid, tableoid::regclass FROM plain;
DROP PROCEDURE t.rounds;
DROP FUNCTION t.on_all;
DROP TABLE model, incoming;
DROP FOREIGN TABLE plain, keyed;
