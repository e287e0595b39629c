-- Purpose: triggers on the store's tables: all kinds fire as they would for SQL statements, in the order deletes, updates, inserts.
\set VERBOSITY sqlstate
SELECT t.new_store('s');
CREATE TABLE t.log (n int GENERATED ALWAYS AS IDENTITY, entry text);
-- Makes the set {9, 8, 5, 4, 3, 2}, one after another, so that it lies in the table in that order, and retargets 3 and 5; then
-- replaces it by {6, 5, 3, 7, 4}: two inserts, two updates, three deletes, one kept. Shows what the triggers logged of the
-- replacement, what the view says, and the set.
CREATE FUNCTION t.replace_set(OUT writes text, OUT log text, OUT stored text) LANGUAGE plpgsql AS $$
BEGIN
    UPDATE s.alias SET documentid = id - 100, documentpartitionkey = (id - 100) % 4 WHERE id IN (103, 105);
    PERFORM dms_refs.insert_references(1, 1::smallint, (t.ids(9, 8, 5, 4, 3, 2))[1:n], (t.keys(9, 8, 5, 4, 3, 2))[1:n], store => 's')
    FROM generate_series(0, 6) n;
    UPDATE s.alias SET documentid = 9, documentpartitionkey = 1 WHERE id IN (103, 105);
    DELETE FROM t.log;
    PERFORM dms_refs.insert_references(1, 1::smallint, t.ids(6, 5, 3, 7, 4), t.keys(6, 5, 3, 7, 4), store => 's');
    SELECT string_agg(l.entry, ', ' ORDER BY n) INTO log FROM t.log l;
    SELECT v.writes INTO writes FROM dms_refs.stores v WHERE store = 's';
    stored := t.stored('s', 1);
END $$;
SELECT * FROM t.replace_set();

-- AFTER ROW on the table: each change, in order; a phase's triggers see that phase's rows and not the next one's.
CREATE FUNCTION t.log_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO t.log (entry)
    SELECT format('%s %s %s of %s', TG_WHEN, TG_OP, coalesce(NEW.aliasid, OLD.aliasid), count(*)) FROM s.reference WHERE parentdocumentid = 1;
    RETURN coalesce(NEW, OLD);
END $$;
CREATE TRIGGER after_row AFTER INSERT OR UPDATE OR DELETE ON s.reference FOR EACH ROW EXECUTE FUNCTION t.log_row();
SELECT * FROM t.replace_set();
-- The same in every engine.
SET dms_refs.engine = 'sql';
SELECT * FROM t.replace_set();
RESET ALL;
-- Old and new values, WHEN conditions, UPDATE OF columns, arguments and names.
CREATE FUNCTION t.log_values() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO t.log (entry) VALUES (format('%s %s.%s %s: %s -> %s', TG_NAME, TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_ARGV[0],
        OLD.referenceddocumentid, NEW.referenceddocumentid));
    RETURN NULL;
END $$;
DROP TRIGGER after_row ON s.reference;
CREATE TRIGGER b_when AFTER UPDATE ON s.reference FOR EACH ROW WHEN (OLD.referenceddocumentid = 5) EXECUTE FUNCTION t.log_values('changed');
CREATE TRIGGER a_columns AFTER UPDATE OF referenceddocumentid ON s.reference FOR EACH ROW EXECUTE FUNCTION t.log_values('columns');
CREATE TRIGGER c_insert AFTER INSERT ON s.reference FOR EACH ROW WHEN (NEW.aliasid > 106) EXECUTE FUNCTION t.log_values('new');
SELECT * FROM t.replace_set();
DROP TRIGGER a_columns ON s.reference;
DROP TRIGGER b_when ON s.reference;
DROP TRIGGER c_insert ON s.reference;

-- AFTER ROW on the partition alone.
CREATE TRIGGER on_leaf AFTER INSERT OR DELETE ON s.reference_01 FOR EACH ROW EXECUTE FUNCTION t.log_row();
SELECT * FROM t.replace_set();
-- Disabled, and for replicas only.
ALTER TABLE s.reference_01 DISABLE TRIGGER on_leaf;
SELECT * FROM t.replace_set();
ALTER TABLE s.reference_01 ENABLE REPLICA TRIGGER on_leaf;
SELECT * FROM t.replace_set();
SET session_replication_role = replica;
SELECT * FROM t.replace_set();
RESET session_replication_role;
ALTER TABLE s.reference_01 ENABLE ALWAYS TRIGGER on_leaf;
SET session_replication_role = replica;
SELECT * FROM t.replace_set();
RESET session_replication_role;
DROP TRIGGER on_leaf ON s.reference_01;

-- BEFORE ROW: it may change columns of its own; where it keeps a row from being written, the call fails.
ALTER TABLE s.reference ADD COLUMN noted text;
CREATE FUNCTION t.before_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO t.log (entry) VALUES (format('%s %s %s', TG_WHEN, TG_OP, coalesce(NEW.aliasid, OLD.aliasid)));
    IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
    NEW.noted := 'seen by ' || TG_OP;
    RETURN NEW;
