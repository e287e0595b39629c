// core/reference_set against sets written down by hand and against std::map on random input.
#include "core/reference_set.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <vector>

using namespace dms_refs::core;

namespace {

Reference given(std::int64_t alias, std::int16_t key = 0, std::int64_t document = 1, std::int16_t document_key = 0) {
    Reference reference = {};
    reference.alias_id = alias;
    reference.partition_key = key;
    reference.document_id = document;
    reference.document_key = document_key;
    reference.resolved = true;
    return reference;
}

StoredReference stored(std::int64_t alias, std::int16_t key = 0, std::int64_t document = 1,
                       std::int16_t document_key = 0) {
    return {alias, document, key, document_key, {0, 1}};
}

Reference named(const char *last_bytes, std::int16_t key, std::int32_t ordinal) {
    Reference reference = {};
    reference.id.bytes[14] = static_cast<unsigned char>(last_bytes[0]);
    reference.id.bytes[15] = static_cast<unsigned char>(last_bytes[1]);
    reference.partition_key = key;
    reference.ordinal = ordinal;
    return reference;
}

struct Difference {
    std::vector<Change> changes;
    Counts counts;
};

Difference difference(const std::vector<Reference> &a, const std::vector<StoredReference> &b) {
    Difference result;
    result.changes.resize(a.size() + b.size());
    const auto changes = diff(a, b, result.changes, result.counts);
    result.changes.resize(changes.size());
    return result;
}

} // namespace

TEST(Diff, EmptySetsAreUnchanged) {
    const auto result = difference({}, {});
    EXPECT_TRUE(result.changes.empty());
    EXPECT_EQ(path_of(result.counts), CallPath::unchanged);
}

TEST(Diff, NamesEachChangeInAliasOrder) {
    const auto result = difference({given(1), given(3), given(4, 0, 9), given(7)}, {stored(2), stored(3), stored(4)});
    const Action expected[] = {Action::insert, Action::remove, Action::keep, Action::update, Action::insert};
    ASSERT_EQ(result.changes.size(), std::size(expected));
    for (std::size_t i = 0; i < std::size(expected); ++i)
        EXPECT_EQ(result.changes[i].action, expected[i]) << i;
    EXPECT_EQ(result.counts.inserted, 2);
    EXPECT_EQ(result.counts.updated, 1);
    EXPECT_EQ(result.counts.deleted, 1);
    EXPECT_EQ(result.counts.kept, 1);
    EXPECT_EQ(result.counts.stored(), 3);
    EXPECT_EQ(path_of(result.counts), CallPath::mixed);
}

TEST(Diff, EachTargetColumnCountsAsAChange) {
    EXPECT_EQ(difference({given(5, 1)}, {stored(5, 0)}).counts.updated, 1);
    EXPECT_EQ(difference({given(5, 0, 2)}, {stored(5, 0, 1)}).counts.updated, 1);
    EXPECT_EQ(difference({given(5, 0, 1, 3)}, {stored(5, 0, 1, 2)}).counts.updated, 1);
    EXPECT_EQ(difference({given(5, 0, 1, 2)}, {stored(5, 0, 1, 2)}).counts.kept, 1);
}

TEST(Diff, Paths) {
    EXPECT_EQ(path_of(difference({given(1)}, {}).counts), CallPath::pure_insert);
    EXPECT_EQ(path_of(difference({given(1), given(2)}, {stored(1)}).counts), CallPath::insert_only);
    EXPECT_EQ(path_of(difference({given(1)}, {stored(1), stored(2)}).counts), CallPath::delete_only);
    EXPECT_EQ(path_of(difference({}, {stored(2)}).counts), CallPath::delete_only);
    EXPECT_EQ(path_of(difference({given(1, 0, 8)}, {stored(1)}).counts), CallPath::mixed);
    EXPECT_STREQ(path_name(CallPath::delete_only), "delete_only");
    EXPECT_STREQ(action_name(Action::remove), "delete");
}

TEST(Diff, ExtremeAliasIds) {
    const auto result = difference({given(INT64_MIN), given(INT64_MAX)}, {stored(INT64_MIN), stored(0)});
    EXPECT_EQ(result.counts.kept, 1);
    EXPECT_EQ(result.counts.inserted, 1);
    EXPECT_EQ(result.counts.deleted, 1);
}

