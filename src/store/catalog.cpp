// Store entries and their invalidation: see store.hpp.
//
// The list of stores and their leaves lives in one context under CacheMemoryContext. A relcache callback
// only counts: it may come at any lock, in the middle of a call that holds copies. What it made stale is read again
// at the next lookup. After a change of store_config everything is given up at the end of the transaction, when
// nobody holds a copy: what was kept for stores that are gone goes with it.
#include "store/store.hpp"

#include "store/cache.hpp"

namespace dms_refs {

namespace {

MemoryContext cache_context = nullptr;
HTAB *stores = nullptr;        // by name
HTAB *drop_ins = nullptr;      // by function OID
Oid config_table = InvalidOid; // InvalidOid: look it up
uint64 invalidations = 1;      // so far
uint64 config_state = 1;       // changes with store_config, or what its OIDs are called
uint64 names_state = 1;        // changes with config_state, and when functions may have other names
bool given_up = false;         // at the end of the transaction
void (*before_giving_up)(bool) = nullptr;

void forget_stores() {
    config_table = InvalidOid;
    ++config_state;
    ++names_state;
    given_up = stores != nullptr;
}

// A root says much of its leaves too: statement-level triggers, rules, identity sequences.
void forget_tables(StoreEntry *entry) {
    entry->generation = ++invalidations;
    HASH_SEQ_STATUS all;
    hash_seq_init(&all, entry->leaves);
    while (auto *leaf = static_cast<LeafEntry *>(hash_seq_search(&all)))
        leaf->changed = entry->generation;
}

// May run at any time; must not fail, allocate or look anything up.
void relation_changed(Datum, Oid relation) {
    if (stores == nullptr)
        return;
    if (!OidIsValid(relation) || relation == config_table)
        forget_stores();
    HASH_SEQ_STATUS all;
    hash_seq_init(&all, stores);
    while (auto *entry = static_cast<StoreEntry *>(hash_seq_search(&all))) {
        if (!OidIsValid(relation)) {
            forget_tables(entry);
            continue;
        }
        for (Oid table : entry->store.tables)
            if (table == relation)
                forget_tables(entry);
        if (auto *leaf = static_cast<LeafEntry *>(hash_search(entry->leaves, &relation, HASH_FIND, nullptr)))
            leaf->changed = ++invalidations;
    }
}

// A function moved or renamed, or a schema renamed: which store a drop-in serves may have changed.
void name_changed(Datum, int cache, uint32) {
    if (cache == NAMESPACEOID)
        forget_stores();
    ++names_state;
}

// No call is running now, so there is no copy of an entry. Must not fail.
void transaction_ended(XactEvent event, void *) {
    if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
        return;
    before_giving_up(given_up);
    if (!given_up)
        return;
    given_up = false;
    MemoryContextReset(cache_context);
    stores = drop_ins = nullptr;
    config_table = InvalidOid; // nothing tells of its changes now
}

void prepare_cache() {
    if (stores != nullptr)
        return;
    if (CacheMemoryContext == nullptr)
        CreateCacheMemoryContext();
    if (cache_context == nullptr)
        cache_context = AllocSetContextCreate(CacheMemoryContext, "dms_refs stores", ALLOCSET_SMALL_SIZES);
    drop_ins = make_table(cache_context, "dms_refs drop-in functions", sizeof(Oid), sizeof(DropInEntry));
    stores = make_table(cache_context, "dms_refs stores", NAMEDATALEN, sizeof(StoreEntry), HASH_STRINGS);
}

Relation open_config_table() {
    // The second time round, an extension that was dropped and made again meanwhile is found by name.
    for (int i = 0; i < 2; ++i) {
        if (!OidIsValid(config_table)) {
            const Oid schema = get_namespace_oid("dms_refs", true);
            config_table = OidIsValid(schema) ? get_relname_relid("store_config", schema) : InvalidOid;
        }
        if (Relation config = OidIsValid(config_table) ? try_table_open(config_table, AccessShareLock) : nullptr)
            return config;
        config_table = InvalidOid;
    }
    ereport(ERROR,
            (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("extension \"dms_refs\" is not installed in this database"),
             errhint("Run CREATE EXTENSION dms_refs.")));
    pg_unreachable();
}

// Whether changes of store_config are told of, whoever makes them: its trigger may have been disabled, as a restore of
// data without triggers does it, or be one that a session_replication_role leaves out. Changing that is told of by the
// server.
bool tells_of_changes(Relation config) {
    const TriggerDesc *triggers = config->trigdesc;
    for (int i = 0; triggers != nullptr && i < triggers->numtriggers; ++i) {
        const Trigger &trigger = triggers->triggers[i];
        if (trigger.tgenabled == TRIGGER_FIRES_ALWAYS && strcmp(trigger.tgname, "store_changed") == 0 &&
            TRIGGER_FOR_ROW(trigger.tgtype))
            return true;
    }
    return false;
}

Datum config_value(HeapTuple tuple, Relation config, const char *column, bool *is_null) {
    return heap_getattr(tuple, attribute_number(config, column), RelationGetDescr(config), is_null);
}

void read_columns(HeapTuple tuple, Relation config, const char *column, int count, NameData *names) {
    bool is_null;
    ArrayType *array = DatumGetArrayTypeP(config_value(tuple, config, column, &is_null));
    if (ARR_NDIM(array) != 1 || ARR_DIMS(array)[0] != count || ARR_HASNULL(array))
        ereport(ERROR, (errcode(ERRCODE_DATA_CORRUPTED),
                        errmsg("column \"%s\" of dms_refs.store_config must hold %d names", column, count)));
    memcpy(names, ARR_DATA_PTR(array), sizeof(NameData) * static_cast<Size>(count));
}

// Columns of the reference table are written with values of their own. register_store refuses a store in which two of
// them are one, but the row may have been written by hand, or by an early version.
const char *find_mixed_up(const Store &store) {
    constexpr Role written = Role::reference;
    if (store.table(written) == store.table(Role::document) || store.table(written) == store.table(Role::alias))
        return "one table for references and for what they refer to";
    for (int i = 0; i < reference_column::count; ++i)
        for (int j = i + 1; j < reference_column::count; ++j)
            if (strcmp(store.column(written, i), store.column(written, j)) == 0)
                return "one column of the reference table in two roles";
    return nullptr;
}

// Reads a store's row into an entry. Returns false where there is none.
bool read_store(const char *name, Store *store, bool *lasting) {
    Relation config = open_config_table();
    *lasting = tells_of_changes(config);
    ScanKeyData key;
    NameData wanted;
    namestrcpy(&wanted, name);
    ScanKeyInit(&key, attribute_number(config, "store"), BTEqualStrategyNumber, F_NAMEEQ, NameGetDatum(&wanted));
    SysScanDesc scan = systable_beginscan(config, InvalidOid, false, nullptr, 1, &key);
    HeapTuple tuple = systable_getnext(scan);
    const bool found = HeapTupleIsValid(tuple);
    if (found) {
        bool is_null;
        *store = {};
        namestrcpy(&store->name, name);
        store->tables[0] = DatumGetObjectId(config_value(tuple, config, "document", &is_null));
        store->tables[1] = DatumGetObjectId(config_value(tuple, config, "alias", &is_null));
        store->tables[2] = DatumGetObjectId(config_value(tuple, config, "reference", &is_null));
        read_columns(tuple, config, "document_columns", document_column::count, store->columns[0]);
        read_columns(tuple, config, "alias_columns", alias_column::count, store->columns[1]);
        read_columns(tuple, config, "reference_columns", reference_column::count, store->columns[2]);
        store->mixed_up = find_mixed_up(*store);
    }
    systable_endscan(scan);
    table_close(config, AccessShareLock);
    return found;
}

// The name of the store whose drop-in functions live in a schema.
bool read_store_of_schema(Oid schema, NameData *name, bool *lasting) {
    Relation config = open_config_table();
    *lasting = tells_of_changes(config);
    const char *schema_name = get_namespace_name(schema);
    int best = 0;
    SysScanDesc scan = systable_beginscan(config, InvalidOid, false, nullptr, 0, nullptr);
    while (HeapTuple tuple = systable_getnext(scan)) {
        bool is_null;
        const Datum drop_in = config_value(tuple, config, "drop_in_schema", &is_null);
        if (is_null)
            continue;
        const Oid reference = DatumGetObjectId(config_value(tuple, config, "reference", &is_null));
        // The schema was recorded by name. A renamed one is known by the tables that it holds; another schema may have
        // taken its name since. Tables that were registered need not be where the store's functions are: then the
        // recorded name must be nobody's.
        const char *recorded = NameStr(*DatumGetName(drop_in));
        const bool by_name = schema_name != nullptr && strcmp(recorded, schema_name) == 0;
        const bool by_tables = get_rel_namespace(reference) == schema;
        const bool made_there =
            strcmp(TextDatumGetCString(config_value(tuple, config, "layout", &is_null)), "registered") != 0;
        const int score = by_name && by_tables                                                          ? 3
                          : by_tables && (made_there || !OidIsValid(get_namespace_oid(recorded, true))) ? 2
                          : by_name                                                                     ? 1
                                                                                                        : 0;
        if (score > best) {
            *name = *DatumGetName(config_value(tuple, config, "store", &is_null));
            best = score;
        }
    }
    systable_endscan(scan);
    table_close(config, AccessShareLock);
    return best > 0;
}

} // namespace

void register_store_invalidation(void (*at_end)(bool)) {
    before_giving_up = at_end;
    CacheRegisterRelcacheCallback(relation_changed, 0);
    CacheRegisterSyscacheCallback(PROCOID, name_changed, 0);
    CacheRegisterSyscacheCallback(NAMESPACEOID, name_changed, 0);
    RegisterXactCallback(transaction_ended, nullptr);
}

namespace {

bool same_tables(const Store &a, const Store &b) {
    return memcmp(a.tables, b.tables, sizeof a.tables) == 0 && memcmp(a.columns, b.columns, sizeof a.columns) == 0;
}

StoreEntry *new_entry(const char *name) {
    HTAB *leaves = make_table(cache_context, "dms_refs leaves", sizeof(Oid), sizeof(LeafEntry));
    const auto keys = allocate<KeyEntry>(cache_context, role_count * key_places);
    std::fill(keys.begin(), keys.end(), KeyEntry{});
    bool found;
    auto *entry = static_cast<StoreEntry *>(hash_search(stores, name, HASH_ENTER, &found));
    Assert(!found);
    entry->leaves = leaves;
    for (std::size_t i = 0; i < role_count; ++i)
        entry->roots[i] = {0, nullptr, keys.subspan(i * key_places, key_places)};
    entry->read_at = 0;
    entry->generation = ++invalidations;
    entry->store = {};
    return entry;
}

// The cached entry of a store, read again where it may have changed; 42704 where there is no such store.
StoreEntry *store_entry(const char *name) {
    prepare_cache();
    // Invalidations are taken in at locks; a call that finds its store cached must not miss one.
    AcceptInvalidationMessages();
    NameData key;
    namestrcpy(&key, name);
    auto *entry = static_cast<StoreEntry *>(hash_search(stores, NameStr(key), HASH_FIND, nullptr));
    if (entry != nullptr && entry->read_at == config_state)
        return entry;

    const uint64 before = config_state;
    Store fresh;
    bool lasting;
    if (!read_store(name, &fresh, &lasting))
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("store \"%s\" does not exist", name),
                        errhint("The view dms_refs.stores lists the stores of this database; "
                                "dms_refs.create_store and dms_refs.register_store make one.")));
    if (entry == nullptr)
        entry = new_entry(NameStr(key));
    if (!same_tables(entry->store, fresh)) {
        entry->store = fresh;
        forget_tables(entry);
    }
    entry->read_at = lasting ? before : 0;
    return entry;
}

