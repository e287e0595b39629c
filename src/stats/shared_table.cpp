// The counters of all sessions in shared memory: see shared_table.hpp.
//
// State: an array of stats_max slots, a permutation of their numbers with those in use first, a hash table from keys to
// slots, and another of owners: how many entries each database has, and each of its tables. Everything is allocated
// when the server starts, so nothing here can run out of memory, and no role can make it take more.
//
// Who gets a place: once the table is full, all databases with entries have the same share of it, and one that has more
// gives way, the entry first that was not called for the longest. Of a database's share stages have a half at most, and
// temporary tables a quarter: any role can make those. What finds no place is counted in one entry of the whole
// database, which comes with its first, and which takes in what an entry that gives way has counted.
//
// Locking: the named LWLock guards the hash tables, the permutation and the keys; it is taken at a backend's first use
// of a key, by drops and by readers. A slot's spinlock guards its counters, and with them the key's generation: who has
// its number from before it went to another key notices. Only one spinlock is held at a time. On error: nothing here
// raises one; readers allocate before they lock.
#include "stats/shared_table.hpp"

namespace dms_refs {

namespace {

constexpr const char *tranche = "dms_refs_statistics";

struct Slot {
    slock_t lock;
    uint32 generation;
    StatKey key;  // database 0: the slot is free
    int position; // in the permutation
    bool temporary;
    core::CallCounters counters;
};

struct Shared {
    LWLock *lock;
    int used;
    int databases;
    pg_atomic_uint32 room; // counts how often room was made
    pg_atomic_uint64 not_recorded;
    pg_atomic_flag warned;
    Slot slots[FLEXIBLE_ARRAY_MEMBER];
};

struct SlotOfKey {
    StatKey key;
    int slot;
};

// Of a database (relation InvalidOid), or of one of its tables, which only counts its entries.
struct Owner {
    Dropped key;
    int entries; // the one for all others is not among them
    int staged;
    int temporary;
    int other; // the slot of that one
};

Shared *shared = nullptr;
int *order = nullptr;
HTAB *slots_of_keys = nullptr;
HTAB *owners = nullptr;
bool full = false; // found by this backend, and not yet said
shmem_request_hook_type previous_request = nullptr;
shmem_startup_hook_type previous_startup = nullptr;

Size slots_size() {
    return MAXALIGN(add_size(offsetof(Shared, slots), mul_size(sizeof(Slot), static_cast<Size>(settings.stats_max))));
}

Size shared_size() {
    return add_size(slots_size(), mul_size(sizeof(int), static_cast<Size>(settings.stats_max)));
}

// Each entry may be of another database and another table.
int max_owners() {
    return 2 * settings.stats_max;
}

void request() {
    if (previous_request != nullptr)
        previous_request();
    RequestAddinShmemSpace(add_size(shared_size(), add_size(hash_estimate_size(settings.stats_max, sizeof(SlotOfKey)),
                                                            hash_estimate_size(max_owners(), sizeof(Owner)))));
    RequestNamedLWLockTranche(tranche, 1);
}

int slot_of(const StatKey &key) {
    const auto *found = static_cast<SlotOfKey *>(hash_search(slots_of_keys, &key, HASH_FIND, nullptr));
    return found == nullptr ? -1 : found->slot;
}

Owner *owner_of(Oid database, Oid relation, HASHACTION action) {
    const Dropped key = {database, relation};
    bool found;
    auto *owner = static_cast<Owner *>(hash_search(owners, &key, action, &found));
    if (owner != nullptr && !found)
        *owner = {key, 0, 0, 0, -1};
    return owner;
}

bool idle(const core::CallCounters &counters) {
    return counters.empty() && counters.reset != 0;
}

// What a database may have when the table is full, beside its entry for all others.
int share(int databases) {
    return Max(settings.stats_max / Max(databases, 1) - 1, 1);
}

// The functions below need the lock exclusively; but when the server starts there is nobody else.

[[maybe_unused]] bool alone() {
    return !IsUnderPostmaster || LWLockHeldByMeInMode(shared->lock, LW_EXCLUSIVE);
}

// -1 where there is no room.
int use_slot(const StatKey &key, bool temporary) {
    Assert(alone());
    Assert(key.function < Function::count && static_cast<int>(key.path) < core::stat_paths);
    if (shared->used >= settings.stats_max)
        return -1;
    bool found;
    auto *entry = static_cast<SlotOfKey *>(hash_search(slots_of_keys, &key, HASH_ENTER_NULL, &found));
    if (entry == nullptr)
        return -1;
    Assert(!found);
    const int number = order[shared->used];
    Slot *slot = &shared->slots[number];
    Assert(!OidIsValid(slot->key.database) && slot->position == shared->used);
    ++shared->used;
    entry->slot = number;
    SpinLockAcquire(&slot->lock);
    ++slot->generation;
    slot->key = key;
    slot->temporary = temporary;
    SpinLockRelease(&slot->lock);
    return number;
}

// Empties a slot, unless only idle ones are wanted and it is not. What it counted goes to `last`, if that is given.
bool empty_slot(int number, bool only_idle, core::CallCounters *last) {
    Slot *slot = &shared->slots[number];
    const StatKey key = slot->key;
    Assert(alone());
    Assert(OidIsValid(key.database) && slot->position < shared->used && order[slot->position] == number);
    SpinLockAcquire(&slot->lock);
    const bool stays = only_idle && !idle(slot->counters);
    if (!stays) {
        if (last != nullptr)
            *last = slot->counters;
        ++slot->generation;
        slot->key = {};
        memset(static_cast<void *>(&slot->counters), 0, sizeof slot->counters);
    }
    SpinLockRelease(&slot->lock);
    if (stays)
        return false;
    hash_search(slots_of_keys, &key, HASH_REMOVE, nullptr);
    --shared->used;
    const int moved = order[shared->used];
    std::swap(order[slot->position], order[shared->used]);
    std::swap(slot->position, shared->slots[moved].position);
    return true;
}

// An entry of a table, or of calls that have none, and its share in its owners.
bool remove_entry(int number, bool only_idle, core::CallCounters *last) {
    const StatKey key = shared->slots[number].key;
    const bool temporary = shared->slots[number].temporary;
    Assert(key.function != Function::other);
    if (!empty_slot(number, only_idle, last))
        return false;
    Owner *table = OidIsValid(key.relation) ? owner_of(key.database, key.relation, HASH_FIND) : nullptr;
    if (table != nullptr && --table->entries == 0)
        hash_search(owners, &table->key, HASH_REMOVE, nullptr);
    Owner *database = owner_of(key.database, InvalidOid, HASH_FIND);
    Assert(database != nullptr && database->entries > 0);
    --database->entries;
    database->staged -= key.function == Function::staging ? 1 : 0;
    database->temporary -= temporary ? 1 : 0;
    return true;
}

// A database without entries needs none for others.
void remove_database(Owner *database, bool only_idle) {
    Assert(database->entries == 0);
    const core::CallCounters &counters = shared->slots[database->other].counters;
    if (only_idle && !counters.empty())
        return;
    (void)empty_slot(database->other, false, nullptr);
    hash_search(owners, &database->key, HASH_REMOVE, nullptr);
    --shared->databases;
}

// From the end, so that what takes the place of a removed one has been looked at.
template <class Condition> void remove_entries(bool only_idle, Condition condition) {
    bool any = false;
    for (int i = shared->used - 1; i >= 0; --i) {
        if (i >= shared->used)
            continue;
        const StatKey key = shared->slots[order[i]].key;
        if (key.function == Function::other || !condition(key) || !remove_entry(order[i], only_idle, nullptr))
            continue;
        any = true;
        Owner *database = owner_of(key.database, InvalidOid, HASH_FIND);
        if (database->entries == 0)
            remove_database(database, true);
    }
    if (any)
        pg_atomic_fetch_add_u32(&shared->room, 1);
}

// Makes room at the cost of a database that has more than its share, for one that has less.
void move_out(int databases) {
    int victim = -1;
    for (int i = 0; i < shared->used; ++i) {
        const Slot &slot = shared->slots[order[i]];
        if (slot.key.function == Function::other ||
            owner_of(slot.key.database, InvalidOid, HASH_FIND)->entries <= share(databases))
            continue;
        if (victim < 0 || slot.counters.last_call < shared->slots[victim].counters.last_call)
            victim = order[i];
    }
    if (victim < 0)
        return;
    const Owner *database = owner_of(shared->slots[victim].key.database, InvalidOid, HASH_FIND);
    core::CallCounters last;
    (void)remove_entry(victim, false, &last);
    Slot *other = &shared->slots[database->other];
    SpinLockAcquire(&other->lock);
    other->counters.merge(last);
    SpinLockRelease(&other->lock);
}

// A database's first entry comes with the one for all others.
void make_room(Oid database) {
    if (shared->used + 2 <= settings.stats_max)
        return;
    // What was reset and not used since says nothing but when that was.
    remove_entries(true, [](const StatKey &) { return true; });
    const Owner *owner = owner_of(database, InvalidOid, HASH_FIND);
    const int wanted = owner == nullptr ? 2 : 1;
    const int entries = owner == nullptr ? 0 : owner->entries;
    const int databases = shared->databases + (owner == nullptr ? 1 : 0);
    for (int i = 0; i < wanted && shared->used + wanted > settings.stats_max && entries < share(databases); ++i)
        move_out(databases);
}

// The slot of a key that has none yet; that of all others where there is no room; -1 where not even that.
int make_slot(const StatKey &key, bool temporary) {
    make_room(key.database);
    Owner *database = owner_of(key.database, InvalidOid, HASH_FIND);
    if (database == nullptr) {
        const int slot = use_slot(other_of(key.database), false);
        if (slot < 0)
            return -1;
        database = owner_of(key.database, InvalidOid, HASH_ENTER_NULL);
        if (database == nullptr) {
            (void)empty_slot(slot, false, nullptr);
            return -1;
        }
        database->other = slot;
        ++shared->databases;
    }
    const bool staged = key.function == Function::staging;
    const int mine = share(shared->databases);
    if (key.function == Function::other || (staged && database->staged >= Max(mine / 2, 1)) ||
        (temporary && database->temporary >= Max(mine / 4, 1)))
        return database->other;
    Owner *table = nullptr;
    if (OidIsValid(key.relation)) {
        table = owner_of(key.database, key.relation, HASH_ENTER_NULL);
        if (table == nullptr)
            return database->other;
    }
    const int slot = use_slot(key, temporary);
    if (slot < 0) {
        if (table != nullptr && table->entries == 0)
            hash_search(owners, &table->key, HASH_REMOVE, nullptr);
        return database->other;
    }
    if (table != nullptr)
        ++table->entries;
    ++database->entries;
    database->staged += staged ? 1 : 0;
    database->temporary += temporary ? 1 : 0;
    return slot;
}

Place place_of(int slot) {
    const bool other = slot < 0 || shared->slots[slot].key.function == Function::other;
    return {slot, slot < 0 ? 0 : shared->slots[slot].generation, other, pg_atomic_read_u32(&shared->room)};
}

// The key under which a place counts.
bool counts_under(const StatKey &place, const StatKey &key) {
    return place == key || (place.function == Function::other && place.database == key.database);
}

// In the server's first process, at each start of shared memory: also the one after a crash, which finds no file.
void startup() {
    if (previous_startup != nullptr)
        previous_startup();
    LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
    bool found;
    shared = static_cast<Shared *>(ShmemInitStruct("dms_refs statistics", shared_size(), &found));
    order = reinterpret_cast<int *>(reinterpret_cast<char *>(shared) + slots_size());
    if (!found) {
        memset(static_cast<void *>(shared), 0, shared_size());
        shared->lock = &GetNamedLWLockTranche(tranche)->lock;
        pg_atomic_init_u32(&shared->room, 0);
        pg_atomic_init_u64(&shared->not_recorded, 0);
        pg_atomic_init_flag(&shared->warned);
        for (int i = 0; i < settings.stats_max; ++i) {
            SpinLockInit(&shared->slots[i].lock);
            order[i] = shared->slots[i].position = i;
        }
    }
    HASHCTL control = {};
    control.keysize = sizeof(StatKey);
    control.entrysize = sizeof(SlotOfKey);
    slots_of_keys = ShmemInitHash("dms_refs statistics keys", settings.stats_max, settings.stats_max, &control,
                                  HASH_ELEM | HASH_BLOBS);
    control.keysize = sizeof(Dropped);
    control.entrysize = sizeof(Owner);
    owners = ShmemInitHash("dms_refs statistics owners", max_owners(), max_owners(), &control, HASH_ELEM | HASH_BLOBS);
    LWLockRelease(AddinShmemInitLock);
    if (found || IsUnderPostmaster)
        return;
    on_shmem_exit(save_table, static_cast<Datum>(0));
    load_table();
}

} // namespace

void preload_table() {
    previous_request = shmem_request_hook;
    shmem_request_hook = request;
    previous_startup = shmem_startup_hook;
    shmem_startup_hook = startup;
}

bool table_exists() {
    return shared != nullptr;
}

bool still_good(const Place &place) {
    return place.other ? place.room == pg_atomic_read_u32(&shared->room) : place.slot >= 0;
}

Place take_place(const StatKey &key, bool temporary) {
    LWLockAcquire(shared->lock, LW_SHARED);
    int slot = slot_of(key);
    Place place = place_of(slot);
    LWLockRelease(shared->lock);
    if (slot >= 0)
        return place;
    LWLockAcquire(shared->lock, LW_EXCLUSIVE);
    slot = slot_of(key);
    if (slot < 0)
        slot = make_slot(key, temporary);
    place = place_of(slot);
    LWLockRelease(shared->lock);
    if (place.other && key.function != Function::other)
        full = pg_atomic_test_set_flag(&shared->warned) || full;
    return place;
}

Place find_place(const StatKey &key) {
    LWLockAcquire(shared->lock, LW_SHARED);
    int slot = slot_of(key);
    if (slot < 0)
        if (const Owner *database = owner_of(key.database, InvalidOid, HASH_FIND))
            slot = database->other;
    const Place place = place_of(slot);
    LWLockRelease(shared->lock);
    return place;
}

bool merge_at(const Place &place, const StatKey &key, const core::CallCounters &counters) {
    if (place.slot < 0)
        return false;
    Assert(place.slot < settings.stats_max);
    Slot *slot = &shared->slots[place.slot];
    SpinLockAcquire(&slot->lock);
    const bool good = slot->generation == place.generation && counts_under(slot->key, key);
    if (good)
        slot->counters.merge(counters);
    SpinLockRelease(&slot->lock);
    return good;
}

bool copy_from(const Place &place, const StatKey &key, core::CallCounters *counters) {
    Slot *slot = &shared->slots[place.slot];
    SpinLockAcquire(&slot->lock);
    const bool good = slot->generation == place.generation && slot->key == key;
    if (good)
        *counters = slot->counters;
    SpinLockRelease(&slot->lock);
    if (!good)
        memset(static_cast<void *>(counters), 0, sizeof *counters);
    return good;
}

bool found_full() {
    const bool was = full;
    full = false;
    return was;
}

void table_missed(int64 calls) {
    pg_atomic_fetch_add_u64(&shared->not_recorded, calls);
}

bool table_knows(const Dropped &dropped) {
    LWLockAcquire(shared->lock, LW_SHARED);
    const bool known = owner_of(dropped.database, dropped.relation, HASH_FIND) != nullptr;
    LWLockRelease(shared->lock);
    return known;
}

void table_drop(std::span<const Dropped> dropped) {
    LWLockAcquire(shared->lock, LW_EXCLUSIVE);
    for (const Dropped &what : dropped) {
        remove_entries(false, [&what](const StatKey &key) {
            return key.database == what.database && (!OidIsValid(what.relation) || key.relation == what.relation);
        });
        Owner *database = OidIsValid(what.relation) ? nullptr : owner_of(what.database, InvalidOid, HASH_FIND);
        if (database != nullptr)
            remove_database(database, false);
    }
    LWLockRelease(shared->lock);
    pg_atomic_clear_flag(&shared->warned);
}

void table_reset(Oid database, Oid relation) {
    const TimestampTz now = GetCurrentTimestamp();
    LWLockAcquire(shared->lock, LW_SHARED);
    for (int i = 0; i < shared->used; ++i) {
        Slot *slot = &shared->slots[order[i]];
        if (slot->key.database != database || (OidIsValid(relation) && slot->key.relation != relation))
            continue;
        SpinLockAcquire(&slot->lock);
        slot->counters.clear();
        slot->counters.reset = now;
        SpinLockRelease(&slot->lock);
    }
    LWLockRelease(shared->lock);
    pg_atomic_fetch_add_u32(&shared->room, 1);
    pg_atomic_clear_flag(&shared->warned);
}

StatStatus table_status() {
    LWLockAcquire(shared->lock, LW_SHARED);
    const int used = shared->used;
    LWLockRelease(shared->lock);
    return {"shared memory", used, settings.stats_max, static_cast<int64>(pg_atomic_read_u64(&shared->not_recorded))};
}

std::span<Seen> table_keys(MemoryContext context, std::span<const StatKey> own) {
    std::size_t room = static_cast<std::size_t>(table_status().entries) + own.size() + 16;
    for (;;) {
        const auto seen = allocate<Seen>(context, room);
        LWLockAcquire(shared->lock, LW_SHARED);
        const auto used = static_cast<std::size_t>(shared->used);
        if (used + own.size() > room) {
            LWLockRelease(shared->lock);
            room = used + own.size() + 16;
            continue;
        }
        std::size_t n = 0;
        for (; n < used; ++n) {
            const Slot &slot = shared->slots[order[n]];
            seen[n] = {slot.key, order[n], slot.generation};
        }
        for (const StatKey &key : own)
            if (slot_of(key) < 0)
                seen[n++] = {key, -1, 0};
        LWLockRelease(shared->lock);
        return seen.first(n);
    }
}

// --- for the file ---

bool put_saved(const SavedEntry &entry) {
    int slot = slot_of(entry.key);
    if (slot < 0)
        slot = make_slot(entry.key, false);
    if (slot < 0)
        return false;
    shared->slots[slot].counters.merge(entry.counters);
    shared->slots[slot].counters.reset = entry.counters.reset;
    return true;
}

uint32 entries_to_save() {
    uint32 n = 0;
    for (int i = 0; i < shared->used; ++i)
        n += shared->slots[order[i]].temporary ? 0 : 1;
    return n;
}

// Temporary tables end with their sessions, and those have ended.
bool for_each_to_save(bool (*save)(const SavedEntry &entry, void *file), void *file) {
    for (int i = 0; i < shared->used; ++i) {
        const Slot &slot = shared->slots[order[i]];
        if (slot.temporary)
            continue;
        const SavedEntry entry = {slot.key, slot.counters};
        if (!save(entry, file))
            return false;
    }
    return true;
}

} // namespace dms_refs
