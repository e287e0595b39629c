# DDL at random beside calls: columns, triggers, constraints, indexes, partitions detached and attached concurrently, rewrites, row security,
# renames, and two stores whose schemas are exchanged, while many sessions call at mixed levels and are cancelled and ended.
# log allows: tuple concurrently (updated|deleted)
# log allows: WARNING:  there is (already a|no) transaction in progress
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../tap/lib";
use DmsRefs;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);
use Torture;
use Workload;

diag('DMS_REFS_SEED=' . seed() . ' seconds=' . seconds());
my $layout = seed() % 2 ? 'edfi' : 'lean';
my $node = new_node('ddl', conf => "max_pred_locks_per_transaction = 256\nmax_locks_per_transaction = 256\ndeadlock_timeout = 100ms\n");
prepare_workload($node, $layout);
prepare_role($node);

# Two stores whose schemas change places: a set of each must end in its own tables.
create_store($node, $_, 'lean', 24, 4) foreach 'blue', 'green';
$node->safe_psql('postgres', q{
    CREATE TABLE work.exchanged (store name, parent int, numbers int[], PRIMARY KEY (store, parent));
    INSERT INTO work.exchanged SELECT s, p, '{}' FROM unnest('{blue,green}'::name[]) s, generate_series(1, 4) p;
    -- Blue's sets are even numbers, green's odd.
    CREATE FUNCTION work.save_in(store name, p int, numbers int[]) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM work.use_engine(1 + (p + cardinality(numbers)) % 4);
        PERFORM FROM dms_refs.sync_references(p, (p % 4)::smallint, t.ids(numbers), t.keys(numbers, 4), store => save_in.store) HAVING count(*) > 0;
        IF FOUND THEN UPDATE work.exchanged e SET numbers = save_in.numbers WHERE e.store = save_in.store AND parent = p; END IF;
    END $$;
    GRANT USAGE ON SCHEMA blue, green TO app; GRANT ALL ON ALL TABLES IN SCHEMA blue, green, work TO app;});
sub save_in
{
    my $odd = chance(0.5) ? 1 : 0;
    return "SELECT work.save_in('@{[ $odd ? 'green' : 'blue' ]}', @{[ 1 + int(rand(4)) ]}, '{" . join(',', map { 2 * $_ + 4 - $odd } grep { chance(0.4) } 1 .. 8) . "}')";
}

sub leaf { my ($table) = @_; return sprintf 'dms.%s_%02d', $table, int(rand(16)) }

# One statement, or several that stand each for themselves.
my @ddl = (
    sub { my $c = 'extra_' . int(rand(3)); one_of("ALTER TABLE dms.reference ADD COLUMN $c int" . one_of('', ' DEFAULT 7', ' GENERATED ALWAYS AS (referenceddocumentid::int * 2) STORED'), "ALTER TABLE dms.reference DROP COLUMN $c") },
    sub { my $c = 'more_' . int(rand(3)); one_of("ALTER TABLE dms.alias ADD COLUMN $c text", "ALTER TABLE dms.alias DROP COLUMN $c", "ALTER TABLE dms.alias ALTER $c TYPE varchar(99)") },
    sub { my $t = 'trigger_' . int(rand(4)); one_of("DROP TRIGGER $t ON dms.reference", "DROP TRIGGER $t ON dms.reference", map { "CREATE TRIGGER $t $_ EXECUTE FUNCTION work.nothing()" }
                'AFTER INSERT OR DELETE ON dms.reference FOR EACH ROW', 'BEFORE INSERT OR UPDATE OR DELETE ON dms.reference FOR EACH ROW', 'AFTER INSERT ON dms.reference FOR EACH STATEMENT') },
    sub { my $c = 'check_' . int(rand(2)); one_of("ALTER TABLE dms.reference ADD CONSTRAINT $c CHECK (aliasid > 0)", "ALTER TABLE dms.reference DROP CONSTRAINT $c") },
    sub { 'ALTER TABLE dms.reference ALTER CONSTRAINT fk_reference_' . one_of('parentdocument', 'referencedalias') . one_of(' DEFERRABLE', ' DEFERRABLE INITIALLY DEFERRED', ' NOT DEFERRABLE') },
    sub { my $i = 'ix_' . int(rand(3)); one_of("CREATE INDEX $i ON dms.reference (aliasid)", "DROP INDEX dms.$i", "CREATE INDEX CONCURRENTLY leaf_$i ON " . leaf('reference') . ' (referenceddocumentid)', "DROP INDEX CONCURRENTLY dms.leaf_$i") },
    sub { 'REINDEX TABLE CONCURRENTLY ' . leaf(one_of('reference', 'alias', 'document')) },
    sub { 'VACUUM FULL ' . leaf(one_of('reference', 'alias', 'document')) },
    sub { 'VACUUM (FREEZE) dms.' . one_of('reference', 'alias', 'document') },
    sub { my $t = one_of('reference', 'alias'); my $leaf = leaf($t); "SELECT work.cluster('$leaf')" },
    sub { 'ALTER TABLE dms.' . one_of('reference', 'alias') . one_of(' ENABLE', ' DISABLE', ' DISABLE') . ' ROW LEVEL SECURITY' },
    sub { ('ALTER TABLE dms.reference RENAME TO reference_renamed', 'SELECT pg_sleep(0.1)', 'ALTER TABLE dms.reference_renamed RENAME TO reference') },
    sub { 'BEGIN; ALTER SCHEMA blue RENAME TO other; ALTER SCHEMA green RENAME TO blue; ALTER SCHEMA other RENAME TO green; COMMIT' },
    sub { 'BEGIN; ALTER SCHEMA blue RENAME TO other; ALTER SCHEMA green RENAME TO blue; ALTER SCHEMA other RENAME TO green; COMMIT' },
    sub { 'ALTER TABLE ' . leaf('reference') . ' REPLICA IDENTITY ' . one_of('FULL', 'DEFAULT', 'NOTHING') },
    sub { 'ALTER TABLE ' . leaf(one_of('reference', 'alias')) . ' SET (fillfactor = ' . one_of(50, 90, 100) . ')' },
    sub {
        my $key = int(rand(16));
        my $name = sprintf 'dms.reference_%02d', $key;
        ("ALTER TABLE dms.reference DETACH PARTITION $name CONCURRENTLY", "ALTER TABLE dms.reference DETACH PARTITION $name FINALIZE", 'SELECT pg_sleep(0.05)', "ALTER TABLE dms.reference ATTACH PARTITION $name FOR VALUES IN ($key)");
    },
);
$node->safe_psql('postgres', q{
    CREATE FUNCTION work.nothing() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN coalesce(NEW, OLD); END $$;
    CREATE FUNCTION work.cluster(leaf regclass) RETURNS void LANGUAGE plpgsql AS
        $$ BEGIN EXECUTE format('CLUSTER %s USING %I', leaf, (SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE indrelid = leaf AND indisvalid AND c.relam = 403 ORDER BY random() LIMIT 1)); END $$;});

