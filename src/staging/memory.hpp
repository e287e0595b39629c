// How much memory stages take, and its bounds: dms_refs.staging_memory for a session, dms_refs.staging_memory_total for
// all.
//
// State: the backend's sum; the sum of all backends in shared memory, where the module is preloaded. It is a counter
// that nobody waits for. Errors: 53200 where a bound would be passed; nothing is taken then.
#pragma once

#include "pg/module.hpp"

namespace dms_refs::staging {

// What memory is for, and so how far it may go. The last part of a session's bound is left to updates, and what a
// deletion needs is never refused: a stage that is full can be made emptier.
enum class Need : int { insertion, update, deletion };

// What a session may still take.
Size memory_left(Need need);

// Memory for a stage, of which so much is counted: all, but for an array that takes the place of a smaller one. NULL
// where a bound would be passed and it is not required.
void *take_memory(MemoryContext context, Oid stage, Size bytes, Size counted, Need need, bool required = true);

void gave_memory_back(Size bytes) noexcept;

// Whether only the part for updates is left, or somebody was refused memory since this was asked.
bool memory_is_short() noexcept;

// Gives what was freed back to the operating system, where it is much.
void trim_memory() noexcept;

void preload_staging_memory();

} // namespace dms_refs::staging
