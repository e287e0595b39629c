# Logical decoding sees exactly the delta of a call, and a publication asks of it what it asks of SQL.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use DmsRefs;
use Test::More;

my $node = new_node('logical', allows_streaming => 'logical', conf => "wal_log_hints = off\n");
$node->safe_psql('postgres', q{SELECT pg_create_logical_replication_slot('changes', 'test_decoding')});

# What was decoded since the last time, without transaction boundaries, identity values and column types.
sub changes
{
    my $decoded = $node->safe_psql('postgres', q{
        SELECT data FROM pg_logical_slot_get_changes('changes', NULL, NULL, 'include-xids', '0', 'skip-empty-xacts', '1')});
    my @changes;
    foreach my $line (split /\n/, $decoded)
    {
        next if $line =~ /^(?:BEGIN|COMMIT)/;
        my ($table, $what, $row) = $line =~ /^table (\S+): (\w+): (.*)$/ or return "not understood: $line";
        my %value = $row =~ /(\w+)\[[^\]]+\]:(\S+)/g;
        push @changes, "$what $table " . ($what eq 'DELETE' && !exists $value{aliasid} ? 'by identity' :
            $value{aliasid} . ($what eq 'DELETE' ? '' : ">$value{referenceddocumentid}"));
    }
    return join "\n", @changes;
}

sub transactions
{
    return $node->safe_psql('postgres', q{
        SELECT count(*) FROM pg_logical_slot_get_changes('changes', NULL, NULL, 'skip-empty-xacts', '1') WHERE data LIKE 'BEGIN%'});
}

# Makes an alias name another document.
sub retarget
{
    my ($store, $alias, $document) = @_;
    $node->safe_psql('postgres', qq{
        UPDATE $store.alias SET documentid = $document, documentpartitionkey = $document % 16
        WHERE referentialpartitionkey = $alias % 16 AND id = $alias});
    return;
}

sub run_sql
{
    my ($engine, $sql) = @_;
    return $node->safe_psql('postgres', "SET dms_refs.engine = '$engine'; $sql");
}

foreach my $layout (qw(edfi lean))
{
    create_store($node, $layout, $layout, 40);
    my $leaf = "$layout.reference_01";
    foreach my $engine (qw(direct sql))
    {
        my $name = "$layout $engine";
        run_sql($engine, 'SELECT ' . call($layout, 1, 2 .. 6));
        run_sql($engine, 'SELECT ' . call($layout, 2, 3));
        run_sql($engine, 'SELECT ' . call($layout, 17));
        transactions();

        # The lean layout's identity is (parent, alias), so a delete names the alias.
        my $deleted = sub { my ($alias) = @_; return "DELETE $leaf " . ($layout eq 'lean' ? $alias : 'by identity') };
        run_sql($engine, 'SELECT ' . call($layout, 1, 6, 5, 4, 3, 2));
        run_sql($engine, 'SELECT ' . call($layout, 1, 2, 99));
        is(changes(), '', "$name: unchanged and invalid: nothing");

        run_sql($engine, 'SELECT ' . call($layout, 1, 8, 4, 5, 6, 7));
        is(changes(), join("\n", $deleted->(2), $deleted->(3), "INSERT $leaf 7>7", "INSERT $leaf 8>8"),
            "$name: changed: deletes, then inserts, by alias");

        run_sql($engine, 'SELECT ' . call($layout, 17, 12, 11));
        is(changes(), "INSERT $leaf 11>11\nINSERT $leaf 12>12", "$name: pure insert");

        retarget($layout, 5, 21);
        transactions();
        run_sql($engine, 'SELECT ' . call($layout, 1, 4, 5, 6, 7, 8, 9));
        is(changes(), "UPDATE $leaf 5>21\nINSERT $leaf 9>9", "$name: an alias with another document: update");
        retarget($layout, 5, 5);
        run_sql($engine, 'SELECT ' . call($layout, 1, 4, 5, 6, 7, 8, 9));
        transactions();

        # Documents 17 unchanged, 2 changed, 1 emptied, 3 invalid; by parent key and id, whatever the order of the call.
        run_sql($engine, qq{SELECT * FROM dms_refs.sync_references_batch('{2,17,1,3}', '{2,1,1,3}', '{2,2,0,1}',
            t.ids('{3,4,11,12,99}'), t.keys('{3,4,11,12,99}'), store => '$layout')});
        is(changes(), join("\n", (map { $deleted->($_) } 4 .. 9), "INSERT $layout.reference_02 4>4"), "$name: batch");

        run_sql($engine, 'BEGIN; SELECT ' . call($layout, 1, 2, 3) . '; SAVEPOINT a; SELECT ' . call($layout, 1, 9)
            . '; ROLLBACK TO a; SELECT ' . call($layout, 2) . '; COMMIT');
        is(changes(), join("\n", "INSERT $leaf 2>2", "INSERT $leaf 3>3", map { s/_01/_02/r } map { $deleted->($_) } 3, 4),
            "$name: two calls of a transaction, one rolled back");
        run_sql($engine, 'BEGIN; SELECT ' . call($layout, 1, 9) . '; ROLLBACK');
        is(changes(), '', "$name: rolled back: nothing");

        # All columns as identity: a delete shows the whole row.
        $node->safe_psql('postgres', "ALTER TABLE $leaf REPLICA IDENTITY FULL");
        run_sql($engine, 'SELECT ' . call($layout, 1, 3));
        is(changes(), "DELETE $leaf 2", "$name: replica identity full");
        $node->safe_psql('postgres', "ALTER TABLE $leaf REPLICA IDENTITY DEFAULT");

        run_sql($engine, 'SELECT ' . call($layout, $_)) foreach 1, 2, 17;
    }
}

