// Saved SPI plans: see statements.hpp.
//
// A plan whose store changed is retired, and freed when no statement of ours is running: a trigger may call
// us from inside the very statement whose plan is being replaced. Errors leave the list of plans whole.
#include "engine/statements.hpp"

namespace dms_refs {

namespace {

struct PlanKey {
    const StoreEntry *store;
    uint64 statement; // as wide as the pointer, so that the key has no padding
};

struct PlanEntry {
    PlanKey key;
    SPIPlanPtr plan;
    uint64 generation;
};

HTAB *plans = nullptr;
SPIPlanPtr retired[16];
int n_retired = 0;
int running = 0; // nesting of our statements

const char *table_name(const Store &store, Role role) {
    const Oid table = store.table(role);
    return quote_qualified_identifier(get_namespace_name(get_rel_namespace(table)), get_rel_name(table));
}

// Expands $D, $A, $R to the tables and $dN, $aN, $rN to their columns: a template reads like its statement.
const char *expand(const Store &store, const char *pattern) {
    StringInfoData text;
    initStringInfo(&text);
    for (const char *p = pattern; *p != '\0'; ++p) {
        if (*p != '$' || strchr("DARdar", p[1]) == nullptr) {
            appendStringInfoChar(&text, *p);
            continue;
        }
        const char which = *++p;
        const Role role = which == 'D' || which == 'd'   ? Role::document
                          : which == 'A' || which == 'a' ? Role::alias
                                                         : Role::reference;
        if (which == 'D' || which == 'A' || which == 'R')
            appendStringInfoString(&text, table_name(store, role));
        else
            appendStringInfoString(&text, quote_identifier(store.column(role, *++p - '0')));
    }
    return text.data;
}

struct Template {
    const char *pattern; // with ~ for OPERATOR(pg_catalog.=)
    int n_arguments;
    Oid arguments[6];
};

// The digits are positions in the column enums of store.hpp. unnest of several arrays is syntax, which the
// parser knows only without a schema, and resolves to pg_catalog's function.
const Template templates[] = {
    {"SELECT u.n, a.$a2, a.$a3, a.$a4 FROM unnest($1, $2) WITH ORDINALITY u(id, key, n)"
     " JOIN $A a ON a.$a0 ~ u.key AND a.$a1 ~ u.id",
     2,
     {UUIDARRAYOID, INT2ARRAYOID}},
    {"SELECT r.$r2, r.$r3, r.$r4, r.$r5 FROM $R r WHERE r.$r0 ~ $1 AND r.$r1 ~ $2", 2, {INT2OID, INT8OID}},
    {"SELECT u.n, a.$a1 FROM unnest($1, $2) WITH ORDINALITY u(id, key, n)"
     " JOIN $A a ON a.$a0 ~ u.key AND a.$a2 ~ u.id",
     2,
     {INT8ARRAYOID, INT2ARRAYOID}},
    {"SELECT 1 FROM $D d WHERE d.$d0 ~ $1 AND d.$d1 ~ $2 FOR NO KEY UPDATE", 2, {INT2OID, INT8OID}},
    {"SELECT 1 FROM $D d WHERE d.$d0 ~ $1 AND d.$d1 ~ $2 FOR NO KEY UPDATE", 2, {INT2OID, INT8OID}},
    {"DELETE FROM $R r WHERE r.$r0 ~ $1 AND r.$r1 ~ $2 AND r.$r2 ~ ANY ($3)", 3, {INT2OID, INT8OID, INT8ARRAYOID}},
    {"UPDATE $R r SET $r3 = u.key, $r4 = u.document_key, $r5 = u.document_id"
     " FROM unnest($3, $4, $5, $6) u(id, key, document_key, document_id)"
     " WHERE r.$r0 ~ $1 AND r.$r1 ~ $2 AND r.$r2 ~ u.id",
     6,
     {INT2OID, INT8OID, INT8ARRAYOID, INT2ARRAYOID, INT2ARRAYOID, INT8ARRAYOID}},
    {"INSERT INTO $R ($r0, $r1, $r2, $r3, $r4, $r5) SELECT $1, $2, u.id, u.key, u.document_key, u.document_id"
     " FROM unnest($3, $4, $5, $6) u(id, key, document_key, document_id)",
     6,
     {INT2OID, INT8OID, INT8ARRAYOID, INT2ARRAYOID, INT2ARRAYOID, INT8ARRAYOID}},
    {"SELECT DISTINCT r.$r1, r.$r0 FROM $R r WHERE r.$r4 ~ $1 AND r.$r5 ~ $2 ORDER BY 2, 1", 2, {INT2OID, INT8OID}},
};

// For int2, int8 and uuid alike; a caller's search_path has no say in it.
const char *with_operators(const char *text) {
    StringInfoData out;
    initStringInfo(&out);
    for (const char *p = text; *p != '\0'; ++p) {
        if (*p == '~')
            appendStringInfoString(&out, "OPERATOR(pg_catalog.=)");
        else
            appendStringInfoChar(&out, *p);
    }
    return out.data;
}

void free_retired() {
    if (running > 0)
        return;
    while (n_retired > 0)
        SPI_freeplan(retired[--n_retired]);
}

// Within SPI_connect.
SPIPlanPtr plan_of(const Store &store, Statement statement) {
    free_retired();
    if (plans == nullptr) {
        plans = make_table(CacheMemoryContext, "dms_refs plans", sizeof(PlanKey), sizeof(PlanEntry));
    }
    const PlanKey key = {store.entry, static_cast<uint64>(statement)};
    bool found;
    auto *entry = static_cast<PlanEntry *>(hash_search(plans, &key, HASH_FIND, &found));
    if (found && entry->plan != nullptr && entry->generation == store.generation)
        return entry->plan;

    const Template &source = templates[static_cast<int>(statement)];
    Oid types[6];
    std::copy(std::begin(source.arguments), std::end(source.arguments), types);
    // The operators first: a table or column may well have a ~ in its name.
    SPIPlanPtr plan = SPI_prepare(expand(store, with_operators(source.pattern)), source.n_arguments, types);
    if (plan == nullptr || SPI_keepplan(plan) != 0)
        elog(ERROR, "could not prepare a statement of store \"%s\": %s", NameStr(store.name),
             SPI_result_code_string(SPI_result));
    entry = static_cast<PlanEntry *>(hash_search(plans, &key, HASH_ENTER, &found));
    if (found && entry->plan != nullptr) {
        // With the list full, which takes sixteen changes of tables inside one statement, a plan is leaked.
        if (n_retired < static_cast<int>(lengthof(retired)))
            retired[n_retired++] = entry->plan;
    }
    entry->plan = plan;
    entry->generation = store.generation;
    return plan;
}

// A reading statement takes the snapshot as it is; a writing one gets a new one, its triggers too.
int execute(SPIPlanPtr plan, Datum *values, Snapshot snapshot, bool reads) {
    if (snapshot != InvalidSnapshot)
        return SPI_execute_snapshot(plan, values, nullptr, snapshot, InvalidSnapshot, reads, false, 0);
    return SPI_execute_plan(plan, values, nullptr, false, 0);
}

// Apart from its caller, whose variables the jump would put at risk.
int execute_counted(SPIPlanPtr plan, Datum *values, Snapshot snapshot, bool reads) {
    volatile int result = 0;
    ++running;
    PG_TRY();
    { result = execute(plan, values, snapshot, reads); }
    PG_FINALLY();
    {
        --running; // nobody else would
    }
    PG_END_TRY();
    return result;
}

void run(const Store &store, Statement statement, std::span<const Datum> arguments, Snapshot snapshot, bool reads) {
    const int nest = NewGUCNestLevel();
    (void)set_config_option("plan_cache_mode", "force_generic_plan", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true,
                            0, false);
    const int result =
        execute_counted(plan_of(store, statement), const_cast<Datum *>(arguments.data()), snapshot, reads);
    if (result < 0)
        elog(ERROR, "could not run a statement of store \"%s\": %s", NameStr(store.name),
             SPI_result_code_string(result));
    AtEOXact_GUC(true, nest);
}

} // namespace

Rows run_query(const Store &store, Statement statement, std::span<const Datum> arguments, Snapshot snapshot) {
    SPI_connect();
    run(store, statement, arguments, snapshot, true);
    return {SPI_processed, SPI_tuptable};
}

Datum row_value(const Rows &rows, uint64 row, int column) {
    bool is_null;
    const Datum value = SPI_getbinval(rows.table->vals[row], rows.table->tupdesc, column, &is_null);
    if (is_null)
        ereport(ERROR, (errcode(ERRCODE_NOT_NULL_VIOLATION),
                        errmsg("column \"%s\" of a stored row is null", SPI_fname(rows.table->tupdesc, column)),
                        errhint("A store's columns must not hold nulls.")));
    return value;
}

void end_rows(Rows *rows) {
    SPI_finish();
    *rows = {};
}

uint64 run_command(const Store &store, Statement statement, std::span<const Datum> arguments, Snapshot snapshot) {
    SPI_connect();
    run(store, statement, arguments, snapshot, false);
    const uint64 rows = SPI_processed;
    SPI_finish();
    return rows;
}

} // namespace dms_refs
