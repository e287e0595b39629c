-- Purpose: what transactions, savepoints, cursors, DISCARD, DROP and ALTER do to staged rows.
\set VERBOSITY sqlstate
SELECT dms_refs.create_stage('kept', columns => 'id int, v text', key => '{id}', on_commit => 'preserve');
SELECT dms_refs.create_stage('brief', columns => 'id int, v text');
CREATE FUNCTION t.held(OUT kept text, OUT brief text) LANGUAGE sql AS $$
    SELECT (SELECT string_agg(id || v, ' ' ORDER BY id) FROM kept), (SELECT string_agg(id || v, ' ' ORDER BY id) FROM brief) $$;

-- Commit keeps or empties, rollback takes back.
INSERT INTO kept VALUES (1, 'a'), (2, 'b');
INSERT INTO brief VALUES (1, 'a'), (2, 'b');
SELECT * FROM t.held();
BEGIN;
INSERT INTO kept VALUES (3, 'c');
INSERT INTO brief VALUES (3, 'c');
UPDATE kept SET v = 'x' WHERE id = 1;
SELECT * FROM t.held();
ROLLBACK;
SELECT * FROM t.held();
BEGIN;
DELETE FROM kept WHERE id = 1;
INSERT INTO brief VALUES (4, 'd');
COMMIT;
SELECT * FROM t.held();

-- Savepoints, each kind of change in each kind of place.
BEGIN;
INSERT INTO kept VALUES (10, 'a'), (11, 'a');
INSERT INTO brief VALUES (10, 'a'), (11, 'a');
SAVEPOINT one;
UPDATE kept SET v = 'b' WHERE id >= 10;
UPDATE brief SET v = 'b', id = id + 1;
DELETE FROM kept WHERE id = 2;
SELECT * FROM t.held();
SAVEPOINT two;
TRUNCATE kept, brief;
INSERT INTO kept VALUES (20, 'c');
SELECT * FROM t.held();
SAVEPOINT three;
DELETE FROM kept;
INSERT INTO kept VALUES (20, 'd');
TRUNCATE kept;
INSERT INTO kept VALUES (20, 'e');
RELEASE three;
SELECT * FROM t.held();
ROLLBACK TO two;
SELECT * FROM t.held();
INSERT INTO kept VALUES (20, 'f');
ROLLBACK TO one;
SELECT * FROM t.held();
RELEASE one;
SAVEPOINT four;
UPDATE kept SET v = v || '!';
RELEASE four;
SELECT * FROM t.held();
COMMIT;
SELECT * FROM t.held();
SELECT stage, rows, bytes > 0 AS holds FROM dms_refs.stages ORDER BY 1;

-- Exceptions in PL/pgSQL; the key is right after each.
DO $$
BEGIN
    FOR i IN 1 .. 50 LOOP
        BEGIN
            INSERT INTO kept VALUES (100 + i, 'try');
            UPDATE kept SET v = 'undone' WHERE id < 100;
            IF i % 2 = 0 THEN RAISE division_by_zero; END IF;
            DELETE FROM kept WHERE id = 100 + i - 2;
        EXCEPTION WHEN division_by_zero THEN
            INSERT INTO kept VALUES (100 + i, 'again');
            IF (SELECT count(*) FROM kept WHERE id = 100 + i) <> 1 THEN RAISE 'lost'; END IF;
            DELETE FROM kept WHERE id = 100 + i;
        END;
    END LOOP;
END $$;
SELECT * FROM t.held();
DO $$ BEGIN INSERT INTO kept VALUES (149, 'twice'); EXCEPTION WHEN unique_violation THEN RAISE NOTICE 'is there'; END $$;
TRUNCATE kept;
SELECT stage, rows, bytes FROM dms_refs.stages ORDER BY 1;

-- Procedures that commit.
CREATE PROCEDURE t.portions() LANGUAGE plpgsql AS $$
DECLARE r record;
BEGIN
    INSERT INTO brief SELECT g, 'p' FROM generate_series(1, 5) g;
    INSERT INTO kept SELECT g, 'p' FROM generate_series(1, 5) g;
    FOR r IN SELECT id FROM kept ORDER BY id LOOP
        DELETE FROM kept WHERE id = r.id;
        IF r.id % 2 = 0 THEN COMMIT; ELSE ROLLBACK; END IF;
    END LOOP;
END $$;
CALL t.portions();
SELECT * FROM t.held();
DROP PROCEDURE t.portions;

