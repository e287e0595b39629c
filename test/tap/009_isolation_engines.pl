# The isolation specs once more, with SQL statements in place of native reads and writes, with the foreign keys' own
# triggers, and without remembered row addresses: what they print must not differ.
use strict;
use warnings;
use FindBin;
use File::Basename qw(dirname);
use lib "$FindBin::RealBin/lib";
use DmsRefs;
use PostgreSQL::Test::Utils;
use Test::More;

my $specs = "$FindBin::RealBin/../isolation";
my $program = dirname(dirname($ENV{PG_REGRESS})) . '/isolation/pg_isolation_regress';
plan skip_all => "no $program" unless -x $program;

my $node = new_node('isolation', conf => "max_prepared_transactions = 10\n");
my @tests = grep { /^\w/ } split /\n/, slurp_file("$specs/schedule.list");
ok(@tests > 0, 'there are specs');

my %variants = (
    sql => '-c dms_refs.engine=sql',
    triggers => '-c dms_refs.native_fk_checks=off',
    uncached => '-c dms_refs.alias_cache=0');
foreach my $variant (sort keys %variants)
{
    my $folder = $node->basedir . "/$variant";
    mkdir $folder;
    local $ENV{PGOPTIONS} = $variants{$variant};
    my $ok = run_log([ $program, "--inputdir=$specs", "--outputdir=$folder", '--bindir=', '--dbname=isolation',
        '--host=' . $node->host, '--port=' . $node->port, @tests ]);
    ok($ok, "isolation specs: $variant");
    diag(slurp_file("$folder/regression.diffs")) if !$ok && -e "$folder/regression.diffs";
}
$node->stop;
done_testing();
