// What the calls that are running are doing, for others to see.
//
// State: a slot a backend in shared memory, where the module was preloaded; without it nothing is published.
// Only its own backend writes a slot, under a change count that readers check, so neither waits.
#pragma once

#include "stats/statistics.hpp"

namespace dms_refs {

struct Running {
    int pid; // 0: nothing runs
    Oid database;
    Oid relation;
    Function function;
    core::Phase phase;
    int64 done; // references
    int64 total;
    TimestampTz started;
};

void preload_progress();

// Replaces what this backend publishes: all of it, or one member; or the call has ended.
void publish(const Running &running);
void publish_phase(core::Phase phase);
void publish_relation(Oid relation);
// References; written at once on 64-bit machines, elsewhere a reader may see half of the number.
void publish_done(int64 references);
void publish_total(int64 references);
void publish_nothing();

std::span<Running> running_calls(MemoryContext context);

} // namespace dms_refs
