// insert_references, sync_references, diff_references, apply_resolved_references: one document a call.
//
// Each reads its arguments, runs one call of the engine and builds rows; state, locking and errors are the
// engine's. Results are built in the caller's memory context before the call's own goes away.
#include "functions/arguments.hpp"
#include "functions/results.hpp"
#include "stats/recorder.hpp"

namespace dms_refs {
namespace {

using namespace core;

struct Synced {
    bool valid;
    std::span<Uuid> invalid;
    Outcome outcome;
};

void record_outcome(const Outcome &outcome) {
    const auto path = static_cast<StatPath>(outcome.path);
    record_document(path, document_count(outcome));
    record_path(path);
}

// The common part: resolve, compare and, where the purpose is to write, write.
Synced sync(Call *call, FunctionCallInfo fcinfo, const char *function, Purpose purpose, int store_position) {
    require_not_null(fcinfo, 4, "is_pure_insert"); // a hint, which the stored set itself answers at no cost
    const Parent parent = parent_arguments(fcinfo);
    begin_call(call, function, store_argument(fcinfo, store_position), purpose);
    Synced synced = {};
    Duplicate twice;
    const auto given = reference_arguments(fcinfo, 2, call->context);
    record_total(given.size());
    record_phase(Phase::resolve);
    const auto references = resolve(call, given, &twice);
    refuse_repeated(twice);
    synced.outcome = reconcile(call, parent, references);
    record_outcome(synced.outcome);
    synced.valid = synced.outcome.path != CallPath::invalid;
    if (!synced.valid)
        synced.invalid = invalid_ids(synced.outcome.given, call->context);
    remember_invalid(synced.invalid, parent.id, parent.key, false);
    return synced;
}

void put_reference(ReturnSetInfo *set, const char *action, const Reference &reference) {
    const Datum values[] = {Int32GetDatum(reference.ordinal),     CStringGetTextDatum(action),
                            PointerGetDatum(reference.id.bytes),  Int16GetDatum(reference.partition_key),
                            Int64GetDatum(reference.alias_id),    Int64GetDatum(reference.document_id),
                            Int16GetDatum(reference.document_key)};
    const bool unknown = !reference.resolved;
    const bool nulls[] = {false, false, false, false, unknown, unknown, unknown};
    put_row(set, values, nulls);
}

// Invalid references alone, by position; or what changed: given references by position, then removed ones.
void put_changes(Call *call, ReturnSetInfo *set, const Synced &synced, bool include_kept) {
    if (!synced.valid) {
        const auto references = synced.outcome.given;
        sort_interruptibly(call->context, references,
                           [](const Reference &a, const Reference &b) { return a.ordinal < b.ordinal; });
        for (const Reference &reference : references)
            if (!reference.resolved)
                put_reference(set, "invalid", reference);
        return;
    }
    const Outcome &outcome = synced.outcome;
    const auto ids = allocate<Uuid>(call->context, outcome.changes.size());
    const auto found = allocate<bool>(call->context, outcome.changes.size());
    // Before the changes are put into another order.
    look_up_removed(call, outcome.stored, outcome.changes, ids, found);
    const auto order = allocate<std::size_t>(call->context, outcome.changes.size());
    for (std::size_t i = 0; i < order.size(); ++i)
        order[i] = i;
    const auto position = [&outcome](std::size_t i) {
        const Change &change = outcome.changes[i];
        return change.given < 0 ? PG_INT32_MAX : outcome.given[static_cast<std::size_t>(change.given)].ordinal;
    };
    sort_interruptibly(call->context, order, [&position](std::size_t a, std::size_t b) {
        return position(a) != position(b) ? position(a) < position(b) : a < b;
    });
    for (std::size_t i : order) {
        const Change &change = outcome.changes[i];
        if (change.action == Action::keep && !include_kept)
            continue;
        if (change.given >= 0) {
            put_reference(set, action_name(change.action), outcome.given[static_cast<std::size_t>(change.given)]);
            continue;
        }
        const StoredReference &row = outcome.stored[static_cast<std::size_t>(change.stored)];
        const Datum values[] = {static_cast<Datum>(0),          CStringGetTextDatum(action_name(change.action)),
                                PointerGetDatum(ids[i].bytes),  Int16GetDatum(row.partition_key),
                                Int64GetDatum(row.alias_id),    Int64GetDatum(row.document_id),
                                Int16GetDatum(row.document_key)};
        const bool nulls[] = {true, false, !found[i], false, false, false, false};
        put_row(set, values, nulls);
    }
}

template <Purpose purpose> Datum sync_rows(FunctionCallInfo fcinfo) {
    require_not_null(fcinfo, 5, "include_kept");
    Call call;
    const Synced synced =
        sync(&call, fcinfo, purpose == Purpose::write ? "sync_references" : "diff_references", purpose, 6);
    put_changes(&call, begin_set(fcinfo), synced, PG_GETARG_BOOL(5));
    end_call(&call);
    return static_cast<Datum>(0);
}

// Serves dms_refs.insert_references and every store's InsertReferences, which has no argument `store`.
Datum insert_references(FunctionCallInfo fcinfo) {
    static TupleDesc row_type = nullptr;
    Call call;
    const Synced synced = sync(&call, fcinfo, "insert_references", Purpose::write, 5);
    const Datum values[] = {BoolGetDatum(synced.valid), uuid_array_datum(synced.invalid)};
    const bool nulls[] = {false, false};
    const Datum row = row_datum(result_type(fcinfo, &row_type), values, nulls);
    end_call(&call);
    PG_RETURN_DATUM(row);
}

Datum apply_resolved_references(FunctionCallInfo fcinfo) {
    static TupleDesc row_type = nullptr;
    const Parent parent = parent_arguments(fcinfo);
    require_not_null(fcinfo, 6, "is_pure_insert");
    const auto keys = smallint_array(fcinfo, 2, "referential_partition_keys");
    const auto aliases = bigint_array(fcinfo, 3, "alias_ids");
    const auto documents = bigint_array(fcinfo, 4, "referenced_document_ids");
    const auto document_keys = smallint_array(fcinfo, 5, "referenced_document_partition_keys");
    require_same_length(keys.size(), "referential_partition_keys", aliases.size(), "alias_ids");
    require_same_length(keys.size(), "referential_partition_keys", documents.size(), "referenced_document_ids");
    require_same_length(keys.size(), "referential_partition_keys", document_keys.size(),
                        "referenced_document_partition_keys");

    Call call;
    begin_call(&call, "apply_resolved_references", store_argument(fcinfo, 7), Purpose::write);
    call.resolves = false;
    record_total(keys.size());
    const auto given = allocate<Reference>(call.context, keys.size());
    for (std::size_t i = 0; i < keys.size(); ++i) {
        given[i] = {};
        given[i].ordinal = static_cast<int32>(i + 1);
        given[i].partition_key = keys[i];
        given[i].alias_id = aliases[i];
        given[i].document_id = documents[i];
        given[i].document_key = document_keys[i];
        given[i].resolved = true;
    }
    require_alias_partitions(&call, given);
    sort_unless_sorted(&call, given, alias_order);
    Duplicate twice;
    const auto distinct = unique_aliases(given, twice);
    refuse_repeated(twice);
    const Outcome outcome = reconcile(&call, parent, distinct);
    record_outcome(outcome);
    remember_invalid({}, 0, 0, false);
    const Counts &counts = outcome.counts;
    const Datum values[] = {Int32GetDatum(counts.inserted), Int32GetDatum(counts.updated),
                            Int32GetDatum(counts.deleted), Int32GetDatum(counts.kept),
                            CStringGetTextDatum(path_name(outcome.path))};
    const bool nulls[] = {false, false, false, false, false};
    const Datum row = row_datum(result_type(fcinfo, &row_type), values, nulls);
    end_call(&call);
    PG_RETURN_DATUM(row);
}

} // namespace
} // namespace dms_refs

DMS_REFS_FUNCTION(dms_refs_insert_references) {
    using namespace dms_refs;
    return recorded<insert_references>(fcinfo, Function::insert_references);
}

DMS_REFS_FUNCTION(dms_refs_sync_references) {
    using namespace dms_refs;
    return recorded<sync_rows<Purpose::write>>(fcinfo, Function::sync_references);
}

DMS_REFS_FUNCTION(dms_refs_diff_references) {
    using namespace dms_refs;
    return recorded<sync_rows<Purpose::compare>>(fcinfo, Function::diff_references);
}

DMS_REFS_FUNCTION(dms_refs_apply_resolved_references) {
    using namespace dms_refs;
    return recorded<apply_resolved_references>(fcinfo, Function::apply_resolved_references);
}
