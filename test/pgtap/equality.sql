-- Purpose: equality with the plain model on generated data: every stored set against every given set of a small world, and
-- random sets of a larger one, in every engine.
--
-- Small world: three aliases, each stored not at all, as it is, or with an old target: 27 stored sets. Each given or not, and an
-- id that does not resolve given or not: 16 given sets. Each of the 432 pairs is a document of its own; what every function
-- returns for it, and the references it has afterwards, are compared with the model's.
\set QUIET 1
\pset format unaligned
\pset tuples_only true
BEGIN;
SET client_min_messages = warning;
CREATE EXTENSION dms_refs;
\ir plain_model.psql
SELECT plan(20);

SELECT dms_refs.create_store('world', 4, 'lean');
INSERT INTO model.document SELECT n, n % 4 FROM generate_series(1, 431 + 1000) n;
INSERT INTO model.alias SELECT 5000 + n, (n + 1) % 4, md5('alias ' || n)::uuid, n, n % 4 FROM generate_series(1, 300) n;
INSERT INTO world.document (id, documentpartitionkey) OVERRIDING SYSTEM VALUE SELECT id, documentpartitionkey FROM model.document;
INSERT INTO world.alias (id, referentialpartitionkey, referentialid, documentid, documentpartitionkey) OVERRIDING SYSTEM VALUE
SELECT id, referentialpartitionkey, referentialid, documentid, documentpartitionkey FROM model.alias;

-- The documents of the test, what they have at first, and what is given for them; the order of the given ones varies.
CREATE TABLE pg_temp.parents (id bigint, key smallint, ids uuid[], keys smallint[]);
CREATE TABLE pg_temp.stored (LIKE model.reference);
INSERT INTO pg_temp.parents
SELECT 1000 + n, (1000 + n) % 4,
       coalesce(array_agg(g.id ORDER BY md5(g.id::text || n)) FILTER (WHERE (n % 16 >> g.bit) & 1 = 1), '{}'),
       coalesce(array_agg(g.key ORDER BY md5(g.id::text || n)) FILTER (WHERE (n % 16 >> g.bit) & 1 = 1), '{}')
FROM generate_series(0, 431) n,
     (SELECT referentialid, referentialpartitionkey, (id - 5001)::int FROM model.alias WHERE id <= 5003 UNION ALL SELECT md5('unknown')::uuid, 2, 3) g(id, key, bit)
GROUP BY n;
INSERT INTO pg_temp.stored (parentdocumentid, parentdocumentpartitionkey, aliasid, referentialpartitionkey, referenceddocumentid, referenceddocumentpartitionkey)
SELECT 1000 + n, (1000 + n) % 4, a.id, a.referentialpartitionkey, a.documentid + CASE s.state WHEN 2 THEN 4 ELSE 0 END, a.documentpartitionkey
FROM generate_series(0, 431) n, model.alias a, LATERAL (SELECT n / 16 / (3 ^ (a.id - 5001))::int % 3 AS state) s
WHERE a.id <= 5003 AND s.state > 0;
SELECT results_eq($$SELECT count(*) FROM (SELECT string_agg(aliasid || ':' || referenceddocumentid, ' ' ORDER BY aliasid) AS s FROM pg_temp.stored GROUP BY parentdocumentid) x GROUP BY s$$,
    $$SELECT 16::bigint FROM generate_series(1, 26)$$, 'the small world has every stored set, but the empty one, sixteen times');
SELECT is((SELECT count(*) FROM (SELECT DISTINCT ids FROM pg_temp.parents WHERE cardinality(ids) < 2) x), 5::bigint, 'and every given set');

