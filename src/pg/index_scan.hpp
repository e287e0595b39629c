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

inline core::RowAddress row_address(const ItemPointerData &tid) {
    return {ItemPointerGetBlockNumberNoCheck(&tid), ItemPointerGetOffsetNumberNoCheck(&tid)};
}

inline ItemPointerData item_pointer(core::RowAddress row) {
    ItemPointerData tid;
    ItemPointerSet(&tid, row.block, row.offset);
    return tid;
}

// The row in a slot of a heap table, good while the slot holds it.
inline HeapTuple slot_row(TupleTableSlot *slot) {
    return ExecFetchSlotHeapTuple(slot, false, nullptr);
}

// heap must be open and locked; slot must be one of heap's.
LookupScan open_lookup(Relation heap, const LookupIndex &lookup, Snapshot snapshot, TupleTableSlot *slot);

// Starts over with other values; values is indexed by the caller's column numbers.
void start_lookup(LookupScan *scan, const Datum *values);

// Fetches the next visible row into the slot.
inline bool next_row(LookupScan *scan) {
    return index_getnext_slot(scan->scan, ForwardScanDirection, scan->slot);
}

// Only the address of the next index entry, NULL after the last, for rows to be fetched in an order of the caller's.
// Whether there is a visible row is for fetch_on_page to say.
inline ItemPointer next_entry(LookupScan *scan) {
    return index_getnext_tid(scan->scan, ForwardScanDirection);
}

// Fetches the rows of entries that lie on one page, and hands each to take(entry, row) where the snapshot, an MVCC one,
// sees a version; row is good only there. Sets dead where nobody sees one: such entries are passed in vain by every
// scan until mark_dead_entries. The table, a heap, prunes and pins the page with the first row; the others need only
// be looked at, under one lock of the page.
template <class Entry, class Take>
void fetch_on_page(LookupScan *scan, std::span<const Entry> entries, Snapshot snapshot, bool *dead, Take take) {
    Assert(IsMVCCSnapshot(snapshot));
    Assert(std::all_of(entries.begin(), entries.end(),
                       [&](const Entry &entry) { return entry.row.block == entries[0].row.block; }));
    bool pinned = false;
    std::size_t i = 0;
    for (; i < entries.size() && !pinned; ++i) {
        ItemPointerData tid = item_pointer(entries[i].row);
        bool more_versions = false;
        bool all_dead = false;
        pinned =
            table_index_fetch_tuple(scan->scan->xs_heapfetch, &tid, snapshot, scan->slot, &more_versions, &all_dead);
        *dead = *dead || all_dead;
        if (pinned)
            take(entries[i], slot_row(scan->slot));
    }
    if (i == entries.size())
        return;
    const Buffer page = reinterpret_cast<BufferHeapTupleTableSlot *>(scan->slot)->buffer;
    Assert(BufferGetBlockNumber(page) == entries[0].row.block);
    LockBuffer(page, BUFFER_LOCK_SHARE);
    // Ask for all of them first, or each would be waited for by itself. An entry may lead to a line pointer that is
    // dead or redirects: those have no row.
    const Page contents = BufferGetPage(page);
    for (std::size_t ahead = i; ahead < entries.size(); ++ahead) {
        if (entries[ahead].row.offset > PageGetMaxOffsetNumber(contents))
            continue;
        const ItemId item = PageGetItemId(contents, entries[ahead].row.offset);
        if (ItemIdHasStorage(item))
            __builtin_prefetch(PageGetItem(contents, item));
    }
    for (; i < entries.size(); ++i) {
        ItemPointerData tid = item_pointer(entries[i].row);
        HeapTupleData row;
        bool all_dead = false;
        if (heap_hot_search_buffer(&tid, scan->scan->heapRelation, page, snapshot, &row, &all_dead, true))
            take(entries[i], &row);
        *dead = *dead || all_dead;
    }
    LockBuffer(page, BUFFER_LOCK_UNLOCK);
}

// Runs the lookup again in the ordinary way, in which the index learns of dead entries.
void mark_dead_entries(LookupScan *scan, const Datum *values);

void close_lookup(LookupScan *scan);

} // namespace dms_refs
