-- Purpose: the lock of the parent: who may take it, what hides the document from it, and documents that only SQL can lock.
\set VERBOSITY sqlstate
CREATE ROLE regress_dms_writer;
GRANT USAGE ON SCHEMA t TO regress_dms_writer;
-- A document table that is not partitioned by its key alone: it is locked by an SQL statement.
SELECT t.new_store('s', layout => 'lean');
CREATE SCHEMA h;
CREATE TABLE h.document (documentpartitionkey smallint, id bigint, body text, PRIMARY KEY (documentpartitionkey, id)) PARTITION BY HASH (id);
CREATE TABLE h.document_0 PARTITION OF h.document FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE h.document_1 PARTITION OF h.document FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO h.document SELECT documentpartitionkey, id FROM s.document;
CREATE TABLE h.reference (LIKE s.reference INCLUDING ALL);
ALTER TABLE h.reference ADD CONSTRAINT fk_parent FOREIGN KEY (parentdocumentpartitionkey, parentdocumentid) REFERENCES h.document ON DELETE CASCADE;
ALTER TABLE h.reference ADD CONSTRAINT fk_alias FOREIGN KEY (referentialpartitionkey, aliasid) REFERENCES s.alias (referentialpartitionkey, id);
SET client_min_messages = error;
SELECT dms_refs.register_store('h', 'h.document', 's.alias', 'h.reference');
RESET client_min_messages;
GRANT USAGE ON SCHEMA s, h TO regress_dms_writer;
GRANT SELECT, INSERT, UPDATE, DELETE ON s.reference, h.reference TO regress_dms_writer;
GRANT SELECT ON s.alias TO regress_dms_writer;

-- As the caller, in each store: the outcome of a call, and whether it has locked the document's row. Calls that insert
-- nothing have no other reason to lock it.
CREATE FUNCTION t.locker(of name) RETURNS xid LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    locker xid;
BEGIN
    EXECUTE format('SELECT xmax FROM %I.document WHERE id = 1 AND documentpartitionkey = 1', of) INTO locker;
    RETURN locker;
END $$;
CREATE FUNCTION t.call(of name, VARIADIC n int[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    before CONSTANT xid := t.locker(of);
    outcome text;
BEGIN
    SELECT state INTO outcome
    FROM t.error(format('SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(VARIADIC %L), t.keys(VARIADIC %L), store => %L)', n, n, of));
    RETURN outcome || CASE WHEN t.locker(of) <> before THEN ' locked' ELSE '' END;
END $$;
CREATE FUNCTION t.calls(setting text, VARIADIC n int[]) RETURNS TABLE (engine text, partitioned_by_key text, not_by_key text) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('dms_refs.lock_parent', setting, false);
    FOREACH engine IN ARRAY ARRAY['auto', 'sql'] LOOP
        PERFORM set_config('dms_refs.engine', engine, false);
        BEGIN
            partitioned_by_key := t.call('s', VARIADIC n);
            not_by_key := t.call('h', VARIADIC n);
            RAISE 'undo' USING ERRCODE = 'T0000';
        EXCEPTION WHEN SQLSTATE 'T0000' THEN
            RETURN NEXT;
        END;
    END LOOP;
    RESET dms_refs.engine;
    RESET dms_refs.lock_parent;
END $$;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3), t.keys(2, 3), store => 's');
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3), t.keys(2, 3), store => 'h');

-- No right on the document table. Who may write references may have the parent locked for it, as the foreign key does.
SET ROLE regress_dms_writer;
SELECT * FROM t.calls('on_change', 2);
SELECT * FROM t.calls('on_change', 2, 3, 4);
SELECT * FROM t.calls('always', 2);
SELECT * FROM t.calls('never', 2);
SELECT * FROM t.calls('never', 2, 3, 4);
-- Where nothing is to be written, the lock is a statement of its own and takes the rights of one.
SELECT * FROM t.calls('on_change', 2, 3);
SELECT * FROM t.calls('never', 2, 3);
SELECT * FROM t.calls('always', 2, 3);
\set VERBOSITY default
SET dms_refs.lock_parent = 'always';
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3), t.keys(2, 3), store => 's');
RESET dms_refs.lock_parent;
\set VERBOSITY sqlstate
RESET ROLE;
GRANT UPDATE (documentpartitionkey) ON s.document, h.document TO regress_dms_writer;
SET ROLE regress_dms_writer;
SELECT * FROM t.calls('always', 2, 3);
RESET ROLE;
GRANT SELECT (documentpartitionkey, id) ON s.document, h.document TO regress_dms_writer;
SET ROLE regress_dms_writer;
SELECT * FROM t.calls('always', 2, 3);
RESET ROLE;

