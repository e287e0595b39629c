# What the TAP tests share: a node, a store filled with numbered documents, and the checks that follow a test.
#
# Document n of a store lives in partition n % partitions; alias n names document n; its referential id is n
# written as a uuid. Schema t holds the functions that build arguments: t.ids('{2,3}'), t.keys('{2,3}').
package DmsRefs;

use strict;
use warnings;
use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Time::HiRes qw(usleep);

our @EXPORT = qw(new_node configure create_store fill_store call stored index_errors set_errors_query store_errors wal_records sqlstate kill_postmaster);

use constant CONFIGURATION => q{
autovacuum = off
checkpoint_timeout = 1h
log_statement = none
max_connections = 60
shared_buffers = 32MB
max_wal_size = 1GB
};

# A running node. Options are those of init; conf adds settings.
sub new_node
{
    my ($name, %options) = @_;
    my $conf = delete $options{conf} // '';
    my $node = PostgreSQL::Test::Cluster->new($name);
    $node->init(%options);
    $node->append_conf('postgresql.conf', CONFIGURATION . $conf);
    $node->start;
    configure($node);
    return $node;
}

# The extension and the helper functions, in a database.
sub configure
{
    my ($node, $database) = @_;
    $node->safe_psql($database // 'postgres', q{
        CREATE EXTENSION dms_refs;
        CREATE EXTENSION amcheck;
        CREATE SCHEMA t;
        CREATE FUNCTION t.id(n int) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$ SELECT lpad(n::text, 32, '0')::uuid $$;
        CREATE FUNCTION t.ids(numbers int[]) RETURNS uuid[] LANGUAGE sql IMMUTABLE AS
            $$ SELECT array(SELECT t.id(n) FROM unnest(numbers) WITH ORDINALITY u(n, o) ORDER BY o) $$;
        CREATE FUNCTION t.keys(numbers int[], partitions int = 16) RETURNS smallint[] LANGUAGE sql IMMUTABLE AS
            $$ SELECT array(SELECT n % partitions FROM unnest(numbers) WITH ORDINALITY u(n, o) ORDER BY o)::smallint[] $$;
        -- The SQLSTATE and message of a statement, or that it was done.
        CREATE FUNCTION t.try(statement text, OUT code text, OUT message text) LANGUAGE plpgsql AS
            $$ BEGIN EXECUTE statement; code := '00000'; EXCEPTION WHEN OTHERS THEN code := SQLSTATE; message := SQLERRM; END $$;
    });
    return;
}

# A store of that name and layout with that many documents, an alias each, and no reference.
sub create_store
{
    my ($node, $store, $layout, $documents, $partitions) = @_;
    $partitions //= 16;
    $node->safe_psql('postgres', "SELECT dms_refs.create_store('$store', $partitions, '$layout')");
    fill_store($node, $store, $layout, $documents, $partitions);
    return;
}

sub fill_store
{
    my ($node, $store, $layout, $documents, $partitions) = @_;
    my ($columns, $values) = $layout eq 'edfi'
      ? (', documentuuid, resourcename, resourceversion, isdescriptor, projectname, edfidoc, lastmodifiedtraceid',
         q{, t.id(n), 'r', '1', false, 'p', '{}', 't'})
      : ('', '');
    $node->safe_psql('postgres', qq{
        INSERT INTO $store.document (id, documentpartitionkey$columns) OVERRIDING SYSTEM VALUE
            SELECT n, n % $partitions$values FROM generate_series(1, $documents) n;
        INSERT INTO $store.alias (id, referentialpartitionkey, referentialid, documentid, documentpartitionkey) OVERRIDING SYSTEM VALUE
            SELECT n, n % $partitions, t.id(n), n, n % $partitions FROM generate_series(1, $documents) n;
        SELECT setval(pg_get_serial_sequence('$store.document', 'id'), $documents),
               setval(pg_get_serial_sequence('$store.alias', 'id'), $documents);
    });
    return;
}

# The text of a drop-in call that gives a parent the numbered references.
sub call
{
    my ($store, $parent, @numbers) = @_;
    my $list = '{' . join(',', @numbers) . '}';
    return "$store.InsertReferences($parent, (t.keys('{$parent}'))[1], t.ids('$list'), t.keys('$list'))";
}

# What a parent refers to, as "alias>document" words.
sub stored
{
    my ($node, $store, $parent) = @_;
    return $node->safe_psql('postgres', qq{
        SELECT string_agg(aliasid || '>' || referenceddocumentid, ' ' ORDER BY aliasid)
        FROM $store.reference WHERE parentdocumentid = $parent});
}

# Every valid B-tree index against its table, every table against itself: empty where all is well.
sub index_errors
{
    my ($node) = @_;
    my $relations = q{FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname NOT LIKE 'pg_%' AND n.nspname NOT IN ('information_schema', 'dms_refs')};
    my ($code, $out, $err) = $node->psql('postgres', qq{
        SELECT count(bt_index_check(c.oid, true)) $relations
          AND c.relkind = 'i' AND EXISTS (SELECT FROM pg_index i WHERE i.indexrelid = c.oid AND i.indisvalid) AND c.relam = (SELECT oid FROM pg_am WHERE amname = 'btree');
        SELECT c.relname, v.* FROM (SELECT c.oid, c.relname $relations AND c.relkind = 'r') c, verify_heapam(c.oid) v;});
    return "indexes: $err" if $code != 0;
    my ($indexes, @damage) = split /\n/, $out;
    return 'no index was checked' if $indexes == 0;
    return join "\n", @damage;
}

