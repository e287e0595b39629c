-- dms_refs 1.0: everything that CREATE EXTENSION makes.
--
-- Order: the table of stores, the functions that make and drop stores (DDL, so PL/pgSQL), the native
-- reference functions, statistics, staging, comments and grants. All names are qualified: nothing here depends on
-- the search_path of whoever runs it.
\echo Use "CREATE EXTENSION dms_refs" to load this file. \quit

---------------------------------------------------------------------------------------------------
-- 1. Stores
---------------------------------------------------------------------------------------------------

-- One row a store. The tables are regclass: stored by OID, so that a store follows renames, and dumped
-- by name, so that it survives pg_dump and restore. The column arrays are ours in the fixed order that
-- src/store/store.hpp names, each holding the table's own column name.
CREATE TABLE @extschema@.store_config (
    store             name     NOT NULL PRIMARY KEY,
    layout            text     NOT NULL CHECK (layout IN ('edfi', 'lean', 'registered')),
    document          regclass NOT NULL,
    alias             regclass NOT NULL,
    reference         regclass NOT NULL,
    document_columns  name[]   NOT NULL CHECK (cardinality(document_columns) = 2),
    alias_columns     name[]   NOT NULL CHECK (cardinality(alias_columns) = 5),
    reference_columns name[]   NOT NULL CHECK (cardinality(reference_columns) = 6),
    drop_in_schema    name
);
SELECT pg_catalog.pg_extension_config_dump('@extschema@.store_config', '');

-- Every backend caches what it knows of a store; this makes them all look again. For each row and always: a logical
-- replication worker fires neither statement-level triggers nor those that are not for replicas. Where the first of the two
-- is not there like that, nothing is cached.
CREATE FUNCTION @extschema@.store_changed() RETURNS trigger
    LANGUAGE C AS 'MODULE_PATHNAME', 'dms_refs_store_changed';
CREATE TRIGGER store_changed AFTER INSERT OR UPDATE OR DELETE ON @extschema@.store_config
    FOR EACH ROW EXECUTE FUNCTION @extschema@.store_changed();
CREATE TRIGGER stores_emptied AFTER TRUNCATE ON @extschema@.store_config
    FOR EACH STATEMENT EXECUTE FUNCTION @extschema@.store_changed();
ALTER TABLE @extschema@.store_config ENABLE ALWAYS TRIGGER store_changed;
ALTER TABLE @extschema@.store_config ENABLE ALWAYS TRIGGER stores_emptied;

CREATE FUNCTION @extschema@.store_engine(store name, OUT reads text, OUT writes text, OUT reason text)
    LANGUAGE C STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dms_refs_store_engine';

-- Refuses a schema in which somebody else has a say: who owns it, has something in it or may create in it could put a
-- function there that callers of the store would run, or drop its tables. Superusers, and the caller, are nobody else.
CREATE FUNCTION @extschema@.require_own_schema(space name) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found  pg_namespace;
    others text;
    advice text;
BEGIN
    SELECT * INTO found FROM pg_namespace n WHERE n.nspname = space;
    IF found.oid IS NULL THEN -- made by somebody, and not to be seen yet
        RAISE serialization_failure USING MESSAGE = format('schema "%s" was made by another transaction', space), HINT = 'The transaction might succeed if retried.';
    END IF;
    WITH trusted AS (
        SELECT r.oid FROM pg_roles r
        WHERE r.rolsuper OR r.rolname = current_user
           OR r.rolname = 'pg_database_owner' AND EXISTS (
                SELECT FROM pg_database d JOIN pg_roles o ON o.oid = d.datdba
                WHERE d.datname = current_database() AND (o.rolsuper OR o.rolname = current_user))),
    said (o, text, advice) AS (
        SELECT 1, format('role "%s" owns it', pg_get_userbyid(found.nspowner)), format('ALTER SCHEMA %I OWNER TO %I;', space, current_user)
        WHERE found.nspowner NOT IN (TABLE trusted)
        UNION ALL
        SELECT DISTINCT 2, CASE g.grantee WHEN 0 THEN 'everybody' ELSE format('role "%s"', pg_get_userbyid(g.grantee)) END || ' may create in it',
               format('REVOKE CREATE ON SCHEMA %I FROM %s;', space, CASE g.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(g.grantee)) END)
        FROM aclexplode(found.nspacl) g
        WHERE g.privilege_type = 'CREATE' AND g.grantee <> found.nspowner AND g.grantee NOT IN (TABLE trusted)
        UNION ALL
        SELECT 3, format('%s belongs to role "%s"', pg_describe_object(d.classid, d.objid, 0), pg_get_userbyid(s.refobjid)), NULL
        FROM pg_depend d JOIN pg_shdepend s ON s.classid = d.classid AND s.objid = d.objid
            JOIN pg_database b ON b.oid = s.dbid AND b.datname = current_database()
        WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = found.oid AND s.deptype = 'o' AND s.refobjid NOT IN (TABLE trusted))
    SELECT string_agg(first.text, '; ' ORDER BY first.o), string_agg(first.advice, ' ' ORDER BY first.o)
    INTO others, advice FROM (SELECT * FROM said ORDER BY said.o, said.text LIMIT 5) first;
    IF others IS NOT NULL THEN
        RAISE insufficient_privilege USING MESSAGE = format('schema "%s" is not yours alone', space), DETAIL = others || '.',
            HINT = concat_ws(' ', 'Take another name, or see to it that nobody else has a say in this schema.', advice);
    END IF;
END $$;

-- The functions an application calls by the names it already knows. They are C functions, the same
-- ones as dms_refs.insert_references and its like: they find their store by the schema they live in.
CREATE FUNCTION @extschema@.create_drop_in_functions(in_schema name, for_store name) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    insert_signature  text := format('%I.InsertReferences(bigint, smallint, uuid[], smallint[], boolean)', in_schema);
    invalid_signature text := format('%I.GetInvalidReferencesAndClear(bigint, smallint)', in_schema);
    other             regprocedure;
BEGIN
    -- Beside one with other arguments, who calls which of the two would be the arguments' to say.
    SELECT p.oid INTO other FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname = in_schema AND p.proname IN ('insertreferences', 'getinvalidreferencesandclear') ORDER BY p.oid LIMIT 1;
    IF other IS NOT NULL THEN
        RAISE duplicate_function USING MESSAGE = format('schema "%s" already has a function %s', in_schema, other),
            HINT = format('ALTER FUNCTION %s RENAME TO %I;', other, (SELECT p.proname || '_before' FROM pg_proc p WHERE p.oid = other));
    END IF;
    EXECUTE format($f$
        CREATE FUNCTION %I.InsertReferences(
            p_parentDocumentId bigint, p_parentDocumentPartitionKey smallint,
            p_referentialIds uuid[], p_referentialPartitionKeys smallint[],
            p_isPureInsert boolean DEFAULT false,
            OUT success boolean, OUT invalid_ids uuid[])
        LANGUAGE C AS '$libdir/dms_refs', 'dms_refs_insert_references'$f$, in_schema);
    EXECUTE format($f$
        CREATE FUNCTION %I.GetInvalidReferencesAndClear(
            p_parentDocumentId bigint, p_parentDocumentPartitionKey smallint)
        RETURNS TABLE (referentialid uuid)
        LANGUAGE C AS '$libdir/dms_refs', 'dms_refs_take_invalid_references'$f$, in_schema);
    EXECUTE format('COMMENT ON FUNCTION %s IS %L', insert_signature,
        format('Makes the references of a document of store %s equal to the given set: see dms_refs.insert_references', for_store));
    EXECUTE format('COMMENT ON FUNCTION %s IS %L', invalid_signature,
        'The invalid referential ids of this session''s last call, if it was for this document; forgets them');
    -- DROP EXTENSION takes them along; pg_dump writes them like any function.
    EXECUTE format('ALTER FUNCTION %s DEPENDS ON EXTENSION dms_refs', insert_signature);
    EXECUTE format('ALTER FUNCTION %s DEPENDS ON EXTENSION dms_refs', invalid_signature);
END $$;

CREATE FUNCTION @extschema@.drop_drop_in_functions(in_schema name) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    doomed regprocedure;
BEGIN
    FOR doomed IN
        SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname = in_schema AND p.probin = '$libdir/dms_refs'
          AND p.proname IN ('insertreferences', 'getinvalidreferencesandclear')
    LOOP
        EXECUTE format('DROP FUNCTION %s', doomed);
    END LOOP;
END $$;

CREATE FUNCTION @extschema@.create_store(store name DEFAULT 'dms', partitions int DEFAULT 16, layout text DEFAULT 'edfi')
    RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    edfi boolean := layout = 'edfi';
    t    text;
    i    int;
