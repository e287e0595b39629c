// core/row_cache: it may forget, but must never return another row's address.
#include "core/row_cache.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

using namespace dms_refs::core;

namespace {

// A hint whose parts all follow from one number.
RowHint hint_of(std::uint32_t n) {
    return {{n, static_cast<std::uint16_t>(1 + n % 200)},
            static_cast<std::int32_t>(1 + n % 1000),
            static_cast<std::uint16_t>(n % 8192)};
}

Uuid id_of(std::uint64_t n) {
    Uuid id = {};
    std::memcpy(id.bytes + 8, &n, sizeof n);
    return id;
}

} // namespace

TEST(RowCache, WithoutRoomForgetsAll) {
    RowCache cache;
    cache.remember(1, id_of(1), hint_of(1));
    EXPECT_FALSE(cache.find(1, id_of(1)).row.known());
    std::vector<RowCacheEntry> too_few(RowCache::ways - 1);
    cache.adopt(too_few);
    cache.remember(1, id_of(1), hint_of(1));
    EXPECT_FALSE(cache.find(1, id_of(1)).row.known());
    EXPECT_EQ(cache.capacity(), 0U);
}

TEST(RowCache, FindsReplacesAndForgets) {
    std::vector<RowCacheEntry> entries(64);
    RowCache cache;
    cache.adopt(entries);
    cache.remember(1, id_of(1), hint_of(10));
    EXPECT_EQ(cache.find(1, id_of(1)).row.block, 10U);
    EXPECT_EQ(cache.find(1, id_of(1)).row.offset, hint_of(10).row.offset);
    EXPECT_EQ(cache.find(1, id_of(1)).buffer, hint_of(10).buffer);
    EXPECT_EQ(cache.find(1, id_of(1)).item, hint_of(10).item);
    EXPECT_FALSE(cache.find(2, id_of(1)).row.known()) << "another table";
    cache.remember(1, id_of(1), hint_of(11));
    EXPECT_EQ(cache.find(1, id_of(1)).row.block, 11U);
    cache.forget(1, id_of(1));
    EXPECT_FALSE(cache.find(1, id_of(1)).row.known());
}

TEST(RowCache, NeverReturnsAnotherRow) {
    std::mt19937_64 random(7);
    std::vector<RowCacheEntry> entries(256);
    RowCache cache;
    cache.adopt(entries);
    std::map<std::pair<std::uint32_t, std::uint64_t>, std::uint32_t> truth;
    int hits = 0;
    for (int i = 0; i < 200000; ++i) {
        const auto table = static_cast<std::uint32_t>(1 + random() % 3);
        const std::uint64_t n = random() % 600;
        if (random() % 2 == 0) {
            const auto block = static_cast<std::uint32_t>(random());
            cache.remember(table, id_of(n), hint_of(block));
            truth[{table, n}] = block;
        } else if (const RowHint hint = cache.find(table, id_of(n)); hint.row.known()) {
            ++hits;
            ASSERT_EQ(hint.row.block, (truth[{table, n}]));
        }
    }
    EXPECT_GT(hits, 1000);
}

// Half as many ids as entries, again and again: an id must not push out another while there is room.
TEST(RowCache, KeepsWhatThereIsRoomFor) {
    std::vector<RowCacheEntry> entries(4096);
    RowCache cache;
    cache.adopt(entries);
    std::mt19937_64 random(11);
    std::vector<Uuid> ids(2048);
    for (Uuid &id : ids)
        id = id_of(random());
    int missed = 0;
    for (int pass = 0; pass < 10; ++pass) {
        for (const Uuid &id : ids) {
            if (!cache.find(1, id).row.known()) {
                missed += pass > 0;
                cache.remember(1, id, hint_of(1));
            }
        }
    }
    EXPECT_LT(missed, 9 * 2048 / 20);
}

// A working set follows another: the old one, though all of it was used, must make room.
TEST(RowCache, OldEntriesMakeRoom) {
    std::vector<RowCacheEntry> entries(1024);
    RowCache cache;
    cache.adopt(entries);
    int missed = 0;
    for (std::uint64_t set = 0; set < 2; ++set) {
        missed = 0;
        for (int pass = 0; pass < 50; ++pass) {
            for (std::uint64_t n = 0; n < 400; ++n) {
                if (!cache.find(1, id_of(set * 100000 + n)).row.known()) {
                    missed += pass >= 25;
                    cache.remember(1, id_of(set * 100000 + n), hint_of(1));
                }
            }
        }
    }
    EXPECT_LT(missed, 25 * 400 / 20);
}

// What is used often must survive a scan of ids that are used once, but for sets that hash unluckily.
TEST(RowCache, HotEntriesOutliveAScan) {
    std::vector<RowCacheEntry> entries(1024);
    RowCache cache;
    cache.adopt(entries);
    constexpr std::uint64_t hot = 100;
    for (std::uint64_t n = 0; n < hot; ++n)
        cache.remember(1, id_of(n), hint_of(1));
    std::uint64_t found = 0;
    std::uint64_t asked = 0;
    for (std::uint64_t n = 1000; n < 50000; ++n) {
        cache.remember(1, id_of(n), hint_of(1));
        ++asked;
        if (cache.find(1, id_of(n % hot)).row.known())
            ++found;
        else
            cache.remember(1, id_of(n % hot), hint_of(1));
    }
    EXPECT_GT(found * 5, asked * 4);
}
