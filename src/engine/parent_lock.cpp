// Locking the parent document's row: what makes two writers of one document take turns.
//
// The lock is part of keeping the set right, like a foreign key's: it asks no privilege of the caller and is
// not subject to row security on the document table.
#include "engine/engine.hpp"
#include "engine/statements.hpp"

#include "pg/relation.hpp"

namespace dms_refs {

namespace {

// Looks the row up under a snapshot and locks its latest version; seen says whether the snapshot shows one.
Locked find_and_lock(const Parent &parent, LockTupleMode mode, Relation relation, const Leaf &leaf, Snapshot snapshot,
                     bool *seen) {
    const TupleDesc descriptor = RelationGetDescr(relation);
    TupleTableSlot *slot = table_slot_create(relation, nullptr);
    LookupScan scan = open_lookup(relation, leaf.by_key, snapshot, slot);
    Datum values[document_column::count];
    values[document_column::partition_key] = Int16GetDatum(parent.key);
    values[document_column::id] = Int64GetDatum(parent.id);
    start_lookup(&scan, values);
    Locked locked = Locked::gone;
    *seen = next_row(&scan);
    if (*seen) {
        const core::RowAddress row = row_address(slot->tts_tid);
        locked = lock_row(relation, row, snapshot, mode, slot);
        if (locked == Locked::followed &&
            (column_value<int64>(leaf, document_column::id, slot_row(slot), descriptor) != parent.id ||
             column_value<int16>(leaf, document_column::partition_key, slot_row(slot), descriptor) != parent.key))
            locked = Locked::gone; // it has got another key
    }
    close_lookup(&scan);
    ExecDropSingleTupleTableSlot(slot);
    return locked;
}

// NULL where it could look; found says what.
const char *lock_natively(Call *call, const Parent &parent, LockTupleMode mode, Relation root, bool *found) {
    const char *reason = nullptr;
    *found = false;
    if (root->rd_rel->relkind != RELKIND_PARTITIONED_TABLE && root->rd_rel->relkind != RELKIND_RELATION)
        return "not a table";
    Relation relation = open_leaf(call->store, Role::document, root, parent.key, RowShareLock, &reason);
    if (relation == nullptr)
        return reason;
    const Leaf leaf = leaf_of(call->store, Role::document, root, relation);
    if (leaf.not_readable == nullptr) {
        bool seen = true;
        Locked locked = find_and_lock(parent, mode, relation, leaf, call->snapshot, &seen);
        // The document may have been deleted and made again since the snapshot, or made only then; and once more while
        // we waited for that one. Only where the newest snapshot shows none is there none.
        seen = true;
        while (locked == Locked::gone && seen && !IsolationUsesXactSnapshot()) {
            CHECK_FOR_INTERRUPTS();
            PushActiveSnapshot(GetLatestSnapshot());
            locked = find_and_lock(parent, mode, relation, leaf, GetActiveSnapshot(), &seen);
            PopActiveSnapshot();
        }
        if (locked == Locked::own_change)
            ereport(ERROR, (errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
                            errmsg("the document is being changed by the command that calls %s", call->function),
                            errhint("Consider an AFTER trigger instead of a BEFORE trigger.")));
        *found = locked != Locked::gone;
    }
    table_close(relation, NoLock);
    return leaf.not_readable;
}

} // namespace

bool lock_parent(Call *call, const Parent &parent, LockTupleMode mode) {
    Relation root = open_table(call->store.table(Role::document), RowShareLock, NameStr(call->store.name));
    bool found = false;
    const char *reason = lock_natively(call, parent, mode, root, &found);
    table_close(root, NoLock);
    if (reason != nullptr) {
        const Datum arguments[] = {Int16GetDatum(parent.key), Int64GetDatum(parent.id)};
        found = run_command(call->store, Statement::lock_parent, arguments) > 0;
    }
    return found;
}

} // namespace dms_refs
