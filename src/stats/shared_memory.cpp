// Statistics in the module's own shared memory: PostgreSQL 15 to 17, which have no custom kinds of cumulative
// statistics.
//
// State: an array of stats_max slots and a hash table from keys to slots, in shared memory; in a backend, a hash table
// of pending counters, each with the number of its slot. Pending counters are merged into their slots when a top-level
// transaction ends, so others see a call once its transaction is over, whichever way it went. Locking: the named LWLock
// guards the hash table and the free slots, and is taken at a backend's first use of a key, by drops and by readers; a
// slot's spinlock guards its counters. A slot that is given to another key gets a new generation: who holds its number
// from before notices, and looks its key up again. A clean shutdown writes all of it to a file
// (dms_refs.stats_persist), the next start reads and removes the file; after a crash there is none, so counters start
// at zero, as the server's own do. On error: nothing here raises one but for want of memory.
#include "stats/statistics.hpp"

#if PG_VERSION_NUM < 180000

#include <cstdio>

namespace dms_refs {

namespace {

constexpr const char *tranche = "dms_refs_statistics";
constexpr const char *file_name = "pg_stat/dms_refs.stat";
constexpr const char *temporary_name = "pg_stat/dms_refs.stat.tmp";
constexpr uint32 file_magic = 0x44525302;

struct Slot {
    slock_t lock;
    uint32 generation;
    StatKey key; // database 0: the slot is free
    core::CallCounters counters;
};

struct Shared {
    LWLock *lock;
    int used;
    int end; // slots from here on were never used
    pg_atomic_uint64 not_recorded;
    pg_atomic_flag warned;
    Slot slots[FLEXIBLE_ARRAY_MEMBER];
};

struct SlotOfKey {
    StatKey key;
    int slot;
};

struct Pending {
    StatKey key;
    int slot; // -1: there was no room
    uint32 generation;
    bool dirty;
    Pending *next_dirty;
    core::CallCounters *counters; // outside of the hash table, which allocates its entries by the dozen
};

struct Drop {
    Oid database;
    Oid relation; // InvalidOid: all of the database
    int nest_level;
    Drop *next;
};

Shared *shared = nullptr;
HTAB *slots_of_keys = nullptr;
HTAB *pendings = nullptr;
Pending *dirty = nullptr;
Drop *drops = nullptr; // in TopTransactionContext
shmem_request_hook_type previous_request = nullptr;
shmem_startup_hook_type previous_startup = nullptr;

Size shared_size() {
    return add_size(offsetof(Shared, slots), mul_size(sizeof(Slot), static_cast<Size>(settings.stats_max)));
}

void request() {
    if (previous_request != nullptr)
        previous_request();
    RequestAddinShmemSpace(add_size(shared_size(), hash_estimate_size(settings.stats_max, sizeof(SlotOfKey))));
    RequestNamedLWLockTranche(tranche, 1);
}

void clear_slot(Slot *slot) {
    ++slot->generation;
    slot->key = {};
    memset(static_cast<void *>(&slot->counters), 0, sizeof slot->counters);
}

// Removes the slots that a condition names. The lock must be held exclusively.
template <class Condition> void free_slots(Condition condition) {
    Assert(LWLockHeldByMeInMode(shared->lock, LW_EXCLUSIVE));
    for (int i = 0; i < shared->end && shared->used > 0; ++i) {
        Slot *slot = &shared->slots[i];
        if (!OidIsValid(slot->key.database) || !condition(*slot))
            continue;
        hash_search(slots_of_keys, &slot->key, HASH_REMOVE, nullptr);
        --shared->used;
        SpinLockAcquire(&slot->lock);
        clear_slot(slot);
        SpinLockRelease(&slot->lock);
    }
}

// The slot of a key, made where there is none: -1 where there is no room. The lock must be held exclusively to make
// one.
int find_slot(const StatKey &key, bool make) {
    bool found;
    auto *entry = static_cast<SlotOfKey *>(hash_search(slots_of_keys, &key, HASH_FIND, &found));
    if (entry != nullptr)
        return entry->slot;
    Assert(LWLockHeldByMe(shared->lock));
    if (!make)
        return -1;
    Assert(LWLockHeldByMeInMode(shared->lock, LW_EXCLUSIVE));
    // What was reset and not used since says nothing but when that was.
    if (shared->used >= settings.stats_max)
        free_slots([](const Slot &slot) { return slot.counters.empty() && slot.counters.reset != 0; });
    if (shared->used >= settings.stats_max)
        return -1;
    int free = 0;
    while (OidIsValid(shared->slots[free].key.database))
        ++free;
    entry = static_cast<SlotOfKey *>(hash_search(slots_of_keys, &key, HASH_ENTER_NULL, &found));
    if (entry == nullptr)
        return -1;
    entry->slot = free;
    ++shared->used;
    shared->end = Max(shared->end, free + 1);
    Slot *slot = &shared->slots[free];
    SpinLockAcquire(&slot->lock);
    clear_slot(slot);
    slot->key = key;
    SpinLockRelease(&slot->lock);
    return free;
}

void warn_full() {
    if (!pg_atomic_test_set_flag(&shared->warned))
        return;
    ereport(WARNING,
            (errmsg("dms_refs has no room for more statistics"),
             errdetail("All %d entries are in use; calls of other kinds are not counted.", settings.stats_max),
             errhint("Raise dms_refs.stats_max and restart the server, or make room with dms_refs.stat_reset().")));
}

void take_slot(Pending *pending) {
    LWLockAcquire(shared->lock, LW_SHARED);
    pending->slot = find_slot(pending->key, false);
    LWLockRelease(shared->lock);
    // Once it was found full, only a reset or a drop makes room again.
    if (pending->slot < 0 && pg_atomic_unlocked_test_flag(&shared->warned)) {
        LWLockAcquire(shared->lock, LW_EXCLUSIVE);
        pending->slot = find_slot(pending->key, true);
        LWLockRelease(shared->lock);
    }
    if (pending->slot >= 0)
        pending->generation = shared->slots[pending->slot].generation;
}

core::CallCounters *shared_counters(const StatKey &key) {
    if (pendings == nullptr) {
        pendings = make_table(TopMemoryContext, "dms_refs pending statistics", sizeof(StatKey), sizeof(Pending));
    }
    bool found;
    auto *pending = static_cast<Pending *>(hash_search(pendings, &key, HASH_ENTER_NULL, &found));
    if (pending == nullptr)
        return nullptr;
    if (!found) {
        memset(static_cast<void *>(pending), 0, sizeof *pending);
        pending->key = key;
        pending->slot = -1;
    }
    if (pending->counters == nullptr)
        pending->counters = new_counters();
    if (pending->counters == nullptr)
        return nullptr;
    if (pending->slot < 0)
        take_slot(pending);
    if (pending->slot < 0) {
        warn_full();
        return nullptr;
    }
    if (!pending->dirty) {
        pending->dirty = true;
        pending->next_dirty = dirty;
        dirty = pending;
    }
    return pending->counters;
}

void shared_missed() {
    pg_atomic_fetch_add_u64(&shared->not_recorded, 1);
}

// False where the slot has gone to another key.
bool merge_into_slot(const Pending &pending) {
    Assert(pending.slot >= 0 && pending.slot < shared->end);
    Slot *slot = &shared->slots[pending.slot];
    SpinLockAcquire(&slot->lock);
    const bool ours = slot->generation == pending.generation && slot->key == pending.key;
    if (ours)
        slot->counters.merge(*pending.counters);
    SpinLockRelease(&slot->lock);
    return ours;
}

void flush() {
    if (dirty == nullptr)
        return;
    while (dirty != nullptr) {
        Pending *pending = dirty;
        dirty = pending->next_dirty;
        pending->dirty = false;
        if (!pending->counters->empty() && !merge_into_slot(*pending)) {
            // It was reset, and given to another key when the table was full.
            take_slot(pending);
            if (pending->slot < 0 || !merge_into_slot(*pending))
                shared_missed();
        }
        pending->counters->clear();
    }
    forget_counters();
}

void drop_noted() {
    if (drops == nullptr)
        return;
    LWLockAcquire(shared->lock, LW_EXCLUSIVE);
    free_slots([](const Slot &slot) {
        const StatKey &key = slot.key;
        for (const Drop *drop = drops; drop != nullptr; drop = drop->next)
            if (drop->database == key.database && (!OidIsValid(drop->relation) || drop->relation == key.relation))
                return true;
        return false;
    });
    LWLockRelease(shared->lock);
    pg_atomic_clear_flag(&shared->warned);
}

void at_transaction_end(XactEvent event, void *) {
    switch (event) {
    case XACT_EVENT_COMMIT:
        flush();
        drop_noted();
        drops = nullptr;
        break;
    case XACT_EVENT_ABORT:
    case XACT_EVENT_PREPARE:
        flush();
        drops = nullptr;
        break;
    default: break;
    }
}

void at_subtransaction_end(SubXactEvent event, SubTransactionId, SubTransactionId, void *) {
    const int level = GetCurrentTransactionNestLevel();
    if (event == SUBXACT_EVENT_COMMIT_SUB) {
        for (Drop *drop = drops; drop != nullptr; drop = drop->next)
            drop->nest_level = Min(drop->nest_level, level - 1);
    } else if (event == SUBXACT_EVENT_ABORT_SUB) {
        while (drops != nullptr && drops->nest_level >= level)
            drops = drops->next;
    }
}

void shared_dropped(Oid database, Oid relation) {
    bool known = false;
    LWLockAcquire(shared->lock, LW_SHARED);
    for (int i = 0; i < shared->end && !known; ++i) {
        const StatKey &key = shared->slots[i].key;
        known = key.database == database && (!OidIsValid(relation) || key.relation == relation);
    }
    LWLockRelease(shared->lock);
    if (!known)
        return;
    Drop *drop = allocate<Drop>(TopTransactionContext, 1).data();
    *drop = {database, relation, GetCurrentTransactionNestLevel(), drops};
    drops = drop;
}

std::span<StatEntry> shared_entries(MemoryContext context) {
    std::size_t n = 0;
    LWLockAcquire(shared->lock, LW_SHARED);
    const auto entries = allocate<StatEntry>(context, static_cast<std::size_t>(shared->used));
    for (int i = 0; i < shared->end; ++i) {
        Slot *slot = &shared->slots[i];
        if (!OidIsValid(slot->key.database))
            continue;
        SpinLockAcquire(&slot->lock);
        entries[n++] = {slot->key, slot->counters};
        SpinLockRelease(&slot->lock);
    }
    LWLockRelease(shared->lock);
    for (const Pending *pending = dirty; pending != nullptr; pending = pending->next_dirty)
        for (StatEntry &entry : entries.first(n))
            if (entry.key == pending->key)
                entry.counters.merge(*pending->counters);
    return entries.first(n);
}

void shared_reset(Oid relation) {
    const auto meant = [relation](const StatKey &key) {
        return key.database == MyDatabaseId && (!OidIsValid(relation) || key.relation == relation);
    };
    for (Pending *pending = dirty; pending != nullptr; pending = pending->next_dirty)
        if (meant(pending->key))
            pending->counters->clear();
    const TimestampTz now = GetCurrentTimestamp();
    LWLockAcquire(shared->lock, LW_SHARED);
    for (int i = 0; i < shared->end; ++i) {
        Slot *slot = &shared->slots[i];
        if (!meant(slot->key))
            continue;
        SpinLockAcquire(&slot->lock);
        slot->counters.clear();
        slot->counters.reset = now;
        SpinLockRelease(&slot->lock);
    }
    LWLockRelease(shared->lock);
    pg_atomic_clear_flag(&shared->warned);
}

StatStatus shared_status() {
    LWLockAcquire(shared->lock, LW_SHARED);
    const int used = shared->used;
    LWLockRelease(shared->lock);
    return {"shared memory", used, settings.stats_max, static_cast<int64>(pg_atomic_read_u64(&shared->not_recorded))};
}

constexpr StatStorage shared_memory_statistics = {shared_counters, shared_missed,  shared_entries,
                                                  shared_reset,    shared_dropped, shared_status};

// --- the file: magic, size of an entry, number of entries, entries ---

struct FileHeader {
    uint32 magic;
    uint32 version;
    uint32 entry_size;
    uint32 entries;
};

void load() {
    FILE *file = AllocateFile(file_name, PG_BINARY_R);
    if (file == nullptr)
        return;
    FileHeader header = {};
    bool sound = fread(&header, sizeof header, 1, file) == 1 && header.magic == file_magic &&
                 header.version == PG_VERSION_NUM / 10000 && header.entry_size == sizeof(StatEntry);
    auto *entry = allocate<StatEntry>(CurrentMemoryContext, 1).data();
    for (uint32 i = 0; sound && i < header.entries; ++i) {
        sound = fread(entry, sizeof *entry, 1, file) == 1;
        if (!sound)
            break;
        const int slot = find_slot(entry->key, true);
        if (slot < 0) {
            ereport(LOG, (errmsg("dms_refs.stats_max is smaller than what was saved: %u entries are left out",
                                 header.entries - i)));
            break;
        }
        shared->slots[slot].counters = entry->counters;
    }
    pfree(entry);
    FreeFile(file);
    if (!sound)
        ereport(LOG, (errmsg("ignoring the invalid statistics file \"%s\"", file_name)));
}

// An immediate shutdown ends the postmaster as an orderly one does: only the control file tells them apart.
bool shut_down_cleanly() {
    bool sound = false;
    ControlFileData *control = get_controlfile(DataDir, &sound);
    return sound && (control->state == DB_SHUTDOWNED || control->state == DB_SHUTDOWNED_IN_RECOVERY);
}

void save(int code, Datum) {
    if (code != 0 || shared == nullptr || !settings.stats_persist || !shut_down_cleanly())
        return;
    FILE *file = AllocateFile(temporary_name, PG_BINARY_W);
    const FileHeader header = {file_magic, PG_VERSION_NUM / 10000, sizeof(StatEntry),
                               static_cast<uint32>(shared->used)};
    bool written = file != nullptr && fwrite(&header, sizeof header, 1, file) == 1;
    for (int i = 0; written && i < shared->end; ++i) {
        const Slot &slot = shared->slots[i];
        if (OidIsValid(slot.key.database)) {
            const StatEntry entry = {slot.key, slot.counters};
            written = fwrite(&entry, sizeof entry, 1, file) == 1;
        }
    }
    if (file != nullptr)
        written = FreeFile(file) == 0 && written;
    if (written)
        (void)durable_rename(temporary_name, file_name, LOG);
    else
        ereport(LOG, (errcode_for_file_access(), errmsg("could not write file \"%s\": %m", temporary_name)));
}

// In the postmaster, at each start of shared memory: also the one after a crash, which finds no file.
void startup() {
    if (previous_startup != nullptr)
        previous_startup();
    shared = nullptr;
    HASHCTL control = {};
    control.keysize = sizeof(StatKey);
    control.entrysize = sizeof(SlotOfKey);
    LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
    bool found;
    shared = static_cast<Shared *>(ShmemInitStruct("dms_refs statistics", shared_size(), &found));
    if (!found) {
        memset(static_cast<void *>(shared), 0, shared_size());
        shared->lock = &GetNamedLWLockTranche(tranche)->lock;
        pg_atomic_init_u64(&shared->not_recorded, 0);
        pg_atomic_init_flag(&shared->warned);
        for (int i = 0; i < settings.stats_max; ++i)
            SpinLockInit(&shared->slots[i].lock);
    }
    slots_of_keys = ShmemInitHash("dms_refs statistics keys", settings.stats_max, settings.stats_max, &control,
                                  HASH_ELEM | HASH_BLOBS);
    LWLockRelease(AddinShmemInitLock);
    if (found || IsUnderPostmaster)
        return;
    on_shmem_exit(save, static_cast<Datum>(0));
    load();
    (void)unlink(file_name);
}

} // namespace

void preload_statistics() {
    previous_request = shmem_request_hook;
    shmem_request_hook = request;
    previous_startup = shmem_startup_hook;
    shmem_startup_hook = startup;
    RegisterXactCallback(at_transaction_end, nullptr);
    RegisterSubXactCallback(at_subtransaction_end, nullptr);
    stat_storage = &shared_memory_statistics;
}

} // namespace dms_refs

#endif
