# Random schedules of three sessions for 021_interleavings.pl: calls beside transactions that update, delete and make again aliases and
# documents, with savepoints and rollbacks, at every isolation level. A schedule is a list of [session, template]; {S} is the store.
#
# The world is small, so that everything meets: PARENTS documents have sets of ALIASES aliases, in KEYS partitions.
package RandomSessions;

use strict;
use warnings;

use constant { SESSIONS => 3, PARENTS => 2, DOCUMENTS => 5, ALIASES => 5, KEYS => 2 };

# d: direct where it can be. q: the same calls by SQL statements. p: a plain function, which knows nothing of the extension.
use constant TARGETS => ('d', 'q', 'p');

# What user code may do in the middle of a call; arguments of t.world().
use constant WORLDS => ('none', 'collect_alias', 'collect_parent', 'check_alias', 'none', 'update_alias', 'check_parent', 'none');

# Where the three need not agree, and why. Each is asked about a schedule: its outcomes by target, and how it was made.
my @open = (
    [ 'a deadlock: the server chooses whom to end' => sub { my ($o) = @_; return grep { $_ eq '40P01' } map { @$_ } values %$o } ],
    [ 'SERIALIZABLE: whether two transactions have an order depends on pages read' =>
          sub { my ($o, $s) = @_; return $s->{levels}{SERIALIZABLE} && grep { $_ eq '40001' } map { @$_ } values %$o } ],
);

sub one_of { return $_[ int(rand(@_)) ] }
sub chance { return rand() < $_[0] }

sub list { return "'{" . join(',', @_) . "}'" }

sub new
{
    my ($class) = @_;
    return bless { next_id => 100, levels => {}, sent => { map { $_ => {} } 1 .. PARENTS }, steps => [] }, $class;
}

sub key { return $_[0] % KEYS }

# A set of aliases for a parent, remembered as one that was sent.
sub set
{
    my ($self, $parent) = @_;
    my @numbers = grep { chance(0.45) } 1 .. ALIASES;
    $self->{sent}{$parent}{"@numbers"} = 1;
    return @numbers;
}

sub references { return 't.ids(' . list(@_) . '), t.keys(' . list(@_) . ', ' . KEYS . ')' }

sub call
{
    my ($self) = @_;
    my $parent = 1 + int(rand(PARENTS));
    my @numbers = $self->set($parent);
    return "SELECT t.call_{S}($parent, " . references(@numbers) . ')' if chance(0.8);
    # Both parents in one call; the plain function is called twice, in the order of a batch.
    my %sets = map { $_ => [ $self->set($_) ] } 1 .. PARENTS;
    my ($first, $second) = sort { key($a) <=> key($b) || $a <=> $b } keys %sets;
    return "SELECT t.batch_{S}($first, " . references(@{ $sets{$first} }) . ", $second, " . references(@{ $sets{$second} }) . ')';
}

