// What every file outside core/ shares: the server's headers, the settings, and a macro for SQL entry points.
//
// Settings belong to the server's GUC machinery, which keeps them for the life of the backend.
#pragma once

#include <algorithm>
#include <span>
#include <type_traits>

#include "pg/compat.hpp"
#include "pg/postgres.hpp"

namespace dms_refs {

enum Engine : int { engine_auto, engine_direct, engine_sql };
enum LockParent : int { lock_on_change, lock_always, lock_never };
enum Duplicates : int { duplicates_ignore, duplicates_error };
enum Track : int { track_none, track_top, track_all };

struct Settings {
    int engine = engine_auto;
    int lock_parent = lock_on_change;
    int duplicate_references = duplicates_ignore;
    int alias_cache = 4096; // entries a backend
    bool native_fk_checks = true;
    int track = track_top;
    bool track_timing = false;
    bool log_calls = false;
    int stats_max = 1000; // entries
    bool stats_persist = true;
    int staging_memory = 64 * 1024; // kB a backend
    int staging_memory_total = -1;  // kB
};
extern Settings settings;

// An array in a memory context: the only way that arrays are made outside core/.
template <class T> std::span<T> allocate(MemoryContext context, std::size_t n) {
    static_assert(std::is_trivially_destructible_v<T> && std::is_trivially_copyable_v<T>);
    return {static_cast<T *>(MemoryContextAllocHuge(context, sizeof(T) * (n == 0 ? 1 : n))), n};
}

// For assertions: whether a relation is open and this backend has a lock of that mode or a stronger one.
inline bool is_locked(Relation relation, LOCKMODE lock) {
    return RelationIsValid(relation) && relation->rd_refcnt > 0 && CheckRelationLockedByMe(relation, lock, true);
}

// A hash table in a memory context, its keys compared as bytes, or as strings with HASH_STRINGS. hash_create makes it
// a context of its own below, and allocates entries by the dozen: large ones belong outside.
inline HTAB *make_table(MemoryContext context, const char *name, Size key_size, Size entry_size,
                        int key_kind = HASH_BLOBS) {
    HASHCTL control = {};
    control.keysize = key_size;
    control.entrysize = entry_size;
    control.hcxt = context;
    return hash_create(name, 32, &control, HASH_ELEM | HASH_CONTEXT | key_kind);
}

// With many partitions the planner finds a generic plan of a foreign key's check dearer than planning anew for each
// row, which costs more than the check. Until end_generic_plans, or the end of the (sub)transaction, generic ones are
// taken; only around what runs no users' code, which would see a setting that nobody has made.
inline int begin_generic_plans() {
    const int level = NewGUCNestLevel();
    (void)set_config_option("plan_cache_mode", "force_generic_plan", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true,
                            0, false);
    return level;
}

inline void end_generic_plans(int level) {
    AtEOXact_GUC(true, level);
}

} // namespace dms_refs

// An SQL-callable function: C linkage, exported, and registered with the function manager.
#define DMS_REFS_FUNCTION(name)                                                                                        \
    extern "C" {                                                                                                       \
    PG_FUNCTION_INFO_V1(name);                                                                                         \
    }                                                                                                                  \
    extern "C" PGDLLEXPORT Datum name(PG_FUNCTION_ARGS)
