# Random sequences of calls, changes, settings and schema features for 020_differential.pl, each step written for three
# targets: a store that is written directly where it can be, a store that SQL statements serve, and the plain model.
#
# A step is a template: {R}, {A}, {D} are the tables, {R.aliasid} and the like their columns ({R!aliasid} as a text), {S} the schema, {L} the log table;
# «function|arguments» is a call of dms_refs or of the model. What differs between targets is an array [stores, model].
package RandomCalls;

use strict;
use warnings;
use RandomFeatures;

use constant TARGETS => ('d', 'q', 'model');
use constant { DOCUMENTS => 24, ALIASES => 32, KEYS => 4 };

my %ours = (
    D => [qw(documentpartitionkey id)],
    A => [qw(referentialpartitionkey referentialid id documentpartitionkey documentid)],
    R => [qw(parentdocumentpartitionkey parentdocumentid aliasid referentialpartitionkey referenceddocumentpartitionkey referenceddocumentid)]);
my %theirs = (
    D => ['shard', '"Doc Nr"'],
    A => ['name_shard', 'ref_uuid', '"Alias Nr"', 'doc_shard', 'doc_nr'],
    R => ['from_shard', '"From"', 'via', 'via_shard', 'to_shard', '"to"']);
my %role = (D => 'document', A => 'alias', R => 'reference');

sub one_of { return $_[ int(rand(@_)) ] }
sub chance { return rand() < $_[0] }

sub new
{
    my ($class, $plain, $all_features, $due) = @_;
    my $self = bless {
        possible => [ grep { !$plain || $plain->{$_} } @$all_features ],    # in a plain round none that keeps a store from being written directly
        due => [@$due],    # those that this round has to meet
        layout => one_of('edfi', 'edfi', 'lean'),
        foreign => chance(0.3),
        tables => { D => 'document', A => 'alias', R => 'reference' },
        renamed => 0,
        detached => {},    # "R 1" => 1
        sets => {},        # parent => what was given last
        extra_key => 0,    # partition 4 has been made
        steps => [],
        features => {},    # name => down
    }, $class;
    return $self;
}

# --- rendering ---

sub column
{
    my ($self, $target, $table, $name) = @_;
    return $name if $target eq 'model' || !$self->{foreign};
    my ($i) = grep { $ours{$table}[$_] eq $name } 0 .. $#{ $ours{$table} };
    return defined $i ? $theirs{$table}[$i] : $name;
}

