-- Purpose: nothing that an ordinary role puts into a caller's search path runs as the caller: operators, functions, types, casts and
-- relations with the names that our functions use, in a schema at the head of the path and in pg_temp; every function and view is called.
\set VERBOSITY terse
-- A statement for every function and view of the extension.
CREATE TABLE t.calls (n int GENERATED ALWAYS AS IDENTITY, object text, statement text);
INSERT INTO t.calls (object, statement) VALUES
    ('create_store(name,integer,text)', $$SELECT dms_refs.create_store('h', 2, 'lean')$$),
    ('require_own_schema(name)', $$SELECT dms_refs.require_own_schema('h')$$),
    ('drop_drop_in_functions(name)', $$SELECT dms_refs.drop_drop_in_functions('h')$$),
    ('create_drop_in_functions(name,name)', $$SELECT dms_refs.create_drop_in_functions('h', 'h')$$),
    ('store_problems(regclass,text,name[],name[],regtype[],name[])',
        $$SELECT pg_catalog.count(*) FROM dms_refs.store_problems('h.document', 'document', '{documentpartitionkey,id,more}', '{documentpartitionkey,id,more}', '{smallint,uuid,bigint}', '{id,more}')$$),
    ('register_store(name,regclass,regclass,regclass,jsonb,name)', $$SELECT dms_refs.register_store('h2', 'h.document', 'h.alias', 'h.reference', '{"document.id": "id"}')$$),
    ('unregister_store(name)', $$SELECT dms_refs.unregister_store('h2')$$),
    ('store_changed()', $$UPDATE dms_refs.store_config SET layout = layout$$),
    ('store_engine(name)', $$SELECT pg_catalog.count(*) FROM dms_refs.store_engine('h')$$),
    ('stores', NULL), ('store_config', NULL),
    (NULL, $$INSERT INTO h.document (id, documentpartitionkey) OVERRIDING SYSTEM VALUE VALUES (1, 0), (2, 1), (3, 0)$$),
    (NULL, $$INSERT INTO h.alias (id, referentialpartitionkey, referentialid, documentid, documentpartitionkey) OVERRIDING SYSTEM VALUE
        VALUES (101, 0, '10000000-0000-0000-0000-000000000000', 1, 0), (102, 0, '20000000-0000-0000-0000-000000000000', 2, 1), (103, 1, '30000000-0000-0000-0000-000000000000', 3, 0)$$);
INSERT INTO t.calls (object, statement)
SELECT object, statement FROM unnest('{auto,sql}'::text[]) engine, LATERAL (VALUES
    (NULL, format('SET dms_refs.engine = %s', engine)),
    ('insert_references(bigint,smallint,uuid[],smallint[],boolean,name)',
        $$SELECT success FROM dms_refs.insert_references(1, 0::pg_catalog.int2, '{20000000-0000-0000-0000-000000000000,30000000-0000-0000-0000-000000000000}', '{0,1}', store => 'h')$$),
    ('sync_references(bigint,smallint,uuid[],smallint[],boolean,boolean,name)',
        $$SELECT action FROM dms_refs.sync_references(1, 0::pg_catalog.int2, '{10000000-0000-0000-0000-000000000000,20000000-0000-0000-0000-000000000000}', '{0,0}', include_kept => true, store => 'h')$$),
    (NULL, $$UPDATE h.alias SET documentid = 3, documentpartitionkey = 0$$),
    ('diff_references(bigint,smallint,uuid[],smallint[],boolean,boolean,name)',
        $$SELECT action FROM dms_refs.diff_references(1, 0::pg_catalog.int2, '{20000000-0000-0000-0000-000000000000}', '{0}', store => 'h')$$),
    ('sync_references_batch(bigint[],smallint[],integer[],uuid[],smallint[],boolean[],text,name)',
        $$SELECT path FROM dms_refs.sync_references_batch('{1,2}', '{0,1}', '{1,2}',
            '{20000000-0000-0000-0000-000000000000,30000000-0000-0000-0000-000000000000,90000000-0000-0000-0000-000000000000}', '{0,1,1}', store => 'h')$$),
    ('apply_resolved_references(bigint,smallint,smallint[],bigint[],bigint[],smallint[],boolean,name)',
        $$SELECT path FROM dms_refs.apply_resolved_references(2, 1::pg_catalog.int2, '{0,1}', '{102,103}', '{3,3}', '{0,0}', store => 'h')$$),
    ('resolve_references(uuid[],smallint[],name)', $$SELECT alias_id FROM dms_refs.resolve_references('{20000000-0000-0000-0000-000000000000}', '{0}', 'h')$$),
    ('find_invalid_references(uuid[],smallint[],name)', $$SELECT ordinal FROM dms_refs.find_invalid_references('{90000000-0000-0000-0000-000000000000}', '{0}', 'h')$$),
    ('referencing_documents(bigint,smallint,name)', $$SELECT parent_document_id FROM dms_refs.referencing_documents(3, 0::pg_catalog.int2, 'h')$$),
    (NULL, $$SELECT success FROM h.InsertReferences(1, 0::pg_catalog.int2, '{90000000-0000-0000-0000-000000000000}', '{0}')$$),
    (NULL, $$SELECT pg_catalog.count(*) FROM h.GetInvalidReferencesAndClear(1, 0::pg_catalog.int2)$$),
    ('last_invalid_references()', $$SELECT pg_catalog.count(*) FROM dms_refs.last_invalid_references()$$),
    (NULL, $$UPDATE h.alias SET documentid = 1, documentpartitionkey = 0$$)) c(object, statement);
