# Who gets room in the statistics, and that nobody can take it from all others: what was rolled back leaves nothing, temporary
# tables go with their session, stages have a part of a database's share, databases have equal shares; and calls go on and are
# counted where the server has no dynamic shared memory left.
# log allows: WARNING:  dms_refs has no room for more statistics
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use DmsRefs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('room', conf => q{
shared_preload_libraries = 'dms_refs'
dms_refs.stats_max = 40
max_prepared_transactions = 4
dynamic_shared_memory_type = mmap
max_parallel_workers_per_gather = 0
});
my $version = $node->safe_psql('postgres', 'SHOW server_version_num');
create_store($node, 'dms', 'edfi', 20, 4);

sub ask { return $node->safe_psql($_[1] // 'postgres', $_[0]) }

# Sessions report at the latest when they end; a client has seen the end of its own before the server has.
sub settle
{
    $node->poll_query_until('postgres',
        q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'client backend'}) or die 'sessions do not end';
    return;
}

# Places in use, counters or not.
sub used
{
    settle();
    return ask('SELECT entries FROM dms_refs.stat_status()');
}

my $call = q{SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids('{5}'), t.keys('{5}', 4));};
ask($call);
is(used(), 2, 'an entry, and the one of the database for what finds no place');
ask('CREATE ROLE anybody');

# --- what was rolled back ---
my $stage = 'CREATE FOREIGN TABLE %s (a int) SERVER dms_refs_stage; INSERT INTO %s VALUES (1);';
sub stage { my ($name) = @_; return $stage =~ s/%s/$name/gr }
ask('BEGIN;' . stage('gone') . 'ROLLBACK;');
ask('BEGIN; SAVEPOINT a;' . stage('gone') . 'ROLLBACK TO a; COMMIT;');
ask('BEGIN; SAVEPOINT a; SAVEPOINT b;' . stage('gone') . 'RELEASE b; ROLLBACK TO a; COMMIT;');
ask('BEGIN;' . stage('gone') . 'DROP FOREIGN TABLE gone; COMMIT;');
ask('BEGIN; SAVEPOINT a;' . stage('gone') . 'RELEASE a; DROP FOREIGN TABLE gone; COMMIT;');
$node->psql('postgres', 'BEGIN;' . stage('gone') . 'SELECT 1 / 0; COMMIT;');
ask("DO \$\$ BEGIN @{[ stage('gone') ]} PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN END \$\$");
is(used(), 2, 'a stage that was rolled back leaves no entry');
ask(q{BEGIN; SELECT dms_refs.create_store('gone', 1, 'lean'); SELECT dms_refs.find_invalid_references('{}', '{}', 'gone');
      SELECT dms_refs.insert_references(1, 0::smallint, '{}', '{}', store => 'gone'); ROLLBACK;});
is(used(), 2, 'nor does a store');
my $session = $node->background_psql('postgres');
$session->query_safe('BEGIN;' . stage('gone'));
my $pid = $session->query_safe('SELECT pg_backend_pid()');
ask("SELECT pg_terminate_backend($pid, 60000)");
$session->{run}->finish;
is(used(), 2, 'nor does one of a session that was ended within the transaction');
is(ask('BEGIN; SAVEPOINT a;' . stage('seen') . 'RELEASE a; SELECT count(*) FROM dms_refs.stat_staging; ROLLBACK;'), 1, 'the session itself sees it before');
ask('BEGIN; SAVEPOINT a;' . stage('kept') . 'RELEASE a; COMMIT;');
is(used(), 3, 'one that is committed stays');
ask("BEGIN; DROP FOREIGN TABLE kept; PREPARE TRANSACTION 'drop'");
is(used(), 2, 'a prepared drop takes it away');
ask("COMMIT PREPARED 'drop'");
is(used(), 2, 'for good');
ask("BEGIN; SELECT dms_refs.create_store('gone', 1, 'lean'); SELECT dms_refs.find_invalid_references('{}', '{}', 'gone'); PREPARE TRANSACTION 'make'");
is(used(), 2, 'what was prepared with its table is not counted');
ask("ROLLBACK PREPARED 'make'");
is(used(), 2, 'as nobody knows whether the table will be');