[[noreturn]] void raise_lost_table(Store store, Role role) {
    const Oid table = store.table(role);
    if (!still_the_store(&store))
        ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
                        errmsg("store \"%s\" got other tables while the call was running", NameStr(store.name)),
                        errhint("The transaction might succeed if retried.")));
    ereport(ERROR,
            (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("a table of store \"%s\" no longer exists", NameStr(store.name)),
             errdetail("Its OID was %u.", table),
             errhint("SELECT * FROM dms_refs.stores shows what is left of it. Once the store is of no use any "
                     "more, dms_refs.unregister_store forgets it.")));
    pg_unreachable();
}

} // namespace

Store find_store(const char *name) {
    StoreEntry *entry = store_entry(name);
    Store copy = entry->store;
    copy.entry = entry;
    copy.generation = entry->generation;
    return copy;
}

bool still_the_store(Store *store) {
    if (store->entry->read_at == config_state && store->entry->generation == store->generation)
        return true;
    const Store now = find_store(NameStr(store->name));
    const bool same = same_tables(now, *store);
    *store = now;
    return same;
}

void open_tables(Store *store, std::span<const TableToOpen> tables) {
    for (;;) {
        if (store->mixed_up != nullptr)
            ereport(ERROR, (errcode(ERRCODE_INVALID_TABLE_DEFINITION),
                            errmsg("store \"%s\" has %s", NameStr(store->name), store->mixed_up),
                            errhint("SELECT * FROM dms_refs.stores shows its tables and columns. References need a "
                                    "table of their own, and a column for each of their values.")));
        for (const TableToOpen &table : tables)
            *table.relation = try_table_open(store->table(table.role), table.lock);
        if (still_the_store(store))
            break;
        for (const TableToOpen &table : tables)
            if (*table.relation != nullptr)
                table_close(*table.relation, table.lock);
        CHECK_FOR_INTERRUPTS();
    }
    for (const TableToOpen &table : tables)
        if (*table.relation == nullptr)
            raise_lost_table(*store, table.role);
}