TEST(Diff, AppliedToTheStoredSetGivesTheGivenSet) {
    std::mt19937 random(20261121);
    for (int round = 0; round < 2000; ++round) {
        std::map<std::int64_t, Reference> want;
        std::map<std::int64_t, StoredReference> have;
        const int range = 1 + static_cast<int>(random() % 60);
        for (unsigned i = random() % 40; i > 0; --i) {
            const auto alias = static_cast<std::int64_t>(random() % range);
            want[alias] =
                given(alias, static_cast<std::int16_t>(random() % 2), static_cast<std::int64_t>(random() % 2));
        }
        for (unsigned i = random() % 40; i > 0; --i) {
            const auto alias = static_cast<std::int64_t>(random() % range);
            have[alias] =
                stored(alias, static_cast<std::int16_t>(random() % 2), static_cast<std::int64_t>(random() % 2));
        }
        std::vector<Reference> a;
        std::vector<StoredReference> b;
        for (const auto &[alias, reference] : want)
            a.push_back(reference);
        for (const auto &[alias, row] : have)
            b.push_back(row);
        const auto result = difference(a, b);
        for (const Change &change : result.changes) {
            switch (change.action) {
            case Action::remove: have.erase(b[static_cast<std::size_t>(change.stored)].alias_id); break;
            case Action::insert:
            case Action::update: {
                const Reference &r = a[static_cast<std::size_t>(change.given)];
                EXPECT_EQ(have.count(r.alias_id), change.action == Action::update ? 1U : 0U);
                have[r.alias_id] = {r.alias_id, r.document_id, r.partition_key, r.document_key, {}};
                break;
            }
            case Action::keep: break;
            }
        }
        ASSERT_EQ(have.size(), want.size());
        for (const auto &[alias, r] : want) {
            ASSERT_TRUE(have.count(alias));
            EXPECT_EQ(have[alias].partition_key, r.partition_key);
            EXPECT_EQ(have[alias].document_id, r.document_id);
        }
        EXPECT_EQ(result.counts.inserted + result.counts.updated + result.counts.kept, static_cast<int>(a.size()));
        EXPECT_EQ(result.counts.stored(), static_cast<int>(b.size()));
    }
}

TEST(UniqueReferences, KeepsTheFirstOfEachPair) {
    std::vector<Reference> references = {named("bb", 1, 4), named("aa", 1, 3), named("bb", 1, 2), named("bb", 0, 1),
                                         named("bb", 1, 5)};
    std::sort(references.begin(), references.end(), resolve_order);
    Duplicate twice;
    const auto distinct = unique_references(references, twice);
    ASSERT_EQ(distinct.size(), 3U);
    EXPECT_EQ(distinct[0].ordinal, 1);
    EXPECT_EQ(distinct[1].ordinal, 3);
    EXPECT_EQ(distinct[2].ordinal, 2);
    EXPECT_TRUE(twice);
    EXPECT_EQ(twice.first, 2);
    EXPECT_EQ(twice.second, 4);
}

TEST(UniqueReferences, NothingRepeated) {
    std::vector<Reference> references = {named("aa", 0, 1), named("ab", 0, 2)};
    Duplicate twice;
    EXPECT_EQ(unique_references(references, twice).size(), 2U);
    EXPECT_FALSE(twice);
    EXPECT_TRUE(unique_references({}, twice).empty());
}

TEST(UniqueAliases, SamePairOnceButNotAcrossKeys) {
    std::vector<Reference> references = {given(1, 0), given(1, 0), given(1, 1), given(2, 0)};
    for (std::size_t i = 0; i < references.size(); ++i)
        references[i].ordinal = static_cast<std::int32_t>(i + 1);
    Duplicate twice;
    const auto distinct = unique_aliases(references, twice);
    EXPECT_EQ(distinct.size(), 3U);
    EXPECT_TRUE(twice);
    const Duplicate ambiguous = ambiguous_alias(distinct);
    EXPECT_EQ(ambiguous.first, 1);
    EXPECT_EQ(ambiguous.second, 3);
}

TEST(SameSet, ComparesWhatIsStoredNotWhere) {
    std::vector<StoredReference> a = {stored(1), stored(2)};
    std::vector<StoredReference> b = a;
    b[1].row = {7, 7};
    EXPECT_TRUE(same_set(a, b));
    b[1].document_id = 5;
    EXPECT_FALSE(same_set(a, b));
    b.pop_back();
    EXPECT_FALSE(same_set(a, b));
}

TEST(UuidOrder, IsByteOrder) {
    Uuid a = {};
    Uuid b = {};
    b.bytes[0] = 0x80; // negative as a signed byte
    EXPECT_LT(compare(a, b), 0);
    a.bytes[15] = 1;
    EXPECT_LT(compare(a, b), 0);
    EXPECT_EQ(compare(b, b), 0);
    EXPECT_EQ(uuid_half(b, 0), 0x8000000000000000ULL);
}