END $$;
CREATE TRIGGER before_row BEFORE INSERT OR UPDATE OR DELETE ON s.reference FOR EACH ROW EXECUTE FUNCTION t.before_row();
SELECT * FROM t.replace_set();
SELECT aliasid, noted FROM s.reference ORDER BY aliasid;
CREATE OR REPLACE FUNCTION t.before_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(NEW.aliasid, OLD.aliasid) IN (102, 103, 107) THEN RETURN NULL; END IF;
    RETURN coalesce(NEW, OLD);
END $$;
SELECT * FROM t.replace_set();
DROP TRIGGER before_row ON s.reference;
SELECT * FROM t.replace_set();
ALTER TABLE s.reference DROP COLUMN noted;

-- STATEMENT, before and after, once a phase that has rows; with transition tables.
CREATE FUNCTION t.log_statement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO t.log (entry) VALUES (format('%s %s on %s', TG_WHEN, TG_OP, TG_TABLE_NAME));
    RETURN NULL;
END $$;
CREATE TRIGGER before_statement BEFORE INSERT OR UPDATE OR DELETE ON s.reference FOR EACH STATEMENT EXECUTE FUNCTION t.log_statement();
CREATE TRIGGER after_statement AFTER INSERT OR UPDATE OR DELETE ON s.reference FOR EACH STATEMENT EXECUTE FUNCTION t.log_statement();
SELECT * FROM t.replace_set();
TRUNCATE t.log;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(6, 5, 3, 7, 4), t.keys(6, 5, 3, 7, 4), store => 's');
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(6, 5, 3, 99), t.keys(6, 5, 3, 99), store => 's');
SELECT count(*) FROM t.log;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(6, 5, 3), t.keys(6, 5, 3), store => 's');
SELECT string_agg(entry, ', ' ORDER BY n) FROM t.log;
DROP TRIGGER before_statement ON s.reference;
DROP TRIGGER after_statement ON s.reference;
CREATE FUNCTION t.log_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO t.log (entry) SELECT format('INSERT %s', string_agg(aliasid::text, '+' ORDER BY aliasid)) FROM now_rows;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO t.log (entry) SELECT format('DELETE %s', string_agg(aliasid::text, '+' ORDER BY aliasid)) FROM was_rows;
    ELSE
        INSERT INTO t.log (entry) SELECT format('UPDATE %s', string_agg(format('%s:%s>%s', aliasid, w.referenceddocumentid, n.referenceddocumentid), '+' ORDER BY aliasid))
            FROM was_rows w JOIN now_rows n USING (aliasid);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER t_insert AFTER INSERT ON s.reference REFERENCING NEW TABLE AS now_rows FOR EACH STATEMENT EXECUTE FUNCTION t.log_transition();
CREATE TRIGGER t_update AFTER UPDATE ON s.reference REFERENCING OLD TABLE AS was_rows NEW TABLE AS now_rows FOR EACH STATEMENT EXECUTE FUNCTION t.log_transition();
CREATE TRIGGER t_delete AFTER DELETE ON s.reference REFERENCING OLD TABLE AS was_rows FOR EACH STATEMENT EXECUTE FUNCTION t.log_transition();
SELECT * FROM t.replace_set();
DROP TRIGGER t_insert ON s.reference;
DROP TRIGGER t_update ON s.reference;
DROP TRIGGER t_delete ON s.reference;
SELECT * FROM t.replace_set();

-- An error in a trigger is the call's error, with its own code, and undoes all three phases.
CREATE FUNCTION t.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE 'not today' USING ERRCODE = 'T0042';
END $$;
CREATE TRIGGER refuse AFTER INSERT ON s.reference FOR EACH ROW WHEN (NEW.aliasid = 108) EXECUTE FUNCTION t.refuse();
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 8), t.keys(2, 8), store => 's');
SELECT t.stored('s', 1);
SELECT path FROM dms_refs.sync_references_batch('{1,2}', '{1,2}', '{1,1}', t.ids(2, 8), t.keys(2, 8), store => 's');
SELECT t.stored('s', 1), t.stored('s', 2);
DROP TRIGGER refuse ON s.reference;

-- Constraint triggers: at once, or at the end of the transaction.
CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON s.reference_01 DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.aliasid = 108) EXECUTE FUNCTION t.refuse();
BEGIN;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 8), t.keys(2, 8), store => 's');
SELECT t.stored('s', 1);
COMMIT;
SELECT t.stored('s', 1);
BEGIN;
SET CONSTRAINTS ALL IMMEDIATE;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 8), t.keys(2, 8), store => 's');
COMMIT;
BEGIN;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 7), t.keys(2, 7), store => 's');
COMMIT;
SELECT t.stored('s', 1);
DROP TRIGGER refuse ON s.reference_01;

