// A bounded cache of where rows lie, by (table, referential id): hints, never the truth.
//
// Set-associative over storage that the caller owns: eight neighbouring entries of 16 bytes, two cache lines,
// are one set. An entry holds 32 bits of the key's hash instead of the key, so it may, very rarely, be that of
// another row. Nothing is ever invalidated from outside: whoever takes an address must fetch the row there and
// compare its key, and calls forget() where it is not the row.
#pragma once

#include "core/reference_set.hpp"

#include <algorithm>
#include <cassert>

namespace dms_refs::core {

// Where a row was last seen: its address, and where in shared memory that was, so that it can be fetched
// without looking for the page. All of it may be out of date.
struct RowHint {
    RowAddress row;
    std::int32_t buffer; // the server's buffer number; 0: not known
    std::uint16_t item;  // bytes from the start of the page to the row, only worth a prefetch
};

struct RowCacheEntry {
    std::uint32_t tag;
    std::uint32_t block;
    std::int32_t buffer;
    std::uint16_t offset; // 0: the entry is empty
    std::uint16_t item : 15;
    std::uint16_t used : 1; // since the hand last passed
};
static_assert(sizeof(RowCacheEntry) == 16);

class RowCache {
public:
    static constexpr std::size_t ways = 8;

    // entries must be zeroed, and should begin at a cache line; whole sets are used.
    void adopt(std::span<RowCacheEntry> entries) noexcept {
        assert(std::all_of(entries.begin(), entries.end(),
                           [](const RowCacheEntry &entry) { return entry.offset == 0 && entry.used == 0; }));
        entries_ = entries.first(entries.size() / ways * ways);
    }

    std::size_t capacity() const noexcept { return entries_.size(); }

    // Asks the processor to fetch the set of an id that will be looked up soon: in a cache larger than the
    // processor's own, each lookup would wait for memory.
    void prefetch(std::uint32_t table, const Uuid &id) noexcept {
        if (const auto set = set_of(hash(table, id)); !set.empty()) {
            __builtin_prefetch(&set[0]);
            __builtin_prefetch(&set[ways / 2]);
        }
    }

    // What is remembered; its address is unknown where nothing is.
    RowHint find(std::uint32_t table, const Uuid &id) noexcept {
        if (RowCacheEntry *entry = entry_of(hash(table, id))) {
            entry->used = 1;
            return {{entry->block, entry->offset}, entry->buffer, entry->item};
        }
        return {};
    }

    void remember(std::uint32_t table, const Uuid &id, const RowHint &hint) noexcept {
        assert(hint.row.known());
        const std::uint64_t key = hash(table, id);
        const auto set = set_of(key);
        if (set.empty())
            return;
        RowCacheEntry *entry = entry_of(key);
        if (entry == nullptr)
            entry = &give_up(set);
        *entry = {tag_of(key),
                  hint.row.block,
                  hint.buffer,
                  hint.row.offset,
                  static_cast<std::uint16_t>(hint.item & 0x7FFFU),
                  0};
    }

    void forget(std::uint32_t table, const Uuid &id) noexcept {
        if (RowCacheEntry *entry = entry_of(hash(table, id)))
            *entry = {};
    }

private:
    // Ids are random by their standard, but an id is the client's to choose: mix both halves well.
    static std::uint64_t hash(std::uint32_t table, const Uuid &id) noexcept {
        std::uint64_t h = uuid_half(id, 0) ^ (uuid_half(id, 1) * 0x9E3779B97F4A7C15ULL) ^ table;
        h = (h ^ (h >> 32)) * 0xD6E8FEB86659FD93ULL;
        return h ^ (h >> 29);
    }

    // The tag must not depend on the bits that choose the set, as far as there are enough of them.
    static std::uint32_t tag_of(std::uint64_t hash) noexcept { return static_cast<std::uint32_t>(hash >> 32); }

    std::span<RowCacheEntry> set_of(std::uint64_t hash) noexcept {
        if (entries_.empty())
            return {};
        return entries_.subspan((hash & 0xFFFFFFFFU) % (entries_.size() / ways) * ways, ways);
    }

    RowCacheEntry *entry_of(std::uint64_t hash) noexcept {
        for (RowCacheEntry &entry : set_of(hash))
            if (entry.tag == tag_of(hash) && entry.offset != 0)
                return &entry;
        return nullptr;
    }

    // An empty entry, else one that was not used since the hand passed it. The hand starts anywhere: entries
    // that are new must not always be the first to go, and those once used must not stay for ever.
    RowCacheEntry &give_up(std::span<RowCacheEntry> set) noexcept {
        for (RowCacheEntry &entry : set)
            if (entry.offset == 0)
                return entry;
        for (std::size_t i = hand_++ * 5;; ++i) {
            RowCacheEntry &entry = set[i % ways];
            if (entry.used == 0)
                return entry;
            entry.used = 0;
        }
    }

    std::span<RowCacheEntry> entries_;
    std::size_t hand_ = 0;
};

} // namespace dms_refs::core
