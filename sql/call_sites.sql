-- Purpose: where a call may stand: twice in a statement, in CTEs, in functions of every language, in triggers, cursors and prepared statements.
\set VERBOSITY sqlstate
SELECT t.new_store('s');

-- Two calls in one statement: the second sees the first; the last one wins.
SELECT (dms_refs.insert_references(1, 1::smallint, t.ids(2, 3), t.keys(2, 3), store => 's')).success AS first,
       (dms_refs.insert_references(1, 1::smallint, t.ids(3, 4), t.keys(3, 4), store => 's')).success AS second;
SELECT t.stored('s', 1);
-- One call a row of a statement, the same document again and again.
SELECT n, (SELECT string_agg(action || ' ' || alias_id, ', ' ORDER BY alias_id)
           FROM dms_refs.sync_references(1, 1::smallint, t.ids(n, n + 1), t.keys(n, n + 1), include_kept => true, store => 's')) AS changes
FROM generate_series(2, 5) n;
SELECT t.stored('s', 1);

-- Aliases made by a CTE of the same statement are seen.
WITH made AS (
    INSERT INTO s.alias (id, referentialpartitionkey, referentialid, documentid, documentpartitionkey) OVERRIDING SYSTEM VALUE
    VALUES (301, 0, t.u(301), 1, 1), (302, 1, t.u(302), 2, 2) RETURNING referentialid, referentialpartitionkey
), sets AS (
    SELECT array_agg(referentialid ORDER BY referentialid) AS ids, array_agg(referentialpartitionkey ORDER BY referentialid) AS keys FROM made
)
SELECT c.* FROM sets, LATERAL dms_refs.insert_references(1, 1::smallint, ids, keys, store => 's') c;
SELECT t.stored('s', 1);
-- A call inside a CTE, its result used by another.
WITH changed AS MATERIALIZED (
    SELECT * FROM dms_refs.sync_references(1, 1::smallint, t.ids(2, 301), '{3,0}', store => 's')
), logged AS (
    SELECT action, count(*) FROM changed GROUP BY action
)
SELECT * FROM logged ORDER BY action;
SELECT t.stored('s', 1);

-- A result is read in part, in any order, joined and sorted.
SELECT action FROM dms_refs.sync_references(1, 1::smallint, t.ids(3, 4, 5), t.keys(3, 4, 5), store => 's') LIMIT 1;
SELECT t.stored('s', 1);
SELECT c.action, a.referentialid FROM dms_refs.sync_references(1, 1::smallint, t.ids(5, 6), t.keys(5, 6), store => 's') c
    JOIN s.alias a ON a.id = c.alias_id ORDER BY c.alias_id DESC;

-- PL/pgSQL, with a handler that undoes one of the calls.
CREATE FUNCTION t.two_calls(fail boolean) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    answer record;
BEGIN
    SELECT * INTO answer FROM dms_refs.insert_references(2, 2::smallint, t.ids(1, 2), t.keys(1, 2), store => 's');
    BEGIN
        PERFORM dms_refs.insert_references(2, 2::smallint, t.ids(3, 4), t.keys(3, 4), store => 's');
        PERFORM dms_refs.insert_references(3, 3::smallint, t.ids(3, 4), t.keys(3, 4), store => 's');
        IF fail THEN
            PERFORM dms_refs.insert_references(3, 3::smallint, t.ids(3), '{9}', store => 's');
        END IF;
    EXCEPTION WHEN check_violation THEN
        RETURN 'caught: ' || t.stored('s', 2) || ' and ' || t.stored('s', 3);
    END;
    RETURN t.stored('s', 2) || ' and ' || t.stored('s', 3);
END $$;
SELECT t.two_calls(true);
SELECT t.stored('s', 2), t.stored('s', 3);
SELECT t.two_calls(false);
SELECT t.stored('s', 2), t.stored('s', 3);

-- SQL functions, one of them inlined; a call in a default, in RETURNING and in CASE.
CREATE FUNCTION t.put(parent int, VARIADIC refs int[]) RETURNS boolean LANGUAGE sql AS
$$ SELECT success FROM dms_refs.insert_references(parent, (parent % 4)::smallint, t.ids(VARIADIC refs), t.keys(VARIADIC refs), store => 's') $$;
SELECT t.put(4, 1, 2), t.put(4, 2, 3), t.put(5, 9);
SELECT t.stored('s', 4), t.stored('s', 5);
CREATE TABLE t.documents (id int PRIMARY KEY, refs int[], done boolean DEFAULT t.put(5, 7, 8));
INSERT INTO t.documents VALUES (6, '{1,2}') RETURNING id, done, t.put(id, VARIADIC refs);
SELECT t.stored('s', 5), t.stored('s', 6);
UPDATE t.documents SET done = CASE WHEN t.put(id, 3) THEN t.put(id, 4) END RETURNING done;
SELECT t.stored('s', 6);

-- Triggers: after a row, before a row, for a statement; their error takes the statement along.
CREATE FUNCTION t.sync_refs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT t.put(NEW.id, VARIADIC NEW.refs) THEN
        RAISE foreign_key_violation USING MESSAGE = 'invalid reference',
            DETAIL = (SELECT string_agg(right(i::text, 2), ',') FROM dms_refs.last_invalid_references() i);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER after_row AFTER INSERT OR UPDATE ON t.documents FOR EACH ROW EXECUTE FUNCTION t.sync_refs();
