# Stages of several sessions beside each other: a bound of memory for all of them, with the module preloaded and without; emptying a stage
# without waiting for anybody.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use DmsRefs;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('staging_shared', conf => "shared_preload_libraries = 'dms_refs'\ndms_refs.staging_memory_total = '2MB'\n");
$node->safe_psql('postgres', q{
    SELECT dms_refs.create_stage('s', columns => 'id int, v text', key => '{id}', on_commit => 'preserve');
    SELECT dms_refs.create_stage('r', columns => 'id int, v text', key => '{id}', on_commit => 'preserve');
    GRANT ALL ON s TO PUBLIC; CREATE ROLE plain LOGIN;});
my $fill = 'INSERT INTO s SELECT g, repeat($$x$$, 1000) FROM generate_series(1, %d) g';

# What a statement in a session ends with.
sub state_of
{
    my ($session, $sql) = @_;
    my ($out) = $session->query_safe(qq{SELECT code || coalesce(': ' || message, '') FROM t.try(\$sql\$$sql\$sql\$)});
    return $out;
}

# --- one bound for all ---
my ($one, $two) = map { $node->background_psql('postgres') } 1 .. 2;
is(state_of($one, sprintf $fill, 1200), '00000', 'a session takes more than half');
is(state_of($two, sprintf $fill, 1200), '53200: staging memory of all sessions is exhausted', 'another one cannot');
is(state_of($two, sprintf $fill, 400), '00000', 'but what is left');
is(state_of($two, 'DELETE FROM s WHERE id > 100'), '00000', 'and delete');
is(state_of($two, sprintf $fill, 1200) =~ s/:.*//r, '23505', 'rows are as they were');
$one->query_safe(q{SELECT dms_refs.empty_stage('s')});
is(state_of($two, 'INSERT INTO s SELECT g, repeat($$x$$, 1000) FROM generate_series(1001, 2300) g'), '00000', 'what one gives back, the other may take');
is(state_of($one, sprintf $fill, 1200), '53200: staging memory of all sessions is exhausted', 'and the other way round');
my $pid = $two->query_safe('SELECT pg_backend_pid()');
$two->quit;
ok($node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)"), 'the session ends');
is(state_of($one, sprintf $fill, 1700), '00000', 'with it, what it held');
$one->query_safe('DELETE FROM s WHERE id > 1000');

# --- sessions that are ended in the middle, and errors, leave nothing ---
for my $round (1 .. 3)
{
    my $doomed = $node->background_psql('postgres', on_error_stop => 0);
    my $pid = $doomed->query_safe('SELECT pg_backend_pid()');
    $doomed->query_safe('BEGIN');
    $doomed->query_safe(sprintf $fill, 300);
    $doomed->query_safe('SAVEPOINT a; DELETE FROM s WHERE id % 2 = 0');
    $node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
    $node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)");
    eval { $doomed->quit };
}
$one->query_safe(q{SELECT dms_refs.empty_stage('s')});
for my $round (1 .. 5)
{
    is(state_of($one, sprintf $fill, 3000) =~ s/:.*//r, '53200', "attempt $round beyond the bound");
}
is(state_of($one, sprintf $fill, 1700), '00000', 'then nearly all of it can be had');

# --- who may change it ---
is(sqlstate($node, q{SET dms_refs.staging_memory_total = -1}), '55P02', 'not a session');
is(sqlstate($node, q{SET ROLE plain; SET dms_refs.staging_memory_total = -1}), '55P02', 'nor an ordinary role');
$node->append_conf('postgresql.conf', 'dms_refs.staging_memory_total = -1');
$node->reload;
$node->poll_query_until('postgres', q{SELECT current_setting('dms_refs.staging_memory_total') = '-1'});
my $three = $node->background_psql('postgres');
is(state_of($three, sprintf $fill, 5000), '00000', '-1: no bound, from the next reload on');
$three->quit;

# --- emptying waits for nobody, and nobody for it ---
my ($a, $b) = map { $node->background_psql('postgres') } 1 .. 2;
for my $session ($a, $b)
{
    $session->query_safe('SET lock_timeout = 500; BEGIN; ' . sprintf $fill, 10);
}
$node->safe_psql('postgres', 'CHECKPOINT');
my $lsn = $node->safe_psql('postgres', 'SELECT pg_current_wal_insert_lsn()');
for my $session ($a, $b)
{
    is(state_of($session, q{SELECT dms_refs.empty_stage('s')}), '00000', 'both empty it while the other has rows in it');
    is($session->query_safe('SELECT count(*) FROM s'), 0, 'their own');
    is($session->query_safe('INSERT INTO s VALUES (1); SELECT count(*) FROM s'), 1, 'and go on');
}
is(state_of($a, 'TRUNCATE s'), '55P03: canceling statement due to lock timeout', 'TRUNCATE waits for all who use the stage');
$_->query_safe('COMMIT') for $a, $b;
is($node->safe_psql('postgres', "SELECT pg_current_wal_insert_lsn() - '$lsn'"), 0, 'no WAL');
$_->quit for $a, $b, $one;

# --- not preloaded: the bound of each session ---
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\ndms_refs.staging_memory_total = '1MB'");
$node->restart;
my $alone = $node->background_psql('postgres');
is(state_of($alone, sprintf $fill, 1200), '53200: staging memory of all sessions is exhausted', 'not preloaded: a session has no more than that');
is(state_of($alone, sprintf $fill, 700), '00000', 'and has that');
is($node->safe_psql('postgres', sprintf($fill, 700) . '; SELECT count(*) FROM s'), 700, 'each of them');
$alone->quit;
$node->stop;
done_testing();
