# Stages over whole sessions: savepoints at random against a temporary table, nothing written to WAL or catalogs, memory back to where it
# was, dump and restore, definitions that other sessions change, parallel workers.
#
# DMS_REFS_SEED repeats a run of savepoints, DMS_REFS_STAGE_STEPS makes it longer; DMS_REFS_STAGE_CYCLES sets the number of cycles.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use DmsRefs;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{DMS_REFS_SEED} // 20_261_121;
my $steps = $ENV{DMS_REFS_STAGE_STEPS} // 3000;
my $cycles = $ENV{DMS_REFS_STAGE_CYCLES} // 3000;
diag("DMS_REFS_SEED=$seed DMS_REFS_STAGE_STEPS=$steps DMS_REFS_STAGE_CYCLES=$cycles");
my $node = new_node('staging');

# --- savepoints, released and rolled back at random, deep and across changes of every kind ---
srand($seed);
my @script = (
    '\set VERBOSITY sqlstate', 'SET client_min_messages = error;',
    q{SELECT dms_refs.create_stage('s', columns => 'id int, v text', key => '{id}', on_commit => 'preserve');},
    'CREATE TEMP TABLE m (id int UNIQUE, v text);');
my @savepoints;
my $in_transaction = 0;
my $n = 0;
my $both = sub { my $sql = shift; push @script, map { (my $one = $sql) =~ s/\bX\b/$_/g; "$one;" } qw(s m) };
for my $step (1 .. $steps)
{
    my $kind = int rand 20;
    my $key = 1 + int rand 60;
    my $guard = 'g' . $n++;
    if (!$in_transaction) { push @script, 'BEGIN;'; $in_transaction = 1 }
    elsif ($kind < 3) { push @savepoints, "p$step"; push @script, "SAVEPOINT p$step;" }
    elsif ($kind < 5 && @savepoints) { my $to = int rand @savepoints; push @script, "RELEASE $savepoints[$to];"; $#savepoints = $to - 1 }
    elsif ($kind < 8 && @savepoints) { my $to = int rand @savepoints; push @script, "ROLLBACK TO $savepoints[$to];"; $#savepoints = $to }
    elsif ($kind == 8) { push @script, rand() < 0.5 ? 'COMMIT;' : 'ROLLBACK;'; $in_transaction = 0; @savepoints = () }
    elsif ($kind == 9) { $both->(rand() < 0.4 ? 'TRUNCATE X' : "DELETE FROM X WHERE id % 3 = @{[$key % 3]}") }
    elsif ($kind < 13)
    {
        # May fail on the key: then only its own savepoint is lost, on either side.
        push @script, "SAVEPOINT $guard;", "INSERT INTO s VALUES ($key, '$step'), (NULL, 'n$step');", "ROLLBACK TO $guard;" if rand() < 0.3;
        $both->("INSERT INTO X SELECT g, '$step' FROM generate_series($key, @{[$key + 9]}) g WHERE NOT EXISTS (SELECT FROM X WHERE id = g)");
    }
    elsif ($kind < 15) { $both->("UPDATE X SET v = v || '$step' WHERE id % 4 = @{[$key % 4]}") }
    elsif ($kind == 15) { $both->("UPDATE X SET id = -id WHERE id = $key OR id = -$key") }
    elsif ($kind == 16) { $both->("INSERT INTO X VALUES ($key, repeat('wide ', 4000)) ON CONFLICT DO NOTHING") }
    else { $both->("DELETE FROM X WHERE id = $key") }
    push @script, q{SELECT 'differs at } . $step . q{' WHERE EXISTS (TABLE s EXCEPT ALL TABLE m) OR EXISTS (TABLE m EXCEPT ALL TABLE s)
        OR (SELECT sum(x.id) FROM m JOIN s x USING (id)) IS DISTINCT FROM (SELECT sum(id) FROM m)
        OR (SELECT rows FROM dms_refs.stages) <> (SELECT count(*) FROM m);} if $step % 3 == 0;
}
push @script, 'COMMIT;', 'TRUNCATE s;', q{SELECT 'bytes ' || bytes FROM dms_refs.stages;}, 'DROP FOREIGN TABLE s;';
my ($code, $out, $err) = $node->psql('postgres', join("\n", @script), on_error_stop => 0);
is($code, 0, 'the session survived');
$out =~ s/^s\n//;
is($out, 'bytes 0', "$steps steps with savepoints: rows as in a temporary table");
my %states = map { $_ => 1 } $err =~ /ERROR:\s+(\w{5})/g;
is(join(' ', sort grep { !/^(23505|25P02|3B001)$/ } keys %states), '', 'no error but of the key, and what follows from it');

# --- nothing in WAL, nothing in catalogs ---
$node->safe_psql('postgres', q{
    SELECT dms_refs.create_stage('c', columns => 'id int, v text', key => '{id}');
    CREATE TABLE big AS SELECT g AS id FROM generate_series(1, 10000) g;
    CREATE INDEX ON big (id);
    VACUUM ANALYZE big;
    CREATE PROCEDURE cycle(n int, every int) LANGUAGE plpgsql AS $$
    BEGIN
        FOR i IN 1 .. n LOOP
            INSERT INTO c SELECT g, 'row ' || g FROM generate_series(1, 10) g;
            UPDATE c SET v = 'changed' WHERE id = i % 10;
            PERFORM count(*) FROM c JOIN big USING (id);
            IF i % every = 0 THEN
                BEGIN
                    INSERT INTO c SELECT g FROM generate_series(5, 500) g;
                EXCEPTION WHEN unique_violation THEN NULL;
                END;
                DELETE FROM c; TRUNCATE c;
            END IF;
            IF i % 3 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
        END LOOP;
    END $$;
    CALL cycle(10, 2);
    CREATE FUNCTION written() RETURNS text LANGUAGE sql AS
        $$ SELECT pg_stat_force_next_flush(); SELECT format('%s catalog rows', sum(n_tup_ins + n_tup_upd + n_tup_del)) FROM pg_stat_sys_tables $$;});
my $before = $node->safe_psql('postgres', 'SELECT written()');
my $lsn = $node->safe_psql('postgres', 'CHECKPOINT; SELECT pg_current_wal_insert_lsn()');
$node->safe_psql('postgres', 'CALL cycle(100, 1000000)');
is($node->safe_psql('postgres', "SELECT pg_current_wal_insert_lsn() - '$lsn'"), 0, '100 cycles: no WAL');
is($node->safe_psql('postgres', 'SELECT written()'), $before, 'and no catalog row');

# --- memory ---
my $session = $node->background_psql('postgres');
my $memory = q{SELECT count(*) || ' contexts, ' || sum(total_bytes) || ' bytes' FROM pg_backend_memory_contexts WHERE name LIKE 'dms_refs stag%'};
$session->query_safe('CALL cycle(20, 2)');
my $at_first = $session->query_safe($memory);
my ($all) = $session->query_safe('SELECT sum(total_bytes) FROM pg_backend_memory_contexts');
$session->query_safe("CALL cycle($cycles, 5)");
is($session->query_safe($memory), $at_first, "$cycles cycles: staging's memory is what it was");
cmp_ok($session->query_safe('SELECT sum(total_bytes) FROM pg_backend_memory_contexts'), '<', $all + 1_000_000, 'and so is the backend');
# Stages made and dropped leave nothing either.
$session->query_safe(q{DO $$ BEGIN FOR i IN 1 .. 50 LOOP
    PERFORM dms_refs.create_stage('gone', columns => 'a int', key => '{a}', on_commit => 'preserve'); INSERT INTO gone VALUES (i); DROP FOREIGN TABLE gone; COMMIT; END LOOP; END $$});
is($session->query_safe($memory), $at_first, 'made and dropped: nothing is left');

# --- another session's DDL ---
$node->safe_psql('postgres', q{SELECT dms_refs.create_stage('shared', columns => 'a int, b text', key => '{a}', on_commit => 'preserve')});
$session->query_safe(q{INSERT INTO shared VALUES (1, 'x')});
is($node->safe_psql('postgres', 'SELECT count(*) FROM shared'), 0, 'another session sees no row');
$node->safe_psql('postgres', 'ALTER FOREIGN TABLE shared ADD COLUMN c int; ALTER FOREIGN TABLE shared DROP COLUMN b');
is($session->query_safe('SELECT * FROM shared WHERE a = 1'), '1|', 'altered by another session: rows are read by the new definition');
$node->safe_psql('postgres', 'DROP FOREIGN TABLE shared');
$session->query_safe('BEGIN; SELECT 1; COMMIT');
is($session->query_safe($memory), $at_first, 'dropped by another session: the rows are gone');

# --- a parallel worker has no rows, and says so ---
$node->safe_psql('postgres', q{
    SELECT dms_refs.create_stage('p', columns => 'a int', on_commit => 'preserve');
    CREATE FUNCTION count_p(int) RETURNS bigint LANGUAGE plpgsql PARALLEL SAFE AS 'BEGIN RETURN (SELECT count(*) FROM p); END'});
my $forced = 'SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET parallel_leader_participation = off;';
is(sqlstate($node, "$forced SELECT count_p(id) FROM big WHERE id % 5000 = 1"), '25000', 'in a parallel worker: refused');
is($node->safe_psql('postgres', "$forced INSERT INTO p VALUES (1), (2); SELECT count(*) FROM big JOIN p ON p.a = big.id"), 2, 'beside parallel workers: read by the leader');
$session->quit;

# --- dump and restore ---
$node->safe_psql('postgres', q{
    DROP TABLE big CASCADE; CREATE ROLE stager; CREATE SCHEMA app AUTHORIZATION stager; SET ROLE stager;
    SELECT dms_refs.create_stage('app."Odd"', columns => '"Id" int NOT NULL, v text DEFAULT ''x'' CHECK (v <> ''''), g int GENERATED ALWAYS AS ("Id" + 1) STORED',
        key => '{"Id",v}', on_commit => 'preserve');});
my $description = q{SELECT stage, on_commit, key FROM dms_refs.stages ORDER BY stage::text COLLATE "C"};
my $expected = $node->safe_psql('postgres', $description);
my $file = $node->basedir . '/dump';
$node->command_ok([ 'pg_dump', "--file=$file", '--dbname', $node->connstr('postgres') ], 'dumped');
$node->safe_psql('postgres', 'CREATE DATABASE restored TEMPLATE template0');
$node->command_ok([ 'psql', '--no-psqlrc', '--quiet', '--set=ON_ERROR_STOP=1', '--output=/dev/null', "--file=$file", '--dbname', $node->connstr('restored') ], 'restored');
is($node->safe_psql('restored', $description), $expected, 'the same stages');
is($node->safe_psql('restored', q{SET ROLE stager; BEGIN; INSERT INTO app."Odd" ("Id") VALUES (1), (2) RETURNING *}), "1|x|2\n2|x|3", 'that work');
is(sqlstate($node, q{INSERT INTO app."Odd" ("Id") VALUES (1), (1)}, 'restored'), '23505', 'with their key');
$node->stop;
done_testing();