BEGIN
    IF store IS NULL OR partitions IS NULL OR layout IS NULL THEN
        RAISE null_value_not_allowed USING MESSAGE = 'store, partitions and layout must not be null';
    END IF;
    IF layout NOT IN ('edfi', 'lean') THEN
        RAISE invalid_parameter_value USING MESSAGE = format('unknown store layout "%s"', layout),
            HINT = 'The layouts are "edfi" and "lean".';
    END IF;
    IF partitions NOT BETWEEN 1 AND 1024 THEN
        RAISE invalid_parameter_value USING MESSAGE = format('partitions must be between 1 and 1024, not %s', partitions);
    END IF;
    IF EXISTS (SELECT FROM dms_refs.store_config c WHERE c.store = create_store.store) THEN
        RAISE duplicate_object USING MESSAGE = format('store "%s" already exists', store),
            HINT = format('Drop it first: SELECT dms_refs.drop_store(%L)', store);
    END IF;

    EXECUTE format('CREATE SCHEMA IF NOT EXISTS %I', store);
    PERFORM dms_refs.require_own_schema(store);
    EXECUTE format('CREATE TABLE %I.document (Id bigint GENERATED ALWAYS AS IDENTITY, DocumentPartitionKey smallint NOT NULL', store)
        || CASE WHEN edfi THEN $c$,
            DocumentUuid uuid NOT NULL,
            ResourceName varchar(256) NOT NULL,
            ResourceVersion varchar(64) NOT NULL,
            IsDescriptor boolean NOT NULL,
            ProjectName varchar(256) NOT NULL,
            EdfiDoc jsonb NOT NULL,
            SecurityElements jsonb NOT NULL DEFAULT '{}',
            CreatedAt timestamp NOT NULL DEFAULT now(),
            LastModifiedAt timestamp NOT NULL DEFAULT now(),
            LastModifiedTraceId varchar(128) NOT NULL $c$ ELSE '' END
        || ', CONSTRAINT PK_Document PRIMARY KEY (DocumentPartitionKey, Id)) PARTITION BY LIST (DocumentPartitionKey)';
    EXECUTE format($c$CREATE TABLE %I.alias (
            Id bigint GENERATED ALWAYS AS IDENTITY,
            ReferentialPartitionKey smallint NOT NULL,
            ReferentialId uuid NOT NULL,
            DocumentId bigint NOT NULL,
            DocumentPartitionKey smallint NOT NULL,
            CONSTRAINT PK_Alias PRIMARY KEY (ReferentialPartitionKey, Id)) PARTITION BY LIST (ReferentialPartitionKey)$c$, store);
    EXECUTE format('CREATE TABLE %I.reference (', store)
        || CASE WHEN edfi THEN 'Id bigint GENERATED ALWAYS AS IDENTITY, ' ELSE '' END
        || $c$
            ParentDocumentId bigint NOT NULL,
            ParentDocumentPartitionKey smallint NOT NULL,
            ReferentialPartitionKey smallint NOT NULL,
            AliasId bigint NOT NULL,
            ReferencedDocumentPartitionKey smallint NOT NULL,
            ReferencedDocumentId bigint NOT NULL,$c$
        || CASE WHEN edfi THEN 'CONSTRAINT PK_Reference PRIMARY KEY (ParentDocumentPartitionKey, Id))'
                ELSE 'CONSTRAINT PK_Reference PRIMARY KEY (ParentDocumentPartitionKey, ParentDocumentId, AliasId))' END
        || ' PARTITION BY LIST (ParentDocumentPartitionKey)';
    FOREACH t IN ARRAY ARRAY['document', 'alias', 'reference'] LOOP
        FOR i IN 0 .. partitions - 1 LOOP
            EXECUTE format('CREATE TABLE %I.%I PARTITION OF %I.%I FOR VALUES IN (%s)',
                           store, t || '_' || lpad(i::text, greatest(2, length(i::text)), '0'), store, t, i);
        END LOOP;
    END LOOP;

    IF edfi THEN
        EXECUTE format('CREATE UNIQUE INDEX UX_Document_DocumentUuid ON %I.document (DocumentPartitionKey, DocumentUuid)', store);
        EXECUTE format('ALTER TABLE %I.reference ADD CONSTRAINT UX_Reference_Parent_Alias UNIQUE (ParentDocumentPartitionKey, ParentDocumentId, AliasId)', store);
    END IF;
    EXECUTE format('ALTER TABLE %I.alias ADD CONSTRAINT UX_Alias_ReferentialId UNIQUE (ReferentialPartitionKey, ReferentialId)', store);
    EXECUTE format('CREATE INDEX IX_Alias_DocumentId ON %I.alias (DocumentPartitionKey, DocumentId)', store);
    EXECUTE format('CREATE INDEX IX_Reference_AliasId ON %I.reference (ReferentialPartitionKey, AliasId)', store);
    EXECUTE format('CREATE INDEX IX_Reference_ReferencedDocument ON %I.reference (ReferencedDocumentPartitionKey, ReferencedDocumentId)
        INCLUDE (ParentDocumentPartitionKey, ParentDocumentId)', store);
    EXECUTE format('ALTER TABLE %1$I.alias ADD CONSTRAINT FK_Alias_Document FOREIGN KEY (DocumentPartitionKey, DocumentId)
        REFERENCES %1$I.document (DocumentPartitionKey, Id) ON DELETE CASCADE', store);
    EXECUTE format('ALTER TABLE %1$I.reference ADD CONSTRAINT FK_Reference_ParentDocument FOREIGN KEY (ParentDocumentPartitionKey, ParentDocumentId)
        REFERENCES %1$I.document (DocumentPartitionKey, Id) ON DELETE CASCADE', store);
    EXECUTE format('ALTER TABLE %1$I.reference ADD CONSTRAINT FK_Reference_ReferencedAlias FOREIGN KEY (ReferentialPartitionKey, AliasId)
        REFERENCES %1$I.alias (ReferentialPartitionKey, Id) ON DELETE RESTRICT ON UPDATE CASCADE', store);

    PERFORM dms_refs.register_store(store, format('%I.document', store)::regclass, format('%I.alias', store)::regclass,
                                    format('%I.reference', store)::regclass, drop_in_schema => store);
    UPDATE dms_refs.store_config c SET layout = create_store.layout WHERE c.store = create_store.store;
END $$;

-- What is wrong with the tables of a store that is to be registered: a row a thing, with the statement
-- that mends it; fatal where no reference function could work without it.
CREATE FUNCTION @extschema@.store_problems(
        rel regclass, role text, ours name[], theirs name[], types regtype[], keys name[],
        OUT fatal boolean, OUT problem text, OUT remedy text) RETURNS SETOF record
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    kind     "char" := (SELECT relkind FROM pg_class WHERE oid = rel);
    found    regtype;
    key_list text := (SELECT string_agg(quote_ident(k), ', ' ORDER BY n) FROM unnest(keys) WITH ORDINALITY u(k, n));
    part_key int2[];
    i        int;
BEGIN
    IF kind NOT IN ('r', 'p', 'v', 'f', 'm') THEN
        fatal := true; problem := format('%s "%s" is not a table', role, rel); remedy := 'Name a table.'; RETURN NEXT; RETURN;
    END IF;
    FOR i IN 1 .. cardinality(theirs) LOOP
        SELECT a.atttypid::regtype INTO found FROM pg_attribute a
        WHERE a.attrelid = rel AND a.attname = theirs[i] AND a.attnum > 0 AND NOT a.attisdropped;
        IF found IS NULL THEN
            fatal := true;
            problem := format('%s "%s" has no column "%s"', role, rel, theirs[i]);
            remedy := format('ALTER TABLE %s ADD COLUMN %I %s; or say what it is called: columns => ''{"%s.%s": "your_name"}''', rel, theirs[i], types[i], role, ours[i]);
            RETURN NEXT;
        ELSIF found <> types[i] THEN
            fatal := true;
            problem := format('column "%s" of %s "%s" is of type %s, not %s', theirs[i], role, rel, found, types[i]);
            remedy := format('ALTER TABLE %s ALTER COLUMN %I TYPE %s;', rel, theirs[i], types[i]);
            RETURN NEXT;
        END IF;
    END LOOP;
    IF fatal OR kind NOT IN ('r', 'p') THEN
        RETURN;
    END IF;
    IF NOT EXISTS (
        SELECT FROM pg_index x
        WHERE x.indrelid = rel AND x.indisunique AND x.indisvalid AND x.indpred IS NULL AND x.indexprs IS NULL
          AND (SELECT array_agg(a.attname ORDER BY a.attname)
               FROM generate_series(0, x.indnkeyatts - 1) k
               JOIN pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = x.indkey[k])
            = (SELECT array_agg(k ORDER BY k) FROM unnest(keys) k))
    THEN
        fatal := true;
        problem := format('%s "%s" has no unique index on (%s)', role, rel, key_list);
        remedy := format('CREATE UNIQUE INDEX ON %s (%s);', rel, key_list);
        RETURN NEXT;
    END IF;
    IF kind = 'p' THEN
        SELECT partattrs::int2[] INTO part_key FROM pg_partitioned_table WHERE partrelid = rel;
        IF cardinality(part_key) <> 1 OR NOT EXISTS (
            SELECT FROM pg_attribute WHERE attrelid = rel AND attnum = part_key[0] AND attname = keys[1])
        THEN
            fatal := false;
            problem := format('%s "%s" is not partitioned by "%s" alone, so SQL statements will serve it', role, rel, keys[1]);
            remedy := format('Partition it by (%I).', keys[1]);
            RETURN NEXT;
        END IF;
    END IF;
END $$;

CREATE FUNCTION @extschema@.register_store(store name, document regclass, alias regclass, reference regclass,
                                           columns jsonb DEFAULT '{}', drop_in_schema name DEFAULT NULL)
    RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    document_ours  name[] := '{documentpartitionkey,id}';
    alias_ours     name[] := '{referentialpartitionkey,referentialid,id,documentpartitionkey,documentid}';
    reference_ours name[] := '{parentdocumentpartitionkey,parentdocumentid,aliasid,referentialpartitionkey,referenceddocumentpartitionkey,referenceddocumentid}';
    d name[]; a name[]; r name[];
    known    text[];
    unknown  text;
    fatal    text := '';
    remedies text := '';
    p        record;
BEGIN
    IF store IS NULL OR document IS NULL OR alias IS NULL OR reference IS NULL OR columns IS NULL THEN
        RAISE null_value_not_allowed USING MESSAGE = 'store, document, alias, reference and columns must not be null';
    END IF;
    IF EXISTS (SELECT FROM dms_refs.store_config c WHERE c.store = register_store.store) THEN
        RAISE duplicate_object USING MESSAGE = format('store "%s" already exists', store),
            HINT = format('Forget it first: SELECT dms_refs.unregister_store(%L)', store);
    END IF;
    IF jsonb_typeof(columns) <> 'object' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'columns must be a JSON object of our column names to yours',
            HINT = 'For example {"alias.referentialid": "ref_uuid"}.';
    END IF;
    SELECT array_agg('document.' || n) INTO known FROM unnest(document_ours) n;
    known := known || (SELECT array_agg('alias.' || n) FROM unnest(alias_ours) n)
                   || (SELECT array_agg('reference.' || n) FROM unnest(reference_ours) n);
    SELECT key INTO unknown FROM jsonb_object_keys(columns) key
    WHERE key <> ALL (known) AND key <> ALL (SELECT split_part(k, '.', 2) FROM unnest(known) k) LIMIT 1;
    IF unknown IS NOT NULL THEN
        RAISE invalid_parameter_value USING MESSAGE = format('"%s" in columns is none of our column names', unknown),
            HINT = 'They are: ' || array_to_string(known, ', ') || '; the table''s name may be left out.';
    END IF;
    d := ARRAY(SELECT coalesce(columns ->> ('document.' || n), columns ->> n, n) FROM unnest(document_ours) WITH ORDINALITY u(n, i) ORDER BY i);
    a := ARRAY(SELECT coalesce(columns ->> ('alias.' || n), columns ->> n, n) FROM unnest(alias_ours) WITH ORDINALITY u(n, i) ORDER BY i);
    r := ARRAY(SELECT coalesce(columns ->> ('reference.' || n), columns ->> n, n) FROM unnest(reference_ours) WITH ORDINALITY u(n, i) ORDER BY i);

    FOR p IN
        SELECT * FROM dms_refs.store_problems(document, 'document', document_ours, d, '{smallint,bigint}', d)
        UNION ALL
        SELECT * FROM dms_refs.store_problems(alias, 'alias', alias_ours, a, '{smallint,uuid,bigint,smallint,bigint}', a[1:2])
        UNION ALL
        SELECT * FROM dms_refs.store_problems(alias, 'alias', alias_ours[3:3], a[3:3], '{bigint}', ARRAY[a[1], a[3]])
        UNION ALL
        SELECT * FROM dms_refs.store_problems(reference, 'reference', reference_ours, r, '{smallint,bigint,bigint,smallint,smallint,bigint}', r[1:3])
        UNION ALL
        -- What is only read may be one column in several roles: an alias in its document's partition. What is written may not:
        -- the values differ from reference to reference.
        SELECT true, format('column "%s" of reference "%s" is given as %s', u.name, reference, string_agg('"' || u.ours || '"', ' and ' ORDER BY i)),
               format('ALTER TABLE %s %s; and leave %s out of columns, or name other columns there', reference,
                      string_agg(format('ADD COLUMN %I %s', u.ours, u.type), ', ' ORDER BY i) FILTER (WHERE u.use > 1),
                      string_agg('"' || u.ours || '"', ' and ' ORDER BY i) FILTER (WHERE u.use > 1))
        FROM (SELECT n.name, n.ours, n.type, n.i, row_number() OVER (PARTITION BY n.name ORDER BY n.i) AS use
              FROM unnest(r, reference_ours, '{smallint,bigint,bigint,smallint,smallint,bigint}'::regtype[]) WITH ORDINALITY n(name, ours, type, i)) u
        GROUP BY u.name HAVING count(*) > 1
        UNION ALL
        SELECT true, format('"%s" is to be the table of references and also that of %s', reference,
                            CASE reference WHEN document THEN 'documents' ELSE 'aliases' END),
               'Name a table that holds nothing but references.'
        WHERE reference IN (document, alias)
        UNION ALL
        SELECT false, format('reference "%s" has no foreign key (%I, %I) to document "%s"', reference, r[1], r[2], document),
               format('ALTER TABLE %s ADD FOREIGN KEY (%I, %I) REFERENCES %s (%I, %I) ON DELETE CASCADE;', reference, r[1], r[2], document, d[1], d[2])
        WHERE NOT EXISTS (SELECT FROM pg_constraint c WHERE c.contype = 'f' AND c.conrelid = reference AND c.confrelid = document)
        UNION ALL
        SELECT false, format('reference "%s" has no foreign key (%I, %I) to alias "%s"', reference, r[4], r[3], alias),
               format('ALTER TABLE %s ADD FOREIGN KEY (%I, %I) REFERENCES %s (%I, %I) ON DELETE RESTRICT ON UPDATE CASCADE;', reference, r[4], r[3], alias, a[1], a[3])
        WHERE NOT EXISTS (SELECT FROM pg_constraint c WHERE c.contype = 'f' AND c.conrelid = reference AND c.confrelid = alias)
    LOOP
        IF p.fatal THEN
            IF position(p.problem IN fatal) = 0 THEN
                fatal := fatal || CASE WHEN fatal = '' THEN '' ELSE E'\n' END || p.problem || '.';
                remedies := remedies || CASE WHEN remedies = '' THEN '' ELSE E'\n' END || p.remedy;
            END IF;
        ELSE
            RAISE WARNING USING MESSAGE = p.problem, HINT = p.remedy;
        END IF;
    END LOOP;
    IF fatal <> '' THEN
        RAISE invalid_table_definition USING MESSAGE = format('these tables cannot serve as store "%s"', store),
            DETAIL = fatal, HINT = remedies;
    END IF;

    INSERT INTO dms_refs.store_config VALUES (store, 'registered', document, alias, reference, d, a, r, drop_in_schema);
    IF drop_in_schema IS NOT NULL THEN
        PERFORM dms_refs.create_drop_in_functions(drop_in_schema, store);
    END IF;
END $$;

CREATE FUNCTION @extschema@.unregister_store(store name) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    was dms_refs.store_config;
BEGIN
    IF store IS NULL THEN
        RAISE null_value_not_allowed USING MESSAGE = 'store must not be null';
    END IF;
    DELETE FROM dms_refs.store_config c WHERE c.store = unregister_store.store RETURNING * INTO was;
    IF was.store IS NULL THEN
        RAISE undefined_object USING MESSAGE = format('store "%s" does not exist', store),
            HINT = 'The view dms_refs.stores lists the stores of this database.';
    END IF;
    IF was.drop_in_schema IS NOT NULL THEN
        PERFORM dms_refs.drop_drop_in_functions(was.drop_in_schema);
    END IF;
END $$;

CREATE FUNCTION @extschema@.drop_store(store name, cascade boolean DEFAULT false) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    was    dms_refs.store_config;
    behave text := CASE WHEN cascade THEN 'CASCADE' ELSE 'RESTRICT' END;
    space  name;
    t      regclass;
BEGIN
    IF store IS NULL OR cascade IS NULL THEN
        RAISE null_value_not_allowed USING MESSAGE = 'store and cascade must not be null';
    END IF;
    SELECT * INTO was FROM dms_refs.store_config c WHERE c.store = drop_store.store;
    IF was.layout = 'registered' THEN
        RAISE object_not_in_prerequisite_state USING MESSAGE = format('the tables of store "%s" were registered, not created', store),
            HINT = format('Forget the store and keep its tables: SELECT dms_refs.unregister_store(%L)', store);
    END IF;
    PERFORM dms_refs.unregister_store(store);
    -- The schema goes too where it held the store alone; CASCADE is for what depends on the tables, not for it.
    SELECT min(n.nspname) INTO space FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid IN (was.reference, was.alias, was.document) HAVING count(DISTINCT n.oid) = 1;
    FOREACH t IN ARRAY ARRAY[was.reference, was.alias, was.document] LOOP
        IF EXISTS (SELECT FROM pg_class WHERE oid = t) THEN
            EXECUTE format('DROP TABLE %s %s', t, behave);
        END IF;
    END LOOP;
    IF space IS NOT NULL AND space <> 'public' THEN
        BEGIN
            EXECUTE format('DROP SCHEMA %I RESTRICT', space);
        EXCEPTION WHEN dependent_objects_still_exist THEN
            RAISE NOTICE 'schema "%" holds other objects and was kept', space;
        END;
    END IF;
END $$;

CREATE VIEW @extschema@.stores AS
    SELECT c.store, c.layout, c.document, c.alias, c.reference,
           jsonb_build_object('document', to_jsonb(c.document_columns), 'alias', to_jsonb(c.alias_columns),
                              'reference', to_jsonb(c.reference_columns)) AS columns,
           c.drop_in_schema, e.reads, e.writes, e.reason
    FROM @extschema@.store_config c, LATERAL @extschema@.store_engine(c.store) e;

-- What is wrong with the rows of a store, found without the engine: plain joins of whole tables, read by sequential scans and
-- not through indexes, whatever the caller's settings. One snapshot, that of the calling query. Where row security would hide
-- rows from the caller it fails (42501) rather than give half an answer.
CREATE FUNCTION @extschema@.check_store(store name DEFAULT 'dms',
        OUT violation text, OUT relation regclass, OUT key jsonb, OUT detail text) RETURNS SETOF record
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET row_security = off
    SET enable_seqscan = on SET enable_indexscan = off SET enable_indexonlyscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = on SET enable_nestloop = off SET constraint_exclusion = off AS $$
DECLARE
    was  dms_refs.store_config;
    d text[]; a text[]; r text[];
    document_table text; alias_table text; reference_table text;
    reference_key text; has_parent text; has_target text; its_alias text;
    tables    regclass[];
    t         regclass;
    x         record;
    the_check regprocedure;
    problem   text;
BEGIN
    IF store IS NULL THEN
        RAISE null_value_not_allowed USING MESSAGE = 'store must not be null';
    END IF;
    SELECT * INTO was FROM dms_refs.store_config c WHERE c.store = check_store.store;
    IF was.store IS NULL THEN
        RAISE undefined_object USING MESSAGE = format('store "%s" does not exist', store),
            HINT = 'The view dms_refs.stores lists the stores of this database.';
    END IF;
    tables := ARRAY[was.document, was.alias, was.reference];
    FOREACH t IN ARRAY tables LOOP
        IF pg_table_is_visible(t) IS NULL THEN
            RAISE undefined_table USING MESSAGE = format('a table of store "%s" does not exist', store),
                HINT = format('SELECT * FROM dms_refs.stores WHERE store = %L', store);
        END IF;
    END LOOP;
    -- Names as they are at this moment; looked at again at the end.
    document_table := was.document; alias_table := was.alias; reference_table := was.reference;
    d := ARRAY(SELECT quote_ident(c) FROM unnest(was.document_columns) WITH ORDINALITY u(c, n) ORDER BY n);
    a := ARRAY(SELECT quote_ident(c) FROM unnest(was.alias_columns) WITH ORDINALITY u(c, n) ORDER BY n);
    r := ARRAY(SELECT quote_ident(c) FROM unnest(was.reference_columns) WITH ORDINALITY u(c, n) ORDER BY n);
    reference_key := format('jsonb_build_object(%L, r.%s, %L, r.%s, %L, r.%s, %L, r.%s)', was.reference_columns[1], r[1],
        was.reference_columns[2], r[2], was.reference_columns[4], r[4], was.reference_columns[3], r[3]);
    has_parent := format('EXISTS (SELECT FROM %s d WHERE d.%s = r.%s AND d.%s = r.%s)', document_table, d[1], r[1], d[2], r[2]);
    its_alias := format('a.%s = r.%s AND a.%s = r.%s', a[1], r[4], a[3], r[3]);
    has_target := format('EXISTS (SELECT FROM %s d WHERE d.%s = a.%s AND d.%s = a.%s)', document_table, d[1], a[4], d[2], a[5]);

    -- A column that never is null need not be looked at: the planner knows that, and so num_nulls.
    RETURN QUERY EXECUTE format('SELECT ''null'', $1, %s, NULL::text FROM %s r WHERE num_nulls(%s) > 0',
        reference_key, reference_table, (SELECT string_agg('r.' || c, ', ') FROM unnest(r) c)) USING was.reference;
    RETURN QUERY EXECUTE format('SELECT ''null'', $1, jsonb_build_object(%L, a.%s, %L, a.%s), NULL::text FROM %s a WHERE num_nulls(%s) > 0',
        was.alias_columns[1], a[1], was.alias_columns[3], a[3], alias_table, (SELECT string_agg('a.' || c, ', ') FROM unnest(a) c)) USING was.alias;

    FOR x IN
        SELECT was.document AS rel, document_table AS name, was.document_columns AS columns
        UNION ALL SELECT was.alias, alias_table, was.alias_columns[1:2]
        UNION ALL SELECT was.alias, alias_table, ARRAY[was.alias_columns[1], was.alias_columns[3]]
        UNION ALL SELECT was.reference, reference_table, was.reference_columns[1:3]
    LOOP
        RETURN QUERY EXECUTE format('SELECT ''duplicate'', $1, jsonb_build_object(%s), format(''stored %%s times'', count(*)) FROM %s
                GROUP BY %s HAVING count(*) > 1 AND num_nulls(%3$s) = 0',
            (SELECT string_agg(format('%L, %I', c, c), ', ' ORDER BY n) FROM unnest(x.columns) WITH ORDINALITY u(c, n)), x.name,
            (SELECT string_agg(quote_ident(c), ', ' ORDER BY n) FROM unnest(x.columns) WITH ORDINALITY u(c, n))) USING x.rel;
    END LOOP;

    RETURN QUERY EXECUTE format('SELECT ''no parent'', $1, %s, NULL::text FROM %s r WHERE NOT %s AND num_nulls(r.%s, r.%s) = 0',
        reference_key, reference_table, has_parent, r[1], r[2]) USING was.reference;
    RETURN QUERY EXECUTE format('SELECT ''no alias'', $1, %s, NULL::text FROM %s r
            WHERE NOT EXISTS (SELECT FROM %s a WHERE %s) AND num_nulls(r.%s, r.%s) = 0',
        reference_key, reference_table, alias_table, its_alias, r[4], r[3]) USING was.reference;
    RETURN QUERY EXECUTE format('SELECT ''no document'', $1, %s, format(''the alias names document (%%s, %%s)'', a.%s, a.%s) FROM %s r JOIN %s a ON %s
            WHERE NOT %s AND num_nulls(a.%2$s, a.%3$s) = 0',
        reference_key, a[4], a[5], reference_table, alias_table, its_alias, has_target) USING was.reference;
    RETURN QUERY EXECUTE format('SELECT ''other target'', $1, %s, format(''document (%%s, %%s) is stored, the alias names (%%s, %%s)'', r.%s, r.%s, a.%s, a.%s)
            FROM %s r JOIN %s a ON %s WHERE (r.%2$s, r.%3$s) IS DISTINCT FROM (a.%4$s, a.%5$s)',
        reference_key, r[5], r[6], a[4], a[5], reference_table, alias_table, its_alias) USING was.reference;

    -- Rows in a partition that does not take their key. Through the root: rights on partitions are not needed.
    FOR x IN
        SELECT u.rel, string_agg(format('WHEN %s THEN %s', p.relid::oid, pg_get_partition_constraintdef(p.relid)), ' ') AS cases,
               (SELECT string_agg(format('%L, %I', c, c), ', ' ORDER BY n) FROM unnest(u.columns) WITH ORDINALITY k(c, n)) AS keys
        FROM (VALUES (was.document, was.document_columns), (was.alias, was.alias_columns), (was.reference, was.reference_columns)) u(rel, columns),
             LATERAL pg_partition_tree(u.rel) p
        WHERE p.isleaf AND pg_get_partition_constraintdef(p.relid) IS NOT NULL
        GROUP BY u.rel, u.columns
    LOOP
        RETURN QUERY EXECUTE format('SELECT ''wrong partition'', tableoid::regclass, jsonb_build_object(%s), NULL::text FROM %s WHERE CASE tableoid %s END IS FALSE',
            x.keys, x.rel, x.cases);
    END LOOP;

    -- The tables are locked now: nobody can exchange them any more, but somebody may have done so, or renamed a schema.
    IF to_regclass(document_table) IS DISTINCT FROM was.document OR to_regclass(alias_table) IS DISTINCT FROM was.alias
       OR to_regclass(reference_table) IS DISTINCT FROM was.reference THEN
        RAISE serialization_failure USING MESSAGE = format('the tables of store "%s" were renamed while they were checked', store),
            HINT = 'Check again.';
    END IF;

    -- Indexes, by the extension that does such things, in whatever schema it is: its most thorough function.
    SELECT p.oid::regprocedure INTO the_check
    FROM pg_extension e JOIN pg_depend m ON m.refclassid = 'pg_extension'::regclass AND m.refobjid = e.oid AND m.deptype = 'e' AND m.classid = 'pg_proc'::regclass
        JOIN pg_proc p ON p.oid = m.objid
    WHERE e.extname = 'amcheck' AND p.proname = 'bt_index_check' AND p.pronargs >= 2 AND has_function_privilege(p.oid, 'EXECUTE')
    ORDER BY p.pronargs DESC LIMIT 1;
    IF the_check IS NULL THEN
        RAISE NOTICE USING MESSAGE = format('the indexes of store "%s" were not checked', store),
            DETAIL = 'The extension amcheck is not installed here, or its function bt_index_check is not yours to execute.';
        RETURN;
    END IF;
    FOR x IN
        WITH RECURSIVE family AS (SELECT unnest(tables)::oid AS rel UNION SELECT i.inhrelid FROM pg_inherits i JOIN family f ON i.inhparent = f.rel)
        SELECT i.indexrelid::regclass AS index
        FROM family f JOIN pg_index i ON i.indrelid = f.rel JOIN pg_class c ON c.oid = i.indexrelid
        WHERE c.relkind = 'i' AND c.relam = (SELECT oid FROM pg_am WHERE amname = 'btree') AND i.indisvalid AND i.indisready
          AND NOT (c.relpersistence = 't' AND pg_is_other_temp_schema(c.relnamespace))
        ORDER BY i.indexrelid
    LOOP
        CONTINUE WHEN pg_table_is_visible(x.index) IS NULL; -- dropped since the snapshot
        BEGIN
            EXECUTE format('SELECT %s($1, true%s)', the_check::regproc, CASE WHEN the_check::text LIKE '%,%,%' THEN ', true' ELSE '' END) USING x.index;
        EXCEPTION WHEN index_corrupted OR data_corrupted THEN
            GET STACKED DIAGNOSTICS problem = PG_EXCEPTION_DETAIL;
            violation := 'index'; relation := x.index; key := NULL; detail := concat_ws(': ', SQLERRM, nullif(problem, ''));
            RETURN NEXT;
        END;
    END LOOP;
END $$;

---------------------------------------------------------------------------------------------------
-- 2. References
---------------------------------------------------------------------------------------------------

CREATE FUNCTION @extschema@.insert_references(
        parent_document_id bigint, parent_document_partition_key smallint,
        referential_ids uuid[], referential_partition_keys smallint[],
        is_pure_insert boolean DEFAULT false, store name DEFAULT 'dms',
        OUT success boolean, OUT invalid_ids uuid[])
    LANGUAGE C AS 'MODULE_PATHNAME', 'dms_refs_insert_references';

CREATE FUNCTION @extschema@.sync_references(
        parent_document_id bigint, parent_document_partition_key smallint,
        referential_ids uuid[], referential_partition_keys smallint[],
        is_pure_insert boolean DEFAULT false, include_kept boolean DEFAULT false, store name DEFAULT 'dms')
    RETURNS TABLE (ordinal int, action text, referential_id uuid, referential_partition_key smallint, alias_id bigint,
                   referenced_document_id bigint, referenced_document_partition_key smallint)
    LANGUAGE C AS 'MODULE_PATHNAME', 'dms_refs_sync_references';

CREATE FUNCTION @extschema@.diff_references(
        parent_document_id bigint, parent_document_partition_key smallint,
        referential_ids uuid[], referential_partition_keys smallint[],
        is_pure_insert boolean DEFAULT false, include_kept boolean DEFAULT false, store name DEFAULT 'dms')
    RETURNS TABLE (ordinal int, action text, referential_id uuid, referential_partition_key smallint, alias_id bigint,
                   referenced_document_id bigint, referenced_document_partition_key smallint)
    LANGUAGE C AS 'MODULE_PATHNAME', 'dms_refs_diff_references';

CREATE FUNCTION @extschema@.sync_references_batch(
        parent_document_ids bigint[], parent_document_partition_keys smallint[], reference_counts int[],
        referential_ids uuid[], referential_partition_keys smallint[],
        are_pure_inserts boolean[] DEFAULT NULL, on_invalid text DEFAULT 'skip', store name DEFAULT 'dms')
    RETURNS TABLE (ordinal int, success boolean, invalid_ids uuid[], inserted int, updated int, deleted int, kept int, path text)
    LANGUAGE C AS 'MODULE_PATHNAME', 'dms_refs_sync_references_batch';

CREATE FUNCTION @extschema@.resolve_references(
        referential_ids uuid[], referential_partition_keys smallint[], store name DEFAULT 'dms')
    RETURNS TABLE (ordinal int, referential_id uuid, referential_partition_key smallint, alias_id bigint,
                   document_id bigint, document_partition_key smallint)
    LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dms_refs_resolve_references';

CREATE FUNCTION @extschema@.find_invalid_references(
        referential_ids uuid[], referential_partition_keys smallint[], store name DEFAULT 'dms')
    RETURNS TABLE (ordinal int, referential_id uuid, referential_partition_key smallint)
    LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dms_refs_find_invalid_references';

CREATE FUNCTION @extschema@.apply_resolved_references(
        parent_document_id bigint, parent_document_partition_key smallint,
        referential_partition_keys smallint[], alias_ids bigint[],
        referenced_document_ids bigint[], referenced_document_partition_keys smallint[],
        is_pure_insert boolean DEFAULT false, store name DEFAULT 'dms',
        OUT inserted int, OUT updated int, OUT deleted int, OUT kept int, OUT path text)
    LANGUAGE C AS 'MODULE_PATHNAME', 'dms_refs_apply_resolved_references';

CREATE FUNCTION @extschema@.referencing_documents(
        document_id bigint, document_partition_key smallint, store name DEFAULT 'dms')
    RETURNS TABLE (parent_document_id bigint, parent_document_partition_key smallint)
    LANGUAGE C STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dms_refs_referencing_documents';

CREATE FUNCTION @extschema@.last_invalid_references() RETURNS TABLE (referential_id uuid)
    LANGUAGE C AS 'MODULE_PATHNAME', 'dms_refs_take_invalid_references';

---------------------------------------------------------------------------------------------------
-- 3. Statistics
---------------------------------------------------------------------------------------------------

-- Everything that is counted, an entry a row: the views below are made of it. Only rows of tables that the caller may read,
-- unless it has the privileges of pg_read_all_stats.
CREATE FUNCTION @extschema@.stat_entries(
        OUT datid oid, OUT relid oid, OUT function text, OUT path text, OUT engine text,
        OUT calls bigint, OUT documents bigint, OUT given bigint, OUT read bigint,
        OUT inserted bigint, OUT updated bigint, OUT deleted bigint, OUT kept bigint, OUT invalid bigint,
        OUT total_time float8, OUT min_time float8, OUT max_time float8, OUT mean_time float8, OUT stddev_time float8,
        OUT resolve_time float8, OUT read_time float8, OUT apply_time float8,
        OUT wal_records bigint, OUT wal_fpi bigint, OUT wal_bytes bigint,
        OUT shared_blks_hit bigint, OUT shared_blks_read bigint, OUT shared_blks_dirtied bigint,
        OUT same_size_unchanged bigint, OUT same_size_changed bigint, OUT other_size bigint,
        OUT first_call timestamptz, OUT last_call timestamptz, OUT stats_reset timestamptz,
        OUT latency bigint[], OUT set_size bigint[], OUT change_size bigint[])
    RETURNS SETOF record LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dms_refs_stat_entries';

CREATE FUNCTION @extschema@.stat_staged(
        OUT datid oid, OUT relid oid, OUT rows_staged bigint, OUT bytes_staged bigint, OUT peak_bytes bigint,
        OUT overflows bigint, OUT discards bigint, OUT stats_reset timestamptz)
    RETURNS SETOF record LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dms_refs_stat_staged';

CREATE FUNCTION @extschema@.stat_running(
        OUT pid int, OUT datid oid, OUT relid oid, OUT function text, OUT phase text,
        OUT references_done bigint, OUT references_total bigint, OUT started timestamptz)
    RETURNS SETOF record LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dms_refs_stat_running';

CREATE FUNCTION @extschema@.stat_status(
        OUT storage text, OUT entries bigint, OUT max_entries bigint, OUT not_recorded bigint)
    LANGUAGE C VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dms_refs_stat_status';

CREATE FUNCTION @extschema@.stat_reset(target regclass DEFAULT NULL) RETURNS void
    LANGUAGE C VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'dms_refs_stat_reset';

CREATE FUNCTION @extschema@.histogram_percentile(histogram bigint[], fraction float8, unit float8 DEFAULT 1) RETURNS float8
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dms_refs_histogram_percentile';

CREATE FUNCTION @extschema@.histogram_buckets(histogram bigint[], unit float8 DEFAULT 1,
        OUT at_least float8, OUT below float8, OUT count bigint, OUT cumulative bigint)
    RETURNS SETOF record
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dms_refs_histogram_buckets';

CREATE FUNCTION @extschema@.histogram_add(a bigint[], b bigint[]) RETURNS bigint[]
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dms_refs_histogram_add';

CREATE FUNCTION @extschema@.histogram_subtract(a bigint[], b bigint[]) RETURNS bigint[]
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'dms_refs_histogram_subtract';

CREATE AGGREGATE @extschema@.histogram_sum(bigint[]) (
    SFUNC = @extschema@.histogram_add, STYPE = bigint[], INITCOND = '{}',
    COMBINEFUNC = @extschema@.histogram_add, PARALLEL = SAFE);

-- A table's name is only known in its own database.
CREATE VIEW @extschema@.stat_calls AS
SELECT d.datname, e.relid, CASE WHEN d.datname = pg_catalog.current_database() THEN e.relid::pg_catalog.regclass END AS relation,
       e.function, e.path, e.engine, e.calls, e.documents,
       e.given, e.read, e.inserted, e.updated, e.deleted, e.kept, e.invalid,
       e.total_time, e.min_time, e.max_time, e.mean_time, e.stddev_time, e.resolve_time, e.read_time, e.apply_time,
       e.wal_records, e.wal_fpi, e.wal_bytes, e.shared_blks_hit, e.shared_blks_read, e.shared_blks_dirtied,
       e.first_call, e.last_call, e.stats_reset
FROM @extschema@.stat_entries() e
LEFT JOIN pg_catalog.pg_database d ON d.oid = e.datid;

CREATE VIEW @extschema@.stat_paths AS
SELECT s.datname, s.relid, s.relation, s.calls, s.fast_calls, s.full_calls,
       s.fast_calls::float8 / NULLIF(s.fast_calls + s.full_calls, 0) AS fast_ratio,
       s.invalid_calls, s.error_calls,
       s.fast_wal_bytes::float8 / NULLIF(s.fast_calls, 0) AS wal_bytes_per_fast_call,
       s.full_wal_bytes::float8 / NULLIF(s.full_calls, 0) AS wal_bytes_per_full_call,
       s.equal_count_unchanged, s.equal_count_changed, s.different_count
FROM (
    SELECT d.datname, e.relid, CASE WHEN d.datname = pg_catalog.current_database() THEN e.relid::pg_catalog.regclass END AS relation,
           sum(e.calls)::bigint AS calls,
           COALESCE(sum(e.calls) FILTER (WHERE e.path = 'unchanged'), 0)::bigint AS fast_calls,
           COALESCE(sum(e.calls) FILTER (WHERE e.path IN ('pure_insert', 'insert_only', 'delete_only', 'mixed')), 0)::bigint AS full_calls,
           COALESCE(sum(e.calls) FILTER (WHERE e.path = 'invalid'), 0)::bigint AS invalid_calls,
           COALESCE(sum(e.calls) FILTER (WHERE e.path = 'error'), 0)::bigint AS error_calls,
           sum(e.wal_bytes) FILTER (WHERE e.path = 'unchanged') AS fast_wal_bytes,
           sum(e.wal_bytes) FILTER (WHERE e.path IN ('pure_insert', 'insert_only', 'delete_only', 'mixed')) AS full_wal_bytes,
           sum(e.same_size_unchanged)::bigint AS equal_count_unchanged,
           sum(e.same_size_changed)::bigint AS equal_count_changed,
           sum(e.other_size)::bigint AS different_count
    FROM @extschema@.stat_entries() e
    LEFT JOIN pg_catalog.pg_database d ON d.oid = e.datid
    WHERE e.function IN ('insert_references', 'sync_references', 'sync_references_batch', 'apply_resolved_references')
    GROUP BY 1, 2, 3) s;

-- The histograms count eighths of a microsecond: 0.000125 ms.
CREATE VIEW @extschema@.stat_latency AS
SELECT s.datname, s.relid, s.relation, s.path, s.calls,
       @extschema@.histogram_percentile(s.latency, 0.5, 0.000125) AS p50,
       @extschema@.histogram_percentile(s.latency, 0.9, 0.000125) AS p90,
       @extschema@.histogram_percentile(s.latency, 0.95, 0.000125) AS p95,
       @extschema@.histogram_percentile(s.latency, 0.99, 0.000125) AS p99,
       @extschema@.histogram_percentile(s.latency, 0.999, 0.000125) AS p999,
       s.max, s.latency AS histogram
FROM (
    SELECT d.datname, e.relid, CASE WHEN d.datname = pg_catalog.current_database() THEN e.relid::pg_catalog.regclass END AS relation, e.path,
           sum(e.calls)::bigint AS calls, max(e.max_time) AS max, @extschema@.histogram_sum(e.latency) AS latency
    FROM @extschema@.stat_entries() e
    LEFT JOIN pg_catalog.pg_database d ON d.oid = e.datid
    WHERE e.calls > 0
    GROUP BY 1, 2, 3, 4) s;

CREATE VIEW @extschema@.stat_set_size AS
SELECT s.datname, s.relid, s.relation, s.documents,
       @extschema@.histogram_percentile(s.set_size, 0.5) AS set_size_p50,
       @extschema@.histogram_percentile(s.set_size, 0.95) AS set_size_p95,
       @extschema@.histogram_percentile(s.set_size, 1) AS set_size_max,
       @extschema@.histogram_percentile(s.change_size, 0.5) AS change_size_p50,
       @extschema@.histogram_percentile(s.change_size, 0.95) AS change_size_p95,
       @extschema@.histogram_percentile(s.change_size, 1) AS change_size_max,
       s.set_size AS set_size_histogram, s.change_size AS change_size_histogram
FROM (
    SELECT d.datname, e.relid, CASE WHEN d.datname = pg_catalog.current_database() THEN e.relid::pg_catalog.regclass END AS relation,
           sum(e.same_size_unchanged + e.same_size_changed + e.other_size)::bigint AS documents,
           @extschema@.histogram_sum(e.set_size) AS set_size, @extschema@.histogram_sum(e.change_size) AS change_size
    FROM @extschema@.stat_entries() e
    LEFT JOIN pg_catalog.pg_database d ON d.oid = e.datid
    GROUP BY 1, 2, 3
    HAVING sum(e.same_size_unchanged + e.same_size_changed + e.other_size) > 0) s;

CREATE VIEW @extschema@.stat_staging AS
SELECT d.datname, s.relid, CASE WHEN d.datname = pg_catalog.current_database() THEN s.relid::pg_catalog.regclass END AS relation,
       s.rows_staged, s.bytes_staged, s.peak_bytes, s.overflows, s.discards, s.stats_reset
FROM @extschema@.stat_staged() s
LEFT JOIN pg_catalog.pg_database d ON d.oid = s.datid;

CREATE VIEW @extschema@.stat_progress AS
SELECT r.pid, d.datname, r.relid, CASE WHEN d.datname = pg_catalog.current_database() THEN r.relid::pg_catalog.regclass END AS relation,
       r.function, r.phase, r.references_done, r.references_total, r.started
FROM @extschema@.stat_running() r
LEFT JOIN pg_catalog.pg_database d ON d.oid = r.datid;

---------------------------------------------------------------------------------------------------
-- 4. Staging
---------------------------------------------------------------------------------------------------

CREATE FUNCTION @extschema@.stage_handler() RETURNS fdw_handler
    LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'dms_refs_stage_handler';
CREATE FUNCTION @extschema@.stage_validator(options text[], catalog oid) RETURNS void
    LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'dms_refs_stage_validator';
CREATE FOREIGN DATA WRAPPER dms_refs_stage HANDLER @extschema@.stage_handler VALIDATOR @extschema@.stage_validator;
CREATE SERVER dms_refs_stage FOREIGN DATA WRAPPER dms_refs_stage;

CREATE FUNCTION @extschema@.check_stage(stage regclass) RETURNS void
    LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'dms_refs_check_stage';
CREATE FUNCTION @extschema@.empty_stage(stage regclass) RETURNS void
    LANGUAGE C STRICT AS 'MODULE_PATHNAME', 'dms_refs_empty_stage';
CREATE FUNCTION @extschema@.stage_contents(stage regclass, OUT rows bigint, OUT bytes bigint, OUT peak_bytes bigint)
    LANGUAGE C STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'dms_refs_stage_contents';

-- No search_path of its own: the stage's name and the types of its columns are looked up as the caller would. It runs with
-- the caller's rights, and what it puts together from text the caller could execute anyway. Everything else in it is qualified,
-- the types of its variables too: what others have in the caller's search path must not run as the caller.
CREATE FUNCTION @extschema@.create_stage(name text, like_table regclass DEFAULT NULL, columns text DEFAULT NULL,
                                         key name[] DEFAULT NULL, on_commit text DEFAULT 'delete')
    RETURNS regclass LANGUAGE plpgsql AS $$
DECLARE
    parts  pg_catalog.text[];
    listed pg_catalog.text := columns;
    copied pg_catalog.text;
    keys   pg_catalog.text;
BEGIN
    IF name IS NULL OR on_commit IS NULL THEN
        RAISE null_value_not_allowed USING MESSAGE = 'name and on_commit must not be null';
    END IF;
    IF on_commit OPERATOR(pg_catalog.<>) ALL ('{delete,preserve}'::pg_catalog.text[]) THEN
        RAISE invalid_parameter_value USING MESSAGE = pg_catalog.format('unknown value "%s" of on_commit', on_commit),
            HINT = 'The values are "delete" and "preserve".';
    END IF;
    IF like_table IS NULL AND columns IS NULL THEN
        RAISE invalid_parameter_value USING MESSAGE = 'a stage needs columns',
            HINT = 'Give like_table, columns (as in CREATE TABLE), or both.';
    END IF;
    parts := pg_catalog.parse_ident(name);
    IF pg_catalog.cardinality(parts) OPERATOR(pg_catalog.>) 2 THEN
        RAISE syntax_error USING MESSAGE = pg_catalog.format('improper name of a stage: "%s"', name);
    END IF;
    -- Where it will be made, so that it is found again: a temporary table of the name would be found before it.
    name := (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(p), '.' ORDER BY o)
             FROM pg_catalog.unnest(CASE WHEN pg_catalog.cardinality(parts) OPERATOR(pg_catalog.=) 1 AND pg_catalog.current_schema() IS NOT NULL
                                         THEN ARRAY[pg_catalog.current_schema()::pg_catalog.text, parts[1]] ELSE parts END) WITH ORDINALITY u(p, o));

    -- Columns as CREATE TABLE LIKE would copy them. What an identity column gives a row is its own table's business.
    IF like_table IS NOT NULL THEN
        SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ',
                   pg_catalog.quote_ident(a.attname), pg_catalog.format_type(a.atttypid, a.atttypmod),
                   (SELECT 'COLLATE ' OPERATOR(pg_catalog.||) c.oid::pg_catalog.regcollation::pg_catalog.text
                    FROM pg_catalog.pg_collation c JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) a.atttypid
                    WHERE c.oid OPERATOR(pg_catalog.=) a.attcollation AND a.attcollation OPERATOR(pg_catalog.<>) t.typcollation),
                   CASE WHEN a.attgenerated OPERATOR(pg_catalog.=) 's' THEN pg_catalog.format('GENERATED ALWAYS AS (%s) STORED', pg_catalog.pg_get_expr(d.adbin, d.adrelid))
                        WHEN a.attgenerated OPERATOR(pg_catalog.=) 'v' THEN pg_catalog.format('GENERATED ALWAYS AS (%s) VIRTUAL', pg_catalog.pg_get_expr(d.adbin, d.adrelid))
                        ELSE 'DEFAULT ' OPERATOR(pg_catalog.||) pg_catalog.pg_get_expr(d.adbin, d.adrelid) END,
                   CASE WHEN a.attnotnull AND a.attidentity OPERATOR(pg_catalog.=) '' THEN 'NOT NULL' END),
                   ', ' ORDER BY a.attnum)
        INTO copied
        FROM pg_catalog.pg_attribute a
            LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid OPERATOR(pg_catalog.=) a.attrelid AND d.adnum OPERATOR(pg_catalog.=) a.attnum
        WHERE a.attrelid OPERATOR(pg_catalog.=) like_table AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped;
        listed := pg_catalog.concat_ws(', ', copied, columns,
            (SELECT pg_catalog.string_agg(pg_catalog.format('CONSTRAINT %I %s', c.conname, pg_catalog.pg_get_constraintdef(c.oid)), ', ' ORDER BY c.conname)
             FROM pg_catalog.pg_constraint c
             WHERE c.conrelid OPERATOR(pg_catalog.=) like_table AND c.contype OPERATOR(pg_catalog.=) 'c'));
    END IF;
    IF pg_catalog.array_position(key, NULL) IS NOT NULL THEN
        RAISE null_value_not_allowed USING MESSAGE = 'key must not contain null',
            HINT = 'Give the names of the columns that are unique together, or no key.';
    END IF;
    IF pg_catalog.cardinality(key) OPERATOR(pg_catalog.>) 0 THEN
        keys := pg_catalog.format(', key %L', (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(k), ', ' ORDER BY o)
                                              FROM pg_catalog.unnest(key) WITH ORDINALITY u(k, o)));
    END IF;
    EXECUTE pg_catalog.format('CREATE FOREIGN TABLE %s (%s) SERVER dms_refs_stage OPTIONS (on_commit %L%s)', name, listed, on_commit, keys);
    PERFORM @extschema@.check_stage(name::pg_catalog.regclass);
    RETURN name::pg_catalog.regclass;
