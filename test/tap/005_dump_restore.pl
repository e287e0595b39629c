# A database with stores of every kind is dumped and restored: the stores serve as before, also those whose tables
# were renamed or moved to another schema before the dump, and a dump of the copy is the same dump.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use DmsRefs;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('dump');
create_store($node, 'dms', 'edfi', 40);
create_store($node, 'small', 'lean', 40, 4);
create_store($node, 'moved', 'edfi', 40);

# Tables of an application, with names of their own, not partitioned, with drop-in functions in a third schema.
$node->safe_psql('postgres', q{
    CREATE SCHEMA app; CREATE SCHEMA api;
    CREATE TABLE app."Doc" (part smallint, no bigint, body text, PRIMARY KEY (part, no));
    CREATE TABLE app.names (no bigint GENERATED ALWAYS AS IDENTITY, part smallint, ref_uuid uuid, doc_no bigint, doc_part smallint,
        PRIMARY KEY (part, no), UNIQUE (part, ref_uuid), FOREIGN KEY (doc_part, doc_no) REFERENCES app."Doc" ON DELETE CASCADE);
    CREATE TABLE app.refs (doc_no bigint, doc_part smallint, "Name part" smallint, name_no bigint, to_part smallint, to_no bigint,
        PRIMARY KEY (doc_part, doc_no, name_no),
        FOREIGN KEY (doc_part, doc_no) REFERENCES app."Doc" ON DELETE CASCADE,
        FOREIGN KEY ("Name part", name_no) REFERENCES app.names (part, no) ON DELETE RESTRICT);
    SELECT dms_refs.register_store('own', 'app."Doc"', 'app.names', 'app.refs', '{
        "document.id": "no", "document.documentpartitionkey": "part",
        "alias.id": "no", "referentialid": "ref_uuid", "alias.referentialpartitionkey": "part",
        "alias.documentid": "doc_no", "alias.documentpartitionkey": "doc_part",
        "parentdocumentid": "doc_no", "parentdocumentpartitionkey": "doc_part",
        "aliasid": "name_no", "reference.referentialpartitionkey": "Name part",
        "referenceddocumentpartitionkey": "to_part", "referenceddocumentid": "to_no"}', 'api');
    INSERT INTO app."Doc" SELECT n % 16, n, 'x' FROM generate_series(1, 40) n;
    INSERT INTO app.names (no, part, ref_uuid, doc_no, doc_part) OVERRIDING SYSTEM VALUE
        SELECT n, n % 16, t.id(n), n, n % 16 FROM generate_series(1, 40) n;
});

# Every store's calls, by the schema of its drop-in functions, with the store's number of partitions.
my %stores = (dms => [ 'dms', 16 ], small => [ 'small', 4 ], moved => [ 'moved', 16 ], own => [ 'api', 16 ]);

sub arguments
{
    my ($parent, $partitions, @numbers) = @_;
    my $list = '{' . join(',', @numbers) . '}';
    return "$parent, ($parent % $partitions)::smallint, t.ids('$list'), t.keys('$list', $partitions)";
}

sub ask
{
    my ($database, $sql) = @_;
    return $node->safe_psql($database, $sql);
}

