// Building what SQL functions return.
#pragma once

#include "core/call_counters.hpp"
#include "engine/engine.hpp"
#include "pg/module.hpp"

namespace dms_refs {

// A row type of a function without a set, made once: looking it up costs more than the row.
// kept is the caller's static; the descriptor lives as long as the backend.
TupleDesc result_type(FunctionCallInfo fcinfo, TupleDesc *kept);

// Prepares a set-returning function's tuplestore.
ReturnSetInfo *begin_set(FunctionCallInfo fcinfo);

// As many values as the function's row type has columns: the install script and the code must agree.
template <std::size_t N> void put_row(ReturnSetInfo *set, const Datum (&values)[N], const bool (&nulls)[N]) {
    Assert(set->setDesc->natts == static_cast<int>(N));
    CHECK_FOR_INTERRUPTS(); // there may be millions
    tuplestore_putvalues(set->setResult, set->setDesc, const_cast<Datum *>(values), const_cast<bool *>(nulls));
}

// The same for a function that returns one row, of its result_type.
template <std::size_t N> Datum row_datum(TupleDesc type, const Datum (&values)[N], const bool (&nulls)[N]) {
    Assert(type->natts == static_cast<int>(N));
    return HeapTupleGetDatum(heap_form_tuple(type, const_cast<Datum *>(values), const_cast<bool *>(nulls)));
}

Datum uuid_array_datum(std::span<const core::Uuid> ids);

// The distinct ids of unresolved references, in input order, in a context.
std::span<core::Uuid> invalid_ids(std::span<const core::Reference> references, MemoryContext context);

// An outcome as the statistics count it.
core::DocumentCount document_count(const Outcome &outcome);

// What last_invalid_references() returns next to the current user: the invalid ids of this session's last call.
// parent_id and key say which document it was for; any_parent where there were several.
void remember_invalid(std::span<const core::Uuid> ids, int64 parent_id, int16 parent_key, bool any_parent);
void forget_invalid();

} // namespace dms_refs
