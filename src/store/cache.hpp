// Entries of the store cache: for the files of store/ only.
#pragma once

#include "store/store.hpp"

namespace dms_refs {

struct RootEntry {
    bool valid = false;
    const char *not_native = nullptr; // why its leaves cannot be found by key
    HTAB *keys = nullptr;             // KeyEntry by partition key; entries of another generation are stale
    uint64 generation = 0;
};

struct KeyEntry {
    int16 key;
    Oid leaf;
    uint64 generation;
};

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

struct DropInEntry {
    Oid function; // hash key
    bool valid;
    NameData store;
};

} // namespace dms_refs
