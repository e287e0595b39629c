# Statistics of all sessions: exact under concurrency, gone after a crash, kept over a clean restart, following dropped tables and
# databases, bounded, visible to whom they should be; and the lines of EXPLAIN and of the log.
# log allows: WARNING:  dms_refs has no room for more statistics
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use DmsRefs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

use constant CLIENTS => 16;
my $writing = q{('insert_references', 'sync_references', 'sync_references_batch', 'apply_resolved_references')};

my $node = new_node('statistics', conf => q{
shared_preload_libraries = 'dms_refs'
dms_refs.stats_persist = on
track_counts = on
max_connections = 60
});
my $version = $node->safe_psql('postgres', 'SHOW server_version_num');
my $explains = $version >= 180000;
create_store($node, 'dms', 'edfi', 200, 16);

sub ask { return $node->safe_psql($_[1] // 'postgres', $_[0]) }

sub save
{
    my ($parent, @references) = @_;
    my $list = '{' . join(',', @references) . '}';
    my $key = $parent % 16;
    return "SELECT success FROM dms_refs.insert_references($parent, ${key}::smallint, t.ids('$list'), t.keys('$list'));";
}

# Sessions report at the latest when they end; a client has seen the end of its own before the server has.
sub settle
{
    $node->poll_query_until('postgres',
        q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'client backend'}) or die 'sessions do not end';
    return;
}

sub counts
{
    settle();
    return ask(q{SELECT string_agg(function || '/' || path || ' ' || calls, ', ' ORDER BY function, path) FROM dms_refs.stat_calls
        WHERE relid = 'dms.reference'::regclass AND calls > 0});
}

is(ask('SELECT storage FROM dms_refs.stat_status()'), 'shared memory', 'kept for all sessions');
is(ask('SELECT count(*) FROM dms_refs.stat_calls'), 0, 'empty at first');
is(($node->psql('postgres', 'SELECT count(*) FROM dms_refs.stat_calls'))[2], '', 'no notice');

# --- exact under concurrency ---
my $script = $node->basedir . '/save.sql';
append_to_file($script, q{
\set parent random(1, 40)
\set first random(1, 200)
\set size random(0, 6)
\set what random(1, 20)
\if :what <= 2
\set first 900
\set size 2
\endif
SELECT success FROM dms_refs.insert_references(:parent::int, (:parent::int % 16)::smallint,
    t.ids(array(SELECT n FROM generate_series(:first::int, :first::int + :size::int) n)),
    t.keys(array(SELECT n FROM generate_series(:first::int, :first::int + :size::int) n)))
WHERE :what::int <> 3
UNION ALL
SELECT success FROM dms_refs.sync_references_batch(ARRAY[:parent::bigint], ARRAY[:parent::int % 16]::smallint[], '{1}', t.ids('{5}'), t.keys('{5}'))
WHERE :what::int = 3;
});
my $fails = $node->basedir . '/fail.sql';
append_to_file($fails, "SELECT code FROM t.try('SELECT dms_refs.insert_references(999999, 15::smallint, t.ids(''{5}''), t.keys(''{5}''))');\n");
ask('SELECT pg_stat_reset()');
my $transactions = 150;
my $all = CLIENTS * $transactions;
my $stored_before = ask('SELECT count(*) FROM dms.reference');
$node->command_ok(
    [ 'pgbench', '--no-vacuum', '--client=' . CLIENTS, '--jobs=2', "--transactions=$transactions", '--protocol=prepared', '--random-seed=7',
        "--file=$script\@9", "--file=$fails\@1", $node->connstr('postgres') ], 'many clients');
settle();
is(ask("SELECT sum(calls) FROM dms_refs.stat_calls"), $all, 'every call is counted, once');
is(ask('SELECT calls = fast_calls + full_calls + invalid_calls + error_calls FROM dms_refs.stat_paths'), 't', 'and is of one kind');
is(ask("SELECT count(*) FILTER (WHERE fast_calls > 0 AND full_calls > 0 AND invalid_calls > 0 AND error_calls > 0) FROM dms_refs.stat_paths"), 1,
    'all kinds were there');
my $rows = 'sum(inserted), sum(updated), sum(deleted)';
my $tables = q{sum(n_tup_ins), sum(n_tup_upd), sum(n_tup_del) FROM pg_stat_user_tables WHERE relid IN
    (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'dms.reference'::regclass)};
# The failing calls insert a row each before the foreign key objects.
my $failed = ask('SELECT sum(calls) FROM dms_refs.stat_calls WHERE path = \'error\'');
my @counted = split /\|/, ask("SELECT $rows FROM dms_refs.stat_calls");
my @stored = split /\|/, ask("SELECT $tables");
is($counted[0] + $failed, $stored[0], 'rows inserted, as the table counts them');
is_deeply([ @counted[ 1, 2 ] ], [ @stored[ 1, 2 ] ], 'rows updated and deleted');
is($counted[0] - $counted[2], ask('SELECT count(*) FROM dms.reference') - $stored_before, 'rows that are there');
is(ask('SELECT sum(n) FROM dms_refs.stat_latency, unnest(histogram) n'), $all, 'every call has a latency');
is(ask('SELECT documents FROM dms_refs.stat_set_size'),
    ask('SELECT equal_count_unchanged + equal_count_changed + different_count FROM dms_refs.stat_paths'), 'and every compared document a size');

# --- percentiles beside the clients' own log ---
ask(q{CREATE FUNCTION t.wait() RETURNS trigger LANGUAGE plpgsql AS $$
          BEGIN IF NEW.aliasid = 77 THEN PERFORM pg_sleep(0.05 + 0.4 * random()); END IF; RETURN NULL; END $$;
      CREATE TRIGGER wait AFTER INSERT ON dms.reference FOR EACH ROW EXECUTE FUNCTION t.wait();
      SELECT dms_refs.stat_reset()});
my $slow = $node->basedir . '/slow.sql';
append_to_file($slow, q{
\set set 1 - :set
SELECT dms_refs.insert_references(:client_id::int + 1, (:client_id::int + 1)::smallint, t.ids(CASE WHEN :set::int = 1 THEN '{77}' ELSE '{78,79}' END::int[]),
                                  t.keys(CASE WHEN :set::int = 1 THEN '{77}' ELSE '{78,79}' END::int[]));
});
$node->command_ok([ 'pgbench', '--no-vacuum', '--client=8', '--transactions=40', '--protocol=prepared', '--random-seed=3', '--define=set=0',
        '--log', '--log-prefix=' . $node->basedir . '/latency', "--file=$slow", $node->connstr('postgres') ], 'slow calls');
my @latencies;
foreach my $file (glob $node->basedir . '/latency.*')
{
    push @latencies, map { (split ' ')[2] / 1000 } split /\n/, slurp_file($file);
}
@latencies = sort { $a <=> $b } grep { $_ > 49 } @latencies;    # half of the calls do not wait
cmp_ok(scalar @latencies, '>', 150, 'calls that waited');
settle();
my $waited = ask(q{SELECT count(*) FROM dms_refs.histogram_buckets((SELECT dms_refs.histogram_sum(histogram) FROM dms_refs.stat_latency), 0.000125) WHERE at_least >= 49});
cmp_ok($waited, '>', 5, 'in many buckets');
foreach my $fraction (0.1, 0.5, 0.9, 0.95)
{
    my $exact = $latencies[ $fraction * @latencies ];
    # The same fraction of all calls: those that did not wait are the lower half.
    my $of_all = (320 - @latencies + $fraction * @latencies) / 320;
    my $told = ask("SELECT dms_refs.histogram_percentile(dms_refs.histogram_sum(histogram), $of_all, 0.000125) FROM dms_refs.stat_latency");
    cmp_ok(abs($told - $exact), '<=', 0.1 * $exact, "percentile $fraction: $told beside $exact");
}

# --- progress ---
my $waiting = $node->background_psql('postgres');
ask('ALTER FUNCTION t.wait() RENAME TO wait_short');
ask(q{CREATE OR REPLACE FUNCTION t.wait_short() RETURNS trigger LANGUAGE plpgsql AS $$
          BEGIN IF NEW.aliasid = 77 THEN PERFORM pg_advisory_xact_lock_shared(1); END IF; RETURN NULL; END $$});
my $gate = $node->background_psql('postgres');
$gate->query_safe('SELECT pg_advisory_lock(1)');
$waiting->query_until(qr/sent/, "\\echo sent\n" . q{SELECT count(*) FROM dms_refs.sync_references_batch('{101,102}', '{5,6}', '{2,2}', t.ids('{1,2,77,3}'), t.keys('{1,2,77,3}'));} . "\n");
ok($node->poll_query_until('postgres', q{SELECT EXISTS (SELECT FROM dms_refs.stat_progress WHERE phase = 'applying'
        AND relation = 'dms.reference'::regclass AND function = 'sync_references_batch' AND references_done = 2 AND references_total = 4
        AND datname = 'postgres' AND started < now())}), 'a running batch shows how far it is');
ask('CREATE ROLE stranger');
is(ask('SET ROLE stranger; SELECT count(*) FROM dms_refs.stat_progress'), 0, 'not to those who may not read its table');
my $pid = ask('SELECT pid FROM dms_refs.stat_progress');
is(ask("SELECT pg_terminate_backend($pid, 60000)"), 't', 'ended from outside');
is(ask('SELECT count(*) FROM dms_refs.stat_progress'), 0, 'it runs no longer');
$gate->quit;
$waiting->{run}->finish;
ask('DROP TRIGGER wait ON dms.reference');

# --- restart, crash ---
my $before = counts();
like($before, qr{insert_references/mixed}, 'there is something to keep');
$node->restart;
is(counts(), $before, 'kept over a clean restart');
is(ask('SELECT count(*) FROM dms_refs.stat_latency WHERE p50 > 0 AND max > 0'), ask('SELECT count(*) FROM dms_refs.stat_latency'), 'with what belongs to them');
ask(save(1, 3));
isnt(counts(), $before, 'and counted on');
$node->stop('immediate');
$node->start;
is(counts(), '', 'at zero after a crash');
ask(save(1, 3));
is(counts(), 'insert_references/unchanged 1', 'and counted again');
$node->append_conf('postgresql.conf', 'dms_refs.stats_persist = off');
$node->restart;
isnt(counts(), '', 'what was saved is read in any case');
$node->restart;
is(counts(), '', 'but not saved again without the setting');
$node->append_conf('postgresql.conf', 'dms_refs.stats_persist = on');
$node->restart;

# --- dropped tables and databases ---
sub entries
{
    settle();
    return ask("SELECT count(*) FROM dms_refs.stat_entries() WHERE $_[0]");
}
create_store($node, 'other', 'lean', 20, 4);
my $other = ask(q{SELECT 'other.reference'::regclass::oid});
my $call = q{SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids('{5}'), t.keys('{5}', 4), store => 'other');};
ask($call);
is(entries("relid = $other"), 1, 'a store has its entry');
ask("BEGIN; $call DROP TABLE other.reference; ROLLBACK;");
is(entries("relid = $other"), 2, 'which stays when dropping it is rolled back');
ask('BEGIN; SAVEPOINT a; DROP TABLE other.reference; ROLLBACK TO a; COMMIT;');
is(entries("relid = $other"), 2, 'also to a savepoint');
ask("BEGIN; $call SAVEPOINT a; DROP TABLE other.reference; RELEASE a; COMMIT;");
is(entries("relid = $other"), 0, 'and goes with the table');
ask('CREATE DATABASE second');
configure($node, 'second');
ask("SELECT dms_refs.create_store('dms', 1, 'lean'); INSERT INTO dms.document (documentpartitionkey, id) OVERRIDING SYSTEM VALUE VALUES (0, 1)", 'second');
my $second = ask(q{SELECT oid FROM pg_database WHERE datname = 'second'});
ask(q{SELECT dms_refs.insert_references(1, 0::smallint, '{}', '{}'); SELECT dms_refs.find_invalid_references('{}', '{}')}, 'second');
settle();
is(ask("SELECT count(*) FROM dms_refs.stat_calls WHERE datname = 'second' AND relation IS NULL AND relid IS NOT NULL"), 2, 'another database has its own');
ask('SELECT dms_refs.stat_reset()');
settle();
is(ask("SELECT count(*) FROM dms_refs.stat_calls WHERE datname = 'second'"), 2, 'which a reset here leaves alone');
ask('CREATE ROLE of_one; GRANT SELECT ON ALL TABLES IN SCHEMA dms TO of_one; CREATE ROLE of_all IN ROLE pg_read_all_stats');
is(ask('SET ROLE of_one; SELECT count(*) FROM dms_refs.stat_calls'), 0, 'and an ordinary role does not see');
is(ask('SET ROLE of_all; SELECT count(*) FROM dms_refs.stat_calls'), 2, 'but pg_read_all_stats does');
ask('DROP DATABASE second');
settle();
is(ask("SELECT count(*) FROM dms_refs.stat_entries() WHERE datid = $second"), 0, 'and go with their database');

