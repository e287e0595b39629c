// Saved SPI plans: see statements.hpp.
//
// A saved plan knows its tables by name, and the server parses its text again whenever it has to; a store knows them by
// OID. So before each execution the text must hold the names that the tables have now, everything that has to be waited
// for is waited for, and what the text then means is compared with the store. While its lock is held a table cannot be
// renamed, but a schema can: two that are exchanged would lead the text to the tables of another store.
//
// A plan whose text is no longer right is retired, and freed at the end of the transaction: a trigger may call us from
// inside the very statement whose plan is being replaced. Errors leave the list of plans whole.
#include "engine/statements.hpp"

namespace dms_refs {

namespace {

struct PlanKey {
    const StoreEntry *store;
    uint64 statement; // as wide as the pointer, so that the key has no padding
};

// What of a statement's text depends on the store.
struct Words {
    NameData schema;
    NameData table;
    NameData columns[max_columns];

    bool operator==(const Words &other) const { return memcmp(this, &other, sizeof other) == 0; }
};
static_assert(sizeof(Words) == (2 + max_columns) * sizeof(NameData)); // compared as bytes

struct SavedPlan {
    SPIPlanPtr plan;
    CachedPlanSource *source; // of the plan, which has one
    Words words;
    SavedPlan *next; // of the retired ones
};

struct PlanEntry {
    PlanKey key;
    SavedPlan *current; // NULL: none yet
};

MemoryContext plan_context = nullptr;
HTAB *plans = nullptr;
SavedPlan *retired = nullptr;

struct Template {
    Role role; // of the one table that it names
    LOCKMODE lock;
    const char *pattern; // with ~ for OPERATOR(pg_catalog.=), $T for the table and $0 to $5 for its columns
    int n_arguments;
    Oid arguments[6];
};

// The digits are positions in the column enums of store.hpp; arguments are #1 to #6. The table comes before anything
// else that the parser must look up. unnest of several arrays is syntax, which the parser knows only without a schema,
// and resolves to pg_catalog's function.
const Template templates[] = {
    {Role::alias,
     AccessShareLock,
     "SELECT u.n, t.$2, t.$3, t.$4 FROM $T t"
     " JOIN unnest(#1, #2) WITH ORDINALITY u(id, key, n) ON t.$0 ~ u.key AND t.$1 ~ u.id",
     2,
     {UUIDARRAYOID, INT2ARRAYOID}},
    {Role::reference,
     AccessShareLock,
     "SELECT t.$2, t.$3, t.$4, t.$5 FROM $T t WHERE t.$0 ~ #1 AND t.$1 ~ #2",
     2,
     {INT2OID, INT8OID}},
    {Role::alias,
     AccessShareLock,
     "SELECT u.n, t.$1 FROM $T t"
     " JOIN unnest(#1, #2) WITH ORDINALITY u(id, key, n) ON t.$0 ~ u.key AND t.$2 ~ u.id",
     2,
     {INT8ARRAYOID, INT2ARRAYOID}},
    {Role::document,
     RowShareLock,
     "SELECT 1 FROM $T t WHERE t.$0 ~ #1 AND t.$1 ~ #2 FOR NO KEY UPDATE",
     2,
     {INT2OID, INT8OID}},
    {Role::document,
     RowShareLock,
     "SELECT 1 FROM $T t WHERE t.$0 ~ #1 AND t.$1 ~ #2 FOR NO KEY UPDATE",
     2,
     {INT2OID, INT8OID}},
    {Role::reference,
     RowExclusiveLock,
     "DELETE FROM $T t WHERE t.$0 ~ #1 AND t.$1 ~ #2 AND t.$2 ~ ANY (#3)",
     3,
     {INT2OID, INT8OID, INT8ARRAYOID}},
    {Role::reference,
     RowExclusiveLock,
     "UPDATE $T t SET $3 = u.key, $4 = u.document_key, $5 = u.document_id"
     " FROM unnest(#3, #4, #5, #6) u(id, key, document_key, document_id)"
     " WHERE t.$0 ~ #1 AND t.$1 ~ #2 AND t.$2 ~ u.id",
     6,
     {INT2OID, INT8OID, INT8ARRAYOID, INT2ARRAYOID, INT2ARRAYOID, INT8ARRAYOID}},
    {Role::reference,
     RowExclusiveLock,
     "INSERT INTO $T ($0, $1, $2, $3, $4, $5) SELECT #1, #2, u.id, u.key, u.document_key, u.document_id"
     " FROM unnest(#3, #4, #5, #6) u(id, key, document_key, document_id)",
     6,
     {INT2OID, INT8OID, INT8ARRAYOID, INT2ARRAYOID, INT2ARRAYOID, INT8ARRAYOID}},
    {Role::reference,
     AccessShareLock,
     "SELECT DISTINCT t.$1, t.$0 FROM $T t WHERE t.$4 ~ #1 AND t.$5 ~ #2 ORDER BY 2, 1",
     2,
     {INT2OID, INT8OID}},
};
static_assert(std::size(templates) == statement_count);

const Template &template_of(Statement statement) {
    return templates[static_cast<int>(statement)];
}

const char *statement_text(const Template &source, const Words &words) {
    StringInfoData text;
    initStringInfo(&text);
    for (const char *p = source.pattern; *p != '\0'; ++p) {
        if (*p == '~') { // for int2, int8 and uuid alike; a caller's search_path has no say in it
            appendStringInfoString(&text, "OPERATOR(pg_catalog.=)");
        } else if (*p == '#') {
            appendStringInfoChar(&text, '$');
        } else if (*p != '$') {
            appendStringInfoChar(&text, *p);
        } else if (*++p == 'T') {
            appendStringInfoString(&text, quote_qualified_identifier(NameStr(words.schema), NameStr(words.table)));
        } else {
            appendStringInfoString(&text, quote_identifier(NameStr(words.columns[*p - '0'])));
        }
    }
    return text.data;
}

// What the table is called now. False where its names do not lead to it: they are being given to another.
// Looking them up here also brings them into the caches that the parser asks first.
bool read_words(const Store &store, Role role, Words *words) {
    const Oid table = store.table(role);
    const char *name = get_rel_name(table);
    const char *schema = get_namespace_name(get_rel_namespace(table));
    *words = {};
    if (name == nullptr || schema == nullptr)
        return false;
    namestrcpy(&words->table, name);
    namestrcpy(&words->schema, schema);
    memcpy(words->columns, store.columns[static_cast<int>(role)], sizeof words->columns);
    const Oid schema_now = get_namespace_oid(schema, true);
    return OidIsValid(schema_now) && get_relname_relid(name, schema_now) == table;
}

// Whether the text, as it was parsed last, came to nothing: a rule says DO INSTEAD NOTHING. The server knows no table
// then, and does not tell such a plan when the rule goes.
bool is_nothing(const SavedPlan &saved) {
    return saved.source->relationOids == NIL;
}

// Whether the text, as it was parsed last, names the table. The relation that a query names comes before those that
// its rules and policies bring in.
bool names(const SavedPlan &saved, Oid table) {
    const List *relations = saved.source->relationOids;
    return relations != NIL && linitial_oid(relations) == table;
}

bool is_good(const SavedPlan &saved) {
    const CachedPlan *generic = saved.source->gplan;
    return saved.source->is_valid && generic != nullptr && generic->is_valid;
}

void retire(PlanEntry *entry) {
    if (entry->current == nullptr)
        return;
    entry->current->next = retired;
    retired = entry->current;
    entry->current = nullptr;
}

PlanEntry *entry_of(const Store &store, Statement statement) {
    if (plan_context == nullptr)
        plan_context = AllocSetContextCreate(CacheMemoryContext, "dms_refs plans", ALLOCSET_SMALL_SIZES);
    if (plans == nullptr)
        plans = make_table(plan_context, "dms_refs plans by store", sizeof(PlanKey), sizeof(PlanEntry));
    const PlanKey key = {store.entry, static_cast<uint64>(statement)};
    bool found;
    auto *entry = static_cast<PlanEntry *>(hash_search(plans, &key, HASH_ENTER, &found));
    if (!found)
        entry->current = nullptr;
    return entry;
}

// The plan of a statement with these words. Within SPI_connect.
SavedPlan *prepare(const Store &store, PlanEntry *entry, const Template &source, const Words &words) {
    if (entry->current != nullptr && entry->current->words == words && !is_nothing(*entry->current))
        return entry->current;
    Oid types[std::size(source.arguments)];
    std::copy(std::begin(source.arguments), std::end(source.arguments), types);
    SPIPlanPtr plan =
        SPI_prepare_cursor(statement_text(source, words), source.n_arguments, types, CURSOR_OPT_GENERIC_PLAN);
    if (plan == nullptr)
        elog(ERROR, "could not prepare a statement of store \"%s\": %s", NameStr(store.name),
             SPI_result_code_string(SPI_result));
    auto *saved = allocate<SavedPlan>(plan_context, 1).data();
    SPI_keepplan(plan);
    *saved = {plan, static_cast<CachedPlanSource *>(linitial(SPI_plan_get_plan_sources(plan))), words, nullptr};
    retire(entry);
    entry->current = saved;
    return saved;
}

// Takes the locks that running the plan takes, and plans where there is nothing planned. What would be waited for
// inside the execution is waited for here; after such a wait the server may parse the text again, by names that are
// another table's by then.
void wait_for_locks(const SavedPlan &saved) {
    if (is_good(saved)) {
        ListCell *cell;
        foreach (cell, saved.source->gplan->stmt_list) {
            const auto *statement = lfirst_node(PlannedStmt, cell);
            if (statement->commandType == CMD_UTILITY)
                continue;
            ListCell *table;
            foreach (table, statement->rtable) {
                const auto *entry = lfirst_node(RangeTblEntry, table);
                if (OidIsValid(entry->relid) && entry->rellockmode != NoLock)
                    LockRelationOid(entry->relid, entry->rellockmode);
            }
        }
    }
    if (!is_good(saved))
        ReleaseCachedPlan(SPI_plan_get_cached_plan(saved.plan), CurrentResourceOwner);
}

[[noreturn]] void raise_renamed(const Store &store) {
    ereport(ERROR,
            (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
             errmsg("the tables of store \"%s\" got other names while the call was running", NameStr(store.name)),
             errhint("The transaction might succeed if retried.")));
    pg_unreachable();
}

// The plan of a statement, ready to be run: the table is locked, and the plan is of that table. Within SPI_connect.
const SavedPlan *plan_of(const Store &store, Statement statement) {
    const Template &source = template_of(statement);
    const Oid table = store.table(source.role);
    LockRelationOid(table, source.lock);
    PlanEntry *entry = entry_of(store, statement);
    // Renaming cannot go on for ever, but somebody might try.
    for (int attempt = 0; attempt < 16; ++attempt) {
        CHECK_FOR_INTERRUPTS();
        AcceptInvalidationMessages();
        Words words;
        if (!read_words(store, source.role, &words))
            continue;
        SavedPlan *saved = prepare(store, entry, source, words);
        wait_for_locks(*saved);
        if (!names(*saved, table) && !is_nothing(*saved)) {
            retire(entry);
            continue;
        }
        // What has become invalid meanwhile for other reasons is parsed again by the same names.
        Words now;
        if (is_good(*saved) || (read_words(store, source.role, &now) && now == words))
            return saved;
    }
    raise_renamed(store);
}

// A reading statement takes the snapshot as it is; a writing one gets a new one, its triggers too.
int execute(SPIPlanPtr plan, Datum *values, Snapshot snapshot, bool reads) {
    if (snapshot != InvalidSnapshot)
        return SPI_execute_snapshot(plan, values, nullptr, snapshot, InvalidSnapshot, reads, false, 0);
    return SPI_execute_plan(plan, values, nullptr, false, 0);
}

void run(const Store &store, Statement statement, std::span<const Datum> arguments, Snapshot snapshot, bool reads) {
    const SavedPlan *saved = plan_of(store, statement);
    compat::injection_point("dms_refs-before-statement");
    const int result = execute(saved->plan, const_cast<Datum *>(arguments.data()), snapshot, reads);
    if (result < 0)
        elog(ERROR, "could not run a statement of store \"%s\": %s", NameStr(store.name),
             SPI_result_code_string(result));
    // plan_of has seen to it that the server need not look for the table by name. Had it done so nevertheless and found
    // another one, this undoes what was written.
    if (!names(*saved, store.table(template_of(statement).role)) && !is_nothing(*saved))
        raise_renamed(store);
}

} // namespace

void end_statements(bool entries_go) {
    if (entries_go && plans != nullptr) {
        HASH_SEQ_STATUS all;
        hash_seq_init(&all, plans);
        while (auto *entry = static_cast<PlanEntry *>(hash_seq_search(&all)))
            retire(entry);
        hash_destroy(plans);
        plans = nullptr;
    }
    while (retired != nullptr) {
        SavedPlan *saved = retired;
        retired = saved->next;
        SPI_freeplan(saved->plan);
        pfree(saved);
    }
}

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