Relation open_table_of(const Store &store, Role role, LOCKMODE lock) {
    Relation relation = try_table_open(store.table(role), lock);
    if (relation == nullptr)
        raise_lost_table(store, role);
    return relation;
}

Store find_store_of_function(Oid function) {
    prepare_cache();
    AcceptInvalidationMessages();
    auto *entry = static_cast<DropInEntry *>(hash_search(drop_ins, &function, HASH_FIND, nullptr));
    if (entry == nullptr || entry->read_at != names_state) {
        const uint64 before = names_state;
        NameData name;
        const Oid schema = get_func_namespace(function);
        bool lasting;
        if (!read_store_of_schema(schema, &name, &lasting)) {
            const char *schema_name = get_namespace_name(schema);
            ereport(ERROR,
                    (errcode(ERRCODE_UNDEFINED_OBJECT),
                     errmsg("no store has its drop-in functions in schema \"%s\"", schema_name ? schema_name : "?"),
                     errhint("Register one: dms_refs.register_store(…, drop_in_schema => ...).")));
        }
        entry = static_cast<DropInEntry *>(hash_search(drop_ins, &function, HASH_ENTER, nullptr));
        entry->store = name;
        entry->read_at = lasting ? before : 0;
    }
    return find_store(NameStr(entry->store));
}

