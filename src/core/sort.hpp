// Sorting records by short keys.
//
// Most sets arrive in order, and small ones are sorted as they are. Larger ones are in no order at all, ids being
// random: then comparing and moving whole records, and guessing wrong at every other comparison, is what sorting costs.
// Nothing here allocates: the caller lends the room.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <span>

namespace dms_refs::core {

// What a record is sorted by, and where it was.
struct SortKey {
    std::uint64_t major;
    std::uint32_t position;
};

// Below this many records keys are not worth making.
inline constexpr std::size_t least_sorted_by_keys = 48;

// How many keys sort() needs room for.
inline std::size_t sort_room(std::size_t records) noexcept {
    return records < least_sorted_by_keys ? 0 : records * 2;
}

// Sorts keys by major, equal ones in any order. spare has room for as many.
void sort_keys(std::span<SortKey> keys, std::span<SortKey> spare) noexcept;

// Two sorted runs that are being merged into room for both.
template <class T> struct Merging {
    std::span<const T> a;
    std::span<const T> b;
    std::span<T> to;
};

// Merges as many records as are said, at most: what takes long is done by parts. False where none are left.
template <class T, class Order> bool merge_some(Merging<T> *runs, Order order, std::size_t most) noexcept {
    const T *a = runs->a.data();
    const T *b = runs->b.data();
    const T *const a_end = a + runs->a.size();
    const T *const b_end = b + runs->b.size();
    T *to = runs->to.data();
    T *const end = to + std::min(most, runs->to.size());
    while (to != end)
        *to++ = b == b_end || (a != a_end && !order(*b, *a)) ? *a++ : *b++;
    *runs = {{a, a_end}, {b, b_end}, {to, runs->to.data() + runs->to.size()}};
    return !runs->to.empty();
}

// Order says which of two records comes first, and has a number for each: order.major(a) < order.major(b) must imply
// order(a, b). (Orders are function objects, so that sorting has them inline.)
template <class T, class Order> void sort(std::span<T> records, Order order, std::span<SortKey> room) noexcept {
    if (records.size() < least_sorted_by_keys) {
        std::sort(records.begin(), records.end(), order);
        return;
    }
    assert(room.size() >= sort_room(records.size()));
    const auto keys = room.first(records.size());
    for (std::size_t i = 0; i < keys.size(); ++i)
        keys[i] = {order.major(records[i]), static_cast<std::uint32_t>(i)};
    sort_keys(keys, room.subspan(keys.size()));
    // Each cycle of the permutation, with one record set aside.
    for (std::size_t i = 0; i < keys.size(); ++i) {
        if (keys[i].position == i)
            continue;
        const T aside = records[i];
        std::size_t to = i;
        for (std::size_t from; (from = keys[to].position) != i; to = from) {
            records[to] = records[from];
            keys[to].position = static_cast<std::uint32_t>(to);
        }
        records[to] = aside;
        keys[to].position = static_cast<std::uint32_t>(to);
    }
    // Where numbers were equal.
    assert(std::is_sorted(records.begin(), records.end(),
                          [order](const T &a, const T &b) { return order.major(a) < order.major(b); }));
    if (!std::is_sorted(records.begin(), records.end(), order))
        std::sort(records.begin(), records.end(), order);
}

} // namespace dms_refs::core
