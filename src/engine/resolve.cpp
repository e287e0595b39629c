// From referential ids to aliases: natively, leaf by leaf in key order, or by one SQL statement.
//
// State: the backend's cache of alias row addresses, allocated at first use in TopMemoryContext and made anew,
// empty, when its setting changes. It needs no invalidation: an address is believed only after the row there
// has been fetched under the call's snapshot and its key compared.
#include "engine/alias_cache.hpp"
#include "engine/engine.hpp"
#include "engine/statements.hpp"
#include "pg/row_fetch.hpp"
#include "stats/recorder.hpp"

#include <array>

namespace dms_refs {

using namespace core;

core::RowCache &alias_cache() {
    static core::RowCache cache;
    static void *storage = nullptr;
    static int size = 0;
    if (size != settings.alias_cache) {
        cache.adopt({});
        size = 0;
        if (storage != nullptr)
            pfree(storage);
        storage = nullptr;
        if (settings.alias_cache > 0) {
            const auto entries = static_cast<std::size_t>(settings.alias_cache);
            auto *bytes = static_cast<char *>(
                MemoryContextAllocExtended(TopMemoryContext, sizeof(RowCacheEntry) * entries + PG_CACHE_LINE_SIZE,
                                           MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO));
            storage = bytes;
            bytes += PG_CACHE_LINE_SIZE - reinterpret_cast<uintptr_t>(bytes) % PG_CACHE_LINE_SIZE;
            cache.adopt({reinterpret_cast<RowCacheEntry *>(bytes), entries});
        }
        size = settings.alias_cache;
    }
    return cache;
}

namespace {

[[noreturn]] void raise_no_partition(Relation root, const char *column, int16 key, int32 ordinal) {
    ereport(ERROR,
            (errcode(ERRCODE_CHECK_VIOLATION),
             errmsg("no partition of relation \"%s\" found for partition key %d", RelationGetRelationName(root), key),
             errdetail("Reference %d has (%s) = (%d).", ordinal, column, key),
             errhint("Check how the caller computes partition keys, or create the partition."), errtable(root)));
    pg_unreachable();
}

// An open leaf of the alias table.
struct AliasLeaf {
    Relation relation;
    Leaf leaf;
    TupleTableSlot *slot; // for rows from its indexes; NULL: not needed yet
};

// NULL, or why the leaf of a key cannot be read natively; then nothing is open. Nor is where no partition takes the
// key.
const char *open_alias_leaf(Call *call, const Reference &first, LOCKMODE lock, AliasLeaf *opened) {
    const char *reason = nullptr;
    opened->relation = open_leaf(call->store, Role::alias, call->alias, first.partition_key, lock, &reason);
    if (opened->relation == nullptr)
        return reason;
    opened->leaf = leaf_of(call->store, Role::alias, call->alias, opened->relation);
    if (opened->leaf.not_readable != nullptr) {
        table_close(opened->relation, NoLock);
        return opened->leaf.not_readable;
    }
    opened->slot = nullptr;
    return nullptr;
}

TupleTableSlot *slot_of(AliasLeaf *opened) {
    if (opened->slot == nullptr)
        opened->slot = table_slot_create(opened->relation, nullptr);
    return opened->slot;
}

void close_alias_leaf(AliasLeaf *opened) {
    if (opened->slot != nullptr)
        ExecDropSingleTupleTableSlot(opened->slot);
    table_close(opened->relation, NoLock);
}

template <class T> T column_of(const AliasLeaf &alias, HeapTuple row, int column) {
    return column_value<T>(alias.leaf, column, row, RelationGetDescr(alias.relation));
}

void take_alias(const AliasLeaf &from, HeapTuple row, Reference *reference) {
    reference->alias_id = column_of<int64>(from, row, alias_column::id);
    reference->document_id = column_of<int64>(from, row, alias_column::document_id);
    reference->document_key = column_of<int16>(from, row, alias_column::document_key);
    reference->alias_row = row_address(row->t_self);
    reference->resolved = true;
}

bool is_alias_of(const AliasLeaf &leaf, HeapTuple row, const Reference &reference) {
    const TupleDesc descriptor = RelationGetDescr(leaf.relation);
    return column_is(leaf.leaf, alias_column::referential_id, row, descriptor, reference.id) &&
           column_is(leaf.leaf, alias_column::partition_key, row, descriptor, reference.partition_key);
}

// A reference and what the cache says of its alias.
struct Hinted {
    Reference *reference;
    RowHint hint;
};

// Resolves references of one partition key.
const char *resolve_in_leaf(Call *call, std::span<Hinted> run) {
    AliasLeaf alias;
    const Reference &first = *run[0].reference;
    if (const char *reason = open_alias_leaf(call, first, AccessShareLock, &alias))
        return reason;
    if (alias.relation == nullptr)
        raise_no_partition(call->alias, call->store.column(Role::alias, alias_column::partition_key),
                           first.partition_key, first.ordinal);
    RowCache &cache = alias_cache();
    const Oid table = call->store.table(Role::alias);
    RowReader reader = open_reader(alias.relation, call->snapshot);
    LookupScan scan = {};
    for (Hinted &hinted : run) {
        CHECK_FOR_INTERRUPTS();
        Reference &reference = *hinted.reference;
        if (hinted.hint.row.known()) {
            const Buffer before = hinted.hint.buffer;
            if (fetch_row(&reader, &hinted.hint) && is_alias_of(alias, &reader.row, reference)) {
                take_alias(alias, &reader.row, &reference);
                if (hinted.hint.buffer != before)
                    cache.remember(table, reference.id, hinted.hint);
                continue;
            }
            cache.forget(table, reference.id);
        }
        if (scan.scan == nullptr)
            scan = open_lookup(alias.relation, alias.leaf.by_key, call->snapshot, slot_of(&alias));
        Datum values[alias_column::count] = {};
        values[alias_column::partition_key] = Int16GetDatum(reference.partition_key);
        values[alias_column::referential_id] = PointerGetDatum(reference.id.bytes);
        start_lookup(&scan, values);
        if (next_row(&scan)) {
            take_alias(alias, slot_row(alias.slot), &reference);
            cache.remember(table, reference.id, row_hint(alias.slot));
        }
    }
    if (scan.scan != nullptr)
        close_lookup(&scan);
    close_reader(&reader);
    close_alias_leaf(&alias);
    return nullptr;
}

// References are resolved a window at a time: what the cache knows of a window is prefetched before the first of its
// rows is read. On a server with much memory, waiting for it is most of the work.
constexpr std::size_t window = 128;

void prefetch_hints(Call *call, std::span<const Reference> references) {
    RowCache &cache = alias_cache();
    const Oid table = call->store.table(Role::alias);
    for (const Reference &reference : references)
        cache.prefetch(table, reference.id);
}

// Resolves references in resolve order.
const char *resolve_natively(Call *call, std::span<Reference> references) {
    RowCache &cache = alias_cache();
    const Oid table = call->store.table(Role::alias);
    std::array<Hinted, window> hinted;
    for (std::size_t from = 0; from < references.size(); from += window) {
        const auto now = references.subspan(from, std::min(window, references.size() - from));
        if (references.size() > window)
            prefetch_hints(call, now);
        for (std::size_t i = 0; i < now.size(); ++i) {
            hinted[i] = {&now[i], cache.find(table, now[i].id)};
            prefetch_row(hinted[i].hint);
        }
        for (std::size_t first = 0; first < now.size();) {
            std::size_t end = first + 1;
            while (end < now.size() && now[end].partition_key == now[first].partition_key)
                ++end;
            if (const char *reason = resolve_in_leaf(call, std::span(hinted).subspan(first, end - first)))
                return reason;
            first = end;
        }
    }
    return nullptr;
}

void resolve_by_sql(Call *call, std::span<Reference> references) {
    require_alias_partitions(call, references);
    const Datum arguments[] = {
        array_of(call->scratch, references, UUIDOID, [](const Reference &r) { return PointerGetDatum(r.id.bytes); }),
        array_of(call->scratch, references, INT2OID,
                 [](const Reference &r) { return Int16GetDatum(r.partition_key); })};
    Rows rows = run_query(call->store, Statement::resolve, arguments, call->snapshot);
    for (uint64 i = 0; i < rows.count; ++i) {
        const int64 position = DatumGetInt64(row_value(rows, i, 1)) - 1;
        Reference &reference = references[static_cast<std::size_t>(position)];
        reference.alias_id = DatumGetInt64(row_value(rows, i, 2));
        reference.document_key = DatumGetInt16(row_value(rows, i, 3));
        reference.document_id = DatumGetInt64(row_value(rows, i, 4));
        reference.resolved = true;
    }
    end_rows(&rows);
}

} // namespace

void require_alias_partitions(Call *call, std::span<const Reference> references) {
    if (call->alias->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
        return;
    for (std::size_t i = 0; i < references.size(); ++i) {
        if (i > 0 && references[i].partition_key == references[i - 1].partition_key)
            continue;
        CHECK_FOR_INTERRUPTS();
        const char *reason;
        const Oid leaf = leaf_for_key(call->store, Role::alias, call->alias, references[i].partition_key, &reason);
        if (reason == nullptr && !OidIsValid(leaf))
            raise_no_partition(call->alias, call->store.column(Role::alias, alias_column::partition_key),
                               references[i].partition_key, references[i].ordinal);
    }
}

void refuse_repeated(const Duplicate &twice) {
    if (twice && settings.duplicate_references == duplicates_error)
        ereport(ERROR, (errcode(ERRCODE_CARDINALITY_VIOLATION),
                        errmsg("references %d and %d are the same", twice.first, twice.second),
                        errhint("Send each reference once, or set dms_refs.duplicate_references to \"ignore\".")));
}

std::span<Reference> resolve(Call *call, std::span<Reference> references, Duplicate *repeated) {
    call->resolved_at = call->completions;
    // A single window's hints are on their way while it is being sorted; sorting would mix up several.
    if (call->not_native == nullptr && references.size() <= window)
        prefetch_hints(call, references);
    sort_unless_sorted(call, references, resolve_order);
    Duplicate twice;
    const std::span<Reference> distinct = unique_references(references, twice);
    if (repeated != nullptr)
        *repeated = twice;
    if (call->not_native == nullptr)
        call->not_native = resolve_natively(call, distinct);
    if (call->not_native != nullptr) {
        record_by_sql();
        resolve_by_sql(call, distinct);
    }
    return distinct;
}

namespace {

// Finds the alias of a reference by its id, under a snapshot. False where there is none.
bool find_by_id(AliasLeaf *alias, const Reference &reference, Snapshot snapshot) {
    Datum values[alias_column::count] = {};
    values[alias_column::partition_key] = Int16GetDatum(reference.partition_key);
    values[alias_column::id] = Int64GetDatum(reference.alias_id);
    LookupScan scan = open_lookup(alias->relation, alias->leaf.by_id, snapshot, slot_of(alias));
    start_lookup(&scan, values);
    const bool found = next_row(&scan);
    close_lookup(&scan);
    return found;
}

// Puts the newest committed version of a reference's alias into the slot.
bool find_latest(AliasLeaf *alias, const Reference &reference) {
    PushActiveSnapshot(GetLatestSnapshot());
    const bool found = find_by_id(alias, reference, GetActiveSnapshot());
    PopActiveSnapshot();
    return found;
}

// Above READ COMMITTED. The snapshot shows the alias, or what it names; others may have committed since, and whether
// that matters to the call was asked for under the parent's lock. Here it is only there or not, by the snapshot that
// its foreign key would take.
bool lock_alias_as_seen(Call *call, AliasLeaf *alias, const Reference &reference) {
    RowAddress row = reference.alias_row;
    if (checked_by_latest_snapshot(call->alias)) {
        if (!find_latest(alias, reference))
            return false;
        row = row_address(alias->slot->tts_tid);
    } else if (!row.known()) {
        if (!find_by_id(alias, reference, call->snapshot))
            return false;
        row = row_address(alias->slot->tts_tid);
    }
    return lock_row(alias->relation, row, call->snapshot, LockTupleKeyShare, slot_of(alias)) == Locked::locked;
}

// At READ COMMITTED: the newest committed version, and what it names is taken over.
bool lock_latest_alias(Call *call, AliasLeaf *alias, Reference *reference) {
    // Without an address the caller resolved it elsewhere, and said which document to store.
    const bool resolved_here = reference->alias_row.known();
    if (!resolved_here) {
        if (!find_by_id(alias, *reference, call->snapshot))
            return false;
        reference->alias_row = row_address(alias->slot->tts_tid);
    }
    for (;;) {
        CHECK_FOR_INTERRUPTS();
        const Locked locked =
            lock_row(alias->relation, reference->alias_row, call->snapshot, LockTupleKeyShare, slot_of(alias));
        if (locked == Locked::own_change || (locked == Locked::locked && !superseded(alias->slot)))
            return locked == Locked::locked;
        if (!find_latest(alias, *reference))
            return false;
        // Deleted and made again, or updated; maybe only about to be, and then the version we have is the newest.
        const RowAddress latest = row_address(alias->slot->tts_tid);
        if (locked == Locked::locked && latest == reference->alias_row)
            return true;
        if (resolved_here)
            take_alias(*alias, slot_row(alias->slot), reference);
        reference->alias_row = latest;
    }
}

// Locks the alias row of one reference as its foreign key would. False where it is not there, or not to be had: that is
// for the foreign key's own trigger to look into.
bool lock_alias(Call *call, AliasLeaf *alias, Reference *reference) {
    return IsolationUsesXactSnapshot() ? lock_alias_as_seen(call, alias, *reference)
                                       : lock_latest_alias(call, alias, reference);
}

} // namespace

bool lock_aliases(Call *call, std::span<Reference> given, std::span<const Change> changes, const Reference **missing) {
    compat::injection_point("dms_refs-before-alias-locks");
    const auto room = allocate<Reference *>(call->scratch, changes.size());
    std::size_t n = 0;
    for (const Change &change : changes)
        if (change.action == Action::insert)
            room[n++] = &given[static_cast<std::size_t>(change.given)];
    const auto inserted = room.first(n);
    sort_interruptibly(call->scratch, inserted, [](const Reference *a, const Reference *b) {
        return a->partition_key != b->partition_key ? a->partition_key < b->partition_key : a->alias_id < b->alias_id;
    });

    // The foreign key's own trigger would lock root and leaf ROW SHARE too.
    LockRelationOid(RelationGetRelid(call->alias), RowShareLock);
    for (std::size_t i = 0; i < n;) {
        AliasLeaf alias;
        if (open_alias_leaf(call, *inserted[i], RowShareLock, &alias) != nullptr)
            return false;
        // A partition that the call's snapshot still has may be pending detach, and gone for a foreign key.
        if (alias.relation == nullptr) {
            *missing = inserted[i];
            return false;
        }
        const int16 key = inserted[i]->partition_key;
        for (; i < n && inserted[i]->partition_key == key; ++i) {
            if (!lock_alias(call, &alias, inserted[i]) && *missing == nullptr)
                *missing = inserted[i];
        }
        close_alias_leaf(&alias);
    }
    return *missing == nullptr;
}

void look_up_removed(Call *call, std::span<const StoredReference> stored, std::span<const Change> changes,
                     std::span<Uuid> ids, std::span<bool> found) {
    std::fill(found.begin(), found.end(), false);
    const auto removed = allocate<StoredReference>(call->scratch, changes.size());
    const auto position = allocate<std::size_t>(call->scratch, changes.size());
    std::size_t n = 0;
    for (std::size_t i = 0; i < changes.size(); ++i) {
        if (changes[i].action == Action::remove) {
            removed[n] = stored[static_cast<std::size_t>(changes[i].stored)];
            position[n++] = i;
        }
    }
    if (n == 0)
        return;
    const std::span<const StoredReference> wanted = removed.first(n);
    const Datum arguments[] = {
        array_of(call->scratch, wanted, INT8OID, [](const StoredReference &r) { return Int64GetDatum(r.alias_id); }),
        array_of(call->scratch, wanted, INT2OID,
                 [](const StoredReference &r) { return Int16GetDatum(r.partition_key); })};
    Rows rows = run_query(call->store, Statement::ids_of_aliases, arguments, call->snapshot);
    for (uint64 i = 0; i < rows.count; ++i) {
        const std::size_t at = position[static_cast<std::size_t>(DatumGetInt64(row_value(rows, i, 1)) - 1)];
        memcpy(ids[at].bytes, DatumGetUUIDP(row_value(rows, i, 2))->data, UUID_LEN);
        found[at] = true;
    }
    end_rows(&rows);
}

} // namespace dms_refs