my %writes = (
    retarget => sub { my (undef, $n) = @_; my $d = 1 + int(rand(DOCUMENTS)); return "UPDATE {S}.alias SET documentid = $d, documentpartitionkey = @{[ key($d) ]} WHERE referentialid = t.id($n)" },
    delete_alias => sub { my (undef, $n) = @_; return "DELETE FROM {S}.alias WHERE referentialid = t.id($n)" },
    make_alias => sub {
        my ($self, $n) = @_;
        my $d = 1 + int(rand(DOCUMENTS));
        # Under the id that it had at first, or under another.
        my $id = chance(0.5) ? $n : $self->{next_id}++;
        return "INSERT INTO {S}.alias (id, referentialpartitionkey, referentialid, documentid, documentpartitionkey) OVERRIDING SYSTEM VALUE VALUES ($id, @{[ key($n) ]}, t.id($n), $d, @{[ key($d) ]}) ON CONFLICT DO NOTHING";
    },
    lock_alias => sub { my (undef, $n) = @_; return "SELECT count(*) FROM (SELECT FROM {S}.alias WHERE referentialid = t.id($n) FOR @{[ one_of('UPDATE', 'NO KEY UPDATE', 'SHARE', 'KEY SHARE') ]}) x" },
    touch_alias => sub { my (undef, $n) = @_; return "UPDATE {S}.alias SET note = note + 1 WHERE referentialid = t.id($n)" },
    delete_document => sub { my ($self, undef, $d) = @_; $self->{sent}{$d}{''} = 1 if $d <= PARENTS; return "DELETE FROM {S}.document WHERE id = $d AND documentpartitionkey = @{[ key($d) ]}" },
    make_document => sub { my (undef, undef, $d) = @_; return "INSERT INTO {S}.document (id, documentpartitionkey) OVERRIDING SYSTEM VALUE VALUES ($d, @{[ key($d) ]}) ON CONFLICT DO NOTHING" },
    touch_document => sub { my (undef, undef, $d) = @_; return "UPDATE {S}.document SET note = note + 1 WHERE id = $d AND documentpartitionkey = @{[ key($d) ]}" },
    lock_document => sub { my (undef, undef, $d) = @_; return "SELECT count(*) FROM (SELECT FROM {S}.document WHERE id = $d AND documentpartitionkey = @{[ key($d) ]} FOR @{[ one_of('UPDATE', 'NO KEY UPDATE', 'SHARE', 'KEY SHARE') ]}) x" },
);

# What one transaction does to aliases and documents; those that write one row twice are the point.
my @transactions = (
    ([qw(retarget delete_alias)], [qw(touch_alias delete_alias)]) x 3, [qw(delete_alias make_alias)], [qw(retarget delete_alias make_alias)],
    ([qw(touch_document delete_document)]) x 2, [qw(delete_document make_document)], [qw(touch_document delete_document make_document)],
    [qw(retarget retarget)], [qw(lock_alias delete_alias)], [qw(lock_document touch_document delete_document)],
    [qw(retarget)], [qw(delete_alias)], [qw(make_alias)], [qw(touch_document)], [qw(delete_document)], [qw(make_document)], [qw(lock_document)], [qw(lock_alias)]);

# One transaction of a session: a list of templates.
sub transaction
{
    my ($self) = @_;
    my $level = one_of(('READ COMMITTED') x 5, 'REPEATABLE READ', 'SERIALIZABLE');
    $self->{levels}{$level} = 1;
    # In a transaction one alias and one document are the subject of all.
    my ($n, $d) = (1 + int(rand(ALIASES)), 1 + int(rand(chance(0.6) ? PARENTS : DOCUMENTS)));
    my @body;
    foreach my $what (chance(0.5) ? () : @{ one_of(@transactions) })
    {
        my $sql = $writes{$what}->($self, $n, $d);
        push @body, chance(0.15) ? ('SAVEPOINT a', $sql, one_of('ROLLBACK TO a', 'RELEASE a')) : $sql;
    }
    splice @body, int(rand(@body + 1)), 0, $self->call if !@body || chance(0.3);
    push @body, $self->call if chance(0.2);
    if (@body > 1 && chance(0.15))
    {
        unshift @body, 'SAVEPOINT b';
        push @body, one_of('ROLLBACK TO b', 'RELEASE b');
    }
    return $body[0] if @body == 1 && $level eq 'READ COMMITTED' && chance(0.3);
    return ("BEGIN ISOLATION LEVEL $level", @body, one_of('COMMIT', 'COMMIT', 'COMMIT', 'ROLLBACK'));
}

sub generate
{
    my ($self) = @_;
    my %sessions = map { $_ => [ map { $self->transaction } 1 .. 1 + int(rand(2)) ] } 1 .. SESSIONS;
    while (my @left = grep { @{ $sessions{$_} } } 1 .. SESSIONS)
    {
        my $s = one_of(@left);
        push @{ $self->{steps} }, [ $s, shift @{ $sessions{$s} } ];
    }
    return $self->{steps};
}

