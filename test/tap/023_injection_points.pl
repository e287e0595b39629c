# The narrow windows of a call, each held open by an injection point while another session does its worst in it: the
# outcome is what docs/concurrency.md says. Takes a server with injection points and their extension (tools/servers,
# 18-assert).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use DmsRefs;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my ($configured) = run_command([ $ENV{PG_CONFIG} // 'pg_config', '--configure' ]);
plan skip_all => 'the server has no injection points' unless $configured =~ /--enable-injection-points/;

my $node = new_node('narrow');
plan skip_all => 'the extension injection_points is not installed' unless $node->check_extension('injection_points');
$node->safe_psql('postgres', q{
    CREATE EXTENSION injection_points;
    -- What a statement returns, or its SQLSTATE.
    CREATE FUNCTION t.outcome(statement text) RETURNS text LANGUAGE plpgsql AS
        $$ DECLARE result text; BEGIN EXECUTE statement INTO result; RETURN result; EXCEPTION WHEN OTHERS THEN RETURN SQLSTATE; END $$;
});
create_store($node, 's', 'lean', 20);

my $seen; # what the other session's statement returned

# Runs a call in a session of its own that stops at a point, and meanwhile other statements. Returns what became of it.
sub stopped_at
{
    my ($point, $call, $meanwhile, %options) = @_;
    my $session = $options{session} // $node->background_psql('postgres');
    $session->query_safe($_) foreach @{ $options{before} // [] };
    $session->query_safe("SELECT injection_points_set_local(); SELECT injection_points_attach('$point', 'wait')");
    my $begin = $options{level} ? "BEGIN ISOLATION LEVEL $options{level};" : 'BEGIN;';
    $session->query_until(qr/started/, "\\echo started\n$begin SELECT 'outcome ' || t.outcome(\$call\$$call\$call\$); COMMIT;\n");
    $node->wait_for_event('client backend', $point);
    $seen = $node->safe_psql('postgres', $meanwhile);
    # It may come there again; then it goes on.
    $node->safe_psql('postgres', "SELECT injection_points_detach('$point'); SELECT injection_points_wakeup('$point')");
    my ($outcome) = $session->query_safe(q{SELECT 'done'}) =~ /outcome (.*)/;
    $session->quit unless $options{session};
    return $outcome eq 't' ? 'true' : $outcome eq 'f' ? 'false' : $outcome;
}

# The drop-in's first column.
sub saved { my ($parent, @numbers) = @_; return 'SELECT success FROM ' . call('s', $parent, @numbers) }
sub now { return stored($node, 's', 1) }
sub begin_with { $node->safe_psql('postgres', 'DELETE FROM s.reference; ' . saved(1, @_)); return }

foreach my $engine (qw(direct sql))
{
    my @engine = (before => ["SET dms_refs.engine = '$engine'"]);

    # After the first reading, before the parent's lock.
    begin_with(2, 3);
    is(stopped_at('dms_refs-before-parent-lock', saved(1, 3, 4), saved(1, 5, 6), @engine), 'true',
        "$engine: another set was saved before the parent's lock");
    is(now(), '3>3 4>4', "$engine: the later set stands, whole");
    is(stopped_at('dms_refs-before-parent-lock', saved(1, 3, 7), saved(1, 3, 7), @engine), 'true',
        "$engine: the same set was saved before the parent's lock");
    is(now(), '3>3 7>7', "$engine: it is there once");
    is(stopped_at('dms_refs-before-parent-lock', saved(1, 8), 'UPDATE s.alias SET (documentid, documentpartitionkey) = (12, 12) WHERE id = 8', @engine),
        'true', "$engine: an alias was given another target before the parent's lock");
    is(now(), '8>12', "$engine: the new target is stored");
    $node->safe_psql('postgres', 'UPDATE s.alias SET (documentid, documentpartitionkey) = (8, 8) WHERE id = 8');
    is(stopped_at('dms_refs-before-parent-lock', saved(1, 9), 'DELETE FROM s.alias WHERE id = 9', @engine), 'false',
        "$engine: an alias was deleted before the parent's lock: it no longer resolves");
    is(now(), '8>12', "$engine: nothing was written");
    fill_alias(9);
    is(stopped_at('dms_refs-before-parent-lock', saved(1, 2), saved(1, 3), @engine, level => 'REPEATABLE READ'), '40001',
        "$engine: on one snapshot that is a serialization failure");

    # Between the phases. Natively the alias is locked by then; for a statement the foreign key's trigger looks later.
    begin_with(2);
    if ($engine eq 'direct')
    {
        is(stopped_at('dms_refs-before-insert-phase', saved(1, 10), q{SELECT t.outcome('SELECT 1 FROM s.alias WHERE id = 10 FOR UPDATE NOWAIT')}, @engine),
            'true', 'the phase of insertions was reached');
        is($seen, '55P03', 'no alias can go before it');
    }
    else
    {
        is(stopped_at('dms_refs-before-insert-phase', saved(1, 10), 'DELETE FROM s.alias WHERE id = 10', @engine), '23503',
            'an alias was deleted between the phases');
        is(now(), '2>2', 'nothing was written');
        fill_alias(10);
    }
}

# Two stores change places by name before a statement runs: it must not reach the other's tables.
create_store($node, 'twin', 'lean', 20);
begin_with(2, 3);
my $swap = 'ALTER SCHEMA s RENAME TO old; ALTER SCHEMA twin RENAME TO s; ALTER SCHEMA old RENAME TO twin';
my $outcome = stopped_at('dms_refs-before-statement',
    q{SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids('{3,4}'), t.keys('{3,4}'), store => 's')},
    $swap, before => [q{SET dms_refs.engine = 'sql'}]);
