// sync_references_batch: many documents in one call.
//
// All references are resolved together, each leaf opened once; then document by document in (partition key, id)
// order, so that two batches lock parents in the same order. Scratch memory is given back after each document.
#include "functions/arguments.hpp"
#include "functions/results.hpp"
#include "stats/recorder.hpp"

namespace dms_refs {
namespace {

using namespace core;

struct Document {
    Parent parent;
    int32 ordinal;
    std::size_t first; // of its references
    std::size_t count;
};

struct DocumentResult {
    Counts counts;
    CallPath path;
    Datum invalid; // in the caller's memory
};

std::span<const Uuid> invalid_of(const DocumentResult &result) {
    const auto *array = reinterpret_cast<const ArrayType *>(DatumGetPointer(result.invalid));
    return {reinterpret_cast<const Uuid *>(ARR_DATA_PTR(array)),
            static_cast<std::size_t>(ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)))};
}

std::span<Document> document_arguments(FunctionCallInfo fcinfo, MemoryContext context, std::size_t n_references) {
    const auto ids = bigint_array(fcinfo, 0, "parent_document_ids");
    const auto keys = smallint_array(fcinfo, 1, "parent_document_partition_keys");
    const auto counts = int_array(fcinfo, 2, "reference_counts");
    require_same_length(ids.size(), "parent_document_ids", keys.size(), "parent_document_partition_keys");
    require_same_length(ids.size(), "parent_document_ids", counts.size(), "reference_counts");
    if (!PG_ARGISNULL(5)) // hints, as is_pure_insert is
        require_same_length(ids.size(), "parent_document_ids", boolean_array(fcinfo, 5, "are_pure_inserts").size(),
                            "are_pure_inserts");
    const auto documents = allocate<Document>(context, ids.size());
    std::size_t first = 0;
    for (std::size_t i = 0; i < ids.size(); ++i) {
        if (counts[i] < 0)
            ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                            errmsg("element %zu of reference_counts is negative", i + 1)));
        documents[i] = {{ids[i], keys[i]}, static_cast<int32>(i + 1), first, static_cast<std::size_t>(counts[i])};
        first += documents[i].count;
    }
    if (first != n_references)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("reference_counts must add up to the length of referential_ids"),
                        errdetail("They add up to %zu; there are %zu referential ids.", first, n_references)));
    return documents;
}

bool aborts_on_invalid(FunctionCallInfo fcinfo) {
    require_not_null(fcinfo, 6, "on_invalid");
    const char *choice = text_to_cstring(PG_GETARG_TEXT_PP(6));
    if (strcmp(choice, "abort") != 0 && strcmp(choice, "skip") != 0)
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown value \"%s\" of on_invalid", choice),
                        errhint("It is \"skip\" or \"abort\".")));
    return strcmp(choice, "abort") == 0;
}

// The references of one document, with what was found out about each.
std::span<Reference> references_of(Call *call, const Document &document, std::span<const Reference> given,
                                   std::span<const Reference> resolved) {
    const auto own = allocate<Reference>(call->scratch, document.count);
    for (std::size_t i = 0; i < document.count; ++i) {
        CHECK_FOR_INTERRUPTS();
        Reference wanted = given[document.first + i];
        wanted.ordinal = 0; // below every ordinal: finds the one entry of its key
        own[i] = *std::lower_bound(resolved.begin(), resolved.end(), wanted, resolve_order);
        own[i].ordinal = static_cast<int32>(i + 1);
    }
    sort_unless_sorted(call, own, resolve_order);
    Duplicate twice;
    const auto distinct = unique_references(own, twice);
    refuse_repeated(twice);
    return distinct;
}

// The path of a batch as a whole, as the statistics count it.
CallPath path_of_all(std::span<const DocumentResult> results) {
    Counts sum;
    for (const DocumentResult &result : results) {
        if (result.path == CallPath::invalid)
            return CallPath::invalid;
        sum.add(result.counts);
    }
    return path_of(sum);
}

