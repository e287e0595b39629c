// What the statistics views are made of: entries, running calls, resetting, and histograms as arrays.
//
// Rows are of tables that the caller may read; pg_read_all_stats sees all. State, locking: those of src/stats.
#include "stats/statistics.hpp"

#include "engine/statements.hpp"
#include "functions/results.hpp"
#include "stats/progress.hpp"

#include <cmath>

namespace dms_refs {
namespace {

using namespace core;

void say_once_if_not_preloaded() {
    static bool said = false;
    if (said || strcmp(stat_status().storage, "session") != 0)
        return;
    said = true;
    ereport(NOTICE, (errmsg("these statistics are of this session only"),
                     errdetail("dms_refs is not in shared_preload_libraries."),
                     errhint("Add it and restart the server to count the calls of all sessions.")));
}

Datum array_of_counts(std::span<const int64> counts) {
    return array_of(CurrentMemoryContext, counts, INT8OID, [](int64 count) { return Int64GetDatum(count); });
}

// Without the empty end: a histogram's length says nothing.
template <std::size_t Buckets> Datum array_of_counts(const Histogram<Buckets> &histogram, BucketRange used) {
    return array_of_counts(std::span<const int64>(histogram.counts, used.end));
}

struct StatEntry {
    StatKey key;
    CallCounters counters;
};

void put_entry(ReturnSetInfo *set, const StatEntry &entry) {
    const StatKey &key = entry.key;
    const CallCounters &c = entry.counters;
    const CallCost &cost = c.cost;
    const auto n = static_cast<double>(c.calls);
    const double mean = c.calls > 0 ? cost.time / n : 0;
    const double variance = c.calls > 0 ? Max(c.time_squared / n - mean * mean, 0.0) : 0;
    const bool no_call = c.calls == 0;
    const bool other = key.function == Function::other;
    const Datum values[] = {
        ObjectIdGetDatum(key.database),
        ObjectIdGetDatum(key.relation),
        CStringGetTextDatum(function_name(key.function)),
        CStringGetTextDatum(other ? "other" : path_name(key.path)),
        CStringGetTextDatum(other        ? "other"
                            : key.by_sql ? "sql"
                                         : "direct"),
        Int64GetDatum(c.calls),
        Int64GetDatum(c.documents),
        Int64GetDatum(c.given),
        Int64GetDatum(c.read),
        Int64GetDatum(c.inserted),
        Int64GetDatum(c.updated),
        Int64GetDatum(c.deleted),
        Int64GetDatum(c.kept),
        Int64GetDatum(c.invalid),
        Float8GetDatum(cost.time),
        Float8GetDatum(c.time_min),
        Float8GetDatum(c.time_max),
        Float8GetDatum(mean),
        Float8GetDatum(std::sqrt(variance)),
        Float8GetDatum(cost.phase_time[static_cast<int>(Phase::resolve)]),
        Float8GetDatum(cost.phase_time[static_cast<int>(Phase::read)]),
        Float8GetDatum(cost.phase_time[static_cast<int>(Phase::apply)]),
        Int64GetDatum(cost.wal_records),
        Int64GetDatum(cost.wal_full_page_images),
        Int64GetDatum(cost.wal_bytes),
        Int64GetDatum(cost.blocks_hit),
        Int64GetDatum(cost.blocks_read),
        Int64GetDatum(cost.blocks_dirtied),
        Int64GetDatum(c.same_size_unchanged),
        Int64GetDatum(c.same_size_changed),
        Int64GetDatum(c.other_size),
        TimestampTzGetDatum(c.first_call),
        TimestampTzGetDatum(c.last_call),
        TimestampTzGetDatum(c.reset),
        array_of_counts(c.latency, c.latency_used),
        array_of_counts(c.set_size, c.set_size_used),
        array_of_counts(c.change_size, c.change_size_used),
    };
    bool nulls[lengthof(values)] = {};
    nulls[1] = !OidIsValid(key.relation);
    for (int i = 15; i < 19; ++i)
        nulls[i] = no_call;
    nulls[31] = nulls[32] = no_call;
    nulls[33] = c.reset == 0;
    put_row(set, values, nulls);
}

std::span<const int64> histogram_argument(FunctionCallInfo fcinfo, int argument) {
    const ArrayType *array = PG_GETARG_ARRAYTYPE_P(argument);
    if (ARR_NDIM(array) > 1 || ARR_HASNULL(array))
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("a histogram is a one-dimensional array of counts without nulls")));
    const auto n = static_cast<std::size_t>(ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)));
    if (n > max_buckets)
        ereport(ERROR,
                (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("a histogram has at most %zu buckets", max_buckets)));
    return {reinterpret_cast<const int64 *>(ARR_DATA_PTR(array)), n};
}

Datum add_histograms(FunctionCallInfo fcinfo, int64 sign) {
    const auto a = histogram_argument(fcinfo, 0);
    const auto b = histogram_argument(fcinfo, 1);
    const auto sum = allocate<int64>(CurrentMemoryContext, Max(a.size(), b.size()));
    for (std::size_t i = 0; i < sum.size(); ++i)
        sum[i] = core::saturating_add(i < a.size() ? a[i] : 0, i < b.size() ? b[i] : 0, sign);
    return array_of_counts(sum);
}

bool has_staging(const CallCounters &counters) {
    const StagingCount &count = counters.staging;
    return count.rows != 0 || count.overflows != 0 || count.discards != 0;
}

