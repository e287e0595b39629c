# Stages that are altered or dropped while a session holds rows of them, where it takes prepared transactions, a second session, or a
# server that gives an OID out again.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use DmsRefs;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('staging_altered', conf => "max_prepared_transactions = 10\n");

# --- prepared transactions: refused where rows would be lost, else the rows are what the outcome says ---
my $prepared = sub {
    my ($name, $before, $in, $outcome, $expected) = @_;
    my $session = $node->background_psql('postgres', on_error_stop => 0);
    $session->query(q{\set VERBOSITY sqlstate});
    $session->query_safe(q{SELECT dms_refs.create_stage('s', columns => 'id int', key => '{id}', on_commit => 'preserve')});
    $session->query_safe($before) if $before;
    $session->query("BEGIN; $in; PREPARE TRANSACTION 'p'");
    $session->{stderr} = '';
    my $prepared = $node->safe_psql('postgres', 'SELECT count(*) FROM pg_prepared_xacts');
    $session->query_safe("$outcome PREPARED 'p'") if $prepared;
    my $rows = $node->safe_psql('postgres', q{SELECT count(*) FROM pg_class WHERE relname = 's'})
      ? $session->query_safe(q{SELECT coalesce(string_agg(id::text, ' ' ORDER BY id), 'none') FROM s}) : 'dropped';
    is(($prepared ? 'prepared' : 'refused') . ": $rows", $expected, $name);
    $session->query_safe('DROP FOREIGN TABLE s') unless $rows eq 'dropped';
    is($session->query_safe(q{SELECT count(*) FROM pg_backend_memory_contexts WHERE name = 'dms_refs stage rows'}), 0, 'no memory is left');
    $session->quit;
};
my $three = 'INSERT INTO s VALUES (1), (2), (3)';
my $delete = q{ALTER FOREIGN TABLE s OPTIONS (SET on_commit 'delete')};
$prepared->('DROP, taken back', $three, 'DROP FOREIGN TABLE s', 'ROLLBACK', 'prepared: 1 2 3');
$prepared->('DROP', $three, 'DROP FOREIGN TABLE s', 'COMMIT', 'prepared: dropped');
$prepared->('DROP after a change', $three, 'DELETE FROM s; DROP FOREIGN TABLE s', 'ROLLBACK', 'refused: 1 2 3');
$prepared->('ALTER, taken back', $three, $delete, 'ROLLBACK', 'prepared: 1 2 3');
$prepared->('ALTER and a look, taken back', $three, "$delete; SELECT count(*) FROM s", 'ROLLBACK', 'prepared: 1 2 3');
$prepared->('TRUNCATE and ALTER', $three, "TRUNCATE s; $delete; SELECT count(*) FROM s", 'ROLLBACK', 'refused: 1 2 3');
$prepared->('a column added, and a look', $three, 'ALTER FOREIGN TABLE s ADD x int; SELECT * FROM s', 'ROLLBACK', 'prepared: 1 2 3');
$prepared->('rows added', '', $three, 'COMMIT', 'refused: none');
$prepared->('rows added and taken away', '', "$three; DELETE FROM s", 'COMMIT', 'prepared: none');
$prepared->('a savepoint rolled back', $three, 'SAVEPOINT x; DELETE FROM s; ROLLBACK TO x', 'COMMIT', 'prepared: 1 2 3');

# --- an OID that is given out again ---
$node->stop;
system_or_bail('pg_ctl', '-w', '-D', $node->data_dir, '-l', $node->logfile, '-o', '-b', 'start');
$node->_update_pid(1);
# Late minor releases of 15 to 17 want to be told the versions of columns, too.
my $versioned = $node->safe_psql('postgres', q{SELECT count(*) FROM pg_proc WHERE proname = 'binary_upgrade_set_next_attribute_versions'});
my $create = sub {
    my ($class, $type, $array) = @_;
    return ($versioned ? q{SELECT pg_catalog.binary_upgrade_set_next_attribute_versions('{0/1}');} : '') . "
        SELECT pg_catalog.binary_upgrade_set_next_heap_pg_class_oid('$class'), pg_catalog.binary_upgrade_set_next_pg_type_oid('$type'),
            pg_catalog.binary_upgrade_set_next_array_pg_type_oid('$array');
        CREATE FOREIGN TABLE s (id int) SERVER dms_refs_stage OPTIONS (on_commit 'preserve', key 'id');";
};
my $session = $node->background_psql('postgres');
$node->safe_psql('postgres', $create->(70001, 70002, 70003));
$session->query_safe($three);
is($session->query_safe('SELECT count(*) FROM s'), 3, 'rows of the first owner of the OID');
$node->safe_psql('postgres', 'DROP FOREIGN TABLE s; ' . $create->(70001, 70002, 70003));
is($session->query_safe('SELECT rows FROM dms_refs.stages'), 0, 'not shown as rows of the second');
is($session->query_safe('SELECT count(*) FROM s'), 0, 'nor read as such');
$session->query_safe('INSERT INTO s VALUES (1)');
is($session->query_safe('BEGIN; SELECT count(*) FROM s; ROLLBACK'), 1, 'its own rows are');
$node->safe_psql('postgres', 'DROP FOREIGN TABLE s; ' . $create->(70001, 70002, 70003));
is($session->query_safe('BEGIN; SELECT count(*) FROM s; ROLLBACK'), 0, 'a transaction that looks at the third');
is($session->query_safe('SELECT count(*) FROM s'), 0, 'and is rolled back brings nothing to life');
is($session->query_safe('INSERT INTO s VALUES (1), (2); SELECT count(*) FROM s'), 2, 'it takes rows');
$session->quit;
$node->stop;
done_testing();
