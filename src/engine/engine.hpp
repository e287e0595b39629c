// One call of the engine, from opening the store's tables to the delta written.
//
//   begin_call → resolve → reconcile (read, diff, lock, read again, write) → end_call
//
// State: a Call on the stack of the SQL function, its scratch memory in a context under the caller's, its
// locks with the transaction, its relations, scans and snapshots with the resource owner. On error the
// transaction's abort releases all of it; nothing of a call outlives it but the alias row cache.
// Locks: alias and reference root, then their leaves, then document root and leaf; all of them weak. Rows: the
// parent, then aliases by (partition key, id), then references by alias id.
#pragma once

#include "core/reference_set.hpp"
#include "pg/direct_write.hpp"
#include "pg/index_scan.hpp"
#include "pg/module.hpp"
#include "pg/sorting.hpp"
#include "store/store.hpp"

namespace dms_refs {

struct Parent {
    int64 id;
    int16 key;
};

enum class Purpose { resolve, compare, write };

// The open leaf of the reference table that a parent's rows live in, kept while parents of its key follow.
struct ReferenceLeaf {
    int16 key;
    Relation relation; // NULL: none is open
    Leaf leaf;
    DirectTarget *writer; // made at the first direct write
};

struct Call {
    const char *function; // for messages
    Store store;
    Purpose purpose;
    MemoryContext context; // of the call
    MemoryContext scratch; // of the parent at hand: the call's own unless a batch sets another
    Relation alias;
    Relation reference;     // NULL where the call only resolves
    const char *not_native; // why SQL statements read: NULL where reads are native
    bool native_fk_checks;  // the settings as the call found them: a trigger may change them meanwhile
    int lock_parent;
    bool resolves;      // the references came as ids, to be resolved again when others may have moved them
    Snapshot snapshot;  // the newest of this call, active
    uint64 completions; // transactions ended before it, 0: not known
    uint64 resolved_at; // completions when the references were resolved last
    int pushed_snapshots;
    bool has_written;   // since the snapshot was taken
    bool user_code_ran; // since the call began
    bool look_again;    // since the tables were looked at
    ReferenceLeaf leaf;
};
static_assert(std::is_trivially_destructible_v<Call>);

// What became of one parent. Where the path is invalid, only given has a meaning: some of it is unresolved.
struct Outcome {
    core::Counts counts;
    core::CallPath path;
    std::span<core::Reference> given; // in alias order
    std::span<core::StoredReference> stored;
    std::span<core::Change> changes;
};

// Sorts what most often is in order already.
template <class T, class Order> void sort_unless_sorted(Call *call, std::span<T> records, Order order) {
    if (std::is_sorted(records.begin(), records.end(), order))
        return;
    sort_interruptibly(call->scratch, records, order);
}

void begin_call(Call *call, const char *function, const Store &store, Purpose purpose);
void end_call(Call *call);

// After users' code ran: privileges, how the tables can be read and written, the leaf of a parent.
void look_again(Call *call, const Parent &parent);

// Makes what this transaction wrote, and at READ COMMITTED what others committed, visible to what follows.
void refresh_snapshot(Call *call);

// --- resolve.cpp ---

// Finds the alias of each reference. Sorts them into resolve order, removes repeated ones and returns what
// remains; 23514 for a key without a partition. repeated, where given, receives one repeated pair.
std::span<core::Reference> resolve(Call *call, std::span<core::Reference> references, core::Duplicate *repeated);

// Raises 21000 for a repeated reference where the setting asks for it.
void refuse_repeated(const core::Duplicate &twice);

// Locks the alias rows that changes insert references to, KEY SHARE, as their foreign key would, and at READ COMMITTED
// takes over what a concurrent update has made of them. Only for native reads. False where one is not there, which
// missing then receives, or they cannot be looked at natively: that is for the foreign key's own trigger to look into.
bool lock_aliases(Call *call, std::span<core::Reference> given, std::span<const core::Change> changes,
                  const core::Reference **missing);

// The referential ids of stored references, through their aliases' ids. ids and found run parallel to
// changes; only removed ones are looked up.
void look_up_removed(Call *call, std::span<const core::StoredReference> stored, std::span<const core::Change> changes,
                     std::span<core::Uuid> ids, std::span<bool> found);

// Whether an alias leaf exists for every key; raises 23514 for the first that has none.
void require_alias_partitions(Call *call, std::span<const core::Reference> references);

// --- stored_set.cpp ---

// Opens the leaf of the reference table for a parent's key (23514 where there is none), closing another.
void open_reference_leaf(Call *call, int16 key);
void close_reference_leaf(Call *call);

// The stored set of a parent, in alias order, as the snapshot sees it.
std::span<core::StoredReference> read_stored_set(Call *call, const Parent &parent, std::size_t expected,
                                                 Snapshot snapshot);

// --- parent_lock.cpp ---

enum class ParentRow {
    missing,
    locked,   // but whether a foreign key may refer to it is for its trigger to say
    referable // locked, and there by the snapshot that the foreign key would look with
};

// Locks the parent's document row FOR NO KEY UPDATE. 40001 as the isolation level has it; where the call changes
// nothing, 42501 for a role that may not lock the document by itself, and what row security hides is missing.
ParentRow lock_parent(Call *call, const Parent &parent, bool changes);

// Locks the row FOR KEY SHARE, as the foreign key to it would. False where it is not there, or cannot be looked at
// natively: that is for the foreign key's own trigger to look into.
bool share_parent(Call *call, const Parent &parent);

// Whether the server's check of a foreign key to this table looks with the newest snapshot, not with the transaction's.
bool checked_by_latest_snapshot(Relation referenced);

// --- reconcile.cpp ---

// Compares the stored set of a parent with its references and, where the call writes, makes it equal. Nothing
// is written where a reference is unresolved.
Outcome reconcile(Call *call, const Parent &parent, std::span<core::Reference> references);

// --- apply.cpp ---

// Writes what the comparison found, under the parent's lock where parent_row says that there is one.
void apply(Call *call, const Parent &parent, const Outcome &delta, ParentRow parent_row);

// --- write_direct.cpp, write_sql.cpp ---

// What the native check of the store's two foreign keys came to. Their triggers are left out where it found what they
// would find. Where it did not, they fire, and look and speak for themselves.
struct ForeignKeys {
    Oid checked[2]; // triggers made superfluous
    std::size_t n_checked;
    bool parent_missing;
    const core::Reference *missing; // an alias
};

// They say whether each row was written.
bool delete_directly(Call *call, const Parent &parent, const Outcome &delta);
void insert_directly(Call *call, const Parent &parent, const Outcome &delta, const ForeignKeys &foreign_keys);

bool delete_by_sql(Call *call, const Parent &parent, const Outcome &delta);
bool update_by_sql(Call *call, const Parent &parent, const Outcome &delta);
bool insert_by_sql(Call *call, const Parent &parent, const Outcome &delta);

// --- written_set.cpp ---

// Whether rows may be stored otherwise than they are written, or not at all, without an error.
bool may_write_otherwise(Call *call, const Parent &parent);

// Reads the set again, and raises an error where it is not the given one.
void require_equal(Call *call, const Parent &parent, const Outcome &delta);

} // namespace dms_refs
