// The stored set of a parent: one range scan on its leaf, or one SQL statement.
//
// The rows of one parent come out of the index in the order of their aliases but lie in the heap as they were written.
// So the addresses are taken from the index first and the rows fetched page by page, as a bitmap scan does it.
#include "engine/engine.hpp"
#include "engine/statements.hpp"
#include "stats/recorder.hpp"

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
        record_by_sql();
        if (leaf != nullptr) {
            // Not to be written to, but what runs when SQL does depends on it.
            if (call->purpose == Purpose::write && leaf->rd_rel->relkind == RELKIND_RELATION)
                open.leaf = leaf_of(call->store, Role::reference, call->reference, leaf);
            table_close(leaf, NoLock);
        }
        return;
    }
    open.relation = leaf;
    open.leaf = leaf_of(call->store, Role::reference, call->reference, open.relation);
    open.key = key;
    if (open.leaf.not_readable != nullptr) {
        call->not_native = open.leaf.not_readable;
        record_by_sql();
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

template <class T> struct Growing {
    MemoryContext context;
    std::span<T> room;
    std::size_t size;
};

template <class T> Growing<T> growing(MemoryContext context, std::size_t expected) {
    return {context, allocate<T>(context, expected + 8), 0};
}

template <class T> void append(Growing<T> *items, const T &item) {
    if (items->size == items->room.size()) {
        const auto larger = allocate<T>(items->context, items->room.size() * 2);
        std::copy(items->room.begin(), items->room.end(), larger.begin());
        items->room = larger;
    }
    items->room[items->size++] = item;
}

// An index entry: where its row lies, and which of the entries it is.
struct Entry {
    core::RowAddress row;
    uint32 position;
};

struct PageOrder {
    bool operator()(const Entry &a, const Entry &b) const { return major(a) < major(b); }
    // No page has more rows than that: numbers of rows on neighbouring pages follow closely on each other.
    static uint64 major(const Entry &entry) {
        return uint64{entry.row.block} * (MaxHeapTuplesPerPage + 1) + entry.row.offset;
    }
};
constexpr PageOrder page_order;

StoredReference take_row(const ReferenceLeaf &open, HeapTuple row) {
    namespace r = reference_column;
    const TupleDesc descriptor = RelationGetDescr(open.relation);
    StoredReference stored = {};
    stored.alias_id = column_value<int64>(open.leaf, r::alias_id, row, descriptor);
    stored.partition_key = column_value<int16>(open.leaf, r::alias_key, row, descriptor);
    stored.document_key = column_value<int16>(open.leaf, r::document_key, row, descriptor);
    stored.document_id = column_value<int64>(open.leaf, r::document_id, row, descriptor);
    stored.row = row_address(row->t_self);
    return stored;
}

std::span<StoredReference> read_natively(Call *call, const Parent &parent, std::size_t expected, Snapshot snapshot) {
    namespace r = reference_column;
    TupleTableSlot *slot = table_slot_create(call->leaf.relation, nullptr);
    LookupScan scan = open_lookup(call->leaf.relation, call->leaf.leaf.by_key, snapshot, slot);
    Datum values[r::count] = {};
    values[r::parent_key] = Int16GetDatum(parent.key);
    values[r::parent_id] = Int64GetDatum(parent.id);
    start_lookup(&scan, values);
    Growing<Entry> entries = growing<Entry>(call->scratch, expected);
    while (ItemPointer tid = next_entry(&scan)) {
        CHECK_FOR_INTERRUPTS();
        append(&entries, {row_address(*tid), static_cast<uint32>(entries.size)});
    }
    const auto by_page = entries.room.first(entries.size);
    sort_unless_sorted(call, by_page, page_order);

    // Each row goes to its entry's place, so that what the index had in order stays in order.
    const auto rows = allocate<StoredReference>(call->scratch, by_page.size());
    std::fill(rows.begin(), rows.end(), StoredReference{});
    bool dead = false;
    for (std::size_t first = 0; first < by_page.size();) {
        CHECK_FOR_INTERRUPTS();
        std::size_t end = first + 1;
        while (end < by_page.size() && by_page[end].row.block == by_page[first].row.block)
            ++end;
        fetch_on_page(&scan, std::span<const Entry>(by_page).subspan(first, end - first), snapshot, &dead,
                      [&](const Entry &entry, HeapTuple row) { rows[entry.position] = take_row(call->leaf, row); });
        first = end;
    }
    if (dead)
        mark_dead_entries(&scan, values);
    close_lookup(&scan);
    ExecDropSingleTupleTableSlot(slot);
    const auto end = std::remove_if(rows.begin(), rows.end(), [](const StoredReference &r) { return !r.row.known(); });
    return {rows.begin(), end};
}

std::span<StoredReference> read_by_sql(Call *call, const Parent &parent, Snapshot snapshot) {
    const Datum arguments[] = {Int16GetDatum(parent.key), Int64GetDatum(parent.id)};
    Rows found = run_query(call->store, Statement::stored_set, arguments, snapshot);
    const auto rows = allocate<StoredReference>(call->scratch, found.count);
    for (uint64 i = 0; i < found.count; ++i) {
        rows[i] = {};
        rows[i].alias_id = DatumGetInt64(row_value(found, i, 1));
        rows[i].partition_key = DatumGetInt16(row_value(found, i, 2));
        rows[i].document_key = DatumGetInt16(row_value(found, i, 3));
        rows[i].document_id = DatumGetInt64(row_value(found, i, 4));
    }
    end_rows(&found);
    return rows;
}

} // namespace

std::span<StoredReference> read_stored_set(Call *call, const Parent &parent, std::size_t expected, Snapshot snapshot) {
    const auto stored = call->not_native == nullptr ? read_natively(call, parent, expected, snapshot)
                                                    : read_by_sql(call, parent, snapshot);
    sort_unless_sorted(call, stored, stored_order);
    return stored;
}

} // namespace dms_refs
