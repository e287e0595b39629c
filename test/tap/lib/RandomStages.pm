# Random statements for 022_stages_twin.pl: the same script for a stage `x` in one database and a temporary table `x` in another, which
# must give the same rows, counts and SQLSTATEs. A step is a hash: sql, or stage and twin where the two are asked differently.
#
# A round has columns of random types, maybe a key, and one of the two settings of on_commit.
package RandomStages;

use strict;
use warnings;

# What a stage does not do, or does otherwise, as docs/staging.md says: a name, a statement, and its SQLSTATE on the stage.
our @LIMITS = (
    [ 'no MERGE into a stage' => 'MERGE INTO x USING (VALUES (1)) v(i) ON x.id = v.i WHEN NOT MATCHED THEN INSERT (id) VALUES (v.i)', '0A000' ],
    [ 'no ON CONFLICT with a target' => 'INSERT INTO x (id) VALUES (1) ON CONFLICT (id) DO NOTHING', '42P10' ],
    [ 'no DO UPDATE' => 'INSERT INTO x (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET id = 2', '42P10' ],
    [ 'no COPY TO' => 'COPY x TO STDOUT', '42809' ],
    [ 'no index' => 'CREATE INDEX ON x (id)', '42809' ],
);

# Where the two may fail with different SQLSTATEs, and why: a pattern of the statement, and of the two states.
our @OPEN = (
    [ 'COPY fills a table in batches: a later row may fail its checks or its input before an earlier one its unique index' => qr/^COPY/, qr/^23\w{3} 2[23]\w{3}$/ ],
    [ 'a definition that rows stand against: a stage takes it, and refuses to be used' => qr/-- over rows/, qr/^55000 |^00000 (?:2|4|5)\w{4}$/ ],
);

# Types: what they are called, and literals; few, so that they meet.
my @types = (
    [ text => sub { "'v" . int(rand(12)) . "'" } ],
    [ text => sub { one_of("repeat('wide ', " . (300 + int(rand(2000))) . ')', "repeat(md5('" . int(rand(9)) . "'), 120)", "''") } ],
    [ numeric => sub { one_of('1.0', '1.00', '-7', "'NaN'", int(rand(100)) / 4) } ],
    [ float8 => sub { one_of("'-0'", '0', "'NaN'", "'Infinity'", int(rand(9)) / 2) } ],
    [ 'numeric(8,2)' => sub { int(rand(1000)) / 8 } ],
    [ 'char(6)' => sub { "'c" . int(rand(5)) . (chance(0.5) ? ' ' : '') . "'" } ],
    [ bool => sub { one_of('true', 'false') } ],
    [ uuid => sub { sprintf "'%032d'", int(rand(9)) } ],
    [ timestamptz => sub { "'2026-01-0" . (1 + int(rand(9))) . " 00:00+00'" } ],
    [ jsonb => sub { one_of(q{'{"a": 1}'}, q{'[1, 2, {"b": null}]'}, q{'"s"'}, "'" . int(rand(9)) . "'") } ],
    [ bytea => sub { "'\\x0" . int(rand(9)) . "'" } ],
    [ 'int[]' => sub { one_of(q{'{}'}, q{'{1,NULL,3}'}, q{'{{1,2},{3,4}}'}, "'{" . int(rand(5)) . "}'") } ],
    [ 'text[]' => sub { one_of(q{'{a,b}'}, q{'{NULL}'}, q{'[5:6]={q,w}'}) } ],
    [ 't.pair' => sub { one_of(q{ROW(1, 'one')}, q{ROW(NULL, NULL)}, "ROW(" . int(rand(5)) . ", repeat('p', 90))") . '::t.pair' } ],
    [ 't.nested' => sub { "ROW(ROW(" . int(rand(4)) . ", 'n')::t.pair, ARRAY[" . int(rand(4)) . "])::t.nested" } ],
    [ 't.pair[]' => sub { one_of(q{ARRAY[ROW(1, 'x')::t.pair, NULL]}, q{'{}'::t.pair[]}) } ],
    [ 't.positive' => sub { chance(0.95) ? 1 + int(rand(20)) : -1 } ],
    [ 't.labels' => sub { one_of(q{'{a}'}, q{'{b,c}'}) } ],
    [ int4range => sub { my $a = int(rand(9)); "int4range($a, @{[ $a + 1 + int(rand(4)) ]})" } ],
    [ bigint => sub { int(rand(1e6)) * 1_000_003 } ],
);