# Rows that must not be there, for a session of its own: the same reference twice, a missing parent, a missing alias, an alias without its document.
sub set_errors_query
{
    my ($store) = @_;
    return qq{
        SELECT 'twice: parent ' || parentdocumentid || ' alias ' || aliasid FROM $store.reference
            GROUP BY parentdocumentpartitionkey, parentdocumentid, aliasid HAVING count(*) > 1
        UNION ALL
        SELECT 'no parent: ' || parentdocumentid FROM $store.reference r WHERE NOT EXISTS
            (SELECT FROM $store.document d WHERE (d.documentpartitionkey, d.id) = (r.parentdocumentpartitionkey, r.parentdocumentid))
        UNION ALL
        SELECT 'no alias: ' || aliasid FROM $store.reference r WHERE NOT EXISTS
            (SELECT FROM $store.alias a WHERE (a.referentialpartitionkey, a.id) = (r.referentialpartitionkey, r.aliasid))
        UNION ALL
        SELECT 'no document: alias ' || id FROM $store.alias a WHERE NOT EXISTS
            (SELECT FROM $store.document d WHERE (d.documentpartitionkey, d.id) = (a.documentpartitionkey, a.documentid))};
}

# What check_store finds in a store, or in all of the database: empty where all is well. Kinds of violations that a test
# brings about, and means to, are named.
sub store_errors
{
    my ($node, $store, %options) = @_;
    my $which = defined $store ? "'$store'" : 'store';
    my $allowed = join ', ', map { "'$_'" } '', @{ $options{allowed} // [] };
    my ($code, $out, $err) = $node->psql($options{database} // 'postgres', qq{
        SELECT s.store, c.* FROM dms_refs.store_config s, dms_refs.check_store(s.store) c
        WHERE s.store = $which AND c.violation NOT IN ($allowed) ORDER BY 1, 2, 3, 4 LIMIT 20});
    return $code == 0 && $err eq '' ? $out : "$out$err";
}

# The WAL between two positions: a hash of "relation:KIND" (or ":KIND" without a relation) to its number of records,
# a record of several tuples counted as many times. Record kinds are named as pg_waldump names them.
sub wal_records
{
    my ($node, $from, $to) = @_;
    return {} if $from eq $to;
    my %relation = map { split /\|/ } split /\n/, $node->safe_psql('postgres', q{
        SELECT pg_relation_filenode(oid) || '|' || relname FROM pg_class WHERE pg_relation_filenode(oid) IS NOT NULL});
    my ($out, $err) = run_command([ 'pg_waldump', '--path', $node->data_dir . '/pg_wal', '--start', $from, '--end', $to ]);
    my %count;
    foreach my $line (split /\n/, $out)
    {
        my ($manager, $rest) = $line =~ /^rmgr: (\S+)\s.*?desc: (.*)$/ or next;
        my ($kind) = $rest =~ /^(\S+)/;
        my ($tuples) = $kind =~ /^MULTI_INSERT/ && $rest =~ /(?:ntuples: (\d+)|(\d+) tuples)/ ? $1 // $2 : 1;
        my ($node_number) = $rest =~ m{blkref #0: rel \d+/\d+/(\d+)};
        my $name = defined $node_number ? $relation{$node_number} // "filenode $node_number" : '';
        # The first row of a page is an INSERT+INIT; several rows together are inserted like one after the other.
        $kind =~ s/\+INIT.*//;
        $kind = 'INSERT' if $kind eq 'MULTI_INSERT';
        $kind = "$manager $kind" if $manager !~ /^Heap/;
        $count{"$name:$kind"} += $tuples;
    }
    return \%count;
}

# The SQLSTATE of a statement in a session of its own.
sub sqlstate
{
    my ($node, $sql, $database) = @_;
    my ($code, $out, $err) = $node->psql($database // 'postgres', "\\set VERBOSITY sqlstate\n$sql", on_error_stop => 0);
    return $err =~ /ERROR:  (\w{5})/ ? $1 : '00000';
}

# Kills the postmaster alone and starts again: its orphans may still be on their way out.
sub kill_postmaster
{
    my ($node) = @_;
    my ($pid) = split /\n/, slurp_file($node->data_dir . '/postmaster.pid');
    my $tries = $PostgreSQL::Test::Utils::timeout_default * 10;
    $node->kill9;
    usleep(100_000) while kill(0, $pid) && $tries-- > 0;
    until ($node->start(fail_ok => 1))
    {
        die 'the server does not come back' if $tries-- <= 0;
        usleep(100_000);
        $node->stop('fast', fail_ok => 1);
    }
    return;
}

1;
