-- What tools/quickstart runs before its calls: the store, the documents, the sets that will be sent, and
-- the procedure that sends and measures them. The psql variable `folder` says where the files of
-- tools/package_graph are.
\set ON_ERROR_STOP 1
SET client_min_messages = warning;
CREATE EXTENSION dms_refs;
SELECT dms_refs.create_store('dms');

\cd :folder
\copy dms.document (id, documentpartitionkey, documentuuid, resourcename, resourceversion, isdescriptor, projectname, edfidoc, lastmodifiedtraceid) FROM 'documents.tsv'
\copy dms.alias (id, referentialpartitionkey, referentialid, documentid, documentpartitionkey) FROM 'aliases.tsv'
SELECT setval(pg_get_serial_sequence('dms.document', 'id'), (SELECT max(id) FROM dms.document)),
       setval(pg_get_serial_sequence('dms.alias', 'id'), (SELECT max(id) FROM dms.alias));

CREATE SCHEMA quickstart;
CREATE TABLE quickstart.step (step int PRIMARY KEY, name text);
INSERT INTO quickstart.step VALUES (1, 'inserted'), (2, 'again, unchanged'), (3, 'changed'), (4, 'with an unknown id');
CREATE TABLE quickstart.sent (step int, id bigint, key smallint, ids uuid[], keys smallint[]);
CREATE TABLE quickstart.call (step int, path text, given int, written int, wal_bytes int, us real);

-- Steps 1 and 2: what the package index says.
CREATE TEMPORARY TABLE index_says (id bigint, key smallint, ids uuid[], keys smallint[]);
\copy index_says FROM 'sets.tsv'
INSERT INTO quickstart.sent SELECT step, i.* FROM index_says i, generate_series(1, 2) step;

-- Step 3: a fifth of each set, at least one reference, is replaced by other packages.
WITH member AS (
    SELECT i.id, i.ids, r.ref, r.ref_key, greatest(1, round(cardinality(i.ids) * 0.2)) AS replaced,
           row_number() OVER (PARTITION BY i.id ORDER BY hashtextextended(r.ref::text, i.id)) AS n
    FROM index_says i, unnest(i.ids, i.keys) r (ref, ref_key)
), changed AS (
    SELECT id, ref, ref_key FROM member WHERE n > replaced
    UNION
    SELECT m.id, a.referentialid, a.referentialpartitionkey
    FROM member m
    JOIN dms.alias a ON a.id = 1 + abs(hashint8extended(m.n, m.id) % (SELECT count(*) FROM index_says))
    WHERE m.n <= m.replaced AND a.referentialid <> ALL (m.ids)
)
INSERT INTO quickstart.sent
SELECT 3, i.id, i.key, coalesce(array_agg(c.ref ORDER BY c.ref) FILTER (WHERE c.ref IS NOT NULL), '{}'),
       coalesce(array_agg(c.ref_key ORDER BY c.ref) FILTER (WHERE c.ref IS NOT NULL), '{}')
FROM index_says i LEFT JOIN changed c ON c.id = i.id
GROUP BY i.id, i.key;

-- Step 4: the same with one id that nobody has.
INSERT INTO quickstart.sent
SELECT 4, id, key, ids || 'ffffffff-ffff-4fff-bfff-ffffffffffff'::uuid, keys || 15::smallint
FROM quickstart.sent WHERE step = 3;
ALTER TABLE quickstart.sent ADD PRIMARY KEY (step, id);

-- Sends the sets of some documents, each in a transaction of its own, and keeps what each call cost: the
-- time of the statement on the server, and the WAL up to and with its commit.
CREATE PROCEDURE quickstart.send(this_step int, first_id bigint, last_id bigint) LANGUAGE plpgsql AS $$
DECLARE
    s        quickstart.sent;
    began    timestamptz;
    ended    timestamptz;
    wal      pg_lsn;
    path     text;
    written  int;
    paths    text[] := '{}';
    givens   int[] := '{}';
    writtens int[] := '{}';
    wals     int[] := '{}';
    times    real[] := '{}';
BEGIN
    FOR s IN SELECT * FROM quickstart.sent WHERE step = this_step AND id BETWEEN first_id AND last_id ORDER BY id LOOP
        wal := pg_current_wal_insert_lsn();
        began := clock_timestamp();
        SELECT b.path, b.inserted + b.updated + b.deleted INTO path, written
        FROM dms_refs.sync_references_batch(ARRAY[s.id], ARRAY[s.key], ARRAY[cardinality(s.ids)], s.ids, s.keys) b;
        ended := clock_timestamp();
        COMMIT;
        paths := paths || path;
        givens := givens || cardinality(s.ids);
        writtens := writtens || written;
        wals := wals || (pg_current_wal_insert_lsn() - wal)::int;
        times := times || (extract(epoch FROM ended - began) * 1e6)::real;
    END LOOP;
    INSERT INTO quickstart.call SELECT this_step, c.* FROM unnest(paths, givens, writtens, wals, times) c;
END $$;

VACUUM (ANALYZE);
