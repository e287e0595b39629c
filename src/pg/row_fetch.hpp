// Fetching row versions of a heap table by hints of where they lie.
#pragma once

#include "core/row_cache.hpp"
#include "pg/module.hpp"

namespace dms_refs {

// Reads rows of one heap table, one at a time. The page of the last row stays pinned until another page is read or the
// reader is closed; abort releases it.
struct RowReader {
    Relation heap; // open and locked
    Snapshot snapshot;
    HeapTupleData row; // the last one found, good while its page is pinned
    Buffer buffer;
};

inline RowReader open_reader(Relation heap, Snapshot snapshot) {
    return {heap, snapshot, {}, InvalidBuffer};
}

inline void close_reader(RowReader *reader) {
    if (BufferIsValid(reader->buffer))
        ReleaseBuffer(reader->buffer);
}

// Asks the processor for the memory that fetch_row will read. Any hint will do: nothing is dereferenced.
void prefetch_row(const core::RowHint &hint);

// Fetches the row version at a hint's address, where it exists and the snapshot sees it. Brings the hint up to date
// where it is found.
bool fetch_row(RowReader *reader, core::RowHint *hint);

// The hint for a row that an index scan of a heap table has put into the slot.
core::RowHint row_hint(TupleTableSlot *slot);

} // namespace dms_refs
