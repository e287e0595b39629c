# A streaming standby: the reading functions answer, the writing ones raise 25006, a session there follows what the
# primary does to rows and tables, and after promotion it writes.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use DmsRefs;
use PostgreSQL::Test::Cluster;
use Test::More;

my $primary = new_node('primary', allows_streaming => 1);
create_store($primary, 'dms', 'edfi', 40);
create_store($primary, 'small', 'lean', 40);
$primary->safe_psql('postgres', 'SELECT ' . call($_, 1, 2 .. 5)) foreach qw(dms small);

$primary->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'copy', has_streaming => 1);
$standby->start;

sub catch_up { return $primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert')) }

# The arguments of the functions for parent 1 and some numbers.
sub given
{
    my $list = '{' . join(',', @_) . '}';
    return "1, 1::smallint, t.ids('$list'), t.keys('$list')";
}

my %reading = (
    diff => 'SELECT action, alias_id FROM dms_refs.diff_references(' . given(4, 5, 6) . ', include_kept => true, store => %s) ORDER BY 2',
    resolve => q{SELECT ordinal, alias_id, document_id FROM dms_refs.resolve_references(t.ids('{7,99,8}'), t.keys('{7,99,8}'), %s)},
    find_invalid => q{SELECT ordinal FROM dms_refs.find_invalid_references(t.ids('{7,99,8}'), t.keys('{7,99,8}'), %s)},
    referencing => q{SELECT * FROM dms_refs.referencing_documents(5, 5::smallint, %s)},
    stores => q{SELECT store, layout, reads, reason FROM dms_refs.stores WHERE store = %s});
my %answers = (diff => "delete|2\ndelete|3\nkeep|4\nkeep|5\ninsert|6", resolve => "1|7|7\n2||\n3|8|8", find_invalid => '2', referencing => '1|1');
my %writing = (
    'drop-in' => 'SELECT %s.InsertReferences(' . given(4, 5, 6) . ')',
    insert => 'SELECT * FROM dms_refs.insert_references(' . given(4, 5, 6) . ', store => %s)',
    'insert, unchanged' => 'SELECT * FROM dms_refs.insert_references(' . given(2 .. 5) . ', store => %s)',
    'insert, invalid' => 'SELECT * FROM dms_refs.insert_references(' . given(99) . ', store => %s)',
    sync => 'SELECT * FROM dms_refs.sync_references(' . given(4, 5, 6) . ', store => %s)',
    batch => q{SELECT * FROM dms_refs.sync_references_batch('{1}', '{1}', '{1}', t.ids('{4}'), t.keys('{4}'), store => %s)},
    apply => q{SELECT * FROM dms_refs.apply_resolved_references(1, 1::smallint, '{4}', '{4}', '{4}', '{4}', store => %s)});

sub fill_in
{
    my ($sql, $store) = @_;
    return $sql =~ /%s\.Insert/ ? sprintf($sql, $store) : sprintf($sql, "'$store'");
}

# 25006 for each writing function, under a prefix of statements; the answers for each reading one.
sub only_reads
{
    my ($node, $name, $prefix) = @_;
    foreach my $store (qw(dms small))
    {
        foreach my $engine (qw(auto sql))
        {
            my $set = "SET dms_refs.engine = '$engine'; $prefix";
            foreach my $function (sort keys %reading)
            {
                my $sql = $set . fill_in($reading{$function}, $store);
                is($node->safe_psql('postgres', $sql), $answers{$function} // $primary->safe_psql('postgres', $sql),
                    "$name: $store: $engine: $function answers");
            }
            is(sqlstate($node, $set . fill_in($writing{$_}, $store)), '25006', "$name: $store: $engine: $_ is refused")
                foreach sort keys %writing;
        }
    }
    return;
}

catch_up();
only_reads($standby, 'standby', '');
only_reads($standby, 'standby, repeatable read', 'BEGIN ISOLATION LEVEL REPEATABLE READ;');
only_reads($primary, 'primary, read only', 'BEGIN READ ONLY;');
only_reads($primary, 'primary, read only by default', 'SET default_transaction_read_only = on;');
is(stored($primary, 'dms', 1), '2>2 3>3 4>4 5>5', 'nothing was written');

# A session on the standby that has looked already sees what comes from the primary.
my $session = $standby->background_psql('postgres');
my $diff = sub { return $session->query_safe(fill_in($reading{diff}, 'dms')) };
is($diff->(), $answers{diff}, 'an open session on the standby');
$primary->safe_psql('postgres', 'SELECT ' . call('dms', 1, 4, 5, 6));
catch_up();
is($diff->(), "keep|4\nkeep|5\nkeep|6", 'follows rows');
$primary->safe_psql('postgres', 'ALTER TABLE dms.reference RENAME TO links; ALTER TABLE dms.alias_06 RENAME TO six');
catch_up();
is($diff->(), "keep|4\nkeep|5\nkeep|6", 'follows renamed tables');
$primary->safe_psql('postgres', 'VACUUM FULL dms.six');
$primary->safe_psql('postgres', 'DELETE FROM dms.links WHERE parentdocumentid = 1 AND aliasid = 5');
$primary->safe_psql('postgres', 'VACUUM FULL dms.reference_01');
catch_up();
is($diff->(), "keep|4\ninsert|5\nkeep|6", 'follows rewritten tables');
$primary->safe_psql('postgres', 'CREATE TABLE dms.replacement (LIKE dms.links INCLUDING CONSTRAINTS);
    ALTER TABLE dms.links DETACH PARTITION dms.reference_01; ALTER TABLE dms.links ATTACH PARTITION dms.replacement FOR VALUES IN (1)');
catch_up();
is($diff->(), "insert|4\ninsert|5\ninsert|6", 'follows an exchanged partition');
$primary->safe_psql('postgres', q{SELECT dms_refs.unregister_store('dms')});
catch_up();
is(sqlstate($standby, fill_in($reading{diff}, 'dms')), '42704', 'follows a store that is no more');
$session->quit;

is(store_errors($standby), '', 'check_store works here, too, and finds nothing');
$primary->stop;
$standby->promote;
is($standby->safe_psql('postgres', 'SELECT * FROM ' . call('small', 1, 5, 6)), 't|{}', 'promoted: writes');
is(stored($standby, 'small', 1), '5>5 6>6', 'promoted: and stores');
is(store_errors($standby, 'small'), '', 'promoted: check_store finds nothing');
is(index_errors($standby), '', 'promoted: indexes and tables agree');
$standby->stop;
done_testing();