# What each store does and knows, after parents 1 to 3 were given their sets.
sub serves
{
    my ($database, $name) = @_;
    foreach my $store (sort keys %stores)
    {
        my ($schema, $partitions) = @{ $stores{$store} };
        my $drop_in = sub { "SELECT * FROM $schema.InsertReferences(" . arguments(@_) . ')' };
        my $given = sub { return arguments(1, $partitions, @_) . ", include_kept => true, store => '$store'" };
        is(ask($database, 'SELECT action, alias_id FROM dms_refs.sync_references(' . $given->(5, 4, 3) . ') ORDER BY 2'),
            "keep|3\nkeep|4\nkeep|5", "$name: $store: unchanged");
        is(ask($database, $drop_in->(1, $partitions, 4, 5, 6, 39)), 't|{}', "$name: $store: changed by the drop-in");
        is(ask($database, 'SELECT action, alias_id, referenced_document_id FROM dms_refs.diff_references('
                . $given->(3, 4) . ') ORDER BY 2'),
            "insert|3|3\nkeep|4|4\ndelete|5|5\ndelete|6|6\ndelete|39|39", "$name: $store: and stored");
        is(ask($database, $drop_in->(1, $partitions, 4, 99)), 'f|{00000000-0000-0000-0000-000000000099}',
            "$name: $store: invalid");
        is(ask($database, $drop_in->(1, $partitions, 3, 4, 5)), 't|{}', "$name: $store: back again");
        is(ask($database, "SELECT parent_document_id FROM dms_refs.referencing_documents(4, (4 % $partitions)::smallint, '$store') ORDER BY 1"),
            "1\n2\n3", "$name: $store: referencing documents");
    }
    return;
}

foreach my $store (sort keys %stores)
{
    my ($schema, $partitions) = @{ $stores{$store} };
    ask('postgres', "SELECT $schema.InsertReferences(" . arguments($_, $partitions, 3, 4, 5) . ')') foreach 1 .. 3;
}
serves('postgres', 'at first');

# Renames and moves are followed, and dumped under the new names.
ask('postgres', q{
    ALTER TABLE moved.reference RENAME TO "Links";
    ALTER TABLE moved.alias_03 RENAME TO three;
    CREATE SCHEMA elsewhere; ALTER TABLE moved.document SET SCHEMA elsewhere;
    ALTER SCHEMA app RENAME TO application});
serves('postgres', 'renamed');

my $description = q{
    SELECT store, layout, document, alias, reference, columns, drop_in_schema, reads, writes, reason FROM dms_refs.stores ORDER BY store};
my $expected = ask('postgres', $description);
like($expected, qr/moved\|edfi\|elsewhere\.document\|moved\.alias\|moved\."Links"/, 'the view shows the new names');

sub dump_of
{
    my ($database) = @_;
    my ($out, $err) = run_command([ 'pg_dump', '--dbname', $node->connstr($database) ]);
    # Some servers fence a dump in with a random word.
    return join "\n", grep { !/^\\(?:un)?restrict / } split /\n/, $out;
}

my $before = dump_of('postgres');
my $folder = $node->basedir;
my @source = ('--dbname', $node->connstr('postgres'));
$node->command_ok([ 'pg_dump', '--format=custom', "--file=$folder/custom", @source ], 'dumped, custom format');
$node->command_ok([ 'pg_dump', '--format=directory', '--jobs=2', "--file=$folder/directory", @source ], 'dumped, directory format');
$node->command_ok([ 'pg_dump', "--file=$folder/plain", @source ], 'dumped, plain');

my %restore = (
    custom => [ 'pg_restore', '--exit-on-error', '--single-transaction', "$folder/custom" ],
    directory => [ 'pg_restore', '--exit-on-error', '--jobs=2', "$folder/directory" ],
    plain => [ 'psql', '--no-psqlrc', '--quiet', '--set=ON_ERROR_STOP=1', '--output=/dev/null', "--file=$folder/plain" ]);
foreach my $format (sort keys %restore)
{
    my $database = "from_$format";
    ask('postgres', "CREATE DATABASE $database TEMPLATE template0");
    $node->command_ok([ @{ $restore{$format} }, '--dbname', $node->connstr($database) ], "$format: restored");
    is(ask($database, $description), $expected, "$format: the same stores");
    ok(dump_of($database) eq $before, "$format: the same dump");
    serves($database, $format);
    is(store_errors($node, undef, database => $database), '', "$format: check_store finds nothing");
    is(ask($database, q{SELECT dms_refs.drop_store('dms', true); SELECT dms_refs.unregister_store('own');
            SELECT string_agg(store, ',' ORDER BY store) FROM dms_refs.stores}), "\n\nmoved,small", "$format: stores can be dropped");
}

$node->stop;
done_testing();
