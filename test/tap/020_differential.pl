# Random calls, changes and schema features against three targets at once: a store with the engine auto (direct wherever its shape
# allows), a store with the engine sql, and the plain model. Every row, every SQLSTATE and, again and again, every table has to be
# the same in all three; after each round amcheck looks at every index.
#
# DMS_REFS_SEED repeats a run, DMS_REFS_ROUNDS and DMS_REFS_CALLS (a round) make it longer. A round that differs leaves its three
# scripts in the log folder.
# log allows: WARNING:  "?wal_level"? is insufficient to publish logical changes
use strict;
use warnings;
use utf8;
use FindBin;
use lib "$FindBin::RealBin/lib";
use DmsRefs;
use PostgreSQL::Test::Utils;
use RandomCalls;
use RandomFeatures;
use Test::More;

# The same calls every time, so that a failure can be met again; other seeds are for a longer search.
my $seed = $ENV{DMS_REFS_SEED} // 20_261_121;
my $rounds = $ENV{DMS_REFS_ROUNDS} // 5;
my $calls = $ENV{DMS_REFS_CALLS} // 400;
diag("DMS_REFS_SEED=$seed DMS_REFS_ROUNDS=$rounds DMS_REFS_CALLS=$calls");

my $node = new_node('differential');
my ($version) = $node->safe_psql('postgres', 'SHOW server_version_num') =~ /^(\d+)\d{4}$/;
$node->safe_psql('postgres', RandomFeatures::functions());
my $model = slurp_file("$FindBin::RealBin/../pgtap/plain_model.psql");

# One psql session for all steps of a target; the output of each between two marks, its SQLSTATE at the end.
sub script_of
{
    my ($target, $steps) = @_;
    my $n = 0;
    return join "\n", '\\set VERBOSITY sqlstate', 'SET client_min_messages = error;', $target eq 'q' ? q{SET dms_refs.engine = 'sql';} : (),
      map { $n++; ("\\echo == $n", "SET t.step = '$n';", "$_->{$target};", '\\echo -- :SQLSTATE', $n % 10 || $target ne 'd' ? () : ('\\echo ##', q{SELECT '## ' || writes FROM dms_refs.stores WHERE store = 'd';})) }
      @$steps;
}

# What each step printed. What a step prints that is not compared is dropped; its SQLSTATE stays.
sub results_of
{
    my ($output, $steps) = @_;
    my @results;
    foreach my $part (split /^== \d+\n/m, $output)
    {
        next if $part eq '';
        $part =~ s/^##.*\n//mg;
        $part =~ s/\A.*^(-- \w+)/$1/ms if $steps->[@results]{noise};
        push @results, $part;
    }
    return @results;
}

# Whether two targets did the same. A call that two things forbid fails either way; which error is the first is open where a
# missing row behind a foreign key is one (keys are checked natively before anything is written, by a trigger at the end), and
# where a reference given twice and a key without a partition meet.
my $two_errors = 0;
sub same
{
    my ($one, $other) = @_;
    return 1 if $one eq $other;
    my @states = sort map { /^-- (\w+)\n*\z/ ? $1 : 'rows' } $one, $other;
    return 0 if "@states" !~ /^(21000 23514|23503 (23505|23514|55000|T000\d))$/;
    $two_errors++;
    return 1;
}

# Every feature is met in one of the rounds; every second round has only those that leave the store to be written directly.
srand($seed * 1000);
my @all = RandomFeatures::names($version, 0);
my %plain = map { $_ => 1 } RandomFeatures::names($version, 1);
my @due = map { [] } 1 .. $rounds;
foreach my $name (sort { rand() <=> 0.5 } @all)
{
    my @fits = grep { $plain{$name} || $_ % 2 } 0 .. $#due;
    my ($emptiest) = sort { @{ $due[$a] } <=> @{ $due[$b] } } @fits;
    # One that rows could keep from being made comes while there are few.
    if (defined $emptiest) { $name eq 'unique_target' ? unshift @{ $due[$emptiest] }, $name : push @{ $due[$emptiest] }, $name }
}

my $left_behind = q{
    WITH r AS (SELECT r.*, a.id AS alias, a.documentid, a.documentpartitionkey FROM model.reference r LEFT JOIN model.alias a ON (a.referentialpartitionkey, a.id) = (r.referentialpartitionkey, r.aliasid))
    SELECT * FROM (
        SELECT 'no alias', count(*) FROM r WHERE alias IS NULL
        UNION ALL SELECT 'no document', count(*) FROM r WHERE alias IS NOT NULL AND (documentpartitionkey, documentid) NOT IN (SELECT documentpartitionkey, id FROM model.document)
        UNION ALL SELECT 'no parent', count(*) FROM r WHERE (parentdocumentpartitionkey, parentdocumentid) NOT IN (SELECT documentpartitionkey, id FROM model.document)
        UNION ALL SELECT 'other target', count(*) FROM r WHERE alias IS NOT NULL AND (documentpartitionkey, documentid) <> (referenceddocumentpartitionkey, referenceddocumentid)) x
    WHERE count > 0};

