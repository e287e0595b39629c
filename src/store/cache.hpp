// Entries of the store cache: for the files of store/ only.
#pragma once

#include "store/store.hpp"

namespace dms_refs {

// Which leaf takes a partition key. Stale where the generation is not that of the root.
struct KeyEntry {
    uint64 generation;
    Oid leaf;
    int16 key;
};

struct RootEntry {
    bool valid;
    const char *not_native;   // why its leaves cannot be found by key
    uint64 generation;        // never 0
    std::span<KeyEntry> keys; // each key has one place, which it shares with others
};

inline constexpr std::size_t key_places = 256;

inline KeyEntry &place_of(const RootEntry &root, int16 key) {
    return root.keys[static_cast<uint16>(key) % key_places];
}

struct LeafEntry {
    Oid relation; // hash key
    bool valid;
    Role role;
    Leaf leaf;
};

struct StoreEntry {
    NameData name; // hash key
    bool valid;
    uint64 generation;
    Store store;
    RootEntry roots[role_count];
    HTAB *leaves;
};

// --- user_code.cpp ---

UserCode find_user_code(Relation root, Relation leaf);

struct DropInEntry {
    Oid function; // hash key
    bool valid;
    NameData store;
};

} // namespace dms_refs