# Settings of a session that must make no difference.
sub settings
{
    my ($target) = @_;
    my @settings = ('deadlock_timeout = 20', 'statement_timeout = 30000', 'dms_refs.alias_cache = ' . one_of(0, 5, 4096), 'dms_refs.native_fk_checks = ' . one_of('on', 'on', 'off'),
        'dms_refs.lock_parent = ' . one_of('on_change', 'on_change', 'always'));
    # Only d is asked differently: what the others do is what it is compared with.
    return join '; ', map { "SET $_" } @settings[ 0, 1 ], $target eq 'd' ? @settings[ 2 .. 4 ] : (), $target eq 'q' ? q{dms_refs.engine = 'sql'} : ();
}

# Whether the plain function is a model of a schedule. What REPEATABLE READ promises beyond plain statements (docs/concurrency.md) it does
# not keep; and a batch resolves all its references at first, where it looks again for each document.
sub plain
{
    my ($self, $world) = @_;
    return join('', keys %{ $self->{levels} }) eq 'READ COMMITTED' && ($world eq 'none' || !grep { $_->[1] =~ /batch/ } @{ $self->{steps} });
}

# Why outcomes may differ; nothing where they may not.
sub why_open
{
    my ($outcomes, $schedule) = @_;
    foreach my $case (@open)
    {
        return $case->[0] if $case->[1]->($outcomes, $schedule);
    }
    return;
}