Datum sync_references_batch(FunctionCallInfo fcinfo) {
    const bool abort_on_invalid = aborts_on_invalid(fcinfo);
    Call call;
    begin_call(&call, "sync_references_batch", store_argument(fcinfo, 7), Purpose::write);
    const auto given = reference_arguments(fcinfo, 3, call.context);
    const auto documents = document_arguments(fcinfo, call.context, given.size());

    const auto copy = allocate<Reference>(call.context, given.size());
    std::copy(given.begin(), given.end(), copy.begin());
    record_total(given.size());
    record_phase(Phase::resolve);
    const auto resolved = resolve(&call, copy, nullptr);
    const uint64 resolved_at = call.resolved_at;

    const auto in_order = allocate<const Document *>(call.context, documents.size());
    for (std::size_t i = 0; i < documents.size(); ++i)
        in_order[i] = &documents[i];
    sort_interruptibly(call.context, in_order, [](const Document *a, const Document *b) {
        if (a->parent.key != b->parent.key)
            return a->parent.key < b->parent.key;
        return a->parent.id != b->parent.id ? a->parent.id < b->parent.id : a->ordinal < b->ordinal;
    });

    const MemoryContext per_document = AllocSetContextCreate(call.context, "dms_refs document", ALLOCSET_DEFAULT_SIZES);
    call.scratch = per_document;
    const auto results = allocate<DocumentResult>(call.context, documents.size());
    for (const Document *document : in_order) {
        CHECK_FOR_INTERRUPTS();
        MemoryContextReset(per_document);
        DocumentResult &result = results[static_cast<std::size_t>(document->ordinal - 1)];
        result = {};
        const auto own = references_of(&call, *document, given, resolved);
        call.resolved_at = resolved_at; // a document before this one may have resolved its own again
        const Outcome outcome = reconcile(&call, document->parent, own);
        record_document(static_cast<StatPath>(outcome.path), document_count(outcome));
        const auto invalid =
            outcome.path == CallPath::invalid ? invalid_ids(outcome.given, per_document) : std::span<Uuid>();
        result.counts = outcome.counts;
        result.path = outcome.path;
        result.invalid = uuid_array_datum(invalid);
        if (!invalid.empty() && abort_on_invalid)
            ereport(ERROR,
                    (errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
                     errmsg("document %d of the batch has %zu invalid references", document->ordinal, invalid.size()),
                     errdetail("The first is %s.",
                               DatumGetCString(DirectFunctionCall1(uuid_out, PointerGetDatum(invalid[0].bytes)))),
                     errhint("With on_invalid => 'skip' the other documents are written.")));
    }
    call.scratch = call.context;
    record_path(static_cast<StatPath>(path_of_all(results)));

    // In the order of the documents, as they were given.
    std::size_t n_invalid = 0;
    for (const DocumentResult &result : results)
        n_invalid += invalid_of(result).size();
    const auto unresolved = allocate<Reference>(call.context, n_invalid);
    n_invalid = 0;
    for (const DocumentResult &result : results) {
        for (const Uuid &id : invalid_of(result)) {
            unresolved[n_invalid] = {};
            unresolved[n_invalid].id = id;
            unresolved[n_invalid].ordinal = static_cast<int32>(n_invalid);
            ++n_invalid;
        }
    }
    const bool one = documents.size() == 1;
    remember_invalid(invalid_ids(unresolved, call.context), one ? documents[0].parent.id : 0,
                     one ? documents[0].parent.key : static_cast<int16>(0), !one);

    ReturnSetInfo *set = begin_set(fcinfo);
    for (std::size_t i = 0; i < results.size(); ++i) {
        const DocumentResult &result = results[i];
        const Datum values[] = {Int32GetDatum(static_cast<int32>(i + 1)),
                                BoolGetDatum(result.path != CallPath::invalid),
                                result.invalid,
                                Int32GetDatum(result.counts.inserted),
                                Int32GetDatum(result.counts.updated),
                                Int32GetDatum(result.counts.deleted),
                                Int32GetDatum(result.counts.kept),
                                CStringGetTextDatum(path_name(result.path))};
        const bool nulls[8] = {};
        put_row(set, values, nulls);
    }
    end_call(&call);
    return static_cast<Datum>(0);
}

} // namespace
} // namespace dms_refs

DMS_REFS_FUNCTION(dms_refs_sync_references_batch) {
    using namespace dms_refs;
    return recorded<sync_references_batch>(fcinfo, Function::sync_references_batch);
}
