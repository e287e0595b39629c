-- Purpose: success means that the set is equal: what triggers, rules, policies and views keep or change is an error, in every engine and function.
\set VERBOSITY sqlstate
SELECT t.new_store('s');
-- Makes the set of document 1, with nothing in the way.
CREATE FUNCTION t.begin_with(VARIADIC n int[]) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    SET LOCAL session_replication_role = replica;
    EXECUTE format('DELETE FROM %s WHERE parentdocumentid = 1', coalesce(to_regclass('s.stored'), 's.reference'));
    EXECUTE format('INSERT INTO %s (parentdocumentid, parentdocumentpartitionkey, aliasid, referentialpartitionkey, referenceddocumentid, referenceddocumentpartitionkey)
        SELECT 1, 1, 100 + i, (i + 1) %% 4, i, i %% 4 FROM unnest($1) i', coalesce(to_regclass('s.stored'), 's.reference')) USING n;
    SET LOCAL session_replication_role = origin;
    RETURN t.stored('s', 1);
END $$;
-- What each writing function says of a set of document 1, from the set {2, 3}, in both engines; and that nothing is left of one that failed.
CREATE FUNCTION t.try_all(VARIADIC n int[]) RETURNS TABLE (engine text, says text, stored text) LANGUAGE plpgsql AS $$
DECLARE
    statements text[] := ARRAY[
        'SELECT success::text FROM dms_refs.insert_references(1, 1::smallint, t.ids(%1$s), t.keys(%1$s), store => ''s'')',
        'SELECT string_agg(action || alias_id, '' '') FROM dms_refs.sync_references(1, 1::smallint, t.ids(%1$s), t.keys(%1$s), store => ''s'')',
        'SELECT string_agg(path, '' '') FROM dms_refs.sync_references_batch(''{1}'', ''{1}'', ARRAY[cardinality(t.ids(%1$s))], t.ids(%1$s), t.keys(%1$s), store => ''s'')',
        'SELECT path FROM dms_refs.apply_resolved_references(1, 1::smallint, t.keys(%1$s), (SELECT array_agg(100 + i) FROM unnest(ARRAY[%1$s]::bigint[]) i),
            ARRAY[%1$s]::bigint[], (SELECT array_agg((i %% 4)::smallint) FROM unnest(ARRAY[%1$s]::int[]) i), store => ''s'')'];
    statement text;
    result    text;
BEGIN
    FOREACH engine IN ARRAY '{auto,sql}'::text[] LOOP
        PERFORM set_config('dms_refs.engine', engine, true);
        says := '';
        FOREACH statement IN ARRAY statements LOOP
            PERFORM t.begin_with(2, 3);
            BEGIN
                EXECUTE format(statement, array_to_string(n, ',')) INTO result;
            EXCEPTION WHEN OTHERS THEN
                result := SQLSTATE;
            END;
            says := concat_ws(', ', nullif(says, ''), result);
        END LOOP;
        stored := t.stored('s', 1);
        RETURN NEXT;
    END LOOP;
    SET LOCAL dms_refs.engine = auto;
END $$;
SELECT * FROM t.try_all(3, 4);

-- A trigger that keeps a row from being deleted, inserted, updated.
CREATE FUNCTION t.keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER keep BEFORE DELETE ON s.reference FOR EACH ROW EXECUTE FUNCTION t.keep();
SELECT * FROM t.try_all(3, 4);
SELECT t.begin_with(2, 3);
SELECT * FROM t.error($$SELECT dms_refs.insert_references(1, 1::smallint, t.ids(3, 4), t.keys(3, 4), store => 's')$$);
-- Where it keeps nothing that should go, nothing is wrong.
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3, 4), t.keys(2, 3, 4), store => 's');
DROP TRIGGER keep ON s.reference;
CREATE TRIGGER keep BEFORE INSERT ON s.reference FOR EACH ROW WHEN (NEW.aliasid = 104) EXECUTE FUNCTION t.keep();
SELECT * FROM t.try_all(3, 4);
SELECT * FROM t.try_all(3, 5);
-- Disabled; only on the partition; only for replicas.
ALTER TABLE s.reference DISABLE TRIGGER keep;
SELECT * FROM t.try_all(3, 4);
DROP TRIGGER keep ON s.reference;
CREATE TRIGGER keep_here BEFORE INSERT ON s.reference_01 FOR EACH ROW WHEN (NEW.aliasid = 104) EXECUTE FUNCTION t.keep();
SELECT * FROM t.try_all(3, 4);
DROP TRIGGER keep_here ON s.reference_01;
CREATE TRIGGER keep BEFORE UPDATE ON s.reference FOR EACH ROW EXECUTE FUNCTION t.keep();
UPDATE s.alias SET documentid = 9, documentpartitionkey = 1 WHERE id = 103;
SELECT writes FROM dms_refs.stores;
SELECT * FROM t.try_all(2, 3);
SELECT t.begin_with(2, 3);
SELECT * FROM t.error($$SELECT dms_refs.insert_references(1, 1::smallint, t.ids(2, 3), t.keys(2, 3), store => 's')$$);
DROP TRIGGER keep ON s.reference;
UPDATE s.alias SET documentid = 3, documentpartitionkey = 3 WHERE id = 103;

