# The workload of the concurrency and crash tests: random sets saved to a few parents by many clients, with a ledger
# that says what must be stored.
#
# Documents 1 to PARENTS are parents, the others are referred to. Table work.candidate holds the sets; a save gives a
# parent one of them. Whoever changed a parent's set holds that parent's row until commit, so the ledger row that it
# writes afterwards in the same transaction is in the order of the changes: at the end the stored set of a parent must
# be exactly the candidate that the ledger names. A mix of two sets is none of them.
package Workload;

use strict;
use warnings;
use Exporter 'import';
use DmsRefs;
use Test::More;

our @EXPORT = qw(prepare_workload ledger_errors script settled);

use constant { PARENTS => 12, DOCUMENTS => 72, SETS => 30 };

sub prepare_workload
{
    my ($node, $layout) = @_;
    create_store($node, 'dms', $layout, DOCUMENTS);
    my $parents = PARENTS;
    my ($from, $to) = (PARENTS + 1, DOCUMENTS);
    my $sets = SETS - 1;
    my ($columns, $values) = $layout eq 'edfi'
      ? (', documentuuid, resourcename, resourceversion, isdescriptor, projectname, edfidoc, lastmodifiedtraceid',
         q{, t.id(p), 'r', '1', false, 'p', '{}', 't'})
      : ('', '');
    $node->safe_psql('postgres', qq{
        CREATE SCHEMA work;
        -- Parents' own aliases would only make their deletion fail.
        DELETE FROM dms.alias WHERE documentid <= $parents;

        -- Set 0 is empty; the others have 1 to about 30 members and overlap.
        CREATE TABLE work.candidate AS
            SELECT k, array(SELECT n FROM generate_series($from, $to) n
                            WHERE k > 0 AND hashint8(n * 1000 + k)::bigint & 1023 < 16 * k + 40 ORDER BY hashint8(n + k)) AS numbers
            FROM generate_series(0, $sets) k;
        ALTER TABLE work.candidate ADD PRIMARY KEY (k);
        CREATE TABLE work.ledger AS SELECT p AS parent, 0 AS k, 0 AS saves FROM generate_series(1, $parents) p;
        ALTER TABLE work.ledger ADD PRIMARY KEY (parent);
        CREATE SEQUENCE work.refused;
        CREATE SEQUENCE work.invalid;

        -- engine 1 auto, 2 direct, 3 sql, 4 direct with the foreign keys' own triggers.
        CREATE FUNCTION work.use_engine(engine int) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN
            PERFORM set_config('dms_refs.engine', (ARRAY['auto', 'direct', 'sql', 'direct'])[engine], true),
                    set_config('dms_refs.native_fk_checks', (engine < 4)::text, true);
        END \$\$;

        CREATE FUNCTION work.save(p int, k int, engine int, drop_in boolean) RETURNS void LANGUAGE plpgsql AS \$\$
        DECLARE
            ids uuid[]; keys smallint[]; changed boolean; done boolean;
        BEGIN
            SELECT t.ids(numbers), t.keys(numbers) INTO ids, keys FROM work.candidate c WHERE c.k = save.k;
            PERFORM work.use_engine(engine);
            BEGIN
                IF drop_in THEN
                    -- It does not say what it did; having changed something it has a transaction id, and the parent.
                    SELECT success INTO done FROM dms.InsertReferences(p, (p % 16)::smallint, ids, keys);
                    changed := done AND pg_current_xact_id_if_assigned() IS NOT NULL;
                ELSE
                    SELECT coalesce(bool_or(action <> 'invalid'), false), coalesce(bool_and(action <> 'invalid'), true) INTO changed, done
                    FROM dms_refs.sync_references(p, (p % 16)::smallint, ids, keys);
                END IF;
            EXCEPTION WHEN foreign_key_violation THEN
                PERFORM nextval('work.refused');
                RETURN;
            END;
            IF NOT done THEN PERFORM nextval('work.invalid'); END IF;
            IF changed THEN UPDATE work.ledger l SET k = save.k, saves = saves + 1 WHERE parent = p; END IF;
        END \$\$;

        CREATE FUNCTION work.save_batch(parents int[], ks int[], engine int) RETURNS void LANGUAGE plpgsql AS \$\$
        BEGIN
            PERFORM work.use_engine(engine);
            WITH given AS (
                SELECT array_agg(p::bigint ORDER BY o) AS p, array_agg((p % 16)::smallint ORDER BY o) AS pk,
                       array_agg(cardinality(numbers) ORDER BY o) AS counts,
                       (SELECT array_agg(n ORDER BY o, m) FROM unnest(parents, ks) WITH ORDINALITY u(p, k, o) JOIN work.candidate USING (k),
                               unnest(numbers) WITH ORDINALITY v(n, m)) AS numbers
                FROM unnest(parents, ks) WITH ORDINALITY u(p, k, o) JOIN work.candidate USING (k)),
            result AS MATERIALIZED (
                SELECT r.* FROM given, dms_refs.sync_references_batch(p, pk, counts, t.ids(coalesce(numbers, '{}')), t.keys(coalesce(numbers, '{}'))) r)
            UPDATE work.ledger l SET k = ks[ordinal], saves = saves + 1
            FROM result WHERE parent = parents[ordinal] AND inserted + updated + deleted > 0;
        EXCEPTION WHEN foreign_key_violation THEN
            PERFORM nextval('work.refused');
        END \$\$;

        -- The document goes and comes back without references; one at a time does that to it.
        CREATE FUNCTION work.recreate(p int) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN
            PERFORM pg_advisory_xact_lock(p);
            DELETE FROM dms.document WHERE documentpartitionkey = p % 16 AND id = p;
            INSERT INTO dms.document (id, documentpartitionkey$columns) OVERRIDING SYSTEM VALUE SELECT p, p % 16$values;
            UPDATE work.ledger SET k = 0, saves = saves + 1 WHERE parent = p;
        END \$\$;

        CREATE FUNCTION work.retarget(n int, document int) RETURNS void LANGUAGE sql AS \$\$
            UPDATE dms.alias SET documentid = document, documentpartitionkey = document % 16
            WHERE referentialpartitionkey = n % 16 AND referentialid = t.id(n) \$\$;

        -- The alias goes, if nobody refers to it, and comes back under another id.
        CREATE FUNCTION work.replace_alias(n int) RETURNS void LANGUAGE plpgsql AS \$\$ BEGIN
            DELETE FROM dms.alias WHERE referentialpartitionkey = n % 16 AND referentialid = t.id(n);
            INSERT INTO dms.alias (referentialpartitionkey, referentialid, documentid, documentpartitionkey)
                SELECT n % 16, t.id(n), n, n % 16;
        EXCEPTION WHEN foreign_key_violation OR restrict_violation OR unique_violation THEN
            PERFORM nextval('work.refused');
        END \$\$;
    });
    return;
}

