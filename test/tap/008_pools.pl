# What connection pools do to a session: DISCARD ALL between calls, changes of role, prepared statements with custom
# and generic plans, stores that are dropped and made again meanwhile, and more sessions than connections.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use DmsRefs;
use Workload;
use Test::More;

my $node = new_node('pools');
prepare_workload($node, 'edfi');
create_store($node, 'small', 'lean', 40);
$node->safe_psql('postgres', q{
    CREATE ROLE client; CREATE ROLE stranger; CREATE ROLE reader;
    GRANT USAGE ON SCHEMA small, t TO client, stranger, reader;
    GRANT SELECT ON small.alias TO client, reader;
    GRANT SELECT, INSERT, UPDATE, DELETE ON small.reference TO client;
    GRANT SELECT ON small.reference TO reader});

# A session may be reset at any time: nothing that it knew is needed, nothing that it was told stays.
foreach my $engine (qw(direct sql))
{
    my $session = $node->background_psql('postgres');
    foreach my $reset ('DISCARD ALL', 'DISCARD PLANS', 'DISCARD SEQUENCES', 'DISCARD TEMP', 'RESET ALL', 'DEALLOCATE ALL')
    {
        $session->query_safe("SET dms_refs.engine = '$engine'; SET dms_refs.lock_parent = 'always'");
        is($session->query_safe('SELECT * FROM ' . call('small', 1, 2, 3)), 't|{}', "$engine: a call before $reset");
        $session->query_safe($reset);
        is($session->query_safe('SHOW dms_refs.engine'), $reset =~ /ALL/ && $reset !~ /DEALLOCATE/ ? 'auto' : $engine, "$engine: $reset: the setting");
        is($session->query_safe('SELECT * FROM ' . call('small', 1, 2, 3)), 't|{}', "$engine: $reset: unchanged");
        is($session->query_safe('SELECT * FROM ' . call('small', 1, 4, 3)), 't|{}', "$engine: $reset: changed");
        is($session->query_safe('SELECT * FROM ' . call('small', 1, 4, 99)), 'f|{00000000-0000-0000-0000-000000000099}', "$engine: $reset: invalid");
        is(stored($node, 'small', 1), '3>3 4>4', "$engine: $reset: stored");
    }

    # Statements prepared once, run with every kind of plan, over a change of table, and over another store of the
    # same name.
    foreach my $mode (qw(auto force_custom_plan force_generic_plan))
    {
        $session->query_safe("DISCARD ALL; SET dms_refs.engine = '$engine'; SET plan_cache_mode = '$mode'");
        $session->query_safe('PREPARE save(bigint, smallint, uuid[], smallint[]) AS SELECT * FROM small.InsertReferences($1, $2, $3, $4)');
        $session->query_safe(q{PREPARE batch(uuid[], smallint[]) AS
            SELECT ordinal, path FROM dms_refs.sync_references_batch('{1,2}', '{1,2}', '{1,1}', $1, $2, store => 'small')});
        $session->query_safe('SELECT small.InsertReferences(2, 2::smallint, $${}$$, $${}$$)');
        my $execute = sub {
            my $list = '{' . join(',', @_) . '}';
            return $session->query_safe("EXECUTE save(1, 1, t.ids('$list'), t.keys('$list'))");
        };
        my $expected = sub { return join ' ', map { "$_>$_" } @_ };
        my @wrong = grep { $execute->($_, $_ + 1) ne 't|{}' || stored($node, 'small', 1) ne $expected->($_, $_ + 1) } 2 .. 9;
        is("@wrong", '', "$engine: $mode: a prepared call, eight times");
        is($session->query_safe(q{EXECUTE batch(t.ids('{9,9}'), t.keys('{9,9}'))}), "1|delete_only\n2|pure_insert", "$engine: $mode: a prepared batch");
        is($session->query_safe(q{EXECUTE batch(t.ids('{9,9}'), t.keys('{9,9}'))}), "1|unchanged\n2|unchanged", "$engine: $mode: once more");
        $node->safe_psql('postgres', 'ALTER TABLE small.reference ADD COLUMN note text');
        is($execute->(5), 't|{}', "$engine: $mode: after a column was added");
        $node->safe_psql('postgres', 'ALTER TABLE small.reference DROP COLUMN note');
        is($execute->(6, 5), 't|{}', "$engine: $mode: and dropped again");
        is(stored($node, 'small', 1), '5>5 6>6', "$engine: $mode: stored");
    }
    $session->query_safe('DEALLOCATE batch');
    $node->safe_psql('postgres', q{SELECT dms_refs.drop_store('small', true)});
    create_store($node, 'small', 'lean', 40);
    $node->safe_psql('postgres', q{
        GRANT USAGE ON SCHEMA small TO client, stranger, reader;
        GRANT SELECT ON small.alias TO client, reader;
        GRANT SELECT, INSERT, UPDATE, DELETE ON small.reference TO client;
        GRANT SELECT ON small.reference TO reader});
    is($session->query_safe(q{EXECUTE save(1, 1, t.ids('{7}'), t.keys('{7}'))}), 't|{}', "$engine: a prepared call on a new store of the same name");
    is(stored($node, 'small', 1), '7>7', "$engine: is stored there");
    $session->quit;
}

