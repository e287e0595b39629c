// This backend's own counters: what it counted since they were last merged into shared memory, or, where the module was
// not preloaded, all that it counted.
//
// State: a hash table in TopMemoryContext, the counters outside of it, and two lists of its entries: all, and those
// with something to merge. Locks: none while counting. A place in shared memory is taken when a (top-level) transaction
// ends, where the locks of a failed command are released and the tables that it used are still locked: so no place is
// made for a table that another session is dropping. What was counted of a table that the transaction made goes when
// the (sub)transaction that made it is rolled back; it is not known at PREPARE whether the table will be, so it goes
// there, too. On error: counters of a call that failed are kept, like the server's. Callbacks raise nothing and
// allocate nothing.
#include "stats/shared_table.hpp"

namespace dms_refs {

namespace {

// More than a session mostly needs; beyond, all are forgotten when they are merged.
constexpr int kept_pendings = 128;

constexpr Place no_place = {-1, 0, false, 0};

struct Pending {
    StatKey key;
    Origin origin;
    Place place;
    bool dirty;
    Pending *next;
    Pending *next_dirty;
    core::CallCounters *counters; // outside of the hash table, which allocates its entries by the dozen
};

// In TopTransactionContext.
struct Drop {
    Dropped what;
    int nest_level;
    Drop *next;
};

HTAB *pendings = nullptr;
Pending *all = nullptr;
Pending *dirty = nullptr;
Drop *drops = nullptr;
int64 own_missed = 0;

int n_pendings() {
    return static_cast<int>(hash_get_num_entries(pendings));
}

// A transaction may use any number of tables.
int max_pendings() {
    return table_exists() ? settings.stats_max + kept_pendings : settings.stats_max;
}

// Forgets those that a condition on key and origin names.
template <class Condition> void remove_pendings(Condition condition) {
    bool any = false;
    for (Pending **link = &dirty; *link != nullptr;) {
        if (condition(**link))
            *link = (*link)->next_dirty;
        else
            link = &(*link)->next_dirty;
    }
    for (Pending **link = &all; *link != nullptr;) {
        Pending *pending = *link;
        if (!condition(*pending)) {
            link = &pending->next;
            continue;
        }
        any = true;
        *link = pending->next;
        if (pending->counters != nullptr)
            pfree(pending->counters);
        const StatKey key = pending->key;
        hash_search(pendings, &key, HASH_REMOVE, nullptr);
    }
    if (any)
        forget_counters();
}

bool concerns(const Dropped &dropped, const StatKey &key) {
    return dropped.database == key.database && (!OidIsValid(dropped.relation) || dropped.relation == key.relation);
}

void take_places() {
    for (Pending *pending = dirty; pending != nullptr; pending = pending->next_dirty)
        if (!still_good(pending->place) && !pending->counters->empty())
            pending->place = take_place(pending->key, pending->origin.temporary);
}

void remove_dropped() {
    if (drops == nullptr)
        return;
    remove_pendings([](const Pending &pending) {
        for (const Drop *drop = drops; drop != nullptr; drop = drop->next)
            if (concerns(drop->what, pending.key))
                return true;
        return false;
    });
    // One by one: there is no memory here for a list of them, and most transactions drop a table or two.
    if (table_exists())
        for (const Drop *drop = drops; drop != nullptr; drop = drop->next)
            if (table_knows(drop->what))
                table_drop({&drop->what, 1});
}

void end_transaction(bool keeps_new_tables, bool drops_tables) {
    if (drops_tables)
        remove_dropped();
    drops = nullptr;
    if (all == nullptr)
        return;
    if (!keeps_new_tables)
        remove_pendings([](const Pending &pending) { return pending.origin.created != InvalidSubTransactionId; });
    for (Pending *pending = all; pending != nullptr; pending = pending->next)
        pending->origin.created = InvalidSubTransactionId;
    if (dirty == nullptr)
        return;
    take_places();
    flush_soon();
}

// A drop that was prepared is as good as done: nobody can use the table meanwhile, and who commits it is another
// session.
void at_transaction_end(XactEvent event, void *) {
    switch (event) {
    case XACT_EVENT_COMMIT: end_transaction(true, true); break;
    case XACT_EVENT_PREPARE: end_transaction(false, true); break;
    case XACT_EVENT_ABORT: end_transaction(false, false); break;
    default: break;
    }
}

void at_subtransaction_end(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *) {
    const int level = GetCurrentTransactionNestLevel();
    if (event == SUBXACT_EVENT_COMMIT_SUB) {
        for (Drop *drop = drops; drop != nullptr; drop = drop->next)
            drop->nest_level = Min(drop->nest_level, level - 1);
        for (Pending *pending = all; pending != nullptr; pending = pending->next)
            if (pending->origin.created == id)
                pending->origin.created = parent;
    } else if (event == SUBXACT_EVENT_ABORT_SUB) {
        while (drops != nullptr && drops->nest_level >= level)
            drops = drops->next;
        remove_pendings([id](const Pending &pending) { return pending.origin.created == id; });
    }
}

} // namespace

void start_counting() {
    pendings = make_table(TopMemoryContext, "dms_refs statistics of this session", sizeof(StatKey), sizeof(Pending));
    RegisterXactCallback(at_transaction_end, nullptr);
    RegisterSubXactCallback(at_subtransaction_end, nullptr);
}

core::CallCounters *counters_for(const StatKey &key, const Origin &origin) {
    bool found;
    auto *pending = static_cast<Pending *>(hash_search(pendings, &key, HASH_FIND, &found));
    if (pending == nullptr) {
        if (n_pendings() >= max_pendings() && key.function != Function::other)
            return counters_for(other_of(key.database), {});
        auto *counters = static_cast<core::CallCounters *>(MemoryContextAllocExtended(
            TopMemoryContext, sizeof(core::CallCounters), MCXT_ALLOC_ZERO | MCXT_ALLOC_NO_OOM));
        if (counters == nullptr)
            return nullptr;
        pending = static_cast<Pending *>(hash_search(pendings, &key, HASH_ENTER_NULL, &found));
        if (pending == nullptr) {
            pfree(counters);
            return nullptr;
        }
        *pending = {key, origin, no_place, false, all, nullptr, counters};
        all = pending;
    }
    if (!pending->dirty && table_exists()) {
        pending->dirty = true;
        pending->next_dirty = dirty;
        dirty = pending;
    }
    return pending->counters;
}

void missed(int64 calls) {
    if (table_exists())
        table_missed(calls);
    else
        own_missed += calls;
}

void flush_counters() {
    if (dirty == nullptr)
        return;
    while (dirty != nullptr) {
        Pending *pending = dirty;
        dirty = pending->next_dirty;
        pending->dirty = false;
        if (!pending->counters->empty() && !merge_at(pending->place, pending->key, *pending->counters)) {
            // Dropped or moved out meanwhile: another place is for the next transaction that uses the table to make.
            if (merge_at(find_place(pending->key), pending->key, *pending->counters))
                pending->place = no_place;
            else
                missed(pending->counters->calls);
        }
        pending->counters->clear();
    }
    forget_counters();
    if (n_pendings() > kept_pendings)
        remove_pendings([](const Pending &) { return true; });
}

void note_drop(Oid database, Oid relation) {
    const Dropped what = {database, relation};
    bool known = table_exists() && table_knows(what);
    for (const Pending *pending = all; pending != nullptr && !known; pending = pending->next)
        known = concerns(what, pending->key);
    if (!known)
        return;
    Drop *drop = allocate<Drop>(TopTransactionContext, 1).data();
    *drop = {what, GetCurrentTransactionNestLevel(), drops};
    drops = drop;
}

std::span<Seen> seen_entries(MemoryContext context) {
    const auto own = allocate<StatKey>(context, static_cast<std::size_t>(n_pendings()));
    std::size_t n = 0;
    for (const Pending *pending = all; pending != nullptr; pending = pending->next)
        if (!pending->counters->empty())
            own[n++] = pending->key;
    if (table_exists())
        return table_keys(context, own.first(n));
    const auto seen = allocate<Seen>(context, n);
    for (std::size_t i = 0; i < n; ++i)
        seen[i] = {own[i], -1, 0};
    return seen;
}

bool read_counters(const Seen &seen, core::CallCounters *counters) {
    bool there = false;
    if (seen.slot >= 0)
        there = copy_from({seen.slot, seen.generation, false, 0}, seen.key, counters);
    else
        memset(static_cast<void *>(counters), 0, sizeof *counters);
    const auto *own = static_cast<Pending *>(hash_search(pendings, &seen.key, HASH_FIND, nullptr));
    if (own != nullptr && !own->counters->empty()) {
        counters->merge(*own->counters);
        counters->reset = Max(counters->reset, own->counters->reset);
        there = true;
    }
    return there;
}

// A drop that this transaction has not committed yet makes a table look gone that may come back.
void forget_tables(std::span<const Oid> gone) {
    if (drops != nullptr || !table_exists())
        return;
    for (const Oid relation : gone) {
        const Dropped what = {MyDatabaseId, relation};
        if (table_knows(what))
            table_drop({&what, 1});
    }
}

void reset_counters(Oid relation) {
    const TimestampTz now = GetCurrentTimestamp();
    for (Pending *pending = all; pending != nullptr; pending = pending->next) {
        if (!concerns({MyDatabaseId, relation}, pending->key))
            continue;
        pending->counters->clear();
        if (!table_exists())
            pending->counters->reset = now;
    }
    if (table_exists())
        table_reset(MyDatabaseId, relation);
}

bool sees_everything() {
    return has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
}

bool may_see(Oid database, Oid relation) {
    if (database != MyDatabaseId || !OidIsValid(relation) || !SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relation)))
        return false;
    return pg_class_aclcheck(relation, GetUserId(), ACL_SELECT) == ACLCHECK_OK ||
           pg_attribute_aclcheck_all(relation, GetUserId(), ACL_SELECT, ACLMASK_ANY) == ACLCHECK_OK;
}

StatStatus stat_status() {
    if (table_exists())
        return table_status();
    return {"session", n_pendings(), settings.stats_max, own_missed};
}

} // namespace dms_refs
