# The schema features that RandomCalls switches on and off: triggers, constraints, columns, indexes, keys. Each is a name, the
# statements that make it, those that undo it, and what of it can be compared; templates as RandomCalls explains them.
package RandomFeatures;

use strict;
use warnings;

# Helper functions in schema t, made once. Columns have other names in other stores: triggers get them as arguments.
sub functions
{
    return <<'SQL';
CREATE SCHEMA IF NOT EXISTS t;
-- Arguments: the columns of the alias id and of the parent's, the log table, and a partition key or '' for all with the key's column.
CREATE FUNCTION t.log_row() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    r jsonb := to_jsonb(coalesce(NEW, OLD));
BEGIN
    IF TG_ARGV[3] = '' OR r ->> TG_ARGV[4] = TG_ARGV[3] THEN
        EXECUTE format('INSERT INTO %s (step, op, parent, entry) VALUES (current_setting(''t.step''), $1, $2, $3)', TG_ARGV[2])
            USING TG_WHEN || ' ' || TG_OP, r ->> TG_ARGV[1], concat(r ->> TG_ARGV[0], ':', to_jsonb(OLD) ->> TG_ARGV[5], '>', to_jsonb(NEW) ->> TG_ARGV[5]);
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION t.log_statement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('INSERT INTO %s (step, op, entry) VALUES (current_setting(''t.step''), $1, ''statement'')', TG_ARGV[0]) USING TG_WHEN || ' ' || TG_OP;
    RETURN NULL;
END $$;
CREATE FUNCTION t.log_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('INSERT INTO %s (step, op, entry) SELECT current_setting(''t.step''), $1, count(*) || '' '' || coalesce(sum((to_jsonb(c) ->> $2)::bigint), 0) FROM changed c', TG_ARGV[0])
        USING 'transition ' || TG_OP, TG_ARGV[1];
    RETURN NULL;
END $$;
CREATE FUNCTION t.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.noted := TG_OP || ' ' || (to_jsonb(NEW) ->> TG_ARGV[0]);
    RETURN NEW;
END $$;
CREATE FUNCTION t.suppress() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RETURN CASE WHEN (to_jsonb(coalesce(NEW, OLD)) ->> TG_ARGV[0])::bigint % 5 <> 0 THEN coalesce(NEW, OLD) END;
END $$;
CREATE FUNCTION t.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (to_jsonb(coalesce(NEW, OLD)) ->> TG_ARGV[0])::bigint % 13 = 7 THEN
        RAISE 'refused' USING ERRCODE = TG_ARGV[1];
    END IF;
    RETURN NULL;
END $$;
-- The leaf of a key; a copy of it with its columns in another order and a dropped one between them takes its place.
CREATE FUNCTION t.leaf(root regclass, key int) RETURNS regclass LANGUAGE sql STABLE AS $$
    SELECT i.inhrelid::regclass FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = root AND pg_get_expr(c.relpartbound, c.oid) = format('FOR VALUES IN (''%s'')', key) $$;
CREATE FUNCTION t.swap_partition(root regclass, key int, seed text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    leaf regclass := t.leaf(root, key);
    copy text := format('%s.copy_%s', (SELECT relnamespace::regnamespace FROM pg_class WHERE oid = root), substr(md5(random()::text), 1, 12));
    columns text;
    common text;
    checks text;
BEGIN
    SELECT string_agg(format('%I %s%s%s', a.attname, format_type(a.atttypid, a.atttypmod),
                CASE WHEN a.attgenerated <> '' THEN format(' GENERATED ALWAYS AS (%s) %s', pg_get_expr(d.adbin, d.adrelid), CASE a.attgenerated WHEN 's' THEN 'STORED' ELSE 'VIRTUAL' END)
                     WHEN d.adbin IS NOT NULL THEN ' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid) ELSE '' END,
                CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END), ', ' ORDER BY md5(a.attname || seed)),
           string_agg(quote_ident(a.attname), ', ') FILTER (WHERE a.attgenerated = '')
    INTO columns, common
    FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = root AND a.attnum > 0 AND NOT a.attisdropped;
    EXECUTE format('CREATE TABLE %s (gone int, %s)', copy, columns);
    EXECUTE format('ALTER TABLE %s DROP COLUMN gone', copy);
    FOR checks IN SELECT format('ALTER TABLE %s ADD CONSTRAINT %I %s', copy, conname, pg_get_constraintdef(oid)) FROM pg_constraint WHERE conrelid = root AND contype = 'c' LOOP
        EXECUTE checks;
    END LOOP;
    EXECUTE format('INSERT INTO %s (%s) SELECT %s FROM %s', copy, common, common, leaf);
    SET LOCAL session_replication_role = replica;
    EXECUTE format('ALTER TABLE %s DETACH PARTITION %s', root, leaf);
    EXECUTE format('DROP TABLE %s', leaf);
    EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES IN (%s)', root, copy, key);
    RETURN true;
EXCEPTION WHEN foreign_key_violation OR check_violation THEN
    -- Rows older than a constraint, or written while a key was switched off, cannot be attached: the leaf stays.
    RETURN true;
END $$;
CREATE FUNCTION t.detach_partition(root regclass, key int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    leaf regclass := t.leaf(root, key);
BEGIN
    EXECUTE format('ALTER TABLE %s DETACH PARTITION %s', root, leaf);
    EXECUTE format('DROP TABLE %s', leaf);
END $$;
CREATE FUNCTION t.attach_partition(root regclass, key int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TABLE %s.again_%s PARTITION OF %s FOR VALUES IN (%s)', (SELECT relnamespace::regnamespace FROM pg_class WHERE oid = root),
        substr(md5(random()::text), 1, 12), root, key);
END $$;
-- A constraint trigger on every leaf, or on a table that has none.
CREATE FUNCTION t.constraint_triggers(root regclass, make boolean, column_name text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    leaf regclass;
BEGIN
    FOR leaf IN SELECT inhrelid FROM pg_inherits WHERE inhparent = root UNION ALL SELECT root WHERE (SELECT relkind = 'r' FROM pg_class WHERE oid = root) LOOP
        EXECUTE CASE WHEN make THEN format('CREATE CONSTRAINT TRIGGER late AFTER INSERT ON %s DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION t.refuse(%L, ''T0002'')', leaf, column_name)
                     ELSE format('DROP TRIGGER IF EXISTS late ON %s', leaf) END;
    END LOOP;
END $$;
-- Leaves have triggers of their own, which a statement on the root leaves alone.
CREATE FUNCTION t.all_triggers(root regclass, what text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    leaf regclass;
BEGIN
    FOR leaf IN SELECT inhrelid FROM pg_inherits WHERE inhparent = root UNION ALL SELECT root LOOP
        EXECUTE format('ALTER TABLE %s %s TRIGGER ALL', leaf, what);
    END LOOP;
END $$;
CREATE FUNCTION t.replica_identity(root regclass, kind text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    leaf regclass;
BEGIN
    FOR leaf IN SELECT inhrelid FROM pg_inherits WHERE inhparent = root UNION ALL SELECT root WHERE (SELECT relkind = 'r' FROM pg_class WHERE oid = root) LOOP
        EXECUTE format('ALTER TABLE %s REPLICA IDENTITY %s', leaf, kind);
    END LOOP;
END $$;
SQL
}

# Trigger arguments: the name as a text, not as an identifier.
my $row_arguments = q{'{R!aliasid}', '{R!parentdocumentid}', '{L}', '%s', '{R!parentdocumentpartitionkey}', '{R!referenceddocumentid}'};
sub row_trigger { my ($name, $key) = @_; return "CREATE TRIGGER $name AFTER INSERT OR UPDATE OR DELETE ON {R} FOR EACH ROW EXECUTE FUNCTION t.log_row(" . sprintf($row_arguments, $key) . ')' }

my @features = (
    [ after_row => [ row_trigger('after_row', '') ], ['DROP TRIGGER after_row ON {R}'] ],
    [ after_some => [ row_trigger('after_some', 1) ], ['DROP TRIGGER after_some ON {R}'] ],
    [ before_note => [ 'ALTER TABLE {R} ADD COLUMN noted text', q{CREATE TRIGGER note BEFORE INSERT OR UPDATE ON {R} FOR EACH ROW EXECUTE FUNCTION t.note('{R!aliasid}')} ],
        [ 'ALTER TABLE {R} DROP COLUMN noted CASCADE', 'DROP TRIGGER note ON {R}' ] ],
    [ suppress => [q{CREATE TRIGGER suppress BEFORE INSERT OR DELETE ON {R} FOR EACH ROW EXECUTE FUNCTION t.suppress('{R!aliasid}')}], ['DROP TRIGGER suppress ON {R}'] ],
    [ statement => [ map { "CREATE TRIGGER ${_}_statement $_ INSERT OR UPDATE OR DELETE ON {R} FOR EACH STATEMENT EXECUTE FUNCTION t.log_statement('{L}')" } qw(BEFORE AFTER) ],
        [ map { "DROP TRIGGER ${_}_statement ON {R}" } qw(BEFORE AFTER) ] ],
    [ transition => [ "CREATE TRIGGER tr_i AFTER INSERT ON {R} REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION t.log_transition('{L}', '{R!aliasid}')",
            "CREATE TRIGGER tr_d AFTER DELETE ON {R} REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION t.log_transition('{L}', '{R!aliasid}')" ],
        [ 'DROP TRIGGER tr_i ON {R}', 'DROP TRIGGER tr_d ON {R}' ] ],
    [ refuse => [q{CREATE TRIGGER refuse AFTER INSERT ON {R} FOR EACH ROW EXECUTE FUNCTION t.refuse('{R!aliasid}', 'T0001')}], ['DROP TRIGGER refuse ON {R}'] ],
    [ refuse_always => [ q{CREATE TRIGGER refuse_always AFTER DELETE ON {R} FOR EACH ROW EXECUTE FUNCTION t.refuse('{R!aliasid}', 'T0003')}, 'ALTER TABLE {R} ENABLE ALWAYS TRIGGER refuse_always' ],
        ['DROP TRIGGER refuse_always ON {R}'] ],
    [ late => [q{SELECT t.constraint_triggers('{R}', true, '{R!aliasid}')}], [q{SELECT t.constraint_triggers('{R}', false, '')}] ],
    [ generated => ['ALTER TABLE {R} ADD COLUMN twice bigint GENERATED ALWAYS AS ({R.referenceddocumentid} * 2) STORED'], ['ALTER TABLE {R} DROP COLUMN twice'],
        check => 'SELECT {R.parentdocumentid}, {R.aliasid}, twice FROM {R} ORDER BY 1, 2, {R.parentdocumentpartitionkey}' ],
    [ virtual => ['ALTER TABLE {R} ADD COLUMN thrice bigint GENERATED ALWAYS AS ({R.referenceddocumentid} * 3) VIRTUAL'], ['ALTER TABLE {R} DROP COLUMN thrice'], from => 18,
        check => 'SELECT {R.parentdocumentid}, {R.aliasid}, thrice FROM {R} ORDER BY 1, 2, {R.parentdocumentpartitionkey}' ],
    [ check => ['ALTER TABLE {R} ADD CONSTRAINT not_five CHECK ({R.aliasid} % 11 <> 5) NOT VALID'], ['ALTER TABLE {R} DROP CONSTRAINT not_five'] ],
    [ defaults => [q{ALTER TABLE {R} ADD COLUMN kind text DEFAULT 'plain', ADD COLUMN many int DEFAULT length(current_setting('application_name')) * 0 + 7, ADD COLUMN none int}],
        ['ALTER TABLE {R} DROP COLUMN kind, DROP COLUMN many, DROP COLUMN none'],
        check => 'SELECT {R.parentdocumentid}, {R.aliasid}, kind, many, none FROM {R} ORDER BY 1, 2, {R.parentdocumentpartitionkey}' ],
    [ indexes => [ 'CREATE INDEX ix_partial ON {R} ({R.referenceddocumentid}) WHERE {R.referenceddocumentid} > 5', 'CREATE INDEX ix_expression ON {R} (({R.aliasid} * 2)) INCLUDE ({R.parentdocumentid})',
            'CREATE INDEX ix_hash ON {R} USING hash ({R.aliasid})', 'CREATE INDEX ix_brin ON {R} USING brin ({R.parentdocumentid})',
            'CREATE INDEX ix_gin ON {R} USING gin ((ARRAY[{R.aliasid}, {R.referenceddocumentid}]))' ],
        [ map { "DROP INDEX {S}.ix_$_" } qw(partial expression hash brin gin) ] ],
    [ unique_target => ['CREATE UNIQUE INDEX ux_target ON {R} ({R.parentdocumentpartitionkey}, {R.parentdocumentid}, {R.referenceddocumentpartitionkey}, {R.referenceddocumentid})'],
        ['DROP INDEX {S}.ux_target'], may_fail => 1 ],
    [ fk_target => ['ALTER TABLE {R} ADD CONSTRAINT fk_target FOREIGN KEY ({R.referenceddocumentpartitionkey}, {R.referenceddocumentid}) REFERENCES {D} ({D.documentpartitionkey}, {D.id})'],
        ['ALTER TABLE {R} DROP CONSTRAINT fk_target'], may_fail => 1 ],
    [ notes => [ 'CREATE TABLE {S}.notes (pk smallint, parent bigint, alias bigint, FOREIGN KEY (pk, parent, alias) REFERENCES {R} ({R.parentdocumentpartitionkey}, {R.parentdocumentid}, {R.aliasid}) ON DELETE CASCADE)',
            'INSERT INTO {S}.notes SELECT {R.parentdocumentpartitionkey}, {R.parentdocumentid}, {R.aliasid} FROM {R} WHERE {R.aliasid} % 3 = 0' ], ['DROP TABLE {S}.notes'],
        check => 'SELECT * FROM {S}.notes ORDER BY 1, 2, 3' ],
    [ notes_restrict => [ 'CREATE TABLE {S}.strict_notes (pk smallint, parent bigint, alias bigint, FOREIGN KEY (pk, parent, alias) REFERENCES {R} ({R.parentdocumentpartitionkey}, {R.parentdocumentid}, {R.aliasid}))',
            'INSERT INTO {S}.strict_notes SELECT {R.parentdocumentpartitionkey}, {R.parentdocumentid}, {R.aliasid} FROM {R} WHERE {R.aliasid} % 9 = 1' ], ['DROP TABLE {S}.strict_notes'] ],
    [ disabled => [q{SELECT t.all_triggers('{R}', 'DISABLE')}], [q{SELECT t.all_triggers('{R}', 'ENABLE')}] ],
    [ deferred_parent => ['ALTER TABLE {R} ALTER CONSTRAINT fk_reference_parentdocument DEFERRABLE INITIALLY DEFERRED'], ['ALTER TABLE {R} ALTER CONSTRAINT fk_reference_parentdocument NOT DEFERRABLE'], may_fail => 1 ],
    [ deferrable_alias => ['ALTER TABLE {R} ALTER CONSTRAINT fk_reference_referencedalias DEFERRABLE'], ['ALTER TABLE {R} ALTER CONSTRAINT fk_reference_referencedalias NOT DEFERRABLE'] ],
    [ no_parent_key => ['ALTER TABLE {R} DROP CONSTRAINT fk_reference_parentdocument'],
        ['ALTER TABLE {R} ADD CONSTRAINT fk_reference_parentdocument FOREIGN KEY ({R.parentdocumentpartitionkey}, {R.parentdocumentid}) REFERENCES {D} ({D.documentpartitionkey}, {D.id}) ON DELETE CASCADE'], may_fail => 1 ],
    [ no_alias_index => [ [ 'ALTER TABLE {A} DROP CONSTRAINT ux_alias_referentialid', 'SELECT' ] ], [ [ 'ALTER TABLE {A} ADD CONSTRAINT ux_alias_referentialid UNIQUE ({A.referentialpartitionkey}, {A.referentialid})', 'SELECT' ] ] ],
    [ published => [ 'CREATE PUBLICATION published_{S} FOR TABLE {R}', "SELECT t.replica_identity('{R}', 'NOTHING')" ], [ 'DROP PUBLICATION published_{S}', "SELECT t.replica_identity('{R}', 'DEFAULT')" ] ],
);

# The names of this server's features; only those that leave a store to be written directly.
sub names
{
    my ($version, $plain) = @_;
    return map { $_->[0] } grep {
        my ($name, undef, undef, %o) = @$_;
        ($o{from} // 0) <= $version && !($plain && $name =~ /^(before_note|suppress|statement|transition|no_alias_index)$/)
    } @features;
}

# A feature: statements to make it, statements to undo it, options.
sub feature
{
    my ($name) = @_;
    my ($feature) = grep { $_->[0] eq $name } @features;
    my (undef, @rest) = @$feature;
    return @rest;
}

# Whether a feature may be impossible, because of the rows that there are or because of another one.
sub may_fail
{
    my (undef, undef, %options) = feature($_[0]);
    return $options{may_fail};
}

# What there is to compare of a feature.
sub check
{
    my (undef, undef, %options) = feature($_[0]);
    return $options{check} // ();
}

1;
