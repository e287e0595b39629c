# The server is killed in the middle of a load, in three ways, and comes back: every parent has the set of its last
# committed save, the indexes agree with the tables, and no acknowledged save is lost.
# log allows: was terminated by signal 9
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use DmsRefs;
use Workload;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

sub saves { return $_[0]->safe_psql('postgres', 'SELECT sum(saves) FROM work.ledger') }

# A load in the background that would go on for ever.
sub start_load
{
    my ($node) = @_;
    my @files;
    foreach my $what (qw(save drop_in batch recreate))
    {
        my $file = $node->basedir . "/$what.sql";
        unlink $file;
        append_to_file($file, script($what));
        push @files, "--file=$file\@" . ($what eq 'recreate' ? 1 : 5);
    }
    my %load = (out => '', err => '');
    $load{run} = IPC::Run::start(
        [ 'pgbench', '-n', '-c', '6', '-j', '2', '-t', '1000000', '-M', 'prepared', @files,
          '--host', $node->host, '--port', $node->port, 'postgres' ],
        '<', \undef, '>', \$load{out}, '2>', \$load{err});
    return \%load;
}

# Returns when the load has changed something like that many sets.
sub wait_for_saves
{
    my ($node, $more) = @_;
    my $enough = saves($node) + $more;
    return $node->poll_query_until('postgres', "SELECT sum(saves) >= $enough FROM work.ledger");
}

my %ways = (
    'immediate stop' => sub { $_[0]->stop('immediate'); $_[0]->start },
    'kill -9 of the postmaster' => \&kill_postmaster,
    # The postmaster ends all others and recovers by itself.
    'kill -9 of a backend' => sub {
        my ($node) = @_;
        my $before = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');
        my $log = -s $node->logfile;
        my $backend = $node->safe_psql('postgres', q{
            SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY pid LIMIT 1});
        kill 'KILL', $backend;
        $node->wait_for_log(qr/database system is ready to accept connections/, $log);
        $node->poll_query_until('postgres', 'SELECT true');
        is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'), $before, 'the postmaster recovered by itself');
    });

foreach my $layout (qw(edfi lean))
{
    my $node = new_node("crash_$layout", conf => "restart_after_crash = on\n");
    prepare_workload($node, $layout);

    foreach my $way (sort keys %ways)
    {
        my $load = start_load($node);
        ok(wait_for_saves($node, 100), "$layout: $way: the load is under way");
        # Recovery starts at a checkpoint in the middle of it.
        $node->safe_psql('postgres', 'CHECKPOINT');
        ok(wait_for_saves($node, 100), "$layout: $way: and goes on after a checkpoint");
        my $committed = saves($node);
        $ways{$way}->($node);
        $load->{run}->finish;
        unlike($load->{err}, qr/ERROR:  /, "$layout: $way: no call failed but by the crash");
        cmp_ok(saves($node), '>=', $committed, "$layout: $way: what was committed is there");
        settled($node, "$layout: $way");
    }

    # One client after the other call: each save that was answered is there after the crash.
    my $session = $node->background_psql('postgres');
    foreach my $k (1 .. 20)
    {
        $session->query_safe("SELECT work.save(1, $k, 1 + $k % 4, $k % 2 = 0)");
    }
    $session->query_safe('BEGIN; SELECT work.save(1, 21, 2, false); SELECT work.save(2, 21, 3, false)');
    $node->stop('immediate');
    $session->{run}->finish;
    $node->start;
    is($node->safe_psql('postgres', 'SELECT k FROM work.ledger WHERE parent = 1'), 20,
        "$layout: the last acknowledged save is there, the open transaction is not");
    settled($node, "$layout: acknowledged saves");
    $node->safe_psql('postgres', 'SELECT work.save(p, 29, 1, true) FROM generate_series(1, 12) p');
    settled($node, "$layout: saved after the crash");
    $node->stop;
}
done_testing();
