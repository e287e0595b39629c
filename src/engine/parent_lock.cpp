// Locking the parent document's row.
//
// FOR NO KEY UPDATE makes two writers of one document take turns. It is part of writing the document's references, as
// the KEY SHARE lock of a foreign key is, and is taken as that is: no privilege on the document table is asked of who
// may write its references, and its row security does not hide the row. A call that writes nothing and locks all the
// same (dms_refs.lock_parent = always) is nothing but SELECT FOR NO KEY UPDATE, and needs what that needs.
//
// KEY SHARE is the lock of the foreign key itself, for a direct write that leaves its trigger out.
#include "engine/engine.hpp"
#include "engine/statements.hpp"

#include "pg/relation.hpp"

namespace dms_refs {

namespace {

bool is_table(Relation root) {
    return root->rd_rel->relkind == RELKIND_PARTITIONED_TABLE || root->rd_rel->relkind == RELKIND_RELATION;
}

// The leaf of the document table that has a parent, open.
struct DocumentLeaf {
    Relation relation;
    Leaf leaf;
};

// NULL, or why the leaf cannot be read natively. Without a leaf for the key, its relation is NULL.
const char *open_document_leaf(Call *call, const Parent &parent, Relation root, DocumentLeaf *opened) {
    const char *reason = nullptr;
    *opened = {};
    if (!is_table(root))
        return "not a table";
    opened->relation = open_leaf(call->store, Role::document, root, parent.key, RowShareLock, &reason);
    if (opened->relation == nullptr)
        return reason;
    opened->leaf = leaf_of(call->store, Role::document, root, opened->relation);
    return opened->leaf.not_readable;
}

void close_document_leaf(DocumentLeaf *opened) {
    if (opened->relation != nullptr)
        table_close(opened->relation, NoLock);
}

// Looks the row up under a snapshot and locks its latest version; seen says whether the snapshot shows one.
Locked find_and_lock(const Parent &parent, LockTupleMode mode, const DocumentLeaf &document, Snapshot snapshot,
                     bool *seen) {
    const TupleDesc descriptor = RelationGetDescr(document.relation);
    TupleTableSlot *slot = table_slot_create(document.relation, nullptr);
    LookupScan scan = open_lookup(document.relation, document.leaf.by_key, snapshot, slot);
    Datum values[document_column::count];
    values[document_column::partition_key] = Int16GetDatum(parent.key);
    values[document_column::id] = Int64GetDatum(parent.id);
    start_lookup(&scan, values);
    Locked locked = Locked::gone;
    *seen = next_row(&scan);
    if (*seen) {
        const core::RowAddress row = row_address(slot->tts_tid);
        locked = lock_row(document.relation, row, snapshot, mode, slot);
        if (locked == Locked::followed &&
            !(column_is(document.leaf, document_column::id, slot_row(slot), descriptor, parent.id) &&
              column_is(document.leaf, document_column::partition_key, slot_row(slot), descriptor, parent.key)))
            locked = Locked::gone; // it has got another key
    }
    close_lookup(&scan);
    ExecDropSingleTupleTableSlot(slot);
    return locked;
}

// The same with the newest snapshot.
Locked find_and_lock_latest(const Parent &parent, LockTupleMode mode, const DocumentLeaf &document, bool *seen) {
    PushActiveSnapshot(GetLatestSnapshot());
    const Locked locked = find_and_lock(parent, mode, document, GetActiveSnapshot(), seen);
    PopActiveSnapshot();
    return locked;
}

ParentRow lock_natively(Call *call, const Parent &parent, const DocumentLeaf &document) {
    constexpr LockTupleMode mode = LockTupleNoKeyExclusive;
    bool seen;
    Locked locked = find_and_lock(parent, mode, document, call->snapshot, &seen);
    ParentRow row = ParentRow::referable;
    if (locked == Locked::gone) {
        // The document may have been deleted and made again since the snapshot, or made only then; and once more while
        // we waited for that one. Only where the newest snapshot shows none is there none. Above READ COMMITTED that is
        // for the lock alone: whether a row that the transaction does not see may be referred to is for the foreign
        // key.
        if (IsolationUsesXactSnapshot())
            row = ParentRow::locked;
        do {
            CHECK_FOR_INTERRUPTS();
            locked = find_and_lock_latest(parent, mode, document, &seen);
        } while (locked == Locked::gone && seen);
    }
    if (locked == Locked::own_change)
        ereport(ERROR, (errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
                        errmsg("the document is being changed by the command that calls %s", call->function),
                        errhint("Consider an AFTER trigger instead of a BEFORE trigger.")));
    return locked == Locked::gone ? ParentRow::missing : row;
}

ParentRow lock_by_sql(Call *call, const Parent &parent, Statement statement) {
    const Datum arguments[] = {Int16GetDatum(parent.key), Int64GetDatum(parent.id)};
    if (run_command(call->store, statement, arguments) > 0)
        return ParentRow::referable;
    if (!IsolationUsesXactSnapshot())
        return ParentRow::missing;
    PushActiveSnapshot(GetLatestSnapshot());
    const uint64 rows = run_command(call->store, statement, arguments, GetActiveSnapshot());
    PopActiveSnapshot();
    return rows > 0 ? ParentRow::locked : ParentRow::missing;
}

// As foreign keys do it: with the rights of the table's owner, and without row security. Of a view or a foreign table
// it would be too much: what is behind them runs as the caller.
ParentRow lock_by_sql_as_owner(Call *call, const Parent &parent, Relation root) {
    if (!is_table(root))
        return lock_by_sql(call, parent, Statement::lock_parent);
    Oid user;
    int security;
    GetUserIdAndSecContext(&user, &security);
    SetUserIdAndSecContext(root->rd_rel->relowner, security | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
    const ParentRow row = lock_by_sql(call, parent, Statement::lock_parent);
    SetUserIdAndSecContext(user, security); // on error the transaction's abort does it
    // A foreign key does not find the rows of inheritance children.
    return row == ParentRow::referable && root->rd_rel->relkind == RELKIND_RELATION ? ParentRow::locked : row;
}

// What the server asks for SELECT ... FOR NO KEY UPDATE: SELECT on the key, and UPDATE on any column.
bool may_lock(Call *call, Relation root) {
    if (grants(root, ACL_SELECT | ACL_UPDATE))
        return true;
    const Oid table = RelationGetRelid(root);
    const Oid role = GetUserId();
    const auto may_select = [=](int column) {
        const AttrNumber number = store_column(call->store, Role::document, column, root);
        return pg_attribute_aclcheck(table, number, role, ACL_SELECT) == ACLCHECK_OK;
    };
    return compat::schema_usage(RelationGetNamespace(root), role) == ACLCHECK_OK &&
           (pg_class_aclcheck(table, role, ACL_SELECT) == ACLCHECK_OK ||
            (may_select(document_column::partition_key) && may_select(document_column::id))) &&
           (pg_class_aclcheck(table, role, ACL_UPDATE) == ACLCHECK_OK ||
            pg_attribute_aclcheck_all(table, role, ACL_UPDATE, ACLMASK_ANY) == ACLCHECK_OK);
}

} // namespace

bool checked_by_latest_snapshot(Relation referenced) {
    // ri_triggers.c: partitions are found by a fresh snapshot only.
    return IsolationUsesXactSnapshot() && referenced->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
}

ParentRow lock_parent(Call *call, const Parent &parent, bool changes) {
    Relation root = open_table_of(call->store, Role::document, RowShareLock);
    DocumentLeaf document = {};
    if (!changes && is_table(root) && !may_lock(call, root))
        ereport(ERROR,
                (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
                 errmsg("permission denied for table %s", RelationGetRelationName(root)),
                 errdetail("A call that changes nothing locks the document as SELECT ... FOR NO KEY UPDATE does, which "
                           "takes SELECT on its key and UPDATE on a column."),
                 errhint("SET dms_refs.lock_parent = on_change;")));
    ParentRow row;
    if (!changes && root->rd_rel->relrowsecurity &&
        check_enable_rls(RelationGetRelid(root), InvalidOid, true) == RLS_ENABLED)
        row = lock_by_sql(call, parent, Statement::lock_visible_parent);
    else if (open_document_leaf(call, parent, root, &document) != nullptr)
        row = lock_by_sql_as_owner(call, parent, root);
    else
        row = document.relation == nullptr ? ParentRow::missing : lock_natively(call, parent, document);
    close_document_leaf(&document);
    table_close(root, NoLock);
    return row;
}

bool share_parent(Call *call, const Parent &parent) {
    Relation root = open_table_of(call->store, Role::document, RowShareLock);
    DocumentLeaf document;
    bool locked = false;
    if (open_document_leaf(call, parent, root, &document) == nullptr && document.relation != nullptr) {
        bool seen;
        Locked result = Locked::gone;
        if (!checked_by_latest_snapshot(root))
            result = find_and_lock(parent, LockTupleKeyShare, document, call->snapshot, &seen);
        if (result == Locked::gone && (!IsolationUsesXactSnapshot() || checked_by_latest_snapshot(root)))
            result = find_and_lock_latest(parent, LockTupleKeyShare, document, &seen);
        locked = result == Locked::locked || result == Locked::followed;
    }
    close_document_leaf(&document);
    table_close(root, NoLock);
    return locked;
}

} // namespace dms_refs