# What a publication refuses, it refuses to every engine as to plain SQL: same SQLSTATE, same message.
sub refusal
{
    my ($engine, $statement) = @_;
    return $node->safe_psql('postgres', "SET dms_refs.engine = '$engine'; SELECT code, message FROM t.try(\$try\$ $statement \$try\$)");
}

sub all_refuse
{
    my ($name, $call, $plain) = @_;
    my $expected = refusal('sql', $plain);
    like($expected, qr/^(?:55000|42P10)\|/, "$name: plain SQL is refused");
    is(refusal($_, "SELECT $call"), $expected, "$name: $_ engine alike") foreach qw(direct sql auto);
    return;
}

my $row = 'parentdocumentpartitionkey = 1 AND parentdocumentid = 1 AND aliasid = 2';
my $delete = "DELETE FROM edfi.reference_01 WHERE $row";
my $update = "UPDATE edfi.reference_01 SET referenceddocumentid = 21, referenceddocumentpartitionkey = 5 WHERE $row";
run_sql('auto', 'SELECT ' . call('edfi', 1, 2, 3));
$node->safe_psql('postgres', q{
    CREATE PUBLICATION everything FOR TABLE edfi.reference;
    ALTER TABLE edfi.reference_01 REPLICA IDENTITY NOTHING});
all_refuse('no identity', call('edfi', 1, 3), $delete);
retarget('edfi', 2, 21);
all_refuse('no identity, update', call('edfi', 1, 2, 3), $update);
is(refusal($_, 'SELECT ' . call('edfi', 1, 2, 3, 30)), refusal('sql', $update),
    "no identity: insert and update: $_ engine refuses both") foreach qw(direct sql);
retarget('edfi', 2, 2);
foreach my $engine (qw(direct sql))
{
    is(refusal($engine, 'SELECT ' . call('edfi', 1, 3, 2)), '00000|', "no identity: $engine: unchanged goes through");
    is(refusal($engine, 'SELECT ' . call('edfi', 17, 3, 2)), '00000|', "no identity: $engine: inserts go through");
    # Away with them, past the publication.
    run_sql('sql', q{ALTER PUBLICATION everything SET (publish = 'insert'); SELECT } . call('edfi', 17)
        . q{; ALTER PUBLICATION everything SET (publish = 'insert, update, delete, truncate')});
}
$node->safe_psql('postgres', 'ALTER TABLE edfi.reference_01 REPLICA IDENTITY DEFAULT; DROP PUBLICATION everything;
    CREATE PUBLICATION some_rows FOR TABLE edfi.reference_01 WHERE (aliasid > 1)');
all_refuse('row filter beside the identity', call('edfi', 1, 3), $delete);
$node->safe_psql('postgres', 'DROP PUBLICATION some_rows; CREATE PUBLICATION everything FOR TABLE edfi.reference');
my %next = (direct => 3, sql => 2);
foreach my $engine (sort keys %next)
{
    is(refusal($engine, 'SELECT ' . call('edfi', 1, $next{$engine})), '00000|', "default identity: $engine engine goes through");
    is(stored($node, 'edfi', 1), "$next{$engine}>$next{$engine}", 'and does what it should');
}
is(store_errors($node), '', 'check_store finds nothing');
is(index_errors($node), '', 'indexes and tables agree');

$node->stop;
done_testing();
