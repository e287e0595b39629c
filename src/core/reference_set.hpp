// Reference sets and their difference: the part of the engine that needs no server.
//
// Plain structs and noexcept functions over spans that the caller owns; nothing here allocates, keeps
// state or takes a lock, so nothing can fail.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>

namespace dms_refs::core {

// A referential id in RFC 4122 byte order, which is also the order of PostgreSQL's type uuid.
struct Uuid {
    unsigned char bytes[16];
};

inline std::uint64_t uuid_half(const Uuid &id, int half) noexcept {
    std::uint64_t word;
    std::memcpy(&word, id.bytes + 8 * half, sizeof word);
    return __builtin_bswap64(word);
}

inline int compare(const Uuid &a, const Uuid &b) noexcept {
    for (int half = 0; half < 2; ++half) {
        const std::uint64_t left = uuid_half(a, half);
        const std::uint64_t right = uuid_half(b, half);
        if (left != right)
            return left < right ? -1 : 1;
    }
    return 0;
}

inline bool operator==(const Uuid &a, const Uuid &b) noexcept {
    return compare(a, b) == 0;
}

// Where a row lies in its table: a hint until the row has been fetched and compared.
struct RowAddress {
    std::uint32_t block;
    std::uint16_t offset; // from 1; 0 means unknown

    bool known() const noexcept { return offset != 0; }
    bool operator==(const RowAddress &) const noexcept = default;
};

// One reference as the caller gave it; resolving fills in the second half.
struct Reference {
    Uuid id;
    std::int32_t ordinal;       // position in the caller's arrays, from 1
    std::int16_t partition_key; // of the alias
    bool resolved;
    std::int16_t document_key; // of the document referred to
    RowAddress alias_row;
    std::int64_t alias_id;
    std::int64_t document_id;
};

// One row of the stored set.
struct StoredReference {
    std::int64_t alias_id;
    std::int64_t document_id;
    std::int16_t partition_key;
    std::int16_t document_key;
    RowAddress row;
};

enum class Action : std::uint8_t { insert, update, remove, keep };

// One line of a difference: given and stored are positions in the two spans, -1 where there is none.
struct Change {
    Action action;
    std::int32_t given;
    std::int32_t stored;
};

struct Counts {
    std::int32_t inserted = 0;
    std::int32_t updated = 0;
    std::int32_t deleted = 0;
    std::int32_t kept = 0;

    bool unchanged() const noexcept { return inserted == 0 && updated == 0 && deleted == 0; }
    std::int32_t stored() const noexcept { return updated + deleted + kept; }

    void add(const Counts &other) noexcept {
        inserted += other.inserted;
        updated += other.updated;
        deleted += other.deleted;
        kept += other.kept;
    }
};

enum class CallPath : std::uint8_t { unchanged, pure_insert, insert_only, delete_only, mixed, invalid };

const char *path_name(CallPath path) noexcept;
const char *action_name(Action action) noexcept;

// Which path a call took that was not invalid.
CallPath path_of(const Counts &counts) noexcept;

// Orders, for sort.hpp. Numbers with a sign become unsigned ones in the same order.
inline std::uint64_t unsigned_order(std::int64_t n) noexcept {
    return static_cast<std::uint64_t>(n) ^ (std::uint64_t{1} << 63);
}

// Order of resolving: by partition, then by id, so that each leaf is opened once and read in key order.
struct ResolveOrder {
    bool operator()(const Reference &a, const Reference &b) const noexcept {
        if (a.partition_key != b.partition_key)
            return a.partition_key < b.partition_key;
        if (const int order = compare(a.id, b.id))
            return order < 0;
        return a.ordinal < b.ordinal;
    }
    // The partition key and the first six bytes of the id.
    static std::uint64_t major(const Reference &r) noexcept {
        return unsigned_order(std::int64_t{r.partition_key} << 48) | uuid_half(r.id, 0) >> 16;
    }
};
inline constexpr ResolveOrder resolve_order;

// Order of the diff and of every write. Ties (one alias id under two partition keys) stay side by side.
struct AliasOrder {
    bool operator()(const Reference &a, const Reference &b) const noexcept {
        if (a.alias_id != b.alias_id)
            return a.alias_id < b.alias_id;
        if (a.partition_key != b.partition_key)
            return a.partition_key < b.partition_key;
        return a.ordinal < b.ordinal;
    }
    static std::uint64_t major(const Reference &r) noexcept { return unsigned_order(r.alias_id); }
};
inline constexpr AliasOrder alias_order;

struct StoredOrder {
    bool operator()(const StoredReference &a, const StoredReference &b) const noexcept {
        return a.alias_id < b.alias_id;
    }
    static std::uint64_t major(const StoredReference &r) noexcept { return unsigned_order(r.alias_id); }
};
inline constexpr StoredOrder stored_order;

// Two references that stand for the same thing.
struct Duplicate {
    std::int32_t first = 0; // ordinals; 0: there is none
    std::int32_t second = 0;

    explicit operator bool() const noexcept { return first != 0; }
};

// Removes repeated (partition key, id) pairs from references in resolve_order, the lowest ordinal stays.
// Returns what remains, and one repeated pair.
std::span<Reference> unique_references(std::span<Reference> sorted, Duplicate &duplicate) noexcept;

// The same for references that came resolved, in alias_order.
std::span<Reference> unique_aliases(std::span<Reference> sorted, Duplicate &duplicate) noexcept;

// One alias id with two targets in references in alias_order: the stored set has room for only one.
Duplicate ambiguous_alias(std::span<const Reference> sorted) noexcept;

// What makes stored equal to given. given in alias_order and without ambiguous aliases, stored in
// stored_order; changes must have room for both. Writes the changes in alias order and returns them.
std::span<Change> diff(std::span<const Reference> given, std::span<const StoredReference> stored,
                       std::span<Change> changes, Counts &counts) noexcept;

// Whether two readings of one stored set hold the same references.
bool same_set(std::span<const StoredReference> a, std::span<const StoredReference> b) noexcept;

} // namespace dms_refs::core
