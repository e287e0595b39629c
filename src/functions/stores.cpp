// store_engine: which way serves a store for the current user, and why. The rest of stores is DDL, in the
// install script.
#include "functions/arguments.hpp"
#include "functions/results.hpp"
#include "pg/relation.hpp"

namespace dms_refs {
namespace {

struct Ways {
    const char *not_readable = nullptr;
    const char *not_writable = nullptr;
    NameData where = {};
};

// Why a table does not have a store's columns: NULL where it does. The view must show a broken store, not fail.
const char *columns_missing(const Store &store, Role role, Relation relation) {
    TupleDesc columns = RelationGetDescr(relation);
    for (int c = 0; c < column_counts[static_cast<int>(role)]; ++c) {
        bool found = false;
        for (int i = 0; i < columns->natts && !found; ++i) {
            const Form_pg_attribute attribute = TupleDescAttr(columns, i);
            found = !attribute->attisdropped && namestrcmp(&attribute->attname, store.column(role, c)) == 0 &&
                    attribute->atttypid == column_types[static_cast<int>(role)][c];
        }
        if (!found)
            return psprintf("column \"%s\" is gone, renamed or of another type", store.column(role, c));
    }
    return nullptr;
}

// Looks at every leaf of one table: one that is not served natively is what a DBA wants to know.
void inspect(const Store &store, Role role, Ways *ways) {
    Relation root = try_table_open(store.table(role), AccessShareLock);
    if (root == nullptr) {
        if (ways->not_readable == nullptr)
            ways->not_readable = ways->not_writable = "a table no longer exists";
        return;
    }
    const auto note = [ways](Relation relation, const char *unreadable, const char *unwritable) {
        if (ways->not_readable == nullptr && unreadable != nullptr) {
            ways->not_readable = unreadable;
            ways->where = relation->rd_rel->relname;
        }
        if (ways->not_writable == nullptr && (unwritable != nullptr || unreadable != nullptr)) {
            ways->not_writable = unwritable ? unwritable : unreadable;
            ways->where = relation->rd_rel->relname;
        }
    };
    if (const char *reason = columns_missing(store, role, root)) {
        note(root, reason, reason);
    } else if (role == Role::document) {
        // Only locked, never read: any table with these columns will do.
    } else if (const char *unreadable = root_not_readable(root)) {
        note(root, unreadable, unreadable);
    } else if (root->rd_rel->relkind == RELKIND_PARTITIONED_TABLE) {
        const PartitionDesc partitions = RelationGetPartitionDesc(root, true);
        const char *not_by_key = nullptr;
        (void)leaf_for_key(store, role, root, 0, &not_by_key);
        if (not_by_key != nullptr)
            note(root, not_by_key, not_by_key);
        for (int i = 0; i < partitions->nparts; ++i) {
            Relation relation = try_table_open(partitions->oids[i], AccessShareLock);
            if (relation == nullptr)
                continue;
            const Leaf leaf = leaf_of(store, role, root, relation);
            note(relation, leaf.not_readable, leaf.not_writable);
            table_close(relation, AccessShareLock);
        }
    } else {
        const Leaf leaf = leaf_of(store, role, root, root);
        note(root, leaf.not_readable, leaf.not_writable);
    }
    table_close(root, AccessShareLock);
}

} // namespace
} // namespace dms_refs

DMS_REFS_FUNCTION(dms_refs_store_engine) {
    using namespace dms_refs;
    static TupleDesc row_type = nullptr;
    const Store store = find_store(NameStr(*PG_GETARG_NAME(0)));
    Ways ways;
    if (store.mixed_up != nullptr)
        ways.not_readable = ways.not_writable = store.mixed_up;
    if (ways.not_readable == nullptr)
        inspect(store, Role::document, &ways);
    if (ways.not_readable == nullptr && settings.engine == engine_sql)
        ways.not_readable = ways.not_writable = "dms_refs.engine is sql";
    if (ways.not_readable == nullptr) {
        inspect(store, Role::alias, &ways);
        if (ways.not_readable == nullptr)
            inspect(store, Role::reference, &ways);
    }
    const char *reason = ways.not_readable ? ways.not_readable : ways.not_writable;
    if (reason != nullptr && NameStr(ways.where)[0] != '\0')
        reason = psprintf("%s: %s", NameStr(ways.where), reason);
    const Datum values[] = {CStringGetTextDatum(ways.not_readable ? "sql" : "native"),
                            CStringGetTextDatum(ways.not_writable ? "sql" : "direct"),
                            reason ? CStringGetTextDatum(reason) : static_cast<Datum>(0)};
    const bool nulls[] = {false, false, reason == nullptr};
    PG_RETURN_DATUM(row_datum(result_type(fcinfo, &row_type), values, nulls));
}
