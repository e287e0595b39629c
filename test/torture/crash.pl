# Crashes at random under load: backends killed, the postmaster killed, immediate stops; after each recovery every set is one that was sent,
# foreign keys hold, and indexes agree with their tables.
# log allows: terminating connection because of crash of another server process
# log allows: was terminated by signal 9
# log allows: exited with exit code 2
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../tap/lib";
use DmsRefs;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use Torture;
use Workload;

diag('DMS_REFS_SEED=' . seed() . ' seconds=' . seconds());
my $layout = seed() % 2 ? 'lean' : 'edfi';
my $node = new_node('crash', conf => "restart_after_crash = on\nmax_pred_locks_per_transaction = 256\nmax_wal_size = 100MB\ncheckpoint_timeout = 30s\nshared_preload_libraries = 'dms_refs'\n");
prepare_workload($node, $layout);
prepare_role($node);

my %ways = (
    'immediate stops' => sub { $node->stop('immediate'); $node->start },
    'postmasters killed' => sub { kill_postmaster($node) },
    'backends killed' => sub {
        my $log = -s $node->logfile;
        my (undef, $pid) = $node->psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE application_name = 'torture' ORDER BY random() LIMIT 1});
        return if !$pid || !kill 'KILL', $pid;
        $node->wait_for_log(qr/database system is ready to accept connections/, $log);
    });

my (%crashes, %total);
my $rounds = 0;
my $stop = time() + seconds();
do
{
    $rounds++;
    # The sessions stop by themselves, after the crash.
    my $until = time() + 6;
    local $ENV{DMS_REFS_SEED} = seed() * 100 + $rounds;
    start_sessions($node, 6, $until);
    srand(seed());
    sleep 1 + rand(2.5);
    $node->safe_psql('postgres', 'CHECKPOINT') if chance(0.5);
    my $way = (sort keys %ways)[ $rounds % 3 ];
    $ways{$way}->();
    $crashes{$way}++;
    my $sessions = finish_all()->{session};
    $total{$_} += $sessions->{$_} foreach keys %$sessions;
    # 57P02, 57P03, 57P05: the server went away, or was not yet back.
    is(unexpected($sessions, '57P02', '57P03', '23503'), '', "$way, $rounds: sessions met no error but that");
    check_all($node, "$way, $rounds");
} while (time() < $stop);
figure("crash: $_", $crashes{$_}) foreach sort keys %crashes;
figure('crash: calls', $total{calls});
$node->stop;
done_testing();