INSERT INTO t.documents VALUES (7, '{1,2}', true), (8, '{2,3,4}', true);
SELECT t.stored('s', 7), t.stored('s', 8);
UPDATE t.documents SET refs = refs || 9 WHERE id IN (7, 8);
SELECT t.stored('s', 7), t.stored('s', 8);
SELECT state, detail FROM t.error('UPDATE t.documents SET refs = ''{5,98,97}'' WHERE id = 7');
UPDATE t.documents SET refs = CASE id WHEN 7 THEN '{1}'::int[] ELSE '{99}' END WHERE id IN (7, 8);
SELECT t.stored('s', 7), t.stored('s', 8);
DROP TRIGGER after_row ON t.documents;
CREATE TRIGGER before_row BEFORE UPDATE ON t.documents FOR EACH ROW EXECUTE FUNCTION t.sync_refs();
UPDATE t.documents SET refs = '{5,6}' WHERE id IN (7, 8);
SELECT t.stored('s', 7), t.stored('s', 8);

-- A trigger of the reference table that calls again, for another document: it ends.
CREATE FUNCTION t.mirror() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.parentdocumentid = 1 THEN
        PERFORM t.put(9, (NEW.aliasid - 100)::int);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER mirror AFTER INSERT ON s.reference FOR EACH ROW EXECUTE FUNCTION t.mirror();
SELECT t.put(1, 2, 7);
SELECT t.stored('s', 1), t.stored('s', 9);
DROP TRIGGER mirror ON s.reference;

-- DO blocks, loops, procedures with transactions of their own.
DO $$
BEGIN
    FOR n IN 1 .. 9 LOOP
        PERFORM t.put(n, n, n % 9 + 1);
    END LOOP;
END $$;
SELECT string_agg(t.stored('s', n), ' | ' ORDER BY n) FROM generate_series(1, 9) n;
CREATE PROCEDURE t.in_steps() LANGUAGE plpgsql AS $$
BEGIN
    FOR n IN 1 .. 3 LOOP
        PERFORM t.put(n, 4, 5);
        IF n = 2 THEN ROLLBACK; ELSE COMMIT; END IF;
    END LOOP;
END $$;
CALL t.in_steps();
SELECT t.stored('s', 1), t.stored('s', 2), t.stored('s', 3);

-- Prepared statements, long enough for a generic plan.
PREPARE put(int, int[]) AS SELECT t.put($1, VARIADIC $2) AS success;
PREPARE sync(bigint, smallint, uuid[], smallint[]) AS SELECT action, alias_id FROM dms_refs.sync_references($1, $2, $3, $4, store => 's');
EXECUTE put(1, '{1}');
EXECUTE put(1, '{2}');
EXECUTE put(1, '{3}');
EXECUTE put(1, '{4}');
EXECUTE put(1, '{5}');
EXECUTE put(1, '{6}');
EXECUTE put(1, '{7}');
EXECUTE sync(1, 1, t.ids(8), t.keys(8));
EXECUTE sync(2, 2, t.ids(8), t.keys(8));
EXECUTE sync(3, 3, t.ids(8), t.keys(8));
EXECUTE sync(4, 0, t.ids(8), t.keys(8));
EXECUTE sync(5, 1, t.ids(8), t.keys(8));
EXECUTE sync(6, 2, t.ids(8), t.keys(8));
EXECUTE sync(7, 3, t.ids(8), t.keys(8));
DEALLOCATE ALL;
SELECT t.stored('s', 1), t.stored('s', 7);

-- Cursors: fetched in pieces, with other calls in between, and left open.
BEGIN;
DECLARE c CURSOR FOR SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(1, 2, 3), t.keys(1, 2, 3), store => 's');
FETCH 1 FROM c;
SELECT t.put(1, 4);
FETCH 2 FROM c;
COMMIT;
SELECT t.stored('s', 1);

-- Reads are allowed where writes are not: an index expression needs neither, a view may hold reads.
CREATE VIEW t.invalid AS SELECT * FROM dms_refs.find_invalid_references(t.ids(1, 99), t.keys(1, 99), 's');
SELECT ordinal FROM t.invalid;
SELECT n FROM generate_series(1, 9) n WHERE EXISTS (SELECT FROM dms_refs.referencing_documents(n, (n % 4)::smallint, 's')) ORDER BY n;

-- Settings of a function around the call, as search_path: nothing of ours depends on it.
CREATE FUNCTION t.elsewhere() RETURNS boolean LANGUAGE sql SET search_path = '' AS
$$ SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3), t.keys(2, 3), store => 's') $$;
SELECT t.elsewhere();
CREATE SCHEMA decoy;
CREATE TABLE decoy.reference (x int);
CREATE TABLE decoy.alias (x int);
CREATE FUNCTION decoy.eq(uuid, uuid) RETURNS boolean LANGUAGE sql AS 'SELECT false';
CREATE OPERATOR decoy.= (LEFTARG = uuid, RIGHTARG = uuid, FUNCTION = decoy.eq);
CREATE FUNCTION decoy.eq(bigint, bigint) RETURNS boolean LANGUAGE sql AS 'SELECT false';
CREATE OPERATOR decoy.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = decoy.eq);
SET search_path = decoy, s, pg_catalog;
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(3, 4), t.keys(3, 4), include_kept => true, store => 's');
SET dms_refs.engine = 'sql';
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(4, 5), t.keys(4, 5), include_kept => true, store => 's');
RESET dms_refs.engine;
RESET search_path;
SELECT t.stored('s', 1);

SET client_min_messages = warning;
DROP SCHEMA decoy CASCADE;
DROP TABLE t.documents;
DROP VIEW t.invalid;
DROP PROCEDURE t.in_steps;
DROP FUNCTION t.two_calls, t.put, t.sync_refs, t.mirror, t.elsewhere;
SELECT dms_refs.drop_store('s');
