# Many clients save random sets to a few parents at once, one by one and in batches, with every engine, while others
# delete documents and change aliases: afterwards each parent has exactly one of the sets, the one saved last.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use DmsRefs;
use Workload;
use PostgreSQL::Test::Utils;
use Test::More;

use constant CLIENTS => 8;
my $loads = 0;

# Runs scripts (name => weight) until every client has done its share; nothing may fail that is not retried.
sub load
{
    my ($node, $name, $transactions, $options, %weights) = @_;
    $loads++;
    my %files = map { ("${loads}_$_\@$weights{$_}" => script($_)) } sort keys %weights;
    my $clients = CLIENTS;
    my $all = $clients * $transactions;
    $node->pgbench("-n -c $clients -j 2 -t $transactions -M prepared --random-seed=$transactions $options", 0,
        [ qr{actually processed: $all/$all}, qr{number of failed transactions: 0} ], [qr/^(?!.*ERROR)/s], $name, \%files);
    return;
}

sub deadlocks
{
    my ($node) = @_;
    return $node->safe_psql('postgres', q{SELECT deadlocks FROM pg_stat_database WHERE datname = 'postgres'});
}

sub isolation
{
    my ($node, $level) = @_;
    $node->safe_psql('postgres', "ALTER DATABASE postgres SET default_transaction_isolation = '$level'");
    return;
}

foreach my $layout (qw(edfi lean))
{
    my $node = new_node("concurrency_$layout", conf => "max_pred_locks_per_transaction = 256\n");
    prepare_workload($node, $layout);

    load($node, "$layout: saves", 150, '', save => 5, drop_in => 3, batch => 2);
    settled($node, "$layout: saves");
    cmp_ok($node->safe_psql('postgres', 'SELECT min(saves) FROM work.ledger'), '>', 10, "$layout: every parent was changed often");

    load($node, "$layout: with aliases and documents that change", 150, '',
        save => 6, drop_in => 3, recreate => 1, retarget => 2, replace_alias => 2);
    settled($node, "$layout: with aliases and documents that change");
    is(deadlocks($node), 0, "$layout: no deadlock at READ COMMITTED");

    # Whoever replaces an alias locks it and then rows that refer to it, a batch the other way round, as any statement
    # of several rows does: there, deadlocks are the server's to find and the client's to retry.
    load($node, "$layout: batches too", 80, '--max-tries=1000',
        save => 3, batch => 4, recreate => 1, retarget => 2, replace_alias => 1);
    settled($node, "$layout: batches too");

    foreach my $level ('repeatable read', 'serializable')
    {
        isolation($node, $level);
        load($node, "$layout: $level", 50, '--max-tries=10000', save => 5, drop_in => 3, batch => 2, recreate => 1, retarget => 1);
        isolation($node, 'read committed');
        settled($node, "$layout: $level");
    }
    $node->stop;
}
done_testing();
