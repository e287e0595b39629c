// Rows of one stage in memory: an arena of row versions, a hash index on the key, and the list of deleted rows.
//
// A row version is laid out as a heap tuple, with the commands that added and deleted it where a heap tuple has
// its transaction ids: a scan hands the executor a pointer into the arena and copies nothing. Versions are never
// changed in place, only marked as deleted, so that a scan sees the rows of its own snapshot however long it is open.
// The arena grows at its end only: undoing what was added is cutting the end off, and every version has an address
// (block, offset) that serves as its ctid.
//
// State: a Content lives in a memory context of its own and goes away as a whole. No locks: only its backend sees it.
// Errors: only functions that add or mark raise (memory, the types' own functions), and they change nothing before
// they may. What runs in commit and abort callbacks neither raises nor allocates: those are marked noexcept.
#pragma once

#include "pg/module.hpp"
#include "staging/memory.hpp"

namespace dms_refs::staging {

// The same places as in HeapTupleHeaderData; length and what follows is a MinimalTuple.
struct Row {
    uint32 added;   // the command that added it, plus 1; 0: an earlier transaction; never: nobody sees it
    uint32 deleted; // the command that deleted it, plus 1; 0: not deleted
    uint32 length;  // as HeapTupleData has it
    uint32 hash;    // of the key; 0: not in the index
    uint16 unused;
    uint16 infomask2;
    uint16 infomask;
    uint8 data_offset;
    bits8 nulls[FLEXIBLE_ARRAY_MEMBER];
};
static_assert(offsetof(Row, infomask2) == offsetof(HeapTupleHeaderData, t_infomask2));
static_assert(offsetof(Row, nulls) == offsetof(HeapTupleHeaderData, t_bits));
inline constexpr uint32 never = PG_UINT32_MAX;
inline constexpr CommandId last_command = never - 2; // no later one can be told from "never"

inline bool visible(const Row *row, CommandId current) {
    return row->added <= current && (row->deleted == 0 || row->deleted > current);
}

// A view of a row as the server's tuple.
inline HeapTupleData tuple_of(const Row *row, Oid relation, ItemPointerData address) {
    return {row->length, address, relation, reinterpret_cast<HeapTupleHeader>(const_cast<Row *>(row))};
}

// Where a version lies: its block + 1 in the upper half, its offset in the lower; 0: nowhere.
using Address = uint64;

struct Key {
    int count = 0;
    AttrNumber columns[INDEX_MAX_KEYS] = {};
    Oid collations[INDEX_MAX_KEYS] = {};
    FmgrInfo hash[INDEX_MAX_KEYS] = {};
    FmgrInfo equal[INDEX_MAX_KEYS] = {};
};

struct ColumnShape {
    Oid type;
    int32 type_modifier;
    Oid collation;
    int16 length;
    bool by_value;
    char alignment;
    bool by_default; // not NULL in rows from before it was added
};
inline bool same_shape(const ColumnShape &a, const ColumnShape &b) {
    return a.type == b.type && a.type_modifier == b.type_modifier && a.collation == b.collation &&
           a.length == b.length && a.by_value == b.by_value && a.alignment == b.alignment;
}

// A row type that values are made of.
struct Composite {
    Oid relation;
    bool in_key;
    std::span<ColumnShape> attributes;
};

// What rows are checked against when they are written. `believed`: the planner takes it for true of all rows.
enum class ConstraintKind : uint8 { not_null, check, generated, partition, domain };
struct Constraint {
    ConstraintKind kind;
    bool believed;
    uint32 of;        // the number of a column, the OID of a domain, or nothing
    const char *text; // as the catalog has it
};

// Which foreign table it is: an OID may be given to another one when its own is dropped.
struct Creation {
    TransactionId transaction;
    Oid row_type;
};

// What rows are made by: the columns and the key. Contents and marks refer to the one that they were filled under; all
// of a stage are kept until the transaction's end, because a statement may hold a pointer to any of them.
struct Definition {
    Definition *next; // older, of the stage
    uint64 serial;    // another one for each that this backend makes
    bool narrowed;    // lacks constraints of the table that old rows were not checked against
    Oid relation;
    Creation creation;
    MemoryContext context;
    std::span<ColumnShape> columns;
    std::span<AttrNumber> variable; // columns whose values may lie outside the row
    Key key;
    std::span<Composite> composites;   // at any depth of the values
    std::span<Oid> key_functions;      // of all types that values of the key are made of: type, equality, hash
    std::span<uint32> domains;         // at any depth: their hash values in the server's cache of types
    std::span<Constraint> constraints; // that all rows were checked against
    std::span<Oid> ancestors;          // as a partition
};

struct Block {
    char *data;
    uint32 size;
    uint32 used;
};

// How far a content was filled at some moment.
struct Fill {
    uint32 blocks;
    uint32 used; // of the last of them
};

// A pg_statistic row computed for the planner.
struct ColumnStatistics {
    ColumnStatistics *next;
    AttrNumber column;
    int64 changes; // the content's then; -1: never computed
    HeapTuple row; // NULL: there is nothing to say
};

struct Content {
    MemoryContext context;
    Content *retired; // next in the stage's list of contents that a rollback may bring back
    Definition *definition;
    std::span<Block> blocks; // room for; `block_count` are in use
    uint32 block_count;
    uint32 next_size;
    std::span<Address> buckets; // a power of two of chains, newest first; empty without a key
    uint64 indexed;             // versions in the index
    std::span<Row *> deletions;
    uint64 deletion_count;
    int64 live;     // not deleted
    int64 versions; // in the arena
    int64 changes;  // rows added and deleted, ever
    Size row_bytes; // of versions
    ColumnStatistics *statistics;
    Size bytes; // taken from the server
};
static_assert(std::is_trivially_copyable_v<Content>);

inline Fill fill_of(const Content *content) {
    if (content == nullptr || content->block_count == 0)
        return {0, 0};
    return {content->block_count, content->blocks[content->block_count - 1].used};
}

Content *new_content(MemoryContext parent, Definition *definition); // a child of the stage's context
void free_content(Content *content) noexcept;

// The hash of a key among values of a row: 0 where a column of it is NULL, and such a row equals no other.
// Runs users' code: whatever was known of a content before is no longer.
uint32 hash_key(const Key &key, const Datum *values, const bool *nulls);
uint32 combine_hashes(uint32 sum, uint32 next);
uint32 finish_hash(uint32 sum);

// The version that is not deleted and has the same key, beside one that is about to go; NULL where there is none.
// Errors: 27000 where the equality function changes the stage.
Row *find_same_key(const Content *content, const Key &key, TupleDesc columns, uint32 hash, const Datum *values,
                   const Row *but);

// Adds a version. The values lie in the server's memory: nothing of them is stored elsewhere.
Row *add_row(Content *content, TupleDesc columns, const Datum *values, const bool *nulls, uint32 hash,
             CommandId command, Need need);
void delete_row(Content *content, Row *row, CommandId command);
void reserve_deletions(Content *content, uint64 more);

// The version at an address that a scan gave out.
Row *row_at(const Content *content, ItemPointerData address);

struct Scan {
    const Content *content = nullptr;
    CommandId current = 0;
    Fill end = {0, 0};
    uint32 block = 0;
    uint32 offset = 0;
    Address last = 0; // that a lookup returned; the chain is followed from there as it is by then
    uint32 hash = 0;  // that a lookup is for; 0: nothing more will be found
};
static_assert(std::is_trivially_copyable_v<Scan>);

Scan begin_scan(const Content *content, CommandId current);
void restart_scan(Scan *scan);
void restart_lookup(Scan *scan, uint32 hash);
const Row *next_row(Scan *scan, ItemPointerData *address);
const Row *next_match(Scan *scan, ItemPointerData *address); // by hash alone: the caller compares

// Mean widths of the columns of variable length, from some of the rows; 0 for others.
void sample_widths(const Content *content, TupleDesc columns, std::span<int32> widths);

// Takes back all that was done since then.
void roll_back(Content *content, Fill fill, uint64 deletions, int64 live) noexcept;
// Makes what was done since then permanent, and gives memory of deleted rows back.
void make_permanent(Content *content, Fill fill, uint64 deletions) noexcept;
// Gives memory of rows deleted back, few as they may be; between transactions only.
void give_up_dead_rows(Content *content) noexcept;

} // namespace dms_refs::staging
