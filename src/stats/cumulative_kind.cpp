// Statistics as a kind of the server's own cumulative statistics: PostgreSQL 18 and later.
//
// State: an entry of the server's shared hash table a key, and one a relation, with counters behind its lock; in a
// backend, the pending counters that the server keeps beside its reference to the entry. Pending counters are merged
// when the server flushes all of its statistics: at the end of a transaction, at most once a second, when a session
// goes idle, and when it ends. Dropping is transactional and replicated, as for the server's own statistics. Locking:
// an entry's lock while it is merged or copied. On error: counters of a call that failed are kept, like the server's.
#include "stats/statistics.hpp"

#if PG_VERSION_NUM >= 180000

namespace dms_refs {

namespace {

// Kinds of extensions have the numbers 24 to 32, and a number must be ours alone on a server: 24 is for experiments,
// the server's tests use 25 and 26, and 28 and 29 are other extensions'. The number is stored in the statistics file.
constexpr PgStat_Kind kind = 27;

struct SharedEntry {
    PgStatShared_Common header;
    core::CallCounters counters;
};

// Object ids have a byte for each of these.
static_assert(static_cast<int>(Function::count) <= 256 && core::stat_paths <= 256);
static_assert(kind >= PGSTAT_KIND_CUSTOM_MIN && kind <= PGSTAT_KIND_CUSTOM_MAX);

uint64 object_of(const StatKey &key) {
    Assert(key.function < Function::count && static_cast<int>(key.path) < core::stat_paths);
    return static_cast<uint64>(key.relation) << 32 | static_cast<uint64>(key.function) << 16 |
           static_cast<uint64>(key.path) << 8 | static_cast<uint64>(key.by_sql);
}

StatKey key_of(Oid database, uint64 object) {
    StatKey key = {};
    key.database = database;
    key.relation = static_cast<Oid>(object >> 32);
    key.function = static_cast<Function>(object >> 16 & 0xFF);
    key.path = static_cast<core::StatPath>(object >> 8 & 0xFF);
    key.by_sql = (object & 0xFF) != 0;
    return key;
}

bool flush_pending(PgStat_EntryRef *entry, bool nowait) {
    if (!pgstat_lock_entry(entry, nowait))
        return false;
    reinterpret_cast<SharedEntry *>(entry->shared_stats)
        ->counters.merge(*static_cast<const core::CallCounters *>(entry->pending));
    pgstat_unlock_entry(entry);
    forget_counters(); // the server frees them now
    return true;
}

void delete_pending(PgStat_EntryRef *) {
    forget_counters();
}

void reset_timestamp(PgStatShared_Common *header, TimestampTz when) {
    reinterpret_cast<SharedEntry *>(header)->counters.reset = when;
}

// An entry without counters that says that a relation has others, so that dropping one without takes a single look.
uint64 mark_of(Oid relation) {
    return static_cast<uint64>(relation) << 32;
}

core::CallCounters *kind_counters(const StatKey &key) {
    bool created = false;
    PgStat_EntryRef *entry = pgstat_prep_pending_entry(kind, key.database, object_of(key), &created);
    if (created)
        (void)pgstat_get_entry_ref(kind, key.database, mark_of(key.relation), true, nullptr);
    return static_cast<core::CallCounters *>(entry->pending);
}

// Calls for each entry that is in use; the shared table is locked meanwhile, a part at a time.
template <class Each> void visit(Each each) {
    dshash_seq_status scan;
    dshash_seq_init(&scan, pgStatLocal.shared_hash, false);
    while (auto *entry = static_cast<PgStatShared_HashEntry *>(dshash_seq_next(&scan)))
        if (!entry->dropped && entry->key.kind == kind &&
            key_of(entry->key.dboid, entry->key.objid).function != Function::none)
            each(*entry);
    dshash_seq_term(&scan);
}

std::span<StatEntry> kind_entries(MemoryContext context) {
    std::size_t room = 64;
    std::size_t n = 0;
    auto entries = allocate<StatEntry>(context, room);
    visit([&](const PgStatShared_HashEntry &found) {
        if (n == room) {
            const auto larger = allocate<StatEntry>(context, room *= 2);
            std::copy(entries.begin(), entries.end(), larger.begin());
            entries = larger;
        }
        auto *shared = static_cast<SharedEntry *>(dsa_get_address(pgStatLocal.dsa, found.body));
        entries[n].key = key_of(found.key.dboid, found.key.objid);
        LWLockAcquire(&shared->header.lock, LW_SHARED);
        entries[n].counters = shared->counters;
        LWLockRelease(&shared->header.lock);
        ++n;
    });
    entries = entries.first(n);
    for (StatEntry &entry : entries) {
        const PgStat_EntryRef *own = pgstat_fetch_pending_entry(kind, entry.key.database, object_of(entry.key));
        if (own != nullptr && own->pending != nullptr)
            entry.counters.merge(*static_cast<const core::CallCounters *>(own->pending));
    }
    return entries;
}

void kind_reset(Oid relation) {
    const TimestampTz now = GetCurrentTimestamp();
    for (const StatEntry &entry : kind_entries(CurrentMemoryContext)) {
        if (entry.key.database != MyDatabaseId || (OidIsValid(relation) && entry.key.relation != relation))
            continue;
        const uint64 object = object_of(entry.key);
        if (PgStat_EntryRef *own = pgstat_fetch_pending_entry(kind, MyDatabaseId, object))
            if (own->pending != nullptr)
                static_cast<core::CallCounters *>(own->pending)->clear();
        pgstat_reset_entry(kind, MyDatabaseId, object, now);
    }
}

// Looks each possible entry up instead of going through all of the server's statistics. A dropped database's
// entries are the server's to drop.
void kind_dropped(Oid database, Oid relation) {
    if (!OidIsValid(relation) || pgstat_get_entry_ref(kind, database, mark_of(relation), false, nullptr) == nullptr)
        return;
    pgstat_drop_transactional(kind, database, mark_of(relation));
    for (int function = 1; function < static_cast<int>(Function::count); ++function) {
        for (int path = 0; path < core::stat_paths; ++path) {
            for (const bool by_sql : {false, true}) {
                StatKey key = {database, relation, static_cast<Function>(function), static_cast<core::StatPath>(path),
                               by_sql,   0};
                if (pgstat_get_entry_ref(kind, database, object_of(key), false, nullptr) != nullptr)
                    pgstat_drop_transactional(kind, database, object_of(key));
            }
        }
    }
}

StatStatus kind_status() {
    int64 n = 0;
    visit([&n](const PgStatShared_HashEntry &) { ++n; });
    return {"cumulative statistics", n, 0, 0};
}

constexpr StatStorage cumulative_statistics = {kind_counters, [] {},        kind_entries,
                                               kind_reset,    kind_dropped, kind_status};

// In the order of the declaration, as g++ wants it. write_to_file is a setting: a server that starts without the module
// finds entries of an unknown kind in the file and throws all of it away, everybody's statistics.
PgStat_KindInfo kind_info = {
    .fixed_amount = false,
    .accessed_across_databases = true,
    .write_to_file = false,
    .shared_size = sizeof(SharedEntry),
    .snapshot_ctl_off = 0,
    .shared_ctl_off = 0,
    .shared_data_off = offsetof(SharedEntry, counters),
    .shared_data_len = sizeof(core::CallCounters),
    .pending_size = sizeof(core::CallCounters),
    .init_backend_cb = nullptr,
    .flush_pending_cb = flush_pending,
    .delete_pending_cb = delete_pending,
    .reset_timestamp_cb = reset_timestamp,
    .to_serialized_name = nullptr,
    .from_serialized_name = nullptr,
    .init_shmem_cb = nullptr,
    .flush_static_cb = nullptr,
    .reset_all_cb = nullptr,
    .snapshot_cb = nullptr,
    .name = "dms_refs",
};

} // namespace

void preload_statistics() {
    kind_info.write_to_file = settings.stats_persist;
    pgstat_register_kind(kind, &kind_info);
    stat_storage = &cumulative_statistics;
}

} // namespace dms_refs

#endif
