// Stores: which tables a store name stands for, and what is known of each of their leaves.
//
// State: one entry a store and one a leaf, cached in a context of the backend and made anew after the
// server says that a table (or the table of stores) has changed. What leaves this file are copies: plain
// structs that stay good for the call, whatever is invalidated meanwhile. Who uses them must hold a lock on
// the root, taken before the copy: a lock is what makes the server tell us of changes in time.
// Errors: an unknown store is 42704, a lost table or column 42P01 or 42703.
#pragma once

#include "pg/index_scan.hpp"
#include "pg/module.hpp"

namespace dms_refs {

enum class Role : int { document, alias, reference };
inline constexpr int role_count = 3;
inline constexpr int max_columns = 6;

// Our columns in the order of store_config's arrays.
namespace document_column {
enum : int { partition_key, id, count };
}
namespace alias_column {
enum : int { partition_key, referential_id, id, document_key, document_id, count };
}
namespace reference_column {
enum : int { parent_key, parent_id, alias_id, alias_key, document_key, document_id, count };
}

inline constexpr Oid column_types[role_count][max_columns] = {
    {INT2OID, INT8OID},
    {INT2OID, UUIDOID, INT8OID, INT2OID, INT8OID},
    {INT2OID, INT8OID, INT8OID, INT2OID, INT2OID, INT8OID},
};
inline constexpr int column_counts[role_count] = {document_column::count, alias_column::count, reference_column::count};
// Types and counts are indexed by role, and each role has its types in the order of its columns.
static_assert(static_cast<int>(Role::document) == 0 && static_cast<int>(Role::reference) == role_count - 1);
static_assert(std::ranges::max(column_counts) == max_columns);
static_assert([] {
    for (int role = 0; role < role_count; ++role)
        for (int column = 0; column < max_columns; ++column)
            if ((column_types[role][column] != InvalidOid) != (column < column_counts[role]))
                return false;
    return column_types[1][alias_column::referential_id] == UUIDOID;
}());

struct StoreEntry;

struct Store {
    NameData name;
    StoreEntry *entry; // of this copy: it stays until the transaction ends, but may be filled anew
    uint64 generation; // of the entry when the copy was made
    Oid tables[role_count];
    NameData columns[role_count][max_columns];
    const char *mixed_up; // why its references cannot be kept: NULL where they can

    Oid table(Role role) const { return tables[static_cast<int>(role)]; }
    const char *column(Role role, int n) const { return NameStr(columns[static_cast<int>(role)][n]); }
};
static_assert(std::is_trivially_copyable_v<Store>);

// Whether a trigger or rule that is enabled in that way (tgenabled, ev_enabled) fires under the session's replication
// role.
bool trigger_fires(char enabled);

// A foreign key whose check is a lookup that the engine has just done: its trigger may be left out.
struct NativeForeignKey {
    Oid constraint = InvalidOid;
    Oid trigger = InvalidOid;
    char enabled = 0; // pg_trigger.tgenabled

