-- Purpose: makes the extension and the helpers that all later tests use.
\set VERBOSITY terse
CREATE EXTENSION dms_refs;
SELECT extname, extrelocatable, nspname AS schema
FROM pg_extension JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'dms_refs';

CREATE SCHEMA t;
COMMENT ON SCHEMA t IS 'Helpers of the regression tests';

-- Document n has id n and partition key n % 4. Its alias has id 100 + n, partition key (n + 1) % 4 and
-- the referential id u(n): no two of these numbers agree, so that a mix-up shows.
CREATE FUNCTION t.u(n int) RETURNS uuid LANGUAGE sql IMMUTABLE AS
$$ SELECT ('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid $$;
CREATE FUNCTION t.ids(VARIADIC n int[]) RETURNS uuid[] LANGUAGE sql IMMUTABLE AS
$$ SELECT coalesce(array_agg(t.u(e) ORDER BY o), '{}') FROM unnest(n) WITH ORDINALITY x(e, o) $$;
CREATE FUNCTION t.keys(VARIADIC n int[]) RETURNS smallint[] LANGUAGE sql IMMUTABLE AS
$$ SELECT coalesce(array_agg(((e + 1) % 4)::smallint ORDER BY o), '{}') FROM unnest(n) WITH ORDINALITY x(e, o) $$;

-- Adds documents first .. last with their aliases to a store of four partitions.
CREATE FUNCTION t.add_documents(store name, first int, last int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = format('%I.document', store)::regclass AND attname = 'edfidoc') THEN
        EXECUTE format('INSERT INTO %I.document (id, documentpartitionkey, documentuuid, resourcename, resourceversion,
                isdescriptor, projectname, edfidoc, lastmodifiedtraceid) OVERRIDING SYSTEM VALUE
            SELECT n, n %% 4, t.u(n), ''School'', ''5.0.0'', false, ''Ed-Fi'', ''{}'', ''test'' FROM generate_series(%s, %s) n',
            store, first, last);
    ELSE
        EXECUTE format('INSERT INTO %I.document (id, documentpartitionkey) OVERRIDING SYSTEM VALUE
            SELECT n, n %% 4 FROM generate_series(%s, %s) n', store, first, last);
    END IF;
    EXECUTE format('INSERT INTO %I.alias (id, referentialpartitionkey, referentialid, documentid, documentpartitionkey)
            OVERRIDING SYSTEM VALUE
        SELECT 100 + n, (n + 1) %% 4, t.u(n), n, n %% 4 FROM generate_series(%s, %s) n', store, first, last);
END $$;

-- A store of four partitions with documents 1 .. documents.
CREATE FUNCTION t.new_store(store name, documents int DEFAULT 9, layout text DEFAULT 'edfi') RETURNS void
    LANGUAGE plpgsql AS $$
BEGIN
    PERFORM dms_refs.create_store(store, 4, layout);
    PERFORM t.add_documents(store, 1, documents);
END $$;

-- The stored set of a document, each reference as alias id/partition key -> document id/partition key.
CREATE FUNCTION t.stored(store name, parent int) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    EXECUTE format('SELECT string_agg(format(''%%s/%%s->%%s/%%s'', aliasid, referentialpartitionkey, referenceddocumentid,
            referenceddocumentpartitionkey), '' '' ORDER BY aliasid)
        FROM %I.reference WHERE parentdocumentpartitionkey = %s AND parentdocumentid = %s', store, parent % 4, parent)
    INTO result;
    RETURN coalesce(result, 'none');
END $$;

-- Runs a statement that fails and shows its error; a statement that succeeds shows 00000.
CREATE FUNCTION t.error(statement text, OUT state text, OUT message text, OUT detail text, OUT hint text)
    LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE statement;
    state := '00000';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
END $$;

-- The helpers do what they say.
SELECT t.ids(1, 2), t.keys(1, 2, 3);
SELECT t.new_store('s');
SELECT id, documentpartitionkey FROM s.document ORDER BY id;
SELECT id, referentialpartitionkey, referentialid, documentid, documentpartitionkey FROM s.alias ORDER BY id;
SELECT t.stored('s', 1);
SELECT * FROM t.error('SELECT 1 / 0');
SELECT * FROM t.error('SELECT 1');
SELECT dms_refs.drop_store('s');
