// Rows of the delta deleted and inserted natively, each kind like one statement, in alias order.
#include "engine/engine.hpp"

namespace dms_refs {

using namespace core;

namespace {

struct StillWanted {
    const Leaf *leaf;
    const Parent *parent;
    const StoredReference *row;
};

// A reference that another transaction changed is still to be deleted where it is still of this parent.
bool still_wanted(TupleTableSlot *latest, const void *argument) {
    namespace r = reference_column;
    const auto &wanted = *static_cast<const StillWanted *>(argument);
    HeapTuple row = slot_row(latest);
    const TupleDesc descriptor = latest->tts_tupleDescriptor;
    return column_is(*wanted.leaf, r::parent_key, row, descriptor, wanted.parent->key) &&
           column_is(*wanted.leaf, r::parent_id, row, descriptor, wanted.parent->id) &&
           column_is(*wanted.leaf, r::alias_id, row, descriptor, wanted.row->alias_id);
}

Datum identity_value(const Leaf &leaf) {
    const int64 value = nextval_internal(leaf.identity_sequence, false);
    switch (leaf.identity_type) {
    case INT2OID: return Int16GetDatum(static_cast<int16>(value));
    case INT4OID: return Int32GetDatum(static_cast<int32>(value));
    default: return Int64GetDatum(value);
    }
}

void fill(TupleTableSlot *slot, const Leaf &leaf, const Parent &parent, const Reference &reference) {
    namespace r = reference_column;
    memset(slot->tts_isnull, true, sizeof(bool) * static_cast<Size>(slot->tts_tupleDescriptor->natts));
    const Datum values[r::count] = {Int16GetDatum(parent.key),
                                    Int64GetDatum(parent.id),
                                    Int64GetDatum(reference.alias_id),
                                    Int16GetDatum(reference.partition_key),
                                    Int16GetDatum(reference.document_key),
                                    Int64GetDatum(reference.document_id)};
    for (int c = 0; c < r::count; ++c) {
        slot->tts_values[leaf.attributes[c] - 1] = values[c];
        slot->tts_isnull[leaf.attributes[c] - 1] = false;
    }
    if (leaf.identity_attribute != 0) {
        slot->tts_values[leaf.identity_attribute - 1] = identity_value(leaf);
        slot->tts_isnull[leaf.identity_attribute - 1] = false;
    }
    ExecStoreVirtualTuple(slot);
}

// Adds to the error of a foreign key's trigger what only the call knows.
void add_hint(void *argument) {
    const auto &found = *static_cast<const ForeignKeys *>(argument);
    if (geterrcode() != ERRCODE_FOREIGN_KEY_VIOLATION)
        return;
    if (found.parent_missing)
        errhint("Insert the document before its references.");
    else
        errhint("Reference %d names an alias that does not exist, or no longer does.", found.missing->ordinal);
}

// A batch keeps one writer a leaf.
DirectTarget *writer(Call *call) {
    if (call->leaf.writer == nullptr) {
        const MemoryContext before = MemoryContextSwitchTo(call->context);
        call->leaf.writer = open_direct(call->leaf.relation);
        MemoryContextSwitchTo(before);
    }
    return call->leaf.writer;
}

} // namespace

bool delete_directly(Call *call, const Parent &parent, const Outcome &delta) {
    bool all = true;
    DirectTarget *target = writer(call);
    begin_phase(target, CMD_DELETE);
    for (const Change &change : delta.changes) {
        if (change.action != Action::remove)
            continue;
        CHECK_FOR_INTERRUPTS();
        const StoredReference &row = delta.stored[static_cast<std::size_t>(change.stored)];
        const StillWanted wanted = {&call->leaf.leaf, &parent, &row};
        all = delete_row(target, row.row, call->snapshot, still_wanted, &wanted) && all;
    }
    end_phase(target, call->leaf.leaf.user_code.on_delete);
    return all;
}

void insert_directly(Call *call, const Parent &parent, const Outcome &delta, const ForeignKeys &foreign_keys) {
    Assert(call->purpose == Purpose::write && call->leaf.key == parent.key);
    const Leaf &leaf = call->leaf.leaf;
    DirectTarget *target = writer(call);
    begin_phase(target, CMD_INSERT, {foreign_keys.checked, foreign_keys.n_checked});
    int left = delta.counts.inserted;
    std::span<TupleTableSlot *> slots;
    std::size_t filled = 0;
    for (const Change &change : delta.changes) {
        if (change.action != Action::insert)
            continue;
        if (filled == slots.size()) {
            CHECK_FOR_INTERRUPTS();
            // As an INSERT does it, the first row that a constraint or an index objects to decides the error. Rows
            // are written together only where nothing can object to a later one before an index does to an earlier.
            slots = blank_slots(target, leaf.row_by_row ? 1 : left);
            filled = 0;
        }
        fill(slots[filled++], leaf, parent, delta.given[static_cast<std::size_t>(change.given)]);
        --left;
        if (filled == slots.size())
            insert_rows(target, slots, leaf.has_generated);
    }
    Assert(left == 0 && filled == slots.size());
    ErrorContextCallback context = {error_context_stack, add_hint, const_cast<ForeignKeys *>(&foreign_keys)};
    if (foreign_keys.parent_missing || foreign_keys.missing != nullptr)
        error_context_stack = &context;
    end_phase(target, leaf.user_code.on_insert);
    error_context_stack = context.previous;
}

} // namespace dms_refs
