-- Purpose: sync_references and diff_references: a row a change, in a fixed order; diff shows what sync would do and writes nothing.
\set VERBOSITY sqlstate
SELECT t.new_store('s');

-- diff, then sync, then diff again; given references by ordinal, then deletes by alias id.
SELECT * FROM dms_refs.diff_references(1, 1::smallint, t.ids(4, 2, 3), t.keys(4, 2, 3), store => 's');
SELECT t.stored('s', 1);
SELECT * FROM dms_refs.sync_references(1, 1::smallint, t.ids(4, 2, 3), t.keys(4, 2, 3), store => 's');
SELECT t.stored('s', 1);
SELECT * FROM dms_refs.diff_references(1, 1::smallint, t.ids(4, 2, 3), t.keys(4, 2, 3), store => 's');
SELECT * FROM dms_refs.sync_references(1, 1::smallint, t.ids(4, 2, 3), t.keys(4, 2, 3), store => 's');
SELECT * FROM dms_refs.sync_references(1, 1::smallint, t.ids(4, 2, 3), t.keys(4, 2, 3), include_kept => true, store => 's');

-- insert, keep and delete in one call.
SELECT * FROM dms_refs.diff_references(1, 1::smallint, t.ids(9, 3, 5), t.keys(9, 3, 5), include_kept => true, store => 's');
SELECT * FROM dms_refs.sync_references(1, 1::smallint, t.ids(9, 3, 5), t.keys(9, 3, 5), include_kept => true, store => 's');
SELECT t.stored('s', 1);
SELECT * FROM dms_refs.sync_references(1, 1::smallint, t.ids(3, 6), t.keys(3, 6), store => 's');

-- An update: the alias is the same, the document behind it is another.
UPDATE s.alias SET documentid = 8, documentpartitionkey = 0 WHERE id = 103;
SELECT * FROM dms_refs.diff_references(1, 1::smallint, t.ids(6, 3), t.keys(6, 3), include_kept => true, store => 's');
SELECT t.stored('s', 1);
SELECT id AS old_id FROM s.reference WHERE parentdocumentid = 1 AND aliasid = 103 \gset
SELECT * FROM dms_refs.sync_references(1, 1::smallint, t.ids(6, 3), t.keys(6, 3), store => 's');
SELECT t.stored('s', 1);
SELECT id = :old_id AS same_row FROM s.reference WHERE parentdocumentid = 1 AND aliasid = 103;
-- Only the document's partition key differs; only the document's id differs.
UPDATE s.reference SET referenceddocumentpartitionkey = 3 WHERE parentdocumentid = 1 AND aliasid = 103;
SELECT * FROM dms_refs.sync_references(1, 1::smallint, t.ids(6, 3), t.keys(6, 3), store => 's');
UPDATE s.reference SET referenceddocumentid = 12345 WHERE parentdocumentid = 1 AND aliasid = 106;
SELECT * FROM dms_refs.sync_references(1, 1::smallint, t.ids(6, 3), t.keys(6, 3), store => 's');
-- A delete shows what was stored, even where the alias says something else by now.
UPDATE s.alias SET documentid = 3, documentpartitionkey = 3 WHERE id = 103;
SELECT * FROM dms_refs.sync_references(1, 1::smallint, t.ids(6), t.keys(6), store => 's');

-- All four at once.
SELECT * FROM dms_refs.sync_references(2, 2::smallint, t.ids(1, 3, 5, 7, 9), t.keys(1, 3, 5, 7, 9), store => 's');
UPDATE s.alias SET documentid = 1, documentpartitionkey = 1 WHERE id IN (105, 109);
SELECT * FROM dms_refs.diff_references(2, 2::smallint, t.ids(8, 5, 3, 2, 9), t.keys(8, 5, 3, 2, 9), include_kept => true, store => 's');
SELECT * FROM dms_refs.sync_references(2, 2::smallint, t.ids(8, 5, 3, 2, 9), t.keys(8, 5, 3, 2, 9), include_kept => true, store => 's');
SELECT t.stored('s', 2);