-- A trigger that writes another row: as many rows as there should be, and not those.
CREATE FUNCTION t.other() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.referenceddocumentid := 1; NEW.referenceddocumentpartitionkey := 1; RETURN NEW; END $$;
CREATE TRIGGER other BEFORE INSERT ON s.reference FOR EACH ROW EXECUTE FUNCTION t.other();
SELECT * FROM t.try_all(3, 4);
SELECT t.begin_with(2, 3);
SELECT * FROM t.error($$SELECT dms_refs.insert_references(1, 1::smallint, t.ids(2, 3, 4), t.keys(2, 3, 4), store => 's')$$);
CREATE OR REPLACE FUNCTION t.other() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.aliasid := 109; NEW.referentialpartitionkey := 2; RETURN NEW; END $$;
SELECT * FROM t.try_all(3, 4);
DROP TRIGGER other ON s.reference;
-- And one that changes nothing of ours.
CREATE FUNCTION t.same() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN coalesce(NEW, OLD); END $$;
CREATE TRIGGER same BEFORE INSERT OR UPDATE OR DELETE ON s.reference FOR EACH ROW EXECUTE FUNCTION t.same();
SELECT * FROM t.try_all(3, 4);
DROP TRIGGER same ON s.reference;
-- A trigger before the statement that puts rows beside the set.
CREATE FUNCTION t.beside() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO s.reference (parentdocumentid, parentdocumentpartitionkey, aliasid, referentialpartitionkey, referenceddocumentid, referenceddocumentpartitionkey)
    VALUES (1, 1, 108, 1, 8, 0);
    RETURN NULL;
END $$;
CREATE TRIGGER beside BEFORE DELETE ON s.reference FOR EACH STATEMENT EXECUTE FUNCTION t.beside();
SELECT * FROM t.try_all(3, 4);
DROP TRIGGER beside ON s.reference;
-- An AFTER trigger is its owner's: a call does not look for what it does.
CREATE TRIGGER beside AFTER DELETE ON s.reference FOR EACH ROW EXECUTE FUNCTION t.beside();
SELECT * FROM t.try_all(3, 4);
DROP TRIGGER beside ON s.reference;
-- A trigger that makes a trigger.
CREATE FUNCTION t.make() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    CREATE TRIGGER other BEFORE INSERT ON s.reference FOR EACH ROW EXECUTE FUNCTION t.other();
    RETURN NULL;
END $$;
SET dms_refs.engine = 'sql';
CREATE TRIGGER make AFTER DELETE ON s.reference FOR EACH ROW EXECUTE FUNCTION t.make();
SELECT t.begin_with(2, 3);
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(3, 4), t.keys(3, 4), store => 's');
DROP TRIGGER make ON s.reference;
RESET dms_refs.engine;

