// Writing rows of one table below SQL: what the executor's ModifyTable does for an ordinary heap table.
//
// A target lives from open to close in the memory context that is current at open, and belongs to one call;
// on error the transaction's abort releases what it holds. The table must be open with ROW EXCLUSIVE. The
// caller has checked privileges, row security, BEFORE and statement-level triggers, and fills every column:
// here are constraints, generated columns, indexes, AFTER row triggers and replica identity.
#pragma once

#include "core/reference_set.hpp"
#include "pg/module.hpp"

namespace dms_refs {

struct DirectTarget {
    Relation relation;
    EState *estate;
    ResultRelInfo *info;
    TupleTableSlot *lock_slot;
    std::span<TupleTableSlot *> slots; // made as needed, at most batch_rows
    std::span<char> enabled;           // tgenabled of each trigger
    bool fires_triggers;
};
static_assert(std::is_trivially_destructible_v<DirectTarget>);

// Rows written together: bounds the memory of a call, and the slots.
inline constexpr int batch_rows = 256;

DirectTarget *open_direct(Relation relation);
void close_direct(DirectTarget *target);

// Rows are written in phases, each like one statement: its AFTER triggers fire at its end. checked: triggers of foreign
// keys that the caller has made superfluous for this phase.
void begin_phase(DirectTarget *target, CmdType command, std::span<const Oid> checked = {});
// Whether the triggers may be others than the checks of foreign keys.
void end_phase(DirectTarget *target, bool users_code);

// n cleared slots of the table, valid until the next call.
std::span<TupleTableSlot *> blank_slots(DirectTarget *target, int n);

// Inserts rows that were stored as virtual tuples in blank_slots.
void insert_rows(DirectTarget *target, std::span<TupleTableSlot *> rows, bool compute_generated);

// Deletes a row that the snapshot saw. Returns false where another transaction has deleted it, or changed it
// so that still_wanted says no of its latest version (READ COMMITTED; above that 40001).
bool delete_row(DirectTarget *target, core::RowAddress row, Snapshot snapshot,
                bool (*still_wanted)(TupleTableSlot *latest, const void *argument), const void *argument);

enum class Locked { locked, followed, gone, own_change };

// Locks the latest version of a row that the snapshot saw, waiting for whoever holds it. `followed`: there was
// a newer version than the address named, and it is now in the slot. `gone`: deleted (READ COMMITTED; above
// that, 40001 for both). `own_change`: this transaction has changed it since; look it up again.
// A KEY SHARE lock does not follow updates that leave the key alone: see superseded().
// Whether a newer version of a just locked row has been written, committed or not.
bool superseded(TupleTableSlot *locked);

[[noreturn]] void raise_serialization_failure(const char *concurrent);

Locked lock_row(Relation relation, core::RowAddress row, Snapshot snapshot, LockTupleMode mode, TupleTableSlot *slot);

} // namespace dms_refs
