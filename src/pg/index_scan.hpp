// Equality lookups through a btree index of one table.
//
// A scan lives in the caller's memory context and resource owner: close it on success; abort releases it.
#pragma once

#include "core/reference_set.hpp"
#include "pg/module.hpp"

namespace dms_refs {

// A btree index that serves an equality lookup by some of the caller's columns.
struct LookupIndex {
    Oid oid = InvalidOid;
    int nkeys = 0;
    int columns[3] = {}; // the caller's number of each index key, in index order
    Oid equal_functions[3] = {};

    bool usable() const { return OidIsValid(oid); }
};

struct LookupScan {
    const LookupIndex *lookup;
    Relation index;
    IndexScanDesc scan;
    TupleTableSlot *slot; // holds the current row
    ScanKeyData keys[3];
};
static_assert(std::is_trivially_destructible_v<LookupScan>);

// heap must be open and locked; slot must be one of heap's.
LookupScan open_lookup(Relation heap, const LookupIndex &lookup, Snapshot snapshot, TupleTableSlot *slot);

// Starts over with other values; values is indexed by the caller's column numbers.
void start_lookup(LookupScan *scan, const Datum *values);

// Fetches the next visible row into the slot.
inline bool next_row(LookupScan *scan) {
    return index_getnext_slot(scan->scan, ForwardScanDirection, scan->slot);
}

// Only the address of the next index entry, NULL after the last, for rows to be fetched in an order of the caller's.
// Whether there is a visible row is for fetch_by_entry to say.
inline ItemPointer next_entry(LookupScan *scan) {
    return index_getnext_tid(scan->scan, ForwardScanDirection);
}

// Fetches the row of an entry into the slot; false where the snapshot, an MVCC one, sees none. Sets dead where nobody
// sees one: such entries are passed in vain by every scan until mark_dead_entries.
inline bool fetch_by_entry(LookupScan *scan, ItemPointer tid, Snapshot snapshot, bool *dead) {
    bool more_versions = false;
    bool all_dead = false;
    const bool found =
        table_index_fetch_tuple(scan->scan->xs_heapfetch, tid, snapshot, scan->slot, &more_versions, &all_dead);
    *dead = *dead || all_dead;
    return found;
}

// Runs the lookup again in the ordinary way, in which the index learns of dead entries.
void mark_dead_entries(LookupScan *scan, const Datum *values);

void close_lookup(LookupScan *scan);

[[noreturn]] void raise_null_column(TupleTableSlot *slot, AttrNumber attribute);

inline core::RowAddress row_address(const ItemPointerData &tid) {
    return {ItemPointerGetBlockNumberNoCheck(&tid), ItemPointerGetOffsetNumberNoCheck(&tid)};
}

inline ItemPointerData item_pointer(core::RowAddress row) {
    ItemPointerData tid;
    ItemPointerSet(&tid, row.block, row.offset);
    return tid;
}

// A column that must hold a value: 23502 where it is null.
inline Datum column_value(TupleTableSlot *slot, AttrNumber attribute) {
    bool is_null;
    const Datum value = slot_getattr(slot, attribute, &is_null);
    if (unlikely(is_null))
        raise_null_column(slot, attribute);
    return value;
}

} // namespace dms_refs