// Calls put for each entry that the caller may see and that has counted something: of stages, or of calls. Entries of
// tables that are gone are taken away: a standby is not told of drops.
Datum put_entries(FunctionCallInfo fcinfo, bool of_stages, void (*put)(ReturnSetInfo *, const StatEntry &)) {
    say_once_if_not_preloaded();
    ReturnSetInfo *set = begin_set(fcinfo);
    const bool everything = sees_everything();
    const auto seen = seen_entries(CurrentMemoryContext);
    const auto gone = allocate<Oid>(CurrentMemoryContext, seen.size());
    std::size_t n_gone = 0;
    auto *entry = allocate<StatEntry>(CurrentMemoryContext, 1).data();
    for (const Seen &one : seen) {
        CHECK_FOR_INTERRUPTS();
        const StatKey &key = one.key;
        const bool here = key.database == MyDatabaseId && OidIsValid(key.relation);
        if (here && !SearchSysCacheExists1(RELOID, ObjectIdGetDatum(key.relation))) {
            gone[n_gone++] = key.relation;
            continue;
        }
        const bool other = key.function == Function::other;
        if ((!other && (key.function == Function::staging) != of_stages) ||
            (!everything && !may_see(key.database, key.relation)) || !read_counters(one, &entry->counters))
            continue;
        entry->key = key;
        const bool staging = has_staging(entry->counters);
        if (of_stages ? staging : !entry->counters.empty() && (!other || entry->counters.calls > 0))
            put(set, *entry);
    }
    forget_tables(gone.first(n_gone));
    return static_cast<Datum>(0);
}

void put_staged(ReturnSetInfo *set, const StatEntry &entry) {
    const StagingCount &count = entry.counters.staging;
    const Datum values[] = {
        ObjectIdGetDatum(entry.key.database), ObjectIdGetDatum(entry.key.relation),     Int64GetDatum(count.rows),
        Int64GetDatum(count.bytes),           Int64GetDatum(count.peak_bytes),          Int64GetDatum(count.overflows),
        Int64GetDatum(count.discards),        TimestampTzGetDatum(entry.counters.reset)};
    bool nulls[lengthof(values)] = {};
    nulls[1] = !OidIsValid(entry.key.relation);
    nulls[7] = entry.counters.reset == 0;
    put_row(set, values, nulls);
}

} // namespace
} // namespace dms_refs

DMS_REFS_FUNCTION(dms_refs_stat_entries) {
    return dms_refs::put_entries(fcinfo, false, dms_refs::put_entry);
}

DMS_REFS_FUNCTION(dms_refs_stat_staged) {
    return dms_refs::put_entries(fcinfo, true, dms_refs::put_staged);
}

DMS_REFS_FUNCTION(dms_refs_stat_running) {
    using namespace dms_refs;
    ReturnSetInfo *set = begin_set(fcinfo);
    const bool everything = sees_everything();
    for (const Running &running : running_calls(CurrentMemoryContext)) {
        if (!everything && !may_see(running.database, running.relation))
            continue;
        const Datum values[] = {Int32GetDatum(running.pid),
                                ObjectIdGetDatum(running.database),
                                ObjectIdGetDatum(running.relation),
                                CStringGetTextDatum(function_name(running.function)),
                                CStringGetTextDatum(phase_name(running.phase)),
                                Int64GetDatum(running.done),
                                Int64GetDatum(running.total),
                                TimestampTzGetDatum(running.started)};
        const bool nulls[lengthof(values)] = {false, false, !OidIsValid(running.relation)};
        put_row(set, values, nulls);
    }
    return static_cast<Datum>(0);
}

DMS_REFS_FUNCTION(dms_refs_stat_status) {
    using namespace dms_refs;
    static TupleDesc row_type = nullptr;
    const StatStatus status = stat_status();
    const Datum values[] = {CStringGetTextDatum(status.storage), Int64GetDatum(status.entries),
                            Int64GetDatum(status.max_entries), Int64GetDatum(status.not_recorded)};
    const bool nulls[lengthof(values)] = {};
    PG_RETURN_DATUM(row_datum(result_type(fcinfo, &row_type), values, nulls));
}

DMS_REFS_FUNCTION(dms_refs_stat_reset) {
    using namespace dms_refs;
    reset_counters(PG_ARGISNULL(0) ? InvalidOid : PG_GETARG_OID(0));
    PG_RETURN_VOID();
}

DMS_REFS_FUNCTION(dms_refs_histogram_percentile) {
    using namespace dms_refs;
    const double fraction = PG_GETARG_FLOAT8(1);
    if (!(fraction >= 0 && fraction <= 1))
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("a percentile is a fraction between 0 and 1"),
                        errhint("Ask for 0.95, not 95.")));
    const double value = percentile(histogram_argument(fcinfo, 0), fraction);
    if (value < 0)
        PG_RETURN_NULL();
    PG_RETURN_FLOAT8(value * PG_GETARG_FLOAT8(2));
}

DMS_REFS_FUNCTION(dms_refs_histogram_add) {
    return dms_refs::add_histograms(fcinfo, 1);
}

DMS_REFS_FUNCTION(dms_refs_histogram_subtract) {
    return dms_refs::add_histograms(fcinfo, -1);
}

DMS_REFS_FUNCTION(dms_refs_histogram_buckets) {
    using namespace dms_refs;
    const auto counts = histogram_argument(fcinfo, 0);
    const double unit = PG_GETARG_FLOAT8(1);
    ReturnSetInfo *set = begin_set(fcinfo);
    int64 up_to = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
        up_to = core::saturating_add(up_to, counts[i]);
        if (counts[i] == 0)
            continue;
        const Datum values[] = {Float8GetDatum(static_cast<double>(core::bucket_start(i)) * unit),
                                Float8GetDatum(static_cast<double>(core::bucket_start(i + 1)) * unit),
                                Int64GetDatum(counts[i]), Int64GetDatum(up_to)};
        const bool nulls[lengthof(values)] = {};
        put_row(set, values, nulls);
    }
    return static_cast<Datum>(0);
}