INSERT INTO t.calls (object, statement) VALUES
    (NULL, 'RESET dms_refs.engine'),
    ('check_store(name)', $$SELECT DISTINCT violation FROM dms_refs.check_store('h')$$),
    ('stage_validator(text[],oid)', $$CREATE FOREIGN TABLE h.made (a int) SERVER dms_refs_stage OPTIONS (on_commit 'preserve', key 'a')$$),
    ('stage_handler()', $$INSERT INTO h.made VALUES (1), (2)$$),
    ('check_stage(regclass)', $$SELECT dms_refs.check_stage('h.made')$$),
    ('stage_contents(regclass)', $$SELECT rows FROM dms_refs.stage_contents('h.made')$$),
    ('empty_stage(regclass)', $$SELECT dms_refs.empty_stage('h.made')$$),
    (NULL, $$CREATE TABLE h.like_this (id pg_catalog.int8 NOT NULL DEFAULT 1, t pg_catalog.text COLLATE pg_catalog."C" DEFAULT 'x', two pg_catalog.int8 GENERATED ALWAYS AS (id OPERATOR(pg_catalog.*) 2) STORED, CHECK (id OPERATOR(pg_catalog.>) 0))$$),
    ('create_stage(text,regclass,text,name[],text)', $$SELECT dms_refs.create_stage('h.staged', 'h.like_this', 'more pg_catalog.int4', '{id}', 'preserve')$$),
    (NULL, $$INSERT INTO h.staged (id, more) VALUES (3, 4) RETURNING two, t$$),
    ('stages', NULL),
    ('stat_entries()', $$SELECT pg_catalog.count(*) OPERATOR(pg_catalog.>=) 0 FROM dms_refs.stat_entries()$$),
    ('stat_staged()', $$SELECT pg_catalog.count(*) OPERATOR(pg_catalog.>=) 0 FROM dms_refs.stat_staged()$$),
    ('stat_running()', $$SELECT pg_catalog.count(*) OPERATOR(pg_catalog.>=) 0 FROM dms_refs.stat_running()$$),
    ('stat_status()', $$SELECT pg_catalog.count(*) FROM dms_refs.stat_status()$$),
    ('stat_reset(regclass)', $$SELECT dms_refs.stat_reset('h.reference')$$),
    ('histogram_percentile(bigint[],double precision,double precision)', $$SELECT dms_refs.histogram_percentile('{1,2}', 0.5)$$),
    ('histogram_buckets(bigint[],double precision)', $$SELECT pg_catalog.count(*) FROM dms_refs.histogram_buckets('{1,2}')$$),
    ('histogram_add(bigint[],bigint[])', $$SELECT dms_refs.histogram_add('{1}', '{2}')$$),
    ('histogram_subtract(bigint[],bigint[])', $$SELECT dms_refs.histogram_subtract('{2}', '{1}')$$),
    ('histogram_sum(bigint[])', $$SELECT dms_refs.histogram_sum('{2}'::pg_catalog.int8[])$$),
    ('stat_calls', NULL), ('stat_paths', NULL), ('stat_latency', NULL), ('stat_set_size', NULL), ('stat_staging', NULL), ('stat_progress', NULL),
    (NULL, 'DROP FOREIGN TABLE h.made, h.staged'), (NULL, 'DROP TABLE h.like_this'),
    ('drop_store(name,boolean)', $$SELECT dms_refs.drop_store('h')$$);
