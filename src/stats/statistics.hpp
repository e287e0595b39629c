// Where statistics are kept: one interface, three ways.
//
//   session          not preloaded: this backend's own counters, in its memory
//   shared memory    15 to 17: the module's own shared memory
//   cumulative kind  18 and later: a custom kind of the server's cumulative statistics
//
// A way hands out counters to add to, which belong to this backend alone; when they reach what others see is the way's
// business. So recording a call takes no lock and, after the first call of its kind, no memory.
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

struct StatEntry {
    StatKey key;
    core::CallCounters counters;
};

struct StatStatus {
    const char *storage;
    int64 entries;
    int64 max_entries;  // 0: not bounded
    int64 not_recorded; // calls for which there was no room
};

struct StatStorage {
    // This backend's counters of a key; NULL where there is no room. The address is good until forget_counters().
    core::CallCounters *(*counters)(const StatKey &key);
    // A call could not be counted.
    void (*missed)();
    // A copy of everything, this backend's newest included.
    std::span<StatEntry> (*entries)(MemoryContext context);
    // Starts a relation's counters again, or all of this database where it is InvalidOid.
    void (*reset)(Oid relation);
    // The transaction drops a relation or a database: its counters go when it commits.
    void (*dropped)(Oid database, Oid relation);
    StatStatus (*status)();
};

extern const StatStorage *stat_storage;
extern const StatStorage session_statistics;

// For the life of the backend; NULL where there is no memory.
core::CallCounters *new_counters();

// Called by a way whose counters have moved.
void forget_counters();

// From _PG_init, in the preloading server process only: makes the way of this server's version the one in use.
void preload_statistics();

// From _PG_init, in every process.
void watch_drops();

} // namespace dms_refs