# pgbench scripts by what they do.
sub script
{
    my ($what) = @_;
    my ($parents, $from, $to, $sets) = (PARENTS, PARENTS + 1, DOCUMENTS, SETS - 1);
    my $choose = qq{
\\set p random(1, $parents)
\\set k random(0, $sets)
\\set engine random(1, 4)
};
    # A batch takes parents p, p + step, …, in falling or rising order, which are all different.
    my %scripts = (
        save => "$choose\nSELECT work.save(:p, :k, :engine, false);\n",
        drop_in => "$choose\nSELECT work.save(:p, :k, :engine, true);\n",
        batch => qq{$choose
\\set p2 1 + (:p + 4) % $parents
\\set p3 1 + (:p + 7) % $parents
\\set k2 random(0, $sets)
\\set k3 random(0, $sets)
SELECT work.save_batch(ARRAY[:p, :p2, :p3]::int[], ARRAY[:k, :k2, :k3]::int[], :engine::int);
},
        recreate => "$choose\nSELECT work.recreate(:p);\n",
        retarget => "\\set n random($from, $to)\n\\set d random($from, $to)\nSELECT work.retarget(:n, :d);\n",
        replace_alias => "\\set n random($from, $to)\nSELECT work.replace_alias(:n);\n",
    );
    return $scripts{$what} // die "no script $what";
}

# Parents whose stored set is not the candidate that the ledger names.
sub ledger_errors
{
    my ($node) = @_;
    return $node->safe_psql('postgres', q{
        WITH have AS (
            SELECT parentdocumentid AS parent, array_agg(referentialid ORDER BY referentialid) AS ids
            FROM dms.reference r JOIN dms.alias a ON (a.referentialpartitionkey, a.id) = (r.referentialpartitionkey, r.aliasid) GROUP BY 1),
        want AS (
            SELECT parent, k, array(SELECT t.id(n) FROM unnest(numbers) n ORDER BY 1) AS ids FROM work.ledger JOIN work.candidate USING (k))
        SELECT 'parent ' || parent || ' should have set ' || k || ', has '
               || coalesce((SELECT string_agg(ltrim(replace(i::text, '-', ''), '0'), ' ') FROM unnest(have.ids) i), 'nothing')
        FROM want LEFT JOIN have USING (parent) WHERE want.ids <> coalesce(have.ids, '{}')});
}

# The checks after a load: the ledger, the store, indexes. Then every parent is sent its set again: what
# may be left to do is to follow an alias that was given another document.
sub settled
{
    my ($node, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is(ledger_errors($node), '', "$name: every parent has exactly the set saved last");
    is(store_errors($node, 'dms', allowed => ['other target']), '', "$name: check_store finds nothing but aliases that name another document by now");
    is(index_errors($node), '', "$name: indexes and tables agree");
    is($node->safe_psql('postgres', q{
        SELECT DISTINCT action FROM work.ledger JOIN work.candidate USING (k),
            dms_refs.sync_references(parent, (parent % 16)::smallint, t.ids(numbers), t.keys(numbers)) WHERE action <> 'update'}),
        '', "$name: sent again, nothing to insert, delete or refuse");
    is(store_errors($node, 'dms'), '', "$name: check_store finds nothing at all");
    return;
}

1;