# --- lines ---
my $expected = 'path=insert_only engine=direct calls=1 given=3 read=1 inserted=2 updated=0 deleted=0 kept=1 invalid=0 wal=\d{3,} time=\d+\.\d+ ms';
my $phases = 'resolve=\d+\.\d+ ms read=\d+\.\d+ ms apply=\d+\.\d+ ms';
if (!$explains)
{
    like(($node->psql('postgres', 'EXPLAIN (ANALYZE, DMS_REFS) ' . save(1, 3)))[2], qr/unrecognized EXPLAIN option "dms_refs"/, 'no such option here');
}
else
{
    ask(save(1, 3));
    like(ask('LOAD $$dms_refs$$; EXPLAIN (ANALYZE, DMS_REFS, COSTS OFF) ' . save(1, 3, 4, 5)), qr/^\s*dms_refs: insert_references on dms\.reference: $expected $phases$/m,
        'EXPLAIN shows the call');
    like(ask('EXPLAIN (DMS_REFS, ANALYZE) SELECT dms_refs.find_invalid_references(t.ids(array[n]), t.keys(array[n])) FROM generate_series(1, 7) n'),
        qr/find_invalid_references on dms\.alias: path=read engine=direct calls=7 given=7/, 'several together');
    like(ask('EXPLAIN (ANALYZE, DMS_REFS, FORMAT JSON) ' . save(1, 3, 4, 5)), qr/"dms_refs Calls": \[\s*\{\s*"Function": "insert_references",[^}]*"Path": "unchanged",[^}]*"Rows Kept": 3,/,
        'as JSON');
    is((() = ask('EXPLAIN (ANALYZE, DMS_REFS) SELECT 1') =~ /dms_refs/g), 0, 'nothing where there is none');
    unlike(ask('EXPLAIN (ANALYZE, DMS_REFS) SELECT 1; ' . save(1, 3) . 'EXPLAIN ANALYZE ' . save(1, 3)), qr/path=/, 'and not after it');
    ask(q{CREATE FUNCTION t.definer() RETURNS boolean LANGUAGE sql SECURITY DEFINER AS $$ } . save(1, 3) . q{ $$; CREATE ROLE explains;
        GRANT USAGE ON SCHEMA t TO explains});
    like(ask('LOAD $$dms_refs$$; EXPLAIN (ANALYZE, DMS_REFS) SELECT t.definer()'), qr/on dms\.reference: path=/, 'what a function does is shown');
    unlike(ask('LOAD $$dms_refs$$; SET ROLE explains; EXPLAIN (ANALYZE, DMS_REFS) SELECT t.definer()'), qr/dms_refs:/, 'but not to those who may not read its tables');
    is(sqlstate($node, 'EXPLAIN (DMS_REFS) SELECT 1'), '22023', 'only with ANALYZE');
    is(sqlstate($node, 'EXPLAIN (ANALYZE, DMS_REFS) SELECT dms_refs.insert_references(1, 99::smallint, $${}$$, $${}$$)'), '23514', 'an error leaves it as it was');
}
ask(save(1, 3));
my $offset = -s $node->logfile;
ask('SET dms_refs.log_calls = on; SET dms_refs.track_timing = on; ' . save(1, 3, 4, 5));
like(slurp_file($node->logfile, $offset), qr/LOG:  insert_references on dms\.reference: $expected $phases$/m, 'the log has the call');
$offset = -s $node->logfile;
$node->psql('postgres', 'SET dms_refs.log_calls = on; SELECT dms_refs.insert_references(1, 99::smallint, $${}$$, $${}$$)');
like(slurp_file($node->logfile, $offset), qr/LOG:  insert_references on relation \d+: path=error/, 'and one that failed');
ask('CREATE ROLE caller; GRANT pg_read_all_settings TO caller');
is(sqlstate($node, 'SET ROLE caller; SET dms_refs.log_calls = on'), '42501', 'not everybody fills the log');

