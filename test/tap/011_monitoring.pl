# The files for monitoring: the queries of both exporters run as a role that only monitors, give the same series, and
# count what was done; the dashboard uses what they give. With Debian's postgres_exporter and Prometheus in the folder
# $DMS_REFS_EXPORTERS (tools/check puts them there): the same through these programs.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use CPAN::Meta::YAML;
use DmsRefs;
use HTTP::Tiny;
use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $files = "$FindBin::RealBin/../../tools/monitoring";

my $node = new_node('monitoring', conf => "shared_preload_libraries = 'dms_refs'\n");
create_store($node, 'dms', 'edfi', 200, 16);
sub ask { return $node->safe_psql($_[1] // 'postgres', $_[0]) }
ask(q{CREATE ROLE exporter LOGIN IN ROLE pg_monitor; CREATE ROLE stranger LOGIN});

# --- the files, as the exporters understand them ---
# Each gives a list of queries: name, sql, labels (columns), and values: column, metric, type.
sub sql_exporter
{
    my ($file) = @_;
    my %known = map { $_ => 1 } qw(metric_name type help key_labels values query_ref);
    my %sql = map { $_->{query_name} => $_->{query} } @{ $file->{queries} };
    my @queries;
    foreach my $metric (@{ $file->{metrics} })
    {
        my $name = $metric->{metric_name};
        is_deeply([ grep { !$known{$_} } keys %$metric ], [], "$name: no unknown key");
        like($metric->{type}, qr/^(counter|gauge)$/, "$name: a type that sql_exporter knows");
        ok($metric->{help} && $sql{ $metric->{query_ref} } && @{ $metric->{values} } == 1, "$name: help, a query and one value");
        push @queries, { name => $metric->{query_ref}, sql => $sql{ $metric->{query_ref} }, labels => $metric->{key_labels},
            values => [ [ $metric->{values}[0], $name, $metric->{type} ] ] };
    }
    return @queries;
}

sub postgres_exporter
{
    my ($file) = @_;
    my @queries;
    foreach my $namespace (sort keys %$file)
    {
        my (@labels, @values);
        foreach my $column (@{ $file->{$namespace}{metrics} })
        {
            my ($name) = keys %$column;
            my $usage = $column->{$name}{usage};
            ok($column->{$name}{description}, "$namespace: $name is described");
            if ($usage eq 'LABEL') { push @labels, $name }
            else { push @values, [ $name, "${namespace}_$name", lc $usage ] }
        }
        push @queries, { name => $namespace, sql => $file->{$namespace}{query}, labels => \@labels, values => \@values };
    }
    return @queries;
}

my $collector = CPAN::Meta::YAML->read("$files/dms_refs.collector.yml")->[0];
my $namespaces = CPAN::Meta::YAML->read("$files/postgres_exporter_queries.yml")->[0];
is($collector->{collector_name}, 'dms_refs', 'the collector has its name');
my %exporters = (sql_exporter => [ sql_exporter($collector) ], postgres_exporter => [ postgres_exporter($namespaces) ]);
foreach my $query (@{ $collector->{queries} })
{
    my $same = $namespaces->{ $query->{query_name} } or next;
    is($query->{query}, $same->{query}, "$query->{query_name}: the same SQL in both files");
}

sub query
{
    my ($role, $database, $sql) = @_;
    # The notice that statistics are of this session only is none of an exporter's business.
    local $ENV{PGOPTIONS} = '-c client_min_messages=warning';
    my ($code, $out, $err) = $node->psql($database, $sql, extra_params => [ '-U', $role ]);
    is($err, '', "as $role in $database");
    return $out;
}

my %parts_of;    # the name of a series to its metric and labels
sub series_name
{
    my ($metric, %labels) = @_;
    my $name = "$metric\{" . join(', ', map { qq{$_="$labels{$_}"} } sort keys %labels) . '}';
    $parts_of{$name} = { metric => $metric, labels => \%labels };
    return $name;
}

# What an exporter gives: a hash of metric{labels} to value. Columns and types are looked at in passing.
my %kind_of;    # metric to counter, gauge
sub scrape
{
    my ($exporter, $role, $database) = @_;
    my (%series, %answers);
    foreach my $query (@{ $exporters{$exporter} })
    {
        my $answer = $answers{ $query->{name} } //= do
        {
            my $sql = $query->{sql} =~ s/\s+\z//r;
            my @types = map { [ split /\|/ ] } split /\n/, query($role, $database, "$sql \\gdesc");
            my $rows = query($role, $database, "SELECT coalesce(json_agg(q), '[]') FROM ($sql) q");
            { types => { map { @$_ } @types }, rows => decode_json($rows), used => {} };
        };
        my $used = $answer->{used};
        $used->{$_} = 1 foreach @{ $query->{labels} };
        is_deeply([ map { $answer->{types}{$_} } @{ $query->{labels} } ], [ map { 'text' } @{ $query->{labels} } ], "$query->{name}: labels are text");
        foreach my $value (@{ $query->{values} })
        {
            my ($column, $metric, $kind) = @$value;
            my @columns = $kind eq 'histogram' ? ($column, map { "${column}_$_" } qw(bucket sum count)) : $column;
            $used->{$_} = 1 foreach @columns;
            like(join(' ', map { $answer->{types}{$_} // "no $_" } @columns),
                $kind eq 'histogram' ? qr/^double precision\[\] bigint\[\] double precision bigint$/ : qr/^(bigint|double precision)$/, "$metric: types");
            $kind_of{$_} = $kind eq 'histogram' ? 'counter' : $kind foreach $kind eq 'histogram' ? map { "${metric}_$_" } qw(bucket sum count) : $metric;
            foreach my $row (@{ $answer->{rows} })
            {
                my %labels = map { $_ => $row->{$_} } @{ $query->{labels} };
                my @points = ([ $metric, $row->{$column} ]);
                if ($kind eq 'histogram')
                {
                    my @bounds = (@{ $row->{$column} }, '+Inf');
                    my @counts = (@{ $row->{"${column}_bucket"} }, $row->{"${column}_count"});
                    @points = ((map { [ "${metric}_bucket", $counts[$_], le => $bounds[$_] ] } 0 .. $#bounds),
                        map { [ "${metric}_$_", $row->{"${column}_$_"} ] } qw(sum count));
                }
                foreach my $point (@points)
                {
                    my ($name, $number, @more) = @$point;
                    my $series = series_name($name, %labels, @more);
                    fail("$series: twice") if exists $series{$series};
                    fail("$series: not a number") if ($number // '') !~ /^([-+.e\d]+|Infinity)$/;
                    $series{$series} = $number;
                }
            }
        }
    }
    is_deeply([ sort keys %{ $_->{types} } ], [ sort keys %{ $_->{used} } ], 'columns are the labels and values, no more and no fewer') foreach values %answers;
    return %series;
}

# --- calls, some of each path ---
sub save
{
    my ($parent, @references) = @_;
    my $list = '{' . join(',', @references) . '}';
    return "SELECT success FROM dms_refs.insert_references($parent, (t.keys('{$parent}'))[1], t.ids('$list'), t.keys('$list'));\n";
}

sub every_path
{
    my ($from) = @_;
    ask(save($from, 1, 2, 3) . save($from, 1, 2, 3) x 3 . save($from, 1, 2, 4) . save($from, 1, 2, 4, 5) . save($from, 1, 2) . save($from, 900, 901)
        . "SELECT code FROM t.try('SELECT dms_refs.insert_references(999999, 15::smallint, t.ids(''{5}''), t.keys(''{5}''))');
           SELECT code FROM t.try('SELECT dms_refs.insert_references(1, 1::smallint, t.ids(''{5}''), t.keys(''{5}''), store => ''nowhere'')');
           SELECT count(*) FROM dms_refs.diff_references($from, (t.keys('{$from}'))[1], t.ids('{1,7}'), t.keys('{1,7}'));
           SELECT count(*) FROM dms_refs.sync_references_batch(ARRAY[$from, $from + 1]::bigint[], t.keys(ARRAY[$from, $from + 1]), '{1,2}', t.ids('{9,8,9}'), t.keys('{9,8,9}'));
           SELECT count(*) FROM dms_refs.resolve_references(t.ids('{1,2,900}'), t.keys('{1,2,900}'));");
    return;
}

# Sessions report at the latest when they end; a client has seen the end of its own before the server has.
sub settle
{
    $node->poll_query_until('postgres',
        q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'client backend' AND application_name <> 'keeps'}) or die 'sessions do not end';
    return;
}

sub both
{
    my ($role, $database) = @_;
    settle();
    my %sql = scrape('sql_exporter', $role, $database);
    my %postgres = scrape('postgres_exporter', $role, $database);
    foreach (\%sql, \%postgres)    # it moves between the two
    {
        my $series = $_;
        $series->{$_} = $series->{$_} > 0 ? 1 : 0 foreach grep { /^dms_refs_running_oldest_seconds/ } keys %$series;
    }
    is_deeply(\%sql, \%postgres, 'both exporters give the same series');
    return %sql;
}

my %empty = both('exporter', 'postgres');
is(scalar(keys %empty), 3, 'no calls, no series but those of the room');
every_path(20);
ask("SELECT dms_refs.create_store('Odd name', 4, 'lean'); SELECT dms_refs.find_invalid_references('{}', '{}', 'Odd name')");
ask('CREATE DATABASE second');
configure($node, 'second');
ask("SELECT dms_refs.create_store('dms', 4, 'lean'); SELECT dms_refs.find_invalid_references('{}', '{}')", 'second');
my %first = both('exporter', 'postgres');

sub series { my ($metric, %labels) = @_; return $first{ series_name("dms_refs_$metric", datname => 'postgres', %labels) } }
my %calls = (relation => 'dms.reference', function => 'insert_references', engine => 'direct');
is_deeply({ map { $_ => series('calls_total', %calls, path => $_) } qw(pure_insert unchanged mixed insert_only delete_only invalid error) },
    { pure_insert => 1, unchanged => 3, mixed => 1, insert_only => 1, delete_only => 1, invalid => 1, error => 1 }, 'calls by path');
is(series('calls_total', %calls, path => 'error', relation => ''), 1, 'one without a table');
is(series('calls_total', %calls, relation => '"Odd name".alias', function => 'find_invalid_references', path => 'read'), 1, 'a name that takes quotes');
is(series('references_total', %calls, path => 'unchanged'), 9, 'references');
is(series('invalid_references_total', %calls, path => 'invalid'), 2, 'invalid references');
cmp_ok(series('wal_bytes_total', %calls, path => 'pure_insert'), '>', 100, 'WAL in bytes');
my $seconds = series('call_seconds_total', %calls, path => 'unchanged');
cmp_ok(abs($seconds - ask(q{SELECT total_time / 1000 FROM dms_refs.stat_calls WHERE function = 'insert_references' AND path = 'unchanged'})), '<', 1e-9, 'time in seconds');
my %rows = (relation => 'dms.reference', function => 'insert_references');
is_deeply([ map { series('rows_total', %rows, action => $_) } qw(inserted updated deleted kept) ], [ 5, 0, 3, 16 ], 'rows');
is(series('rows_total', %rows, function => 'diff_references', action => 'inserted'), undef, 'not those that were not written');
is_deeply([ map { series('documents_total', relation => 'dms.reference', prediction => $_) } qw(equal_count_unchanged equal_count_changed different_count) ],
    [ split /\|/, ask(q{SELECT equal_count_unchanged, equal_count_changed, different_count FROM dms_refs.stat_paths WHERE relation = 'dms.reference'::regclass}) ], 'predictions');
is(series('set_size', relation => 'dms.reference', quantile => '1'), 4, 'the largest set');
is(series('running_calls', relation => 'dms.reference'), 0, 'none is running');
is_deeply([ grep { /datname="second"/ } keys %first ], [], 'nothing of another database');

# The histogram: counts rise to the number of calls, at bounds where the views have theirs.
my @bounds = map { /^dms_refs_latency_seconds_bucket.*path="unchanged".*/ ? /le="(.*?)"/ : () } keys %first;
@bounds = sort { $a <=> $b } grep { $_ ne '+Inf' } @bounds;
is(scalar(@bounds), 15, 'bounds');
my @counts = map { series('latency_seconds_bucket', %calls, path => 'unchanged', le => $_) } @bounds, '+Inf';
is_deeply(\@counts, [ sort { $a <=> $b } @counts ], 'counts rise');
is($counts[-1], 3, 'to all calls');
is(series('latency_seconds_count', %calls, path => 'unchanged'), 3, 'which are counted');
is(series('latency_seconds_sum', %calls, path => 'unchanged'), $seconds, 'and their time');
foreach my $i (0 .. $#bounds)
{
    is($counts[$i], ask(qq{SELECT count(*) FROM dms_refs.stat_entries() e, unnest(e.latency) WITH ORDINALITY l(n, bucket), generate_series(1, l.n)
        WHERE e.function = 'insert_references' AND e.path = 'unchanged' AND bucket <= (log(2, ($bounds[$i] * 1e6)::numeric)::int + 1) * 8}), "calls within $bounds[$i] s");
}

# --- a second scrape, with a call that waits ---
my $gate = $node->background_psql('postgres');
$gate->query_safe('BEGIN; SET application_name = keeps; SELECT FROM dms.document WHERE id = 30 FOR UPDATE');
my $waiting = $node->background_psql('postgres');
$waiting->query_safe('SET application_name = keeps');
$waiting->query_until(qr/sent/, "\\echo sent\n" . save(30, 1));
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM dms_refs.stat_progress}) or die 'the call does not wait';
every_path(40);
my %second = both('exporter', 'postgres');
is($second{'dms_refs_running_calls{datname="postgres", relation="dms.reference"}'}, 1, 'one is running');
is($second{'dms_refs_running_oldest_seconds{datname="postgres", relation="dms.reference"}'}, 1, 'for some time');
$gate->query_safe('COMMIT');
$gate->quit;
$waiting->quit;
my (@down, $up);
foreach my $name (keys %first)
{
    next if $kind_of{ $parts_of{$name}{metric} } ne 'counter';
    push @down, $name if ($second{$name} // -1) < $first{$name};
    $up++ if $second{$name} > $first{$name};
}
is_deeply(\@down, [], 'no counter went down');
cmp_ok($up, '>', 50, 'and many went up');

# --- the dashboard ---
my $dashboard = decode_json(slurp_file("$files/grafana-dashboard.json"));
my %labels_of;    # of metrics that were seen, by both exporters
foreach my $name (keys %second)
{
    $labels_of{ $parts_of{$name}{metric} }{$_} = 1 foreach keys %{ $parts_of{$name}{labels} };
}

# Whether a series is chosen by the metric and the matchers, all values of a variable chosen.
sub matches
{
    my ($name, $metric, $matchers) = @_;
    return 0 if $parts_of{$name}{metric} ne $metric;
    while ($matchers =~ /(\w+)(=~|!~|!=|=)"([^"]*)"/g)
    {
        my ($label, $how, $what) = ($1, $2, $3);
        $what =~ s/^\$\w+$/.*/;
        my $value = $parts_of{$name}{labels}{$label} // '';
        my $equal = $how =~ /~/ ? $value =~ /^(?:$what)$/ : $value eq $what;
        return 0 if $equal == ($how =~ /!/ ? 1 : 0);
    }
    return 1;
}

my @expressions;
foreach my $panel (@{ $dashboard->{panels} })
{
    is($panel->{datasource}{uid}, '${datasource}', "$panel->{title}: the data source can be chosen");
    foreach my $target (@{ $panel->{targets} })
    {
        my $rest = $target->{expr};
        push @expressions, [ $panel->{title}, $rest ];
        my @metrics;
        while ($rest =~ s/(\bdms_refs_\w+)\{([^}]*)\}//)
        {
            my ($metric, $matchers) = ($1, $2);
            push @metrics, $metric;
            ok(scalar(grep { matches($_, $metric, $matchers) } keys %second), "$panel->{title}: $metric\{$matchers} has data");
            is_deeply([ grep { !$labels_of{$metric}{$_} } $matchers =~ /(\w+)(?:=~|!~|!=|=)"/g ], [], 'and its labels');
        }
        unlike($rest, qr/dms_refs_/, "$panel->{title}: every metric has a selector");
        cmp_ok(scalar @metrics, '>', 0, 'and there is one');
        my %by = map { $_ => 1 } map { split /,\s*/ } $rest =~ /\b(?:by|on)\s*\(([^)]*)\)/g;
        foreach my $metric (@metrics)
        {
            is_deeply([ grep { !$labels_of{$metric}{$_} } keys %by ], [], "$panel->{title}: $metric has the labels it is grouped by");
        }
        is_deeply([ grep { !$by{$_} } $target->{legendFormat} =~ /\{\{(\w+)\}\}/g ], [], "$panel->{title}: the legend's labels are there");
    }
}
cmp_ok(scalar @{ $dashboard->{panels} }, '>=', 12, 'panels');
foreach my $variable (grep { $_->{type} eq 'query' } @{ $dashboard->{templating}{list} })
{
    my ($metric, $label) = $variable->{definition} =~ /^label_values\((\w+)(?:\{.*\})?, (\w+)\)$/;
    ok($labels_of{$metric}{$label}, "variable $variable->{name}");
}

# --- the real programs ---
SKIP:
{
    my $programs = $ENV{DMS_REFS_EXPORTERS} // '';
    my ($exporter, $prometheus) = map { "$programs/usr/bin/$_" } qw(prometheus-postgres-exporter prometheus);
    if (!-x $exporter || !-x $prometheus)
    {
        diag('SKIPPED: postgres_exporter and Prometheus themselves: no folder DMS_REFS_EXPORTERS has them');
        skip 'no postgres_exporter and Prometheus', 1;
    }
    my ($exporter_port, $prometheus_port) = (PostgreSQL::Test::Cluster::get_free_port(), PostgreSQL::Test::Cluster::get_free_port());
    my $folder = $node->basedir;
    append_to_file("$folder/prometheus.yml", "global:\n  scrape_interval: 1s\nscrape_configs:\n"
        . "  - job_name: dms_refs\n    static_configs:\n      - targets: ['127.0.0.1:$exporter_port']\n");
    my @running;
    my $start = sub {
        my ($log, @command) = @_;
        push @running, IPC::Run::start(\@command, '<', \undef, '>', $log, '2>&1');
    };
    my $get = sub {
        my ($port, $path, $form) = @_;
        my $http = HTTP::Tiny->new(timeout => 10);
        my $url = "http://127.0.0.1:$port$path";
        foreach my $try (1 .. 100)
        {
            my $answer = $form ? $http->post_form($url, $form) : $http->get($url);
            return $answer->{content} if $answer->{status} == 200;
            usleep(100_000);
        }
        return '';
    };
    local $ENV{DATA_SOURCE_NAME} = $node->connstr('postgres') =~ s/'//gr . ' user=exporter sslmode=disable';
    $start->("$folder/exporter.log", $exporter, "--web.listen-address=127.0.0.1:$exporter_port", '--disable-default-metrics', '--disable-settings-metrics',
        "--extend.query-path=$files/postgres_exporter_queries.yml");
    # Whether it keeps its connection depends on its version.
    $node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'client backend' AND usename <> 'exporter'})
      or die 'sessions do not end';
    my %expected = scrape('postgres_exporter', 'exporter', 'postgres');
    my $text = $get->($exporter_port, '/metrics');
    my %scraped;
    foreach my $line (grep { /^dms_refs_/ } split /\n/, $text)
    {
        my ($metric, $labels, $value) = $line =~ /^(\w+)\{(.*)\} (\S+)$/;
        my %labels = $labels =~ /(\w+)="((?:[^"\\]|\\.)*)"/g;
        delete $labels{server};
        s/\\(.)/$1/g foreach values %labels;
        $scraped{ series_name($metric, %labels) } = $value =~ s/^\+Inf$/Infinity/r;
    }
    is_deeply([ sort keys %scraped ], [ sort keys %expected ], 'postgres_exporter gives these series');
    is_deeply([ grep { $scraped{$_} ne $expected{$_} && abs($scraped{$_} - $expected{$_}) > 1e-9 } keys %scraped ], [], 'with these values');
    like($text, qr/^# TYPE dms_refs_latency_seconds histogram$/m, 'the latency as a histogram');
    like($text, qr/^pg_exporter_user_queries_load_error\{.*\} 0$/m, 'and found nothing wrong with the file');

    $start->("$folder/prometheus.log", $prometheus, "--config.file=$folder/prometheus.yml", "--storage.tsdb.path=$folder/prometheus",
        "--web.listen-address=127.0.0.1:$prometheus_port");
    my %missing = map { $_->[1] => $_->[0] } @expressions;
    foreach my $round (1 .. 30)
    {
        every_path(50 + $round);    # so that there are rates
        usleep(1_000_000);
        foreach my $expression (keys %missing)
        {
            my $asked = $expression =~ s/\$__rate_interval/1m/gr =~ s/\$(datname|relation)/.*/gr;
            my $answer = decode_json($get->($prometheus_port, '/api/v1/query', { query => $asked }) || '{}');
            delete $missing{$expression} if grep { $_->{value}[1] ne 'NaN' } @{ $answer->{data}{result} // [] };
        }
        last if !%missing;
    }
    is_deeply(\%missing, {}, 'Prometheus has data for every expression of the dashboard');
    foreach my $program (@running)
    {
        $program->signal('TERM');
        $program->finish;
    }
}

# --- who may not monitor, and not preloaded ---
my %none = both('stranger', 'postgres');
is(scalar(keys %none), 3, 'a role without rights is told of no table');
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''");
$node->restart;
ask(save(20, 1));
my %session = both('exporter', 'postgres');
is_deeply([ grep { /_entries|_total/ && $session{$_} } grep { !/max/ } keys %session ], [], 'not preloaded: nothing is counted');
is($session{'dms_refs_stat_entries{datname="postgres", storage="session"}'}, 0, 'and the storage says so');

$node->stop;
done_testing();
