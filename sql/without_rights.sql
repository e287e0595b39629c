-- Purpose: what a role without rights on a store can see of it, hold, and change: nothing. And an owner who has taken his own rights away.
\set VERBOSITY terse
SELECT t.new_store('s');
CREATE ROLE regress_dms_nobody;
CREATE ROLE regress_dms_somebody;
GRANT USAGE ON SCHEMA t TO PUBLIC;

-- Invalid ids are shown to the role that sent them: not those of a SECURITY DEFINER function to its caller, nor to another role of the session.
CREATE FUNCTION t.send() RETURNS boolean LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS
$$ SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(98, 99), t.keys(98, 99), store => 's') $$;
CREATE FUNCTION t.receive() RETURNS SETOF uuid LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS
$$ SELECT * FROM dms_refs.last_invalid_references() $$;
GRANT USAGE ON SCHEMA s TO regress_dms_nobody;
SET ROLE regress_dms_nobody;
SELECT t.send();
SELECT * FROM dms_refs.last_invalid_references();
SELECT * FROM s.GetInvalidReferencesAndClear(1, 1::smallint);
SELECT * FROM t.receive();
SELECT t.send();
RESET ROLE;
SET ROLE regress_dms_somebody;
SELECT * FROM dms_refs.last_invalid_references();
RESET ROLE;
SELECT * FROM dms_refs.last_invalid_references();
REVOKE USAGE ON SCHEMA s FROM regress_dms_nobody;

-- Reading the views keeps no lock on a store's tables.
CREATE FUNCTION t.locked(OUT relation text, OUT mode text) RETURNS SETOF record LANGUAGE sql SECURITY DEFINER AS $$
    SELECT c.relname, l.mode FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
    WHERE l.pid = pg_backend_pid() AND c.relnamespace = 's'::regnamespace ORDER BY 1, 2 $$;
BEGIN;
SET ROLE regress_dms_nobody;
SELECT reads, writes FROM dms_refs.stores WHERE store = 's';
SELECT count(*) FROM dms_refs.stages;
SELECT count(*) FROM dms_refs.stat_calls;
SELECT count(*) FROM dms_refs.stat_paths;
SELECT count(*) FROM dms_refs.stat_progress;
SELECT * FROM t.locked();
ROLLBACK;

-- The trigger function of store_config, where it does not belong.
CREATE TABLE t.mine (a int);
GRANT ALL ON t.mine TO regress_dms_nobody;
CREATE TRIGGER gone BEFORE INSERT ON t.mine FOR EACH ROW EXECUTE FUNCTION dms_refs.store_changed();
SELECT state FROM t.error('INSERT INTO t.mine VALUES (1)');
DROP TRIGGER gone ON t.mine;
CREATE TRIGGER gone AFTER INSERT ON t.mine FOR EACH STATEMENT EXECUTE FUNCTION dms_refs.store_changed();
SELECT state FROM t.error('INSERT INTO t.mine VALUES (1)');
DROP TABLE t.mine;
SELECT state FROM t.error('SELECT dms_refs.store_changed()');

-- An owner who took his own rights away has none, as for SQL, one way or the other.
GRANT USAGE ON SCHEMA s, dms_refs TO regress_dms_somebody;
ALTER TABLE s.document OWNER TO regress_dms_somebody;
ALTER TABLE s.alias OWNER TO regress_dms_somebody;
ALTER TABLE s.reference OWNER TO regress_dms_somebody;
CREATE FUNCTION t.as_owner(OUT calls text, OUT same_by_sql boolean) LANGUAGE plpgsql AS $$
DECLARE
    by_sql text;
BEGIN
    FOR i IN 1 .. 2 LOOP
        PERFORM set_config('dms_refs.engine', CASE i WHEN 1 THEN 'auto' ELSE 'sql' END, true);
        calls := by_sql;
        SELECT string_agg(e.state, ' ' ORDER BY o) INTO by_sql FROM unnest(ARRAY[
            $s$SELECT * FROM dms_refs.resolve_references(t.ids(3), t.keys(3), 's')$s$,
            $s$SELECT * FROM dms_refs.diff_references(1, 1::smallint, t.ids(3), t.keys(3), store => 's')$s$,
            $s$SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(3), t.keys(3), store => 's')$s$,
            $s$SELECT * FROM dms_refs.insert_references(1, 1::smallint, '{}', '{}', store => 's')$s$,
            $s$SELECT * FROM dms_refs.referencing_documents(3, 3::smallint, 's')$s$]) WITH ORDINALITY u(q, o), t.error(q) e;
    END LOOP;
    same_by_sql := calls = by_sql;
    PERFORM set_config('dms_refs.engine', 'auto', true);
END $$;
SET ROLE regress_dms_somebody;
SELECT * FROM t.as_owner();
REVOKE SELECT ON s.alias FROM regress_dms_somebody;
SELECT * FROM t.as_owner();
GRANT SELECT ON s.alias TO regress_dms_somebody;
REVOKE UPDATE ON s.alias FROM regress_dms_somebody;
SELECT * FROM t.as_owner();
GRANT UPDATE ON s.alias TO regress_dms_somebody;
REVOKE SELECT ON s.reference FROM regress_dms_somebody;
SELECT * FROM t.as_owner();
GRANT SELECT ON s.reference TO regress_dms_somebody;
REVOKE INSERT ON s.reference FROM regress_dms_somebody;
SELECT * FROM t.as_owner();
GRANT INSERT ON s.reference TO regress_dms_somebody;
REVOKE SELECT ON s.document FROM regress_dms_somebody;
SELECT * FROM t.as_owner();
GRANT SELECT ON s.document TO regress_dms_somebody;
REVOKE UPDATE ON s.document FROM regress_dms_somebody;
SELECT * FROM t.as_owner();
GRANT UPDATE ON s.document TO regress_dms_somebody;
RESET ROLE;
SELECT t.stored('s', 1);

-- What is for nobody but a superuser, or whom he grants it to.
SELECT p.oid::regprocedure FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'dms_refs'
    JOIN pg_proc p ON p.oid = d.objid
WHERE d.classid = 'pg_proc'::regclass AND d.deptype = 'e' AND NOT has_function_privilege('regress_dms_nobody', p.oid, 'EXECUTE') ORDER BY 1;
SELECT c.oid::regclass FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'dms_refs'
    JOIN pg_class c ON c.oid = d.objid
WHERE d.classid = 'pg_class'::regclass AND d.deptype = 'e' AND c.relkind IN ('r', 'v', 'S')
    AND (has_table_privilege('regress_dms_nobody', c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER, REFERENCES')
         OR NOT has_table_privilege('regress_dms_nobody', c.oid, 'SELECT')) ORDER BY 1;

DROP FUNCTION t.send, t.receive, t.locked, t.as_owner;
REVOKE USAGE ON SCHEMA t FROM PUBLIC;
SELECT dms_refs.drop_store('s');
DROP OWNED BY regress_dms_nobody, regress_dms_somebody;
DROP ROLE regress_dms_nobody, regress_dms_somebody;