-- Empty: everything goes. Empty again: nothing to do.
SELECT * FROM dms_refs.diff_references(2, 2::smallint, '{}', '{}', store => 's');
SELECT * FROM dms_refs.sync_references(2, 2::smallint, '{}', '{}', store => 's');
SELECT * FROM dms_refs.sync_references(2, 2::smallint, '{}', '{}', include_kept => true, store => 's');
SELECT t.stored('s', 2);

-- Ids that do not resolve: only they are returned, and nothing is written.
SELECT * FROM dms_refs.diff_references(1, 1::smallint, t.ids(99, 2, 98, 6), t.keys(99, 2, 98, 6), include_kept => true, store => 's');
SELECT * FROM dms_refs.sync_references(1, 1::smallint, t.ids(99, 2, 98, 6), t.keys(99, 2, 98, 6), include_kept => true, store => 's');
SELECT * FROM dms_refs.sync_references(1, 1::smallint, t.ids(2, 99, 99), '{3,0,1}', store => 's');
SELECT t.stored('s', 1);

-- A parent that does not exist: the foreign key is asked where something is written, and only there.
SELECT * FROM dms_refs.diff_references(77, 1::smallint, t.ids(2), t.keys(2), store => 's');
SELECT * FROM dms_refs.sync_references(77, 1::smallint, t.ids(2), t.keys(2), store => 's');
SELECT * FROM dms_refs.sync_references(77, 1::smallint, '{}', '{}', store => 's');

-- is_pure_insert is a hint here too.
SELECT action, alias_id FROM dms_refs.diff_references(1, 1::smallint, t.ids(5, 6), t.keys(5, 6), is_pure_insert => true, include_kept => true, store => 's');
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(5, 6), t.keys(5, 6), is_pure_insert => true, include_kept => true, store => 's');
SELECT t.stored('s', 1);
SELECT action, alias_id FROM dms_refs.sync_references(1, 1::smallint, t.ids(5), t.keys(5), is_pure_insert => true, include_kept => true, store => 's');
SELECT t.stored('s', 1);

-- Arrays whose first subscript is not 1 mean the same; ordinal counts from 1.
SELECT ordinal, action, alias_id FROM dms_refs.sync_references(1, 1::smallint,
    ('[0:1]=' || t.ids(7, 8)::text)::uuid[], '[5:6]={0,1}', store => 's');
SELECT t.stored('s', 1);

-- Extremes of the keys.
SELECT * FROM dms_refs.diff_references(9223372036854775807, 1::smallint, t.ids(2), t.keys(2), store => 's');
SELECT * FROM dms_refs.diff_references(-9223372036854775808, 1::smallint, '{ffffffff-ffff-ffff-ffff-ffffffffffff,00000000-0000-0000-0000-000000000000}', '{0,0}', store => 's');
INSERT INTO s.alias (id, referentialpartitionkey, referentialid, documentid, documentpartitionkey) OVERRIDING SYSTEM VALUE VALUES
    (9223372036854775807, 0, 'ffffffff-ffff-ffff-ffff-ffffffffffff', 1, 1), (-9223372036854775808, 3, '00000000-0000-0000-0000-000000000000', 2, 2);
SELECT * FROM dms_refs.sync_references(1, 1::smallint, '{ffffffff-ffff-ffff-ffff-ffffffffffff,80000000-0000-0000-0000-000000000000,00000000-0000-0000-0000-000000000000}', '{0,0,3}', store => 's');
SELECT * FROM dms_refs.sync_references(1, 1::smallint, '{ffffffff-ffff-ffff-ffff-ffffffffffff,00000000-0000-0000-0000-000000000000}' || t.ids(2), '{0,3,3}', store => 's');
SELECT t.stored('s', 1);
SELECT * FROM dms_refs.sync_references(1, 1::smallint, '{}', '{}', store => 's');
SELECT dms_refs.drop_store('s');
