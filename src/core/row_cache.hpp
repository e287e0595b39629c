// A bounded cache of where rows lie, by (table, referential id): hints, never the truth.
//
// Set-associative over storage that the caller owns: four neighbouring entries, two cache lines, are one
// set, and a clock hand a set picks the entry to give up. Nothing is ever invalidated from outside: whoever
// takes an address must fetch the row there and compare its key, and calls forget() where it is not the row.
#pragma once

#include "core/reference_set.hpp"

namespace dms_refs::core {

// Where a row was last seen: its address, and where in shared memory that was, so that it can be fetched
// without looking for the page. All of it may be out of date.
struct RowHint {
    RowAddress row;
    std::int32_t buffer; // the server's buffer number; 0: not known
    std::uint16_t item;  // bytes from the start of the page to the row, only worth a prefetch
};

struct RowCacheEntry {
    Uuid id;
    std::uint32_t table; // 0: empty
    std::uint32_t block;
    std::int32_t buffer;
    std::uint16_t offset;
    std::uint16_t item : 15;
    std::uint16_t used : 1; // since the hand last passed
};
static_assert(sizeof(RowCacheEntry) == 32);

class RowCache {
public:
    static constexpr std::size_t ways = 4;

    // entries must be zeroed; whole sets are used.
    void adopt(std::span<RowCacheEntry> entries) noexcept { entries_ = entries.first(entries.size() / ways * ways); }

    std::size_t capacity() const noexcept { return entries_.size(); }

    // Asks the processor to fetch the set of an id that will be looked up soon: in a cache larger than the
    // processor's own, each lookup would wait for memory.
    void prefetch(std::uint32_t table, const Uuid &id) noexcept {
        if (const auto set = set_of(table, id); !set.empty()) {
            __builtin_prefetch(&set[0]);
            __builtin_prefetch(&set[2]);
        }
    }

    // What is remembered; its address is unknown where nothing is.
    RowHint find(std::uint32_t table, const Uuid &id) noexcept {
        for (RowCacheEntry &entry : set_of(table, id)) {
            if (entry.table == table && entry.id == id) {
                entry.used = 1;
                return {{entry.block, entry.offset}, entry.buffer, entry.item};
            }
        }
        return {};
    }

    void remember(std::uint32_t table, const Uuid &id, const RowHint &hint) noexcept {
        const auto set = set_of(table, id);
        if (set.empty())
            return;
        RowCacheEntry *victim = nullptr;
        for (RowCacheEntry &entry : set) {
            if (entry.table == table && entry.id == id) {
                victim = &entry;
                break;
            }
            if (!victim && entry.used == 0)
                victim = &entry;
        }
        if (!victim) {
            // All four were used since the hand last passed: it passes now.
            for (RowCacheEntry &entry : set)
                entry.used = 0;
            victim = &set[hash(table, id) >> 62];
        }
        *victim = {
            id, table, hint.row.block, hint.buffer, hint.row.offset, static_cast<std::uint16_t>(hint.item & 0x7FFFU),
            0};
    }

    void forget(std::uint32_t table, const Uuid &id) noexcept {
        for (RowCacheEntry &entry : set_of(table, id))
            if (entry.table == table && entry.id == id)
                entry = {};
    }

private:
    // Ids are random by their standard, but an id is the client's to choose: mix both halves well.
    static std::uint64_t hash(std::uint32_t table, const Uuid &id) noexcept {
        std::uint64_t h = uuid_half(id, 0) ^ (uuid_half(id, 1) * 0x9E3779B97F4A7C15ULL) ^ table;
        h = (h ^ (h >> 32)) * 0xD6E8FEB86659FD93ULL;
        return h ^ (h >> 29);
    }

    std::span<RowCacheEntry> set_of(std::uint32_t table, const Uuid &id) noexcept {
        if (entries_.empty())
            return {};
        return entries_.subspan(hash(table, id) % (entries_.size() / ways) * ways, ways);
    }

    std::span<RowCacheEntry> entries_;
};

} // namespace dms_refs::core
