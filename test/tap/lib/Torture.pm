# What the parts of tools/torture share: many sessions with random transactions of the workload (Workload.pm), somebody who cancels and ends
# them, and the checks at the end.
#
# A session is a psql that runs chunks of random SQL. All that it draws comes from the seed, its number and the chunk's, so a seed gives the
# same statements again, if not the same times. Figures are printed as `# figure: NAME VALUE`, which tools/torture collects.
package Torture;

use strict;
use warnings;
use DmsRefs;
use Exporter 'import';
use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Utils;
use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);
use Workload;

our @EXPORT = qw(prepare_role seed seconds long figure start_sessions start_chaos start_loop finish_all sum_of unexpected check_all one_of chance);

sub seed { return $ENV{DMS_REFS_SEED} // 20_261_125 }
sub seconds { return int(60 * ($ENV{DMS_REFS_MINUTES} // 0.5)) }
sub long { return $ENV{DMS_REFS_LONG} }
sub figure { my ($name, $value) = @_; diag("figure: $name $value"); return }

sub one_of { return $_[ int(rand(@_)) ] }
sub chance { return rand() < $_[0] }

my ($parents, $documents, $sets) = (Workload::PARENTS, Workload::DOCUMENTS, Workload::SETS - 1);
sub parent { return 1 + int(rand($parents)) }
sub subject { return $parents + 1 + int(rand($documents - $parents)) }
sub save { my ($drop_in) = @_; return 'SELECT work.save(' . join(', ', parent(), int(rand($sets + 1)), 1 + int(rand(4)), $drop_in) . ')' }

sub batch
{
    my $p = parent();
    my @all = map { 1 + ($p + $_) % $parents } 0, 4, 7;
    return 'SELECT work.save_batch(' . join(', ', "'{" . join(',', @all) . "}'", "'{" . join(',', map { int(rand($sets + 1)) } @all) . "}'", 1 + int(rand(4))) . ')';
}

# What changes aliases and documents; each follows the workload's rules.
sub change
{
    my ($n, $p) = (subject(), parent());
    my $retarget = "SELECT work.retarget($n, @{[ subject() ]})";
    my $replace = "SELECT work.replace_alias($n)";
    return one_of([$retarget], [$replace], [ $retarget, $replace ], [ $replace, $retarget ], ["SELECT work.recreate($p)"]);
}

# One chunk: transactions at all levels with savepoints, and what stands alone.
sub transactions
{
    my @sql;
    foreach (1 .. 25)
    {
        if (chance(0.35)) { push @sql, save(one_of('true', 'false')); next }
        if (chance(0.15)) { push @sql, batch(); next }
        my @body = map { chance(0.65) ? save('false') : chance(0.5) ? batch() : @{ change() } } 1 .. 1 + int(rand(4));
        @body = map { chance(0.2) ? ('SAVEPOINT a', $_, one_of('ROLLBACK TO a', 'RELEASE a')) : $_ } @body;
        push @sql, 'BEGIN ISOLATION LEVEL ' . one_of(('READ COMMITTED') x 4, 'REPEATABLE READ', 'SERIALIZABLE'), @body, one_of('COMMIT', 'COMMIT', 'COMMIT', 'ROLLBACK');
    }
    return @sql;
}

# A stage in the same session: what is staged is what was sent.
sub staged
{
    my $n = 1 + int(rand(2000));
    return ('BEGIN', "INSERT INTO work.incoming SELECT g, 'row ' || g FROM generate_series(1, $n) g ON CONFLICT DO NOTHING", 'UPDATE work.incoming SET v = v || 1 WHERE id % 3 = 0', 'SAVEPOINT a',
        'DELETE FROM work.incoming WHERE id % 2 = 0', one_of('ROLLBACK TO a', 'RELEASE a'), 'SELECT count(*) FROM work.incoming i JOIN dms.document d USING (id)', one_of('COMMIT', 'ROLLBACK'));
}

# The role that some sessions take, with a policy that hides nothing for when row security is on; and the stage.
sub prepare_role
{
    my ($node) = @_;
    $node->safe_psql('postgres', q{
        CREATE ROLE app;
        GRANT USAGE ON SCHEMA dms, work, t TO app;
        GRANT ALL ON ALL TABLES IN SCHEMA dms, work TO app;
        GRANT ALL ON ALL SEQUENCES IN SCHEMA dms, work TO app;
        CREATE POLICY all_rows ON dms.alias USING (true);
        CREATE POLICY all_rows ON dms.reference USING (true);
        SELECT dms_refs.create_stage('work.incoming', columns => 'id bigint, v text', key => '{id}');
        GRANT ALL ON work.incoming TO app;});
    return;
}

my @running;

# A child process that calls a function until the time is up; what the function gives back, a hash of numbers, is added up.
sub start_loop
{
    my ($name, $number, $until, $function) = @_;
    my $file = PostgreSQL::Test::Utils::tempdir() . "/$name.$number";
    my $pid = fork // die "fork: $!";
    if ($pid == 0)
    {
        my %sum;
        my $chunk = 0;
        my $done = eval {
            while (time() < $until)
            {
                srand(seed() * 1_000_003 + $number * 10_007 + $chunk++);
                my $result = $function->();
                $sum{$_} += $result->{$_} foreach keys %$result;
            }
            1;
        };
        $sum{"died: $@"}++ if !$done;
        open my $out, '>', $file or POSIX::_exit(1);
        print {$out} JSON::PP->new->encode(\%sum);
        close $out;
        POSIX::_exit(0);
    }
    push @running, { name => $name, pid => $pid, file => $file };
    return;
}

# Waits for all of them; a hash of names, each with its sums.
sub finish_all
{
    my %all;
    foreach my $loop (splice @running)
    {
        waitpid $loop->{pid}, 0;
        my $sum = JSON::PP->new->decode(slurp_file($loop->{file}));
        $all{ $loop->{name} }{$_} += $sum->{$_} foreach keys %$sum;
    }
    return \%all;
}

sub sum_of { my ($sums, $pattern) = @_; my $n = 0; $n += $sums->{$_} foreach grep { /$pattern/ } keys %$sums; return $n }

# Runs statements in one psql; a hash: calls, statements, and each SQLSTATE that came. A server that is away is waited for.
sub run_chunk
{
    my ($node, $name, $settings, @sql) = @_;
    my ($out, $err) = ('', '');
    my $script = join "\n", '\\set VERBOSITY sqlstate', "SET application_name = '$name';", 'SET client_min_messages = warning;', @$settings, map { "$_;" } @sql;
    my $lost = !IPC::Run::run([ 'psql', '--no-psqlrc', '--no-align', '--tuples-only', '--quiet', '--file', '-', '--dbname', $node->connstr('postgres') ], '<', \$script, '>', \$out, '2>', \$err);
    my %result = (statements => scalar @sql, calls => scalar grep { /work\.save|dms_refs\./ } @sql);
    $result{"state $_"}++ foreach $err =~ /(?:ERROR|FATAL|PANIC):\s+(\w{5})/g;
    $result{warning}++ foreach $err =~ /^.*WARNING:  (?!57P02)/mg;
    if ($lost)
    {
        $result{lost}++;
        sleep 0.2;
    }
    return \%result;
}

# settings: what each session sets at first; extra: further statements of a chunk.
sub start_sessions
{
    my ($node, $count, $until, %options) = @_;
    foreach my $n (1 .. $count)
    {
        start_loop('session', $n, $until, sub {
            my @settings = (chance(0.3) ? 'SET ROLE app;' : (), 'SET dms_refs.alias_cache = ' . one_of(0, 16, 4096) . ';', 'SET dms_refs.lock_parent = ' . one_of('on_change', 'on_change', 'always') . ';');
            return run_chunk($node, 'torture', \@settings, transactions(), chance(0.2) ? staged() : (), $options{extra} ? $options{extra}->() : ());
        });
    }
    return;
}

# Cancels statements of the sessions, and now and then ends one.
sub start_chaos
{
    my ($node, $until) = @_;
    start_loop('chaos', 500, $until, sub {
        sleep 0.1 + rand(0.3);
        my $what = chance(0.2) ? 'pg_terminate_backend' : 'pg_cancel_backend';
        my (undef, $out) = $node->psql('postgres', "SELECT $what(pid) FROM pg_stat_activity WHERE application_name = 'torture' AND state <> 'idle' ORDER BY random() LIMIT 1");
        return { ($what eq 'pg_cancel_backend' ? 'cancels' : 'terminates') => defined $out && $out eq 't' ? 1 : 0 };
    });
    return;
}

# SQLSTATEs that a session may meet in any part: those of concurrency and of chaos; a part may add its own.
sub unexpected
{
    my ($sums, @more) = @_;
    my %fine = map { ("state $_" => 1) } qw(40001 40P01 57014 57P01 25P02 3B001), @more;
    return join ', ', map { "$_ $sums->{$_}" } sort grep { /^(?:state |died|warning)/ && !$fine{$_} } keys %$sums;
}

# A workload's end: every set is one that was sent, foreign keys hold, tables and indexes agree. The server's log is read by tools/run-tests.
sub check_all
{
    my ($node, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    settled($node, $name);
    is($node->safe_psql('postgres', q{SELECT * FROM dms_refs.check_store('dms') WHERE violation <> 'other target'}), '', "$name: check_store finds nothing");
    return;
}

1;