my $until = time() + seconds();
start_sessions($node, 6, $until, extra => sub { return map { save_in() } 1 .. 6 });
start_chaos($node, $until);
foreach my $n (1 .. 2)
{
    start_loop('ddl', 600 + $n, $until, sub {
        my @sql = map { one_of(@ddl)->() } 1 .. 5;
        my $result = Torture::run_chunk($node, 'ddl', [ 'SET lock_timeout = 3000;', 'SET statement_timeout = 20000;' ], @sql);
        return { (map { $_ => $result->{$_} } grep { !/calls/ } keys %$result) };
    });
}
my $all = finish_all();

# Every partition comes back before anything is looked at. One that was away has neither the columns nor the constraints of the others.
$node->psql('postgres', 'ALTER TABLE dms.reference_renamed RENAME TO reference');
foreach my $pending (split /\n/, $node->safe_psql('postgres', 'SELECT inhrelid::regclass FROM pg_inherits WHERE inhdetachpending'))
{
    $node->safe_psql('postgres', "ALTER TABLE dms.reference DETACH PARTITION $pending FINALIZE");
}
$node->safe_psql('postgres', q{DO $$
DECLARE
    added text := 'DROP COLUMN IF EXISTS extra_0, DROP COLUMN IF EXISTS extra_1, DROP COLUMN IF EXISTS extra_2, DROP CONSTRAINT IF EXISTS check_0, DROP CONSTRAINT IF EXISTS check_1';
BEGIN
    SET LOCAL client_min_messages = error;
    EXECUTE 'ALTER TABLE dms.reference ' || added;
    FOR key IN 0 .. 15 LOOP
        IF NOT (SELECT relispartition FROM pg_class WHERE oid = format('dms.reference_%s', to_char(key, 'FM00'))::regclass) THEN
            EXECUTE format('ALTER TABLE dms.reference_%s %s', to_char(key, 'FM00'), added);
            EXECUTE format('ALTER TABLE dms.reference ATTACH PARTITION dms.reference_%s FOR VALUES IN (%s)', to_char(key, 'FM00'), key);
        END IF;
    END LOOP;
END $$});
my ($sessions, $ddl) = @$all{ 'session', 'ddl' };
figure($_->[0], $_->[1]) foreach [ 'ddl: calls' => $sessions->{calls} ], [ 'ddl: statements of DDL' => $ddl->{statements} ], [ 'ddl: of them refused' => sum_of($ddl, '^state ') ],
  [ 'ddl: cancels' => $all->{chaos}{cancels} ], [ 'ddl: terminates' => $all->{chaos}{terminates} ], [ 'ddl: serialization failures and deadlocks' => sum_of($sessions, '40001|40P01') ];
note('sessions: ' . join(', ', map { "$_ $sessions->{$_}" } sort keys %$sessions));
note('ddl: ' . join(', ', map { "$_ $ddl->{$_}" } sort keys %$ddl));
# 23514: the partition is not there. 23503: an alias or document has gone meanwhile. 0A000: engine direct, in a shape that it cannot write.
is(unexpected($sessions, '23514', '23503', '0A000'), '', 'sessions met no error but those of concurrency');
cmp_ok($sessions->{calls}, '>', 100, 'there were calls');
cmp_ok($ddl->{statements} - sum_of($ddl, '^state '), '>', 10, 'and DDL');
check_all($node, 'ddl');
is($node->safe_psql('postgres', q{
    SELECT x.store, x.parent, x.numbers, f.found FROM work.exchanged x JOIN dms_refs.stores s USING (store),
        LATERAL (SELECT array_agg(n ORDER BY n) AS found FROM (SELECT (xpath('/row/n/text()', r))[1]::text::int AS n FROM unnest(xpath('//row',
            query_to_xml(format('SELECT aliasid AS n FROM %s WHERE parentdocumentid = %s', s.reference, x.parent), false, false, ''))) r) y) f
    WHERE coalesce(found, '{}') <> x.numbers}), '', 'ddl: each set is in the tables of its own store, whatever their schemas are called');
$node->stop;
done_testing();
