-- Purpose: users' code that runs in the middle of a call, in triggers, checks, generated columns and indexes: what it does to
-- documents, aliases, triggers and rules counts from then on, as between SQL statements. No foreign key is ever broken.
\set VERBOSITY sqlstate
SELECT t.new_store('s', layout => 'lean');
CREATE TABLE t.log (entry text);
CREATE ROLE regress_dms_nobody;

-- Runs a statement in each engine and undoes it: its SQLSTATE, what is stored of documents 1 and 5, entries of the log, and
-- references that lack their document or alias.
CREATE FUNCTION t.each(statement text) RETURNS TABLE (way text, outcome text, set1 text, set5 text, log bigint, broken bigint) LANGUAGE plpgsql AS $$
BEGIN
    FOREACH way IN ARRAY ARRAY['auto', 'sql', 'fk triggers'] LOOP
        PERFORM set_config('dms_refs.engine', CASE way WHEN 'sql' THEN 'sql' ELSE 'auto' END, false);
        PERFORM set_config('dms_refs.native_fk_checks', (way <> 'fk triggers')::text, false);
        BEGIN
            SELECT e.state INTO outcome FROM t.error(statement) e;
            RESET ROLE;
            set1 := t.stored('s', 1);
            set5 := t.stored('s', 5);
            SELECT count(*) INTO log FROM t.log;
            SELECT count(*) INTO broken FROM s.reference r
            WHERE NOT EXISTS (SELECT FROM s.document d WHERE d.id = r.parentdocumentid)
                OR NOT EXISTS (SELECT FROM s.alias a WHERE a.id = r.aliasid);
            RAISE 'undo' USING ERRCODE = 'T0000';
        EXCEPTION WHEN SQLSTATE 'T0000' THEN
            RETURN NEXT;
        END;
    END LOOP;
    RESET dms_refs.engine;
    RESET dms_refs.native_fk_checks;
END $$;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3), t.keys(2, 3), store => 's');
-- Of document 1: 2 goes, 3 stays or is another's now, 4 comes.
CREATE FUNCTION t.save() RETURNS text LANGUAGE sql IMMUTABLE AS
$$ SELECT $s$SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(3, 4), t.keys(3, 4), store => 's')$s$ $$;
CREATE FUNCTION t.save_pure() RETURNS text LANGUAGE sql IMMUTABLE AS
$$ SELECT $s$SELECT * FROM dms_refs.insert_references(5, 1::smallint, t.ids(3, 4), t.keys(3, 4), store => 's')$s$ $$;
CREATE FUNCTION t.save_both() RETURNS text LANGUAGE sql IMMUTABLE AS
$$ SELECT $s$SELECT * FROM dms_refs.sync_references_batch('{1,5}', '{1,1}', '{2,2}', t.ids(3, 4, 3, 4), t.keys(3, 4, 3, 4), store => 's')$s$ $$;
SELECT * FROM t.each(t.save());

-- A trigger of the rows deleted removes what the rows inserted refer to.
CREATE FUNCTION t.run() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN EXECUTE TG_ARGV[0]; RETURN NULL; END $$;
CREATE TRIGGER go AFTER DELETE ON s.reference FOR EACH ROW EXECUTE FUNCTION t.run('DELETE FROM s.alias WHERE id = 104');
SELECT * FROM t.each(t.save());
DROP TRIGGER go ON s.reference;
CREATE TRIGGER go AFTER DELETE ON s.reference FOR EACH ROW WHEN (pg_trigger_depth() = 0)
    EXECUTE FUNCTION t.run('DELETE FROM s.document WHERE id = 1');
