// One call, and one parent of it: see engine.hpp.
#include "engine/engine.hpp"

#include "pg/relation.hpp"
#include "stats/recorder.hpp"

#include <initializer_list>

namespace dms_refs {

using namespace core;

namespace {

void push_snapshot(Call *call) {
    Snapshot snapshot = GetTransactionSnapshot();
    // Read before it is pushed: the copy on the stack does not carry the count.
    call->completions = IsolationUsesXactSnapshot() ? 0 : snapshot->snapXactCompletionCount;
    PushActiveSnapshot(snapshot);
    call->snapshot = GetActiveSnapshot();
    ++call->pushed_snapshots;
}

// Asks for privileges on the table, and only where it does not grant them for those of the store's columns.
void check_privileges(Call *call, Relation table, Role role, AclMode mode, std::initializer_list<int> columns) {
    if (grants(table, mode))
        return;
    AttrNumber numbers[max_columns];
    std::size_t n = 0;
    for (int column : columns)
        numbers[n++] = store_column(call->store, role, column, table);
    require_privileges(table, mode, {numbers, n});
}

void check_privileges(Call *call) {
    namespace a = alias_column;
    namespace r = reference_column;
    check_privileges(call, call->alias, Role::alias, ACL_SELECT,
                     {a::partition_key, a::referential_id, a::id, a::document_key, a::document_id});
    if (call->reference == nullptr)
        return;
    const std::initializer_list<int> all = {r::parent_key, r::parent_id,    r::alias_id,
                                            r::alias_key,  r::document_key, r::document_id};
    if (call->purpose != Purpose::write) {
        check_privileges(call, call->reference, Role::reference, ACL_SELECT, all);
        return;
    }
    check_privileges(call, call->reference, Role::reference, ACL_SELECT | ACL_INSERT | ACL_DELETE, all);
    // What an update sets.
    check_privileges(call, call->reference, Role::reference, ACL_UPDATE,
                     {r::alias_key, r::document_key, r::document_id});
}

// SQL statements name columns without a look at their types.
void check_columns(Call *call) {
    for (int c = 0; c < alias_column::count; ++c)
        store_column(call->store, Role::alias, c, call->alias);
    for (int c = 0; call->reference != nullptr && c < reference_column::count; ++c)
        store_column(call->store, Role::reference, c, call->reference);
}

Outcome compare(Call *call, std::span<Reference> given, std::span<StoredReference> stored) {
    Outcome outcome = {};
    outcome.given = given;
    outcome.stored = stored;
    const auto room = allocate<Change>(call->scratch, given.size() + stored.size());
    outcome.changes = diff(given, stored, room, outcome.counts);
    outcome.path = path_of(outcome.counts);
    return outcome;
}

// Above READ COMMITTED the snapshot stays as it was, so what another transaction committed meanwhile, a set of
// this parent or another target of an alias, would be mixed with what the snapshot shows: under the parent's
// lock, the newest state must still be that of the snapshot.
void require_unchanged_since_snapshot(Call *call, const Parent &parent, const Outcome &seen) {
    const Snapshot before = call->snapshot;
    PushActiveSnapshot(GetLatestSnapshot());
    call->snapshot = GetActiveSnapshot();
    bool same = same_set(seen.stored, read_stored_set(call, parent, seen.stored.size(), call->snapshot));
    if (same && call->resolves) {
        auto latest = allocate<Reference>(call->scratch, seen.given.size());
        std::copy(seen.given.begin(), seen.given.end(), latest.begin());
        for (Reference &reference : latest)
            reference.resolved = false;
        latest = resolve(call, latest, nullptr);
        sort_unless_sorted(call, latest, alias_order);
        same = std::equal(latest.begin(), latest.end(), seen.given.begin(), seen.given.end(),
                          [](const Reference &a, const Reference &b) {
                              return a.resolved && a.alias_id == b.alias_id && a.document_id == b.document_id &&
                                     a.document_key == b.document_key;
                          });
    }
    PopActiveSnapshot();
    call->snapshot = before;
    if (!same)
        ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
                        errmsg("could not serialize access due to concurrent update"),
                        errdetail("Another transaction changed the references of document (%d, %lld), or what they "
                                  "refer to.",
                                  parent.key, static_cast<long long>(parent.id)),
                        errhint("The transaction might succeed if retried.")));
}

// What the current user may do with the open tables, and how they can be read.
void look_at_tables(Call *call) {
    check_privileges(call);
    if (call->not_native == nullptr)
        call->not_native = root_not_readable(call->alias);
    if (call->not_native == nullptr && call->reference != nullptr)
        call->not_native = root_not_readable(call->reference);
    if (call->not_native != nullptr) {
        check_columns(call);
        record_by_sql();
    }
}

} // namespace

