// Reading SQL arguments: see arguments.hpp.
#include "functions/arguments.hpp"

namespace dms_refs {

using core::Reference;
using core::Uuid;

namespace {

template <class T> std::span<const T> elements(FunctionCallInfo fcinfo, int argument, const char *name) {
    require_not_null(fcinfo, argument, name);
    ArrayType *array = PG_GETARG_ARRAYTYPE_P(argument);
    if (ARR_NDIM(array) > 1)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s must be a one-dimensional array", name)));
    const int n = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
    if (ARR_HASNULL(array)) {
        const bits8 *present = ARR_NULLBITMAP(array);
        for (int i = 0; i < n; ++i)
            if ((present[i / 8] & (1 << (i % 8))) == 0)
                ereport(ERROR, (errcode(ERRCODE_NOT_NULL_VIOLATION), errmsg("element %d of %s is null", i + 1, name)));
    }
    return {reinterpret_cast<const T *>(ARR_DATA_PTR(array)), static_cast<std::size_t>(n)};
}

} // namespace

void require_not_null(FunctionCallInfo fcinfo, int argument, const char *name) {
    if (PG_ARGISNULL(argument))
        ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be null", name)));
}

Store store_argument(FunctionCallInfo fcinfo, int argument) {
    if (PG_NARGS() <= argument)
        return find_store_of_function(fcinfo->flinfo->fn_oid);
    require_not_null(fcinfo, argument, "store");
    return find_store(NameStr(*PG_GETARG_NAME(argument)));
}

std::span<const Uuid> uuid_array(FunctionCallInfo fcinfo, int argument, const char *name) {
    return elements<Uuid>(fcinfo, argument, name);
}

std::span<const int16> smallint_array(FunctionCallInfo fcinfo, int argument, const char *name) {
    return elements<int16>(fcinfo, argument, name);
}

std::span<const int32> int_array(FunctionCallInfo fcinfo, int argument, const char *name) {
    return elements<int32>(fcinfo, argument, name);
}

std::span<const bool> boolean_array(FunctionCallInfo fcinfo, int argument, const char *name) {
    return elements<bool>(fcinfo, argument, name);
}

std::span<const int64> bigint_array(FunctionCallInfo fcinfo, int argument, const char *name) {
    return elements<int64>(fcinfo, argument, name);
}

void require_same_length(std::size_t a, const char *a_name, std::size_t b, const char *b_name) {
    if (a != b)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("%s and %s must have the same length", a_name, b_name),
                        errdetail("%s has %zu elements, %s has %zu.", a_name, a, b_name, b)));
}

std::span<Reference> reference_arguments(FunctionCallInfo fcinfo, int first, MemoryContext context) {
    const auto ids = uuid_array(fcinfo, first, "referential_ids");
    const auto keys = smallint_array(fcinfo, first + 1, "referential_partition_keys");
    require_same_length(ids.size(), "referential_ids", keys.size(), "referential_partition_keys");
    const auto references = allocate<Reference>(context, ids.size());
    for (std::size_t i = 0; i < ids.size(); ++i) {
        references[i] = {};
        references[i].id = ids[i];
        references[i].partition_key = keys[i];
        references[i].ordinal = static_cast<int32>(i + 1);
    }
    return references;
}

Parent parent_arguments(FunctionCallInfo fcinfo) {
    require_not_null(fcinfo, 0, "parent_document_id");
    require_not_null(fcinfo, 1, "parent_document_partition_key");
    return {PG_GETARG_INT64(0), PG_GETARG_INT16(1)};
}

} // namespace dms_refs
