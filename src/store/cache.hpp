// Entries of the store cache: for the files of store/ only.
#pragma once

#include "store/store.hpp"

namespace dms_refs {

// Nothing here says of itself that it is good: an entry keeps the number of the last invalidation that came before it
// was read, and is good as long as no other has come. So what arrives while it is being read is not lost.

// Which leaf takes a partition key.
struct KeyEntry {
    uint64 generation;
    Oid leaf;
    int16 key;
};

struct RootEntry {
    uint64 generation;        // of the store when this was looked at; 0: never
    const char *not_native;   // why its leaves cannot be found by key
    std::span<KeyEntry> keys; // each key has one place, which it shares with others
};

inline constexpr std::size_t key_places = 256;
static_assert((key_places & (key_places - 1)) == 0);

inline KeyEntry &place_of(const RootEntry &root, int16 key) {
    Assert(root.keys.size() == key_places);
    return root.keys[static_cast<uint16>(key) % key_places];
}

struct LeafEntry {
    Oid relation; // hash key
    Role role;
    uint64 changed;   // the last invalidation of the leaf, or of a table named in the store
    uint64 described; // what `changed` was before the description was begun; good while it still is
    Leaf leaf;
};

struct StoreEntry {
    NameData name;     // hash key
    uint64 read_at;    // the state of store_config before it was read; good while it still is
    uint64 generation; // another one after each change of the tables; never 0
    Store store;
    RootEntry roots[role_count];
    HTAB *leaves;
};

// --- user_code.cpp ---

UserCode find_user_code(Relation root, Relation leaf);

struct DropInEntry {
    Oid function;   // hash key
    uint64 read_at; // the state of store_config and of names before they were read
    NameData store;
};

} // namespace dms_refs
