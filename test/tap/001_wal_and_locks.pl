# What a call leaves behind: nothing where nothing changes (no WAL, no transaction id, no row lock, no identity
# value), and else the delta and no more, read from the WAL itself and from the server's counters.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use DmsRefs;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('wal');

my %indexes = (edfi => 4, lean => 3);    # of a leaf of reference

sub lsn { return $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()') }

# Leaves nothing to be done by a reader: no hint bit to set, no tuple to prune, no lock in a row header.
sub settle
{
    $node->safe_psql('postgres', 'VACUUM FREEZE');
    $node->safe_psql('postgres', 'CHECKPOINT');
    return;
}

# The WAL of some statements that are sent in one session, each its own transaction.
sub wal_of
{
    my ($engine, @statements) = @_;
    my $out = $node->safe_psql('postgres', join("\n", "SET dms_refs.engine = '$engine';", 'SELECT pg_current_wal_insert_lsn();',
        (map { "$_;" } @statements), 'SELECT pg_current_wal_insert_lsn();'));
    my @lines = split /\n/, $out;
    return wal_records($node, $lines[0], $lines[-1]);
}

sub changed_tuples
{
    my ($store) = @_;
    return qq{SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) FROM pg_stat_xact_user_tables WHERE schemaname = '$store'};
}

# Rows whose header names a locker or a deleter.
sub marked_rows
{
    my ($store) = @_;
    return join ' + ', map { "(SELECT count(*) FROM $store.$_ WHERE xmax <> 0)" } qw(document alias reference);
}

# Makes alias 5 name another document.
sub retarget
{
    my ($store, $document) = @_;
    $node->safe_psql('postgres', qq{
        UPDATE $store.alias SET documentid = $document, documentpartitionkey = $document % 16
        WHERE referentialpartitionkey = 5 AND id = 5});
    return;
}

sub identity { return $node->safe_psql('postgres', 'SELECT last_value FROM edfi.reference_id_seq') }