-- The calls to compare: %1$s is the schema, %2$s what ends the arguments, the others are the parent's columns and the number given.
CREATE TABLE pg_temp.calls (name text, query text);
INSERT INTO pg_temp.calls VALUES
    ('apply_resolved_references', 'SELECT p.* FROM (SELECT coalesce(array_agg(referential_partition_key ORDER BY ordinal), ''{}'') k, coalesce(array_agg(alias_id ORDER BY ordinal), ''{}'') a,
            coalesce(array_agg(document_id ORDER BY ordinal), ''{}'') d, coalesce(array_agg(document_partition_key ORDER BY ordinal), ''{}'') dk
            FROM %1$s.resolve_references(%5$L, %6$L%2$s) WHERE alias_id IS NOT NULL) r,
        LATERAL %1$s.apply_resolved_references(%3$s, %4$s::smallint, k, a, d, dk%2$s) p'),
    ('diff_references', 'SELECT * FROM %1$s.diff_references(%3$s, %4$s::smallint, %5$L, %6$L, include_kept => true%2$s)'),
    ('insert_references', 'SELECT * FROM %1$s.insert_references(%3$s, %4$s::smallint, %5$L, %6$L%2$s)'),
    ('sync_references', 'SELECT * FROM %1$s.sync_references(%3$s, %4$s::smallint, %5$L, %6$L, include_kept => true%2$s)'),
    ('sync_references called with a wrong hint', 'SELECT * FROM %1$s.sync_references(%3$s, %4$s::smallint, %5$L, %6$L, is_pure_insert => true%2$s)'),
    ('sync_references_batch', 'SELECT * FROM %1$s.sync_references_batch(''{%3$s}'', ''{%4$s}'', ''{%7$s}'', %5$L, %6$L%2$s)');
-- Fills the reference table of a schema, makes a call for every parent, and returns what each returned and left.
CREATE FUNCTION pg_temp.outcomes(call_name text, space text) RETURNS TABLE (parent bigint, outcome text) LANGUAGE plpgsql AS $$
DECLARE
    query text := (SELECT c.query FROM pg_temp.calls c WHERE c.name = call_name);
    p record;
    rows text;
BEGIN
    EXECUTE format('TRUNCATE %I.reference', space);
    EXECUTE format('INSERT INTO %I.reference (parentdocumentid, parentdocumentpartitionkey, aliasid, referentialpartitionkey, referenceddocumentid, referenceddocumentpartitionkey)
        SELECT parentdocumentid, parentdocumentpartitionkey, aliasid, referentialpartitionkey, referenceddocumentid, referenceddocumentpartitionkey FROM pg_temp.stored', space);
    CREATE TEMP TABLE answers (id bigint, answer text);
    FOR p IN SELECT * FROM pg_temp.parents ORDER BY id LOOP
        EXECUTE 'SELECT string_agg(x::text, '' '') FROM ('
            || format(query, CASE space WHEN 'model' THEN 'model' ELSE 'dms_refs' END, CASE space WHEN 'model' THEN '' ELSE format(', store => %L', space) END,
                      p.id, p.key, p.ids, p.keys, cardinality(p.ids)) || ') x' INTO rows;
        INSERT INTO answers VALUES (p.id, rows);
    END LOOP;
    RETURN QUERY EXECUTE format('SELECT a.id, concat(a.answer, '' => '', string_agg((r.parentdocumentpartitionkey, r.aliasid, r.referentialpartitionkey, r.referenceddocumentid,
            r.referenceddocumentpartitionkey)::text, '' '' ORDER BY r.aliasid))
        FROM answers a LEFT JOIN %I.reference r ON r.parentdocumentid = a.id GROUP BY a.id, a.answer', space);
    DROP TABLE answers;
END $$;
CREATE TABLE pg_temp.expected (name text, parent bigint, outcome text);
CREATE FUNCTION pg_temp.expect() RETURNS void LANGUAGE sql AS $$
    TRUNCATE pg_temp.expected;
    INSERT INTO pg_temp.expected SELECT c.name, o.* FROM pg_temp.calls c, pg_temp.outcomes(c.name, 'model') o $$;
CREATE FUNCTION pg_temp.compare(for_engine text, of_calls text DEFAULT '') RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    c text;
    differences text[];
