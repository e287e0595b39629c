// Building results, and the session's last invalid ids.
//
// State: the last invalid ids live in one context of the backend until the next call, or until they are taken;
// an error in a call leaves those of the call before it.
#include "functions/results.hpp"

#include "functions/arguments.hpp"

namespace dms_refs {

using namespace core;

namespace {

struct LastInvalid {
    MemoryContext context = nullptr;
    Oid role = InvalidOid; // that sent them
    std::span<Uuid> ids;
    int64 parent_id = 0;
    int16 parent_key = 0;
    bool any_parent = false;
};
LastInvalid last_invalid;

} // namespace

void forget_invalid() {
    if (last_invalid.ids.empty())
        return;
    last_invalid.ids = {};
    MemoryContextReset(last_invalid.context);
}

TupleDesc result_type(FunctionCallInfo fcinfo, TupleDesc *kept) {
    if (*kept == nullptr) {
        TupleDesc found;
        if (get_call_result_type(fcinfo, nullptr, &found) != TYPEFUNC_COMPOSITE)
            elog(ERROR, "function %u must return a row", fcinfo->flinfo->fn_oid);
        const MemoryContext before = MemoryContextSwitchTo(TopMemoryContext);
        *kept = BlessTupleDesc(CreateTupleDescCopy(found));
        MemoryContextSwitchTo(before);
    }
    return *kept;
}

ReturnSetInfo *begin_set(FunctionCallInfo fcinfo) {
    // A set of one column has no row type to look up; the caller's expectation says what it is.
    Oid type;
    const bool row = get_call_result_type(fcinfo, &type, nullptr) == TYPEFUNC_COMPOSITE;
    InitMaterializedSRF(fcinfo, row ? 0 : MAT_SRF_USE_EXPECTED_DESC);
    return reinterpret_cast<ReturnSetInfo *>(fcinfo->resultinfo);
}

Datum uuid_array_datum(std::span<const Uuid> ids) {
    static_assert(sizeof(Uuid) == UUID_LEN);
    if (ids.empty())
        return PointerGetDatum(construct_empty_array(UUIDOID));
    const Size bytes = ARR_OVERHEAD_NONULLS(1) + ids.size() * sizeof(Uuid);
    auto *array = static_cast<ArrayType *>(palloc0(bytes));
    SET_VARSIZE(array, bytes);
    array->ndim = 1;
    array->elemtype = UUIDOID;
    ARR_DIMS(array)[0] = static_cast<int>(ids.size());
    ARR_LBOUND(array)[0] = 1;
    memcpy(ARR_DATA_PTR(array), ids.data(), ids.size() * sizeof(Uuid));
    return PointerGetDatum(array);
}

std::span<Uuid> invalid_ids(std::span<const Reference> references, MemoryContext context) {
    std::size_t n = 0;
    for (const Reference &reference : references)
        n += reference.resolved ? 0 : 1;
    if (n == 0)
        return {};
    const auto unresolved = allocate<Reference>(context, n);
    std::copy_if(references.begin(), references.end(), unresolved.begin(),
                 [](const Reference &reference) { return !reference.resolved; });
    sort_interruptibly(context, unresolved, [](const Reference &a, const Reference &b) {
        const int order = compare(a.id, b.id);
        return order != 0 ? order < 0 : a.ordinal < b.ordinal;
    });
    const auto end = std::unique(unresolved.begin(), unresolved.end(),
                                 [](const Reference &a, const Reference &b) { return a.id == b.id; });
    const auto distinct = unresolved.first(static_cast<std::size_t>(end - unresolved.begin()));
    sort_interruptibly(context, distinct, [](const Reference &a, const Reference &b) { return a.ordinal < b.ordinal; });
    const auto ids = allocate<Uuid>(context, distinct.size());
    for (std::size_t i = 0; i < ids.size(); ++i)
        ids[i] = distinct[i].id;
    return ids;
}

DocumentCount document_count(const Outcome &outcome) {
    const bool compared = outcome.path != CallPath::invalid;
    DocumentCount count = {};
    count.given = static_cast<int64>(outcome.given.size());
    count.stored = static_cast<int64>(outcome.stored.size());
    count.changes = outcome.counts;
    count.compared = compared;
    if (!compared)
        count.invalid = std::count_if(outcome.given.begin(), outcome.given.end(),
                                      [](const Reference &reference) { return !reference.resolved; });
    return count;
}

void remember_invalid(std::span<const Uuid> ids, int64 parent_id, int16 parent_key, bool any_parent) {
    forget_invalid();
    if (ids.empty())
        return;
    if (last_invalid.context == nullptr)
        last_invalid.context =
            AllocSetContextCreate(TopMemoryContext, "dms_refs last invalid references", ALLOCSET_SMALL_SIZES);
    const auto kept = allocate<Uuid>(last_invalid.context, ids.size());
    std::copy(ids.begin(), ids.end(), kept.begin());
    last_invalid.ids = kept;
    last_invalid.role = GetUserId();
    last_invalid.parent_id = parent_id;
    last_invalid.parent_key = parent_key;
    last_invalid.any_parent = any_parent;
}

} // namespace dms_refs

// last_invalid_references(), and <store>.GetInvalidReferencesAndClear(parent id, parent key).
DMS_REFS_FUNCTION(dms_refs_take_invalid_references) {
    using namespace dms_refs;
    ReturnSetInfo *set = begin_set(fcinfo);
    // Ids that a SECURITY DEFINER function sent are its owner's, as is what it may read; other roles neither see nor
    // forget them.
    if (last_invalid.role != GetUserId())
        return static_cast<Datum>(0);
    if (PG_NARGS() == 2) {
        const Parent parent = parent_arguments(fcinfo);
        if (last_invalid.any_parent || last_invalid.parent_id != parent.id || last_invalid.parent_key != parent.key)
            return static_cast<Datum>(0);
    }
    for (Uuid &id : last_invalid.ids) {
        const Datum values[] = {PointerGetDatum(id.bytes)};
        const bool nulls[] = {false};
        put_row(set, values, nulls);
    }
    forget_invalid();
    return static_cast<Datum>(0);
}