SELECT * FROM t.each(t.save());
DROP TRIGGER go ON s.reference;
-- Removes and makes again; touches; retargets.
CREATE TRIGGER go AFTER DELETE ON s.reference FOR EACH ROW EXECUTE FUNCTION t.run('WITH d AS (DELETE FROM s.alias WHERE id = 104 RETURNING *)
    INSERT INTO s.alias (id, referentialpartitionkey, referentialid, documentid, documentpartitionkey) OVERRIDING SYSTEM VALUE
    SELECT id + 100, referentialpartitionkey, gen_random_uuid(), documentid, documentpartitionkey FROM d');
SELECT * FROM t.each(t.save());
DROP TRIGGER go ON s.reference;
CREATE TRIGGER go AFTER DELETE ON s.reference FOR EACH ROW EXECUTE FUNCTION t.run('UPDATE s.document SET documentpartitionkey = documentpartitionkey WHERE id = 1');
SELECT * FROM t.each(t.save());
DROP TRIGGER go ON s.reference;
CREATE TRIGGER go AFTER DELETE ON s.reference FOR EACH ROW EXECUTE FUNCTION t.run('UPDATE s.alias SET documentid = 8, documentpartitionkey = 0 WHERE id = 104');
SELECT * FROM t.each(t.save());
DROP TRIGGER go ON s.reference;
-- A cascade of another table's.
CREATE TABLE t.note (pk smallint, parent bigint, alias bigint, FOREIGN KEY (pk, parent, alias)
    REFERENCES s.reference (parentdocumentpartitionkey, parentdocumentid, aliasid) ON DELETE CASCADE);
INSERT INTO t.note VALUES (1, 1, 102);
CREATE TRIGGER go AFTER DELETE ON t.note FOR EACH ROW EXECUTE FUNCTION t.run('DELETE FROM s.alias WHERE id = 104');
SELECT * FROM t.each(t.save());
DROP TABLE t.note;
-- A trigger of the rows updated.
UPDATE s.alias SET documentid = 9, documentpartitionkey = 1 WHERE id = 103;
CREATE TRIGGER go AFTER UPDATE ON s.reference FOR EACH ROW EXECUTE FUNCTION t.run('DELETE FROM s.alias WHERE id = 104');
SELECT * FROM t.each(t.save());
DROP TRIGGER go ON s.reference;
UPDATE s.alias SET documentid = 3, documentpartitionkey = 3 WHERE id = 103;

-- Functions that the inserted row itself calls.
CREATE FUNCTION t.remove(parent bigint) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM s.document WHERE id = parent AND id = 5;
    RETURN parent;
END $$;
CREATE FUNCTION t.remove_parent(parent bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN t.remove(parent); END $$;
ALTER TABLE s.reference ADD CONSTRAINT calls CHECK (t.remove_parent(parentdocumentid) > 0) NOT VALID;
SELECT * FROM t.each(t.save_pure());
ALTER TABLE s.reference DROP CONSTRAINT calls;
CREATE DOMAIN t.remover AS bigint CHECK (t.remove_parent(VALUE) > 0);
ALTER TABLE s.reference ADD CONSTRAINT calls CHECK ((parentdocumentid::t.remover)::bigint > 0) NOT VALID;
SELECT * FROM t.each(t.save_pure());
ALTER TABLE s.reference DROP CONSTRAINT calls;
DROP DOMAIN t.remover;
CREATE INDEX calls ON s.reference_01 (t.remove_parent(parentdocumentid));
SELECT * FROM t.each(t.save_pure());
DROP INDEX s.calls;
CREATE INDEX calls ON s.reference_01 (aliasid) WHERE t.remove_parent(parentdocumentid) > 0;
SELECT * FROM t.each(t.save_pure());
DROP INDEX s.calls;
ALTER TABLE s.reference ADD COLUMN removed bigint GENERATED ALWAYS AS (t.remove_parent(parentdocumentid)) STORED;
SELECT * FROM t.each(t.save_pure());
ALTER TABLE s.reference DROP COLUMN removed;
-- The server's own functions do nothing of the kind.
ALTER TABLE s.reference ADD CONSTRAINT calls CHECK (abs(parentdocumentid) > 0 AND coalesce(aliasid, 1) <> 0);
SELECT * FROM t.each(t.save_pure());
ALTER TABLE s.reference DROP CONSTRAINT calls;

-- AFTER triggers of the rows inserted fire in the order of their names, the foreign keys' among them.
CREATE FUNCTION t.save_unknown() RETURNS text LANGUAGE sql IMMUTABLE AS
$$ SELECT $s$SELECT * FROM dms_refs.apply_resolved_references(5, 1::smallint, '{2}', '{777}', '{3}', '{3}', store => 's')$s$ $$;
SELECT * FROM t.each(t.save_unknown());
CREATE TRIGGER a_maker AFTER INSERT ON s.reference FOR EACH ROW EXECUTE FUNCTION t.run('INSERT INTO s.alias (id, referentialpartitionkey, referentialid,
    documentid, documentpartitionkey) OVERRIDING SYSTEM VALUE VALUES (777, 2, t.u(777), 3, 3)');
SELECT * FROM t.each(t.save_unknown());
ALTER TRIGGER a_maker ON s.reference RENAME TO "A_maker";
SELECT * FROM t.each(t.save_unknown());
DROP TRIGGER "A_maker" ON s.reference;
-- A further foreign key is not users' code, and is checked all the same.
ALTER TABLE s.reference ADD CONSTRAINT fk_target FOREIGN KEY (referenceddocumentpartitionkey, referenceddocumentid) REFERENCES s.document (documentpartitionkey, id);
SELECT * FROM t.each(t.save_pure());
SELECT * FROM t.each($$SELECT * FROM dms_refs.apply_resolved_references(5, 1::smallint, '{0}', '{103}', '{333}', '{1}', store => 's')$$);
ALTER TABLE s.reference DROP CONSTRAINT fk_target;

-- In the middle of a batch: a trigger, a rule, a target, a right, all made by a trigger of an earlier document.
CREATE FUNCTION t.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO t.log VALUES (NEW.aliasid); RETURN NEW; END $$;
CREATE FUNCTION t.once(what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM t.log WHERE entry = what) THEN
        INSERT INTO t.log VALUES (what);
        EXECUTE what;
    END IF;
END $$;
CREATE TRIGGER go AFTER INSERT ON s.reference FOR EACH ROW EXECUTE FUNCTION t.run($$SELECT t.once('CREATE TRIGGER late AFTER INSERT ON s.reference_01 FOR EACH ROW EXECUTE FUNCTION t.note()')$$);
SELECT * FROM t.each(t.save_both());
DROP TRIGGER go ON s.reference;
CREATE TRIGGER go AFTER INSERT ON s.reference FOR EACH ROW EXECUTE FUNCTION t.run($$SELECT t.once('CREATE TRIGGER late BEFORE INSERT ON s.reference_01 FOR EACH ROW EXECUTE FUNCTION t.note()')$$);
SELECT * FROM t.each(t.save_both());
DROP TRIGGER go ON s.reference;
CREATE TRIGGER go AFTER DELETE ON s.reference FOR EACH ROW EXECUTE FUNCTION t.run($$SELECT t.once('CREATE TRIGGER late BEFORE INSERT ON s.reference_01 FOR EACH ROW EXECUTE FUNCTION t.note()')$$);
SELECT * FROM t.each(t.save());
DROP TRIGGER go ON s.reference;
CREATE TRIGGER go AFTER INSERT ON s.reference FOR EACH ROW EXECUTE FUNCTION t.run($$SELECT t.once('CREATE RULE late AS ON INSERT TO s.reference DO ALSO INSERT INTO t.log VALUES (NEW.aliasid)')$$);
SELECT * FROM t.each(t.save_both());
DROP TRIGGER go ON s.reference;
CREATE TRIGGER go AFTER INSERT ON s.reference FOR EACH ROW EXECUTE FUNCTION t.run($$SELECT t.once('UPDATE s.alias SET documentid = 8, documentpartitionkey = 0 WHERE id = 104')$$);
SELECT * FROM t.each(t.save_both());
DROP TRIGGER go ON s.reference;
CREATE TRIGGER go AFTER INSERT ON s.reference FOR EACH ROW EXECUTE FUNCTION t.run($$SELECT t.once('UPDATE s.alias SET referentialid = t.u(44) WHERE id = 104')$$);
SELECT * FROM t.each(t.save_both());
DROP TRIGGER go ON s.reference;
CREATE TRIGGER go AFTER DELETE ON s.reference FOR EACH ROW EXECUTE FUNCTION t.run('SET ROLE regress_dms_nobody');
SELECT * FROM t.each(t.save());
SELECT * FROM t.each(t.save_both());
DROP TRIGGER go ON s.reference;

-- The first row decides the error, whatever makes it: here an index objects to the first, an expression to the second.
SELECT t.stored('s', 1), success FROM dms_refs.insert_references(9, 1::smallint, t.ids(3), t.keys(3), store => 's');
CREATE UNIQUE INDEX once ON s.reference_01 (referenceddocumentid) WHERE parentdocumentid > 1;
ALTER TABLE s.reference ADD COLUMN quotient bigint GENERATED ALWAYS AS (1 / (aliasid - 104)) STORED;
SELECT * FROM t.each(t.save_pure());
SELECT * FROM t.each($$SELECT * FROM dms_refs.insert_references(5, 1::smallint, t.ids(2, 4), t.keys(2, 4), store => 's')$$);
ALTER TABLE s.reference DROP COLUMN quotient;
ALTER TABLE s.reference ADD COLUMN other bigint GENERATED ALWAYS AS (nullif(aliasid, 104)) STORED NOT NULL;
SELECT * FROM t.each(t.save_pure());
ALTER TABLE s.reference DROP COLUMN other;
CREATE INDEX quotients ON s.reference_01 ((1 / (aliasid - 104)));
SELECT * FROM t.each(t.save_pure());
SELECT * FROM t.each($$SELECT * FROM dms_refs.insert_references(5, 1::smallint, t.ids(2, 4), t.keys(2, 4), store => 's')$$);

-- A batch looks at the leaf anew after each document for which such code ran. What that took is given back: with the number of
-- documents nothing grows but the result.
SELECT dms_refs.drop_store('s');
SELECT t.new_store('s', 240, 'lean');
CREATE TABLE t.taken (bytes bigint);
CREATE FUNCTION t.measure() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO t.taken SELECT sum(used_bytes) FROM pg_backend_memory_contexts WHERE name IN ('dms_refs call', 'dms_refs document', 'ExecutorState');
    RETURN NULL;
END $$;
CREATE TRIGGER measure AFTER INSERT ON s.reference FOR EACH ROW EXECUTE FUNCTION t.measure();
SELECT sum(b.inserted) FROM dms_refs.sync_references_batch(ARRAY(SELECT id FROM s.document WHERE documentpartitionkey = 1 ORDER BY id),
    array_fill(1::smallint, '{60}'), array_fill(1, '{60}'), array_fill((t.ids(2))[1], '{60}'), array_fill((t.keys(2))[1], '{60}'), store => 's') b;
SELECT count(*), max(bytes) - min(bytes) < 32768 AS bounded FROM t.taken;
DROP TABLE t.taken;

DROP FUNCTION t.each, t.save, t.save_pure, t.save_both, t.save_unknown, t.once;
SELECT dms_refs.drop_store('s');
DROP FUNCTION t.run, t.note, t.remove_parent, t.remove, t.measure;
DROP TABLE t.log;
DROP ROLE regress_dms_nobody;