# The runner, in the database: t.play sends each step to its session as soon as that session is free, and waits until it is done or
# waits for another session. So the order is a schedule's own, and not the machine's.
sub functions
{
    my ($connection) = @_;
    my ($parents, $documents, $aliases, $keys, $sessions) = (PARENTS, DOCUMENTS, ALIASES, KEYS, SESSIONS);
    my $sql = <<'SQL';
CREATE EXTENSION IF NOT EXISTS dblink;
CREATE TABLE t.session (target text, n int, name text, pid int, PRIMARY KEY (target, n));

CREATE FUNCTION t.open_session(target text, n int, settings text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE name text := target || n;
BEGIN
    PERFORM dblink_connect(name, '%connection%');
    PERFORM dblink_exec(name, settings);
    INSERT INTO t.session SELECT target, n, name, pid FROM dblink(name, 'SELECT pg_backend_pid()') AS x(pid int);
END $$;

-- What a step gave: its rows or command tag, or its SQLSTATE.
CREATE FUNCTION t.outcome_of(name text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text;
BEGIN
    BEGIN
        SELECT coalesce(string_agg(x.r, ' '), '') INTO result FROM dblink_get_result(name) AS x(r text);
    EXCEPTION WHEN OTHERS THEN
        result := SQLSTATE;
    END;
    PERFORM FROM dblink_get_result(name, false) AS x(r text);
    RETURN result;
END $$;

CREATE FUNCTION t.play(of_target text, steps jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    names text[] := (SELECT array_agg(name ORDER BY n) FROM t.session WHERE target = of_target);
    pids int[] := (SELECT array_agg(pid ORDER BY n) FROM t.session WHERE target = of_target);
    running int[] := array_fill(NULL::int, ARRAY[cardinality(names)]);
    outcomes text[] := array_fill(NULL::text, ARRAY[jsonb_array_length(steps)]);
    waited boolean[] := array_fill(false, ARRAY[jsonb_array_length(steps)]);
    sent boolean[] := waited;
    n int;
    next int;
    ended boolean;
    tries int := 0;
BEGIN
    LOOP
        ended := false;
        FOR s IN 1 .. cardinality(names) LOOP
            WHILE running[s] IS NOT NULL LOOP
                IF dblink_is_busy(names[s]) = 0 THEN
                    outcomes[running[s]] := t.outcome_of(names[s]);
                    running[s] := NULL;
                    ended := true;
                ELSIF pg_isolation_test_session_is_blocked(pids[s], pids) THEN
                    waited[running[s]] := true;
                    EXIT;
                ELSE
                    PERFORM pg_sleep(0.0002);
                END IF;
            END LOOP;
        END LOOP;
        -- Whoever waited for one that has ended may go on now.
        CONTINUE WHEN ended;
        next := NULL;
        FOR i IN 1 .. jsonb_array_length(steps) LOOP
            n := (steps -> (i - 1) ->> 0)::int;
            IF NOT sent[i] AND running[n] IS NULL THEN next := i; EXIT; END IF;
        END LOOP;
        IF next IS NOT NULL THEN
            PERFORM dblink_send_query(names[n], steps -> (next - 1) ->> 1);
            sent[next] := true;
            running[n] := next;
        ELSIF (SELECT bool_and(r IS NULL) FROM unnest(running) r) THEN
            RETURN jsonb_build_object('outcomes', outcomes, 'waited', waited);
        ELSE
            -- All wait for each other: the server finds it.
            tries := tries + 1;
            IF tries > 20000 THEN RAISE 'sessions wait for ever: % %', running, steps; END IF;
            PERFORM pg_sleep(0.001);
        END IF;
    END LOOP;
END $$;

-- The store as it is at the start of each schedule.
CREATE FUNCTION t.reset(target text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    SET LOCAL session_replication_role = replica;
    EXECUTE replace('DELETE FROM {S}.reference; DELETE FROM {S}.alias; DELETE FROM {S}.document;', '{S}', target);
    SET LOCAL session_replication_role = origin;
    EXECUTE replace('INSERT INTO {S}.document (id, documentpartitionkey) OVERRIDING SYSTEM VALUE SELECT n, n % %keys% FROM generate_series(1, %documents%) n;
        INSERT INTO {S}.alias (id, referentialpartitionkey, referentialid, documentid, documentpartitionkey) OVERRIDING SYSTEM VALUE
            SELECT n, n % %keys%, t.id(n), d, d % %keys% FROM (SELECT n, %documents% + 1 - n AS d FROM generate_series(1, %aliases%) n) x;
        INSERT INTO {S}.reference (parentdocumentid, parentdocumentpartitionkey, referentialpartitionkey, aliasid, referenceddocumentpartitionkey, referenceddocumentid)
            SELECT p, p % %keys%, referentialpartitionkey, id, documentpartitionkey, documentid FROM {S}.alias, generate_series(1, %parents%) p WHERE id <= 2', '{S}', target);
END $$;

CREATE FUNCTION t.state(target text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE result text;
BEGIN
    EXECUTE replace($q$SELECT concat_ws(' / ', (SELECT string_agg(id::text, ' ' ORDER BY id) FROM {S}.document),
        (SELECT string_agg(format('%s=%s>%s', id, ltrim(replace(referentialid::text, '-', ''), '0'), documentid), ' ' ORDER BY id, referentialid) FROM {S}.alias),
        (SELECT string_agg(format('%s:%s>%s', parentdocumentid, aliasid, referenceddocumentid), ' ' ORDER BY parentdocumentid, aliasid) FROM {S}.reference))$q$, '{S}', target) INTO result;
    RETURN result;
END $$;

-- Each parent's set, as the numbers of its references.
CREATE FUNCTION t.sets(target text) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE result text[];
BEGIN
    EXECUTE replace($q$SELECT array(SELECT coalesce((SELECT string_agg(ltrim(replace(a.referentialid::text, '-', ''), '0'), ' ' ORDER BY a.referentialid)
        FROM {S}.reference r LEFT JOIN {S}.alias a ON (a.referentialpartitionkey, a.id) = (r.referentialpartitionkey, r.aliasid)
        WHERE r.parentdocumentid = p), '') FROM generate_series(1, %parents%) p ORDER BY p)$q$, '{S}', target) INTO result;
    RETURN result;
END $$;

-- User code in the middle of a call: see WORLDS. Each acts on a quarter of the rows or less, else little would be left to see.
CREATE FUNCTION t.collect_alias() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE replace('DELETE FROM {S}.alias a WHERE id % 2 = 1 AND NOT EXISTS (SELECT FROM {S}.reference r WHERE (r.referentialpartitionkey, r.aliasid) = (a.referentialpartitionkey, a.id))', '{S}', TG_TABLE_SCHEMA);
    RETURN NULL;
END $$;
CREATE FUNCTION t.collect_parent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.aliasid % 4 = 2 THEN
        EXECUTE replace('DELETE FROM {S}.document WHERE (documentpartitionkey, id) = ($1, $2)', '{S}', TG_TABLE_SCHEMA) USING OLD.parentdocumentpartitionkey, OLD.parentdocumentid;
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION t.check_alias(store text, key smallint, alias bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF alias = 4 THEN EXECUTE replace('DELETE FROM {S}.alias WHERE (referentialpartitionkey, id) = ($1, $2)', '{S}', store) USING key, alias; END IF;
    RETURN true;
END $$;
CREATE FUNCTION t.check_parent(store text, key smallint, parent bigint, alias bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF alias = 5 THEN EXECUTE replace('DELETE FROM {S}.document WHERE (documentpartitionkey, id) = ($1, $2)', '{S}', store) USING key, parent; END IF;
    RETURN true;
END $$;
CREATE FUNCTION t.world(target text, world text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE replace('DROP TRIGGER IF EXISTS world ON {S}.reference; ALTER TABLE {S}.reference DROP CONSTRAINT IF EXISTS world', '{S}', target);
    EXECUTE replace(CASE world
        WHEN 'collect_alias' THEN 'CREATE TRIGGER world AFTER DELETE ON {S}.reference FOR EACH ROW EXECUTE FUNCTION t.collect_alias()'
        WHEN 'update_alias' THEN 'CREATE TRIGGER world AFTER UPDATE ON {S}.reference FOR EACH ROW EXECUTE FUNCTION t.collect_alias()'
        WHEN 'collect_parent' THEN 'CREATE TRIGGER world AFTER DELETE ON {S}.reference FOR EACH ROW EXECUTE FUNCTION t.collect_parent()'
        WHEN 'check_alias' THEN 'ALTER TABLE {S}.reference ADD CONSTRAINT world CHECK (t.check_alias(''{S}'', referentialpartitionkey, aliasid))'
        WHEN 'check_parent' THEN 'ALTER TABLE {S}.reference ADD CONSTRAINT world CHECK (t.check_parent(''{S}'', parentdocumentpartitionkey, parentdocumentid, aliasid))'
        ELSE 'SELECT' END, '{S}', target);
END $$;

-- The calls. Their result is the answer alone: what was written is read from the tables.
CREATE FUNCTION t.call_d(parent bigint, ids uuid[], keys smallint[]) RETURNS text LANGUAGE sql VOLATILE AS
    $$ SELECT success || ' ' || invalid_ids::text FROM dms_refs.insert_references(parent, (parent % %keys%)::smallint, ids, keys, store => 'd') $$;
CREATE FUNCTION t.call_q(parent bigint, ids uuid[], keys smallint[]) RETURNS text LANGUAGE sql VOLATILE AS
    $$ SELECT success || ' ' || invalid_ids::text FROM dms_refs.insert_references(parent, (parent % %keys%)::smallint, ids, keys, store => 'q') $$;
CREATE FUNCTION t.batch(store name, p1 bigint, ids1 uuid[], keys1 smallint[], p2 bigint, ids2 uuid[], keys2 smallint[]) RETURNS text LANGUAGE sql VOLATILE AS
    $$ SELECT string_agg(success || ' ' || invalid_ids::text, ', ' ORDER BY ordinal) FROM dms_refs.sync_references_batch(ARRAY[p1, p2], ARRAY[p1 % %keys%, p2 % %keys%]::smallint[],
        ARRAY[cardinality(ids1), cardinality(ids2)], ids1 || ids2, keys1 || keys2, store => batch.store) $$;
CREATE FUNCTION t.batch_d(bigint, uuid[], smallint[], bigint, uuid[], smallint[]) RETURNS text LANGUAGE sql VOLATILE AS $$ SELECT t.batch('d', $1, $2, $3, $4, $5, $6) $$;
CREATE FUNCTION t.batch_q(bigint, uuid[], smallint[], bigint, uuid[], smallint[]) RETURNS text LANGUAGE sql VOLATILE AS $$ SELECT t.batch('q', $1, $2, $3, $4, $5, $6) $$;

-- The plain function: look, lock the document if there is anything to do, look again, write.
CREATE FUNCTION t.wrong_ids(ids uuid[], keys smallint[]) RETURNS uuid[] LANGUAGE sql VOLATILE AS
    $$ SELECT array(SELECT u.id FROM unnest(ids, keys) WITH ORDINALITY u(id, key, n) WHERE NOT EXISTS (SELECT FROM p.alias a WHERE (a.referentialpartitionkey, a.referentialid) = (u.key, u.id)) ORDER BY n) $$;
CREATE FUNCTION t.difference(parent bigint, ids uuid[], keys smallint[]) RETURNS TABLE (action text, key smallint, alias bigint, doc_key smallint, doc bigint) LANGUAGE sql VOLATILE AS $$
    SELECT CASE WHEN r.aliasid IS NULL THEN 'insert' WHEN a.id IS NULL THEN 'delete' ELSE 'update' END,
           coalesce(a.referentialpartitionkey, r.referentialpartitionkey), coalesce(a.id, r.aliasid), a.documentpartitionkey, a.documentid
    FROM (SELECT a.* FROM unnest(ids, keys) u(id, key) JOIN p.alias a ON (a.referentialpartitionkey, a.referentialid) = (u.key, u.id)) a
    FULL JOIN (SELECT * FROM p.reference WHERE (parentdocumentpartitionkey, parentdocumentid) = (parent % %keys%, parent)) r ON r.aliasid = a.id
    WHERE (r.referenceddocumentid, r.referenceddocumentpartitionkey, r.referentialpartitionkey) IS DISTINCT FROM (a.documentid, a.documentpartitionkey, a.referentialpartitionkey) $$;
CREATE FUNCTION t.call_p(parent bigint, ids uuid[], keys smallint[]) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE invalid uuid[] := t.wrong_ids(ids, keys); gone bigint[]; other bigint[]; fresh bigint[];
BEGIN
    IF invalid <> '{}' THEN RETURN 'false ' || invalid::text; END IF;
    IF EXISTS (SELECT FROM t.difference(parent, ids, keys)) THEN
        PERFORM FROM p.document WHERE (documentpartitionkey, id) = (parent % %keys%, parent) FOR NO KEY UPDATE;
        invalid := t.wrong_ids(ids, keys);
        IF invalid <> '{}' THEN RETURN 'false ' || invalid::text; END IF;
        CREATE TEMP TABLE IF NOT EXISTS work (action text, key smallint, alias bigint, doc_key smallint, doc bigint) ON COMMIT DELETE ROWS;
        DELETE FROM work;
        INSERT INTO work SELECT * FROM t.difference(parent, ids, keys);
        DELETE FROM p.reference r USING work w WHERE w.action = 'delete' AND (r.parentdocumentpartitionkey, r.parentdocumentid, r.aliasid) = (parent % %keys%, parent, w.alias);
        UPDATE p.reference r SET referenceddocumentid = w.doc, referenceddocumentpartitionkey = w.doc_key, referentialpartitionkey = w.key
            FROM work w WHERE w.action = 'update' AND (r.parentdocumentpartitionkey, r.parentdocumentid, r.aliasid) = (parent % %keys%, parent, w.alias);
        INSERT INTO p.reference (parentdocumentid, parentdocumentpartitionkey, referentialpartitionkey, aliasid, referenceddocumentpartitionkey, referenceddocumentid)
            SELECT parent, parent % %keys%, key, alias, doc_key, doc FROM work WHERE action = 'insert' ORDER BY alias;
    END IF;
    RETURN 'true {}';
END $$;
CREATE FUNCTION t.batch_p(p1 bigint, ids1 uuid[], keys1 smallint[], p2 bigint, ids2 uuid[], keys2 smallint[]) RETURNS text LANGUAGE plpgsql VOLATILE AS
    $$ BEGIN RETURN t.call_p(p1, ids1, keys1) || ', ' || t.call_p(p2, ids2, keys2); END $$;
SQL
    my %value = (connection => $connection, parents => $parents, documents => $documents, aliases => $aliases, keys => $keys);
    $sql =~ s/%(\w+)%/$value{$1} \/\/ die "no $1"/ge;
    return $sql;
}

1;
