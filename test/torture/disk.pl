# A full disk, for tables first and then for WAL: calls fail with 53100, or the server stops and recovers; nothing is half written. The disk is
# a small file system at $DMS_REFS_SMALL_DISK, which tools/torture mounts.
# log allows: PANIC:  could not (write|create|extend)
# log allows: terminating connection because of crash
# log allows: was terminated by signal 6
# log allows: PANIC:  .*No space left
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

my $disk = $ENV{DMS_REFS_SMALL_DISK};
plan skip_all => 'no small disk: tools/torture mounts one as root' if !$disk;
diag('DMS_REFS_SEED=' . seed() . ' seconds=' . seconds());
mkdir "$disk/tables" or die "$disk: $!";
my $node = new_node('disk', extra => [ '-X', "$disk/wal" ],
    conf => "min_wal_size = 32MB\nmax_wal_size = 64MB\nwal_recycle = off\nrestart_after_crash = on\nmax_pred_locks_per_transaction = 256\n");
$node->safe_psql('postgres', "CREATE TABLESPACE small LOCATION '$disk/tables'");
$node->safe_psql('postgres', 'ALTER DATABASE postgres SET default_tablespace = small');
prepare_workload($node, seed() % 2 ? 'lean' : 'edfi');
prepare_role($node);
$node->safe_psql('postgres', 'CREATE TABLE work.filler (v text); GRANT ALL ON work.filler TO app; ALTER TABLE work.filler ALTER v SET STORAGE external');

# All that is free but some kB.
sub fill
{
    my ($keep) = @_;
    my ($free) = (split ' ', (run_command([ 'df', '--output=avail', '-B1024', $disk ]))[0])[-1];
    system_or_bail('fallocate', '-l', ($free - $keep) . 'KiB', "$disk/ballast") if $free > $keep;
    return;
}
my (%total, %full);
my $stop = time() + seconds();
my $rounds = 0;
do
{
    $rounds++;
    # WAL cannot grow either in every second round: then the server itself ends, and recovers once there is room.
    my $wal = $rounds % 2 == 0;
    $node->safe_psql('postgres', 'CHECKPOINT');
    # Room for WAL; the tables then grow into nothing.
    fill($wal ? 8000 : 40);
    local $ENV{DMS_REFS_SEED} = seed() * 100 + $rounds;
    start_sessions($node, 4, time() + 5, extra => sub { return ('INSERT INTO work.filler SELECT repeat(md5(random()::text), 60) FROM generate_series(1, 400)') x ($wal ? 0 : 2) });
    if ($wal)
    {
        # The next file of WAL is one too many.
        foreach (1 .. 4) { sleep 1; $node->psql('postgres', 'SELECT pg_switch_wal()') }
    }
    my $sessions = finish_all()->{session};
    unlink "$disk/ballast";
    $total{$_} += $sessions->{$_} foreach keys %$sessions;
    # A server that could not write WAL has gone; one that could not even recover is started again.
    if ($node->psql('postgres', 'SELECT 1') != 0)
    {
        $full{'servers that stopped'}++;
        if (-e $node->data_dir . '/postmaster.pid') { $node->poll_query_until('postgres', 'SELECT true') or $node->stop('immediate', fail_ok => 1) }
        $node->{_pid} = undef if !-e $node->data_dir . '/postmaster.pid';
        $node->start if !-e $node->data_dir . '/postmaster.pid';
    }
    is(unexpected($sessions, '53100', '57P02', '57P03', '23503', '58030'), '', "round $rounds: sessions met no error but that");
    $node->safe_psql('postgres', 'TRUNCATE work.filler');
    check_all($node, "round $rounds");
} while (time() < $stop);
figure('disk: calls', $total{calls});
figure('disk: statements without room', $total{'state 53100'} // 0);
figure('disk: servers that stopped', $full{'servers that stopped'} // 0);
cmp_ok($total{'state 53100'} // 0, '>', 0, 'the disk was full');
$node->stop;
done_testing();