void begin_call(Call *call, const char *function, const Store &store, Purpose purpose) {
    *call = {};
    call->function = function;
    call->store = store;
    call->purpose = purpose;
    call->native_fk_checks = settings.native_fk_checks;
    call->lock_parent = settings.lock_parent;
    call->resolves = true;
    if (purpose == Purpose::write) {
        PreventCommandIfReadOnly(function);
        PreventCommandIfParallelMode(function);
    }
    call->context = call->scratch =
        AllocSetContextCreate(CurrentMemoryContext, "dms_refs call", ALLOCSET_DEFAULT_SIZES);
    const TableToOpen tables[] = {
        {Role::alias, AccessShareLock, &call->alias},
        {Role::reference, purpose == Purpose::write ? RowExclusiveLock : AccessShareLock, &call->reference}};
    open_tables(&call->store, std::span(tables).first(purpose == Purpose::resolve ? 1 : 2));
    record_relation(call->reference != nullptr ? call->reference : call->alias);
    if (settings.engine == engine_sql)
        call->not_native = "dms_refs.engine is sql";
    look_at_tables(call);
    if (purpose == Purpose::resolve) {
        call->snapshot = GetActiveSnapshot(); // a stable function sees what its query sees
        return;
    }
    CommandCounterIncrement();
    push_snapshot(call);
}

void refresh_snapshot(Call *call) {
    CommandCounterIncrement();
    // The first snapshot stays below: it keeps the rows whose addresses were read from being pruned.
    if (call->pushed_snapshots > 1) {
        PopActiveSnapshot();
        --call->pushed_snapshots;
    }
    push_snapshot(call);
}

void look_again(Call *call, const Parent &parent) {
    call->look_again = false;
    if (call->not_native != nullptr)
        return; // statements look for themselves
    refresh_snapshot(call);
    close_reference_leaf(call);
    look_at_tables(call);
    open_reference_leaf(call, parent.key);
}

void end_call(Call *call) {
    Assert(call->pushed_snapshots == 0 || call->snapshot == GetActiveSnapshot());
    close_reference_leaf(call);
    while (call->pushed_snapshots > 0) {
        PopActiveSnapshot();
        --call->pushed_snapshots;
    }
    if (call->reference != nullptr)
        table_close(call->reference, NoLock);
    table_close(call->alias, NoLock);
    MemoryContextDelete(call->context);
}

namespace {

bool all_resolved(std::span<const Reference> references) {
    return std::all_of(references.begin(), references.end(), [](const Reference &r) { return r.resolved; });
}

// The parent's stored set and references as the snapshot shows them.
Outcome read_and_compare(Call *call, const Parent &parent, std::span<Reference> references) {
    if (!all_resolved(references)) {
        Outcome outcome = {};
        outcome.given = references;
        outcome.path = CallPath::invalid;
        return outcome;
    }
    sort_unless_sorted(call, references, alias_order);
    if (const Duplicate twice = ambiguous_alias(references))
        ereport(ERROR, (errcode(ERRCODE_CARDINALITY_VIOLATION),
                        errmsg("references %d and %d name the same alias id with different targets",
                               Min(twice.first, twice.second), Max(twice.first, twice.second)),
                        errdetail("The stored set of a document holds an alias id once.")));
    return compare(call, references, read_stored_set(call, parent, references.size(), call->snapshot));
}

std::span<Reference> resolve_again(Call *call, std::span<Reference> references) {
    for (Reference &reference : references)
        reference.resolved = false;
    return resolve(call, references, nullptr);
}

// Locks the parent. Somebody may have committed since the first reading, a writer of this parent or of an alias: then
// what was read before counts for nothing. A batch resolved its references before its first document.
Outcome lock_and_compare(Call *call, const Parent &parent, std::span<Reference> references, const Outcome &before,
                         bool changes, ParentRow *parent_row) {
    const uint64 completions = call->completions;
    const uint64 resolved_at = call->resolves ? call->resolved_at : completions;
    compat::injection_point("dms_refs-before-parent-lock");
    *parent_row = lock_parent(call, parent, changes);
    refresh_snapshot(call);
    if (IsolationUsesXactSnapshot()) {
        require_unchanged_since_snapshot(call, parent, before);
        return before;
    }
    if (completions != 0 && completions == call->completions && resolved_at == call->completions)
        return before;
    if (call->resolves)
        references = resolve_again(call, references);
    return read_and_compare(call, parent, references);
}

} // namespace

Outcome reconcile(Call *call, const Parent &parent, std::span<Reference> references) {
    if (call->has_written) {
        refresh_snapshot(call);
        call->has_written = false;
    }
    if (call->look_again)
        look_again(call, parent);
    record_phase(Phase::read);
    open_reference_leaf(call, parent.key);
    // What a batch found out before its first document need not hold after users' code ran for another one. What others
    // commit matters under the parent's lock, and here where there is none.
    if (call->resolves &&
        (call->user_code_ran || (call->lock_parent == lock_never && call->resolved_at != call->completions)))
        references = resolve_again(call, references);
    Outcome outcome = read_and_compare(call, parent, references);
    if (call->purpose != Purpose::write || outcome.path == CallPath::invalid)
        return outcome;

    ParentRow parent_row = ParentRow::missing;
    const bool unchanged = outcome.counts.unchanged();
    if (!unchanged || call->lock_parent == lock_always)
        record_phase(Phase::apply);
    if (call->lock_parent == lock_always && unchanged)
        outcome = lock_and_compare(call, parent, references, outcome, false, &parent_row);
    // Not unchanged any more, perhaps.
    if (call->lock_parent != lock_never && outcome.path != CallPath::invalid && !outcome.counts.unchanged())
        outcome = lock_and_compare(call, parent, outcome.given, outcome, true, &parent_row);
    if (outcome.path == CallPath::invalid || outcome.counts.unchanged())
        return outcome;
    apply(call, parent, outcome, parent_row);
    return outcome;
}

} // namespace dms_refs
