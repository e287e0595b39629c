-- What bench/staging measures with: the rows to stage, and the tables to compare with.
CREATE EXTENSION dms_refs;
CREATE SCHEMA bench;
CREATE TABLE bench.source AS SELECT g AS id, 1000 + g / 10 AS parent, (g % 16)::smallint AS key, 'value ' || g AS v FROM generate_series(1, 100000) g;
CREATE UNIQUE INDEX ON bench.source (id);
CREATE TABLE bench.target AS SELECT id, parent, key, v FROM bench.source;
CREATE UNIQUE INDEX ON bench.target (id);
VACUUM ANALYZE bench.source;
VACUUM ANALYZE bench.target;
SELECT dms_refs.create_stage('bench.stage', columns => 'id int, parent int, key smallint, v text');
SELECT dms_refs.create_stage('bench.stage_keyed', columns => 'id int, parent int, key smallint, v text', key => '{id}');
-- As it is done: a row belongs to the session that wrote it.
CREATE UNLOGGED TABLE bench.unlogged (pid int DEFAULT pg_backend_pid(), id int, parent int, key smallint, v text);
CREATE INDEX ON bench.unlogged (pid);
CREATE UNLOGGED TABLE bench.unlogged_keyed (pid int DEFAULT pg_backend_pid(), id int, parent int, key smallint, v text, PRIMARY KEY (pid, id));