UPDATE t.calls SET statement = format('SELECT pg_catalog.count(*) OPERATOR(pg_catalog.>=) 0 FROM dms_refs.%I', object) WHERE statement IS NULL;
-- Those without a statement, and statements without an object.
SELECT member, c.object
FROM (SELECT split_part(replace(o.identity, 'dms_refs.', ''), ' ', 1) AS short, o.identity AS member
      FROM pg_depend d JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e',
           LATERAL (SELECT d.objid::regprocedure::text WHERE d.classid = 'pg_proc'::regclass
                    UNION ALL SELECT d.objid::regclass::text WHERE d.classid = 'pg_class'::regclass) o(identity)
      WHERE e.extname = 'dms_refs') m
    FULL JOIN (SELECT DISTINCT object FROM t.calls WHERE object IS NOT NULL) c ON replace(m.member, 'dms_refs.', '') = c.object
WHERE m.member IS NULL OR c.object IS NULL;

-- What an ordinary role makes of it.
CREATE ROLE regress_dms_hostile;
DO $$ BEGIN EXECUTE format('GRANT CREATE, TEMPORARY ON DATABASE %I TO regress_dms_hostile', current_database()); END $$;
CREATE TABLE t.names AS
    SELECT DISTINCT m[1] AS name
    FROM (SELECT prosrc FROM pg_proc WHERE pronamespace = 'dms_refs'::regnamespace AND prolang <> (SELECT oid FROM pg_language WHERE lanname = 'c')
          UNION ALL SELECT pg_get_viewdef(oid) FROM pg_class WHERE relnamespace = 'dms_refs'::regnamespace AND relkind = 'v') s(source),
         regexp_matches(source, '\m([a-z_][a-z0-9_]*)\M', 'g') m;
GRANT SELECT ON t.names TO regress_dms_hostile;
GRANT USAGE ON SCHEMA t TO regress_dms_hostile;
SET ROLE regress_dms_hostile;

CREATE SCHEMA evil;
GRANT USAGE ON SCHEMA evil TO PUBLIC;
CREATE SEQUENCE evil.hits; -- no rollback takes a hit back
GRANT USAGE, SELECT ON evil.hits TO PUBLIC;
CREATE FUNCTION evil.hit(what text) RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF current_user <> 'regress_dms_hostile' THEN
        PERFORM nextval('evil.hits');
        RAISE NOTICE 'hostile %', what;
    END IF;
    RETURN true;
END $$;

SET client_min_messages = error;
DO $$
DECLARE
    types  text[] := '{text,name,"\"char\"",boolean,smallint,integer,bigint,oid,regclass,regtype,regprocedure,uuid,jsonb,text[],name[],smallint[],int2vector,"double precision","timestamp with time zone"}';
    result text;
    one    text;
    other  text;
    op     text;
    f      record;
    space  text;
