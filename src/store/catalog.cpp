// Store entries and their invalidation: see store.hpp.
//
// The list of stores and their leaves lives in one context under CacheMemoryContext. A relcache callback
// only marks entries: it may come at any lock, in the middle of a call that holds copies. Marked entries are
// filled again at the next lookup. On error nothing half-filled is left: an entry is marked good last.
#include "store/store.hpp"

#include "store/cache.hpp"

namespace dms_refs {

namespace {

MemoryContext cache_context = nullptr;
HTAB *stores = nullptr;        // by name
HTAB *drop_ins = nullptr;      // by function OID
Oid config_table = InvalidOid; // InvalidOid: look it up; every store must be read again
uint64 generation = 0;

void forget_stores() {
    // Their statements too: every entry gets another generation when it is read again.
    config_table = InvalidOid;
    ++generation;
    if (stores == nullptr)
        return;
    HASH_SEQ_STATUS all;
    hash_seq_init(&all, stores);
    while (auto *entry = static_cast<StoreEntry *>(hash_seq_search(&all)))
        entry->valid = false;
    hash_seq_init(&all, drop_ins);
    while (auto *entry = static_cast<DropInEntry *>(hash_seq_search(&all)))
        entry->valid = false;
}

// A root says much of its leaves too: statement-level triggers, rules, identity sequences.
void forget_tables(StoreEntry *entry) {
    entry->generation = ++generation;
    for (RootEntry &root : entry->roots)
        root.valid = false;
    HASH_SEQ_STATUS all;
    hash_seq_init(&all, entry->leaves);
    while (auto *leaf = static_cast<LeafEntry *>(hash_seq_search(&all)))
        leaf->valid = false;
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
            leaf->valid = false;
    }
}

// A function moved or renamed, or a schema renamed: which store a drop-in serves may have changed, and so may
// the names in saved statements.
void name_changed(Datum, int cache, uint32) {
    if (stores == nullptr)
        return;
    if (cache == NAMESPACEOID)
        forget_stores();
    HASH_SEQ_STATUS all;
    hash_seq_init(&all, drop_ins);
    while (auto *entry = static_cast<DropInEntry *>(hash_seq_search(&all)))
        entry->valid = false;
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
    if (!OidIsValid(config_table)) {
        const Oid schema = get_namespace_oid("dms_refs", true);
        const Oid table = OidIsValid(schema) ? get_relname_relid("store_config", schema) : InvalidOid;
        if (!OidIsValid(table))
            ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
                            errmsg("extension \"dms_refs\" is not installed in this database"),
                            errhint("Run CREATE EXTENSION dms_refs.")));
        config_table = table;
    }
    return table_open(config_table, AccessShareLock);
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

// Reads a store's row into an entry. Returns false where there is none.
bool read_store(const char *name, Store *store) {
    Relation config = open_config_table();
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
    }
    systable_endscan(scan);
    table_close(config, AccessShareLock);
    return found;
}

// The name of the store whose drop-in functions live in a schema.
bool read_store_of_schema(Oid schema, NameData *name) {
    Relation config = open_config_table();
    const char *schema_name = get_namespace_name(schema);
    int best = 0;
    SysScanDesc scan = systable_beginscan(config, InvalidOid, false, nullptr, 0, nullptr);
    while (HeapTuple tuple = systable_getnext(scan)) {
        bool is_null;
        const Datum drop_in = config_value(tuple, config, "drop_in_schema", &is_null);
        if (is_null)
            continue;
        const Oid reference = DatumGetObjectId(config_value(tuple, config, "reference", &is_null));
        // The schema was recorded by name. A renamed one is known by the tables that it holds, and then the
        // recorded name is nobody's; another schema may have taken its name since.
        const char *recorded = NameStr(*DatumGetName(drop_in));
        const bool by_name = schema_name != nullptr && strcmp(recorded, schema_name) == 0;
        const bool by_tables = get_rel_namespace(reference) == schema;
        const int score = by_name && by_tables                                          ? 3
                          : by_tables && !OidIsValid(get_namespace_oid(recorded, true)) ? 2
                          : by_name                                                     ? 1
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

void register_store_invalidation() {
    CacheRegisterRelcacheCallback(relation_changed, 0);
    CacheRegisterSyscacheCallback(PROCOID, name_changed, 0);
    CacheRegisterSyscacheCallback(NAMESPACEOID, name_changed, 0);
}

namespace {

// The cached entry of a store, filled anew where it was invalidated; 42704 where there is no such store.
StoreEntry *store_entry(const char *name) {
    prepare_cache();
    // Invalidations are taken in at locks; a call that finds its store cached must not miss one.
    AcceptInvalidationMessages();
    NameData key;
    namestrcpy(&key, name);
    auto *entry = static_cast<StoreEntry *>(hash_search(stores, NameStr(key), HASH_FIND, nullptr));
    if (entry != nullptr && entry->valid)
        return entry;

    Store fresh;
    if (!read_store(name, &fresh))
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("store \"%s\" does not exist", name),
                        errhint("The view dms_refs.stores lists the stores of this database; "
                                "dms_refs.create_store and dms_refs.register_store make one.")));
    if (entry == nullptr) {
        HTAB *leaves = make_table(cache_context, "dms_refs leaves", sizeof(Oid), sizeof(LeafEntry));
        bool found;
        entry = static_cast<StoreEntry *>(hash_search(stores, NameStr(key), HASH_ENTER, &found));
        entry->leaves = leaves;
        for (RootEntry &root : entry->roots)
            root = {};
        entry->valid = false;
    }
    for (RootEntry &root : entry->roots) {
        if (root.keys.empty()) {
            const auto keys = allocate<KeyEntry>(cache_context, key_places);
            std::fill(keys.begin(), keys.end(), KeyEntry{});
            root.keys = keys;
        }
    }
    entry->store = fresh;
    forget_tables(entry);
    entry->valid = true;
    return entry;
}

} // namespace

Store find_store(const char *name) {
    StoreEntry *entry = store_entry(name);
    Store copy = entry->store;
    copy.entry = entry;
    copy.generation = entry->generation;
    return copy;
}

Store find_store_of_function(Oid function) {
    prepare_cache();
    AcceptInvalidationMessages();
    auto *entry = static_cast<DropInEntry *>(hash_search(drop_ins, &function, HASH_FIND, nullptr));
    if (entry == nullptr || !entry->valid) {
        NameData name;
        const Oid schema = get_func_namespace(function);
        if (!read_store_of_schema(schema, &name)) {
            const char *schema_name = get_namespace_name(schema);
            ereport(ERROR,
                    (errcode(ERRCODE_UNDEFINED_OBJECT),
                     errmsg("no store has its drop-in functions in schema \"%s\"", schema_name ? schema_name : "?"),
                     errhint("Register one: dms_refs.register_store(…, drop_in_schema => ...).")));
        }
        entry = static_cast<DropInEntry *>(hash_search(drop_ins, &function, HASH_ENTER, nullptr));
        entry->store = name;
        entry->valid = true;
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
    CacheInvalidateRelcache(trigger->tg_relation);
    PG_RETURN_POINTER(nullptr);
}
