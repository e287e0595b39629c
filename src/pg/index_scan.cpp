// Equality lookups: see index_scan.hpp.
#include "pg/index_scan.hpp"

namespace dms_refs {

LookupScan open_lookup(Relation heap, const LookupIndex &lookup, Snapshot snapshot, TupleTableSlot *slot) {
    LookupScan scan = {};
    scan.lookup = &lookup;
    scan.slot = slot;
    scan.index = index_open(lookup.oid, AccessShareLock);
    for (int i = 0; i < lookup.nkeys; ++i)
        ScanKeyInit(&scan.keys[i], static_cast<AttrNumber>(i + 1), BTEqualStrategyNumber, lookup.equal_functions[i],
                    static_cast<Datum>(0));
    scan.scan = compat::index_beginscan(heap, scan.index, snapshot, lookup.nkeys);
    return scan;
}

void start_lookup(LookupScan *scan, const Datum *values) {
    for (int i = 0; i < scan->lookup->nkeys; ++i)
        scan->keys[i].sk_argument = values[scan->lookup->columns[i]];
    index_rescan(scan->scan, scan->keys, scan->lookup->nkeys, nullptr, 0);
}

void close_lookup(LookupScan *scan) {
    index_endscan(scan->scan);
    index_close(scan->index, NoLock);
}

bool fetch_row(Relation heap, core::RowAddress row, Snapshot snapshot, TupleTableSlot *slot) {
    // Reading past the end of a file raises an error, so the address must lie inside. The storage manager
    // remembers the size it last saw. That may be too small, after another backend has grown the table: then
    // ask again. It cannot be too large: truncation, under an exclusive lock, sends an invalidation that
    // resets it, and our lock on the table has taken that in.
    SMgrRelation storage = RelationGetSmgr(heap);
    const BlockNumber known = storage->smgr_cached_nblocks[MAIN_FORKNUM];
    if ((known == InvalidBlockNumber || row.block >= known) && row.block >= smgrnblocks(storage, MAIN_FORKNUM))
        return false;
    ItemPointerData tid = item_pointer(row);
    return table_tuple_fetch_row_version(heap, &tid, snapshot, slot);
}

} // namespace dms_refs