AttrNumber attribute_number(Relation relation, const char *column) {
    TupleDesc columns = RelationGetDescr(relation);
    for (int i = 0; i < columns->natts; ++i) {
        const Form_pg_attribute attribute = TupleDescAttr(columns, i);
        if (!attribute->attisdropped && namestrcmp(&attribute->attname, column) == 0)
            return attribute->attnum;
    }
    ereport(ERROR,
            (errcode(ERRCODE_UNDEFINED_COLUMN),
             errmsg("column \"%s\" of relation \"%s\" does not exist", column, RelationGetRelationName(relation)),
             errhint("A store's columns are known by name: after renaming one, unregister and register the store.")));
    pg_unreachable();
}

AttrNumber store_column(const Store &store, Role role, int column, Relation relation) {
    const AttrNumber number = attribute_number(relation, store.column(role, column));
    const Oid type = TupleDescAttr(RelationGetDescr(relation), number - 1)->atttypid;
    const Oid wanted = column_types[static_cast<int>(role)][column];
    if (type != wanted)
        ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
                        errmsg("column \"%s\" of relation \"%s\" is of type %s but store \"%s\" needs %s",
                               store.column(role, column), RelationGetRelationName(relation), format_type_be(type),
                               NameStr(store.name), format_type_be(wanted)),
                        errhint("Give the column its type back, or unregister the store.")));
    return number;
}

} // namespace dms_refs

// Trigger of store_config: tells every backend, this one included, at the end of the command.
DMS_REFS_FUNCTION(dms_refs_store_changed) {
    if (!CALLED_AS_TRIGGER(fcinfo))
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                        errmsg("dms_refs.store_changed can only be called as a trigger")));
    const auto *trigger = reinterpret_cast<TriggerData *>(fcinfo->context);
    Relation table = trigger->tg_relation;
    // Before a row, returning none would make the table lose it.
    if (!TRIGGER_FIRED_AFTER(trigger->tg_event) ||
        RelationGetNamespace(table) != get_func_namespace(fcinfo->flinfo->fn_oid) ||
        strcmp(RelationGetRelationName(table), "store_config") != 0)
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                        errmsg("dms_refs.store_changed can only be an AFTER trigger of dms_refs.store_config")));
    CacheInvalidateRelcache(table);
    PG_RETURN_POINTER(nullptr);
}