END $$;

CREATE VIEW @extschema@.stages AS
    SELECT f.ftrelid::regclass AS stage, c.rows, c.bytes, c.peak_bytes,
           coalesce((SELECT option_value FROM pg_options_to_table(f.ftoptions) WHERE option_name = 'on_commit'), 'delete') AS on_commit,
           (SELECT option_value FROM pg_options_to_table(f.ftoptions) WHERE option_name = 'key') AS key
    FROM pg_foreign_table f JOIN pg_foreign_server s ON s.oid = f.ftserver
        JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw AND w.fdwhandler = '@extschema@.stage_handler'::regproc,
        LATERAL @extschema@.stage_contents(f.ftrelid) c;

COMMENT ON FOREIGN DATA WRAPPER dms_refs_stage IS 'Stages: tables with a permanent definition whose rows live in the memory of the session that staged them';
COMMENT ON SERVER dms_refs_stage IS 'The server that stages are foreign tables of; nothing is contacted';
COMMENT ON FUNCTION @extschema@.stage_handler() IS 'Handler of the foreign-data wrapper dms_refs_stage';
COMMENT ON FUNCTION @extschema@.stage_validator(text[], oid) IS 'Validator of the foreign-data wrapper dms_refs_stage: the options key and on_commit of a foreign table';
COMMENT ON FUNCTION @extschema@.check_stage(regclass) IS 'Raises what is wrong with the definition of a stage; create_stage calls it';
COMMENT ON FUNCTION @extschema@.empty_stage(regclass) IS 'Takes this session''s rows out of a stage, as TRUNCATE does, under the lock of an INSERT; follows the transaction. Needs TRUNCATE on the stage. Errors: 42501 no privilege, 42809 not a stage, 55006 in use by a cursor or statement of the session';
COMMENT ON FUNCTION @extschema@.stage_contents(regclass) IS 'Rows, bytes and peak bytes of a stage in this session; read the view stages instead';
COMMENT ON FUNCTION @extschema@.create_stage(text, regclass, text, name[], text) IS 'Makes a stage: a foreign table on server dms_refs_stage with the columns of like_table, those given in columns, or both; key names the columns that must be unique; on_commit is delete or preserve. Errors: 22004 NULL argument or name in key, 22023 no columns or a bad on_commit, 42703 key column missing, 42883 key column without a hash function';
COMMENT ON VIEW @extschema@.stages IS 'The stages of this database: rows, bytes and peak bytes in this session, on_commit and key';

