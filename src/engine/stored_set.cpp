// The stored set of a parent: one range scan on its leaf, or one SQL statement.
//
// The rows of one parent come out of the index in the order of their aliases but lie in the heap as they were written.
// So the addresses are taken from the index first and the rows fetched page by page, as a bitmap scan does it.
#include "engine/engine.hpp"
#include "engine/statements.hpp"

namespace dms_refs {

using namespace core;

void open_reference_leaf(Call *call, int16 key) {
    ReferenceLeaf &open = call->leaf;
    if (open.relation != nullptr && open.key == key)
        return;
    close_reference_leaf(call);
    const char *reason = nullptr;
    const LOCKMODE lock = call->purpose == Purpose::write ? RowExclusiveLock : AccessShareLock;
    Relation leaf = open_leaf(call->store, Role::reference, call->reference, key, lock, &reason);
    if (reason == nullptr && leaf == nullptr)
        ereport(ERROR, (errcode(ERRCODE_CHECK_VIOLATION),
                        errmsg("no partition of relation \"%s\" found for partition key %d",
                               RelationGetRelationName(call->reference), key),
                        errdetail("The parent document has (%s) = (%d).",
                                  call->store.column(Role::reference, reference_column::parent_key), key),
                        errhint("Check how the caller computes partition keys, or create the partition."),
                        errtable(call->reference)));
    if (reason != nullptr && call->not_native == nullptr)
        call->not_native = reason;
    if (call->not_native != nullptr) {
        if (leaf != nullptr)
            table_close(leaf, NoLock);
        return;
    }
    open.relation = leaf;
    open.leaf = leaf_of(call->store, Role::reference, call->reference, open.relation);
    open.key = key;
    if (open.leaf.not_readable != nullptr) {
        call->not_native = open.leaf.not_readable;
        close_reference_leaf(call);
    }
}

void close_reference_leaf(Call *call) {
    ReferenceLeaf &open = call->leaf;
    if (open.writer != nullptr)
        close_direct(open.writer);
    if (open.relation != nullptr)
        table_close(open.relation, NoLock);
    open = {};
}

namespace {

struct Growing {
    std::span<StoredReference> room;
    std::size_t size;
};

void append(MemoryContext context, Growing *set, const StoredReference &row) {
    if (set->size == set->room.size()) {
        const auto larger = allocate<StoredReference>(context, set->room.size() * 2);
        std::copy(set->room.begin(), set->room.end(), larger.begin());
        set->room = larger;
    }
    set->room[set->size++] = row;
}

bool page_order(const StoredReference &a, const StoredReference &b) {
    return a.row.block != b.row.block ? a.row.block < b.row.block : a.row.offset < b.row.offset;
}

// Replaces index entries, of which only the address is known, by their visible rows. Returns how many there are; dead
// is set where an entry leads only to rows that nobody can see any more.
std::size_t fetch_rows(Call *call, LookupScan *scan, std::span<StoredReference> entries, Snapshot snapshot,
                       bool *dead) {
    namespace r = reference_column;
    const Leaf &leaf = call->leaf.leaf;
    std::size_t n = 0;
    for (const StoredReference &entry : entries) {
        CHECK_FOR_INTERRUPTS();
        ItemPointerData tid = item_pointer(entry.row);
        if (!fetch_by_entry(scan, &tid, snapshot, dead))
            continue;
        StoredReference row = {};
        row.alias_id = DatumGetInt64(column_value(scan->slot, leaf.attributes[r::alias_id]));
        row.partition_key = DatumGetInt16(column_value(scan->slot, leaf.attributes[r::alias_key]));
        row.document_key = DatumGetInt16(column_value(scan->slot, leaf.attributes[r::document_key]));
        row.document_id = DatumGetInt64(column_value(scan->slot, leaf.attributes[r::document_id]));
        row.row = row_address(scan->slot->tts_tid);
        entries[n++] = row;
    }
    return n;
}

void read_natively(Call *call, const Parent &parent, Snapshot snapshot, Growing *set) {
    namespace r = reference_column;
    TupleTableSlot *slot = table_slot_create(call->leaf.relation, nullptr);
    LookupScan scan = open_lookup(call->leaf.relation, call->leaf.leaf.by_key, snapshot, slot);
    Datum values[r::count] = {};
    values[r::parent_key] = Int16GetDatum(parent.key);
    values[r::parent_id] = Int64GetDatum(parent.id);
    start_lookup(&scan, values);
    while (ItemPointer tid = next_entry(&scan)) {
        CHECK_FOR_INTERRUPTS();
        StoredReference entry = {};
        entry.row = row_address(*tid);
        append(call->scratch, set, entry);
    }
    const auto entries = set->room.first(set->size);
    sort_unless_sorted(entries, page_order);
    bool dead = false;
    set->size = fetch_rows(call, &scan, entries, snapshot, &dead);
    if (dead)
        mark_dead_entries(&scan, values);
    close_lookup(&scan);
    ExecDropSingleTupleTableSlot(slot);
}

void read_by_sql(Call *call, const Parent &parent, Snapshot snapshot, Growing *set) {
    const Datum arguments[] = {Int16GetDatum(parent.key), Int64GetDatum(parent.id)};
    Rows rows = run_query(call->store, Statement::stored_set, arguments, snapshot);
    for (uint64 i = 0; i < rows.count; ++i) {
        StoredReference row = {};
        row.alias_id = DatumGetInt64(row_value(rows, i, 1));
        row.partition_key = DatumGetInt16(row_value(rows, i, 2));
        row.document_key = DatumGetInt16(row_value(rows, i, 3));
        row.document_id = DatumGetInt64(row_value(rows, i, 4));
        append(call->scratch, set, row);
    }
    end_rows(&rows);
}

} // namespace

std::span<StoredReference> read_stored_set(Call *call, const Parent &parent, std::size_t expected, Snapshot snapshot) {
    Growing set = {allocate<StoredReference>(call->scratch, expected + 8), 0};
    if (call->not_native == nullptr)
        read_natively(call, parent, snapshot, &set);
    else
        read_by_sql(call, parent, snapshot, &set);
    const auto stored = set.room.first(set.size);
    sort_unless_sorted(stored, stored_order);
    return stored;
}

} // namespace dms_refs