BEGIN
    -- Operators: each for two operands of one type, the common ones for all pairs of types.
    FOREACH one IN ARRAY types LOOP
        FOREACH other IN ARRAY types LOOP
            FOREACH result IN ARRAY '{boolean,text,bigint}'::text[] LOOP
                EXECUTE format('CREATE FUNCTION evil.op_%s(a %s, b %s) RETURNS %1$s LANGUAGE plpgsql AS $f$ BEGIN PERFORM evil.hit(''operator of %2$s and %3$s''); RETURN NULL; END $f$', result, one, other);
            END LOOP;
            FOREACH op IN ARRAY '{=,<>,||,<,>,<=,>=,+,-,*,/,%,~,!~,~~,->,->>,@>}'::text[] LOOP
                CONTINUE WHEN one <> other AND op NOT IN ('=', '<>', '||', '+', '-', '->>');
                result := CASE WHEN op IN ('||', '->>', '->') THEN 'text' WHEN op IN ('+', '-', '*', '/', '%') THEN 'bigint' ELSE 'boolean' END;
                EXECUTE format('CREATE OPERATOR evil.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = evil.op_%s)', op, one, other, result);
            END LOOP;
        END LOOP;
        -- A cast from each type to one of our own, and back.
        EXECUTE format('CREATE TYPE evil.%I AS (x int)', 'own_' || one);
        EXECUTE format('CREATE FUNCTION evil.made(a %1$s) RETURNS evil.%2$I LANGUAGE plpgsql AS $f$ BEGIN PERFORM evil.hit(''cast from %1$s''); RETURN NULL; END $f$', one, 'own_' || one);
        EXECUTE format('CREATE FUNCTION evil.unmade(a evil.%2$I) RETURNS %1$s LANGUAGE plpgsql AS $f$ BEGIN PERFORM evil.hit(''cast to %1$s''); RETURN NULL; END $f$', one, 'own_' || one);
        EXECUTE format('CREATE CAST (%1$s AS evil.%2$I) WITH FUNCTION evil.made(%1$s) AS IMPLICIT', one, 'own_' || one);
        EXECUTE format('CREATE CAST (evil.%2$I AS %1$s) WITH FUNCTION evil.unmade(evil.%2$I) AS IMPLICIT', one, 'own_' || one);
    END LOOP;

    -- Functions of the names that ours use: with the same arguments, and with plain ones where theirs are of any type.
    FOR f IN
        SELECT DISTINCT p.proname, a.arguments
        FROM pg_proc p JOIN t.names ON name = p.proname CROSS JOIN LATERAL (
            SELECT oidvectortypes(p.proargtypes) WHERE NOT EXISTS (SELECT FROM unnest(p.proargtypes) y JOIN pg_type ON pg_type.oid = y WHERE typtype = 'p')
            UNION ALL
            SELECT array_to_string(array_fill(x, ARRAY[n]), ', ') FROM unnest('{text,name,bigint,text[],name[],smallint[],bigint[],uuid[],regclass}'::text[]) x, generate_series(1, 5) n
            WHERE EXISTS (SELECT FROM unnest(p.proargtypes) y JOIN pg_type ON pg_type.oid = y WHERE typtype = 'p')
            UNION ALL
            SELECT 'text, ' || array_to_string(array_fill(x, ARRAY[n]), ', ') FROM unnest('{name,bigint,regclass}'::text[]) x, generate_series(1, 4) n
            WHERE EXISTS (SELECT FROM unnest(p.proargtypes) y JOIN pg_type ON pg_type.oid = y WHERE typtype = 'p')) a(arguments)
        WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind IN ('f', 'a', 'w') AND (p.prokind <> 'a' OR a.arguments <> '')
    LOOP
        BEGIN
            EXECUTE format('CREATE FUNCTION evil.%I(%s) RETURNS text LANGUAGE plpgsql AS $f$ BEGIN PERFORM evil.hit(''function %1$s''); RETURN NULL; END $f$', f.proname, f.arguments);
        EXCEPTION WHEN duplicate_function THEN
        END;
    END LOOP;

    FOREACH one IN ARRAY '{"uuid[], smallint[]","bigint[], smallint[]","bigint[], smallint[], smallint[], bigint[]"}'::text[] LOOP
        EXECUTE format('CREATE FUNCTION evil.unnest(%s) RETURNS SETOF record LANGUAGE plpgsql AS $f$ BEGIN PERFORM evil.hit(''function unnest''); END $f$', one);
    END LOOP;

    -- Types and relations, in both places.
    FOREACH space IN ARRAY '{evil,pg_temp}'::text[] LOOP
        FOREACH one IN ARRAY '{text,name,oid,regclass,regtype,regprocedure,regproc,regcollation,uuid,jsonb,int2,int4,int8,bool,float8}'::text[] LOOP
            EXECUTE format('CREATE DOMAIN %s.%I AS pg_catalog.%2$I CHECK (evil.hit(''type %2$s''))', space, one);
        END LOOP;
        FOR f IN SELECT relname, (SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute JOIN pg_type y ON y.oid = atttypid
                                  WHERE attrelid = pg_class.oid AND attnum > 0 AND typtype <> 'p') AS columns
                 FROM pg_class JOIN t.names ON name = relname
                 WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r', 'v') AND has_table_privilege(pg_class.oid, 'SELECT') LOOP
            EXECUTE format('CREATE VIEW %s.%I AS SELECT %3$s FROM pg_catalog.%2$I WHERE evil.hit(''view %2$s'')', space, f.relname, f.columns);
            EXECUTE format('GRANT SELECT ON %s.%I TO PUBLIC', space, f.relname);
        END LOOP;
        FOREACH one IN ARRAY '{store_config,stores,document,alias,reference,stages,u,x,c}'::text[] LOOP
            EXECUTE format('CREATE VIEW %s.%I AS SELECT * FROM dms_refs.store_config WHERE evil.hit(''view %2$s'')', space, one);
            EXECUTE format('GRANT SELECT ON %s.%I TO PUBLIC', space, one);
        END LOOP;
    END LOOP;
