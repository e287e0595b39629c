# Random schedules of three sessions, step by step against three targets: a store that is written directly, one that SQL statements serve,
# and a plain function on plain tables. Calls run beside transactions that write aliases and documents twice, with savepoints and
# rollbacks, at all isolation levels, and, in some rounds, with triggers and checks that remove what a call needs. In each target, after
# each schedule: the foreign keys hold by plain joins, and every set is one that was sent. And the three agree in every answer, every
# SQLSTATE and every row.
#
# DMS_REFS_SEED repeats a run, DMS_REFS_SCHEDULES makes it longer.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use DmsRefs;
use JSON::PP;
use PostgreSQL::Test::Utils;
use RandomSessions;
use Test::More;

my $seed = $ENV{DMS_REFS_SEED} // 20_261_125;
my $schedules = $ENV{DMS_REFS_SCHEDULES} // 240;
my $round_size = 40;
diag("DMS_REFS_SEED=$seed DMS_REFS_SCHEDULES=$schedules");

my $node = new_node('interleavings', conf => "max_pred_locks_per_transaction = 256\n");
my $json = JSON::PP->new->canonical;
foreach my $target (RandomSessions::TARGETS)
{
    $node->safe_psql('postgres', "SELECT dms_refs.create_store('$target', @{[ RandomSessions::KEYS ]}, 'lean');
        ALTER TABLE $target.document ADD COLUMN note int NOT NULL DEFAULT 0; ALTER TABLE $target.alias ADD COLUMN note int NOT NULL DEFAULT 0;");
}
$node->safe_psql('postgres', RandomSessions::functions(sprintf 'host=%s port=%s dbname=postgres', $node->host, $node->port));

# One schedule in one target.
sub script_of
{
    my ($target, $steps) = @_;
    my $list = $json->encode([ map { [ $_->[0], $_->[1] =~ s/\{S\}/$target/gr ] } @$steps ]);
    return "SELECT t.reset('$target');\n\\echo == $target\nSELECT t.play('$target', \$steps\$$list\$steps\$);\n"
      . "\\echo --\nSELECT t.state('$target');\nSELECT to_jsonb(t.sets('$target'));\n\\echo --\n" . set_errors_query($target) . ";\n";
}

my (%states, %open, %finds);
my ($waits, $compared) = (0, 0);
my $round = 0;
for (my $done = 0; $done < $schedules; $done += $round_size)
{
    $round++;
    srand($seed * 1000 + $round);
    my @worlds = RandomSessions::WORLDS;
    my $world = $worlds[ ($round - 1) % @worlds ];
    my @made = map { my $s = RandomSessions->new; $s->generate; $s } 1 .. $round_size;
    my $script = join "\n", 'SET client_min_messages = warning;', 'TRUNCATE t.session;', map { my $target = $_; ("SELECT t.reset('$target'), t.world('$target', '$world');",
        map { "SELECT t.open_session('$target', $_, \$\$" . RandomSessions::settings($target) . '$$);' } 1 .. RandomSessions::SESSIONS) } RandomSessions::TARGETS;
    foreach my $i (0 .. $#made)
    {
        $script .= "\nVACUUM d.alias, d.document, d.reference, q.alias, q.document, q.reference, p.alias, p.document, p.reference;" if $i % 25 == 24;
        $script .= "\n" . script_of($_, $made[$i]{steps}) foreach RandomSessions::TARGETS;
    }
    my ($out, $err) = ('', '');
    my $code = $node->psql('postgres', $script, stdout => \$out, stderr => \$err);
    is("$code $err", '0 ', "round $round ($world): played");
    my @parts = map { [ split /^--\n/m, $_ ] } split /^== \w+\n/m, $out;
    shift @parts;

    my (@different, @broken);
    foreach my $i (0 .. $#made)
    {
        my (%outcomes, %ends);
        foreach my $target (RandomSessions::TARGETS)
        {
            my ($played, $ends, $errors) = @{ shift @parts // last };
            my $result = $json->decode($played);
            $outcomes{$target} = $result->{outcomes};
            $waits += grep { $_ } @{ $result->{waited} };
            $states{$_}++ foreach map { /^\w{5}$/ && /\d/ ? $_ : () } @{ $result->{outcomes} };
            my ($state, $sets) = split /\n/, $ends;
            $ends{$target} = $state;
            # The sets: the one of the start, one that was sent, none where the document went.
            my @sets = $target eq 'p' && !$made[$i]->plain($world) ? () : @{ $json->decode($sets) };
            foreach my $parent (1 .. RandomSessions::PARENTS)
            {
                my $set = $sets[ $parent - 1 ];
                next if !defined $set || $set eq '1 2' || $made[$i]{sent}{$parent}{$set} || ($set eq '' && $world =~ /parent/);
                $errors .= "parent $parent has $set, which nobody sent\n";
            }
            push @broken, [ $i, "$target: $errors" ] if ($errors // '') =~ /\S/;
        }
        last if !defined $ends{p};
        my $why = RandomSessions::why_open(\%outcomes, $made[$i]);
        if ($why) { $open{$why}++; next }
        $compared++;
        my @pairs = ([ 'd', 'q' ], $made[$i]->plain($world) ? [ 'd', 'p' ] : ());
        foreach my $pair (@pairs)
        {
            my ($one, $other) = @$pair;
            next if $json->encode($outcomes{$one}) . $ends{$one} eq $json->encode($outcomes{$other}) . $ends{$other};
            push @different, [ $i, join "\n", map { my $k = $_; sprintf '  %d %-110s %s | %s', @{ $made[$i]{steps}[$k] }, map { $outcomes{$_}[$k] // 'NULL' } $one, $other } 0 .. $#{ $made[$i]{steps} } ];
            $different[-1][1] .= "\n  $one: $ends{$one}\n  $other: $ends{$other}";
            last;
        }
    }
    ok(!@broken, "round $round ($world): foreign keys hold, no row twice, every set is one that was sent");
    ok(!@different, "round $round ($world): the targets agree");
    $finds{broken} += @broken;
    $finds{different} += @different;
    diag("schedule $_->[0]: $_->[1]", join "\n", map { "  $_->[0] $_->[1]" } @{ $made[ $_->[0] ]{steps} }) foreach @broken[ 0 .. ($#broken > 1 ? 1 : $#broken) ];
    diag("schedule $_->[0] differs:\n$_->[1]") foreach @different[ 0 .. ($#different > 2 ? 2 : $#different) ];
}
is(index_errors($node), '', 'indexes and tables agree');
is($node->safe_psql('postgres', "SELECT * FROM dms_refs.check_store('$_') WHERE violation <> 'other target'"), '', "check_store finds nothing in $_") foreach RandomSessions::TARGETS;

diag(sprintf '%d schedules compared, %d steps waited, %d with a broken store, %d different', $compared, $waits, $finds{broken}, $finds{different});
note('SQLSTATEs: ' . join(', ', map { "$_ $states{$_}" } sort keys %states));
note("not compared: $open{$_}: $_") foreach sort keys %open;
cmp_ok($compared, '>', $schedules / 2, 'most schedules can be compared');
cmp_ok($waits, '>', $schedules / 2, 'and sessions did wait for each other');
done_testing();
