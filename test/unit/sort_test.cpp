// core/sort against std::sort, on records in many kinds of disorder.
#include "core/reference_set.hpp"
#include "core/sort.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <random>
#include <vector>

using namespace dms_refs::core;

namespace {

template <class T, class Order> std::vector<T> sorted_by_keys(std::vector<T> records, Order order) {
    std::vector<SortKey> room(sort_room(records.size()));
    sort(std::span<T>(records), order, std::span<SortKey>(room));
    return records;
}

Reference made(std::mt19937_64 &random, std::uint64_t ids, std::int16_t keys, std::int64_t aliases) {
    Reference r = {};
    const std::uint64_t id = ids == 0 ? random() : random() % ids;
    std::memcpy(r.id.bytes + (ids == 0 ? 0 : 8), &id, sizeof id);
    r.partition_key =
        static_cast<std::int16_t>(static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(keys)) - keys / 2);
    r.alias_id = aliases == 0 ? static_cast<std::int64_t>(random())
                              : static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(aliases)) - aliases / 2;
    return r;
}

bool same_order(const std::vector<Reference> &a, const std::vector<Reference> &b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                      [](const Reference &x, const Reference &y) { return x.ordinal == y.ordinal; });
}

} // namespace

TEST(Sort, SameAsTheOrderItself) {
    std::mt19937_64 random(7);
    // Ids that differ early, only in their last bytes, or hardly; aliases from anywhere, from a few, or all the same.
    const std::uint64_t ids[] = {0, 1U << 20, 3};
    const std::int64_t aliases[] = {0, 1000000, 5, 1};
    for (std::size_t size : {0U, 1U, 2U, 47U, 48U, 49U, 100U, 257U, 3000U}) {
        for (std::uint64_t id : ids) {
            for (std::int64_t alias : aliases) {
                std::vector<Reference> records;
                for (std::size_t i = 0; i < size; ++i) {
                    records.push_back(made(random, id, 300, alias));
                    records.back().ordinal = static_cast<std::int32_t>(i + 1);
                }
                std::vector<Reference> expected = records;
                std::sort(expected.begin(), expected.end(), resolve_order);
                EXPECT_TRUE(same_order(sorted_by_keys(records, resolve_order), expected)) << size << ' ' << id;
                std::sort(expected.begin(), expected.end(), alias_order);
                EXPECT_TRUE(same_order(sorted_by_keys(records, alias_order), expected)) << size << ' ' << alias;
                // In order, and the other way round.
                EXPECT_TRUE(same_order(sorted_by_keys(expected, alias_order), expected)) << size << ' ' << alias;
                std::vector<Reference> reversed(expected.rbegin(), expected.rend());
                EXPECT_TRUE(same_order(sorted_by_keys(reversed, alias_order), expected)) << size << ' ' << alias;
            }
        }
    }
}

TEST(Sort, NumbersAgreeWithTheOrder) {
    std::mt19937_64 random(11);
    std::vector<Reference> records(2000);
    for (Reference &r : records)
        r = made(random, 0, 32767, 0);
    records[0].partition_key = INT16_MIN;
    records[1].partition_key = INT16_MAX;
    records[2].alias_id = INT64_MIN;
    records[3].alias_id = INT64_MAX;
    for (std::size_t i = 1; i < records.size(); ++i) {
        const Reference &a = records[i - 1];
        const Reference &b = records[i];
        EXPECT_NE(ResolveOrder::major(a), ResolveOrder::major(b));
        EXPECT_EQ(ResolveOrder::major(a) < ResolveOrder::major(b), resolve_order(a, b));
        EXPECT_NE(AliasOrder::major(a), AliasOrder::major(b));
        EXPECT_EQ(AliasOrder::major(a) < AliasOrder::major(b), alias_order(a, b));
    }
}

TEST(Sort, KeysSpreadUnevenly) {
    std::mt19937_64 random(13);
    const std::function<std::uint64_t()> sources[] = {
        [&] { return random(); },
        [&] { return random() % 10; },
        [&] { return std::uint64_t{42}; },
        [&] { return random() % 50 == 0 ? random() : random() % 1000; }, // most in one bucket
        [&] { return std::uint64_t{1} << (random() % 64); },
        [&] { return random() % 2 == 0 ? 0 : UINT64_MAX; }};
    for (const auto &source : sources) {
        for (std::size_t size : {1U, 5U, 100U, 5000U}) {
            std::vector<SortKey> keys(size);
            std::vector<SortKey> spare(size);
            std::vector<std::uint64_t> expected(size);
            for (std::size_t i = 0; i < size; ++i) {
                expected[i] = source();
                keys[i] = {expected[i], static_cast<std::uint32_t>(i)};
            }
            const std::vector<std::uint64_t> given = expected;
            std::sort(expected.begin(), expected.end());
            sort_keys(keys, spare);
            std::vector<bool> seen(size);
            for (std::size_t i = 0; i < size; ++i) {
                EXPECT_EQ(keys[i].major, expected[i]);
                EXPECT_EQ(keys[i].major, given[keys[i].position]);
                EXPECT_FALSE(seen[keys[i].position]);
                seen[keys[i].position] = true;
            }
        }
    }
    sort_keys({}, {});
}

TEST(Sort, RunsMergedByParts) {
    std::mt19937_64 random(17);
    for (std::size_t first : {0U, 1U, 7U, 100U}) {
        for (std::size_t second : {0U, 1U, 8U, 93U}) {
            for (std::size_t most : {1U, 3U, 64U, 1000U}) {
                std::vector<Reference> records(first + second);
                for (std::size_t i = 0; i < records.size(); ++i) {
                    records[i] = made(random, 0, 3, 20);
                    records[i].ordinal = static_cast<std::int32_t>(i);
                }
                const auto middle = records.begin() + static_cast<std::ptrdiff_t>(first);
                std::sort(records.begin(), middle, alias_order);
                std::sort(middle, records.end(), alias_order);
                std::vector<Reference> merged(records.size());
                Merging<Reference> runs = {std::span<const Reference>(records).first(first),
                                           std::span<const Reference>(records).subspan(first), merged};
                std::size_t parts = 1;
                while (merge_some(&runs, alias_order, most))
                    ++parts;
                EXPECT_EQ(parts, std::max<std::size_t>(1, (records.size() + most - 1) / most));
                std::sort(records.begin(), records.end(), alias_order);
                EXPECT_TRUE(same_order(merged, records)) << first << ' ' << second << ' ' << most;
            }
        }
    }
}
