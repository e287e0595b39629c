-- Purpose: memory of stages: a full stage can be made emptier, what is counted is what is taken; empty_stage; bounds of options and names.
\set VERBOSITY terse
SET dms_refs.staging_memory = '1MB';
SELECT dms_refs.create_stage('filled', columns => 'id int, t text', key => '{id}', on_commit => 'preserve');
CREATE FUNCTION t.fill(n int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE added int := 0;
BEGIN
    LOOP
        BEGIN
            INSERT INTO filled SELECT (SELECT coalesce(max(id), 0) FROM filled) + g, repeat('x', 100) FROM generate_series(1, n) g;
            added := added + n;
        EXCEPTION WHEN out_of_memory THEN
            IF n = 1 THEN RETURN added; END IF;
            n := n / 2;
        END;
    END LOOP;
END $$;
-- What the view says, beside what the server's memory contexts say: all of it is counted.
CREATE FUNCTION t.counted() RETURNS bool LANGUAGE sql AS $$
    SELECT abs(bytes - taken) <= 0.02 * bytes + 8192 FROM dms_refs.stages, (SELECT sum(total_bytes) AS taken FROM pg_backend_memory_contexts WHERE name = 'dms_refs stage rows') m
    WHERE stage = 'filled'::regclass $$;
SELECT t.fill(1024) > 5000 AS filled;
SELECT bytes <= 1024 * 1024 AS within, t.counted() FROM dms_refs.stages WHERE stage = 'filled'::regclass;
\set VERBOSITY default
INSERT INTO filled SELECT -g, repeat('x', 100) FROM generate_series(1, 1000) g;
\set VERBOSITY terse
-- Rows can be deleted from it, all of them; a rollback brings them back.
BEGIN;
WITH d AS (DELETE FROM filled RETURNING 1) SELECT count(*) > 5000 AS deleted FROM d;
SELECT bytes <= 1024 * 1024 * 4 / 3 AS within, t.counted() FROM dms_refs.stages WHERE stage = 'filled'::regclass;
ROLLBACK;
SELECT rows > 5000 AS there, bytes <= 1024 * 1024 AS within, t.counted() FROM dms_refs.stages WHERE stage = 'filled'::regclass;
-- A few are updated, which a part of the bound is left for; and again, as each commit gives back what is not needed.
DO $$ BEGIN
    FOR i IN 0 .. 9 LOOP
        UPDATE filled SET t = 'short' || i WHERE id BETWEEN i * 200 AND i * 200 + 199;
        COMMIT;
    END LOOP;
END $$;
SELECT count(*) FROM filled WHERE t LIKE 'short%';
SELECT bytes <= 1024 * 1024 AS within, t.counted() FROM dms_refs.stages WHERE stage = 'filled'::regclass;
-- A row goes and another one comes, again and again.
SELECT t.fill(64) > 0 AS filled_up;
DO $$ BEGIN
    FOR i IN 1 .. 20 LOOP
        DELETE FROM filled WHERE id BETWEEN 3000 + i * 10 AND 3009 + i * 10;
        COMMIT;
        BEGIN
            INSERT INTO filled SELECT 1000000 + i * 10 + g, repeat('x', 100) FROM generate_series(1, 3) g;
        EXCEPTION WHEN out_of_memory THEN RAISE NOTICE 'full';
        END;
        COMMIT;
    END LOOP;
END $$;
SELECT count(*) FROM filled WHERE id > 1000000;
SELECT count(*) = count(DISTINCT id) AS keyed, bool_and(EXISTS (SELECT FROM filled g WHERE g.id = f.id)) AS found FROM filled f;
-- A smaller bound takes no rows away, and refuses no deletion.
SET dms_refs.staging_memory = '64kB';
UPDATE filled SET t = 'x' WHERE id = 5;
DELETE FROM filled WHERE id < 6000;
SELECT count(*) > 0 AS left_over FROM filled;
DELETE FROM filled;
SELECT rows, bytes FROM dms_refs.stages WHERE stage = 'filled'::regclass;
INSERT INTO filled VALUES (1, 'again') RETURNING *;
RESET dms_refs.staging_memory;
-- Settings are bounded, and say by what.
\set VERBOSITY sqlstate
SET dms_refs.staging_memory = '2147483647kB';
SET dms_refs.staging_memory = '2TB';
SET dms_refs.staging_memory = '63kB';
SET dms_refs.staging_memory_total = '1GB';
RESET dms_refs.staging_memory;

-- empty_stage: as TRUNCATE, for this session alone.
CREATE FUNCTION t.held() RETURNS text LANGUAGE sql AS $$ SELECT string_agg(id || t, ' ' ORDER BY id) FROM filled $$;
SELECT dms_refs.empty_stage('filled'), t.held();
SELECT t.held();
INSERT INTO filled VALUES (1, 'a'), (2, 'b');
BEGIN;
SELECT dms_refs.empty_stage('filled');
SELECT t.held();
SELECT mode FROM pg_locks WHERE relation = 'filled'::regclass AND pid = pg_backend_pid() ORDER BY 1;
SELECT pg_current_xact_id_if_assigned();
INSERT INTO filled VALUES (1, 'c');
SAVEPOINT s;
SELECT dms_refs.empty_stage('filled');
INSERT INTO filled VALUES (1, 'd');
SELECT t.held();
ROLLBACK TO s;
SELECT t.held();
ROLLBACK;
SELECT t.held();
BEGIN;
SELECT dms_refs.empty_stage('filled');
INSERT INTO filled VALUES (3, 'e');
COMMIT;
SELECT t.held();
-- Not while it is read, not in a transaction that reads only, not without the privilege, not other things.
\set VERBOSITY default
SELECT dms_refs.empty_stage('filled') FROM filled;
\set VERBOSITY sqlstate
BEGIN;
DECLARE c CURSOR FOR TABLE filled;
SELECT dms_refs.empty_stage('filled');
ROLLBACK;
BEGIN READ ONLY;
SELECT dms_refs.empty_stage('filled');
ROLLBACK;
CREATE TABLE t.plain (a int);
SELECT dms_refs.empty_stage('t.plain');
SELECT dms_refs.empty_stage(0);
SELECT dms_refs.check_stage(0);
SELECT dms_refs.check_stage(4294967295);
DROP TABLE t.plain;
CREATE ROLE staging_emptier;
GRANT SELECT, INSERT, UPDATE, DELETE ON filled TO staging_emptier;
SET ROLE staging_emptier;
\set VERBOSITY default
SELECT dms_refs.empty_stage('filled');
RESET ROLE;
GRANT TRUNCATE ON filled TO staging_emptier;
SET ROLE staging_emptier;
SELECT dms_refs.empty_stage('filled');
RESET ROLE;
DROP OWNED BY staging_emptier;
DROP ROLE staging_emptier;
SELECT t.held();
-- A stage whose rows the definition does not fit is emptied as the hint says.
INSERT INTO filled VALUES (1, 'a');
ALTER FOREIGN TABLE filled ALTER COLUMN t TYPE int;
SELECT count(*) FROM filled;
SELECT dms_refs.empty_stage('public.filled');
SELECT count(*) FROM filled;

-- A duplicate names a constraint, as that of a table does.
INSERT INTO filled VALUES (1, 1);
CREATE FUNCTION t.diagnosed(command text, OUT state text, OUT constraint_name text, OUT table_name text, OUT schema_name text) LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, constraint_name = CONSTRAINT_NAME, table_name = TABLE_NAME, schema_name = SCHEMA_NAME;
END $$;
SELECT * FROM t.diagnosed('INSERT INTO filled VALUES (1, 2)');
INSERT INTO filled VALUES (2, 2);
SELECT * FROM t.diagnosed('UPDATE filled SET id = 1 WHERE id = 2');

-- Names without end are refused before anything is done with them.
SET statement_timeout = '10s';
\set VERBOSITY terse
SELECT dms_refs.create_stage('x', columns => 'a int', key => '{a,NULL}');
\set VERBOSITY sqlstate
SELECT dms_refs.create_stage('x', columns => 'a int', key => '{NULL}');
SELECT dms_refs.create_stage('x', columns => 'a int', key => (SELECT array_agg('c' || g) FROM generate_series(1, 33) g)::name[]);
SELECT dms_refs.create_stage('x', columns => 'a int', key => (SELECT array_agg('c' || g) FROM generate_series(1, 200000) g)::name[]);
SELECT dms_refs.stage_validator(ARRAY['key=' || (SELECT string_agg('c' || g, ',') FROM generate_series(1, 200000) g)], 'pg_foreign_table'::regclass);
SELECT dms_refs.stage_validator(ARRAY['key=' || (SELECT string_agg('c' || g, ',') FROM generate_series(1, 1000) g)], 'pg_foreign_table'::regclass);
SELECT dms_refs.stage_validator(ARRAY['key=' || repeat('"', 10000000)], 'pg_foreign_table'::regclass);
SELECT dms_refs.stage_validator(array_fill('key=a'::text, ARRAY[100000]), 'pg_foreign_table'::regclass);
RESET statement_timeout;
DO $$ BEGIN PERFORM dms_refs.create_stage('x', columns => (SELECT string_agg('c' || g || ' int', ', ') FROM generate_series(1, 32) g), key => (SELECT array_agg('c' || g) FROM generate_series(1, 32) g)::name[]); END $$;
SELECT cardinality(string_to_array(key, ',')) FROM dms_refs.stages WHERE stage = 'x'::regclass;
DROP FOREIGN TABLE filled, x;
DROP FUNCTION t.fill, t.counted, t.held, t.diagnosed;
