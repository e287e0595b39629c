# Memory: sessions whose address space is limited, stages at their limit, and long sessions whose memory must stay what it was.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/../tap/lib";
use DmsRefs;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use Torture;
use Workload;

diag('DMS_REFS_SEED=' . seed() . ' seconds=' . seconds());
my $node = new_node('memory');
prepare_workload($node, 'edfi');
prepare_role($node);
srand(seed());

# Without shared memory, of which more is touched as time goes by.
sub resident { my ($pid) = @_; return slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+)/m ? $1 : die "no memory of $pid" }
my $contexts = q{SELECT sum(total_bytes) FROM pg_backend_memory_contexts};

# --- a session that goes on and on ---
$node->safe_psql('postgres', q{
    CREATE PROCEDURE work.steady(times int) LANGUAGE plpgsql AS $$
    BEGIN
        FOR i IN 1 .. times LOOP
            PERFORM work.save(1 + i % 12, (i * 7) % 30, 1 + i % 4, i % 3 = 0);
            PERFORM work.save_batch(ARRAY[1 + i % 12, 1 + (i + 5) % 12], ARRAY[i % 30, (i * 11) % 30], 1 + i % 4);
            PERFORM FROM dms_refs.find_invalid_references(t.ids(ARRAY[i % 72, 999]), t.keys(ARRAY[i % 72, 999]));
            INSERT INTO work.incoming SELECT g, 'row ' || g FROM generate_series(1, 300) g;
            UPDATE work.incoming SET v = 'x' || v WHERE id % 3 = 0;
            BEGIN
                INSERT INTO work.incoming SELECT g FROM generate_series(301, 600) g;
                PERFORM work.save(1 + i % 12, i % 30, 2, false);
                RAISE division_by_zero;
            EXCEPTION WHEN division_by_zero THEN NULL;
            END;
            IF i % 5 = 0 THEN ROLLBACK; ELSE COMMIT; END IF;
        END LOOP;
    END $$;});
my $session = $node->background_psql('postgres');
my $pid = $session->query_safe('SELECT pg_backend_pid()');
$session->query_safe('CALL work.steady(300)');
my ($contexts_before, $resident_before) = ($session->query_safe($contexts), resident($pid));
my $until = time() + seconds() / 2;
my $cycles = 0;
do { $session->query_safe('CALL work.steady(200)'); $cycles += 200 } while (time() < $until);
my ($contexts_after, $resident_after) = ($session->query_safe($contexts), resident($pid));
figure('memory: cycles of one session', $cycles);
figure('memory: growth of its contexts in bytes', $contexts_after - $contexts_before);
figure('memory: growth of its resident memory in kB', $resident_after - $resident_before);
cmp_ok($contexts_after - $contexts_before, '<', 200_000, 'memory contexts are what they were');
cmp_ok($resident_after - $resident_before, '<', 3_000, 'and so is resident memory');

# Stores made and dropped leave nothing either.
$session->query_safe(q{SELECT dms_refs.create_store('gone', 4, 'lean'); SELECT dms_refs.drop_store('gone')});
my $stores = q{DO $$ BEGIN FOR i IN 1 .. 15 LOOP PERFORM dms_refs.create_store('gone', 4, 'lean'); INSERT INTO gone.document (documentpartitionkey) VALUES (1);
    PERFORM dms_refs.insert_references(1, 1::smallint, '{}', '{}', store => 'gone'); PERFORM dms_refs.drop_store('gone'); END LOOP; END $$};
my $of_ours = q{SELECT sum(total_bytes) FROM pg_backend_memory_contexts WHERE name LIKE 'dms_refs%'};
$session->query_safe($stores);
$contexts_before = $session->query_safe($of_ours);
$session->query_safe($stores);
cmp_ok($session->query_safe($of_ours) - $contexts_before, '<', 20_000, 'stores made and dropped leave no memory');
$session->quit;

# --- the address space ends in the middle of whatever is going on ---
my ($out_of_memory, $done, $limits) = (0, 0, 0);
$until = time() + seconds() / 4;
do
{
    my $limited = $node->background_psql('postgres', on_error_stop => 0);
    my $backend = $limited->query('SELECT pg_backend_pid()');
    my ($now) = slurp_file("/proc/$backend/status") =~ /^VmSize:\s+(\d+)/m;
    system_or_bail('prlimit', "--pid=$backend", '--as=' . 1024 * ($now + int(rand(60_000))) . ':');
    $limits++;
    foreach (1 .. 6)
    {
        my $n = 1000 + int(rand(300_000));
        my $statement = one_of("SELECT count(*) FROM dms_refs.resolve_references(array(SELECT t.id(g) FROM generate_series(1, $n) g), array_fill(3::smallint, ARRAY[$n]))",
            "SELECT count(*) FROM dms_refs.sync_references(1, 1::smallint, array(SELECT t.id(g) FROM generate_series(1, $n) g), array_fill(3::smallint, ARRAY[$n]))",
            "INSERT INTO work.incoming SELECT g, repeat('x', 100) FROM generate_series(1, $n) g", "SELECT work.save(@{[ 1 + int(rand(12)) ]}, @{[ int(rand(30)) ]}, 1, false)");
        my $state = $limited->query("BEGIN; SAVEPOINT a; $statement;\nROLLBACK TO a; COMMIT;\n\\echo state :LAST_ERROR_SQLSTATE");
        $state =~ /state 53200/ ? $out_of_memory++ : $done++;
    }
    # The session is good for use, with the limit and without.
    system_or_bail('prlimit', "--pid=$backend", '--as=unlimited:');
    is($limited->query('BEGIN; INSERT INTO work.incoming SELECT g FROM generate_series(1, 1000) g; SELECT count(*) FROM work.incoming; COMMIT'), '1000', "a session that ran out of memory goes on ($limits)");
    $limited->quit;
} while (time() < $until);
figure('memory: statements that ran out of address space', $out_of_memory);
cmp_ok($out_of_memory, '>', 0, 'memory did end');

# --- stages at their limit, which loses nothing ---
$until = time() + seconds() / 4;
my $refused = 0;
$session = $node->background_psql('postgres', on_error_stop => 0);
$session->query(q{SELECT dms_refs.create_stage('work.kept', columns => 'id int, v text', key => '{id}', on_commit => 'preserve'); SET dms_refs.staging_memory = '1MB'});
my $rows = 0;
do
{
    my $n = 1 + int(rand(4000));
    my $result = $session->query("INSERT INTO work.kept SELECT g, repeat('x', @{[ int(rand(100)) ]}) FROM generate_series($rows + 1, $rows + $n) g;\n\\echo state :SQLSTATE");
    if ($result =~ /state 53200/) { $refused++ } else { $rows += $n }
    my $there = $session->query('SELECT count(*) FROM work.kept');
    if ($there != $rows) { fail("the stage has $there rows, not $rows"); last }
    if (chance(0.3)) { $session->query("DELETE FROM work.kept WHERE id > $rows / 2"); $rows = $session->query('SELECT coalesce(max(id), 0) FROM work.kept') }
} while (time() < $until);
figure('memory: statements refused by staging_memory', $refused);
cmp_ok($refused, '>', 0, 'the limit was met');
$session->quit;
check_all($node, 'memory');
$node->stop;
done_testing();