BEGIN
    PERFORM set_config('dms_refs.engine', for_engine, false);
    FOR c IN SELECT name FROM pg_temp.calls WHERE name LIKE of_calls || '%' ORDER BY name COLLATE "C" LOOP
        SELECT array_agg(format('parent %s: %s instead of %s', parent, o.outcome, e.outcome) ORDER BY parent) INTO differences
        FROM (SELECT * FROM pg_temp.expected WHERE name = c) e FULL JOIN pg_temp.outcomes(c, 'world') o USING (parent)
        WHERE o.outcome IS DISTINCT FROM e.outcome;
        RETURN NEXT is(differences, NULL, format('%s is the model''s, engine %s', c, for_engine));
    END LOOP;
END $$;
SELECT pg_temp.expect();
SELECT * FROM pg_temp.compare('auto');
SELECT * FROM pg_temp.compare('sql');

-- The larger world: random sets of up to 60 of 300 aliases, some stored with another target, about one in ten given sets with an unknown id.
SELECT setseed(0.42);
TRUNCATE pg_temp.parents, pg_temp.stored;
CREATE TABLE pg_temp.picked AS
SELECT p AS parent, a.*, random() AS r, random() AS g FROM generate_series(1001, 1120) p, model.alias a;
INSERT INTO pg_temp.stored (parentdocumentid, parentdocumentpartitionkey, aliasid, referentialpartitionkey, referenceddocumentid, referenceddocumentpartitionkey)
SELECT parent, parent % 4, id, referentialpartitionkey, documentid + CASE WHEN r < 0.02 THEN 4 ELSE 0 END, documentpartitionkey FROM pg_temp.picked WHERE r < 0.1;
INSERT INTO pg_temp.parents
SELECT parent, parent % 4, array_agg(id ORDER BY o), array_agg(key ORDER BY o)
FROM (SELECT parent, referentialid, referentialpartitionkey, g FROM pg_temp.picked WHERE (r < 0.1 AND g < 0.7) OR g < 0.05
      UNION ALL SELECT p, md5('unknown ' || p)::uuid, p % 4, 0.01 FROM generate_series(1001, 1120, 11) p
      UNION ALL SELECT p, md5('alias ' || p % 300 + 1)::uuid, (p % 300 + 2) % 4, 0.02 FROM generate_series(1001, 1120) p) x(parent, id, key, o)
GROUP BY parent;
DELETE FROM pg_temp.calls WHERE name LIKE 'diff%';
SELECT pg_temp.expect();
SELECT * FROM pg_temp.compare('auto', 'sync');

-- What the reading functions say of every alias and document.
SELECT results_eq(format('SELECT * FROM dms_refs.resolve_references(%L, %L, ''world'')', ids, keys), format('SELECT * FROM model.resolve_references(%L, %L)', ids, keys), 'resolve_references is the model''s')
FROM (SELECT array_agg(md5('alias ' || n)::uuid ORDER BY n, k) AS ids, array_agg(k::smallint ORDER BY n, k) AS keys FROM generate_series(0, 310) n, generate_series(0, 3) k) x;
SELECT results_eq(format('SELECT * FROM dms_refs.find_invalid_references(%L, %L, ''world'')', ids, keys), format('SELECT * FROM model.find_invalid_references(%L, %L)', ids, keys), 'find_invalid_references is the model''s')
FROM (SELECT array_agg(md5('alias ' || n)::uuid ORDER BY n, k) AS ids, array_agg(k::smallint ORDER BY n, k) AS keys FROM generate_series(0, 310) n, generate_series(0, 3) k) x;
TRUNCATE model.reference;
INSERT INTO model.reference (parentdocumentid, parentdocumentpartitionkey, aliasid, referentialpartitionkey, referenceddocumentid, referenceddocumentpartitionkey)
SELECT parentdocumentid, parentdocumentpartitionkey, aliasid, referentialpartitionkey, referenceddocumentid, referenceddocumentpartitionkey FROM world.reference;
SELECT results_eq($$SELECT n, r.* FROM generate_series(1, 304) n, dms_refs.referencing_documents(n, (n % 4)::smallint, 'world') r$$,
    $$SELECT n, r.* FROM generate_series(1, 304) n, model.referencing_documents(n, (n % 4)::smallint) r$$, 'referencing_documents is the model''s');
SELECT * FROM finish();
ROLLBACK;