-- Rules: instead of rows nothing, or other rows; the counts say nothing then, the set does.
CREATE RULE nothing AS ON DELETE TO s.reference DO INSTEAD NOTHING;
SELECT * FROM t.try_all(3, 4);
SELECT * FROM t.error($$SELECT dms_refs.insert_references(1, 1::smallint, '{}', '{}', store => 's')$$);
DROP RULE nothing ON s.reference;
CREATE TABLE s.elsewhere (LIKE s.reference);
CREATE RULE elsewhere AS ON INSERT TO s.reference WHERE NEW.aliasid = 104 DO INSTEAD INSERT INTO s.elsewhere VALUES (NEW.*);
SELECT * FROM t.try_all(3, 4);
SELECT * FROM t.try_all(3, 5);
DROP RULE elsewhere ON s.reference;
CREATE RULE also AS ON INSERT TO s.reference DO ALSO INSERT INTO s.elsewhere VALUES (NEW.*);
SELECT * FROM t.try_all(3, 4);
DROP RULE also ON s.reference;

-- Policies: rows that may be seen and not deleted, not updated, or inserted and not seen.
CREATE ROLE regress_dms_written;
GRANT USAGE ON SCHEMA t, s TO regress_dms_written;
GRANT SELECT ON s.alias TO regress_dms_written;
GRANT SELECT, INSERT, UPDATE, DELETE ON s.reference TO regress_dms_written;
ALTER TABLE s.reference ENABLE ROW LEVEL SECURITY;
CREATE POLICY see ON s.reference FOR SELECT USING (aliasid <> 105);
CREATE POLICY add ON s.reference FOR INSERT WITH CHECK (true);
CREATE POLICY change ON s.reference FOR UPDATE USING (aliasid <> 103);
CREATE POLICY remove ON s.reference FOR DELETE USING (aliasid <> 102);
SELECT t.begin_with(2, 3);
SET ROLE regress_dms_written;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3, 4), t.keys(2, 3, 4), store => 's');
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(3, 4), t.keys(3, 4), store => 's');
SELECT * FROM t.error($$SELECT dms_refs.insert_references(1, 1::smallint, t.ids(3, 4), t.keys(3, 4), store => 's')$$);
SELECT action FROM dms_refs.sync_references(1, 1::smallint, t.ids(2, 4), t.keys(2, 4), store => 's');
SELECT state FROM t.error($$SELECT dms_refs.insert_references(1, 1::smallint, t.ids(2, 4, 5), t.keys(2, 4, 5), store => 's')$$);
RESET ROLE;
UPDATE s.alias SET documentid = 9, documentpartitionkey = 1 WHERE id IN (103, 104);
SELECT t.begin_with(2, 3);
SET ROLE regress_dms_written;
SELECT state, detail FROM t.error($$SELECT dms_refs.insert_references(1, 1::smallint, t.ids(2, 3), t.keys(2, 3), store => 's')$$);
RESET ROLE;
SELECT t.begin_with(2, 4);
SET ROLE regress_dms_written;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 4), t.keys(2, 4), store => 's');
RESET ROLE;
UPDATE s.alias SET documentid = id - 100, documentpartitionkey = (id - 100) % 4 WHERE id IN (103, 104);
ALTER TABLE s.reference DISABLE ROW LEVEL SECURITY;
REVOKE USAGE ON SCHEMA t FROM regress_dms_written;

-- Views: a trigger that writes the rows, and one that does not; and the check option.
ALTER TABLE s.reference RENAME TO stored;
CREATE VIEW s.reference AS SELECT parentdocumentid, parentdocumentpartitionkey, aliasid, referentialpartitionkey, referenceddocumentid, referenceddocumentpartitionkey
    FROM s.stored WHERE aliasid <> 105 WITH CHECK OPTION;
SET client_min_messages = error;
SELECT dms_refs.unregister_store('s');
SELECT dms_refs.register_store('s', 's.document', 's.alias', 's.reference');
RESET client_min_messages;
SELECT * FROM t.try_all(3, 4);
SELECT * FROM t.try_all(3, 5);
CREATE TRIGGER keep BEFORE DELETE ON s.stored FOR EACH ROW EXECUTE FUNCTION t.keep();
SELECT * FROM t.try_all(3, 4);
SELECT state, detail FROM t.error($$SELECT dms_refs.insert_references(1, 1::smallint, '{}', '{}', store => 's')$$);
DROP TRIGGER keep ON s.stored;
CREATE FUNCTION t.instead() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO s.stored (parentdocumentid, parentdocumentpartitionkey, aliasid, referentialpartitionkey, referenceddocumentid, referenceddocumentpartitionkey)
        VALUES (NEW.*);
    END IF;
    -- With no row to return, the statement counts none.
    RETURN NULL;
