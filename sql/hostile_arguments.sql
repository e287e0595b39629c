-- Purpose: every function of the extension with arguments that nobody should send: whatever is wrong with them has an SQLSTATE of
-- its own, not that of an internal error, and the session survives.
\set VERBOSITY terse
SELECT t.new_store('s');
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3), t.keys(2, 3), store => 's');
CREATE ROLE regress_dms_hostile;
GRANT USAGE ON SCHEMA t TO regress_dms_hostile;
GRANT CREATE ON DATABASE :DBNAME TO regress_dms_hostile;
SELECT dms_refs.create_stage('t.stage', columns => 'a int', key => '{a}');
CREATE TABLE t.plain (a int PRIMARY KEY, b text);
CREATE SEQUENCE t.numbers;
CREATE VIEW t.seen AS SELECT 1 AS a;
CREATE MATERIALIZED VIEW t.kept AS SELECT 1 AS a;
CREATE TYPE t.pair AS (a int, b int);
CREATE TABLE t.parts (a int) PARTITION BY HASH (a);
CREATE FOREIGN DATA WRAPPER nothing;
CREATE SERVER nothing FOREIGN DATA WRAPPER nothing;
CREATE FOREIGN TABLE t.far (a int) SERVER nothing;

-- Arguments, as SQL: what is usual for a parameter, and what is not for a type.
CREATE FUNCTION t.usual(parameter text, type text) RETURNS text LANGUAGE sql AS $$
    SELECT CASE parameter
        WHEN 'store' THEN '''s''' WHEN 'for_store' THEN '''s''' WHEN 'in_schema' THEN '''t''' WHEN 'layout' THEN '''lean'''
        WHEN 'reference_counts' THEN '''{2}''' WHEN 'parent_document_ids' THEN '''{1}''' WHEN 'parent_document_partition_keys' THEN '''{1}'''
        WHEN 'are_pure_inserts' THEN '''{f}''' WHEN 'on_invalid' THEN '''skip''' WHEN 'on_commit' THEN '''delete'''
        WHEN 'columns' THEN CASE type WHEN 'jsonb' THEN '''{}''' ELSE '''x int''' END
        WHEN 'document' THEN '''s.document''' WHEN 'alias' THEN '''s.alias''' WHEN 'reference' THEN '''s.reference'''
        WHEN 'rel' THEN '''s.alias''' WHEN 'role' THEN '''alias''' WHEN 'ours' THEN '''{id}''' WHEN 'theirs' THEN '''{id}'''
        WHEN 'types' THEN '''{bigint}''' WHEN 'keys' THEN '''{id}''' WHEN 'name' THEN '''t.made''' WHEN 'key' THEN '''{x}'''
        WHEN 'stage' THEN '''t.stage''' WHEN 'like_table' THEN '''t.plain''' WHEN 'options' THEN '''{key=a}'''
        ELSE CASE type
            WHEN 'uuid[]' THEN 't.ids(2, 3)' WHEN 'smallint[]' THEN 't.keys(2, 3)' WHEN 'bigint[]' THEN '''{2,3}'''
            WHEN 'integer' THEN '1' WHEN 'smallint' THEN '1' WHEN 'bigint' THEN '1' WHEN 'boolean' THEN 'false'
            WHEN 'double precision' THEN '0.5' WHEN 'regclass' THEN '''s.reference''' WHEN 'oid' THEN '1' ELSE '''s''' END
    END || '::' || type $$;
