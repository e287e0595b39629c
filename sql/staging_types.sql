-- Purpose: types and constraints that change over staged rows: what is shown is what a table would show, or the stage refuses (55000) until it is emptied.
-- Late minor releases refuse some of these ALTERs themselves; either is right.
SET client_min_messages = warning;
-- Makes a stage, stages rows, runs DDL, and reads: `right` where the query's value is this one, else the SQLSTATE or the value. Two alternatives of what is right are one word: sound.
CREATE FUNCTION t.after(ddl text, query text, expected text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    value text;
BEGIN
    BEGIN
        EXECUTE ddl;
    EXCEPTION WHEN feature_not_supported OR wrong_object_type OR object_in_use THEN
        RETURN 'sound'; -- refused by the server
    END;
    BEGIN
        EXECUTE query INTO value;
    EXCEPTION WHEN object_not_in_prerequisite_state THEN
        RETURN 'sound';
    END;
    RETURN CASE WHEN value IS NOT DISTINCT FROM expected THEN 'sound' ELSE coalesce(value, 'NULL') END;
END $$;

-- A composite type, plain and in everything that may contain it.
CREATE TYPE t.pair AS (a int, b int);
CREATE DOMAIN t.pair_domain AS t.pair;
CREATE TYPE t.pair_range AS RANGE (subtype = t.pair);
CREATE TYPE t.nested AS (x text, p t.pair[]);
CREATE TABLE t.has_row_type (id int, p t.pair);
SELECT dms_refs.create_stage('t.other', columns => 'id int, p t.pair', on_commit => 'preserve');
SELECT dms_refs.create_stage('c', columns => 'id int, v t.pair, d t.pair_domain, a t.pair[], da t.pair_domain[], r t.pair_range, m t.pair_multirange, n t.nested, o t.other, w t.has_row_type',
    on_commit => 'preserve');
CREATE FUNCTION t.fill() RETURNS void LANGUAGE sql AS $$
    INSERT INTO c VALUES (1, (1, 2), (3, 4), ARRAY[(5, 6)::t.pair], ARRAY[(7, 8)::t.pair_domain], t.pair_range((1, 1), (2, 2)), t.pair_multirange(t.pair_range((1, 1), (2, 2))),
        ('x', ARRAY[(9, 10)::t.pair]), (1, (11, 12)), (1, (13, 14))) $$;
CREATE FUNCTION t.all_of(what text) RETURNS text LANGUAGE sql AS $$ SELECT format('SELECT concat_ws('' '', %s) FROM c WHERE id = 1', what) $$;
SELECT t.fill();
BEGIN;
SELECT t.after('ALTER TYPE t.pair ALTER ATTRIBUTE a TYPE bigint', t.all_of('(v).a'), '1');
ROLLBACK;
BEGIN;
SELECT t.after('ALTER TYPE t.pair ALTER ATTRIBUTE a TYPE text', t.all_of('(v).a'), '1');
ROLLBACK;
-- Each way to the type alone.
CREATE FUNCTION t.alone(kept text, ddl text, what text, expected text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
    name text;
BEGIN
    FOREACH name IN ARRAY '{v,d,a,da,r,m,n,o,w}'::text[] LOOP
        IF name <> kept THEN EXECUTE format('ALTER FOREIGN TABLE c DROP COLUMN %I', name); END IF;
    END LOOP;
    IF kept <> 'w' THEN DROP TABLE t.has_row_type CASCADE; END IF;
    IF kept <> 'o' THEN DROP FOREIGN TABLE t.other CASCADE; END IF;
    result := t.after(ddl, t.all_of(what), expected);
    -- And to the end of the transaction, read whole.
    BEGIN
        PERFORM c::text FROM c;
        PERFORM * FROM c WHERE c IS NOT NULL;
    EXCEPTION WHEN object_not_in_prerequisite_state THEN NULL;
    END;
    RAISE division_by_zero USING MESSAGE = result;
EXCEPTION WHEN division_by_zero THEN
    RETURN kept || ': ' || SQLERRM;
END $$;
SELECT t.alone(k, format('ALTER TYPE t.pair ALTER ATTRIBUTE %s TYPE %s', a, ty), w, e)
FROM (VALUES ('v', '(v).b', '2'), ('d', '(d).b', '4'), ('a', '(a[1]).b', '6'), ('da', '((da[1])::t.pair).b', '8'), ('r', '(lower(r)).b', '1'), ('m', '(upper(m)).b', '2'),
    ('n', '((n).p[1]).b', '10'), ('o', '((o).p).b', '12'), ('w', '((w).p).b', '14')) x (k, w, e), (VALUES ('a', 'bigint'), ('b', 'text'), ('a', 'numeric')) y (a, ty) ORDER BY 1;
SELECT t.alone(k, 'ALTER TYPE t.pair DROP ATTRIBUTE a, ADD ATTRIBUTE c text', w, e)
FROM (VALUES ('v', '(v).b, (v).c', '2'), ('a', '(a[1]).b, (a[1]).c', '6'), ('n', '((n).p[1]).b', '10'), ('o', '((o).p).b', '12')) x (k, w, e);
SELECT t.alone(k, 'ALTER TYPE t.pair RENAME ATTRIBUTE b TO renamed', w, e) FROM (VALUES ('v', '(v).renamed', '2'), ('n', '((n).p[1]).renamed', '10')) x (k, w, e);
SELECT t.alone('w', 'ALTER TABLE t.has_row_type ADD COLUMN more int DEFAULT 77', '(w).more', '77');
SELECT t.alone('w', 'ALTER TABLE t.has_row_type ADD COLUMN more int', '(w).id, (w).more', '1');
SELECT t.alone('w', 'ALTER TABLE t.has_row_type DROP COLUMN id', '((w).p).b', '14');
SELECT t.alone('w', 'ALTER TABLE t.has_row_type ALTER COLUMN id TYPE text', '(w).id', '1');
SELECT t.alone('o', 'ALTER FOREIGN TABLE t.other ALTER COLUMN id TYPE text', '(o).id', '1');
SELECT t.alone('o', 'ALTER FOREIGN TABLE t.other ADD COLUMN more int DEFAULT 77', '(o).more', '77');
SELECT concat_ws(' ', v, d, a, da, r, m, n, o, w) FROM c;

-- In the middle of a statement nobody alters it.
CREATE FUNCTION t.widen() RETURNS text LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    EXECUTE 'ALTER TYPE t.pair ALTER ATTRIBUTE a TYPE text';
    RETURN 'altered';
EXCEPTION WHEN object_in_use OR feature_not_supported THEN
    RETURN 'refused';
END $$;
SELECT t.widen(), (v).a, (v).b FROM c;
INSERT INTO c (id, v) SELECT 2, ROW(1, 2)::t.pair WHERE t.widen() = 'refused';
UPDATE c SET v.a = length(t.widen()) WHERE id = 2;
BEGIN;
DECLARE open_one CURSOR FOR SELECT id, v FROM c ORDER BY id;
FETCH open_one;
SELECT t.widen();
FETCH open_one;
COMMIT;

-- A key: hash and equality look at all attributes.
SELECT dms_refs.create_stage('k', columns => 'id t.pair, v text', key => '{id}', on_commit => 'preserve');
INSERT INTO k VALUES ((1, 2), 'one'), ((3, 4), 'two');
TRUNCATE c;
DROP FOREIGN TABLE c, t.other;
DROP TABLE t.has_row_type;
DROP TYPE t.nested, t.pair_range;
DROP DOMAIN t.pair_domain;
SELECT t.after('ALTER TYPE t.pair ADD ATTRIBUTE c int', 'SELECT v FROM k WHERE id = ROW(1, 2, NULL)::t.pair', 'one');
SELECT t.after('ALTER TYPE t.pair DROP ATTRIBUTE b CASCADE', 'SELECT v FROM k WHERE id::text LIKE ''(3%''', 'two');
TRUNCATE k;
INSERT INTO k (id) VALUES (NULL), (NULL);
SELECT count(*) FROM k;
DROP FOREIGN TABLE k;
DROP TYPE t.pair;

-- A key's operator class and functions: superusers change those.
CREATE FUNCTION t.json_equal(json, json) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT $1::text = $2::text';
CREATE FUNCTION t.json_hash(json) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT hashtext($1::text)';
CREATE OPERATOR t.= (LEFTARG = json, RIGHTARG = json, FUNCTION = t.json_equal, COMMUTATOR = OPERATOR(t.=), HASHES);
CREATE OPERATOR CLASS t.json_ops DEFAULT FOR TYPE json USING hash AS OPERATOR 1 t.= (json, json), FUNCTION 1 t.json_hash(json);
SELECT dms_refs.create_stage('k', columns => 'id json', key => '{id}', on_commit => 'preserve');
INSERT INTO k VALUES ('1'), ('2');
INSERT INTO k VALUES ('1') ON CONFLICT DO NOTHING;
CREATE OR REPLACE FUNCTION t.json_hash(json) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT length($1::text)';
INSERT INTO k VALUES ('3');
SELECT count(*) FROM k;
\set VERBOSITY sqlstate
DROP OPERATOR CLASS t.json_ops USING hash CASCADE;
DROP FUNCTION t.json_hash;
SELECT count(*) FROM k;
INSERT INTO k VALUES ('4');
CREATE FUNCTION t.json_hash(json) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT hashtext($1::text)';
CREATE OPERATOR CLASS t.json_ops DEFAULT FOR TYPE json USING hash AS OPERATOR 1 t.= (json, json), FUNCTION 1 t.json_hash(json);
SELECT count(*) FROM k;
TRUNCATE k;
INSERT INTO k VALUES ('1'), ('1');
DROP FOREIGN TABLE k;
DROP OPERATOR CLASS t.json_ops USING hash CASCADE;
DROP OPERATOR t.= (json, json);
DROP FUNCTION t.json_hash, t.json_equal, t.after, t.alone, t.fill, t.all_of, t.widen;
