// Counters of this session alone: what there is where the module was not preloaded.
//
// State: a hash table in TopMemoryContext, for the life of the backend. A dropped table's counters stay until then.
#include "stats/statistics.hpp"

namespace dms_refs {

const StatStorage *stat_storage = &session_statistics;

core::CallCounters *new_counters() {
    return static_cast<core::CallCounters *>(
        MemoryContextAllocExtended(TopMemoryContext, sizeof(core::CallCounters), MCXT_ALLOC_ZERO | MCXT_ALLOC_NO_OOM));
}

namespace {

// The counters lie outside of the hash table: it allocates its entries by the dozen.
struct Own {
    StatKey key;
    core::CallCounters *counters;
};

HTAB *table = nullptr;

core::CallCounters *session_counters(const StatKey &key) {
    if (table == nullptr) {
        table = make_table(TopMemoryContext, "dms_refs statistics of this session", sizeof(StatKey), sizeof(Own));
    }
    bool found;
    auto *own = static_cast<Own *>(hash_search(table, &key, HASH_ENTER_NULL, &found));
    if (own == nullptr)
        return nullptr;
    if (!found || own->counters == nullptr)
        own->counters = new_counters();
    return own->counters;
}

std::span<StatEntry> session_entries(MemoryContext context) {
    if (table == nullptr)
        return {};
    const auto entries = allocate<StatEntry>(context, static_cast<std::size_t>(hash_get_num_entries(table)));
    HASH_SEQ_STATUS scan;
    hash_seq_init(&scan, table);
    std::size_t n = 0;
    while (const auto *own = static_cast<Own *>(hash_seq_search(&scan)))
        if (own->counters != nullptr)
            entries[n++] = {own->key, *own->counters};
    return entries.first(n);
}

void session_reset(Oid relation) {
    if (table == nullptr)
        return;
    HASH_SEQ_STATUS scan;
    hash_seq_init(&scan, table);
    while (const auto *own = static_cast<Own *>(hash_seq_search(&scan))) {
        if (own->counters == nullptr || (OidIsValid(relation) && own->key.relation != relation))
            continue;
        own->counters->clear();
        own->counters->reset = GetCurrentTimestamp();
    }
}

StatStatus session_status() {
    return {"session", table == nullptr ? 0 : hash_get_num_entries(table), 0, 0};
}

} // namespace

const StatStorage session_statistics = {session_counters, [] {},           session_entries,
                                        session_reset,    [](Oid, Oid) {}, session_status};

} // namespace dms_refs
