// core/histogram and core/call_counters: bounded error, and sums that do not depend on the order of adding.
#include "core/call_counters.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <random>
#include <vector>

using namespace dms_refs::core;

TEST(Histogram, BucketsTouchAndRise) {
    std::uint64_t end = 0;
    for (std::size_t bucket = 0; bucket + 1 < max_buckets; ++bucket) {
        ASSERT_EQ(bucket_start(bucket), end);
        end = bucket_start(bucket + 1);
        ASSERT_GT(end, bucket_start(bucket));
        ASSERT_EQ(bucket_of(bucket_start(bucket)), bucket);
        ASSERT_EQ(bucket_of(end - 1), bucket);
    }
    EXPECT_EQ(bucket_of(~0ULL), max_buckets - 1);
}

TEST(Histogram, ErrorIsBounded) {
    std::mt19937_64 random(3);
    for (int i = 0; i < 100000; ++i) {
        const std::uint64_t value = 1 + (random() >> (random() % 63 + 1));
        const double error = std::abs(bucket_value(bucket_of(value)) - static_cast<double>(value));
        ASSERT_LE(error, 0.0667 * static_cast<double>(value)) << value;
    }
}

TEST(Histogram, PercentilesAreNear) {
    std::mt19937_64 random(5);
    std::lognormal_distribution<double> latency(5, 1.5);
    std::vector<std::uint64_t> values;
    LatencyHistogram histogram = {};
    BucketRange used = {};
    for (int i = 0; i < 50000; ++i) {
        values.push_back(static_cast<std::uint64_t>(latency(random) * 8));
        histogram.add(values.back(), &used);
    }
    std::sort(values.begin(), values.end());
    for (const double fraction : {0.0, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0}) {
        const auto rank = static_cast<std::size_t>(std::max(1.0, std::ceil(fraction * 50000))) - 1;
        const auto exact = static_cast<double>(values[rank]);
        EXPECT_NEAR(percentile(histogram.counts, fraction), exact, 0.07 * exact + 0.5) << fraction;
    }
    EXPECT_LT(percentile({}, 0.5), 0);
}

TEST(Histogram, MergeAndClear) {
    std::mt19937_64 random(9);
    SizeHistogram parts[3] = {};
    BucketRange parts_used[3] = {};
    SizeHistogram all = {};
    BucketRange used = {};
    for (int i = 0; i < 3000; ++i) {
        const std::uint64_t value = random() % (1U << (random() % 30)); // some past the last bucket
        parts[i % 3].add(value, &parts_used[i % 3]);
        all.add(value, &used);
    }
    SizeHistogram merged = {};
    BucketRange merged_used = {};
    for (int i = 0; i < 3; ++i)
        merged.merge(parts[i], parts_used[i], &merged_used);
    merged.merge(SizeHistogram{}, BucketRange{}, &merged_used);
    EXPECT_EQ(std::memcmp(&merged, &all, sizeof all), 0);
    EXPECT_EQ(merged_used.first, used.first);
    EXPECT_EQ(merged_used.end, used.end);
    EXPECT_GT(all.counts[SizeHistogram::size - 1], 0);
    all.clear(&used);
    const SizeHistogram empty = {};
    EXPECT_EQ(std::memcmp(&all, &empty, sizeof all), 0);
    EXPECT_EQ(used.end, 0U);
}

namespace {

void add_one(CallCounters *counters, int n) {
    DocumentCount document = {};
    document.given = n % 7;
    document.stored = n % 5;
    document.changes = {n % 3, 0, n % 2, 1};
    document.compared = n % 4 != 0;
    document.invalid = document.compared ? 0 : 1;
    counters->add_document(document);
    CallCost cost = {};
    cost.time = n * 0.25;
    cost.wal_bytes = n % 3 == 0 ? 0 : n;
    cost.blocks_hit = n;
    cost.blocks_dirtied = n % 2;
    cost.phase_time[1] = 1;
    counters->add_call(cost, 1000 + n);
}

} // namespace

TEST(CallCounters, SumsOfPartsAreTheWhole) {
    const auto parts = std::make_unique<CallCounters[]>(3);
    const auto all = std::make_unique<CallCounters>();
    for (int n = 1; n < 500; ++n) {
        add_one(&parts[static_cast<std::size_t>(n % 3)], n);
        add_one(all.get(), n);
    }
    const auto sum = std::make_unique<CallCounters>();
    sum->reset = 77;
    for (int i : {2, 0, 1})
        sum->merge(parts[static_cast<std::size_t>(i)]);
    EXPECT_EQ(sum->reset, 77);
    EXPECT_EQ(sum->calls, 499);
    EXPECT_EQ(sum->first_call, 1001);
    EXPECT_EQ(sum->last_call, 1499);
    EXPECT_EQ(sum->time_min, 0.25);
    EXPECT_EQ(sum->time_max, 499 * 0.25);
    EXPECT_EQ(sum->documents, all->documents);
    EXPECT_EQ(sum->given, all->given);
    EXPECT_EQ(sum->invalid, all->invalid);
    EXPECT_EQ(sum->cost.wal_bytes, 499 * 500 / 2 - 3 * (166 * 167 / 2));
    EXPECT_EQ(sum->cost.blocks_hit, 499 * 500 / 2);
    EXPECT_EQ(sum->cost.blocks_dirtied, 250);
    EXPECT_EQ(sum->inserted, all->inserted);
    EXPECT_EQ(sum->deleted, all->deleted);
    EXPECT_EQ(sum->kept, all->kept);
    EXPECT_EQ(sum->same_size_unchanged + sum->same_size_changed + sum->other_size, all->documents - all->invalid);
    EXPECT_EQ(std::memcmp(&sum->latency, &all->latency, sizeof all->latency), 0);
    EXPECT_EQ(std::memcmp(&sum->set_size, &all->set_size, sizeof all->set_size), 0);
    sum->clear();
    EXPECT_TRUE(sum->empty());
    const auto zero = std::make_unique<CallCounters>();
    EXPECT_EQ(std::memcmp(sum.get(), zero.get(), sizeof(CallCounters)), 0);
}

TEST(CallCounters, EqualCountsAsAPrediction) {
    CallCounters *counters = new CallCounters{};
    const auto document = [counters](std::int64_t given, std::int64_t stored, Counts changes) {
        DocumentCount count = {given, stored, 0, changes, true};
        counters->add_document(count);
    };
    document(3, 3, {0, 0, 0, 3});
    document(3, 3, {1, 0, 1, 2});
    document(3, 2, {1, 0, 0, 2});
    document(2, 2, {0, 1, 0, 1});
    EXPECT_EQ(counters->same_size_unchanged, 1);
    EXPECT_EQ(counters->same_size_changed, 2);
    EXPECT_EQ(counters->other_size, 1);
    delete counters;
}

TEST(Histogram, SumsStayWithinTheirNumbers) {
    EXPECT_EQ(saturating_add(1, 2), 3);
    EXPECT_EQ(saturating_add(INT64_MAX, 1), INT64_MAX);
    EXPECT_EQ(saturating_add(INT64_MIN, -1), INT64_MIN);
    EXPECT_EQ(saturating_add(INT64_MIN, 1, -1), INT64_MIN);
    EXPECT_EQ(saturating_add(0, INT64_MIN, -1), INT64_MAX);
    const std::int64_t counts[] = {INT64_MAX, INT64_MAX, 1};
    EXPECT_EQ(percentile(counts, 0.0), 0.0);
    EXPECT_EQ(percentile(counts, 1.0), 0.0); // as many as can be counted
}
