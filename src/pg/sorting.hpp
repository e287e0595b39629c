// Sorting any number of records without keeping a cancel waiting.
//
// State: none. Memory: room for keys, and where there are many records for as many again, both given back.
#pragma once

#include "core/sort.hpp"
#include "pg/module.hpp"

namespace dms_refs {

// Records that are sorted, or merged, between two looks at what the server wants: some ten milliseconds.
inline constexpr std::size_t sorted_at_a_time = 64 * 1024;

// By keys where the order has numbers for its records.
template <class T, class Order> void sort_interruptibly(MemoryContext context, std::span<T> records, Order order) {
    constexpr bool by_keys = requires(const T &record) {
        order.major(record);
    };
    const std::size_t n = records.size();
    const std::size_t piece = std::min(n, sorted_at_a_time);
    std::span<core::SortKey> room;
    if constexpr (by_keys)
        room = allocate<core::SortKey>(context, core::sort_room(piece));
    for (std::size_t first = 0; first < n; first += piece) {
        if (first > 0)
            CHECK_FOR_INTERRUPTS();
        const auto run = records.subspan(first, std::min(piece, n - first));
        if constexpr (by_keys)
            core::sort(run, order, room);
        else
            std::sort(run.begin(), run.end(), order);
    }
    if constexpr (by_keys)
        pfree(room.data());
    if (piece == n)
        return;
    const auto spare = allocate<T>(context, n);
    std::span<T> from = records;
    std::span<T> to = spare;
    for (std::size_t run = piece; run < n; run *= 2) {
        for (std::size_t first = 0; first < n; first += 2 * run) {
            const std::size_t middle = std::min(first + run, n);
            const std::size_t end = std::min(first + 2 * run, n);
            core::Merging<T> runs = {from.subspan(first, middle - first), from.subspan(middle, end - middle),
                                     to.subspan(first, end - first)};
            do {
                CHECK_FOR_INTERRUPTS();
            } while (core::merge_some(&runs, order, sorted_at_a_time));
        }
        std::swap(from, to);
    }
    if (from.data() != records.data())
        std::copy(from.begin(), from.end(), records.begin());
    pfree(spare.data());
}

} // namespace dms_refs
