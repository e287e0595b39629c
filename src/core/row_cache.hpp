// A bounded cache of row addresses by (table, referential id): hints, never the truth.
//
// Set-associative over storage that the caller owns: four neighbouring entries, two cache lines, are one
// set, and a clock hand a set picks the entry to give up. Nothing is ever invalidated from outside: whoever
// takes an address must fetch the row there and compare its key, and calls forget() where it is not the row.
#pragma once

#include "core/reference_set.hpp"

namespace dms_refs::core {

struct RowCacheEntry {
    Uuid id;
    std::uint32_t table; // 0: empty
    std::uint32_t block;
    std::uint16_t offset;
    std::uint32_t used; // since the hand last passed
};
static_assert(sizeof(RowCacheEntry) == 32);

class RowCache {
public:
    static constexpr std::size_t ways = 4;

    // entries must be zeroed; whole sets are used.
    void adopt(std::span<RowCacheEntry> entries) noexcept {
        entries_ = entries.first(entries.size() / ways * ways);
    }

    std::size_t capacity() const noexcept { return entries_.size(); }

    // The remembered address, unknown where there is none.
    RowAddress find(std::uint32_t table, const Uuid &id) noexcept {
        for (RowCacheEntry &entry : set_of(table, id)) {
            if (entry.table == table && entry.id == id) {
                entry.used = 1;
                return {entry.block, entry.offset};
            }
        }
        return {0, 0};
    }

    void remember(std::uint32_t table, const Uuid &id, RowAddress row) noexcept {
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
        *victim = {id, table, row.block, row.offset, 0};
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
