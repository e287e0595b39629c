-- The rivals of dms_refs.insert_references: the same job in good SQL, four ways. bench/README.md says what each stands for.
--
-- All have the signature of insert_references, return one row (success, invalid_ids), write nothing where
-- an id does not resolve, and ask (as Ed-Fi's own function did) that the ids of a call be distinct: dms_refs does not ask that.
\set ON_ERROR_STOP 1
\set QUIET 1
SET client_min_messages = warning;
CREATE SCHEMA rival;
GRANT USAGE ON SCHEMA rival TO bench_app;

---------------------------------------------------------------------------------------------------
-- R1: PL/pgSQL with an unlogged staging table that all sessions share
---------------------------------------------------------------------------------------------------

CREATE UNLOGGED TABLE rival.stage (
    session int, key smallint, id uuid, aliasid bigint, documentkey smallint, documentid bigint,
    PRIMARY KEY (session, key, id));
GRANT SELECT, INSERT, DELETE ON rival.stage TO bench_app;

CREATE FUNCTION rival.unlogged_stage(
    parent_id bigint, parent_key smallint, ids uuid[], keys smallint[], is_pure_insert boolean DEFAULT false,
    OUT success boolean, OUT invalid_ids uuid[]) LANGUAGE plpgsql AS $$
DECLARE
    me   int := pg_backend_pid();
    same boolean := false;
BEGIN
    DELETE FROM rival.stage WHERE session = me;     -- what an aborted call left
    INSERT INTO rival.stage
    SELECT me, u.key, u.id, a.id, a.documentpartitionkey, a.documentid
    FROM unnest(ids, keys) u(id, key)
    LEFT JOIN dms.alias a ON a.referentialpartitionkey = u.key AND a.referentialid = u.id;

    SELECT coalesce(array_agg(s.id), '{}') INTO invalid_ids FROM rival.stage s WHERE s.session = me AND s.aliasid IS NULL;
    success := invalid_ids = '{}';
    IF success AND NOT is_pure_insert THEN
        -- The probe: is the stored set the given one?
        same := NOT EXISTS (
                SELECT FROM rival.stage s
                LEFT JOIN dms.reference r ON r.parentdocumentpartitionkey = parent_key AND r.parentdocumentid = parent_id AND r.aliasid = s.aliasid
                WHERE s.session = me
                  AND (r.referentialpartitionkey, r.referenceddocumentpartitionkey, r.referenceddocumentid)
                      IS DISTINCT FROM (s.key, s.documentkey, s.documentid))
            AND NOT EXISTS (
                SELECT FROM dms.reference r
                WHERE r.parentdocumentpartitionkey = parent_key AND r.parentdocumentid = parent_id
                  AND NOT EXISTS (SELECT FROM rival.stage s WHERE s.session = me AND s.aliasid = r.aliasid));
    END IF;
    IF success AND NOT same THEN
        INSERT INTO dms.reference AS r (parentdocumentid, parentdocumentpartitionkey, referentialpartitionkey, aliasid,
                                    referenceddocumentpartitionkey, referenceddocumentid)
        SELECT parent_id, parent_key, s.key, s.aliasid, s.documentkey, s.documentid FROM rival.stage s WHERE s.session = me
        ON CONFLICT (parentdocumentpartitionkey, parentdocumentid, aliasid) DO UPDATE
            SET referentialpartitionkey = EXCLUDED.referentialpartitionkey,
                referenceddocumentpartitionkey = EXCLUDED.referenceddocumentpartitionkey,
                referenceddocumentid = EXCLUDED.referenceddocumentid
            WHERE (r.referentialpartitionkey, r.referenceddocumentpartitionkey, r.referenceddocumentid)
                  IS DISTINCT FROM (EXCLUDED.referentialpartitionkey, EXCLUDED.referenceddocumentpartitionkey, EXCLUDED.referenceddocumentid);
        IF NOT is_pure_insert THEN
            -- From the leaf: a delete from the partitioned table would open all of its leaves.
            EXECUTE format('DELETE FROM dms.%I r WHERE r.parentdocumentpartitionkey = $2 AND r.parentdocumentid = $1
                                AND NOT EXISTS (SELECT FROM rival.stage s WHERE s.session = $3 AND s.aliasid = r.aliasid)',
                           'reference_' || lpad(parent_key::text, greatest(2, length(parent_key::text)), '0'))
                USING parent_id, parent_key, me;
        END IF;
    END IF;
    DELETE FROM rival.stage WHERE session = me;
END $$;

---------------------------------------------------------------------------------------------------
-- R2: the same with a temporary table, made once a session
---------------------------------------------------------------------------------------------------

CREATE FUNCTION rival.temporary_stage(
    parent_id bigint, parent_key smallint, ids uuid[], keys smallint[], is_pure_insert boolean DEFAULT false,
    OUT success boolean, OUT invalid_ids uuid[]) LANGUAGE plpgsql AS $$
DECLARE
    same boolean := false;
BEGIN
    IF to_regclass('pg_temp.stage') IS NULL THEN
        CREATE TEMPORARY TABLE stage (
            key smallint, id uuid, aliasid bigint, documentkey smallint, documentid bigint, PRIMARY KEY (key, id)) ON COMMIT DELETE ROWS;
    END IF;
    INSERT INTO pg_temp.stage
    SELECT u.key, u.id, a.id, a.documentpartitionkey, a.documentid
    FROM unnest(ids, keys) u(id, key)
    LEFT JOIN dms.alias a ON a.referentialpartitionkey = u.key AND a.referentialid = u.id;

    SELECT coalesce(array_agg(s.id), '{}') INTO invalid_ids FROM pg_temp.stage s WHERE s.aliasid IS NULL;
    success := invalid_ids = '{}';
    IF success AND NOT is_pure_insert THEN
        same := NOT EXISTS (
                SELECT FROM pg_temp.stage s
                LEFT JOIN dms.reference r ON r.parentdocumentpartitionkey = parent_key AND r.parentdocumentid = parent_id AND r.aliasid = s.aliasid
                WHERE (r.referentialpartitionkey, r.referenceddocumentpartitionkey, r.referenceddocumentid)
                      IS DISTINCT FROM (s.key, s.documentkey, s.documentid))
            AND NOT EXISTS (
                SELECT FROM dms.reference r
                WHERE r.parentdocumentpartitionkey = parent_key AND r.parentdocumentid = parent_id
                  AND NOT EXISTS (SELECT FROM pg_temp.stage s WHERE s.aliasid = r.aliasid));
    END IF;
    IF success AND NOT same THEN
        INSERT INTO dms.reference AS r (parentdocumentid, parentdocumentpartitionkey, referentialpartitionkey, aliasid,
                                    referenceddocumentpartitionkey, referenceddocumentid)
        SELECT parent_id, parent_key, s.key, s.aliasid, s.documentkey, s.documentid FROM pg_temp.stage s
        ON CONFLICT (parentdocumentpartitionkey, parentdocumentid, aliasid) DO UPDATE
            SET referentialpartitionkey = EXCLUDED.referentialpartitionkey,
                referenceddocumentpartitionkey = EXCLUDED.referenceddocumentpartitionkey,
                referenceddocumentid = EXCLUDED.referenceddocumentid
            WHERE (r.referentialpartitionkey, r.referenceddocumentpartitionkey, r.referenceddocumentid)
                  IS DISTINCT FROM (EXCLUDED.referentialpartitionkey, EXCLUDED.referenceddocumentpartitionkey, EXCLUDED.referenceddocumentid);
        IF NOT is_pure_insert THEN
            EXECUTE format('DELETE FROM dms.%I r WHERE r.parentdocumentpartitionkey = $2 AND r.parentdocumentid = $1
                                AND NOT EXISTS (SELECT FROM pg_temp.stage s WHERE s.aliasid = r.aliasid)',
                           'reference_' || lpad(parent_key::text, greatest(2, length(parent_key::text)), '0'))
                USING parent_id, parent_key;
        END IF;
    END IF;
    -- A second call of the same transaction must find it empty; ON COMMIT DELETE ROWS keeps it from growing.
    DELETE FROM pg_temp.stage;
END $$;

---------------------------------------------------------------------------------------------------
-- R3: one data-modifying CTE, planned as the server sees fit
-- R4: the same statement under a generic plan
---------------------------------------------------------------------------------------------------

CREATE FUNCTION rival.one_statement(
    parent_id bigint, parent_key smallint, ids uuid[], keys smallint[], is_pure_insert boolean DEFAULT false,
    OUT success boolean, OUT invalid_ids uuid[]) LANGUAGE plpgsql AS $$
BEGIN
    WITH given AS MATERIALIZED (
        SELECT u.id, u.key, a.id AS aliasid, a.documentpartitionkey, a.documentid
        FROM unnest(ids, keys) u(id, key)
        LEFT JOIN dms.alias a ON a.referentialpartitionkey = u.key AND a.referentialid = u.id),
    invalid AS MATERIALIZED (
        SELECT array_agg(g.id) AS ids FROM given g WHERE g.aliasid IS NULL),
    stored AS MATERIALIZED (
        SELECT r.aliasid, r.referentialpartitionkey, r.referenceddocumentpartitionkey, r.referenceddocumentid
        FROM dms.reference r WHERE r.parentdocumentpartitionkey = parent_key AND r.parentdocumentid = parent_id AND NOT is_pure_insert),
    written AS (
        INSERT INTO dms.reference AS r (parentdocumentid, parentdocumentpartitionkey, referentialpartitionkey, aliasid,
                                        referenceddocumentpartitionkey, referenceddocumentid)
        SELECT parent_id, parent_key, g.key, g.aliasid, g.documentpartitionkey, g.documentid FROM given g
        WHERE (SELECT i.ids IS NULL FROM invalid i)
          AND NOT EXISTS (SELECT FROM stored s
                          WHERE (s.aliasid, s.referentialpartitionkey, s.referenceddocumentpartitionkey, s.referenceddocumentid)
                              = (g.aliasid, g.key, g.documentpartitionkey, g.documentid))
        ON CONFLICT (parentdocumentpartitionkey, parentdocumentid, aliasid) DO UPDATE
            SET referentialpartitionkey = EXCLUDED.referentialpartitionkey,
                referenceddocumentpartitionkey = EXCLUDED.referenceddocumentpartitionkey,
                referenceddocumentid = EXCLUDED.referenceddocumentid),
    deleted AS (
        DELETE FROM dms.reference r
        WHERE r.parentdocumentpartitionkey = parent_key AND r.parentdocumentid = parent_id
          AND NOT is_pure_insert AND (SELECT i.ids IS NULL FROM invalid i)
          AND NOT EXISTS (SELECT FROM given g WHERE g.aliasid = r.aliasid))
    SELECT i.ids IS NULL, coalesce(i.ids, '{}') INTO success, invalid_ids FROM invalid i;
END $$;

-- The same text again, so that R3 and R4 cannot drift apart.
DO $do$
BEGIN
    EXECUTE format($f$
        CREATE FUNCTION rival.one_generic_statement(
            parent_id bigint, parent_key smallint, ids uuid[], keys smallint[], is_pure_insert boolean DEFAULT false,
            OUT success boolean, OUT invalid_ids uuid[]) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS %L$f$,
        (SELECT prosrc FROM pg_proc WHERE oid = 'rival.one_statement'::regproc));
END $do$;

---------------------------------------------------------------------------------------------------
-- R4s: generic plans too, but in steps: one statement reads and diffs, and only what differs is sent on. A statement
-- that may write opens every leaf whether it writes or not, so this is the better SQL where nothing changed.
---------------------------------------------------------------------------------------------------

CREATE FUNCTION rival.generic_steps(
    parent_id bigint, parent_key smallint, ids uuid[], keys smallint[], is_pure_insert boolean DEFAULT false,
    OUT success boolean, OUT invalid_ids uuid[]) LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    new_keys smallint[];
    new_aliases bigint[];
    new_document_keys smallint[];
    new_documents bigint[];
    old_aliases bigint[];
BEGIN
    WITH given AS MATERIALIZED (
        SELECT u.id, u.key, a.id AS aliasid, a.documentpartitionkey, a.documentid
        FROM unnest(ids, keys) u(id, key)
        LEFT JOIN dms.alias a ON a.referentialpartitionkey = u.key AND a.referentialid = u.id),
    stored AS MATERIALIZED (
        SELECT r.aliasid, r.referentialpartitionkey, r.referenceddocumentpartitionkey, r.referenceddocumentid
        FROM dms.reference r WHERE r.parentdocumentpartitionkey = parent_key AND r.parentdocumentid = parent_id AND NOT is_pure_insert),
    delta AS (
        SELECT g.*, s.aliasid AS old FROM given g FULL JOIN stored s ON s.aliasid = g.aliasid
        WHERE (s.aliasid, s.referentialpartitionkey, s.referenceddocumentpartitionkey, s.referenceddocumentid)
            IS DISTINCT FROM (g.aliasid, g.key, g.documentpartitionkey, g.documentid))
    SELECT array_agg(d.id) FILTER (WHERE d.id IS NOT NULL AND d.aliasid IS NULL),
           array_agg(d.key) FILTER (WHERE d.aliasid IS NOT NULL), array_agg(d.aliasid) FILTER (WHERE d.aliasid IS NOT NULL),
           array_agg(d.documentpartitionkey) FILTER (WHERE d.aliasid IS NOT NULL), array_agg(d.documentid) FILTER (WHERE d.aliasid IS NOT NULL),
           array_agg(d.old) FILTER (WHERE d.id IS NULL)
    INTO invalid_ids, new_keys, new_aliases, new_document_keys, new_documents, old_aliases FROM delta d;

    success := invalid_ids IS NULL;
    IF NOT success THEN
        RETURN;
    END IF;
    invalid_ids := '{}';
    IF new_aliases IS NOT NULL THEN
        INSERT INTO dms.reference AS r (parentdocumentid, parentdocumentpartitionkey, referentialpartitionkey, aliasid,
                                        referenceddocumentpartitionkey, referenceddocumentid)
        SELECT parent_id, parent_key, u.* FROM unnest(new_keys, new_aliases, new_document_keys, new_documents) u
        ON CONFLICT (parentdocumentpartitionkey, parentdocumentid, aliasid) DO UPDATE
            SET referentialpartitionkey = EXCLUDED.referentialpartitionkey,
                referenceddocumentpartitionkey = EXCLUDED.referenceddocumentpartitionkey,
                referenceddocumentid = EXCLUDED.referenceddocumentid;
    END IF;
    IF old_aliases IS NOT NULL THEN
        DELETE FROM dms.reference r
        WHERE r.parentdocumentpartitionkey = parent_key AND r.parentdocumentid = parent_id AND r.aliasid = ANY (old_aliases);
    END IF;
END $$;
