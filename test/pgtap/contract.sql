-- Purpose: the contract of schema dms_refs, but for the statistics (statistics.sql): every function with its signature, result, volatility and parallel safety; grants; comments.
\set QUIET 1
\pset format unaligned
\pset tuples_only true
BEGIN;
SET client_min_messages = warning;
CREATE EXTENSION dms_refs;
SELECT plan(17);

CREATE FUNCTION pg_temp.functions() RETURNS TABLE (name text, arguments text, result text, volatility "char", parallel "char", strict boolean) LANGUAGE sql AS $$
    SELECT proname::text, pg_get_function_arguments(oid), pg_get_function_result(oid), provolatile, proparallel, proisstrict
    FROM pg_proc WHERE pronamespace = 'dms_refs'::regnamespace AND proname !~ '^(stat|histogram)_' ORDER BY proname COLLATE "C" $$;

SELECT results_eq($$SELECT name, arguments FROM pg_temp.functions()$$, $$VALUES
    ('apply_resolved_references', 'parent_document_id bigint, parent_document_partition_key smallint, referential_partition_keys smallint[], alias_ids bigint[], referenced_document_ids bigint[], referenced_document_partition_keys smallint[], is_pure_insert boolean DEFAULT false, store name DEFAULT ''dms''::name, OUT inserted integer, OUT updated integer, OUT deleted integer, OUT kept integer, OUT path text'),
    ('check_stage', 'stage regclass'),
    ('check_store', 'store name DEFAULT ''dms''::name, OUT violation text, OUT relation regclass, OUT key jsonb, OUT detail text'),
    ('create_drop_in_functions', 'in_schema name, for_store name'),
    ('create_stage', 'name text, like_table regclass DEFAULT NULL::regclass, columns text DEFAULT NULL::text, key name[] DEFAULT NULL::name[], on_commit text DEFAULT ''delete''::text'),
    ('create_store', 'store name DEFAULT ''dms''::name, partitions integer DEFAULT 16, layout text DEFAULT ''edfi''::text'),
    ('diff_references', 'parent_document_id bigint, parent_document_partition_key smallint, referential_ids uuid[], referential_partition_keys smallint[], is_pure_insert boolean DEFAULT false, include_kept boolean DEFAULT false, store name DEFAULT ''dms''::name'),
    ('drop_drop_in_functions', 'in_schema name'),
    ('drop_store', 'store name, cascade boolean DEFAULT false'),
    ('empty_stage', 'stage regclass'),
    ('find_invalid_references', 'referential_ids uuid[], referential_partition_keys smallint[], store name DEFAULT ''dms''::name'),
    ('insert_references', 'parent_document_id bigint, parent_document_partition_key smallint, referential_ids uuid[], referential_partition_keys smallint[], is_pure_insert boolean DEFAULT false, store name DEFAULT ''dms''::name, OUT success boolean, OUT invalid_ids uuid[]'),
    ('last_invalid_references', ''),
    ('referencing_documents', 'document_id bigint, document_partition_key smallint, store name DEFAULT ''dms''::name'),
    ('register_store', 'store name, document regclass, alias regclass, reference regclass, columns jsonb DEFAULT ''{}''::jsonb, drop_in_schema name DEFAULT NULL::name'),
    ('require_own_schema', 'space name'),
    ('resolve_references', 'referential_ids uuid[], referential_partition_keys smallint[], store name DEFAULT ''dms''::name'),
    ('stage_contents', 'stage regclass, OUT rows bigint, OUT bytes bigint, OUT peak_bytes bigint'),
    ('stage_handler', ''),
    ('stage_validator', 'options text[], catalog oid'),
    ('store_changed', ''),
    ('store_engine', 'store name, OUT reads text, OUT writes text, OUT reason text'),
    ('store_problems', 'rel regclass, role text, ours name[], theirs name[], types regtype[], keys name[], OUT fatal boolean, OUT problem text, OUT remedy text'),
    ('sync_references', 'parent_document_id bigint, parent_document_partition_key smallint, referential_ids uuid[], referential_partition_keys smallint[], is_pure_insert boolean DEFAULT false, include_kept boolean DEFAULT false, store name DEFAULT ''dms''::name'),
    ('sync_references_batch', 'parent_document_ids bigint[], parent_document_partition_keys smallint[], reference_counts integer[], referential_ids uuid[], referential_partition_keys smallint[], are_pure_inserts boolean[] DEFAULT NULL::boolean[], on_invalid text DEFAULT ''skip''::text, store name DEFAULT ''dms''::name'),
    ('unregister_store', 'store name')$$,
    'the functions and their arguments');

SELECT results_eq($$SELECT name, result FROM pg_temp.functions() WHERE result ~ '^TABLE'$$, $$VALUES
    ('diff_references', 'TABLE(ordinal integer, action text, referential_id uuid, referential_partition_key smallint, alias_id bigint, referenced_document_id bigint, referenced_document_partition_key smallint)'),
    ('find_invalid_references', 'TABLE(ordinal integer, referential_id uuid, referential_partition_key smallint)'),
    ('last_invalid_references', 'TABLE(referential_id uuid)'),
    ('referencing_documents', 'TABLE(parent_document_id bigint, parent_document_partition_key smallint)'),
    ('resolve_references', 'TABLE(ordinal integer, referential_id uuid, referential_partition_key smallint, alias_id bigint, document_id bigint, document_partition_key smallint)'),
    ('sync_references', 'TABLE(ordinal integer, action text, referential_id uuid, referential_partition_key smallint, alias_id bigint, referenced_document_id bigint, referenced_document_partition_key smallint)'),
    ('sync_references_batch', 'TABLE(ordinal integer, success boolean, invalid_ids uuid[], inserted integer, updated integer, deleted integer, kept integer, path text)')$$,
    'what the functions return that return rows');
