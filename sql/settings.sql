-- Purpose: the settings of the module: names, defaults, who may set them, values that are refused.
\set VERBOSITY sqlstate
-- The module is loaded by the first call of one of its functions.
SELECT count(*) FROM dms_refs.last_invalid_references();

SELECT name, setting, boot_val, vartype, context, enumvals
FROM pg_settings
WHERE name IN ('dms_refs.engine', 'dms_refs.native_fk_checks', 'dms_refs.alias_cache', 'dms_refs.lock_parent',
               'dms_refs.duplicate_references')
ORDER BY name COLLATE "C";

SELECT name, short_desc <> '' AS described FROM pg_settings WHERE name LIKE 'dms\_refs.%' AND short_desc = '';

-- Every value that is documented is taken.
SET dms_refs.engine = 'direct';
SET dms_refs.engine = 'sql';
SET dms_refs.engine = 'auto';
SET dms_refs.native_fk_checks = off;
SET dms_refs.native_fk_checks = on;
SET dms_refs.alias_cache = 0;
SET dms_refs.alias_cache = 4096;
SET dms_refs.lock_parent = 'always';
SET dms_refs.lock_parent = 'never';
SET dms_refs.lock_parent = 'on_change';
SET dms_refs.duplicate_references = 'error';
SET dms_refs.duplicate_references = 'ignore';

-- Others are not.
SET dms_refs.engine = 'fast';
SET dms_refs.native_fk_checks = 'perhaps';
SET dms_refs.alias_cache = -1;
SET dms_refs.lock_parent = 'sometimes';
SET dms_refs.duplicate_references = 'keep';
SELECT current_setting('dms_refs.engine'), current_setting('dms_refs.native_fk_checks'), current_setting('dms_refs.alias_cache'),
       current_setting('dms_refs.lock_parent'), current_setting('dms_refs.duplicate_references');

-- The prefix is ours: a misspelt setting is an error, not a silent no-op.
SET dms_refs.engin = 'sql';

-- They belong to the session: SET LOCAL ends with the transaction, a function's SET with the call.
BEGIN;
SET LOCAL dms_refs.engine = 'sql';
SHOW dms_refs.engine;
COMMIT;
SHOW dms_refs.engine;
CREATE FUNCTION t.engine_inside() RETURNS text LANGUAGE sql SET dms_refs.engine = 'direct' AS
$$ SELECT current_setting('dms_refs.engine') $$;
SELECT t.engine_inside(), current_setting('dms_refs.engine');
DROP FUNCTION t.engine_inside();
