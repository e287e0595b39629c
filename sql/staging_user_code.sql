-- Purpose: hash and equality functions of a key, defaults, constraints, triggers and statistics that change the stage they work for.
\set VERBOSITY terse
-- A type whose functions do once what a setting says: t.hash, t.equal, t.compare.
CREATE TYPE t.code;
SET client_min_messages = warning;
CREATE FUNCTION t.code_in(cstring) RETURNS t.code LANGUAGE internal IMMUTABLE STRICT AS 'int4in';
CREATE FUNCTION t.code_out(t.code) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'int4out';
RESET client_min_messages;
CREATE TYPE t.code (INPUT = t.code_in, OUTPUT = t.code_out, LIKE = int);
CREATE CAST (t.code AS int) WITHOUT FUNCTION;
CREATE CAST (int AS t.code) WITHOUT FUNCTION AS ASSIGNMENT;
CREATE FUNCTION t.act(setting text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE command text := current_setting(setting, true);
BEGIN
    IF command <> '' THEN
        PERFORM set_config(setting, '', false);
        EXECUTE command;
    END IF;
END $$;
CREATE FUNCTION t.code_hash(t.code) RETURNS int LANGUAGE plpgsql AS $$ BEGIN IF current_setting('t.hash', true) <> '' THEN PERFORM t.act('t.hash'); END IF; RETURN $1::int % 1000; END $$;
CREATE FUNCTION t.code_equal(t.code, t.code) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN IF current_setting('t.equal', true) <> '' THEN PERFORM t.act('t.equal'); END IF; RETURN $1::int = $2::int; END $$;
CREATE FUNCTION t.code_less(t.code, t.code) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RETURN $1::int < $2::int; END $$;
CREATE FUNCTION t.code_compare(t.code, t.code) RETURNS int LANGUAGE plpgsql AS $$ BEGIN IF current_setting('t.compare', true) <> '' THEN PERFORM t.act('t.compare'); END IF; RETURN $1::int - $2::int; END $$;
CREATE OPERATOR t.= (LEFTARG = t.code, RIGHTARG = t.code, FUNCTION = t.code_equal, COMMUTATOR = OPERATOR(t.=), RESTRICT = eqsel, JOIN = eqjoinsel, HASHES);
CREATE OPERATOR t.< (LEFTARG = t.code, RIGHTARG = t.code, FUNCTION = t.code_less, RESTRICT = scalarltsel);
CREATE OPERATOR CLASS t.code_hash_ops DEFAULT FOR TYPE t.code USING hash AS OPERATOR 1 t.=, FUNCTION 1 t.code_hash(t.code);
CREATE OPERATOR CLASS t.code_btree_ops DEFAULT FOR TYPE t.code USING btree AS OPERATOR 1 t.<, OPERATOR 3 t.=, FUNCTION 1 t.code_compare(t.code, t.code);
SELECT dms_refs.create_stage('coded', columns => 'c t.code, n int', key => '{c}', on_commit => 'preserve');
-- Does a command in a savepoint that is rolled back.
CREATE FUNCTION t.undone(command text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        EXECUTE command;
        RAISE division_by_zero;
    EXCEPTION WHEN division_by_zero THEN NULL;
    END;
END $$;
CREATE FUNCTION t.caught(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE command;
    RETURN 'done';
EXCEPTION WHEN OTHERS THEN
    RETURN SQLSTATE;
END $$;

-- The empty stage is filled and emptied while the first row's hash is computed.
SET t.hash = $$SELECT t.undone('INSERT INTO coded SELECT g::t.code, g FROM generate_series(1, 1000) g')$$;
INSERT INTO coded VALUES (1, 1), (2, 2);
TABLE coded;
-- It is filled for good, with the same key too.
TRUNCATE coded;
SET t.hash = $$INSERT INTO coded SELECT g::t.code, -g FROM generate_series(11, 500) g$$;
INSERT INTO coded VALUES (1, 1);
SELECT count(*), count(DISTINCT c::int) FROM coded;
SET t.hash = $$INSERT INTO coded VALUES (2, -2)$$;
INSERT INTO coded VALUES (2, 2);
SELECT n FROM coded WHERE c::int = 2;
SET t.hash = $$INSERT INTO coded VALUES (2, -2)$$;
INSERT INTO coded VALUES (2, 2) ON CONFLICT DO NOTHING;
SELECT n FROM coded WHERE c::int = 2;
-- The row that is being updated goes, or changes; so a table would have it.
SET t.hash = $$DELETE FROM coded WHERE n = 1$$;
UPDATE coded SET n = 100 WHERE n = 1;
SET t.hash = $$UPDATE coded SET n = 7 WHERE n = 1$$;
UPDATE coded SET n = 100 WHERE n = 1;
SET t.hash = $$SELECT t.undone('DELETE FROM coded')$$;
UPDATE coded SET n = 100 WHERE n = 1 RETURNING n;
SELECT count(*), sum(n) > 0 AS positive FROM coded;
-- What would take the stage away is refused while it is in use.
SELECT t.caught(format($$SELECT set_config('t.hash', %L, false); INSERT INTO coded VALUES (1000, 1000)$$, command)) AS outcome, command
FROM unnest(ARRAY['TRUNCATE coded', 'DROP FOREIGN TABLE coded', 'ALTER FOREIGN TABLE coded OPTIONS (DROP key)', 'ALTER FOREIGN TABLE coded DROP COLUMN n', 'DISCARD TEMP']) command;
SET t.hash = '';
SELECT count(*), sum(n) > 0 AS positive FROM coded;

-- An equality function may not change the stage, as it could not for an index.
SET t.equal = $$INSERT INTO coded SELECT g::t.code, g FROM generate_series(2001, 3000) g$$;
INSERT INTO coded VALUES (21, 21) ON CONFLICT DO NOTHING;
SET t.equal = $$SELECT t.undone('DELETE FROM coded')$$;
UPDATE coded SET c = 21 WHERE n = 100;
SET t.equal = '';
SELECT count(*), count(DISTINCT c::int) FROM coded;
-- In a lookup it may: what is looked for is found, however often the index is made anew meanwhile.
BEGIN;
SET LOCAL t.equal = $$INSERT INTO coded SELECT g::t.code, g FROM generate_series(2001, 5000) g$$;
EXPLAIN (COSTS OFF) SELECT n FROM coded WHERE c OPERATOR(t.=) 21::t.code;
SELECT n FROM coded WHERE c OPERATOR(t.=) 21::t.code;
SELECT count(*) FROM coded WHERE n > 2000;
ROLLBACK;
-- The stage is deleted from and rolled back under a scan and a lookup.
SELECT count(*) FROM coded WHERE t.undone('INSERT INTO coded SELECT g::t.code, g FROM generate_series(2001, 5000) g') IS NOT NULL AND n < 0;
SELECT dms_refs.create_stage('empty', columns => 'c t.code, n int', key => '{c}', on_commit => 'preserve');
SELECT count(t.undone('INSERT INTO empty SELECT g::t.code, g FROM generate_series(1, 100) g')), count(e.n) FROM generate_series(1, 3) g LEFT JOIN empty e ON e.c OPERATOR(t.=) g::t.code;
SET t.hash = $$SELECT t.undone('INSERT INTO empty SELECT g::t.code, g FROM generate_series(1, 100) g')$$;
SELECT count(*) FROM empty WHERE c OPERATOR(t.=) 21::t.code;
-- A cursor opened by the hash function of the first row, on the stage that has none yet.
CREATE FUNCTION t.open_one() RETURNS void LANGUAGE plpgsql AS $$
DECLARE found int; looks CURSOR FOR SELECT n FROM empty WHERE c OPERATOR(t.=) 1::t.code;
BEGIN
    OPEN looks;
    PERFORM t.undone('INSERT INTO empty VALUES (1, 1)');
    FETCH looks INTO found;
    RAISE NOTICE 'found: %', found;
    CLOSE looks;
END $$;
SET t.hash = 'SELECT t.open_one()';
INSERT INTO empty VALUES (1, 1);
TABLE empty;
DROP FOREIGN TABLE coded, empty;

-- A type of the stage's column is altered by a function that its key calls, while the stage is empty.
CREATE TYPE t.inner_type AS (a int);
SELECT dms_refs.create_stage('typed', columns => 'c t.code, i t.inner_type', key => '{c}', on_commit => 'preserve');
SET t.hash = $$ALTER TYPE t.inner_type ALTER ATTRIBUTE a TYPE text; SELECT count(*) FROM typed$$;
SELECT t.caught('INSERT INTO typed VALUES (1, ROW(1))') IN ('done', '55000', '55006', '0A000') AS neither_read_nor_crashed;
TRUNCATE typed;
SET t.hash = '';
INSERT INTO typed VALUES (1, ROW(1));
SELECT (i).a FROM typed;
DROP FOREIGN TABLE typed;
DROP TYPE t.inner_type;

-- Statistics are computed by a function that changes the stage.
SELECT dms_refs.create_stage('compared', columns => 'c t.code, n int', on_commit => 'preserve');
INSERT INTO compared SELECT g, g FROM generate_series(1, 300) g;
SET t.compare = $$SELECT t.undone('DELETE FROM compared'), t.undone('INSERT INTO compared SELECT g, g FROM generate_series(1, 20000) g')$$;
SELECT count(*) FROM compared WHERE c OPERATOR(t.=) 5::t.code;
SELECT current_setting('t.compare') = '' AS computed;
SET t.compare = 'TRUNCATE compared';
INSERT INTO compared SELECT g, g FROM generate_series(301, 500) g;
SELECT t.caught('SELECT count(*) FROM compared WHERE c OPERATOR(t.=) 5::t.code');
SET t.compare = '';
DROP FOREIGN TABLE compared;

-- A constraint or a trigger that deletes or changes the row which is updated: the same as on a table, and nothing else goes at commit.
CREATE FUNCTION t.meddle(side text, v text) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
    IF v LIKE 'delete %' THEN EXECUTE format('DELETE FROM %I WHERE id = %s', side, substr(v, 8));
    ELSIF v LIKE 'update %' THEN EXECUTE format('UPDATE %I SET v = ''x'' WHERE id = %s', side, substr(v, 8));
    ELSIF v LIKE 'insert %' THEN EXECUTE format('INSERT INTO %I VALUES (%s, ''inserted'')', side, substr(v, 8));
    ELSIF v LIKE 'undo %' THEN PERFORM t.undone(format('UPDATE %I SET v = ''y'' WHERE id = %s', side, substr(v, 6)));
    END IF;
    RETURN true;
END $$;
CREATE FUNCTION t.meddle_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM t.meddle(tg_table_name::text, tg_argv[0] || old.id); RETURN CASE tg_op WHEN 'DELETE' THEN old ELSE new END; END $$;
SELECT dms_refs.create_stage('stage_side', columns => 'id int, v text CHECK (t.meddle(''stage_side'', v))', key => '{id}', on_commit => 'preserve');
CREATE TABLE table_side (id int UNIQUE, v text CHECK (t.meddle('table_side', v)));
CREATE FUNCTION t.compare(command text, OUT stage text, OUT same bool) LANGUAGE plpgsql AS $$
DECLARE other text; held text; other_held text;
BEGIN
    stage := t.caught(format(command, 'stage_side'));
    other := t.caught(format(command, 'table_side'));
    SELECT string_agg(s::text, ' ' ORDER BY s::text), count(*) INTO held FROM stage_side s;
    SELECT string_agg(s::text, ' ' ORDER BY s::text), count(*) INTO other_held FROM table_side s;
    same := (stage, held) IS NOT DISTINCT FROM (other, other_held);
    stage := stage || ': ' || held;
END $$;
INSERT INTO stage_side SELECT g, 'v' FROM generate_series(1, 4) g;
INSERT INTO table_side SELECT g, 'v' FROM generate_series(1, 4) g;
SELECT command, c.* FROM unnest(ARRAY['UPDATE %I SET v = ''delete 1'' WHERE id = 1', 'UPDATE %I SET v = ''update 1'' WHERE id = 1', 'UPDATE %I SET v = ''delete 2'' WHERE id = 1',
    'UPDATE %I SET v = ''undo 1'' WHERE id = 1', 'UPDATE %I SET v = ''delete 3'' WHERE id IN (1, 3)', 'INSERT INTO %I VALUES (5, ''insert 5'')', 'INSERT INTO %I VALUES (5, ''insert 6'')',
    'INSERT INTO %I VALUES (5, ''insert 5'') ON CONFLICT DO NOTHING', 'UPDATE %I SET id = id FROM (VALUES (1), (1)) twice (n) WHERE id = n']) command, t.compare(command) c;
CREATE TRIGGER meddle BEFORE UPDATE OR DELETE ON stage_side FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION t.meddle_trigger('delete ');
CREATE TRIGGER meddle BEFORE UPDATE OR DELETE ON table_side FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION t.meddle_trigger('delete ');
SELECT command, c.* FROM unnest(ARRAY['UPDATE %I SET v = ''w'' WHERE id = 4', 'DELETE FROM %I WHERE id = 4', 'DELETE FROM %I']) command, t.compare(command) c;
DROP TRIGGER meddle ON stage_side;
DROP TRIGGER meddle ON table_side;
CREATE TRIGGER meddle AFTER UPDATE ON stage_side FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION t.meddle_trigger('delete ');
CREATE TRIGGER meddle AFTER UPDATE ON table_side FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION t.meddle_trigger('delete ');
SELECT command, c.* FROM unnest(ARRAY['UPDATE %I SET v = ''w'' WHERE id = 4', 'UPDATE %I SET id = id + 100']) command, t.compare(command) c;
SELECT stage, rows, rows = (SELECT count(*) FROM stage_side) AS counted FROM dms_refs.stages WHERE stage = 'stage_side'::regclass;
DROP FOREIGN TABLE stage_side;
DROP TABLE table_side;

-- A default fills the stage, or a function of the plan empties it while the planner looks at it.
CREATE FUNCTION t.fill() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM t.undone('INSERT INTO filled SELECT g, g FROM generate_series(1, 500) g ON CONFLICT DO NOTHING'); INSERT INTO filled VALUES (7, 7) ON CONFLICT DO NOTHING; RETURN 1; END $$;
SELECT dms_refs.create_stage('filled', columns => 'id int, n int DEFAULT t.fill()', key => '{id}', on_commit => 'preserve');
INSERT INTO filled (id) VALUES (1), (2);
SELECT * FROM filled ORDER BY id;
CREATE FUNCTION t.empties() RETURNS int LANGUAGE plpgsql AS $$ BEGIN TRUNCATE filled; ALTER FOREIGN TABLE filled OPTIONS (SET key 'n'); RETURN 5; END $$;
CREATE FUNCTION t.estimated() RETURNS int LANGUAGE plpgsql STABLE AS $$ BEGIN IF current_setting('t.once', true) = 'yes' THEN PERFORM set_config('t.once', '', false); RETURN t.empties(); END IF; RETURN 5; END $$;
SET t.once = 'yes';
SELECT t.caught('SELECT * FROM filled WHERE id = t.estimated()') IN ('done', '55006') AS planned;
SELECT count(*) FROM filled;
DROP FOREIGN TABLE filled;
DROP FUNCTION t.fill, t.empties, t.estimated, t.compare, t.meddle_trigger, t.meddle, t.open_one, t.undone, t.caught;
SET client_min_messages = warning;
DROP TYPE t.code CASCADE;
DROP FUNCTION t.act;
