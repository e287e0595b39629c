# Random statements on a stage and on a temporary table with the same columns, constraints, triggers and unique key, in two databases that
# are otherwise the same: rows, counts and SQLSTATEs of every statement have to agree. What a stage does not do is a list of its own.
#
# DMS_REFS_SEED repeats a run, DMS_REFS_ROUNDS and DMS_REFS_STATEMENTS (a round) make it longer. A round that differs leaves its scripts
# in the log folder.
# log allows: WARNING:  there is (no|already a) transaction in progress
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use DmsRefs;
use PostgreSQL::Test::Utils;
use RandomStages;
use Test::More;

my $seed = $ENV{DMS_REFS_SEED} // 20_261_125;
my $rounds = $ENV{DMS_REFS_ROUNDS} // 12;
my $statements = $ENV{DMS_REFS_STATEMENTS} // 500;
diag("DMS_REFS_SEED=$seed DMS_REFS_ROUNDS=$rounds DMS_REFS_STATEMENTS=$statements");

my $node = new_node('stages');
my ($version) = $node->safe_psql('postgres', 'SHOW server_version_num') =~ /^(\d+)\d{4}$/;
foreach my $database ('stage', 'twin')
{
    $node->safe_psql('postgres', "CREATE DATABASE $database; ALTER DATABASE $database SET client_min_messages = error; ALTER DATABASE $database SET TimeZone = 'UTC'; ALTER DATABASE $database SET dms_refs.staging_memory = '512MB'");
    $node->safe_psql($database, 'CREATE EXTENSION dms_refs;' . RandomStages::setup());
}

sub script_of
{
    my ($database, $round, $steps) = @_;
    my $n = 0;
    return join "\n", '\\set VERBOSITY sqlstate', '\\set ON_ERROR_ROLLBACK ' . ($round->{careful} ? 'on' : 'off'), 'TRUNCATE t.target;',
      map { $n++; my $sql = $_->{sql} // $_->{$database}; ("\\echo == $n", $sql =~ /\\\.\z/ ? $sql : $sql =~ s/( -- over rows)?\z/;$1/r, '\\echo -- :SQLSTATE :ROW_COUNT') } @$steps;
}

# What each step printed, its rows sorted.
sub results_of
{
    my ($output) = @_;
    return map { my ($rows, $end) = /\A(.*?)^(-- .*)\z/ms; join '', sort(split /^/m, $rows // ''), $end // 'nothing' } grep { $_ ne '' } split /^== \d+\n/m, "$output\n";
}

my (%states, %open);
my $compared = 0;
foreach my $number (1 .. $rounds)
{
    srand($seed * 1000 + $number);
    my $round = RandomStages->new($version);
    my $make = $round->make;
    my $steps = $round->generate($statements);
    my (%output, %errors, %results);
    foreach my $database ('stage', 'twin')
    {
        my $file = "$PostgreSQL::Test::Utils::log_path/round_${seed}_${number}_$database.sql";
        unlink $file;
        append_to_file($file, "$make->{$database};\n" . script_of($database, $round, $steps) . "\n" . ($database eq 'stage' ? "DROP FOREIGN TABLE x;\n" : ''));
        my @command = ('psql', '--no-psqlrc', '--no-align', '--tuples-only', '--quiet', '--file', $file, '--dbname', $node->connstr($database));
        ok(IPC::Run::run(\@command, '<', \undef, '>', \$output{$database}, '2>', \$errors{$database}), "round $number: the session of the $database survived");
        unlike($errors{$database}, qr/server closed|XX\w{3}|PANIC|FATAL/, "round $number: no internal error in the $database");
        $results{$database} = [ results_of($output{$database}) ];
    }
    my $about = "round $number ($round->{on_commit}, key $round->{key}, " . join(', ', map { $_->{type} } @{ $round->{columns} }) . ')';
    my $first;
    foreach my $i (0 .. $#$steps)
    {
        my ($one, $other) = map { $results{$_}[$i] // 'nothing' } 'stage', 'twin';
        $states{$1}++ if $one =~ /^-- (\w{5})/m;
        $compared++;
        next if $one eq $other;
        if (my $why = RandomStages::why_open($steps->[$i], $one, $other)) { $open{$why}++; next }
        $first = $i;
        last;
    }
    next if ok(!defined $first, "$about: stage and temporary table agree in " . @$steps . ' steps');
    diag('step ' . ($first + 1) . ': ' . ($steps->[$first]{sql} // $steps->[$first]{stage}));
    diag("$_:\n" . substr($results{$_}[$first] // 'nothing', 0, 2000)) foreach 'stage', 'twin';
}

# What the documentation says a stage does not do.
foreach my $limit (@RandomStages::LIMITS)
{
    my ($what, $sql, $state) = @$limit;
    is(sqlstate($node, "CREATE FOREIGN TABLE x (id int) SERVER dms_refs_stage OPTIONS (key 'id'); \n$sql; \\echo\nDROP FOREIGN TABLE x;", 'stage'), $state, $what);
}
my $errors = 0;
$errors += $states{$_} foreach grep { $_ ne '00000' } keys %states;
diag("$compared statements compared, $errors of them with an error");
note('SQLSTATEs: ' . join(', ', map { "$_ $states{$_}" } sort keys %states));
note("not compared: $open{$_}: $_") foreach sort keys %open;
cmp_ok($states{'00000'}, '>', $compared / 2, 'most statements succeeded');
cmp_ok($states{$_} // 0, '>', 0, "$_ was met") foreach '23505', '23502';
done_testing();