sub render
{
    my ($self, $target, $template) = @_;
    $template = $template->[ $target eq 'model' ? 1 : 0 ] if ref $template;
    for ($template)
    {
        s/\{([DAR])\.(\w+)\}/$self->column($target, $1, $2)/ge;
        s/\{([DAR])\}/$target eq 'model' ? "model.$role{$1}" : "$target.$self->{tables}{$1}"/ge;
        s/\{([DAR])!(\w+)\}/$self->column($target, $1, $2) =~ s{"}{}gr/ge;
        s/\{L\}/t.log_$target/g;
        s/\{S\}/$target/g;
        s/«(\w+)\|(.*?)»/$target eq 'model' ? "model.$1($2)" : $1 eq 'last_invalid_references' ? "dms_refs.$1()" : "dms_refs.$1($2, store => '$target')"/ge;
    }
    return $template;
}

# must: whether it has to succeed; noise: not compared.
sub step
{
    my ($self, $template, %options) = @_;
    push @{ $self->{steps} }, { (map { $_ => $self->render($_, $template) } TARGETS), %options };
    return;
}

# --- the stores ---

sub setup
{
    my ($self) = @_;
    my @sql = map { "DROP PUBLICATION IF EXISTS published_$_; DROP TABLE IF EXISTS t.log_$_; CREATE TABLE t.log_$_ (n int GENERATED ALWAYS AS IDENTITY, step text, op text, parent text, entry text);" } TARGETS;
    foreach my $store ('d', 'q')
    {
        push @sql, "SELECT dms_refs.create_store('$store', @{[ KEYS ]}, '$self->{layout}');";
        if ($self->{foreign})
        {
            my @map;
            foreach my $table (qw(D A R))
            {
                foreach my $i (0 .. $#{ $ours{$table} })
                {
                    my ($our, $their) = ($ours{$table}[$i], $theirs{$table}[$i]);
                    push @sql, "ALTER TABLE $store.$role{$table} RENAME COLUMN $our TO $their;";
                    push @map, sprintf('"%s.%s": "%s"', $role{$table}, $our, $their =~ s/"//gr);
                }
            }
            push @sql, "SELECT dms_refs.unregister_store('$store');",
              "SELECT dms_refs.register_store('$store', '$store.document', '$store.alias', '$store.reference', '{" . join(', ', @map) . "}', '$store');";
        }
    }
    my $sql = join "\n", @sql;
    foreach my $target (TARGETS)
    {
        $sql .= "\n" . $self->insert_documents($target, 1, DOCUMENTS, 'n % ' . KEYS) . "\n" . $self->render($target,
            'INSERT INTO {A} ({A.id}, {A.referentialpartitionkey}, {A.referentialid}, {A.documentid}, {A.documentpartitionkey}) '
              . ($target eq 'model' ? '' : 'OVERRIDING SYSTEM VALUE ')
              . "SELECT 1000 + n, (n + 1) % 4, t.id(n), n % @{[ DOCUMENTS ]} + 1, (n % @{[ DOCUMENTS ]} + 1) % 4 FROM generate_series(1, @{[ ALIASES ]}) n;");
    }
    return $sql;
}

sub insert_documents
{
    my ($self, $target, $first, $last, $key, $end) = @_;
    my $full = $target ne 'model' && $self->{layout} eq 'edfi';
    return $self->render($target, 'INSERT INTO {D} ({D.id}, {D.documentpartitionkey}'
          . ($full ? ', documentuuid, resourcename, resourceversion, isdescriptor, projectname, edfidoc, lastmodifiedtraceid)' : ')')
          . ($target eq 'model' ? ' ' : ' OVERRIDING SYSTEM VALUE ')
          . "SELECT n, $key" . ($full ? ", t.id(n), 'r', '1', false, 'p', '{}', 't'" : '') . " FROM generate_series($first, $last) n" . ($end // '') . ';');
}

# --- arguments ---

sub alias_key { return ($_[0] + 1) % KEYS }

# A parent as (id, key); now and then one that does not exist, or whose key has no partition.
sub parent
{
    my ($self) = @_;
    return (600 + int(rand(3)), int(rand(KEYS))) if !$self->{clean} && chance(0.02);
    return (1, 9) if !$self->{clean} && chance(0.01);
    return (401, 4) if $self->{extra_key} && chance(0.1);
    my $id = 1 + int(rand(DOCUMENTS));
    return ($id, $id % KEYS);
}

# Numbers of references for a parent: mostly what it was given last, changed a little.
sub numbers
{
    my ($self, $parent) = @_;
    my @set = @{ $self->{sets}{$parent} // [] };
    my $kind = rand();
    if ($kind < 0.05) { @set = () }
    elsif ($kind < 0.20) { @set = map { 1 + int(rand(ALIASES)) } 1 .. 1 + int(rand(12)) }
    elsif ($kind < 0.80)
    {
        @set = grep { chance(0.8) } @set;
        push @set, map { 1 + int(rand(ALIASES)) } 1 .. int(rand(5));
    }
    my %seen;
    @set = sort { $a <=> $b } grep { !$seen{$_}++ } @set;
    $self->{sets}{$parent} = [@set];
    push @set, one_of(@set) if @set && chance(0.05);
    push @set, 900 + int(rand(5)) if chance(0.06);
    @set = sort { rand() <=> 0.5 } @set if chance(0.5);
    return @set;
}

# The two arrays of a set. A small number of them is wrong in one way.
sub arrays
{
    my ($self, @numbers) = @_;
    my @ids = map { "\"$_\"" } map { sprintf '%032d', $_ } @numbers;
    my @keys = map { alias_key($_) } @numbers;
    my $wrong = $self->{clean} ? 1 : rand();
    if ($wrong < 0.010) { push @ids, 'NULL'; push @keys, 0 }
    elsif ($wrong < 0.015 && @keys) { $keys[-1] = 'NULL' }
    elsif ($wrong < 0.025) { push @keys, 1 }
    elsif ($wrong < 0.035 && @keys) { $keys[ int(rand(@keys)) ] = 9 }
    elsif ($wrong < 0.040) { return (q{NULL::uuid[]}, q{'{}'::smallint[]}) }
    elsif ($wrong < 0.045 && @ids) { return ("'{{" . join(',', @ids) . "}}'::uuid[]", "'{" . join(',', @keys) . "}'::smallint[]") }
    return ("'{" . join(',', @ids) . "}'::uuid[]", "'{" . join(',', @keys) . "}'::smallint[]");
}

# --- steps ---

sub call_step
{
    my ($self) = @_;
    my ($id, $key) = $self->parent;
    my ($ids, $keys) = $self->arrays($self->numbers($id));
    my $pure = chance(0.15) ? ', is_pure_insert => true' : '';
    my $kept = chance(0.5) ? ', include_kept => true' : '';
    my $kind = rand();
    if ($kind < 0.35) { $self->step("SELECT * FROM «insert_references|$id, $key\::smallint, $ids, $keys$pure»") }
    elsif ($kind < 0.60) { $self->step("SELECT * FROM «sync_references|$id, $key\::smallint, $ids, $keys$pure$kept»") }
    elsif ($kind < 0.70) { $self->step("SELECT * FROM «diff_references|$id, $key\::smallint, $ids, $keys$pure$kept»") }
    elsif ($kind < 0.83) { $self->batch_step }
    elsif ($kind < 0.88) { $self->apply_step($id, $key) }
    elsif ($kind < 0.91) { $self->step("SELECT * FROM «resolve_references|$ids, $keys»") }
    elsif ($kind < 0.93) { $self->step("SELECT * FROM «find_invalid_references|$ids, $keys»") }
    elsif ($kind < 0.96) { $self->step("SELECT * FROM «referencing_documents|$id, $key\::smallint»") }
    elsif ($kind < 0.98) { $self->last_invalid_step }
    else { $self->step([ "SELECT * FROM {S}.InsertReferences($id, $key\::smallint, $ids, $keys)", "SELECT * FROM model.insert_references($id, $key\::smallint, $ids, $keys)" ]) }
    return;
}

# The model keeps these ids in a setting, which a rollback takes back: so right after a call that cannot fail.
sub last_invalid_step
{
    my ($self) = @_;
    return if $self->{in_transaction} || $self->{detached}{'A 0'} || $self->{detached}{'R 1'};
    $self->step(q[SELECT * FROM «diff_references|1, 1::smallint, t.ids('{923,927,919}'), '{0,0,0}'»], must => 1);
    $self->step('SELECT * FROM «last_invalid_references|»') foreach 1 .. 2;
    return;
}

sub batch_step
{
    my ($self) = @_;
    my (@parents, @parent_keys, @counts, @numbers);
    foreach (1 .. int(rand(6)))
    {
        my ($id, $key) = $self->parent;
        my @set = $self->numbers($id);
        push @parents, $id;
        push @parent_keys, $key;
        push @counts, scalar @set;
        push @numbers, @set;
    }
    $counts[0]++ if @counts && !$self->{clean} && chance(0.01);
    my $list = sub { return "'{" . join(',', @_) . "}'" };
    my $more = chance(0.2) ? ", on_invalid => 'abort'" : '';
    $more .= ', are_pure_inserts => ' . $list->(map { one_of('t', 'f') } @parents) if chance(0.2);
    $self->step('SELECT * FROM «sync_references_batch|' . join(', ', $list->(@parents), $list->(@parent_keys), $list->(@counts), $self->arrays(@numbers)) . "$more»");
    return;
}

sub apply_step
{
    my ($self, $id, $key) = @_;
    my %seen;
    my @numbers = grep { $_ < 900 && !$seen{$_}++ } $self->numbers($id);
    # Where an alias leads is the caller's word; most of the time it is the truth.
    my @aliases = map { 1000 + $_ } @numbers;
    $aliases[0] = 7777 if @aliases && !$self->{clean} && chance(0.03);
    my @documents = map { $_ % DOCUMENTS + 1 } @numbers;
    $documents[0] = 1 + int(rand(DOCUMENTS)) if @documents && chance(0.2);
    my $list = sub { return "'{" . join(',', @_) . "}'" };
    $self->step("SELECT * FROM «apply_resolved_references|$id, $key\::smallint, " . join(', ', $list->(map { alias_key($_) } @numbers),
            $list->(@aliases), $list->(@documents), $list->(map { $_ % KEYS } @documents)) . '»');
    return;
}

# Changes by plain SQL between the calls.
sub change_step
{
    my ($self) = @_;
    my $n = 1 + int(rand(ALIASES));
    my $alias = 1000 + $n;
    my $document = 1 + int(rand(DOCUMENTS));
    my $document_key = $document % KEYS;
    my $key = alias_key($n);
    my $kind = rand();
    if ($kind < 0.40) { $self->step("UPDATE {A} SET {A.documentid} = $document, {A.documentpartitionkey} = $document_key WHERE {A.id} = $alias") unless $self->{features}{unique_target} }
    elsif ($kind < 0.50) { $self->step("DELETE FROM {R} WHERE {R.aliasid} = $alias") }
    elsif ($kind < 0.58) { $self->step("DELETE FROM {A} WHERE {A.id} = $alias") }
    elsif ($kind < 0.78)
    {
        return if $self->{detached}{"A $key"};
        my $into = 'INSERT INTO {A} ({A.id}, {A.referentialpartitionkey}, {A.referentialid}, {A.documentid}, {A.documentpartitionkey})';
        my $rows = "VALUES ($alias, $key, t.id($n), $document, $document_key) ON CONFLICT DO NOTHING";
        $self->step([ "$into OVERRIDING SYSTEM VALUE $rows", "$into $rows" ]);
    }
    elsif ($kind < 0.82) { $self->step("DELETE FROM {D} WHERE {D.id} = $document") }
    elsif ($kind < 0.90)
    {
        push @{ $self->{steps} }, { map { $_ => $self->insert_documents($_, $document, $document, 'n % 4', ' ON CONFLICT DO NOTHING') } TARGETS };
    }
    elsif ($kind < 0.95) { $self->step("UPDATE {R} SET {R.referenceddocumentid} = $document, {R.referenceddocumentpartitionkey} = $document_key WHERE {R.aliasid} = $alias") unless $self->{features}{unique_target} }
    else
    {
        my $other = int(rand(KEYS));
        # Not while it is referred to: the server's own cascade over partitions is another matter.
        $self->step("UPDATE {A} SET {A.referentialpartitionkey} = $other WHERE {A.id} = $alias AND NOT EXISTS (SELECT FROM {R} WHERE {R.aliasid} = $alias)") unless $self->{detached}{"A $other"};
    }
    return;
}

my @settings = (
    'dms_refs.native_fk_checks' => [qw(on off)], 'dms_refs.alias_cache' => [ 0, 1, 5, 4096 ], 'dms_refs.lock_parent' => [qw(on_change always never)],
    'dms_refs.duplicate_references' => [qw(ignore ignore ignore error)], session_replication_role => [qw(origin origin origin origin replica)],
    plan_cache_mode => [qw(auto force_generic_plan force_custom_plan)], enable_seqscan => [qw(on off)], default_transaction_isolation => [ "'read committed'", "'repeatable read'", 'serializable' ]);

sub setting_step
{
    my ($self) = @_;
    my $i = 2 * int(rand(@settings / 2));
    $self->step("SET $settings[$i] = " . one_of(@{ $settings[ $i + 1 ] }), must => 1);
    return;
}

sub maintenance_step
{
    my ($self) = @_;
    $self->step(one_of('VACUUM {A}', 'VACUUM FULL {A}', 'VACUUM {R}', 'ANALYZE {R}', 'REINDEX TABLE {A}', 'REINDEX TABLE {R}', 'VACUUM FULL {R}'), must => 1);
    return;
}

# Whether there is a feature that keeps rows from being deleted, or that a new partition would not have.
sub fragile { my ($self) = @_; return grep { $self->{features}{$_} } qw(notes notes_restrict suppress refuse_always published late disabled) }

sub structure_step
{
    my ($self) = @_;
    return if $self->fragile;
    my $kind = rand();
    my $table = one_of('R', 'R', 'A');
    my $key = int(rand(KEYS));
    my ($partition_key) = $ours{$table}[0];
    if ($kind < 0.25)
    {
        return if $self->{detached}{"$table $key"};
        # A partition of aliases that are referred to cannot be detached.
        $self->step("DELETE FROM {R} WHERE {R.referentialpartitionkey} = $key") if $table eq 'A';
        $self->step([ "SELECT t.swap_partition('{$table}', $key, '" . int(rand(1e6)) . "')", 'SELECT true' ], must => 1);
    }
    elsif ($kind < 0.55)
    {
        return if $self->{detached}{"$table $key"}++;
        # No trigger may keep the rows that have to go.
        $self->step('SET session_replication_role = replica', must => 1);
        $self->step("DELETE FROM {R} WHERE {R.referentialpartitionkey} = $key", must => 1) if $table eq 'A';
        $self->step("DELETE FROM {$table} WHERE {$table.$partition_key} = $key", must => 1);
        $self->step('RESET session_replication_role', must => 1);
        $self->step([ "SELECT t.detach_partition('{$table}', $key)", "DELETE FROM model.partition WHERE (tab, key) = ('$role{$table}', $key)" ], noise => 1, must => 1);
    }
    elsif ($kind < 0.75)
    {
        my $name = $role{$table} . '_' . ++$self->{renamed};
        $self->step([ "ALTER TABLE {$table} RENAME TO $name", 'SELECT' ], noise => 1, must => 1);
        $self->{tables}{$table} = $name;
    }
    elsif (!$self->{extra_key}++)
    {
        foreach my $t (qw(D A R))
        {
            $self->step([ "CREATE TABLE {S}.$role{$t}_04 PARTITION OF {$t} FOR VALUES IN (4)", "INSERT INTO model.partition VALUES ('$role{$t}', 4)" ], noise => 1, must => 1);
        }
        push @{ $self->{steps} }, { (map { $_ => $self->insert_documents($_, 401, 401, '4') } TARGETS), must => 1 };
    }
    return;
}

sub attach_step
{
    my ($self) = @_;
    return if $self->fragile;
    my ($detached) = sort keys %{ $self->{detached} } or return;
    delete $self->{detached}{$detached};
    my ($table, $key) = split / /, $detached;
    $self->step([ "SELECT t.attach_partition('{$table}', $key)", "INSERT INTO model.partition VALUES ('$role{$table}', $key)" ], noise => 1, must => 1);
    return;
}

# One that is on goes off, one that is off comes on, where not too many are.
sub feature_step
{
    my ($self, $name) = @_;
    my $active = $self->{features};
    if (defined $name && !$active->{$name} && keys %$active >= 4) { $self->feature_step(one_of(sort keys %$active)) }
    $name //= one_of(@{ $self->{possible} });
    my ($up, $down, %options) = RandomFeatures::feature($name);
    if (my $undo = delete $active->{$name}) { $self->step($_, noise => 1) foreach @$undo }
    elsif (keys %$active < 4)
    {
        $self->step($_, noise => 1, feature => $name, must => !$options{may_fail}) foreach @$up;
        $active->{$name} = $down;
    }
    return;
}

# Several steps in one transaction, with or without savepoints, and one of its ends.
sub transaction_steps
{
    my ($self) = @_;
    my $begin = one_of('BEGIN', 'BEGIN', 'BEGIN ISOLATION LEVEL REPEATABLE READ', 'BEGIN ISOLATION LEVEL SERIALIZABLE', 'BEGIN READ ONLY');
    $self->step($begin);
    local $self->{in_transaction} = 1;
    # Of two errors in one call, which comes first is nobody's promise.
    local $self->{clean} = 1 if $begin =~ /ONLY/;
    $self->step('SET CONSTRAINTS ALL ' . one_of('DEFERRED', 'IMMEDIATE')) if chance(0.3);
    foreach (1 .. 2 + int(rand(5)))
    {
        my $savepoint = chance(0.4);
        $self->step('SAVEPOINT a') if $savepoint;
        chance(0.8) ? $self->call_step : $self->change_step;
        $self->step(one_of('ROLLBACK TO a', 'ROLLBACK TO a', 'RELEASE a')) if $savepoint;
    }
    $self->step(one_of('COMMIT', 'COMMIT', 'COMMIT', 'ROLLBACK'));
    return;
}

# Everything that can be compared: all columns but identity ones.
sub check_steps
{
    my ($self) = @_;
    my $list = sub { my $t = shift; return join ', ', map { "{$t.$_}" } @{ $ours{$t} } };
    $self->step('SELECT ' . $list->('R') . ' FROM {R} ORDER BY 1, 2, 3', must => 1);
    $self->step('SELECT ' . $list->('A') . ' FROM {A} ORDER BY 1, 2, 3', must => 1);
    $self->step('SELECT ' . $list->('D') . ' FROM {D} ORDER BY 1, 2', must => 1);
    $self->step($_, must => 1) foreach map { RandomFeatures::check($_) } sort keys %{ $self->{features} };
    # The order of the phases of a document is a promise, that of the rows of any other statement is not.
    $self->step(q{SELECT step, parent, string_agg(op || ' ' || entries, '; ' ORDER BY first)
        FROM (SELECT step, op, parent, min(n) AS first, string_agg(entry, ' ' ORDER BY entry) AS entries FROM {L} GROUP BY step, op, parent) x
        GROUP BY step, parent ORDER BY step::int, parent}, must => 1);
    $self->step('DELETE FROM {L}', must => 1);
    return;
}

sub generate
{
    my ($self, $calls) = @_;
    my @due = @{ $self->{due} };
    my $all = $calls;
    while ($calls > 0)
    {
        my $before = @{ $self->{steps} };
        # The features that are due come one after another in the first three quarters of the round.
        $self->feature_step(shift @due) if @due && $all - $calls >= 0.75 * $all * (1 - @due / @{ $self->{due} }) && !$self->{features}{ $due[0] };
        shift @due if @due && $self->{features}{ $due[0] };
        $self->attach_step if chance(0.1);
        my $kind = rand();
        if ($kind < 0.66) { $self->call_step }
        elsif ($kind < 0.79) { $self->change_step }
        elsif ($kind < 0.86) { $self->transaction_steps }
        elsif ($kind < 0.90) { $self->setting_step }
        elsif ($kind < 0.93) { $self->maintenance_step }
        elsif ($kind < 0.97) { $self->feature_step }
        else { $self->structure_step }
        $calls -= grep { $_->{d} =~ /dms_refs\.|InsertReferences/ } @{ $self->{steps} }[ $before .. $#{ $self->{steps} } ];
        $self->check_steps if int(@{ $self->{steps} } / 60) > int($before / 60);
    }
    $self->check_steps;
    return $self->{steps};
}

1;
