-- The data of the benchmarks: a store's documents, aliases and references, and the calls to be measured.
--
-- psql variables: layout, partitions, documents, refs (background references), skew (uniform | zipf), sizes
-- (an array of set sizes) and parents (an array: how many parents of each size). Runs once, as superuser, on the
-- empty store dms that dms_refs.create_store made. Everything is a function of the variables: two runs load the same.
\set ON_ERROR_STOP 1
\set QUIET 1
SET search_path = dms, pg_catalog;
SET client_min_messages = warning;

CREATE SCHEMA bench;

-- Which key a uuid belongs to: its last two bytes, as Ed-Fi does with the last digit.
CREATE FUNCTION bench.key_of(id uuid, partitions int) RETURNS smallint LANGUAGE sql IMMUTABLE
RETURN ((get_byte(uuid_send(id), 14) * 256 + get_byte(uuid_send(id), 15)) % partitions)::smallint;

-- Document n has alias n; both uuids are made from n.
CREATE FUNCTION bench.document_uuid(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE RETURN md5('document' || n)::uuid;
CREATE FUNCTION bench.referential_id(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE RETURN md5('alias' || n)::uuid;

-- Some alias. uniform: each as often as any other. zipf: as measured on the Ed-Fi sample district, where 23 % of
-- the aliases are referenced at all and the hottest by 6 % of all references (Zipf's law with exponent 1).
CREATE FUNCTION bench.some_alias(skew text, documents bigint) RETURNS bigint LANGUAGE sql VOLATILE
RETURN CASE skew
    WHEN 'zipf' THEN 1 + floor(power(0.228 * documents, random()))::bigint * 7919 % documents
    ELSE 1 + floor(random() * documents)::bigint END;

-- `size` different aliases, in the order in which they were drawn.
CREATE FUNCTION bench.some_aliases(size int, skew text, documents bigint) RETURNS bigint[] LANGUAGE sql VOLATILE
RETURN ARRAY(
    SELECT alias FROM (SELECT bench.some_alias(skew, documents) AS alias, draw FROM generate_series(1, 5 + size * 6) draw) d
    GROUP BY alias ORDER BY min(draw) LIMIT size);

SELECT setseed(0.42) \g /dev/null
SET session_replication_role = replica;     -- right by construction: no foreign-key check a row

SELECT :'layout' = 'edfi' AS edfi \gset
\if :edfi
INSERT INTO document (id, documentpartitionkey, documentuuid, resourcename, resourceversion, isdescriptor, projectname,
                      edfidoc, lastmodifiedtraceid) OVERRIDING SYSTEM VALUE
SELECT n, bench.key_of(bench.document_uuid(n), :partitions), bench.document_uuid(n), 'StudentSchoolAssociation', '5.1.0', false, 'Ed-Fi',
       jsonb_build_object('id', bench.document_uuid(n), 'entryDate', '2026-08-21', 'students', ARRAY[md5('a' || n), md5('b' || n), md5('c' || n)]),
       'bench-' || n
FROM generate_series(1, :documents) n;
\else
INSERT INTO document (id, documentpartitionkey) OVERRIDING SYSTEM VALUE
SELECT n, bench.key_of(bench.document_uuid(n), :partitions) FROM generate_series(1, :documents) n;
\endif
INSERT INTO alias (id, referentialpartitionkey, referentialid, documentid, documentpartitionkey) OVERRIDING SYSTEM VALUE
SELECT n, bench.key_of(bench.referential_id(n), :partitions), bench.referential_id(n), n, bench.key_of(bench.document_uuid(n), :partitions)
FROM generate_series(1, :documents) n;

-- The parents whose calls are measured, spread evenly over the documents: of each size some that keep a set and
-- some that have no references and get them as pure inserts. `number` counts within size and purpose.
CREATE TABLE bench.parent AS
SELECT size, purpose, number,
       row_number() OVER (ORDER BY md5(size || purpose || number)) * (:documents / sum(1) OVER ())::bigint AS id
FROM unnest((:'sizes')::int[], (:'parents')::int[]) s(size, parents), unnest('{kept,insert}'::text[]) purpose,
     generate_series(1, parents) number;
CREATE UNIQUE INDEX ON bench.parent (id);

-- The calls. set 0 is what a kept parent holds at first, set 1 the same with every fifth reference replaced by another,
-- set 2 is for the parents without references, set 3 is empty.
CREATE TABLE bench.call (
    size int, set int, n int, parent_id bigint, parent_key smallint, ids uuid[], keys smallint[],
    PRIMARY KEY (size, set, n));
ALTER TABLE bench.call ALTER ids SET STORAGE EXTERNAL, ALTER keys SET STORAGE EXTERNAL;    -- nothing to compress
CREATE TEMPORARY TABLE drawn AS
SELECT size, purpose, number, id, bench.some_aliases(size + CASE purpose WHEN 'kept' THEN size / 5 ELSE 0 END, :'skew', :documents) AS aliases
FROM bench.parent;
INSERT INTO bench.call
SELECT d.size, s.set, d.number, d.id, bench.key_of(bench.document_uuid(d.id), :partitions), x.ids, x.keys
FROM drawn d
JOIN LATERAL (
    SELECT 0 AS set, d.aliases[: d.size] AS aliases WHERE purpose = 'kept'
    UNION ALL SELECT 1, d.aliases[d.size / 5 + 1 :] WHERE purpose = 'kept'
    UNION ALL SELECT 2, d.aliases WHERE purpose = 'insert'
    UNION ALL SELECT 3, '{}' WHERE purpose = 'insert') s ON true
JOIN LATERAL (
    SELECT coalesce(array_agg(i.id ORDER BY o), '{}') AS ids, coalesce(array_agg(bench.key_of(i.id, :partitions) ORDER BY o), '{}') AS keys
    FROM unnest(s.aliases) WITH ORDINALITY u(alias, o), LATERAL (SELECT bench.referential_id(alias) AS id) i) x ON true;

-- The stored references, in the order of their parents: the kept parents' set 0, and for all other documents sets
-- whose sizes are spread exponentially around the mean.
INSERT INTO reference (parentdocumentid, parentdocumentpartitionkey, referentialpartitionkey, aliasid,
                       referenceddocumentpartitionkey, referenceddocumentid)
SELECT r.parent, bench.key_of(bench.document_uuid(r.parent), :partitions), bench.key_of(bench.referential_id(r.alias), :partitions), r.alias,
       bench.key_of(bench.document_uuid(r.alias), :partitions), r.alias
FROM (
    SELECT id AS parent, unnest(aliases[: size]) AS alias FROM drawn WHERE purpose = 'kept'
    UNION ALL
    SELECT n, unnest(bench.some_aliases((ln(1 - random()) * -:refs / :documents)::int, :'skew', :documents))
    FROM generate_series(1, :documents) n
    WHERE NOT EXISTS (SELECT FROM bench.parent p WHERE p.id = n)
    ORDER BY 1) r;

SELECT setval(pg_get_serial_sequence('dms.document', 'id'), :documents), setval(pg_get_serial_sequence('dms.alias', 'id'), :documents) \g /dev/null
RESET session_replication_role;
VACUUM (ANALYZE);

-- How many references of the parents of (size, set) differ from that set: rows missing, surplus or wrong in a column.
CREATE FUNCTION bench.difference(size int, set int) RETURNS bigint LANGUAGE sql STABLE SET search_path = dms, pg_catalog AS $$
    WITH c AS MATERIALIZED (SELECT * FROM bench.call c WHERE (c.size, c.set) = ($1, $2)),
    sent AS (
        SELECT c.parent_id, c.parent_key, u.key, a.id, a.documentpartitionkey, a.documentid
        FROM c, unnest(c.ids, c.keys) u(id, key) LEFT JOIN alias a ON (a.referentialpartitionkey, a.referentialid) = (u.key, u.id)),
    stored AS (
        SELECT r.parentdocumentid, r.parentdocumentpartitionkey, r.referentialpartitionkey, r.aliasid,
               r.referenceddocumentpartitionkey, r.referenceddocumentid
        FROM reference r WHERE r.parentdocumentid IN (SELECT parent_id FROM c))
    SELECT count(*) FROM ((TABLE sent EXCEPT ALL TABLE stored) UNION ALL (TABLE stored EXCEPT ALL TABLE sent)) d
$$;

-- What was measured: one row a slice of calls of one contestant.
CREATE TABLE bench.result (
    size int, work text, contestant text, round int, calls bigint, us float8, wal_bytes float8, wal_records float8, hits float8);

-- Takes down what pg_stat_statements counted of the calls since it was asked last, and starts the counters again. The
-- first time in a session there is nothing to take down: that was the warm-up.
CREATE FUNCTION bench.note(size int, work text, contestant text, round int) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_catalog AS $$
BEGIN
    IF current_setting('bench.warm', true) = 'yes' THEN
        INSERT INTO bench.result
        SELECT size, work, contestant, round, s.calls, s.mean_exec_time * 1000, s.wal_bytes::float8 / s.calls,
               s.wal_records::float8 / s.calls, (s.shared_blks_hit + s.local_blks_hit)::float8 / s.calls
        FROM pg_stat_statements s WHERE s.query LIKE '% AS measured';
    END IF;
    PERFORM set_config('bench.warm', 'yes', false);
    PERFORM pg_stat_statements_reset();
END $$;

-- A session looks at every page and index of the store once. A process pays for the first touch of each page of shared
-- memory and of each relation; one that serves an application has done so long ago.
CREATE FUNCTION bench.touch() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_catalog AS $$
DECLARE
    r record;
BEGIN
    FOR r IN SELECT oid, relkind FROM pg_class WHERE relnamespace = 'dms'::regnamespace AND relkind IN ('r', 'i') LOOP
        IF r.relkind = 'r' THEN
            EXECUTE 'SELECT count(*) FROM ' || r.oid::regclass;
        ELSE
            PERFORM pgstatindex(r.oid::regclass);
        END IF;
    END LOOP;
END $$;

-- Those who make the calls own nothing: an application's role with the rights that it needs.
CREATE ROLE bench_app LOGIN;
GRANT USAGE ON SCHEMA bench, dms TO bench_app;
GRANT SELECT ON bench.call TO bench_app;
-- On the leaves too: two of the rivals name them.
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA dms TO bench_app;
