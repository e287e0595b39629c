// Fetching one row version of a heap table by a hint of where it lies.
#pragma once

#include "core/row_cache.hpp"
#include "pg/module.hpp"

namespace dms_refs {

// Asks the processor for the memory that fetch_row will read. Any hint will do: nothing is dereferenced.
void prefetch_row(const core::RowHint &hint);

// Fetches the row version at a hint's address into the slot, where it exists and the snapshot sees it. heap
// must be a heap table, open and locked. Brings the hint up to date where it is found.
bool fetch_row(Relation heap, core::RowHint *hint, Snapshot snapshot, TupleTableSlot *slot);

// The hint for a row that an index scan of a heap table has put into the slot.
core::RowHint row_hint(TupleTableSlot *slot);

} // namespace dms_refs
