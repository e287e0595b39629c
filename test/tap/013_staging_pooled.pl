# Stages behind PgBouncer: two clients that share one server connection, in transaction mode and in session mode.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use DmsRefs;
use PostgreSQL::Test::Utils;
use Test::More;

my ($pgbouncer) = grep { -x $_ } map { "$_/pgbouncer" } split(/:/, $ENV{PATH}), '/usr/sbin', '/usr/local/sbin';
plan skip_all => 'there is no pgbouncer' unless defined $pgbouncer;

my $node = new_node('pooled');
$node->safe_psql('postgres', q{
    SELECT dms_refs.create_stage('brief', columns => 'id int, v text', key => '{id}');
    SELECT dms_refs.create_stage('kept', columns => 'id int, v text', key => '{id}', on_commit => 'preserve');});
my $user = $node->safe_psql('postgres', 'SELECT current_user');
my $folder = PostgreSQL::Test::Utils::tempdir_short();

# One server connection for each pool.
sub start_pooler
{
    my ($mode, $port) = @_;
    append_to_file("$folder/users", qq("$user" "")) if !-e "$folder/users";
    append_to_file("$folder/$mode.ini", join "\n", '[databases]',
        'postgres = host=' . $node->host . ' port=' . $node->port . " dbname=postgres user=$user", '[pgbouncer]',
        'listen_addr =', "listen_port = $port", "unix_socket_dir = $folder", "auth_type = trust", "auth_file = $folder/users", "pool_mode = $mode",
        'default_pool_size = 1', 'server_reset_query = DISCARD ALL', "logfile = $folder/$mode.log", "pidfile = $folder/$mode.pid",
        'ignore_startup_parameters = extra_float_digits,options', '');
    system_or_bail($pgbouncer, '--daemon', '--quiet', "$folder/$mode.ini");
    my $waited = 0;
    select(undef, undef, undef, 0.1) while !-S "$folder/.s.PGSQL.$port" && $waited++ < 100;
    return;
}

sub stop_pooler
{
    my ($mode) = @_;
    chomp(my $pid = slurp_file("$folder/$mode.pid"));
    kill 'INT', $pid;
    return;
}

# Runs a statement as one more client.
sub client
{
    my ($port, $sql) = @_;
    my ($out, $err) = run_command([ 'psql', '-XqAt', '-v', 'ON_ERROR_STOP=1', '-d', "host=$folder port=$port dbname=postgres user=$user", '-c', $sql ]);
    diag($err) if $err ne '';
    return $out;
}

# A client that stays.
sub session
{
    my ($port) = @_;
    my $psql = { in => '', out => '' };
    $psql->{run} = IPC::Run::start([ 'psql', '-XqAt', '-d', "host=$folder port=$port dbname=postgres user=$user" ],
        '<', \$psql->{in}, '>', \$psql->{out}, '2>', \$psql->{out}, IPC::Run::timeout(60));
    return $psql;
}

sub ask
{
    my ($psql, $sql) = @_;
    $psql->{out} = '';
    $psql->{in} .= "$sql;\n\\echo -- done\n";
    $psql->{run}->pump until $psql->{out} =~ /^-- done$/m;
    (my $answer = $psql->{out}) =~ s/^-- done\n//m;
    chomp $answer;
    return $answer;
}

my $pid = 'SELECT pg_backend_pid()';
my $both = q{SELECT (SELECT count(*) FROM brief) || ' ' || (SELECT count(*) FROM kept)};
my @ports = map { PostgreSQL::Test::Cluster::get_free_port() } 1 .. 2;

# Transaction mode: the connection goes to another client after each commit, and nothing resets it in between. on_commit
# 'delete' is the one to use; what 'preserve' keeps, the next client sees.
start_pooler('transaction', $ports[0]);
{
    my ($one, $two) = map { session($ports[0]) } 1 .. 2;
    is(ask($one, $pid), ask($two, $pid), 'transaction mode: two clients, one server connection');
    is(ask($one, 'BEGIN; INSERT INTO brief SELECT g FROM generate_series(1, 5) g; SELECT count(*) FROM brief; COMMIT'), 5, 'one client stages, and commits');
    is(ask($two, 'SELECT count(*) FROM brief'), 0, 'the other sees nothing');
    ask($two, 'INSERT INTO brief VALUES (1); INSERT INTO brief VALUES (1)');
    is(ask($one, 'SELECT count(*) FROM brief'), 0, 'nor the first one after that');
    foreach my $round (1 .. 20)
    {
        ask($one, "BEGIN; INSERT INTO brief VALUES ($round); ROLLBACK");
        is(ask($two, "BEGIN; INSERT INTO brief VALUES ($round), (100); SELECT count(*) FROM brief; COMMIT"), 2, "in turns, round $round");
    }
    ask($one, 'INSERT INTO kept VALUES (1)');
    is(ask($two, 'SELECT count(*) FROM kept'), 1, q{'preserve' outlives the transaction, whoever gets the connection: not for this mode});
    ask($two, 'DISCARD ALL');
    is(ask($one, $both), '0 0', 'until DISCARD ALL');
    $_->{in} .= "\\q\n" foreach $one, $two;
    $_->{run}->finish foreach $one, $two;
}
stop_pooler('transaction');

# Session mode: the connection is reset before the next client gets it.
start_pooler('session', $ports[1]);
my $first = client($ports[1], "INSERT INTO kept VALUES (1), (2); INSERT INTO brief VALUES (1); $pid");
is(client($ports[1], $pid), $first, 'session mode: the next client gets the same server connection');
is(client($ports[1], $both), '0 0', 'and no row of the client before');
{
    my $one = session($ports[1]);
    is(ask($one, $pid), $first, 'a client that stays');
    ask($one, 'INSERT INTO kept VALUES (1)');
    ask($one, 'INSERT INTO kept VALUES (2)');
    is(ask($one, $both), '0 2', 'has its rows from one transaction to the next');
    is(ask($one, 'BEGIN; UPDATE kept SET id = id + 10; ROLLBACK; SELECT sum(id) FROM kept'), 3, 'as it left them');
    my $two = session($ports[1]);
    $two->{in} .= "$both;\n\\echo -- done\n";
    $one->{in} .= "BEGIN; INSERT INTO kept VALUES (3);\n\\q\n";
    $one->{run}->finish;
    $two->{run}->pump until $two->{out} =~ /^-- done$/m;
    like($two->{out}, qr/^0 0$/m, 'who waits for the connection gets it empty, also when the client left in a transaction');
    $two->{in} .= "\\q\n";
    $two->{run}->finish;
}
stop_pooler('session');
$node->stop;
done_testing();