SELECT results_eq($$SELECT name, result FROM pg_temp.functions() WHERE result !~ '^TABLE'$$, $$VALUES
    ('apply_resolved_references', 'record'), ('check_stage', 'void'), ('check_store', 'SETOF record'), ('create_drop_in_functions', 'void'), ('create_stage', 'regclass'), ('create_store', 'void'), ('drop_drop_in_functions', 'void'),
    ('drop_store', 'void'), ('empty_stage', 'void'), ('insert_references', 'record'), ('register_store', 'void'), ('require_own_schema', 'void'), ('stage_contents', 'record'), ('stage_handler', 'fdw_handler'), ('stage_validator', 'void'),
    ('store_changed', 'trigger'), ('store_engine', 'record'),
    ('store_problems', 'SETOF record'), ('unregister_store', 'void')$$,
    'what the others return');
SELECT set_eq($$SELECT name, volatility::text, parallel::text FROM pg_temp.functions() WHERE (volatility, parallel) <> ('v', 'u')$$, $$VALUES
    ('find_invalid_references', 's', 'r'), ('referencing_documents', 's', 'r'), ('resolve_references', 's', 'r'), ('store_engine', 's', 'r'),
    ('store_problems', 's', 'u'), ('check_store', 's', 'u'), ('stage_contents', 'v', 'r')$$,
    'only the functions that read are stable; what writes is volatile and never runs in a parallel worker');
SELECT set_eq($$SELECT name FROM pg_temp.functions() WHERE strict$$, $$VALUES ('store_engine'), ('check_stage'), ('empty_stage'), ('stage_contents'), ('stage_handler'), ('stage_validator')$$,
    'a null argument is answered by an error, not by a null');
SELECT is_empty($$SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'dms_refs'::regnamespace AND prosecdef$$,
    'no function runs with its owner''s rights');
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
    WHERE p.pronamespace = 'dms_refs'::regnamespace AND l.lanname <> 'c' AND p.prokind <> 'a' AND p.proname <> 'create_stage' AND coalesce(array_to_string(p.proconfig, ' '), '') !~ 'search_path=pg_catalog, pg_temp'$$,
    'a function that is not in C fixes its search path; but for create_stage, which looks names up as its caller would');
SELECT is_empty($$SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'dms_refs'::regnamespace AND NOT has_function_privilege('public', oid, 'EXECUTE')
    AND proname <> 'stat_reset'$$,
    'everyone may call every function: the tables'' privileges decide');

-- Tables and views.
SELECT set_eq($$SELECT relname::text, relkind::text FROM pg_class WHERE relnamespace = 'dms_refs'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    AND relname !~ '^stat_'$$,
    $$VALUES ('store_config', 'r'), ('stores', 'v'), ('stages', 'v')$$, 'the relations of the schema');
SELECT results_eq($$SELECT attname::text COLLATE "default", format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'dms_refs.stores'::regclass AND attnum > 0 ORDER BY attnum$$, $$VALUES
    ('store', 'name'), ('layout', 'text'), ('document', 'regclass'), ('alias', 'regclass'), ('reference', 'regclass'), ('columns', 'jsonb'),
    ('drop_in_schema', 'name'), ('reads', 'text'), ('writes', 'text'), ('reason', 'text')$$,
    'the columns of the view stores');
SELECT ok(has_schema_privilege('public', 'dms_refs', 'USAGE') AND NOT has_schema_privilege('public', 'dms_refs', 'CREATE'), 'everyone may use the schema, not create in it');
SELECT is_empty($$SELECT relname FROM pg_class WHERE relnamespace = 'dms_refs'::regnamespace AND relkind IN ('r', 'v')
    AND (NOT has_table_privilege('public', oid, 'SELECT') OR has_table_privilege('public', oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER'))$$,
    'everyone may read the tables and views, and nothing more');
SELECT ok('dms_refs.store_config'::regclass = ANY (extconfig), 'the stores are dumped with the database')
FROM pg_extension WHERE extname = 'dms_refs';

-- Comments.
SELECT is_empty($$SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'dms_refs'::regnamespace AND length(coalesce(obj_description(oid, 'pg_proc'), '')) < 20$$,
    'every function has a comment');
SELECT is_empty($$SELECT oid::regclass FROM pg_class WHERE relnamespace = 'dms_refs'::regnamespace AND relkind IN ('r', 'v') AND length(coalesce(obj_description(oid, 'pg_class'), '')) < 20$$,
    'every table and view has a comment');
SELECT dms_refs.create_store('contract_store', 1, 'lean');
SELECT is_empty($$SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'contract_store'::regnamespace AND length(coalesce(obj_description(oid, 'pg_proc'), '')) < 20$$,
    'the drop-in functions have comments');

-- The extension goes with all that belongs to it, the drop-in functions included, and leaves the tables.
DROP EXTENSION dms_refs;
SELECT results_eq($$SELECT (SELECT count(*) FROM pg_proc WHERE pronamespace = 'contract_store'::regnamespace),
    (SELECT count(*) FROM pg_class WHERE relnamespace = 'contract_store'::regnamespace AND relkind = 'p'), to_regnamespace('dms_refs') IS NULL OR NOT EXISTS (
        SELECT FROM pg_class WHERE relnamespace = to_regnamespace('dms_refs'))$$,
    $$VALUES (0::bigint, 3::bigint, true)$$, 'DROP EXTENSION takes the functions and leaves the tables');
SELECT * FROM finish();
ROLLBACK;
