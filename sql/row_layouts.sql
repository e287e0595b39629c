-- Purpose: rows as native reads may find them: columns behind text, nulls and dropped columns, columns younger than the rows, HOT chains,
-- dead entries, sets over many pages in any order, partition keys that share a place of the cache. SQL reads say what is right.
\set VERBOSITY sqlstate
SET client_min_messages = error;
CREATE SCHEMA odd;
CREATE TABLE odd.document (id bigint, documentpartitionkey smallint, PRIMARY KEY (documentpartitionkey, id));
CREATE TABLE odd.alias (note text, nothing int, gone int, id bigint, referentialpartitionkey smallint, referentialid uuid,
    PRIMARY KEY (referentialpartitionkey, id), UNIQUE (referentialpartitionkey, referentialid));
CREATE TABLE odd.reference (gone int, parentdocumentid bigint, parentdocumentpartitionkey smallint, aliasid bigint,
    referentialpartitionkey smallint, PRIMARY KEY (parentdocumentpartitionkey, parentdocumentid, aliasid)) WITH (fillfactor = 50, autovacuum_enabled = off);
INSERT INTO odd.document SELECT n, n % 4 FROM generate_series(1, 20) n;
INSERT INTO odd.alias SELECT CASE WHEN n % 3 > 0 THEN repeat('x', n) END, NULLIF(n % 2, 0), 1, 100 + n, (n + 1) % 4, t.u(n) FROM generate_series(1, 900) n;
INSERT INTO odd.reference SELECT 1, 1, 1, 100 + n, (n + 1) % 4 FROM generate_series(1, 300) n ORDER BY md5(n::text);
-- Columns that these rows do not have.
ALTER TABLE odd.alias DROP COLUMN gone, ADD COLUMN documentid bigint NOT NULL DEFAULT 7, ADD COLUMN documentpartitionkey smallint NOT NULL DEFAULT 3;
ALTER TABLE odd.reference DROP COLUMN gone, ADD COLUMN referenceddocumentid bigint NOT NULL DEFAULT 7,
    ADD COLUMN referenceddocumentpartitionkey smallint NOT NULL DEFAULT 3, ADD COLUMN remark text;
SELECT dms_refs.register_store('odd', 'odd.document', 'odd.alias', 'odd.reference');
SELECT reads FROM dms_refs.stores WHERE store = 'odd';

-- What a document's set is compared with: aliases first to last, `order_by` one of up, down, md5.
CREATE FUNCTION t.run_of(first int, last int, order_by text, OUT ids uuid[], OUT keys smallint[]) LANGUAGE sql AS $$
    SELECT array_agg(t.u(n) ORDER BY o), array_agg(((n + 1) % 4)::smallint ORDER BY o)
    FROM (SELECT n, row_number() OVER (ORDER BY CASE order_by WHEN 'up' THEN n WHEN 'down' THEN -n END, md5(n::text)) AS o FROM generate_series(first, last) n) x $$;
-- The actions of a difference, natively read and by SQL: how many of each, and lines that only one of the two shows.
CREATE FUNCTION t.compared(parent int, first int, last int, order_by text) RETURNS TABLE (action text, lines bigint, only_in_one bigint) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('dms_refs.engine', 'auto', true);
    CREATE TEMP TABLE natively AS SELECT d.* FROM t.run_of(first, last, order_by) r,
        dms_refs.diff_references(parent, (parent % 4)::smallint, r.ids, r.keys, include_kept => true, store => 'odd') d;
    PERFORM set_config('dms_refs.engine', 'sql', true);
    CREATE TEMP TABLE by_sql AS SELECT d.* FROM t.run_of(first, last, order_by) r,
        dms_refs.diff_references(parent, (parent % 4)::smallint, r.ids, r.keys, include_kept => true, store => 'odd') d;
    PERFORM set_config('dms_refs.engine', 'auto', true);
    RETURN QUERY SELECT n.action, count(*), (SELECT count(*) FROM ((TABLE natively EXCEPT ALL TABLE by_sql) UNION ALL (TABLE by_sql EXCEPT ALL TABLE natively)) d)
        FROM natively n GROUP BY n.action ORDER BY n.action;
    DROP TABLE natively, by_sql;
END $$;
SELECT * FROM t.compared(1, 1, 300, 'md5');
-- The cache knows the aliases now.
SELECT * FROM t.compared(1, 1, 300, 'up');
SELECT * FROM t.compared(1, 11, 310, 'down');

-- Some rows get all of their columns; some aliases get new versions, on the page or elsewhere, with nulls and without.
UPDATE odd.alias SET documentid = 5, documentpartitionkey = 1 WHERE id % 5 = 0;
UPDATE odd.alias SET note = repeat('z', 500), nothing = NULL WHERE id % 7 = 0;
UPDATE odd.alias SET note = 'short', nothing = 1 WHERE id % 11 = 0;
SELECT * FROM t.compared(1, 1, 300, 'md5');
SELECT count(*) FILTER (WHERE action = 'update') AS updated FROM t.run_of(1, 300, 'down') r, dms_refs.sync_references(1, 1::smallint, r.ids, r.keys, store => 'odd');
SELECT * FROM t.compared(1, 1, 300, 'md5');

-- HOT chains, their first versions dead: twice, the second time with pruned pages.
UPDATE odd.reference SET remark = 'first' WHERE aliasid % 2 = 0;
SELECT * FROM t.compared(1, 1, 300, 'up');
UPDATE odd.reference SET remark = 'second' WHERE aliasid % 3 = 0;
UPDATE odd.reference SET remark = NULL WHERE aliasid % 3 = 0;
SELECT * FROM t.compared(1, 1, 300, 'md5');
VACUUM odd.reference;
SELECT * FROM t.compared(1, 1, 300, 'md5');
VACUUM (FREEZE) odd.alias;
SELECT * FROM t.compared(1, 1, 300, 'md5');

