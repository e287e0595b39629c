// Reading SQL arguments into plain structs, with the errors that section 2 of the interface promises.
#pragma once

#include "core/reference_set.hpp"
#include "engine/engine.hpp"
#include "pg/module.hpp"

namespace dms_refs {

// Raises 22004 where an argument is NULL.
void require_not_null(FunctionCallInfo fcinfo, int argument, const char *name);

// The store named by the last argument, or, for a drop-in function that has no such argument, the store whose
// drop-in functions live in its schema.
Store store_argument(FunctionCallInfo fcinfo, int argument);

// The elements of a one-dimensional array without NULLs: 22004 NULL array, 22023 more dimensions, 23502 NULL
// element with its position. They stay in the argument's memory.
std::span<const core::Uuid> uuid_array(FunctionCallInfo fcinfo, int argument, const char *name);
std::span<const int16> smallint_array(FunctionCallInfo fcinfo, int argument, const char *name);
std::span<const int32> int_array(FunctionCallInfo fcinfo, int argument, const char *name);
std::span<const bool> boolean_array(FunctionCallInfo fcinfo, int argument, const char *name);
std::span<const int64> bigint_array(FunctionCallInfo fcinfo, int argument, const char *name);

// Raises 22023 where two parallel arrays differ in length.
void require_same_length(std::size_t a, const char *a_name, std::size_t b, const char *b_name);

// The arguments referential_ids and referential_partition_keys at first and first + 1, in the given order.
std::span<core::Reference> reference_arguments(FunctionCallInfo fcinfo, int first, MemoryContext context);

// The arguments parent_document_id and parent_document_partition_key at 0 and 1.
Parent parent_arguments(FunctionCallInfo fcinfo);

} // namespace dms_refs
