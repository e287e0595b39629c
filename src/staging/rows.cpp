// The arena and its hash index: see rows.hpp.
//
// State: Content structs, each in its context; memory.cpp counts what they take. No locks. A function that raises
// has changed nothing yet that shows; space reserved and not used is used by the next row.
#include "staging/rows.hpp"

#include "staging/memory.hpp"

namespace dms_refs::staging {
namespace {

constexpr uint32 address_unit = MAXIMUM_ALIGNOF;
constexpr uint32 first_block = 2048;
constexpr uint32 largest_block = 256 * 1024; // of those that rows share; see set_pointer
constexpr uint32 first_buckets = 64;
static_assert(largest_block / address_unit < MovedPartitionsOffsetNumber); // the server's marks are not rows

// A row of a stage with a key has the next of its chain in front.
Address *next_of(const Row *row) {
    return reinterpret_cast<Address *>(const_cast<Row *>(row)) - 1;
}
uint32 prefix_of(const Content *content) {
    return content->definition->key.count > 0 ? sizeof(Address) : 0;
}
uint32 space_of(const Content *content, const Row *row) {
    return prefix_of(content) + MAXALIGN(row->length);
}

void gave_back(Content *content, Size bytes) noexcept {
    Assert(bytes <= content->bytes);
    content->bytes -= bytes;
    gave_memory_back(bytes);
}

// False where there is no room and it is not required.
template <class T> bool grow(Content *content, std::span<T> *array, Size capacity, Need need, bool required = true) {
    static_assert(std::is_trivially_copyable_v<T>);
    const Size bytes = sizeof(T) * capacity;
    const Size more = bytes - array->size_bytes();
    auto *larger =
        static_cast<T *>(take_memory(content->context, content->definition->relation, bytes, more, need, required));
    if (larger == nullptr)
        return false;
    std::copy(array->begin(), array->end(), larger);
    content->bytes += more;
    if (!array->empty())
        pfree(array->data());
    *array = {larger, capacity};
    return true;
}

void free_data(Content *content, const Block &block) noexcept {
    gave_back(content, block.size);
    pfree(block.data);
}

void free_last_block(Content *content) noexcept {
    free_data(content, content->blocks[--content->block_count]);
}

// Not made for one large row.
bool is_shared(const Block &block) noexcept {
    return block.size <= largest_block;
}

// The last block, with room for so many bytes.
Block *block_with_room(Content *content, Size needed, Need need) {
    if (content->block_count > 0) {
        Block *last = &content->blocks[content->block_count - 1];
        if (last->size - last->used >= needed)
            return last;
    }
    if (content->block_count == content->blocks.size())
        grow(content, &content->blocks, std::max<Size>(8, content->blocks.size() * 2), need);
    Size size = content->next_size;
    if (needed > largest_block / 8) {
        // A block of its own. Small rows in between must not cost a large block each time.
        size = needed;
        content->next_size = first_block;
    } else {
        content->next_size = std::min(content->next_size * 2, largest_block);
        // Not to end before the limit does.
        size = std::max<Size>(needed, std::min<Size>(size, MAXALIGN_DOWN(memory_left(need))));
    }
    auto *data = static_cast<char *>(take_memory(content->context, content->definition->relation, size, size, need));
    content->bytes += size;
    Block *block = &content->blocks[content->block_count++];
    *block = {data, static_cast<uint32>(size), 0};
    return block;
}

Address *bucket_of(const Content *content, uint32 hash) {
    Assert(pg_nextpower2_64(content->buckets.size()) == content->buckets.size());
    return &content->buckets[hash & (content->buckets.size() - 1)];
}

Address address_in(uint32 block, uint32 offset) {
    Assert(offset < largest_block && offset % address_unit == 0);
    return static_cast<Address>(block + 1) << 32 | offset;
}

Row *row_in(const Content *content, uint32 block, uint32 offset) {
    Assert(block < content->block_count && offset % address_unit == 0 &&
           offset + prefix_of(content) + offsetof(Row, nulls) <= content->blocks[block].size);
    return reinterpret_cast<Row *>(content->blocks[block].data + offset + prefix_of(content));
}

Row *row_at(const Content *content, Address address) {
    return row_in(content, static_cast<uint32>(address >> 32) - 1, static_cast<uint32>(address));
}

// An ItemPointer has 16 bits for the offset, in units. A row that began farther back would be taken for another one: it
// is not handed out.
void set_pointer(ItemPointerData *pointer, uint32 block, uint32 offset) {
    if (unlikely(offset >= largest_block))
        elog(ERROR, "the staged row (%u,%u) has no address", block, offset);
    ItemPointerSet(pointer, block, offset / address_unit + 1);
}

void link(Content *content, Row *row, Address address) noexcept {
    Assert(prefix_of(content) > 0 && row_at(content, address) == row);
    Address *bucket = bucket_of(content, row->hash);
    *next_of(row) = *bucket;
    *bucket = address;
    content->indexed++;
}

// Calls f(row, address) for each version added after `fill`, oldest first.
template <class F> void for_rows_after(const Content *content, Fill fill, F f) {
    for (uint32 block = fill.blocks > 0 ? fill.blocks - 1 : 0; block < content->block_count; ++block) {
        uint32 offset = fill.blocks > 0 && block == fill.blocks - 1 ? fill.used : 0;
        while (offset < content->blocks[block].used) {
            Row *row = row_in(content, block, offset);
            const Address address = address_in(block, offset);
            offset += space_of(content, row);
            f(row, address);
        }
    }
}

void index_all(Content *content) noexcept {
    std::fill(content->buckets.begin(), content->buckets.end(), 0);
    content->indexed = 0;
    for_rows_after(content, {0, 0}, [content](Row *row, Address address) {
        if (row->hash != 0)
            link(content, row, address);
    });
}

// Where there is no room for more buckets, chains become longer.
void reserve_index(Content *content, Need need) {
    if (content->indexed < content->buckets.size())
        return;
    if (grow(content, &content->buckets, std::max<Size>(first_buckets, content->buckets.size() * 2), need,
             content->buckets.empty()))
        index_all(content);
}

// Moves the versions that somebody may still see to the front. The place a row moves to is never behind the one it
// comes from, so nothing is overwritten and nothing allocated. A block that was made for one large row keeps it or
// goes: small rows in it would begin farther back than an address reaches.
void compact(Content *content) noexcept {
    const auto blocks = content->blocks.first(content->block_count);
    uint32 to = 0;
    content->versions = 0;
    content->row_bytes = 0;
    for (uint32 from = 0; from < blocks.size(); ++from) {
        const bool shared = is_shared(blocks[from]);
        const uint32 used = blocks[from].used;
        blocks[from].used = 0;
        for (uint32 offset = 0; offset < used;) {
            const Row *row = row_in(content, from, offset);
            const uint32 space = space_of(content, row);
            const char *data = blocks[from].data + offset;
            offset += space;
            Assert(offset <= used);
            if (row->added == never)
                continue;
            content->versions++;
            content->row_bytes += space;
            if (!shared) {
                Assert(offset == used && offset == space);
                blocks[from].used = used;
                continue;
            }
            while (!is_shared(blocks[to]) || blocks[to].size - blocks[to].used < space)
                ++to;
            Assert(to < from || (to == from && blocks[to].used + space <= offset));
            memmove(blocks[to].data + blocks[to].used, data, space);
            blocks[to].used += space;
        }
    }
    uint32 kept = 0;
    for (const Block &block : blocks) {
        if (block.used > 0)
            blocks[kept++] = block;
        else
            free_data(content, block);
    }
    content->block_count = kept;
    if (!content->buckets.empty())
        index_all(content);
}

// A long list of what was deleted is not kept for the next transaction.
void forget_deletions(Content *content) noexcept {
    constexpr Size short_list = 1024;
    if (content->deletion_count > 0 || content->deletions.size() <= short_list)
        return;
    gave_back(content, content->deletions.size_bytes());
    pfree(content->deletions.data());
    content->deletions = {};
}

} // namespace

Content *new_content(MemoryContext parent, Definition *definition) {
    MemoryContext context = AllocSetContextCreate(parent, "dms_refs stage rows", ALLOCSET_SMALL_SIZES);
    MemoryContextSetIdentifier(context, parent->ident);
    auto *content = allocate<Content>(context, 1).data();
    *content = {};
    content->context = context;
    content->definition = definition;
    content->next_size = first_block;
    return content;
}

void free_content(Content *content) noexcept {
    gave_back(content, content->bytes);
    MemoryContextDelete(content->context);
}

uint32 combine_hashes(uint32 sum, uint32 next) {
    return pg_rotate_left32(sum, 1) ^ next;
}

uint32 finish_hash(uint32 sum) {
    const uint32 hash = murmurhash32(sum);
    return hash == 0 ? 1 : hash;
}

uint32 hash_key(const Key &key, const Datum *values, const bool *nulls) {
    uint32 sum = 0;
    if (key.count == 0)
        return 0;
    for (int i = 0; i < key.count; ++i) {
        const int column = key.columns[i] - 1;
        if (nulls[column])
            return 0;
        sum = combine_hashes(sum, DatumGetUInt32(FunctionCall1Coll(const_cast<FmgrInfo *>(&key.hash[i]),
                                                                   key.collations[i], values[column])));
    }
    return finish_hash(sum);
}

// The equality function may be anybody's. A content with rows outlives it, because its table is in use; but a chain
// that grows or is cut while it is walked says nothing. An index of a table could not bear that, either.
Row *find_same_key(const Content *content, const Key &key, TupleDesc columns, uint32 hash, const Datum *values,
                   const Row *but) {
    if (hash == 0 || content->buckets.empty())
        return nullptr;
    const int64 changes = content->changes;
    for (Address at = *bucket_of(content, hash); at != 0;) {
        Row *row = row_at(content, at);
        at = *next_of(row);
        if (row->hash != hash || row->deleted != 0 || row->added == never || row == but)
            continue;
        HeapTupleData tuple = tuple_of(row, InvalidOid, {});
        bool same = true;
        for (int i = 0; same && i < key.count; ++i) {
            bool is_null;
            const Datum value = heap_getattr(&tuple, key.columns[i], columns, &is_null);
            same = !is_null && DatumGetBool(FunctionCall2Coll(const_cast<FmgrInfo *>(&key.equal[i]), key.collations[i],
                                                              value, values[key.columns[i] - 1]));
            if (content->changes != changes)
                ereport(ERROR, (errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
                                errmsg("the equality function of a stage's key has changed the stage"),
                                errdetail("The function is %s.", format_procedure(key.equal[i].fn_oid))));
        }
        if (same)
            return row;
    }
    return nullptr;
}

Row *add_row(Content *content, TupleDesc columns, const Datum *values, const bool *nulls, uint32 hash,
             CommandId command, Need need) {
    Assert(command <= last_command);
    bool has_nulls = false;
    for (int i = 0; i < columns->natts && !has_nulls; ++i)
        has_nulls = nulls[i];
    const Size header = MAXALIGN(offsetof(Row, nulls) + (has_nulls ? BITMAPLEN(columns->natts) : 0));
    const Size data = heap_compute_data_size(columns, const_cast<Datum *>(values), const_cast<bool *>(nulls));
    const Size prefix = prefix_of(content);
    if (!AllocSizeIsValid(prefix + MAXALIGN(header + data)))
        ereport(ERROR,
                (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("a staged row would take %zu bytes", header + data),
                 errdetail("The largest row has %zu bytes.", MaxAllocSize)));
    const Size space = prefix + MAXALIGN(header + data);
    if (hash != 0)
        reserve_index(content, need);
    Block *block = block_with_room(content, space, need);
    auto *row = reinterpret_cast<Row *>(block->data + block->used + prefix);
    // As heap_form_tuple does, alignment gaps included.
    memset(row, 0, header + data);
    row->added = command + 1;
    row->length = static_cast<uint32>(header + data);
    row->hash = hash;
    row->infomask2 = static_cast<uint16>(columns->natts);
    row->data_offset = static_cast<uint8>(header);
    heap_fill_tuple(columns, const_cast<Datum *>(values), const_cast<bool *>(nulls),
                    reinterpret_cast<char *>(row) + header, data, &row->infomask, has_nulls ? row->nulls : nullptr);
    // From here on nothing raises.
    Assert(block->used + space <= block->size && (is_shared(*block) || block->used == 0));
    const Address address = address_in(content->block_count - 1, block->used);
    block->used += static_cast<uint32>(space);
    content->versions++;
    content->live++;
    content->changes++;
    content->row_bytes += space;
    if (hash != 0)
        link(content, row, address);
    return row;
}

// No more than there are rows to be deleted, as this goes beyond the bound of memory.
void reserve_deletions(Content *content, uint64 more) {
    const uint64 needed = content->deletion_count + more;
    if (needed <= content->deletions.size())
        return;
    const uint64 most = content->deletion_count + static_cast<uint64>(content->live);
    const Size capacity = std::max<Size>(32, content->deletions.size() * 2);
    grow(content, &content->deletions, std::max<Size>(needed, std::min<Size>(capacity, most)), Need::deletion);
}

void delete_row(Content *content, Row *row, CommandId command) {
    Assert(command <= last_command && row->deleted == 0 && row->added != never);
    reserve_deletions(content, 1);
    content->deletions[content->deletion_count++] = row;
    row->deleted = command + 1;
    content->live--;
    content->changes++;
}

Row *row_at(const Content *content, ItemPointerData address) {
    const uint32 block = ItemPointerGetBlockNumberNoCheck(&address);
    const uint32 offset = (ItemPointerGetOffsetNumberNoCheck(&address) - 1u) * address_unit;
    if (content == nullptr || block >= content->block_count || offset >= content->blocks[block].used)
        elog(ERROR, "there is no staged row (%u,%u)", block, offset);
    return row_in(content, block, offset);
}

// Users' code runs while a scan is open. Its content stays, because the table is in use and no command may empty it,
// and a rollback goes back to a moment after the scan began; but one without rows is not kept.
Scan begin_scan(const Content *content, CommandId current) {
    Scan scan;
    if (content == nullptr || content->block_count == 0)
        return scan;
    scan.content = content;
    scan.current = current;
    scan.end = fill_of(content);
    return scan;
}

void restart_scan(Scan *scan) {
    scan->block = scan->offset = 0;
}

void restart_lookup(Scan *scan, uint32 hash) {
    scan->hash = scan->content == nullptr || scan->content->buckets.empty() ? 0 : hash;
    scan->last = 0;
}

const Row *next_row(Scan *scan, ItemPointerData *address) {
    const Content *content = scan->content;
    while (scan->block < scan->end.blocks) {
        const uint32 used = scan->block == scan->end.blocks - 1 ? scan->end.used : content->blocks[scan->block].used;
        while (scan->offset < used) {
            const uint32 offset = scan->offset;
            const Row *row = row_in(content, scan->block, offset);
            scan->offset += space_of(content, row);
            if (visible(row, scan->current)) {
                set_pointer(address, scan->block, offset);
                return row;
            }
        }
        scan->block++;
        scan->offset = 0;
    }
    return nullptr;
}

// Between two calls rows may be added, and the buckets made anew: a version's own link leads on, as those that follow
// it are older.
const Row *next_match(Scan *scan, ItemPointerData *address) {
    const Content *content = scan->content;
    if (scan->hash == 0)
        return nullptr;
    Address at = scan->last == 0 ? *bucket_of(content, scan->hash) : *next_of(row_at(content, scan->last));
    while (at != 0) {
        const Row *row = row_at(content, at);
        if (row->hash == scan->hash && visible(row, scan->current)) {
            set_pointer(address, static_cast<uint32>(at >> 32) - 1, static_cast<uint32>(at));
            scan->last = at;
            return row;
        }
        at = *next_of(row);
    }
    scan->hash = 0;
    return nullptr;
}

void sample_widths(const Content *content, TupleDesc columns, std::span<int32> widths) {
    constexpr uint32 rows_of_block = 8;
    constexpr uint32 blocks = 16;
    const auto sums = allocate<int64>(CurrentMemoryContext, widths.size() * 2);
    const auto counts = sums.subspan(widths.size());
    std::fill(sums.begin(), sums.end(), 0);
    const uint32 step = std::max<uint32>(1, content->block_count / blocks);
    for (uint32 block = 0; block < content->block_count; block += step) {
        uint32 offset = 0;
        for (uint32 n = 0; n < rows_of_block && offset < content->blocks[block].used; ++n) {
            const Row *row = row_in(content, block, offset);
            offset += space_of(content, row);
            HeapTupleData tuple = tuple_of(row, InvalidOid, {});
            for (const AttrNumber number : content->definition->variable) {
                bool is_null;
                const Datum value = heap_getattr(&tuple, number, columns, &is_null);
                if (!is_null) {
                    sums[number - 1] += static_cast<int64>(VARSIZE_ANY(DatumGetPointer(value)));
                    counts[number - 1]++;
                }
            }
        }
    }
    for (Size i = 0; i < widths.size(); ++i)
        widths[i] = counts[i] > 0 ? static_cast<int32>(sums[i] / counts[i]) : 0;
}

void roll_back(Content *content, Fill fill, uint64 deletions, int64 live) noexcept {
    Assert(fill.blocks <= content->block_count && deletions <= content->deletion_count);
    Assert(fill.blocks == 0 || fill.used <= content->blocks[fill.blocks - 1].used);
    while (content->deletion_count > deletions)
        content->deletions[--content->deletion_count]->deleted = 0;
    forget_deletions(content);
    content->live = live;
    for_rows_after(content, fill, [content](Row *row, Address) {
        row->deleted = never; // marks what goes away
        content->versions--;
        content->row_bytes -= space_of(content, row);
    });
    if (!content->buckets.empty())
        // What goes away is the newest of every chain, and so comes first in it.
        for_rows_after(content, fill, [content](Row *row, Address) {
            if (row->hash == 0)
                return;
            Address *bucket = bucket_of(content, row->hash);
            while (*bucket != 0 && row_at(content, *bucket)->deleted == never) {
                *bucket = *next_of(row_at(content, *bucket));
                content->indexed--;
            }
        });
    while (content->block_count > fill.blocks)
        free_last_block(content);
    if (fill.blocks > 0)
        content->blocks[fill.blocks - 1].used = fill.used;
    Assert(content->live >= 0 && content->live <= content->versions);
}

void make_permanent(Content *content, Fill fill, uint64 deletions) noexcept {
    Assert(fill.blocks <= content->block_count && deletions <= content->deletion_count);
    for_rows_after(content, fill, [](Row *row, Address) { row->added = 0; });
    for (uint64 i = deletions; i < content->deletion_count; ++i) {
        content->deletions[i]->added = never;
        content->deletions[i]->deleted = 0;
    }
    content->deletion_count = 0;
    forget_deletions(content);
    if (content->versions - content->live > content->versions / 4)
        compact(content);
}

void give_up_dead_rows(Content *content) noexcept {
    if (content->versions > content->live)
        compact(content);
}

} // namespace dms_refs::staging