my (%states, %features, %writes);
my $compared = 0;
foreach my $round (1 .. $rounds)
{
    srand($seed * 1000 + $round);
    my $random = RandomCalls->new($round % 2 ? \%plain : undef, \@all, $due[ $round - 1 ]);
    $node->safe_psql('postgres', join "\n", 'SET client_min_messages = warning;', 'DROP SCHEMA IF EXISTS d, q, model CASCADE;', 'DELETE FROM dms_refs.store_config;', $model, $random->setup);
    my $steps = $random->generate($calls);

    my (%output, %results, %errors);
    foreach my $target (RandomCalls::TARGETS)
    {
        $node->psql('postgres', script_of($target, $steps), stdout => \$output{$target}, stderr => \$errors{$target}, on_error_stop => 0);
        $results{$target} = [ results_of("$output{$target}\n", $steps) ];
        unlike($errors{$target}, qr/server closed|XX\w{3}|PANIC|FATAL/, "round $round: $target has no internal error");
    }
    my $about = "round $round ($random->{layout}" . ($random->{foreign} ? ', foreign names' : '') . ')';
    foreach my $pair ([ 'd', 'q' ], [ 'd', 'model' ])
    {
        my ($one, $other) = @$pair;
        my ($first) = grep { !same($results{$one}[$_] // 'none', $results{$other}[$_] // 'none') } 0 .. $#$steps;
        my $same = ok(!defined $first, "$about: what $one and $other do is the same in " . @$steps . ' steps');
        next if $same;
        diag('step ' . ($first + 1) . ", with features: @{[ sort keys %{ $random->{features} } ]} at the end");
        diag("$_: $steps->[$first]{$_}\n$results{$_}[$first]") foreach $one, $other;
        append_to_file("$PostgreSQL::Test::Utils::log_path/round_${seed}_${round}_$_.sql", script_of($_, $steps)) foreach $one, $other;
    }
    foreach my $i (0 .. $#$steps)
    {
        my ($state) = ($results{d}[$i] // '') =~ /^-- (\w+)/m or next;
        $states{$state}++ if $steps->[$i]{d} =~ /dms_refs\.|InsertReferences/;
        $compared++ if $steps->[$i]{d} =~ /dms_refs\.|InsertReferences/;
        $features{ $steps->[$i]{feature} }++ if $steps->[$i]{feature} && $state eq '00000';
        fail("round $round: step " . ($i + 1) . " has to succeed, not $state: $steps->[$i]{d}") if $steps->[$i]{must} && $state ne '00000';
    }
    $writes{$_}++ foreach $output{d} =~ /^## (\w+)/mg;
    is(store_errors($node, undef, allowed => [ 'no alias', 'no document', 'no parent', 'other target' ]), '', "round $round: check_store finds nothing that no SQL could have left");
    # Foreign keys that were dropped or disabled for a while, and triggers that keep rows from a cascade, leave what plain joins find in the model.
    my $found = $node->safe_psql('postgres', $left_behind);
    is($node->safe_psql('postgres', qq{SET client_min_messages = warning; SELECT violation, count(*) FROM dms_refs.check_store('$_') GROUP BY 1 ORDER BY violation COLLATE "C"}),
        $found, "round $round: check_store finds in $_ what joins find in the model") foreach qw(d q);
    is(index_errors($node), '', "round $round: amcheck finds every index in order");
}

# The run was worth something: calls of all kinds, most of them in a direct store, and features that were really there.
note("$compared calls; SQLSTATEs: " . join(', ', map { "$_ $states{$_}" } sort keys %states));
note('features: ' . join(', ', map { "$_ $features{$_}" } sort keys %features));
note('writes: ' . join(', ', map { "$_ $writes{$_}" } sort keys %writes));
cmp_ok($two_errors, '<', 1 + $compared / 50, "few calls failed for two reasons: $two_errors");
cmp_ok($compared, '>=', $rounds * $calls, 'as many calls as were asked for');
cmp_ok($states{'00000'} // 0, '>', $compared / 3, 'many calls succeeded');
SKIP:
{
    skip 'a short run need not meet everything', 4 if $rounds * $calls < 2000;
    cmp_ok($states{$_} // 0, '>', 0, "$_ was met") foreach '23514';
    is(join(' ', grep { !$features{$_} && !RandomFeatures::may_fail($_) } @all), '', 'every feature was there');
    cmp_ok($writes{direct} // 0, '>', ($writes{sql} // 0) / 4, 'the direct store was often written directly');
    cmp_ok($writes{sql} // 0, '>', 0, 'and sometimes could not be');
}
done_testing();