GRANT USAGE ON FOREIGN SERVER dms_refs_stage TO PUBLIC;
GRANT SELECT ON @extschema@.stages TO PUBLIC;

---------------------------------------------------------------------------------------------------
-- 5. Comments and grants
---------------------------------------------------------------------------------------------------

COMMENT ON TABLE @extschema@.store_config IS 'The stores of this database, as create_store and register_store wrote them; read the view stores instead';
COMMENT ON VIEW @extschema@.stores IS 'One row a store: its tables and columns, and which way (native or sql reads, direct or sql writes) serves the current user, and why';
COMMENT ON FUNCTION @extschema@.store_changed() IS 'Trigger of store_config: makes every backend forget what it cached of the stores';
COMMENT ON FUNCTION @extschema@.store_engine(name) IS 'How a store is read (native, sql) and written (direct, sql) for the current user, and the reason where it is not the fast way';
COMMENT ON FUNCTION @extschema@.create_drop_in_functions(name, name) IS 'Puts InsertReferences and GetInvalidReferencesAndClear into a schema; create_store and register_store call it';
COMMENT ON FUNCTION @extschema@.drop_drop_in_functions(name) IS 'Removes what create_drop_in_functions made';
COMMENT ON FUNCTION @extschema@.store_problems(regclass, text, name[], name[], regtype[], name[]) IS 'What keeps a table from serving in a store, and the statement that mends it; register_store calls it';
COMMENT ON FUNCTION @extschema@.require_own_schema(name) IS 'Refuses a schema in which others have a say: its owner, owners of what is in it, roles that may create in it; create_store calls it';
COMMENT ON FUNCTION @extschema@.create_store(name, int, text) IS 'Makes a schema with the tables document, alias and reference, partitioned by their smallint keys 0 to partitions - 1, and registers it as a store; layout edfi or lean. Errors: 42710 where the store exists, 22023 for a bad layout or number, 42501 where others have a say in a schema of that name';
COMMENT ON FUNCTION @extschema@.register_store(name, regclass, regclass, regclass, jsonb, name) IS 'Adopts existing tables as a store; columns maps our column names to theirs ({"alias.referentialid": "ref_uuid"}). Errors: 42710 where the store exists, 42P16 with everything that is missing and the statements that mend it';
COMMENT ON FUNCTION @extschema@.unregister_store(name) IS 'Forgets a store and removes its drop-in functions; its tables stay. Error: 42704 for an unknown store';
COMMENT ON FUNCTION @extschema@.drop_store(name, boolean) IS 'Drops a store that create_store made: its tables, its drop-in functions and, where nothing else is in it, its schema; cascade also drops what depends on the tables. Errors: 42704 for an unknown store, 55000 for a registered one';
COMMENT ON FUNCTION @extschema@.check_store(name) IS 'Looks for what must not be in a store, by plain joins of its tables and by amcheck: a row a violation (null, duplicate, no parent, no alias, no document, other target, wrong partition, index), none where all is well. Takes SELECT on the three tables. Errors: 42704 for an unknown store, 42501 where row security would hide rows';
COMMENT ON FUNCTION @extschema@.insert_references(bigint, smallint, uuid[], smallint[], boolean, name) IS 'Makes the references of a document equal to the given set. One row: success, and where an id does not resolve false with the distinct invalid ids in input order and nothing written. Errors: 22004 NULL argument, 22023 arrays of different length, 23502 NULL element, 23514 key without a partition, 42704 unknown store';
COMMENT ON FUNCTION @extschema@.sync_references(bigint, smallint, uuid[], smallint[], boolean, boolean, name) IS 'Like insert_references; a row a change: action insert, update, delete or invalid, and keep with include_kept. ordinal is the position in the given arrays, from 1; NULL for a deleted reference';
COMMENT ON FUNCTION @extschema@.diff_references(bigint, smallint, uuid[], smallint[], boolean, boolean, name) IS 'The rows that sync_references would return, with nothing written; runs on a standby and in read-only transactions';
COMMENT ON FUNCTION @extschema@.sync_references_batch(bigint[], smallint[], int[], uuid[], smallint[], boolean[], text, name) IS 'sync_references for many documents in one call: reference_counts says how many of the given references belong to each. A row a document: success, its invalid ids, rows inserted, updated, deleted and kept, and the path taken. on_invalid: skip leaves a document with invalid ids as it was, abort raises 23503';
COMMENT ON FUNCTION @extschema@.resolve_references(uuid[], smallint[], name) IS 'The alias and the document of each referential id, in input order; NULLs where it does not resolve';
COMMENT ON FUNCTION @extschema@.find_invalid_references(uuid[], smallint[], name) IS 'Those of the given referential ids that do not resolve, in input order';
COMMENT ON FUNCTION @extschema@.apply_resolved_references(bigint, smallint, smallint[], bigint[], bigint[], smallint[], boolean, name) IS 'Makes the references of a document equal to a set that was resolved elsewhere. One row: rows inserted, updated, deleted and kept, and the path taken. Error 23503 where an alias or the document does not exist';
COMMENT ON FUNCTION @extschema@.referencing_documents(bigint, smallint, name) IS 'The documents that refer to this one, each once, by partition key and id';
COMMENT ON FUNCTION @extschema@.last_invalid_references() IS 'The invalid referential ids of this session''s last call, in input order; forgets them';