foreach my $layout (qw(edfi lean))
{
    my $store = $layout;
    create_store($node, $store, $layout, 40);
    $node->safe_psql('postgres', 'SELECT ' . call($store, 1, 2 .. 11));
    settle();

    my $list = "'{11,10,9,8,7,6,5,4,3,2,2}'";
    my $given = "1, 1::smallint, t.ids($list), t.keys($list)";
    my %nothing_to_do = (
        'drop-in' => "SELECT * FROM $store.InsertReferences($given)",
        'insert_references' => "SELECT * FROM dms_refs.insert_references($given, store => '$store')",
        'told to be a pure insert' => "SELECT * FROM dms_refs.insert_references($given, true, store => '$store')",
        'sync_references' => "SELECT * FROM dms_refs.sync_references($given, include_kept => true, store => '$store')",
        'diff_references' => "SELECT * FROM dms_refs.diff_references($given, include_kept => true, store => '$store')",
        'diff of another set' => qq{SELECT * FROM dms_refs.diff_references(
            1, 1::smallint, t.ids('{12}'), t.keys('{12}'), store => '$store')},
        'sync_references_batch' => qq{SELECT * FROM dms_refs.sync_references_batch(
            '{2,1}', '{2,1}', '{0,11}', t.ids($list), t.keys($list), store => '$store')},
        'apply_resolved_references' => qq{SELECT * FROM dms_refs.apply_resolved_references(
            1, 1::smallint, t.keys($list), $list, $list, t.keys($list), store => '$store')},
        'empty set' => 'SELECT * FROM ' . call($store, 2),
        'invalid ids' => 'SELECT * FROM ' . call($store, 1, 2, 99),
        'invalid ids in a batch' => qq{SELECT * FROM dms_refs.sync_references_batch(
            '{1}', '{1}', '{2}', t.ids('{2,99}'), t.keys('{2,99}'), store => '$store')},
        'resolve_references' => "SELECT * FROM dms_refs.resolve_references(t.ids($list), t.keys($list), '$store')",
        'find_invalid_references' => "SELECT * FROM dms_refs.find_invalid_references(t.ids($list), t.keys($list), '$store')",
        'referencing_documents' => "SELECT * FROM dms_refs.referencing_documents(5, 5::smallint, '$store')",
    );

    foreach my $engine (qw(direct sql))
    {
        foreach my $name (sort keys %nothing_to_do)
        {
            my $call = $nothing_to_do{$name};
            is_deeply(wal_of($engine, ($call) x 20), {}, "$layout $engine: $name: no WAL");
            is($node->safe_psql('postgres', qq{
                SET dms_refs.engine = '$engine';
                BEGIN;
                SELECT count(*) >= 0 FROM ($call) c;
                SELECT coalesce(pg_current_xact_id_if_assigned()::text, 'none');
                SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype IN ('transactionid', 'tuple');
                @{[ changed_tuples($store) ]};
                COMMIT;
                SELECT @{[ marked_rows($store) ]}}),
                "t\nnone\n0\n0\n0", "$layout $engine: $name: no transaction id, tuple lock, row written or marked");
        }
        is(identity(), 10, "$engine: no identity value used") if $layout eq 'edfi';
    }
    is(stored($node, $store, 1), join(' ', map { "$_>$_" } 2 .. 11), "$layout: the set is as it was");

    foreach my $engine (qw(direct sql))
    {
        $node->safe_psql('postgres', 'SELECT ' . call($store, 1, 2 .. 11));
        settle();
        my $used = $layout eq 'edfi' ? identity() : 0;
        my $leaf = 'reference_01';

        # 2 rows out, 2 in, 8 kept.
        my $wal = wal_of($engine, 'SELECT * FROM ' . call($store, 1, 4 .. 13));
        is(delete $wal->{"$leaf:INSERT"}, 2, "$layout $engine: 2 of 10 changed: rows inserted");
        is(delete $wal->{"$leaf:DELETE"}, 2, "$layout $engine: rows deleted");
        is(delete $wal->{'document_01:LOCK'}, 1, "$layout $engine: the parent locked");
        is_deeply([ map { delete $wal->{"alias_$_:LOCK"} } qw(12 13) ], [ 1, 1 ],
            "$layout $engine: only the aliases of the new rows locked");
        my $entries = 0;
        $entries += delete $wal->{$_} foreach grep { /^reference_01.*:Btree INSERT_LEAF/ } keys %$wal;
        is($entries, 2 * $indexes{$layout}, "$layout $engine: an index entry a new row and index");
        is(delete $wal->{':Transaction COMMIT'}, 1, "$layout $engine: one commit");
        delete $wal->{'reference_id_seq:Sequence LOG'};
        is_deeply($wal, {}, "$layout $engine: and nothing else");
        is(identity() - $used, 2, "$engine: two identity values used") if $layout eq 'edfi';

        # Deletes alone, then an alias that names another document.
        settle();
        $wal = wal_of($engine, 'SELECT * FROM ' . call($store, 1, 4 .. 12));
        is_deeply($wal, { "$leaf:DELETE" => 1, 'document_01:LOCK' => 1, ':Transaction COMMIT' => 1 }, "$layout $engine: one deleted");
        retarget($store, 20);
        settle();
        $wal = wal_of($engine, 'SELECT * FROM ' . call($store, 1, 4 .. 12));
        is($wal->{"$leaf:UPDATE"}, 1, "$layout $engine: retargeted: one row updated");
        delete $wal->{$_} foreach grep { /^reference_01.*:Btree INSERT_LEAF/ } keys %$wal;
        is_deeply($wal, { "$leaf:UPDATE" => 1, 'document_01:LOCK' => 1, ':Transaction COMMIT' => 1 }, "$layout $engine: and nothing else");
        is(identity() - $used, 2, "$engine: no identity value used for it") if $layout eq 'edfi';
        retarget($store, 5);

        # The first rows of a parent.
        $node->safe_psql('postgres', 'SELECT ' . call($store, 17));
        settle();
        $wal = wal_of($engine, 'SELECT * FROM ' . call($store, 17, 20 .. 29));
        is($wal->{"$leaf:INSERT"}, 10, "$layout $engine: pure insert: ten rows");
        my @aliases = map { sprintf 'alias_%02d:LOCK', $_ % 16 } 20 .. 29;
        is_deeply([ @{$wal}{ 'document_01:LOCK', @aliases } ], [ (1) x 11 ], "$layout $engine: the parent and ten aliases locked, each once");
        is_deeply([ grep { !/^(?:reference_01.*|reference_id_seq|document_01:LOCK|alias_\d\d:LOCK|:Transaction COMMIT$)/ } keys %$wal ],
            [], "$layout $engine: no other relation touched");
        is(identity() - $used, 12, "$engine: ten identity values used") if $layout eq 'edfi';

        # The counters say the same.
        is($node->safe_psql('postgres', qq{
            SET dms_refs.engine = '$engine';
            BEGIN;
            SELECT (@{[ call($store, 17, 20 .. 27, 30) ]}).success;
            SELECT relname, n_tup_ins, n_tup_upd, n_tup_del FROM pg_stat_xact_user_tables
            WHERE schemaname = '$store' AND n_tup_ins + n_tup_upd + n_tup_del > 0;
            ROLLBACK}), "t\n$leaf|1|0|2", "$layout $engine: one inserted and two deleted rows counted");

        # Told to lock the parent always, an unchanged call does that and no more.
        settle();
        is_deeply(wal_of($engine, "SET dms_refs.lock_parent = 'always'", 'SELECT * FROM ' . call($store, 17, 20 .. 29)),
            { 'document_01:LOCK' => 1, ':Transaction COMMIT' => 1 }, "$layout $engine: lock_parent = always");
        # Never: the foreign key still wants the parent to stay.
        settle();
        is_deeply(wal_of($engine, "SET dms_refs.lock_parent = 'never'", 'SELECT * FROM ' . call($store, 17, 20 .. 28)),
            { "$leaf:DELETE" => 1, ':Transaction COMMIT' => 1 }, "$layout $engine: lock_parent = never");
    }
    is(store_errors($node, $store, allowed => ['other target']), '', "$layout: check_store finds nothing but the targets that were given resolved");
}
is(index_errors($node), '', 'indexes and tables agree');

$node->stop;
done_testing();
