// resolve_references, find_invalid_references, referencing_documents: what only reads. Stable: they see what
// the query that calls them sees.
#include "engine/statements.hpp"
#include "functions/arguments.hpp"
#include "functions/results.hpp"
#include "pg/relation.hpp"
#include "stats/recorder.hpp"

namespace dms_refs {
namespace {

using namespace core;

// Resolves every given reference, repeated ones too, and leaves them in the given order.
std::span<Reference> resolve_all(Call *call, FunctionCallInfo fcinfo, const char *function) {
    begin_call(call, function, store_argument(fcinfo, 2), Purpose::resolve);
    const auto given = reference_arguments(fcinfo, 0, call->context);
    const auto copy = allocate<Reference>(call->context, given.size());
    std::copy(given.begin(), given.end(), copy.begin());
    Duplicate twice;
    record_total(given.size());
    record_phase(Phase::resolve);
    const std::span<const Reference> resolved = resolve(call, copy, &twice);
    refuse_repeated(twice);
    for (Reference &reference : given) {
        CHECK_FOR_INTERRUPTS();
        const int32 ordinal = reference.ordinal;
        reference.ordinal = 0;
        reference = *std::lower_bound(resolved.begin(), resolved.end(), reference, resolve_order);
        reference.ordinal = ordinal;
    }
    const auto invalid = std::count_if(given.begin(), given.end(), [](const Reference &r) { return !r.resolved; });
    record_lookups(given.size(), static_cast<std::size_t>(invalid));
    return given;
}

Datum resolve_references(FunctionCallInfo fcinfo) {
    Call call;
    const auto given = resolve_all(&call, fcinfo, "resolve_references");
    ReturnSetInfo *set = begin_set(fcinfo);
    for (const Reference &reference : given) {
        const Datum values[] = {Int32GetDatum(reference.ordinal),       PointerGetDatum(reference.id.bytes),
                                Int16GetDatum(reference.partition_key), Int64GetDatum(reference.alias_id),
                                Int64GetDatum(reference.document_id),   Int16GetDatum(reference.document_key)};
        const bool unknown = !reference.resolved;
        const bool nulls[] = {false, false, false, unknown, unknown, unknown};
        put_row(set, values, nulls);
    }
    end_call(&call);
    return static_cast<Datum>(0);
}

Datum find_invalid_references(FunctionCallInfo fcinfo) {
    Call call;
    const auto given = resolve_all(&call, fcinfo, "find_invalid_references");
    ReturnSetInfo *set = begin_set(fcinfo);
    for (const Reference &reference : given) {
        if (reference.resolved)
            continue;
        const Datum values[] = {Int32GetDatum(reference.ordinal), PointerGetDatum(reference.id.bytes),
                                Int16GetDatum(reference.partition_key)};
        const bool nulls[] = {false, false, false};
        put_row(set, values, nulls);
    }
    end_call(&call);
    return static_cast<Datum>(0);
}

// By SQL: one covering index answers it, and the planner does that well.
Datum referencing_documents(FunctionCallInfo fcinfo) {
    require_not_null(fcinfo, 0, "document_id");
    require_not_null(fcinfo, 1, "document_partition_key");
    Store store = store_argument(fcinfo, 2);
    Relation reference = nullptr;
    const TableToOpen table = {Role::reference, AccessShareLock, &reference};
    open_tables(&store, {&table, 1});
    record_relation(reference);
    record_phase(Phase::read);
    record_by_sql();
    ReturnSetInfo *set = begin_set(fcinfo);
    const Datum arguments[] = {Int16GetDatum(PG_GETARG_INT16(1)), Int64GetDatum(PG_GETARG_INT64(0))};
    Rows rows = run_query(store, Statement::referencing, arguments, GetActiveSnapshot());
    for (uint64 i = 0; i < rows.count; ++i) {
        const Datum values[] = {row_value(rows, i, 1), row_value(rows, i, 2)};
        const bool nulls[] = {false, false};
        put_row(set, values, nulls);
    }
    record_lookups(1, 0);
    end_rows(&rows);
    table_close(reference, NoLock);
    return static_cast<Datum>(0);
}

} // namespace
} // namespace dms_refs

DMS_REFS_FUNCTION(dms_refs_resolve_references) {
    using namespace dms_refs;
    return recorded<resolve_references>(fcinfo, Function::resolve_references);
}

DMS_REFS_FUNCTION(dms_refs_find_invalid_references) {
    using namespace dms_refs;
    return recorded<find_invalid_references>(fcinfo, Function::find_invalid_references);
}

DMS_REFS_FUNCTION(dms_refs_referencing_documents) {
    using namespace dms_refs;
    return recorded<referencing_documents>(fcinfo, Function::referencing_documents);
}