END $$;
CREATE TRIGGER instead INSTEAD OF INSERT ON s.reference FOR EACH ROW EXECUTE FUNCTION t.instead();
SELECT * FROM t.try_all(3, 4);
CREATE TRIGGER instead_too INSTEAD OF DELETE ON s.reference FOR EACH ROW EXECUTE FUNCTION t.instead();
SELECT * FROM t.try_all(3, 4);
SELECT state, detail FROM t.error($$SELECT dms_refs.insert_references(1, 1::smallint, t.ids(2), t.keys(2), store => 's')$$);

-- Routed to its children by a trigger that returns no row, as before there were partitions.
DROP VIEW s.reference;
CREATE TABLE s.reference (LIKE s.stored);
CREATE TABLE s.child (CHECK (parentdocumentpartitionkey = 1)) INHERITS (s.reference);
CREATE FUNCTION t.route() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO s.child VALUES (NEW.*); RETURN NULL; END $$;
CREATE TRIGGER route BEFORE INSERT ON s.reference FOR EACH ROW EXECUTE FUNCTION t.route();
ALTER TABLE s.reference ADD UNIQUE (parentdocumentpartitionkey, parentdocumentid, aliasid), ALTER id DROP NOT NULL;
SET client_min_messages = error;
SELECT dms_refs.unregister_store('s');
SELECT dms_refs.register_store('s', 's.document', 's.alias', 's.reference');
RESET client_min_messages;
SELECT path FROM dms_refs.sync_references_batch('{1,1}', '{1,1}', '{1,2}', t.ids(3, 3, 4), t.keys(3, 3, 4), store => 's');
SELECT path FROM dms_refs.sync_references_batch('{1}', '{1}', '{2}', t.ids(3, 5), t.keys(3, 5), store => 's');
SELECT tableoid::regclass, aliasid FROM s.reference WHERE parentdocumentid = 1;

-- A foreign table, here a stage, with a trigger of its own.
ALTER TABLE s.reference RENAME TO routed;
SELECT dms_refs.create_stage('s.reference', columns => 'parentdocumentid bigint, parentdocumentpartitionkey smallint, aliasid bigint, referentialpartitionkey smallint,
    referenceddocumentid bigint, referenceddocumentpartitionkey smallint', on_commit => 'preserve');
CREATE TRIGGER keep BEFORE DELETE ON s.reference FOR EACH ROW EXECUTE FUNCTION t.keep();
SET client_min_messages = error;
SELECT dms_refs.unregister_store('s');
SELECT dms_refs.register_store('s', 's.document', 's.alias', 's.reference');
RESET client_min_messages;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3), t.keys(2, 3), store => 's');
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(3, 4), t.keys(3, 4), store => 's');
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3, 4), t.keys(2, 3, 4), store => 's');
SELECT state, detail FROM t.error($$SELECT dms_refs.insert_references(1, 1::smallint, '{}', '{}', store => 's')$$);

-- A column of the store that takes no value, in either engine as SQL has it.
CREATE SCHEMA g;
CREATE TABLE g.reference (parentdocumentid bigint, parentdocumentpartitionkey smallint, aliasid bigint, referentialpartitionkey smallint,
    referenceddocumentid bigint GENERATED ALWAYS AS (aliasid - 100) STORED, referenceddocumentpartitionkey smallint,
    PRIMARY KEY (parentdocumentpartitionkey, parentdocumentid, aliasid));
SET client_min_messages = error;
SELECT dms_refs.register_store('g', 's.document', 's.alias', 'g.reference');
RESET client_min_messages;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(3, 4), t.keys(3, 4), store => 'g');
SELECT dms_refs.unregister_store('g');

SET client_min_messages = error;
DROP FUNCTION t.begin_with, t.try_all, t.keep, t.other, t.same, t.beside, t.make, t.instead, t.route CASCADE;
SELECT dms_refs.unregister_store('s');
DROP SCHEMA s, g CASCADE;
RESET client_min_messages;
DROP ROLE regress_dms_written;