COMMENT ON FUNCTION @extschema@.stat_entries() IS 'Everything that is counted of calls, an entry a row, times in milliseconds, latencies as a histogram of eighths of a microsecond; the views stat_* are made of it. Only tables that the caller may read, unless it has pg_read_all_stats';
COMMENT ON FUNCTION @extschema@.stat_staged() IS 'What was done with stages in all sessions; read the view stat_staging instead';
COMMENT ON VIEW @extschema@.stat_staging IS 'Stages in all sessions: rows and bytes staged, the most bytes that one session held, how often memory ran out, and how often DISCARD emptied a stage that held rows';
COMMENT ON FUNCTION @extschema@.stat_running() IS 'The calls that are running in all sessions; read the view stat_progress instead';
COMMENT ON FUNCTION @extschema@.stat_status() IS 'Where statistics are kept (session, shared memory, cumulative statistics), the entries in use and at most, and how many calls were not counted for want of room';
COMMENT ON FUNCTION @extschema@.stat_reset(regclass) IS 'Starts the counters of a table again, or of all of this database where it is NULL';
COMMENT ON FUNCTION @extschema@.histogram_percentile(bigint[], float8, float8) IS 'The value below which a fraction (0 to 1) of a histogram''s values lies, times unit: at most 6.3 % away from the true one; NULL for an empty histogram. Unit of latencies: 0.000125 for milliseconds';
COMMENT ON FUNCTION @extschema@.histogram_buckets(bigint[], float8) IS 'The buckets of a histogram that hold values: bounds times unit, count, and count of this and all lower buckets';
COMMENT ON FUNCTION @extschema@.histogram_add(bigint[], bigint[]) IS 'Merges two histograms';
COMMENT ON FUNCTION @extschema@.histogram_subtract(bigint[], bigint[]) IS 'What was added to a histogram between two snapshots: the later one minus the earlier one';
COMMENT ON AGGREGATE @extschema@.histogram_sum(bigint[]) IS 'Merges all histograms of a group into one';
COMMENT ON VIEW @extschema@.stat_calls IS 'Calls by database, table, function, path and engine: references given, read and invalid, rows written, time in milliseconds, WAL and shared buffers';
COMMENT ON VIEW @extschema@.stat_paths IS 'Writing calls by table: fast (unchanged) and full (something written), their share and WAL, invalid and failed ones; and how equal counts would have predicted unchanged sets, by document';
COMMENT ON VIEW @extschema@.stat_latency IS 'Latency of calls by table and path, in milliseconds: percentiles, maximum, and the histogram (eighths of a microsecond, see histogram_buckets)';
COMMENT ON VIEW @extschema@.stat_set_size IS 'Sizes by table: of the sets given, and of what had to change of them; percentiles and histograms';
COMMENT ON VIEW @extschema@.stat_progress IS 'The calls that are running: what they do and how far they are. Empty where dms_refs is not preloaded';

GRANT USAGE ON SCHEMA @extschema@ TO PUBLIC;
GRANT SELECT ON @extschema@.store_config, @extschema@.stores, @extschema@.stat_calls, @extschema@.stat_paths, @extschema@.stat_latency,
    @extschema@.stat_set_size, @extschema@.stat_staging, @extschema@.stat_progress TO PUBLIC;
REVOKE EXECUTE ON FUNCTION @extschema@.stat_reset(regclass) FROM PUBLIC;