# One session, several roles: rights are the current role's, at every call.
foreach my $engine (qw(auto sql))
{
    my $session = $node->background_psql('postgres', on_error_stop => 0);
    my $try = sub {
        my ($role, $sql) = @_;
        $session->query_safe("SET ROLE $role; SET dms_refs.engine = '$engine'");
        my $answer = $session->query("SELECT code FROM t.try(\$try\$ $sql \$try\$)");
        $session->query_safe('RESET ROLE');
        return $answer;
    };
    my $save = 'SELECT ' . call('small', 1, 2, 3);
    my $other = 'SELECT ' . call('small', 1, 3);
    my $diff = q{SELECT * FROM dms_refs.diff_references(1, 1::smallint, t.ids('{3}'), t.keys('{3}'), store => 'small')};
    foreach my $round (1 .. 2)
    {
        is($try->('client', $save), '00000', "$engine: round $round: who may write writes");
        is($try->('stranger', $save), '42501', "$engine: round $round: who has no right may not send an unchanged set");
        is($try->('reader', $save), '42501', "$engine: round $round: nor who may only read");
        is($try->('reader', $other), '42501', "$engine: round $round: nor a changed one");
        is($try->('reader', $diff), '00000', "$engine: round $round: but compare");
        is($try->('stranger', $diff), '42501', "$engine: round $round: which a stranger may not");
        is($try->('client', $other), '00000', "$engine: round $round: the writer goes on");
    }
    $node->safe_psql('postgres', 'REVOKE INSERT ON small.reference FROM client');
    is($try->('client', $save), '42501', "$engine: a right that was taken away is missed at the next call");
    $node->safe_psql('postgres', 'GRANT INSERT ON small.reference TO client');
    is($try->('client', $save), '00000', "$engine: and had again at the one after");
    $session->quit;
}

# More clients than a pool would have connections, each transaction on a session that was just reset, or a new one.
my $clients = 24;
my $save = script('save') . "DISCARD ALL;\n";
my $drop_in = script('drop_in') . "DISCARD ALL;\n";
$node->pgbench("-n -c $clients -j 2 -t 25 -M simple", 0, [qr{actually processed: 600/600}], [qr/^(?!.*ERROR)/s],
    'every session reset after each transaction', { pooled_save => $save, pooled_drop_in => $drop_in });
$node->pgbench("-n -c $clients -j 2 -t 5 -C -M extended", 0, [qr{actually processed: 120/120}], [qr/^(?!.*ERROR)/s],
    'a connection a transaction', { new_save => script('save'), new_batch => script('batch') });
settled($node, 'pooled sessions');

$node->stop;
done_testing();
