-- Purpose: row security: in force for the caller, SQL statements serve and only visible rows count; not in force, nothing changes.
\set VERBOSITY sqlstate
SELECT t.new_store('s');
CREATE ROLE regress_dms_tenant;
CREATE ROLE regress_dms_bypass BYPASSRLS;
GRANT USAGE ON SCHEMA t, s TO regress_dms_tenant, regress_dms_bypass;
GRANT SELECT, INSERT, UPDATE, DELETE ON s.reference TO regress_dms_tenant, regress_dms_bypass;
GRANT SELECT ON s.alias TO regress_dms_tenant, regress_dms_bypass;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3), t.keys(2, 3), store => 's');

-- Alias rows hidden: their ids do not resolve. Owner, superuser and BYPASSRLS see them.
ALTER TABLE s.alias ENABLE ROW LEVEL SECURITY;
CREATE POLICY low ON s.alias FOR SELECT USING (documentid < 5);
SELECT store, reads, writes FROM dms_refs.stores;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3, 7), t.keys(2, 3, 7), store => 's');
SET ROLE regress_dms_bypass;
SELECT store, reads, writes FROM dms_refs.stores;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3, 8), t.keys(2, 3, 8), store => 's');
SET ROLE regress_dms_tenant;
SELECT store, reads, reason IS NOT NULL AS says_why FROM dms_refs.stores;
SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 7, 3), t.keys(2, 7, 3), store => 's');
SELECT ordinal, alias_id FROM dms_refs.resolve_references(t.ids(2, 7, 3), t.keys(2, 7, 3), 's');
SELECT ordinal FROM dms_refs.find_invalid_references(t.ids(2, 7, 3), t.keys(2, 7, 3), 's');
SELECT action, alias_id FROM dms_refs.diff_references(1, 1::smallint, t.ids(2, 4), t.keys(2, 4), include_kept => true, store => 's');
-- The deleted row is the caller's to see, its referential id is not.
SELECT action, alias_id, referential_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(2, 4), t.keys(2, 4), store => 's');
RESET ROLE;
SELECT t.stored('s', 1);
-- Every engine.
SET dms_refs.engine = 'sql';
SET ROLE regress_dms_tenant;
SELECT * FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 7, 4), t.keys(2, 7, 4), store => 's');
RESET ROLE;
RESET dms_refs.engine;
-- Without a policy nothing is visible.
DROP POLICY low ON s.alias;
SET ROLE regress_dms_tenant;
SELECT success, cardinality(invalid_ids) FROM dms_refs.insert_references(1, 1::smallint, t.ids(2, 3), t.keys(2, 3), store => 's');
SELECT success FROM dms_refs.insert_references(1, 1::smallint, '{}', '{}', store => 's');
RESET ROLE;
ALTER TABLE s.alias DISABLE ROW LEVEL SECURITY;
SELECT t.stored('s', 1);

-- Reference rows: the parents that a tenant may see and write.
ALTER TABLE s.reference ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON s.reference USING (parentdocumentid < 5) WITH CHECK (parentdocumentid < 5 AND aliasid <> 109);
SELECT success FROM dms_refs.insert_references(5, 1::smallint, t.ids(2, 3), t.keys(2, 3), store => 's');
SET ROLE regress_dms_tenant;
SELECT store, reads, writes, reason IS NOT NULL AS says_why FROM dms_refs.stores;
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(2, 3), t.keys(2, 3), store => 's');
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(3, 4), t.keys(3, 4), store => 's');
-- A row that the policy forbids to write.
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(3, 9), t.keys(3, 9), store => 's');
SELECT success FROM dms_refs.insert_references(6, 2::smallint, t.ids(3), t.keys(3), store => 's');
-- A parent whose rows are hidden has none for this caller: nothing is deleted, nothing is seen.
SELECT action, alias_id FROM dms_refs.diff_references(5, 1::smallint, '{}', '{}', store => 's');
SELECT success FROM dms_refs.insert_references(5, 1::smallint, '{}', '{}', store => 's');
SELECT * FROM dms_refs.referencing_documents(3, 3::smallint, 's');
RESET ROLE;
SELECT * FROM dms_refs.referencing_documents(3, 3::smallint, 's');
SELECT t.stored('s', 1), t.stored('s', 5);
-- The same session, other roles in turn: what one may see is not remembered for the next.
SET ROLE regress_dms_bypass;
SELECT success FROM dms_refs.insert_references(6, 2::smallint, t.ids(3, 9), t.keys(3, 9), store => 's');
SET ROLE regress_dms_tenant;
SELECT action, alias_id FROM dms_refs.diff_references(6, 2::smallint, t.ids(4), t.keys(4), store => 's');
SET row_security = off;
SELECT success FROM dms_refs.insert_references(1, 1::smallint, t.ids(3), t.keys(3), store => 's');
RESET row_security;
RESET ROLE;
SELECT t.stored('s', 6);

-- Forced on its owner.
CREATE ROLE regress_dms_owner;
GRANT USAGE ON SCHEMA t, s TO regress_dms_owner;
GRANT SELECT ON s.alias TO regress_dms_owner;
ALTER TABLE s.reference OWNER TO regress_dms_owner;
SET ROLE regress_dms_owner;
SELECT reads, writes FROM dms_refs.stores;
SELECT action, alias_id FROM dms_refs.diff_references(5, 1::smallint, '{}', '{}', store => 's');
RESET ROLE;
ALTER TABLE s.reference FORCE ROW LEVEL SECURITY;
SET ROLE regress_dms_owner;
SELECT reads, writes FROM dms_refs.stores;
SELECT action, alias_id FROM dms_refs.diff_references(5, 1::smallint, '{}', '{}', store => 's');
RESET ROLE;
ALTER TABLE s.reference NO FORCE ROW LEVEL SECURITY;

-- Inside a SECURITY DEFINER function the definer's policies count.
CREATE FUNCTION t.definer(parent bigint) RETURNS boolean LANGUAGE sql SECURITY DEFINER AS
$$ SELECT success FROM dms_refs.insert_references(parent, (parent % 4)::smallint, t.ids(9), t.keys(9), store => 's') $$;
SET ROLE regress_dms_tenant;
SELECT t.definer(5);
RESET ROLE;
SELECT t.stored('s', 5);
ALTER FUNCTION t.definer(bigint) OWNER TO regress_dms_tenant;
SELECT t.definer(1);
SELECT t.definer(5);
SELECT t.stored('s', 5);

-- Row security of the document table has no say in the foreign key, as ever.
ALTER TABLE s.reference DISABLE ROW LEVEL SECURITY;
ALTER TABLE s.document ENABLE ROW LEVEL SECURITY;
SET ROLE regress_dms_tenant;
SELECT success FROM dms_refs.insert_references(5, 1::smallint, t.ids(2, 3), t.keys(2, 3), store => 's');
RESET ROLE;
SELECT t.stored('s', 5);

DROP FUNCTION t.definer;
SELECT dms_refs.drop_store('s');
REVOKE USAGE ON SCHEMA t FROM regress_dms_tenant, regress_dms_bypass, regress_dms_owner;
DROP ROLE regress_dms_tenant, regress_dms_bypass, regress_dms_owner;
