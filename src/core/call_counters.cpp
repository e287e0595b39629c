// Adding up what calls did: see call_counters.hpp and histogram.hpp.
#include "core/call_counters.hpp"

#include <cassert>
#include <cmath>
#include <type_traits>

namespace dms_refs::core {

double percentile(std::span<const std::int64_t> counts, double fraction) noexcept {
    assert(counts.size() <= max_buckets);
    std::int64_t total = 0;
    for (const std::int64_t count : counts)
        total = saturating_add(total, std::max<std::int64_t>(count, 0));
    if (total == 0)
        return -1;
    const double clamped = std::clamp(fraction, 0.0, 1.0);
    // The product may round to more than there are, and to more than an integer holds.
    const double wanted = std::ceil(clamped * static_cast<double>(total));
    const std::int64_t rank =
        wanted >= static_cast<double>(total) ? total : std::max<std::int64_t>(1, std::llround(wanted));
    std::int64_t below = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
        below = saturating_add(below, std::max<std::int64_t>(counts[i], 0));
        if (below >= rank)
            return bucket_value(i);
    }
    return bucket_value(counts.size() - 1);
}

const char *path_name(StatPath path) noexcept {
    if (path < StatPath::read)
        return path_name(static_cast<CallPath>(path));
    return path == StatPath::read ? "read" : "error";
}

const char *phase_name(Phase phase) noexcept {
    switch (phase) {
    case Phase::none: return "starting";
    case Phase::resolve: return "resolving";
    case Phase::read: return "reading";
    case Phase::apply: return "applying";
    }
    return "?";
}

void add_document(DocumentCount *sum, const DocumentCount &document) noexcept {
    sum->given += document.given;
    sum->stored += document.stored;
    sum->invalid += document.invalid;
    sum->changes.add(document.changes);
}

void CallCounters::add_document(const DocumentCount &document) noexcept {
    assert(document.given >= 0 && document.stored >= 0 && document.invalid >= 0);
    ++documents;
    given += document.given;
    read += document.stored;
    if (!document.compared) {
        invalid += document.invalid;
        return;
    }
    const Counts &changes = document.changes;
    kept += changes.kept;
    if (!changes.unchanged()) {
        inserted += changes.inserted;
        updated += changes.updated;
        deleted += changes.deleted;
    }
    if (document.given != document.stored)
        ++other_size;
    else if (changes.unchanged())
        ++same_size_unchanged;
    else
        ++same_size_changed;
    set_size.add(static_cast<std::uint64_t>(document.given), &set_size_used);
    const std::int64_t changed = std::int64_t{changes.inserted} + changes.updated + changes.deleted;
    change_size.add(static_cast<std::uint64_t>(changed), &change_size_used);
}

void add_cost(CallCost *sum, const CallCost &cost) noexcept {
    sum->time += cost.time;
    sum->blocks_hit += cost.blocks_hit;
    for (int i = 0; i < phases; ++i)
        if (cost.phase_time[i] != 0)
            sum->phase_time[i] += cost.phase_time[i];
    // Mostly all of these are zero.
    if ((cost.wal_records | cost.wal_full_page_images | cost.wal_bytes | cost.blocks_read | cost.blocks_dirtied) == 0)
        return;
    sum->wal_records += cost.wal_records;
    sum->wal_full_page_images += cost.wal_full_page_images;
    sum->wal_bytes += cost.wal_bytes;
    sum->blocks_read += cost.blocks_read;
    sum->blocks_dirtied += cost.blocks_dirtied;
}

void CallCounters::add_staging(const StagingCount &count) noexcept {
    staging.rows += count.rows;
    staging.bytes += count.bytes;
    staging.peak_bytes = std::max(staging.peak_bytes, count.peak_bytes);
    staging.overflows += count.overflows;
    staging.discards += count.discards;
}

void CallCounters::add_call(const CallCost &of_call, std::int64_t when) noexcept {
    time_min = calls == 0 ? of_call.time : std::min(time_min, of_call.time);
    time_max = calls == 0 ? of_call.time : std::max(time_max, of_call.time);
    time_squared += of_call.time * of_call.time;
    first_call = first_call == 0 ? when : std::min(first_call, when);
    last_call = std::max(last_call, when);
    ++calls;
    add_cost(&cost, of_call);
    latency.add(static_cast<std::uint64_t>(std::max(0.0, of_call.time * latency_units_per_ms)), &latency_used);
}

void CallCounters::merge(const CallCounters &from) noexcept {
    if (from.calls > 0) {
        time_min = calls == 0 ? from.time_min : std::min(time_min, from.time_min);
        time_max = calls == 0 ? from.time_max : std::max(time_max, from.time_max);
        first_call = first_call == 0 ? from.first_call : std::min(first_call, from.first_call);
        last_call = std::max(last_call, from.last_call);
    }
    calls += from.calls;
    documents += from.documents;
    given += from.given;
    read += from.read;
    inserted += from.inserted;
    updated += from.updated;
    deleted += from.deleted;
    kept += from.kept;
    invalid += from.invalid;
    same_size_unchanged += from.same_size_unchanged;
    same_size_changed += from.same_size_changed;
    other_size += from.other_size;
    time_squared += from.time_squared;
    add_cost(&cost, from.cost);
    add_staging(from.staging);
    latency.merge(from.latency, from.latency_used, &latency_used);
    set_size.merge(from.set_size, from.set_size_used, &set_size_used);
    change_size.merge(from.change_size, from.change_size_used, &change_size_used);
}

void CallCounters::clear() noexcept {
    static_assert(std::is_trivially_copyable_v<CallCounters>);
    latency.clear(&latency_used);
    set_size.clear(&set_size_used);
    change_size.clear(&change_size_used);
    // The histograms are empty: only what stands before them is left.
    std::memset(static_cast<void *>(this), 0, offsetof(CallCounters, latency));
}

} // namespace dms_refs::core