-- Row security hides the document from the caller, and from its owner: not from the foreign key, nor from the lock that
-- goes with writing.
ALTER TABLE s.document ENABLE ROW LEVEL SECURITY;
ALTER TABLE h.document ENABLE ROW LEVEL SECURITY;
ALTER TABLE s.document FORCE ROW LEVEL SECURITY;
ALTER TABLE h.document FORCE ROW LEVEL SECURITY;
SET ROLE regress_dms_writer;
SELECT * FROM t.calls('on_change', 2);
SELECT * FROM t.calls('on_change', 2, 3, 4);
SELECT * FROM t.calls('never', 2, 3, 4);
-- A statement of its own does not see it.
SELECT * FROM t.calls('always', 2, 3);
SELECT * FROM t.calls('always', 2);
RESET ROLE;
CREATE POLICY all_of_them ON s.document USING (true);
CREATE POLICY all_of_them ON h.document USING (true);
SET ROLE regress_dms_writer;
SELECT * FROM t.calls('always', 2, 3);
RESET ROLE;
-- The owner's own calls, after the same statement ran as somebody else's.
CREATE ROLE regress_dms_owner;
GRANT USAGE ON SCHEMA t, s, h TO regress_dms_owner;
GRANT SELECT, INSERT, UPDATE, DELETE ON s.reference, h.reference TO regress_dms_owner;
GRANT SELECT ON s.alias TO regress_dms_owner;
ALTER TABLE s.document OWNER TO regress_dms_owner;
ALTER TABLE h.document OWNER TO regress_dms_owner;
DROP POLICY all_of_them ON s.document;
DROP POLICY all_of_them ON h.document;
SET ROLE regress_dms_owner;
SELECT * FROM t.calls('always', 2, 3);
SELECT * FROM t.calls('on_change', 2);
SELECT * FROM t.calls('on_change', 2, 3, 4);
RESET ROLE;

-- No such document: the foreign key's own error, with what the call knows of it.
SELECT e.state, e.message, e.detail, e.hint FROM unnest(ARRAY['auto', 'sql']) engine, set_config('dms_refs.engine', engine, false),
    t.error($$SELECT * FROM dms_refs.insert_references(44, 0::smallint, t.ids(2), t.keys(2), store => 'h')$$) e;
RESET dms_refs.engine;
SELECT e.state, e.message, e.detail, e.hint FROM unnest(ARRAY['on_change', 'never']) setting, set_config('dms_refs.lock_parent', setting, false),
    t.error($$SELECT * FROM dms_refs.insert_references(44, 0::smallint, t.ids(2), t.keys(2), store => 's')$$) e;
RESET dms_refs.lock_parent;
SELECT e.state, e.message, e.detail, e.hint
FROM t.error($$SELECT * FROM dms_refs.apply_resolved_references(1, 1::smallint, '{3,0}', '{102,777}', '{2,2}', '{2,2}', store => 's')$$) e;
SELECT t.stored('s', 1), t.stored('h', 1);

-- A document table with an inheritance child: a foreign key does not look there.
CREATE SCHEMA i;
CREATE TABLE i.document (documentpartitionkey smallint, id bigint, PRIMARY KEY (documentpartitionkey, id));
CREATE TABLE i.child () INHERITS (i.document);
INSERT INTO i.child VALUES (1, 1);
CREATE TABLE i.reference (LIKE s.reference INCLUDING ALL);
ALTER TABLE i.reference ADD CONSTRAINT fk_parent FOREIGN KEY (parentdocumentpartitionkey, parentdocumentid) REFERENCES i.document;
SET client_min_messages = error;
SELECT dms_refs.register_store('i', 'i.document', 's.alias', 'i.reference');
RESET client_min_messages;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2), t.keys(2), store => 'i');
SET dms_refs.engine = 'sql';
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2), t.keys(2), store => 'i');
RESET dms_refs.engine;

SELECT dms_refs.unregister_store('h');
SELECT dms_refs.unregister_store('i');
DROP FUNCTION t.locker, t.call, t.calls;
\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA h, i CASCADE;
RESET client_min_messages;
SELECT dms_refs.drop_store('s');
REVOKE USAGE ON SCHEMA t FROM regress_dms_writer, regress_dms_owner;
DROP ROLE regress_dms_writer, regress_dms_owner;