like($outcome, qr/^(true|40001)$/, 'two stores changed places before a statement');
is(now(), '', 'the other store is as it was');
$node->safe_psql('postgres', $swap);
like(now(), $outcome eq 'true' ? qr/^3>3 4>4$/ : qr/^2>2 3>3$/, 'the set is the one that the outcome says');
$node->safe_psql('postgres', q{SELECT dms_refs.drop_store('twin')});

sub fill_alias
{
    my ($n) = @_;
    $node->safe_psql('postgres', qq{
        INSERT INTO s.alias (id, referentialpartitionkey, referentialid, documentid, documentpartitionkey)
            OVERRIDING SYSTEM VALUE VALUES ($n, $n % 16, t.id($n), $n, $n % 16)});
    return;
}

# Between resolving an alias and locking it.
begin_with(2);
is(stopped_at('dms_refs-before-alias-locks', saved(1, 11), 'DELETE FROM s.alias WHERE id = 11'), '23503',
    'an alias was deleted before its lock');
is(now(), '2>2', 'nothing was written');
fill_alias(11);

# A leaf is chosen, and then locked: meanwhile a partition is attached that takes the key from the default one.
$node->safe_psql('postgres', q{
    CREATE TABLE s.document_77 PARTITION OF s.document FOR VALUES IN (77);
    INSERT INTO s.document (id, documentpartitionkey) OVERRIDING SYSTEM VALUE VALUES (77, 77);
    CREATE TABLE s.reference_rest PARTITION OF s.reference DEFAULT;
    CREATE TABLE s.reference_77 (LIKE s.reference INCLUDING ALL)});
is(stopped_at('dms_refs-reference-leaf-chosen', q{SELECT success FROM dms_refs.insert_references(77, 77::smallint, t.ids('{2}'), t.keys('{2}'), store => 's')},
    'ALTER TABLE s.reference ATTACH PARTITION s.reference_77 FOR VALUES IN (77)'), 'true', 'a partition was attached while the default one was waited for');
is($node->safe_psql('postgres', 'SELECT tableoid::regclass FROM s.reference WHERE parentdocumentid = 77'), 's.reference_77', 'it has the row');

# A leaf was described for a reading call, and is believed by a writing one: meanwhile it got a trigger.
my $session = $node->background_psql('postgres');
$node->safe_psql('postgres', q{
    CREATE FUNCTION t.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = 'ZZ001'; END $$});
my $leaf = $node->safe_psql('postgres', 'SELECT DISTINCT tableoid::regclass FROM s.reference WHERE parentdocumentid = 1');
stopped_at('dms_refs-reference-leaf-described',
    q{SELECT count(*) FROM dms_refs.diff_references(1, 1::smallint, t.ids('{2}'), t.keys('{2}'), store => 's')},
    "CREATE TRIGGER refuse BEFORE INSERT ON $leaf FOR EACH ROW EXECUTE FUNCTION t.refuse()", session => $session);
is($session->query_safe('SELECT t.outcome($$' . saved(1, 2, 3) . '$$)'), 'ZZ001', 'a trigger made while its leaf was described fires');
$session->quit;
$node->safe_psql('postgres', "DROP TRIGGER refuse ON $leaf");

is(store_errors($node), '', 'check_store finds nothing');
is(index_errors($node), '', 'indexes agree with tables');
done_testing();