-- Dead entries, pages without any visible row, sets that grow and shrink around the size from which keys are sorted.
SELECT success FROM t.run_of(200, 246, 'down') r, dms_refs.insert_references(1, 1::smallint, r.ids, r.keys, store => 'odd');
SELECT * FROM t.compared(1, 200, 246, 'md5');
SELECT success FROM t.run_of(1, 900, 'md5') r, dms_refs.insert_references(1, 1::smallint, r.ids, r.keys, store => 'odd');
SELECT * FROM t.compared(1, 1, 900, 'down');
SELECT success FROM t.run_of(400, 447, 'md5') r, dms_refs.insert_references(1, 1::smallint, r.ids, r.keys, store => 'odd');
SELECT * FROM t.compared(1, 401, 448, 'md5');
SELECT success FROM t.run_of(401, 449, 'md5') r, dms_refs.insert_references(1, 1::smallint, r.ids, r.keys, store => 'odd');
SELECT * FROM t.compared(1, 401, 449, 'down');
VACUUM odd.reference;
SELECT * FROM t.compared(1, 401, 449, 'up');
-- Index entries that lead to dead line pointers: vacuum has taken their rows and left the index as it was.
SELECT success FROM t.run_of(401, 429, 'md5') r, dms_refs.insert_references(1, 1::smallint, r.ids, r.keys, store => 'odd');
VACUUM (INDEX_CLEANUP OFF) odd.reference;
SELECT * FROM t.compared(1, 421, 449, 'md5');
SELECT success FROM t.run_of(401, 449, 'md5') r, dms_refs.insert_references(1, 1::smallint, r.ids, r.keys, store => 'odd');
SELECT * FROM t.compared(1, 401, 449, 'up');
-- What an older snapshot sees.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM odd.reference;
SAVEPOINT a;
DELETE FROM odd.reference WHERE aliasid % 2 = 0;
SELECT * FROM t.compared(1, 401, 449, 'up');
ROLLBACK TO a;
SELECT * FROM t.compared(1, 401, 449, 'up');
COMMIT;

-- A null where a store must not have one is an error, however the row is read.
ALTER TABLE odd.alias ALTER documentid DROP NOT NULL;
UPDATE odd.alias SET documentid = NULL WHERE id = 103;
SELECT state, message FROM t.error($$SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(3), t.keys(3), store => 'odd')$$);
ALTER TABLE odd.reference ALTER referenceddocumentid DROP NOT NULL;
UPDATE odd.reference SET referenceddocumentid = NULL WHERE aliasid = 505;
SELECT state, message FROM t.error($$SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(4), t.keys(4), store => 'odd')$$);
SELECT count(*) FROM odd.reference;
SELECT dms_refs.unregister_store('odd');
DROP SCHEMA odd CASCADE;
DROP FUNCTION t.compared, t.run_of;

-- Partition keys that differ by multiples of 256.
CREATE SCHEMA far;
CREATE TABLE far.document (id bigint, documentpartitionkey smallint, PRIMARY KEY (documentpartitionkey, id)) PARTITION BY LIST (documentpartitionkey);
CREATE TABLE far.alias (id bigint, referentialpartitionkey smallint, referentialid uuid, documentid bigint, documentpartitionkey smallint,
    PRIMARY KEY (referentialpartitionkey, id), UNIQUE (referentialpartitionkey, referentialid)) PARTITION BY LIST (referentialpartitionkey);
CREATE TABLE far.reference (parentdocumentid bigint, parentdocumentpartitionkey smallint, aliasid bigint, referentialpartitionkey smallint,
    referenceddocumentid bigint, referenceddocumentpartitionkey smallint, PRIMARY KEY (parentdocumentpartitionkey, parentdocumentid, aliasid))
    PARTITION BY LIST (parentdocumentpartitionkey);
SELECT format('CREATE TABLE far.%I PARTITION OF far.%I FOR VALUES IN (%s)', name || '_' || key, name, key)
FROM unnest('{document,alias,reference}'::text[]) name, unnest('{-32768,-255,1,257,513,32767}'::int[]) key ORDER BY name COLLATE "C", key \gexec
INSERT INTO far.document SELECT key + 40000, key FROM unnest('{-32768,-255,1,257,513,32767}'::smallint[]) key;
INSERT INTO far.alias SELECT key + 90000, key, t.u(key + 40000), key + 40000, key FROM unnest('{-32768,-255,1,257,513,32767}'::smallint[]) key;
SELECT dms_refs.register_store('far', 'far.document', 'far.alias', 'far.reference');
SELECT key, f.success FROM unnest('{1,257,-255,1,-32768,32767,257}'::smallint[]) WITH ORDINALITY k(key, o),
    LATERAL dms_refs.insert_references(key + 40000, key, (SELECT array_agg(referentialid) FROM far.alias), (SELECT array_agg(referentialpartitionkey) FROM far.alias), store => 'far') f ORDER BY o;
SELECT r.tableoid::regclass, count(*), bool_and(a.id IS NOT NULL AND a.documentid = r.referenceddocumentid) AS right_ones
FROM far.reference r LEFT JOIN far.alias a ON (a.id, a.referentialpartitionkey, a.documentpartitionkey) = (r.aliasid, r.referentialpartitionkey, r.referenceddocumentpartitionkey)
GROUP BY r.tableoid ORDER BY r.tableoid::regclass::text COLLATE "C";
SELECT dms_refs.unregister_store('far');
DROP SCHEMA far CASCADE;
