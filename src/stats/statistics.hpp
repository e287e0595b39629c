// What is counted of calls, and where the counters are.
//
// A backend counts in memory of its own (pending.cpp): recording a call takes no lock and, after the first call of its
// kind, no memory; in an error handler, too, where neither would be safe. Where the module was preloaded, what was
// counted is merged into a table in shared memory (shared_table.cpp) that has a fixed size: at the end of a
// transaction, or, from PostgreSQL 18 on, when the server flushes its own statistics (flush.cpp). Without it the
// backend's own counters are all there is.
#pragma once

#include "core/call_counters.hpp"
#include "pg/module.hpp"

namespace dms_refs {

// The numbers are stored; new ones go to the end.
enum class Function : uint8 {
    none,
    insert_references,
    sync_references,
    diff_references,
    sync_references_batch,
    apply_resolved_references,
    resolve_references,
    find_invalid_references,
    referencing_documents,
    staging, // not a function: what is done with a stage
    other,   // what found no place of its own, of a whole database
    count,
};

const char *function_name(Function function);

// What is counted apart. Without padding: it is hashed as bytes.
struct StatKey {
    Oid database;
    Oid relation; // the reference table, or what a function reads; InvalidOid where a call failed before it was known
    Function function;
    core::StatPath path;
    bool by_sql;
    uint8 unused;

    bool operator==(const StatKey &) const = default;
};
static_assert(sizeof(StatKey) == 12);

// The entry of a database for what found no place of its own.
inline StatKey other_of(Oid database) {
    return {database, InvalidOid, Function::other, core::StatPath::read, false, 0};
}

// Where a table comes from, as the relation cache knows it when the table is open.
struct Origin {
    SubTransactionId created; // the running subtransaction that made it; Invalid: it was there before
    bool temporary;
};

inline Origin origin_of(Relation relation) {
    return {relation->rd_createSubid, relation->rd_rel->relpersistence == RELPERSISTENCE_TEMP};
}

// --- pending.cpp: this backend's own ---

// From _PG_init, in every process.
void start_counting();

// Counters to add to; NULL where there is no memory. The address is good until forget_counters(). Raises nothing, takes
// no lock.
core::CallCounters *counters_for(const StatKey &key, const Origin &origin);

// Calls that could not be counted.
void missed(int64 calls);

// Merges what has a place in shared memory.
void flush_counters();

// The transaction drops a relation, or a database where it is InvalidOid: its counters go when it commits.
void note_drop(Oid database, Oid relation);

// recorder.cpp: called where counters have moved.
void forget_counters();

// --- flush.cpp: when counters are merged, by version of the server ---

// From _PG_init, while preloading.
void preload_flush();

// The transaction ends, and there is something to merge.
void flush_soon();

// --- for the views ---

// An entry: of the shared table, of this backend, or both.
struct Seen {
    StatKey key;
    int slot; // -1: only this backend's own
    uint32 generation;
};

std::span<Seen> seen_entries(MemoryContext context);
// False where it is gone.
bool read_counters(const Seen &seen, core::CallCounters *counters);
// Tables that are no longer there: takes their entries away.
void forget_tables(std::span<const Oid> gone);
// Starts a relation's counters again, or all of this database where it is InvalidOid.
void reset_counters(Oid relation);

struct StatStatus {
    const char *storage;
    int64 entries;
    int64 max_entries;
    int64 not_recorded; // calls for which there was no room at all
};
StatStatus stat_status();

// Whether the current user may see what was counted of a relation: a row of another database, and one of no table, are
// for those who see everything.
bool sees_everything();
bool may_see(Oid database, Oid relation);

// drops.cpp. From _PG_init, in every process.
void watch_drops();

} // namespace dms_refs