sub one_of { return $_[ int(rand(@_)) ] }
sub chance { return rand() < $_[0] }

# Types, tables and functions that both databases have.
sub setup
{
    return <<'SQL';
CREATE SCHEMA t;
CREATE TYPE t.pair AS (a int, b text);
CREATE TYPE t.nested AS (p t.pair, q int[]);
CREATE DOMAIN t.positive AS int CHECK (VALUE > 0);
CREATE DOMAIN t.labels AS text[] DEFAULT '{none}' CHECK (cardinality(VALUE) < 5);
CREATE TABLE t.other (id int PRIMARY KEY, label text);
INSERT INTO t.other SELECT g, 'x' || g % 7 FROM generate_series(1, 400) g;
CREATE TABLE t.target (id int PRIMARY KEY, n int, label text);
ANALYZE t.other;
-- Triggers that change the table they are on: at a few rows each, and never at rows that they made.
CREATE FUNCTION t.adds() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO x (id) VALUES (NEW.id + 5000) ON CONFLICT DO NOTHING; RETURN NULL; END $$;
CREATE FUNCTION t.removes() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM x WHERE id = NEW.id + 1; RETURN NULL; END $$;
CREATE FUNCTION t.moves() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE x SET id = id + 20000 WHERE id = OLD.id + 2; RETURN NULL; END $$;
CREATE FUNCTION t.edits() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.id % 6 = 1 THEN RETURN NULL; END IF; NEW.id := NEW.id + 0; RETURN NEW; END $$;
CREATE FUNCTION t.tries() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    BEGIN
        INSERT INTO x (id) SELECT g FROM generate_series(30000, 30050) g;
        DELETE FROM x WHERE id % 3 = 0;
        RAISE division_by_zero;
    EXCEPTION WHEN division_by_zero THEN NULL;
    END;
    RETURN NULL;
END $$;
CREATE FUNCTION t.counts() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF pg_trigger_depth() < 3 THEN DELETE FROM x WHERE id = (SELECT count(*) FROM x); END IF; RETURN NULL; END $$;
-- A check that removes the row that is being written.
CREATE FUNCTION t.meddles(of int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN IF of % 23 = 3 THEN DELETE FROM x WHERE id IN (of, of + 1); END IF; RETURN true; END $$;
SQL
}

sub new
{
    my ($class, $version) = @_;
    my $self = bless {
        version => $version, on_commit => one_of('delete', 'preserve'), n => 0, steps => [], open => 0, savepoints => [], cursors => {}, triggers => {}, prepared => {},
        careful => chance(0.5),    # a savepoint around every statement, or errors that end a transaction
    }, $class;
    my $i = 0;
    $self->{columns} = [ map { my $type = one_of(@types); { name => 'c' . ++$i, type => $type->[0], value => $type->[1] } } 1 .. 2 + int(rand(4)) ];
    foreach my $c (@{ $self->{columns} })
    {
        $c->{extra} = chance(0.2) ? ' NOT NULL DEFAULT ' . $self->default($c) : chance(0.15) ? ' DEFAULT ' . $self->default($c) : '';
    }
    $self->{key} = one_of('id', 'id', 'id', '', "id, $self->{columns}[0]{name}");
    $self->{key} = 'id' if $self->{key} =~ /,/ && $self->{columns}[0]{type} =~ /^(?:text|t\.|bytea)/;    # a btree row has its limits
    return $self;
}

sub default { my ($self, $c) = @_; return $c->{type} eq 't.positive' ? 3 : $c->{value}->() }

# The statements that make x.
sub make
{
    my ($self) = @_;
    my $columns = join ', ', 'id int', map({ "$_->{name} $_->{type}$_->{extra}" } @{ $self->{columns} }), 'w text', 'g int GENERATED ALWAYS AS (id * 3) STORED', 'CONSTRAINT small CHECK (id < 90000)', chance(0.15) ? 'CHECK (t.meddles(id))' : ();
    my $key = $self->{key} ? ", key '" . $self->{key} =~ s/ //gr . "'" : '';
    my $unique = $self->{key} ? ", UNIQUE ($self->{key})" : '';
    my $at_commit = $self->{on_commit} eq 'delete' ? 'DELETE' : 'PRESERVE';
    return { stage => "CREATE FOREIGN TABLE x ($columns) SERVER dms_refs_stage OPTIONS (on_commit '$self->{on_commit}'$key)", twin => "CREATE TEMP TABLE x ($columns$unique) ON COMMIT $at_commit ROWS" };
}

sub step { my ($self, $sql, %more) = @_; push @{ $self->{steps} }, { sql => $sql, %more }; return }
sub both { my ($self, $stage, $twin) = @_; push @{ $self->{steps} }, { stage => $stage, twin => $twin }; return }

# Every row, as one number that does not depend on their order; and the small ones in full.
sub check
{
    my ($self) = @_;
    $self->step('SELECT count(*), sum(hashtext(s::text)::bigint) FROM x s');
    $self->step('SELECT s.* FROM x s WHERE id < 60');
    return;
}

sub number { my $top = shift; return 1 + int(rand($top)) }
sub column { my ($self) = @_; return one_of(@{ $self->{columns} }) }
sub value { my ($c) = @_; return chance(0.08) ? 'NULL' : chance(0.05) ? 'DEFAULT' : $c->{value}->() }
sub expression { my ($c) = @_; return chance(0.08) ? 'NULL' : '(' . $c->{value}->() . ")::$c->{type}" }

sub condition
{
    my ($self) = @_;
    my $kind = int(rand(9));
    return 's.id = ' . number(120) if $kind == 0;
    return 's.id < ' . number(120) if $kind == 1;
    return 's.id IN (' . join(', ', map { number(120) } 1 .. 4) . ')' if $kind == 2;
    return 's.id % ' . number(6) . ' = 0' if $kind == 3;
    return 's.id BETWEEN ' . number(60) . ' AND ' . number(140) if $kind == 4;
    return 'EXISTS (SELECT FROM t.other o WHERE o.id = s.id AND o.label = \'x' . int(rand(7)) . '\')' if $kind == 5;
    my $c = $self->column;
    return "s.$c->{name} IS " . one_of('NULL', 'NOT NULL') if $kind == 6;
    return 's.id = ANY (ARRAY(SELECT id FROM t.other WHERE label = \'x' . int(rand(7)) . '\'))' if $kind == 7;
    return $self->{key} =~ /, (\w+)/ ? 's.id = ' . number(60) . " AND s.$1 = " . $self->{columns}[0]{value}->() : '(s.id, s.g) = (' . number(120) . ', ' . number(360) . ')';
}

sub returning
{
    my ($self) = @_;
    return '' if chance(0.5);
    return ' RETURNING ' . one_of('s.*', 's.id, s.g', 'count_of(s)') =~ s/count_of\(s\)/s.id + coalesce(s.g, 0)/r if $self->{version} < 18 || chance(0.5);
    return ' RETURNING ' . one_of('old.id, new.id', 'old.*, new.*', 'old.id IS DISTINCT FROM new.id, s.*');
}

sub insert
{
    my ($self) = @_;
    my @columns = grep { chance(0.7) } @{ $self->{columns} };
    my $names = join ', ', 'id', map { $_->{name} } @columns;
    my $rows = join ', ', map { my $id = chance(0.05) ? 'NULL' : number(120); '(' . join(', ', $id, map { value($_) } @columns) . ')' } 1 .. number(4);
    my $kind = int(rand(6));
    return "INSERT INTO x AS s ($names) VALUES $rows" . (chance(0.4) ? ' ON CONFLICT DO NOTHING' : '') . $self->returning if $kind < 3;
    return 'INSERT INTO x AS s (id) SELECT g FROM generate_series(' . number(100) . ', ' . number(180) . ', ' . number(9) . ') g' . one_of('', ' ON CONFLICT DO NOTHING') . $self->returning if $kind == 3;
    return "INSERT INTO x ($names) SELECT s.id + 1000 * @{[ number(9) ]}" . join('', map { ", s.$_->{name}" } @columns) . ' FROM x s WHERE ' . $self->condition . one_of('', ' ON CONFLICT DO NOTHING') if $kind == 4;
    return "INSERT INTO x (id) SELECT o.id FROM t.other o WHERE o.label = 'x" . int(rand(7)) . "' AND NOT EXISTS (SELECT FROM x s WHERE s.id = o.id)";
}

sub update
{
    my ($self) = @_;
    my $c = $self->column;
    my $kind = int(rand(6));
    return "UPDATE x s SET $c->{name} = " . value($c) . ' WHERE ' . $self->condition . $self->returning if $kind < 2;
    return 'UPDATE x s SET id = s.id + ' . 1000 * number(9) . ' WHERE s.id < 200 AND ' . $self->condition . $self->returning if $kind == 2;
    return "UPDATE x s SET id = o.id, $c->{name} = " . expression($c) . " FROM t.other o WHERE o.id = s.id - 1000 AND o.label <> 'x" . int(rand(7)) . "'" . ($self->{version} >= 18 ? '' : $self->returning) if $kind == 3;
    return "UPDATE x s SET (id, $c->{name}) = (SELECT o.id, " . expression($c) . " FROM t.other o WHERE o.id = s.id) WHERE s.id < 400 AND " . $self->condition . $self->returning if $kind == 4;
    return 'UPDATE x s SET id = NULL WHERE ' . $self->condition;
}

sub delete
{
    my ($self) = @_;
    return 'DELETE FROM x s WHERE ' . $self->condition . $self->returning if chance(0.6);
    return "DELETE FROM x s USING t.other o WHERE o.id = s.id AND o.label = 'x" . int(rand(7)) . "'" . (chance(0.5) ? ' RETURNING s.id, o.label' : '');
}

sub query
{
    my ($self) = @_;
    my ($c, $where) = ($self->column, $self->condition);
    return one_of(
        "SELECT * FROM x s WHERE $where",
        "SELECT count(*), count(DISTINCT s.id), sum(g), max($c->{name}::text) FROM x s WHERE $where",
        "SELECT s.*, o.label FROM x s JOIN t.other o USING (id) WHERE $where",
        'SELECT o.id, s.g FROM t.other o LEFT JOIN x s ON s.id = o.id WHERE o.id < ' . number(60),
        "SELECT $c->{name}::text, count(*) FROM x s WHERE $where GROUP BY 1",
        "SELECT s.id, r.id FROM x s JOIN x r ON r.id = s.g WHERE $where",
        "SELECT id, row_number() OVER (ORDER BY id), lag(g) OVER (ORDER BY id) FROM x s WHERE id IS NOT NULL AND $where",
        'SELECT o.id, (SELECT count(*) FROM x s WHERE s.id = o.id) FROM t.other o WHERE o.id > ' . number(400),
        "SELECT id FROM x s WHERE $where EXCEPT SELECT id FROM t.other WHERE id % 2 = 0",
        "SELECT s FROM x s WHERE $where",
        "SELECT id FROM x s WHERE $where ORDER BY id NULLS LAST LIMIT " . number(9),
        "COPY (SELECT * FROM x s WHERE $where) TO STDOUT",
        "WITH w AS MATERIALIZED (SELECT * FROM x s WHERE $where) SELECT w.id, y.g FROM w, LATERAL (SELECT * FROM x r WHERE r.id = w.id + 1) y");
}

sub composed
{
    my ($self) = @_;
    my $where = $self->condition;
    return one_of(
        "WITH gone AS (DELETE FROM x s WHERE $where RETURNING s.*) INSERT INTO t.target SELECT id, 0, 'gone' FROM gone WHERE id IS NOT NULL ON CONFLICT (id) DO UPDATE SET n = target.n + 1",
        "WITH gone AS (DELETE FROM x s WHERE $where RETURNING s.id) INSERT INTO x (id) SELECT id + 40000 FROM gone WHERE id < 40000",
        "WITH made AS (INSERT INTO x (id) SELECT g FROM generate_series(600, 610) g ON CONFLICT DO NOTHING RETURNING id), old AS (SELECT count(*) AS n FROM x) SELECT made.id, old.n FROM made, old",
        "MERGE INTO t.target t USING (SELECT DISTINCT id FROM x s WHERE id IS NOT NULL AND $where) s ON t.id = s.id WHEN MATCHED AND t.n > 3 THEN DELETE WHEN MATCHED THEN UPDATE SET n = t.n + 1 WHEN NOT MATCHED THEN INSERT VALUES (s.id, 1, 'new')",
        'DELETE FROM t.target t USING x s WHERE s.id = t.id AND t.id % 2 = 0 RETURNING t.id');
}

sub block
{
    my ($self) = @_;
    my ($insert, $update, $delete, $where) = ($self->insert, $self->update, $self->delete, $self->condition);
    s/ RETURNING .*//s foreach $insert, $update, $delete;
    return one_of(
        "DO \$\$ BEGIN $insert; $delete; RAISE division_by_zero; EXCEPTION WHEN OTHERS THEN NULL; END \$\$",
        "DO \$\$ BEGIN BEGIN $insert; EXCEPTION WHEN OTHERS THEN $delete; END; BEGIN $update; EXCEPTION WHEN OTHERS THEN NULL; END; END \$\$",
        "DO \$\$ DECLARE r record; BEGIN FOR r IN SELECT * FROM x s WHERE $where ORDER BY id LOOP IF r.id % 3 = 0 THEN DELETE FROM x WHERE id = r.id; ELSE UPDATE x SET id = id + 50000 WHERE id = r.id AND id < 30000; END IF; END LOOP; END \$\$",
        "DO \$\$ DECLARE r record; BEGIN FOR r IN SELECT id FROM x s WHERE id < 3000 ORDER BY id LOOP BEGIN INSERT INTO x (id) VALUES (r.id + 7000); IF r.id % 2 = 0 THEN RAISE division_by_zero; END IF; EXCEPTION WHEN OTHERS THEN NULL; END; END LOOP; END \$\$",
        # The limit is met in the middle of whatever the statement was about to do; all of it is taken back.
        "DO \$\$ BEGIN PERFORM set_config('dms_refs.staging_memory', '64kB', true); $update; INSERT INTO x (id) SELECT g FROM generate_series(60000, 70000) g; RAISE division_by_zero; EXCEPTION WHEN OTHERS THEN PERFORM set_config('dms_refs.staging_memory', '512MB', true); END \$\$",
        "DO \$\$ DECLARE c refcursor; n int; BEGIN OPEN c FOR SELECT id FROM x s; DELETE FROM x s WHERE $where; MOVE ALL FROM c; GET DIAGNOSTICS n = ROW_COUNT; INSERT INTO t.target VALUES (90000, n, 'cursor') ON CONFLICT (id) DO UPDATE SET n = excluded.n; END \$\$");
}

sub copy
{
    my ($self) = @_;
    my @rows = map { join "\t", chance(0.05) ? '\\N' : number(200), chance(0.03) ? 'no number' : number(9) } 1 .. number(12);
    my $where = chance(0.2) ? ' WHERE id % 2 = 0' : '';
    return "COPY x (id) FROM STDIN$where;\n" . join("\n", map { s/\t.*//r } @rows) . "\n\\." if chance(0.7);
    my $c = $self->column;
    return "COPY x (id, $c->{name}) FROM STDIN WITH (NULL '-')$where;\n" . join("\n", map { s/\t.*/\t-/r } @rows) . "\n\\.";
}

# Statements prepared once and used again and again, by custom and by generic plans.
my %prepared = (
    look => [ '(int) AS SELECT id, g FROM x WHERE id = $1', sub { number(120) } ],
    meet => [ '(int) AS SELECT s.id, o.label FROM t.other o JOIN x s USING (id) WHERE o.id < $1', sub { number(120) } ],
    put => [ '(int) AS INSERT INTO x (id) VALUES ($1), ($1 + 1) ON CONFLICT DO NOTHING', sub { number(120) } ],
    change => [ '(int, int) AS UPDATE x SET id = $2 WHERE id = $1', sub { number(120) . ', ' . number(4000) } ],
    drop => [ '(int) AS DELETE FROM x WHERE id BETWEEN $1 AND $1 + 3 RETURNING id', sub { number(120) } ]);

sub execute
{
    my ($self) = @_;
    my $name = one_of(sort keys %prepared);
    $self->step("PREPARE $name $prepared{$name}[0]") unless $self->{prepared}{$name}++;
    $self->step("EXECUTE $name(" . $prepared{$name}[1]->() . ')');
    return;
}

sub cursor
{
    my ($self) = @_;
    my $name = one_of('k1', 'k2');
    if (!$self->{cursors}{$name} || chance(0.2))
    {
        $self->step("CLOSE $name") if $self->{cursors}{$name}++;
        my $hold = chance(0.3) ? ' WITH HOLD' : '';
        $self->step("DECLARE $name NO SCROLL CURSOR$hold FOR SELECT id, g FROM x s WHERE " . $self->condition . ' ORDER BY id NULLS FIRST, g');
    }
    $self->step("FETCH @{[ number(5) ]} FROM $name");
    return;
}

my %triggers = (
    adds => 'AFTER INSERT ON x FOR EACH ROW WHEN (NEW.id < 5000 AND NEW.id % 5 = 0)', removes => 'AFTER INSERT ON x FOR EACH ROW WHEN (NEW.id % 4 = 0)',
    moves => 'AFTER DELETE ON x FOR EACH ROW WHEN (OLD.id < 5000 AND OLD.id % 3 = 0)', edits => 'BEFORE INSERT OR UPDATE ON x FOR EACH ROW',
    tries => 'AFTER UPDATE ON x FOR EACH STATEMENT', counts => 'AFTER DELETE ON x FOR EACH STATEMENT');

sub trigger
{
    my ($self) = @_;
    return if $self->{open};
    my $name = one_of(sort keys %triggers);
    # A delete that deletes fires itself; so one of these at a time.
    foreach my $other (sort keys %{ $self->{triggers} }) { $self->step("DROP TRIGGER $other ON x"); delete $self->{triggers}{$other}; return if $other eq $name }
    $self->step("CREATE TRIGGER $name $triggers{$name} EXECUTE FUNCTION t.$name()");
    $self->{triggers}{$name} = 1;
    return;
}

# Changes of the definition; those that rows stand against come when there are none. In a transaction they may be rolled back: then
# the columns are those of before, which the generator does not follow, so a transaction with one is always rolled back.
sub alter
{
    my ($self) = @_;
    return if $self->{open};
    my $n = ++$self->{n};
    if (chance(0.4))
    {
        $self->step('BEGIN');
        $self->step($_) foreach $self->insert, one_of("ALTER TABLE x ADD COLUMN later$n int", "ALTER TABLE x RENAME COLUMN g TO h$n", 'ALTER TABLE x DROP COLUMN g'), 'SELECT * FROM x', $self->delete =~ s/ RETURNING.*//sr, 'ROLLBACK';
        return;
    }
    if (chance(0.5))
    {
        my $type = one_of(@types);
        my $c = { name => "c_$n", type => $type->[0], value => $type->[1], extra => '' };
        # A domain with a default gives one to old rows.
        if ($type->[0] =~ /labels/) { $self->step('TRUNCATE x') }
        $self->step("ALTER TABLE x ADD COLUMN $c->{name} $c->{type}");
        push @{ $self->{columns} }, $c;
    }
    elsif (@{ $self->{columns} } > 2 && chance(0.5))
    {
        my ($c) = splice @{ $self->{columns} }, 1 + int(rand($#{ $self->{columns} })), 1;
        $self->step("ALTER TABLE x DROP COLUMN $c->{name}");
    }
    elsif (chance(0.5))
    {
        $self->step('TRUNCATE x');
        my $c = { name => "c_$n", type => 'int', value => sub { number(9) }, extra => '' };
        $self->step("ALTER TABLE x ADD COLUMN $c->{name} int NOT NULL DEFAULT 5 CHECK ($c->{name} < 8)");
        push @{ $self->{columns} }, $c;
    }
    else
    {
        my ($c) = grep { $self->{key} !~ /$_->{name}/ } @{ $self->{columns} } or return;
        $self->step("ALTER TABLE x RENAME COLUMN $c->{name} TO r_$n");
        $c->{name} = "r_$n";
    }
    return;
}

# A composite type changes under rows of it, and back.
sub retype
{
    my ($self) = @_;
    return if $self->{open} || !grep { $_->{type} =~ /pair|nested/ } @{ $self->{columns} };
    my $n = ++$self->{n};
    $self->step($_) foreach $self->insert, $self->insert;
    foreach my $change ("ADD ATTRIBUTE a$n int", "DROP ATTRIBUTE a$n")
    {
        $self->step("ALTER TYPE t.pair $change");
        $self->step('SELECT count(*), sum(hashtext(s::text)::bigint) FROM x s -- over rows');
        $self->step($self->update =~ s/ RETURNING.*//sr . ' -- over rows');
        # Whichever refused: from here on both are empty again.
        $self->step('TRUNCATE x');
        $self->step($_) foreach $self->insert, $self->insert;
        $self->check;
    }
    return;
}

# A definition that rows stand against, in a transaction that is rolled back: then the rows are there again, as they were.
sub alter_over_rows
{
    my ($self) = @_;
    return if $self->{open};
    $self->step($_) foreach $self->insert, 'BEGIN', $self->insert, 'SAVEPOINT before';
    my $c = $self->column;
    $self->step(one_of('ALTER TABLE x ALTER w SET NOT NULL', 'ALTER TABLE x ADD CHECK (id <> 5)', "ALTER TABLE x ADD COLUMN more int NOT NULL DEFAULT 5", 'ALTER TABLE x ALTER id TYPE bigint',
            'ALTER TABLE x ADD COLUMN labels t.labels', 'ALTER TABLE x RENAME TO y', 'TRUNCATE x', "ALTER TABLE x DROP COLUMN $c->{name}", 'ALTER TABLE x RENAME COLUMN w TO v') . ' -- over rows')
      foreach 1 .. 1 + int(rand(2));
    $self->step('SELECT count(*) FROM x -- over rows') if chance(0.5);
    $self->step('DELETE FROM x WHERE id = 5 -- over rows') if chance(0.3);
    $self->step('ROLLBACK TO before'), $self->check if chance(0.5);
    $self->step('ROLLBACK');
    $self->check;
    return;
}

# Rows in many blocks, among them one that fills some alone; then most go, and what is left is written.
sub bulk
{
    my ($self) = @_;
    return if $self->{open};
    my ($last, $every) = (8000 + number(20000), 2 + int(rand(4)));
    $self->step($_) foreach
      chance(0.5) ? 'TRUNCATE x' : (), 'BEGIN',
      "INSERT INTO x (id, w) VALUES (7999, repeat('w', @{[ one_of(100, 100_000, 3_000_000) ]})) ON CONFLICT DO NOTHING",
      "INSERT INTO x (id, w) SELECT g, lpad(g::text, @{[ 1 + int(rand(60)) ]}, '0') FROM generate_series(8000, $last) g ON CONFLICT DO NOTHING",
      one_of('COMMIT', 'SAVEPOINT bulk'), "DELETE FROM x WHERE id >= 7999 AND (id = 7999 OR id % $every = 0)", one_of('COMMIT', 'SELECT 1', 'ROLLBACK TO bulk');
    $self->step("DELETE FROM x WHERE id = @{[ 8000 + number($last - 8000) ]} RETURNING id, w"), $self->step("UPDATE x SET w = 'new' WHERE id = @{[ 8000 + number($last - 8000) ]} RETURNING id, w") foreach 1 .. 3;
    $self->check;
    $self->step($_) foreach "UPDATE x SET w = w || 'x' WHERE id > 8000 AND id % 7 = 0", 'COMMIT', "SELECT count(*), sum(id) FROM x s WHERE w LIKE '%x'";
    $self->check;
    $self->step('DELETE FROM x WHERE id > 7990');
    return;
}

sub transaction
{
    my ($self) = @_;
    if (!$self->{open})
    {
        $self->step('BEGIN' . one_of('', '', ' ISOLATION LEVEL REPEATABLE READ'));
        @{ $self->{savepoints} } = ();
        $self->{open} = 1;
        return;
    }
    my $kind = rand();
    my $stack = $self->{savepoints};
    if ($kind < 0.4) { my $name = 'p' . ++$self->{n}; push @$stack, $name; $self->step("SAVEPOINT $name") }
    elsif ($kind < 0.55 && @$stack) { my $to = int(rand(@$stack)); $self->step("RELEASE $stack->[$to]"); $#$stack = $to - 1 }
    elsif ($kind < 0.8 && @$stack) { my $to = int(rand(@$stack)); $self->step("ROLLBACK TO $stack->[$to]"); $#$stack = $to; $self->{cursors} = {} }
    else
    {
        $self->check;
        $self->step(one_of('COMMIT', 'COMMIT', 'ROLLBACK'));
        $self->{open} = 0;
        $self->{cursors} = {};
        $self->check;
    }
    return;
}

sub discard
{
    my ($self) = @_;
    return if $self->{open};
    # A temporary table goes with DISCARD, a stage's definition stays; its rows go.
    if (chance(0.6)) { $self->both('DISCARD TEMP', 'TRUNCATE x') }
    else
    {
        $self->both('DISCARD ALL', 'CLOSE ALL; DEALLOCATE ALL; TRUNCATE x; DISCARD PLANS');
        $self->{prepared} = {};
        $self->{cursors} = {};
    }
    return;
}

sub generate
{
    my ($self, $count) = @_;
    my @kinds = (
        [ 16, sub { $self->step($self->insert) } ], [ 10, sub { $self->step($self->update) } ], [ 6, sub { $self->step($self->delete) } ], [ 16, sub { $self->step($self->query) } ],
        [ 6, sub { $self->step($self->composed) } ], [ 8, sub { $self->step($self->block) } ], [ 4, sub { $self->step($self->copy) } ], [ 6, sub { $self->execute } ],
        [ 5, sub { $self->cursor } ], [ 14, sub { $self->transaction } ], [ 2, sub { $self->trigger } ], [ 2, sub { $self->alter } ], [ 1, sub { $self->retype } ], [ 1, sub { $self->alter_over_rows } ],
        [ 0.6, sub { $self->bulk } ],
        [ 1, sub { $self->discard } ], [ 1, sub { $self->step('TRUNCATE x') } ], [ 1, sub { $self->step('SET plan_cache_mode = ' . one_of('auto', 'force_generic_plan', 'force_custom_plan')) } ]);
    my $all = 0;
    $all += $_->[0] foreach @kinds;
    while (@{ $self->{steps} } < $count)
    {
        my $at = rand($all);
        foreach my $kind (@kinds) { if (($at -= $kind->[0]) < 0) { $kind->[1]->(); last } }
        $self->check if chance(0.07);
    }
    $self->step('COMMIT') if $self->{open};
    $self->check;
    $self->step('SELECT * FROM t.target');
    return $self->{steps};
}

# Why two results may differ; nothing where they may not.
sub why_open
{
    my ($step, $stage, $twin) = @_;
    my ($one, $other) = map { /^-- (\w{5})/m ? $1 : '' } $stage, $twin;
    foreach my $case (@OPEN)
    {
        return $case->[0] if $step->{sql} && $step->{sql} =~ $case->[1] && "$one $other" =~ $case->[2];
    }
    return;
}

1;