# --- a full table ---
$node->append_conf('postgresql.conf', "dms_refs.stats_max = 10\ndms_refs.stats_persist = off");
$node->restart foreach 1, 2;
ask("SELECT dms_refs.create_store('s$_', 1, 'lean')") foreach 1 .. 11;
my $read = join '', map { "SELECT dms_refs.find_invalid_references('{}', '{}', 's$_'); " } 1 .. 11;
like(($node->psql('postgres', $read))[2], qr/WARNING:  dms_refs has no room for more statistics.*HINT:  Raise dms_refs\.stats_max/s, 'a full table is warned of');
is(($node->psql('postgres', $read))[2], '', 'once');
is(ask('SELECT entries, max_entries, not_recorded FROM dms_refs.stat_status()'), '10|10|0', 'and no call is lost');
is(ask('SELECT function, path, engine, relid, calls FROM dms_refs.stat_calls WHERE relid IS NULL'), 'other|other|other||4', 'those without a place count together');
is(ask('SELECT sum(calls) FROM dms_refs.stat_calls'), 22, 'beside the others');
ask('SELECT dms_refs.stat_reset()');
ask("SELECT dms_refs.find_invalid_references('{}', '{}', 's11')");
is(ask('SELECT count(*), count(relid) FROM dms_refs.stat_calls'), '1|1', 'a reset makes room');

