// The SQL statements of the engine: saved SPI plans, a set a store, always generic.
//
// With 16 partitions the planner finds a generic plan dearer than planning anew at every execution, which
// costs more than the statement; so each is prepared as a generic one (plan_cache_mode = force_custom_plan overrides
// that). State: plans live until the end of a transaction after which their store, or what it calls its tables, is
// another. Statements run as the current user, with all that SQL does about privileges, row security, triggers and
// routing, and on the tables that the store has by OID, whatever they are called: 40001 where that cannot be had.
#pragma once

#include "pg/module.hpp"
#include "store/store.hpp"

namespace dms_refs {

enum class Statement : int {
    resolve,             // (uuid[], smallint[]): position, alias id, document key, document id
    stored_set,          // (parent key, parent id): alias id, alias key, document key, document id
    ids_of_aliases,      // (alias id[], alias key[]): position, referential id
    lock_parent,         // (parent key, parent id)
    lock_visible_parent, // the same, for a role whose policies count: a plan knows the one or the other
    delete_rows,         // (parent key, parent id, alias id[])
    update_rows,         // (parent key, parent id, alias id[], alias key[], document key[], document id[])
    insert_rows,         // the same
    referencing          // (document key, document id): parent id, parent key
};
inline constexpr std::size_t statement_count = static_cast<std::size_t>(Statement::referencing) + 1;

struct Rows {
    uint64 count;
    SPITupleTable *table;
};

// Runs a reading statement under a snapshot. The rows stay until end_rows; copy out of them only into memory
// contexts of your own.
Rows run_query(const Store &store, Statement statement, std::span<const Datum> arguments, Snapshot snapshot);
Datum row_value(const Rows &rows, uint64 row, int column);
void end_rows(Rows *rows);

// Runs a writing (or locking) statement, with a snapshot of its own where none is given; returns the number of rows.
uint64 run_command(const Store &store, Statement statement, std::span<const Datum> arguments,
                   Snapshot snapshot = InvalidSnapshot);

// At the end of a transaction, see register_store_invalidation.
void end_statements(bool entries_go);

// An array argument in a context: value(item) for each item.
template <class T, class Value> Datum array_of(MemoryContext context, std::span<T> items, Oid type, Value value) {
    const auto datums = allocate<Datum>(context, items.size());
    for (std::size_t i = 0; i < items.size(); ++i)
        datums[i] = value(items[i]);
    int16 length;
    bool by_value;
    char alignment;
    get_typlenbyvalalign(type, &length, &by_value, &alignment);
    const MemoryContext before = MemoryContextSwitchTo(context);
    ArrayType *array =
        construct_array(datums.data(), static_cast<int>(items.size()), type, length, by_value, alignment);
    MemoryContextSwitchTo(before);
    return PointerGetDatum(array);
}

} // namespace dms_refs