END $$;
RESET client_min_messages;
RESET ROLE;

-- The traps work: whoever writes an operator without its schema in this session runs theirs.
SET search_path = evil, pg_catalog;
SELECT 'a'::pg_catalog.text = 'b'::pg_catalog.text;
SELECT 1 FROM pg_am LIMIT 1;
SELECT pg_catalog.nextval('evil.hits') OPERATOR(pg_catalog.=) 3 AS traps_work, pg_catalog.setval('evil.hits', 1, false) AS again;

-- Nothing of ours does.
SELECT statement FROM t.calls ORDER BY n \gexec
RESET search_path;
DISCARD TEMP;
SELECT is_called AS hostile_code_ran FROM evil.hits;
DROP TABLE t.calls, t.names;

-- create_store takes no schema in which others have a say.
SET ROLE regress_dms_hostile;
CREATE SCHEMA theirs;
RESET ROLE;
SELECT state, message, detail, hint ~ 'ALTER SCHEMA theirs OWNER TO' AS says_how FROM t.error($$SELECT dms_refs.create_store('theirs', 1)$$);
ALTER SCHEMA theirs OWNER TO CURRENT_USER;
GRANT CREATE ON SCHEMA theirs TO regress_dms_hostile;
SELECT state, detail, hint FROM t.error($$SELECT dms_refs.create_store('theirs', 1)$$);
SET ROLE regress_dms_hostile;
CREATE FUNCTION theirs.insertreferences(bigint, smallint, uuid[], smallint[]) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE TYPE theirs.document AS ENUM ();
RESET ROLE;
REVOKE CREATE ON SCHEMA theirs FROM regress_dms_hostile;
SELECT state, detail FROM t.error($$SELECT dms_refs.create_store('theirs', 1)$$);
DROP TYPE theirs.document;
ALTER FUNCTION theirs.insertreferences OWNER TO CURRENT_USER;
-- Nor one with a function of the name that callers use; the hint says how to keep it.
SELECT * FROM t.error($$SELECT dms_refs.create_store('theirs', 1)$$);
ALTER FUNCTION theirs.insertreferences(bigint,smallint,uuid[],smallint[]) RENAME TO insertreferences_before;
GRANT CREATE ON SCHEMA theirs TO PUBLIC;
SELECT state, detail, hint FROM t.error($$SELECT dms_refs.create_store('theirs', 1)$$);
REVOKE CREATE ON SCHEMA theirs FROM PUBLIC;
-- One's own schema will do, with what is in it; other superusers may have a say.
SET client_min_messages = warning;
CREATE ROLE regress_dms_super SUPERUSER;
ALTER SCHEMA theirs OWNER TO regress_dms_super;
SELECT dms_refs.create_store('theirs', 1);
SELECT dms_refs.drop_store('theirs');
RESET client_min_messages;

SET client_min_messages = error;
DROP SCHEMA evil, theirs CASCADE;
RESET client_min_messages;
DROP OWNED BY regress_dms_hostile;
DROP ROLE regress_dms_hostile, regress_dms_super;
