// The counters of all sessions: a table of fixed size in shared memory, made when the server starts.
#pragma once

#include "stats/statistics.hpp"

namespace dms_refs {

// Where a key's counters are merged; good as long as the slot's generation is the same.
struct Place {
    int slot; // -1: none
    uint32 generation;
    bool other; // the place of all that has none of its own; worth another look when room was made
    uint32 room;
};

struct Dropped {
    Oid database;
    Oid relation; // InvalidOid: all of the database
};

// From _PG_init, while preloading: asks for the memory.
void preload_table();
bool table_exists();

// Whether a place is of any use, as far as that can be told without a look into the slot.
bool still_good(const Place &place);
// The place of a key, made where there is room: takes the table's lock. Not in an error handler; at the end of a
// transaction the server has released what a failed command held.
Place take_place(const StatKey &key, bool temporary);
// The place of a key that has one, else that of all others.
Place find_place(const StatKey &key);
// False where the slot has gone to another key.
bool merge_at(const Place &place, const StatKey &key, const core::CallCounters &counters);
bool copy_from(const Place &place, const StatKey &key, core::CallCounters *counters);
// Whether this backend found no room, and nobody has said so yet.
bool found_full();

void table_missed(int64 calls);
bool table_knows(const Dropped &dropped);
void table_drop(std::span<const Dropped> dropped);
void table_reset(Oid database, Oid relation);
StatStatus table_status();

// The table's keys, and after them those of the given ones that it does not have.
std::span<Seen> table_keys(MemoryContext context, std::span<const StatKey> own);

// --- saved_file.cpp: for the time between a clean shutdown and the next start; in the server's first process ---

struct SavedEntry {
    StatKey key;
    core::CallCounters counters;
};

void load_table();
void save_table(int code, Datum);
// Puts a saved entry into the table; false where there is no room.
bool put_saved(const SavedEntry &entry);
// What is worth saving: calls save for each, until it fails.
bool for_each_to_save(bool (*save)(const SavedEntry &entry, void *file), void *file);
uint32 entries_to_save();

} // namespace dms_refs