-- Triggers of document and alias are not touched by a call: the parent is locked, not updated.
CREATE TRIGGER doc BEFORE UPDATE ON s.document FOR EACH ROW EXECUTE FUNCTION t.refuse();
CREATE TRIGGER ali BEFORE UPDATE ON s.alias FOR EACH ROW EXECUTE FUNCTION t.refuse();
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(3, 8), t.keys(3, 8), store => 's');
SELECT t.stored('s', 1);
DROP TRIGGER doc ON s.document;
DROP TRIGGER ali ON s.alias;

-- A trigger that changes the set under the call's hands: it ends, and the next call mends it.
CREATE FUNCTION t.meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM s.reference WHERE parentdocumentid = OLD.parentdocumentid AND aliasid = 108;
    RETURN NULL;
END $$;
CREATE TRIGGER meddle AFTER DELETE ON s.reference FOR EACH ROW WHEN (OLD.aliasid = 103) EXECUTE FUNCTION t.meddle();
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(8, 9), t.keys(8, 9), store => 's');
SELECT t.stored('s', 1);
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(8, 9), t.keys(8, 9), store => 's');
SELECT t.stored('s', 1);
DROP TRIGGER meddle ON s.reference;

-- A cascade to a table with triggers of its own: they fire at the end of the phase, and nothing of the table stays open (no
-- warning): it can be altered by a trigger of the batch's next document.
CREATE TABLE t.note (key smallint, parent bigint, alias bigint,
    FOREIGN KEY (key, parent, alias) REFERENCES s.reference (parentdocumentpartitionkey, parentdocumentid, aliasid) ON DELETE CASCADE);
CREATE FUNCTION t.log_note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO t.log (entry) VALUES (format('%s note of %s', TG_OP, OLD.alias));
    RETURN NULL;
END $$;
CREATE TRIGGER log_note AFTER DELETE ON t.note FOR EACH ROW EXECUTE FUNCTION t.log_note();
CREATE FUNCTION t.alter_note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    ALTER TABLE t.note ADD COLUMN text text;
    RETURN NULL;
END $$;
CREATE TRIGGER alter_note AFTER DELETE ON s.reference FOR EACH ROW WHEN (OLD.parentdocumentid = 5) EXECUTE FUNCTION t.alter_note();
SELECT path FROM dms_refs.sync_references_batch('{1,5}', '{1,1}', '{3,1}', t.ids(2, 3, 4, 2), t.keys(2, 3, 4, 2), store => 's');
INSERT INTO t.note VALUES (1, 1, 102), (1, 1, 103), (1, 1, 104);
DELETE FROM t.log;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(4), t.keys(4), store => 's');
SELECT path FROM dms_refs.sync_references_batch('{1,5}', '{1,1}', '{0,0}', '{}', '{}', store => 's');
SELECT string_agg(entry, ', ' ORDER BY n) FROM t.log;
SELECT * FROM t.note;
DROP TABLE t.note;
DROP TRIGGER alter_note ON s.reference;

-- Event triggers and rules: a rule of the reference table is what SQL statements obey.
CREATE RULE noted AS ON INSERT TO s.reference DO ALSO INSERT INTO t.log (entry) VALUES ('rule');
SELECT writes FROM t.replace_set();
SELECT count(*) > 0 AS rule_fired FROM t.log WHERE entry = 'rule';
DROP RULE noted ON s.reference;

-- Triggers and functions see the settings that the session has made, in all phases and engines.
DELETE FROM t.log;
CREATE FUNCTION t.note_mode() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO t.log (entry) VALUES (current_setting('plan_cache_mode'));
    RETURN coalesce(NEW, OLD);
END $$;
CREATE TRIGGER note_mode AFTER INSERT OR UPDATE OR DELETE ON s.reference FOR EACH ROW EXECUTE FUNCTION t.note_mode();
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3), t.keys(2, 3), store => 's');
UPDATE s.alias SET documentid = 4, documentpartitionkey = 0 WHERE id = 102;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 5), t.keys(2, 5), store => 's');
SET dms_refs.engine = 'sql';
SET plan_cache_mode = 'force_custom_plan';
UPDATE s.alias SET documentid = 2, documentpartitionkey = 2 WHERE id = 102;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3), t.keys(2, 3), store => 's');
RESET plan_cache_mode;
RESET dms_refs.engine;
SELECT entry, count(*) > 2 AS seen FROM t.log GROUP BY entry ORDER BY entry;
DROP TRIGGER note_mode ON s.reference;
DROP FUNCTION t.note_mode;

DROP TABLE t.log;
DROP FUNCTION t.replace_set, t.log_row, t.log_values, t.before_row, t.log_statement, t.log_transition, t.refuse, t.meddle, t.log_note, t.alter_note;
SELECT dms_refs.drop_store('s');
