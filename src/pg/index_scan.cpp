// Equality lookups: see index_scan.hpp.
#include "pg/index_scan.hpp"

namespace dms_refs {

LookupScan open_lookup(Relation heap, const LookupIndex &lookup, Snapshot snapshot, TupleTableSlot *slot) {
    Assert(is_locked(heap, AccessShareLock) && heap->rd_tableam == GetHeapamTableAmRoutine());
    Assert(lookup.usable() && lookup.nkeys > 0 && lookup.nkeys <= static_cast<int>(lengthof(lookup.columns)));
    Assert(slot->tts_ops == table_slot_callbacks(heap));
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

void mark_dead_entries(LookupScan *scan, const Datum *values) {
    if (scan->scan->xactStartedInRecovery)
        return; // a standby leaves its indexes as they are
    start_lookup(scan, values);
    while (next_row(scan))
        CHECK_FOR_INTERRUPTS();
}

void close_lookup(LookupScan *scan) {
    index_endscan(scan->scan);
    index_close(scan->index, NoLock);
}

} // namespace dms_refs