-- A scan sees what was there when it began.
TRUNCATE kept;
INSERT INTO kept SELECT g, 'a' FROM generate_series(1, 5) g;
BEGIN;
DECLARE before_changes SCROLL CURSOR FOR SELECT id, v FROM kept;
FETCH 2 FROM before_changes;
INSERT INTO kept VALUES (6, 'new');
UPDATE kept SET v = 'changed';
DELETE FROM kept WHERE id = 4;
SAVEPOINT inside;
INSERT INTO kept SELECT g, 'bulk' FROM generate_series(1000, 3000) g;
DECLARE inner_one CURSOR FOR SELECT count(*) FROM kept;
ROLLBACK TO inside;
FETCH inner_one;
ROLLBACK TO inside;
FETCH ALL FROM before_changes;
MOVE ABSOLUTE 0 IN before_changes;
FETCH ALL FROM before_changes;
TRUNCATE kept;
ROLLBACK;
BEGIN;
INSERT INTO brief SELECT g, 'held' FROM generate_series(1, 3) g;
DECLARE over_commit CURSOR WITH HOLD FOR SELECT * FROM brief;
FETCH 1 FROM over_commit;
COMMIT;
FETCH ALL FROM over_commit;
CLOSE over_commit;
-- A command does not see its own rows, and a function in it that does changes of its own does not confuse it.
INSERT INTO kept SELECT id + 100, v FROM kept RETURNING id;
CREATE FUNCTION t.add_one(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO kept VALUES (n, 'by function'); RETURN (SELECT count(*) FROM kept); END $$;
SELECT id, t.add_one(id + 1000) FROM kept WHERE id <= 105 ORDER BY id;
SELECT count(*) FROM kept;
UPDATE kept SET id = id + 5000;
DROP FUNCTION t.add_one;

-- Two-phase commit would lose rows.
BEGIN;
INSERT INTO brief VALUES (1, 'a');
PREPARE TRANSACTION 'with rows';
BEGIN;
DELETE FROM kept;
PREPARE TRANSACTION 'kept one changed';
SELECT count(*) FROM kept;
BEGIN;
SELECT count(*) FROM kept;
INSERT INTO brief VALUES (1, 'a');
TRUNCATE brief;
PREPARE TRANSACTION 'nothing to lose';
ROLLBACK PREPARED 'nothing to lose';

-- Read-only transactions read.
BEGIN READ ONLY;
SELECT count(*) FROM kept;
INSERT INTO kept VALUES (1, 'a');
ROLLBACK;

-- DISCARD, with one of the settings and the last invalid references on the way.
SELECT t.new_store('s');
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(99), t.keys(99), store => 's');
DISCARD TEMP;
SELECT * FROM t.held();
SELECT * FROM dms_refs.last_invalid_references();
INSERT INTO kept VALUES (1, 'a');
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(99), t.keys(99), store => 's');
DISCARD PLANS;
SELECT * FROM t.held();
DISCARD ALL;
SELECT * FROM t.held();
SELECT * FROM dms_refs.last_invalid_references();
SET client_min_messages = warning;
SELECT dms_refs.drop_store('s');
RESET client_min_messages;
INSERT INTO kept VALUES (1, 'a');
BEGIN;
INSERT INTO kept VALUES (2, 'a');
DISCARD TEMP;
SELECT * FROM t.held();
ROLLBACK;
SELECT * FROM t.held();
BEGIN;
DECLARE c CURSOR FOR SELECT * FROM kept;
DISCARD TEMP;
ROLLBACK;
SELECT * FROM t.held();

-- DROP, and DROP that is taken back.
BEGIN;
DROP FOREIGN TABLE kept;
SELECT count(*) FROM dms_refs.stages;
ROLLBACK;
SELECT * FROM t.held();
BEGIN;
SAVEPOINT a;
DROP FOREIGN TABLE kept;
ROLLBACK TO a;
UPDATE kept SET v = 'still';
COMMIT;
SELECT * FROM t.held();

