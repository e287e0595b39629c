# Calls inside prepared transactions: their locks stand while the transaction is prepared, also over a crash; what was
# prepared is there after COMMIT PREPARED and nowhere after ROLLBACK PREPARED.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use DmsRefs;
use Test::More;

my $node = new_node('prepared', conf => "max_prepared_transactions = 10\n");

# Does not wait for a row lock: 55P03.
sub impatiently { return sqlstate($node, "SET lock_timeout = '1ms'; $_[0]") }

sub prepare
{
    my ($id, $engine, @calls) = @_;
    $node->safe_psql('postgres', join "\n", "SET dms_refs.engine = '$engine';", 'BEGIN;', (map { "SELECT $_;" } @calls), "PREPARE TRANSACTION '$id';");
    return;
}

foreach my $layout (qw(edfi lean))
{
    create_store($node, $layout, $layout, 40);
    foreach my $engine (qw(direct sql))
    {
        my $name = "$layout $engine";
        foreach my $end (qw(COMMIT ROLLBACK))
        {
            $node->safe_psql('postgres', 'SELECT ' . call($layout, 1, 2 .. 5));
            $node->safe_psql('postgres', 'SELECT ' . call($layout, 2));
            prepare('changed', $engine, call($layout, 1, 4, 5, 6, 7), call($layout, 2, 8), call($layout, 1, 5, 6));
            is(stored($node, $layout, 1), '2>2 3>3 4>4 5>5', "$name: prepared: not seen by others");
            is(sqlstate($node, 'SELECT ' . call($layout, 1, 2 .. 5)), '00000', "$name: an unchanged call does not wait");
            is(impatiently('SELECT ' . call($layout, 1, 9)), '55P03', "$name: a writer of the same parent waits");
            is(impatiently("DELETE FROM $layout.alias WHERE referentialpartitionkey = 6 AND id = 6"), '55P03', "$name: who deletes its alias waits");
            is(impatiently("DELETE FROM $layout.document WHERE documentpartitionkey = 2 AND id = 2"), '55P03', "$name: who deletes its parent waits");
            is(impatiently('SELECT ' . call($layout, 3, 6)), '00000', "$name: another parent takes the same alias without waiting");
            $node->safe_psql('postgres', 'CHECKPOINT') if $end eq 'COMMIT';

            $node->stop('immediate');
            $node->start;
            is(impatiently('SELECT ' . call($layout, 1, 9)), '55P03', "$name: after a crash the locks stand");
            is(impatiently("DELETE FROM $layout.alias WHERE referentialpartitionkey = 6 AND id = 6"), '55P03', "$name: the alias', too") if $end eq 'ROLLBACK';

            $node->safe_psql('postgres', "$end PREPARED 'changed'");
            is(stored($node, $layout, 1), $end eq 'COMMIT' ? '5>5 6>6' : '2>2 3>3 4>4 5>5', "$name: $end PREPARED: first parent");
            is(stored($node, $layout, 2), $end eq 'COMMIT' ? '8>8' : '', "$name: $end PREPARED: second parent");
            is(impatiently('SELECT ' . call($layout, 1, 9)), '00000', "$name: the locks are gone");
            is(stored($node, $layout, 1), '9>9', "$name: the next call finds its way from there");
        }

        # A transaction that changed nothing holds nothing.
        $node->safe_psql('postgres', 'SELECT ' . call($layout, 1, 2 .. 5));
        prepare('unchanged', $engine, call($layout, 1, 2 .. 5), call($layout, 2, 99));
        is(impatiently('SELECT ' . call($layout, 1, 9)), '00000', "$name: prepared without a change: nobody waits");
        $node->safe_psql('postgres', q{COMMIT PREPARED 'unchanged'});
        is(stored($node, $layout, 1), '9>9', "$name: and nothing comes of it");

        # At REPEATABLE READ the set that was committed from prepared state counts as any other.
        prepare('later', $engine, call($layout, 1, 4));
        my $session = $node->background_psql('postgres', on_error_stop => 0);
        $session->query_safe("SET dms_refs.engine = '$engine'; BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM $layout.reference");
        $node->safe_psql('postgres', q{COMMIT PREPARED 'later'});
        is($session->query('SELECT code FROM t.try($try$ SELECT ' . call($layout, 1, 7) . ' $try$)'), '40001', "$name: committed after the snapshot: 40001");
        $session->query_safe('ROLLBACK');
        $session->quit;
        is(stored($node, $layout, 1), '4>4', "$name: and the committed set stays");
    }
    is(store_errors($node, $layout), '', "$layout: check_store finds nothing");
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts'), 0, 'nothing is left prepared');
is(index_errors($node), '', 'indexes and tables agree');
$node->stop;
done_testing();
