-- Purpose: create_store and drop_store: the tables, constraints and indexes of both layouts, and the errors.
\set VERBOSITY sqlstate
CREATE FUNCTION t.columns_of(store name) RETURNS TABLE (tab name, col name, type text, not_null boolean, identity "char", "default" text)
    LANGUAGE sql AS $$
    SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, pg_get_expr(d.adbin, d.adrelid)
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
    WHERE c.relnamespace = store::regnamespace AND c.relkind = 'p'
    ORDER BY c.relname COLLATE "C", a.attnum $$;
CREATE FUNCTION t.constraints_of(store name) RETURNS TABLE (tab name, con name, definition text) LANGUAGE sql AS $$
    SELECT c.relname, k.conname, replace(pg_get_constraintdef(k.oid), store || '.', '')
    FROM pg_class c JOIN pg_constraint k ON k.conrelid = c.oid AND k.conparentid = 0 AND k.contype IN ('p', 'u', 'f', 'c')
    WHERE c.relnamespace = store::regnamespace AND c.relkind = 'p'
    ORDER BY c.relname COLLATE "C", k.conname COLLATE "C" $$;
CREATE FUNCTION t.indexes_of(store name) RETURNS TABLE (tab name, index name, definition text) LANGUAGE sql AS $$
    SELECT c.relname, i.relname, replace(substring(pg_get_indexdef(i.oid) FROM 'USING .*'), store || '.', '')
    FROM pg_class c JOIN pg_index x ON x.indrelid = c.oid JOIN pg_class i ON i.oid = x.indexrelid
    WHERE c.relnamespace = store::regnamespace AND c.relkind = 'p'
    ORDER BY c.relname COLLATE "C", i.relname COLLATE "C" $$;
CREATE FUNCTION t.partitions_of(store name) RETURNS TABLE (tab name, partition name, bound text) LANGUAGE sql AS $$
    SELECT p.relname, c.relname, pg_get_expr(c.relpartbound, c.oid)
    FROM pg_inherits h JOIN pg_class p ON p.oid = h.inhparent JOIN pg_class c ON c.oid = h.inhrelid
    WHERE p.relnamespace = store::regnamespace AND p.relkind = 'p'
    ORDER BY p.relname COLLATE "C", c.relname COLLATE "C" $$;

-- Layout edfi, the default.
SELECT dms_refs.create_store('e', partitions => 2);
SELECT * FROM t.columns_of('e');
SELECT * FROM t.constraints_of('e');
SELECT * FROM t.indexes_of('e');
SELECT * FROM t.partitions_of('e');

-- Layout lean: the columns that the functions need, no redundant index, no surrogate key on references.
SELECT dms_refs.create_store('l', partitions => 2, layout => 'lean');
SELECT * FROM t.columns_of('l');
SELECT * FROM t.constraints_of('l');
SELECT * FROM t.indexes_of('l');

-- The view.
SELECT store, layout, document, alias, reference, drop_in_schema, reads, writes FROM dms_refs.stores ORDER BY store COLLATE "C";
SELECT store, jsonb_pretty(columns) FROM dms_refs.stores WHERE store = 'e';

-- The drop-in functions stand in the store's schema, with the parameter names of Ed-Fi's callers.
SELECT proname, pg_get_function_arguments(oid) AS arguments, pg_get_function_result(oid) AS result
FROM pg_proc WHERE pronamespace = 'e'::regnamespace ORDER BY proname COLLATE "C";

-- A fresh store is empty and works.
SELECT * FROM dms_refs.insert_references(1, 1::smallint, '{}', '{}', store => 'e');
SELECT * FROM dms_refs.insert_references(1, 1::smallint, '{}', '{}', store => 'l');

-- All defaults: a store named dms with sixteen partitions, _00 to _15.
SELECT dms_refs.create_store();
SELECT tab, count(*), min(partition COLLATE "C"), max(partition COLLATE "C"), max(bound COLLATE "C") FROM t.partitions_of('dms') GROUP BY tab ORDER BY tab COLLATE "C";
SELECT layout FROM dms_refs.stores WHERE store = 'dms';
SELECT * FROM dms_refs.insert_references(1, 15::smallint, '{}', '{}');
SELECT dms_refs.drop_store('dms');