    bool fires() const { return OidIsValid(trigger) && trigger_fires(enabled); }
};

// Whether writing rows of a leaf can run code that is not the server's own: triggers, and functions in constraints,
// generated columns and indexes. The checks of foreign keys are the server's.
struct UserCode {
    bool on_insert = false;
    bool on_update = false;
    bool on_delete = false;
};

// What is known of one leaf (or unpartitioned table) of a store.
struct Leaf {
    Oid relation = InvalidOid;
    const char *not_readable = nullptr; // why it cannot be read natively; NULL: it can
    const char *not_writable = nullptr; // why it cannot be written directly; NULL: it can (reference only)
    AttrNumber attributes[max_columns] = {};
    int16 offsets[max_columns] = {};   // of the columns in the data of a row without nulls; -1: not always the same
    LookupIndex by_key;                // document: its key; alias: partition key, referential id; reference: parent
    LookupIndex by_id;                 // alias: partition key, id
    AttrNumber identity_attribute = 0; // reference only: 0 where there is none
    Oid identity_type = InvalidOid;
    Oid identity_sequence = InvalidOid;
    NativeForeignKey parent_key;
    NativeForeignKey alias_key;
    UserCode user_code; // reference only
    bool has_generated = false;
    bool row_by_row = false;  // an error may come of one row's values and not of another's before any index is asked
    bool provisional = false; // an index cannot serve this transaction but will serve later ones: not to be cached
};
static_assert(std::is_trivially_copyable_v<Leaf>);

// A column of a row; 23502 where it is null.
Datum required_column(HeapTuple row, TupleDesc descriptor, AttrNumber attribute);

// Whether one of the store's columns lies at its offset in a row. Mostly so; then only the row is looked at: the
// descriptors of many leaves do not stay in the processor's caches.
inline bool at_offset(const Leaf &leaf, int column, HeapTuple row) {
    return likely(leaf.offsets[column] >= 0 && !HeapTupleHasNulls(row) &&
                  HeapTupleHeaderGetNatts(row->t_data) >= leaf.attributes[column]);
}

template <class T> T value_at_offset(const Leaf &leaf, int column, HeapTuple row) {
    T value;
    const HeapTupleHeader header = row->t_data;
    Assert(leaf.offsets[column] >= 0 &&
           header->t_hoff + static_cast<Size>(leaf.offsets[column]) + sizeof value <= row->t_len);
    memcpy(&value, reinterpret_cast<const char *>(header) + header->t_hoff + leaf.offsets[column], sizeof value);
    return value;
}

template <class T> T value_of(Datum datum) {
    T value;
    if constexpr (std::is_same_v<T, core::Uuid>)
        memcpy(&value, DatumGetPointer(datum), sizeof value);
    else
        value = static_cast<T>(datum);
    return value;
}

// One of the store's columns in a row of a leaf, as int16, int64 or core::Uuid; 23502 where it is null.
template <class T> T column_value(const Leaf &leaf, int column, HeapTuple row, TupleDesc descriptor) {
    if (at_offset(leaf, column, row))
        return value_at_offset<T>(leaf, column, row);
    return value_of<T>(required_column(row, descriptor, leaf.attributes[column]));
}

// Whether a row has a value in one of the store's columns. Asked of rows that may be anybody's, so a null is no error.
template <class T> bool column_is(const Leaf &leaf, int column, HeapTuple row, TupleDesc descriptor, const T &value) {
    if (at_offset(leaf, column, row))
        return value_at_offset<T>(leaf, column, row) == value;
    bool is_null;
    const Datum datum = heap_getattr(row, leaf.attributes[column], descriptor, &is_null);
    return !is_null && value_of<T>(datum) == value;
}

// at_end is called at the end of every transaction, and must not fail. Whether entries go now: whoever keeps something
// by Store::entry must let it go too.
void register_store_invalidation(void (*at_end)(bool entries_go));

// The store of that name; 42704 where there is none.
Store find_store(const char *name);

// Whether the store is made of the tables and columns that the copy names, by now. Brings the copy up to date; 42704
// where the store is gone.
bool still_the_store(Store *store);

struct TableToOpen {
    Role role;
    LOCKMODE lock;
    Relation *relation;
};

// Opens and locks tables of a store. Where the store got other tables while the locks were waited for, those: the copy
// is brought up to date. 42P01 where one is gone.
void open_tables(Store *store, std::span<const TableToOpen> tables);

// The same for a call that has its store already: 40001 where this table is gone because the store has got others.
Relation open_table_of(const Store &store, Role role, LOCKMODE lock);

// The store whose drop-in functions live where function does.
Store find_store_of_function(Oid function);

// Which leaf of a root holds the rows of a partition key: InvalidOid where no partition takes it, the root
// itself where it is not partitioned. Sets not_native where the root is partitioned in another way.
// root must be open and locked.
Oid leaf_for_key(const Store &store, Role role, Relation root, int16 key, const char **not_native);

// Opens and locks that leaf; NULL where there is none. ROW SHARE is for a foreign key's check, to which a partition
// that is being detached is gone.
Relation open_leaf(const Store &store, Role role, Relation root, int16 key, LOCKMODE lock, const char **not_native);

// What is known of an open, locked leaf of an open, locked root.
Leaf leaf_of(const Store &store, Role role, Relation root, Relation leaf);

// Why a root cannot be read natively by the current user: NULL where it can.
const char *root_not_readable(Relation root);

// The number of a named column, 42703 where it is gone.
AttrNumber attribute_number(Relation relation, const char *column);

// The number of one of the store's columns in a table or leaf, 42703 where it is gone, 42804 where it has
// another type than ours.
AttrNumber store_column(const Store &store, Role role, int column, Relation relation);

} // namespace dms_refs
