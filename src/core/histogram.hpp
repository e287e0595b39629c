// A log-linear histogram: counts of values by magnitude, with a bounded relative error.
//
// Values below 8 have a bucket each; from there on each power of two is divided into 8. So a bucket is at most an
// eighth as wide as its lower bound, and its middle is at most 6.3 % away from any value in it. All zeros is an empty
// histogram, and adding the counts of two is merging them: what differs between two snapshots is a histogram, too.
#pragma once

#include <algorithm>
#include <bit>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

namespace dms_refs::core {

inline constexpr int histogram_bits = 3;

inline std::size_t bucket_of(std::uint64_t value) noexcept {
    if (value < (1U << histogram_bits))
        return value;
    const int exponent = 63 - std::countl_zero(value);
    const int shift = exponent - histogram_bits;
    return (static_cast<std::size_t>(shift + 1) << histogram_bits) + ((value >> shift) & ((1U << histogram_bits) - 1));
}

// The largest number of buckets that bucket_start can speak of.
inline constexpr std::size_t max_buckets = (64 - histogram_bits + 1) << histogram_bits;

// The smallest value of a bucket; that of the next one is the first that is no longer in it.
inline std::uint64_t bucket_start(std::size_t bucket) noexcept {
    assert(bucket < max_buckets);
    if (bucket < (1U << histogram_bits))
        return bucket;
    const int shift = static_cast<int>(bucket >> histogram_bits) - 1;
    const std::uint64_t within = bucket & ((1U << histogram_bits) - 1);
    return ((1ULL << histogram_bits) + within) << shift;
}

// What a value of a bucket is taken for: the middle of the bucket's values.
inline double bucket_value(std::size_t bucket) noexcept {
    const auto start = static_cast<double>(bucket_start(bucket));
    return bucket + 1 < max_buckets ? (start + static_cast<double>(bucket_start(bucket + 1) - 1)) / 2 : start;
}

// a plus or minus b (sign 1 or -1), or the nearest number that there is: counts may come from anybody.
inline std::int64_t saturating_add(std::int64_t a, std::int64_t b, std::int64_t sign = 1) noexcept {
    std::int64_t sum = 0;
    const bool overflow = sign < 0 ? __builtin_sub_overflow(a, b, &sum) : __builtin_add_overflow(a, b, &sum);
    if (!overflow)
        return sum;
    return a < 0 ? std::numeric_limits<std::int64_t>::min() : std::numeric_limits<std::int64_t>::max();
}

// The value below which a fraction of the values lies: that of rank ceil(fraction * n). Negative where there is none.
double percentile(std::span<const std::int64_t> counts, double fraction) noexcept;

// The buckets of a histogram that hold any: merging one of a few values is cheap.
struct BucketRange {
    std::uint32_t first; // has a meaning only where end is not 0
    std::uint32_t end;

    void widen(BucketRange other) noexcept {
        assert(other.first < other.end);
        first = end == 0 ? other.first : std::min(first, other.first);
        end = std::max(end, other.end);
    }
};

// Counts. Their range is kept by the owner, beside what else changes with every value.
template <std::size_t Buckets> struct Histogram {
    static_assert(Buckets > 0 && Buckets <= max_buckets);
    std::int64_t counts[Buckets];

    static constexpr std::size_t size = Buckets;

    void add(std::uint64_t value, BucketRange *used) noexcept {
        const std::size_t bucket = std::min(bucket_of(value), Buckets - 1); // the last takes all that is larger
        ++counts[bucket];
        used->widen({static_cast<std::uint32_t>(bucket), static_cast<std::uint32_t>(bucket) + 1});
    }

    void merge(const Histogram &from, BucketRange from_used, BucketRange *used) noexcept {
        if (from_used.end == 0)
            return;
        assert(from_used.end <= Buckets);
        for (std::size_t i = from_used.first; i < from_used.end; ++i)
            counts[i] += from.counts[i];
        used->widen(from_used);
    }

    void clear(BucketRange *used) noexcept {
        assert(used->end <= Buckets);
        if (used->end != 0)
            std::fill(counts + used->first, counts + used->end, 0);
        *used = {};
    }
};

} // namespace dms_refs::core
