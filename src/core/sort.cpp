// Sorting keys: see sort.hpp.
#include "core/sort.hpp"

#include <bit>
#include <cassert>

namespace dms_refs::core {

// One pass puts the keys into buckets by the leading bits in which they differ. Where they are spread evenly, each is
// then but a step or two from its place; where they are not, buckets are large, and those are sorted first.
void sort_keys(std::span<SortKey> keys, std::span<SortKey> spare) noexcept {
    constexpr int bucket_bits = 8;
    constexpr std::size_t buckets = 1U << bucket_bits;
    constexpr std::size_t large = 16;
    assert(spare.size() >= keys.size());
    assert(keys.size() <= UINT32_MAX);
    if (keys.empty())
        return;
    std::uint64_t least = keys[0].major;
    std::uint64_t most = least;
    for (const SortKey &key : keys) {
        least = std::min(least, key.major);
        most = std::max(most, key.major);
    }
    if (least == most)
        return;
    const int shift = std::max(0, static_cast<int>(std::bit_width(most - least)) - bucket_bits);
    std::uint32_t ends[buckets + 1] = {};
    for (const SortKey &key : keys)
        ++ends[((key.major - least) >> shift) + 1];
    for (std::size_t b = 1; b < buckets; ++b)
        ends[b] += ends[b - 1];
    // So far ends[b] is where bucket b begins; each key moves it on.
    for (const SortKey &key : keys)
        spare[ends[(key.major - least) >> shift]++] = key;
    const auto sorted = spare.first(keys.size());
    for (std::size_t b = 0, first = 0; b < buckets; first = ends[b++])
        if (ends[b] - first > large)
            sort_keys(sorted.subspan(first, ends[b] - first), keys.subspan(first, ends[b] - first));
    for (std::size_t i = 0; i < keys.size(); ++i) {
        std::size_t to = i;
        for (; to > 0 && sorted[i].major < keys[to - 1].major; --to)
            keys[to] = keys[to - 1];
        keys[to] = sorted[i];
    }
}

} // namespace dms_refs::core
