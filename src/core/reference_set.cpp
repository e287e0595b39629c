// The difference of two reference sets: see reference_set.hpp.
#include "core/reference_set.hpp"

#include <algorithm>
#include <cassert>

namespace dms_refs::core {

const char *path_name(CallPath path) noexcept {
    switch (path) {
    case CallPath::unchanged: return "unchanged";
    case CallPath::pure_insert: return "pure_insert";
    case CallPath::insert_only: return "insert_only";
    case CallPath::delete_only: return "delete_only";
    case CallPath::mixed: return "mixed";
    case CallPath::invalid: return "invalid";
    }
    return "unknown";
}

const char *action_name(Action action) noexcept {
    switch (action) {
    case Action::insert: return "insert";
    case Action::update: return "update";
    case Action::remove: return "delete";
    case Action::keep: return "keep";
    }
    return "unknown";
}

CallPath path_of(const Counts &counts) noexcept {
    assert(counts.inserted >= 0 && counts.updated >= 0 && counts.deleted >= 0 && counts.kept >= 0);
    if (counts.unchanged())
        return CallPath::unchanged;
    if (counts.stored() == 0)
        return CallPath::pure_insert;
    if (counts.updated == 0 && counts.deleted == 0)
        return CallPath::insert_only;
    if (counts.updated == 0 && counts.inserted == 0)
        return CallPath::delete_only;
    return CallPath::mixed;
}

namespace {

template <class Same>
std::span<Reference> unique(std::span<Reference> sorted, Duplicate &duplicate, Same same) noexcept {
    std::size_t last = 0;
    for (std::size_t i = 1; i < sorted.size(); ++i) {
        if (same(sorted[last], sorted[i])) {
            if (!duplicate)
                duplicate = {sorted[last].ordinal, sorted[i].ordinal};
        } else if (++last != i) {
            sorted[last] = sorted[i];
        }
    }
    return sorted.empty() ? sorted : sorted.first(last + 1);
}

} // namespace

std::span<Reference> unique_references(std::span<Reference> sorted, Duplicate &duplicate) noexcept {
    assert(std::is_sorted(sorted.begin(), sorted.end(), resolve_order));
    return unique(sorted, duplicate, [](const Reference &a, const Reference &b) {
        return a.partition_key == b.partition_key && a.id == b.id;
    });
}

std::span<Reference> unique_aliases(std::span<Reference> sorted, Duplicate &duplicate) noexcept {
    assert(std::is_sorted(sorted.begin(), sorted.end(), alias_order));
    return unique(sorted, duplicate, [](const Reference &a, const Reference &b) {
        return a.alias_id == b.alias_id && a.partition_key == b.partition_key && a.document_id == b.document_id &&
               a.document_key == b.document_key;
    });
}

Duplicate ambiguous_alias(std::span<const Reference> sorted) noexcept {
    assert(std::is_sorted(sorted.begin(), sorted.end(), alias_order));
    for (std::size_t i = 1; i < sorted.size(); ++i)
        if (sorted[i - 1].alias_id == sorted[i].alias_id)
            return {sorted[i - 1].ordinal, sorted[i].ordinal};
    return {};
}

std::span<Change> diff(std::span<const Reference> given, std::span<const StoredReference> stored,
                       std::span<Change> changes, Counts &counts) noexcept {
    assert(changes.size() >= given.size() + stored.size());
    assert(!ambiguous_alias(given));
    assert(std::is_sorted(stored.begin(), stored.end(), stored_order));
    counts = {};
    std::size_t n = 0;
    std::size_t g = 0;
    std::size_t s = 0;
    while (g < given.size() || s < stored.size()) {
        const auto at_given = static_cast<std::int32_t>(g);
        const auto at_stored = static_cast<std::int32_t>(s);
        if (s == stored.size() || (g < given.size() && given[g].alias_id < stored[s].alias_id)) {
            changes[n++] = {Action::insert, at_given, -1};
            ++counts.inserted;
            ++g;
        } else if (g == given.size() || stored[s].alias_id < given[g].alias_id) {
            changes[n++] = {Action::remove, -1, at_stored};
            ++counts.deleted;
            ++s;
        } else {
            const bool same = given[g].partition_key == stored[s].partition_key &&
                              given[g].document_key == stored[s].document_key &&
                              given[g].document_id == stored[s].document_id;
            changes[n++] = {same ? Action::keep : Action::update, at_given, at_stored};
            ++(same ? counts.kept : counts.updated);
            ++g;
            ++s;
        }
    }
    return changes.first(n);
}

bool same_set(std::span<const StoredReference> a, std::span<const StoredReference> b) noexcept {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const StoredReference &x, const StoredReference &y) {
        return x.alias_id == y.alias_id && x.partition_key == y.partition_key && x.document_key == y.document_key &&
               x.document_id == y.document_id;
    });
}

} // namespace dms_refs::core
