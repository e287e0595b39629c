// What is counted of calls: plain numbers that can be added up.
//
// All zeros is the state before the first call. Nothing here allocates, locks or fails.
#pragma once

#include "core/histogram.hpp"
#include "core/reference_set.hpp"

namespace dms_refs::core {

// How a call ended, in the statistics: the paths of CallPath and two more.
enum class StatPath : std::uint8_t {
    unchanged,
    pure_insert,
    insert_only,
    delete_only,
    mixed,
    invalid,
    read,  // a function that compares nothing
    error, // it raised
};
inline constexpr int stat_paths = 8;
static_assert(static_cast<int>(StatPath::error) + 1 == stat_paths);
// path_name and the recorder take one for the other.
static_assert(static_cast<int>(StatPath::unchanged) == static_cast<int>(CallPath::unchanged) &&
              static_cast<int>(StatPath::invalid) == static_cast<int>(CallPath::invalid));

const char *path_name(StatPath path) noexcept;

enum class Phase : std::uint8_t { none, resolve, read, apply };
inline constexpr int phases = 4;
static_assert(static_cast<int>(Phase::apply) + 1 == phases);

const char *phase_name(Phase phase) noexcept;

// Latencies are counted in eighths of a microsecond, up to 38 hours; sizes up to a million.
inline constexpr double latency_units_per_ms = 8000;
using LatencyHistogram = Histogram<304>;
using SizeHistogram = Histogram<144>;

// One document of a call.
struct DocumentCount {
    std::int64_t given;  // distinct references
    std::int64_t stored; // references that the set held before; 0 where it was not looked at
    std::int64_t invalid;
    Counts changes;
    bool compared; // false: it was invalid
};

void add_document(DocumentCount *sum, const DocumentCount &document) noexcept;

// What a call as a whole has cost.
struct CallCost {
    double time; // milliseconds
    std::int64_t blocks_hit;
    double phase_time[phases];
    std::int64_t wal_records;
    std::int64_t wal_full_page_images;
    std::int64_t wal_bytes;
    std::int64_t blocks_read;
    std::int64_t blocks_dirtied;
};

// What a statement did to a stage, or what was done to all of them.
struct StagingCount {
    std::int64_t rows;       // staged
    std::int64_t bytes;      // they took
    std::int64_t peak_bytes; // the stage held at most
    std::int64_t overflows;  // staging that failed for want of memory
    std::int64_t discards;   // times it was emptied by DISCARD
};

void add_cost(CallCost *sum, const CallCost &cost) noexcept;

// What every call adds to stands first, in two cache lines: where many sessions share a processor, each of them finds
// its counters no longer in the processor's cache, and waits for every line that it touches.
struct CallCounters {
    std::int64_t calls;
    std::int64_t documents;
    std::int64_t given;
    std::int64_t read;
    std::int64_t kept;
    // How "as many as before, so nothing changed" would have done: three cases, the two others further below.
    std::int64_t same_size_unchanged;
    // Microseconds since 2000, the server's timestamps; 0 where there is none.
    std::int64_t first_call;
    std::int64_t last_call;
    double time_squared;
    double time_min; // has a meaning only after a call
    double time_max;
    BucketRange latency_used;
    BucketRange set_size_used;
    BucketRange change_size_used;
    CallCost cost; // sums

    std::int64_t inserted;
    std::int64_t updated;
    std::int64_t deleted;
    std::int64_t invalid;
    std::int64_t same_size_changed;
    std::int64_t other_size;
    std::int64_t reset;   // when; 0: never
    StagingCount staging; // sums, and the highest peak
    LatencyHistogram latency;
    SizeHistogram set_size;
    SizeHistogram change_size;

    void add_document(const DocumentCount &document) noexcept;
    void add_staging(const StagingCount &count) noexcept;
    void add_call(const CallCost &of_call, std::int64_t when) noexcept;
    // reset stays as it is.
    void merge(const CallCounters &from) noexcept;
    void clear() noexcept;
    bool empty() const noexcept {
        return calls == 0 && documents == 0 && staging.rows == 0 && staging.overflows == 0 && staging.discards == 0;
    }
};

} // namespace dms_refs::core