-- Names that need quotes.
SELECT dms_refs.create_store('My "Store"', 1, 'lean');
SELECT * FROM "My ""Store""".InsertReferences(1, 0::smallint, '{}', '{}');
SELECT * FROM dms_refs.insert_references(1, 0::smallint, '{}', '{}', store => 'My "Store"');
SELECT dms_refs.drop_store('My "Store"');
SELECT count(*) FROM pg_namespace WHERE nspname = 'My "Store"';

-- A schema that is there is used, and kept where something else lives in it.
CREATE SCHEMA shared_schema CREATE TABLE other (x int);
SELECT dms_refs.create_store('shared_schema', 1, 'lean');
\set VERBOSITY terse
SELECT dms_refs.drop_store('shared_schema');
\set VERBOSITY sqlstate
SELECT relname FROM pg_class WHERE relnamespace = 'shared_schema'::regnamespace;
SELECT count(*) FROM pg_proc WHERE pronamespace = 'shared_schema'::regnamespace;

-- With cascade what depends on the tables goes along; what only lives beside them stays.
SELECT dms_refs.create_store('shared_schema', 1, 'lean');
CREATE VIEW shared_schema.needs_it AS SELECT aliasid FROM shared_schema.reference;
SELECT dms_refs.drop_store('shared_schema');
SELECT store FROM dms_refs.stores WHERE store = 'shared_schema';
SET client_min_messages = warning;
SELECT dms_refs.drop_store('shared_schema', cascade => true);
RESET client_min_messages;
SELECT relname FROM pg_class WHERE relnamespace = 'shared_schema'::regnamespace;
SELECT count(*) FROM dms_refs.stores WHERE store = 'shared_schema';
DROP TABLE shared_schema.other;
DROP SCHEMA shared_schema;
SELECT dms_refs.drop_store('e', cascade => NULL);

-- A store comes and goes with its transaction.
BEGIN;
SELECT dms_refs.create_store('brief', 1, 'lean');
SELECT success FROM dms_refs.insert_references(1, 0::smallint, '{}', '{}', store => 'brief');
ROLLBACK;
SELECT success FROM dms_refs.insert_references(1, 0::smallint, '{}', '{}', store => 'brief');
BEGIN;
SELECT dms_refs.drop_store('l');
SELECT success FROM dms_refs.insert_references(1, 0::smallint, '{}', '{}', store => 'l');
ROLLBACK;
SELECT success FROM dms_refs.insert_references(1, 0::smallint, '{}', '{}', store => 'l');

-- Errors.
SELECT dms_refs.create_store('e');
SELECT dms_refs.create_store('x', partitions => 0);
SELECT dms_refs.create_store('x', partitions => -1);
SELECT dms_refs.create_store('x', partitions => 1025);
SELECT dms_refs.create_store('x', layout => 'wide');
SELECT dms_refs.create_store(NULL);
SELECT dms_refs.create_store('x', partitions => NULL);
SELECT dms_refs.create_store('x', layout => NULL);
SELECT count(*) FROM pg_namespace WHERE nspname = 'x';
SELECT dms_refs.drop_store('x');
SELECT dms_refs.drop_store(NULL);
SELECT dms_refs.unregister_store('x');
SELECT * FROM dms_refs.store_engine('x');

-- A name that is taken, by a table of the same schema.
CREATE SCHEMA taken CREATE TABLE document (x int);
SELECT dms_refs.create_store('taken', 1);
SELECT count(*) FROM pg_class WHERE relnamespace = 'taken'::regnamespace AND relkind IN ('r', 'p');
DROP SCHEMA taken CASCADE;

SELECT dms_refs.drop_store('e');
SELECT dms_refs.drop_store('l');
SELECT count(*) FROM dms_refs.stores;
SELECT count(*) FROM pg_namespace WHERE nspname IN ('e', 'l');
DROP FUNCTION t.columns_of, t.constraints_of, t.indexes_of, t.partitions_of;