# --- not preloaded ---
# What we save must not cost the server its own statistics.
$node->append_conf('postgresql.conf', 'dms_refs.stats_persist = on');
$node->restart;
my $inserted = ask("SELECT $tables");
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
is(ask("SELECT $tables"), $inserted, 'not preloaded: the server kept its statistics');
my $session = $node->background_psql('postgres');
$session->query_safe('SET client_min_messages = warning');
$session->query_safe(save(1, 3));
is($session->query_safe('SELECT sum(calls) FROM dms_refs.stat_calls'), 1, 'not preloaded: a session sees its own calls');
is(ask(save(1, 3) . 'SELECT sum(calls) FROM dms_refs.stat_calls'), "t\n1", 'and not those of others');
like(($node->psql('postgres', 'SELECT count(*) FROM dms_refs.stat_calls; SELECT count(*) FROM dms_refs.stat_paths'))[2],
    qr/^psql:<stdin>:1: NOTICE:  these statistics are of this session only\nDETAIL:[^\n]*\nHINT:[^\n]*$/, 'and is told so once');
is(ask('SELECT count(*) FROM dms_refs.stat_progress'), 0, 'nothing is published');
$session->quit;

ask(q{SELECT dms_refs.unregister_store('other')}); # one of its tables was dropped above
is(store_errors($node), '', 'check_store finds nothing');
$node->stop;
done_testing();