CREATE FUNCTION t.unusual(type text) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT 'NULL::' || type
    UNION ALL
    SELECT v || '::' || type FROM unnest(CASE
        WHEN type = 'smallint' THEN ARRAY['0', '''-32768''', '32767']
        WHEN type = 'integer' THEN ARRAY['0', '''-2147483648''', '2147483647']
        WHEN type = 'bigint' THEN ARRAY['0', '''-9223372036854775808''', '9223372036854775807']
        WHEN type = 'double precision' THEN ARRAY['''NaN''', '''Infinity''', '''-Infinity''', '-1', '1e308']
        WHEN type = 'boolean' THEN ARRAY['true']
        WHEN type IN ('oid', 'regclass') THEN ARRAY['0', '4294967295', '''pg_class''::regclass', '''t.plain''::regclass', '''t.plain_pkey''::regclass',
            '''t.numbers''::regclass', '''t.seen''::regclass', '''t.kept''::regclass', '''t.pair''::regclass', '''t.parts''::regclass', '''t.far''::regclass',
            '''t.stage''::regclass', '''pg_authid''::regclass', '(SELECT reltoastrelid FROM pg_class WHERE oid = ''t.plain''::regclass)']
        WHEN type IN ('text', 'name') THEN ARRAY['''''', 'repeat(''x'', 63)', 'repeat(''x'', 64)', 'repeat(''x'', 100000)', 'repeat(''é'', 40)', '''a.b.c.d''', '''"''',
            '''pg_catalog''', '''pg_toast''', '''pg_temp.x''', 'E''\n''', '''%s%n%1$I''', '''; SELECT 1''']
        WHEN type = 'jsonb' THEN ARRAY['''null''', '''[]''', '''"x"''', '1', '''{"x":1}''', '''{"alias.id":null}''', '''{"alias.id":1}''', '''{"alias.id":[]}''',
            '''{"id":"parentdocumentid"}''', 'jsonb_build_object(''alias.id'', repeat(''x'', 64))']
        WHEN type LIKE '%[]' THEN ARRAY['''{}''', '''{NULL}''', '''{NULL,NULL}''', '''{{},{}}''']
            || (SELECT array_agg(format(a, e) ORDER BY a, e)
                FROM unnest(CASE WHEN type IN ('bigint[]', 'smallint[]', 'integer[]') THEN ARRAY['0', '-1', '32767', '-32768']
                                 WHEN type = 'uuid[]' THEN ARRAY['00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff']
                                 WHEN type = 'boolean[]' THEN ARRAY['t', 'f']
                                 WHEN type = 'regtype[]' THEN ARRAY['0', 'bigint', '4294967295', 'anyelement', 'record']
                                 ELSE ARRAY['', 'x', 'id', '%s', 'key=', '=', 'on_commit=now', repeat('x', 64), repeat('x', 1000)] END) e,
                     unnest(ARRAY['''{"%1$s"}''', '''{"%1$s","%1$s"}''', '''{"%1$s",NULL}''', '''{{"%1$s"},{"%1$s"}}''', '''[5:6]={"%1$s","%1$s"}''',
                                  '''[-2147483648:-2147483647]={"%1$s","%1$s"}''', 'array_fill(''%1$s''::text, ARRAY[2000])']) a)
        ELSE ARRAY[]::text[] END) v $$;

-- Calls with one unusual argument each; then all NULL, and all unusual in the same way. Nothing of them stays.
CREATE FUNCTION t.call_all(OUT functions bigint, OUT calls bigint, OUT internal_errors text) LANGUAGE plpgsql AS $$
DECLARE
    c record;
BEGIN
    functions := 0; calls := 0;
    FOR c IN
        WITH f AS (
            SELECT p.oid, p.prokind, p.oid::regprocedure::text AS signature, format('%I.%I', n.nspname, p.proname) AS name,
                   ARRAY(SELECT format_type(a, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY u(a, o) ORDER BY o) AS types, p.proargnames AS names
            FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'dms_refs'
                JOIN pg_proc p ON p.oid = d.objid JOIN pg_namespace n ON n.oid = p.pronamespace
            WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
        ), u AS (
            SELECT f.*, a AS position, v FROM f, generate_series(1, cardinality(types)) a, t.unusual(types[a]) v
        ), w AS (
            SELECT f.*, k FROM f, generate_series(0, 20) k WHERE k = 0 OR cardinality(types) > 0
        )
        SELECT signature, name, (SELECT coalesce(string_agg(CASE WHEN o = position THEN v ELSE t.usual(names[o], types[o]) END, ', ' ORDER BY o), '')
                                 FROM generate_series(1, cardinality(types)) o) AS arguments FROM u
        UNION ALL
        SELECT signature, name, (SELECT coalesce(string_agg((SELECT coalesce((array_agg(v))[1 + k % count(*)::int], 'NULL') FROM t.unusual(types[o]) v), ', ' ORDER BY o), '')
                                 FROM generate_series(1, cardinality(types)) o) FROM w
        ORDER BY 1, 3
    LOOP
        calls := calls + 1;
        BEGIN
            EXECUTE format('SELECT * FROM %s(%s)', c.name, c.arguments);
            RAISE 'undone' USING ERRCODE = 'ZZ000';
        EXCEPTION WHEN OTHERS THEN
            IF SQLSTATE LIKE 'XX%' OR SQLSTATE LIKE 'P0%' THEN
                internal_errors := concat_ws(E'\n', internal_errors, format('%s(%s): %s %s', c.name, left(c.arguments, 300), SQLSTATE, SQLERRM));
            END IF;
        END;
    END LOOP;
    SELECT count(*) INTO functions FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'dms_refs'
    WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e';
END $$;
SET client_min_messages = error;
SELECT functions > 30 AS all_functions, calls > 1000 AS many_calls, internal_errors FROM t.call_all();
SET dms_refs.engine = 'sql';
SELECT functions > 30 AS all_functions, calls > 1000 AS many_calls, internal_errors FROM t.call_all();
RESET dms_refs.engine;
SET ROLE regress_dms_hostile;
SELECT functions > 30 AS all_functions, calls > 1000 AS many_calls, internal_errors FROM t.call_all();
RESET ROLE;
-- Nothing was written, and the store still serves.
SELECT t.stored('s', 1);
SELECT store FROM dms_refs.store_config;

DROP FUNCTION t.call_all, t.usual, t.unusual;
DROP FOREIGN TABLE t.stage, t.far;
DROP SERVER nothing;
DROP FOREIGN DATA WRAPPER nothing;
DROP TABLE t.plain, t.parts;
DROP SEQUENCE t.numbers;
DROP VIEW t.seen;
DROP MATERIALIZED VIEW t.kept;
DROP TYPE t.pair;
RESET client_min_messages;
SELECT dms_refs.drop_store('s');
DROP OWNED BY regress_dms_hostile;
DROP ROLE regress_dms_hostile;
