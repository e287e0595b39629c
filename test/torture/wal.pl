# wal_consistency_checking = all: a standby replays what direct writes logged, compares every page with its image, and in the end has the same
# rows; indexes and heaps are looked at on both.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../tap/lib";
use DmsRefs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use Torture;
use Workload;

diag('DMS_REFS_SEED=' . seed() . ' seconds=' . seconds());
my $layout = seed() % 2 ? 'edfi' : 'lean';
my $node = new_node('primary', allows_streaming => 1,
    conf => "wal_consistency_checking = all\nmax_pred_locks_per_transaction = 256\nmax_wal_size = 4GB\nfsync = off\n");
prepare_workload($node, $layout);
prepare_role($node);
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->append_conf('postgresql.conf', "max_standby_streaming_delay = -1\nhot_standby_feedback = on\n");
$standby->start;

my $from = $node->safe_psql('postgres', 'SELECT pg_current_wal_lsn()');
my $until = time() + seconds();
start_sessions($node, 5, $until);
# What moves rows and pages besides.
start_loop('maintenance', 700, $until, sub {
    my $key = sprintf '%02d', int(rand(16));
    return Torture::run_chunk($node, 'maintenance', ['SET lock_timeout = 1000;'], one_of('VACUUM (FREEZE) dms.reference', 'VACUUM dms.alias', "VACUUM FULL dms.reference_$key", "REINDEX TABLE dms.alias_$key", 'CHECKPOINT', 'SELECT pg_sleep(0.2)'));
});
my $sessions = finish_all()->{session};
figure('wal: calls', $sessions->{calls});
figure('wal: bytes replayed and compared', $node->safe_psql('postgres', "SELECT pg_current_wal_lsn() - '$from'"));
is(unexpected($sessions, '23503'), '', 'sessions met no error but those of concurrency');
check_all($node, 'primary');
ok($node->poll_query_until('postgres', q{SELECT replay_lsn >= pg_current_wal_lsn() FROM pg_stat_replication}), 'the standby has replayed everything');
my $content = q{SELECT relname, md5(query_to_xml(format('SELECT * FROM dms.%I x ORDER BY x::text COLLATE "C"', relname), false, false, '')::text)
    FROM pg_class WHERE relnamespace = 'dms'::regnamespace AND relkind = 'r' ORDER BY 1};
is($standby->safe_psql('postgres', $content), $node->safe_psql('postgres', $content), 'the standby has the same rows');
is(index_errors($standby), '', 'and its indexes and tables agree');
unlike(slurp_file($standby->logfile), qr/inconsistent page|FATAL|PANIC/, 'no page differs from its image');
$standby->stop;
$node->stop;
done_testing();