-- ALTER: rows are read as what they are, or not at all.
BEGIN;
ALTER FOREIGN TABLE kept ADD COLUMN added int;
SELECT * FROM kept;
INSERT INTO kept VALUES (7, 'seven', 7);
UPDATE kept SET added = 1 WHERE id = 1;
SELECT * FROM kept ORDER BY id;
ROLLBACK;
SELECT * FROM kept;
ALTER FOREIGN TABLE kept ADD COLUMN added int;
INSERT INTO kept VALUES (7, 'seven', 7);
ALTER FOREIGN TABLE kept DROP COLUMN v;
SELECT * FROM kept ORDER BY id;
INSERT INTO kept VALUES (8, 8);
BEGIN;
ALTER FOREIGN TABLE kept DROP COLUMN added;
INSERT INTO kept VALUES (9);
SELECT * FROM kept ORDER BY id;
ROLLBACK;
SELECT * FROM kept ORDER BY id;
ALTER FOREIGN TABLE kept RENAME TO still_kept;
ALTER FOREIGN TABLE still_kept RENAME COLUMN added TO renamed;
SELECT id, renamed FROM still_kept ORDER BY id;
\set VERBOSITY default
ALTER FOREIGN TABLE still_kept ALTER COLUMN renamed TYPE text;
SELECT * FROM still_kept;
INSERT INTO still_kept VALUES (10, 'ten');
ALTER FOREIGN TABLE still_kept ALTER COLUMN renamed TYPE int;
SELECT count(*) FROM still_kept;
ALTER FOREIGN TABLE still_kept ADD COLUMN needed int NOT NULL DEFAULT 5;
SELECT * FROM still_kept;
TRUNCATE still_kept;
INSERT INTO still_kept (id) VALUES (11) RETURNING *;
ALTER FOREIGN TABLE still_kept OPTIONS (SET key 'needed');
SELECT * FROM still_kept;
ALTER FOREIGN TABLE still_kept OPTIONS (SET key 'id');
SELECT * FROM still_kept;
-- on_commit may change while there are rows; without a key, too, once there are none.
ALTER FOREIGN TABLE still_kept OPTIONS (SET on_commit 'delete');
BEGIN;
UPDATE still_kept SET needed = 6;
SELECT * FROM still_kept;
COMMIT;
SELECT * FROM still_kept;
ALTER FOREIGN TABLE still_kept OPTIONS (DROP key);
INSERT INTO still_kept (id) VALUES (1), (1) RETURNING id;
ALTER FOREIGN TABLE still_kept OPTIONS (SET on_commit 'preserve');
-- Altered after TRUNCATE in a transaction that is rolled back: the old rows fit the old columns.
INSERT INTO still_kept (id) VALUES (12);
BEGIN;
TRUNCATE still_kept;
ALTER FOREIGN TABLE still_kept ALTER COLUMN renamed TYPE text;
INSERT INTO still_kept (id, renamed) VALUES (13, 'text');
SELECT * FROM still_kept;
ROLLBACK;
SELECT * FROM still_kept;
UPDATE still_kept SET renamed = 1;
SELECT * FROM still_kept;

-- Memory: all of it is given back, and a bound that holds.
DROP FUNCTION t.held;
DROP FOREIGN TABLE still_kept;
SELECT name, count(*) FROM pg_backend_memory_contexts WHERE name LIKE 'dms_refs stag%' GROUP BY 1 ORDER BY 1;
SELECT dms_refs.create_stage('big', columns => 'id int, v text', key => '{id}', on_commit => 'preserve');
SET dms_refs.staging_memory = '1MB';
SHOW dms_refs.staging_memory;
INSERT INTO big SELECT g, repeat('x', 100) FROM generate_series(1, 1000) g;
\set VERBOSITY sqlstate
INSERT INTO big SELECT g, repeat('x', 100) FROM generate_series(1001, 100000) g;
UPDATE big SET v = repeat('x', 2000);
INSERT INTO big VALUES (0, repeat('x', 2000000));
SELECT rows, bytes < 1048576 AS within, peak_bytes <= 1048576 AS peak_within FROM dms_refs.stages WHERE stage = 'big'::regclass;
SELECT count(*), count(DISTINCT id), max(length(v)) FROM big;
RESET dms_refs.staging_memory;
INSERT INTO big SELECT g, repeat('x', 100) FROM generate_series(1001, 100000) g;
SELECT count(*) FROM big;
TRUNCATE big;
SELECT rows, bytes, peak_bytes > 1048576 AS peak FROM dms_refs.stages WHERE stage = 'big'::regclass;
SELECT name, count(*), sum(total_bytes) < 30000 AS small FROM pg_backend_memory_contexts WHERE name LIKE 'dms_refs stag%' GROUP BY 1 ORDER BY 1;
-- A thousand rows cost no more than 1.3 times what they would in a table.
INSERT INTO big SELECT g, repeat('x', 40) FROM generate_series(1, 10000) g;
CREATE TEMP TABLE heap AS SELECT * FROM big;
SELECT bytes <= 1.3 * (pg_relation_size('heap') + 10000 * 20) AS keyed FROM dms_refs.stages WHERE stage = 'big'::regclass;
DELETE FROM big WHERE id > 100;
SELECT rows, bytes < 300000 AS given_back FROM dms_refs.stages WHERE stage = 'big'::regclass;
SELECT count(*), sum(id) FROM big WHERE id = ANY (SELECT generate_series(1, 200));
DROP TABLE heap;
DROP FOREIGN TABLE big, brief;