# --- temporary tables, and stages ---
$session = $node->background_psql('postgres');
$session->query_safe('SET ROLE anybody');
$session->query_safe(stage("pg_temp.s$_")) foreach 1 .. 30;
$session->query_safe('SELECT pg_stat_force_next_flush()');
is(ask('SELECT entries FROM dms_refs.stat_status()'), 2 + 9, 'temporary stages take a quarter at most');
$session->quit;
is(used(), 2, 'and go with their session');
is(ask(q{SELECT rows_staged FROM dms_refs.stat_staging WHERE relid IS NULL}), 21, 'what found no place is counted together');
ask(stage("s$_")) foreach 1 .. 25;
is(used(), 2 + 19, 'stages take a half');
ask(q{SELECT dms_refs.find_invalid_references('{}', '{}')});
is(ask(q{SELECT count(*) FROM dms_refs.stat_calls WHERE function = 'find_invalid_references' AND relid IS NOT NULL}), 1, 'and calls have room');
ask(join '', map { "DROP FOREIGN TABLE s$_;" } 1 .. 25);
is(used(), 3, 'which they give back');

# --- databases ---
sub fill
{
    my ($database, $stores) = @_;
    ask("CREATE DATABASE $database");
    ask('CREATE EXTENSION dms_refs', $database);
    ask("SELECT dms_refs.create_store('s$_', 1, 'lean')", $database) foreach 1 .. $stores;
    ask(join('', map { "SELECT dms_refs.find_invalid_references('{}', '{}', 's$_');" } 1 .. $stores), $database);
    return;
}
my $entries_of = q{SELECT string_agg(datname || ' ' || n, ', ' ORDER BY datname) FROM (
    SELECT datname, count(*) AS n FROM dms_refs.stat_calls WHERE relid IS NOT NULL GROUP BY 1) c};
fill('greedy', 60);
settle();
is(ask($entries_of), 'greedy 36, postgres 2', 'a database takes what is free');
fill('late', 15);
settle();
is(ask($entries_of), 'greedy 23, late 12, postgres 2', 'another gets its share of the others');
is(ask('SELECT sum(calls), max(not_recorded) FROM dms_refs.stat_calls, dms_refs.stat_status()'), (60 + 15 + 2) . '|0', 'and no call is lost');
ask('DROP DATABASE greedy');
ask('DROP DATABASE late');
is(used(), 3, 'all go with their databases');

# --- no dynamic shared memory ---
# Segments are files of this folder. The server's own statistics take an entry a table that is read, until there is no room for
# more. It leaves the entry that failed half made, and must not come across it again: so no table is made and read in one
# transaction, and at the end the server is not asked to write its statistics.
my $segments = $node->data_dir . '/pg_dynshmem';
my $tables = $version < 180000 ? 0 : 3000; # before 18 nothing of ours was ever there
ask(qq{DO \$\$ BEGIN FOR n IN 1 .. $tables LOOP EXECUTE format('CREATE TABLE fill_%s ()', n); COMMIT; END LOOP; END \$\$});
chmod 0500, $segments or die;
SKIP:
{
    skip 'nothing to be filled', 1 if $tables == 0;
    my (undef, undef, $error) = $node->psql('postgres',
        qq{DO \$\$ BEGIN FOR n IN 1 .. $tables LOOP EXECUTE format('SELECT FROM fill_%s', n); COMMIT; END LOOP; END \$\$});
    like($error, qr/could not open shared memory segment/, 'dynamic shared memory is at its end');
}
ask("SET statement_timeout = '60s'; $call" . q{SELECT dms_refs.diff_references(2, 2::smallint, t.ids('{7}'), t.keys('{7}', 4));});
is(sqlstate($node, "SET statement_timeout = '60s'; SELECT dms_refs.sync_references(99, 3::smallint, t.ids('{7}'), t.keys('{7}', 4))"), '23503', 'calls go on');
$session = $node->background_psql('postgres');
$session->query_safe("SET ROLE anybody; SET statement_timeout = '60s'");
$session->query_safe('DO $$ BEGIN ' . stage('pg_temp.s') . q{ RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN END $$}) foreach 1 .. 5;
$session->quit;
settle();
is(ask(q{SELECT string_agg(function || '/' || path, ', ' ORDER BY function, path) FROM dms_refs.stat_calls WHERE calls > 0 AND relid IS NOT NULL}),
    'diff_references/pure_insert, find_invalid_references/read, insert_references/pure_insert, insert_references/unchanged, sync_references/error', 'and are counted');
chmod 0700, $segments;

$node->stop('immediate');
done_testing();
