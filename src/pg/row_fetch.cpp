// Fetching rows by hints: see row_fetch.hpp.
//
// What the heap's own fetch by address does, but for one thing: the page is first looked for in the buffer that
// held it last time, which saves the lookup in the buffer table, and its memory can be prefetched before.
// State: none but the reader's, which pins one buffer.
#include "pg/row_fetch.hpp"

namespace dms_refs {

namespace {

// Whether a page lies inside the file: reading past its end raises an error. The storage manager remembers the
// size it last saw. That may be too small, after another backend has grown the table: then ask again. It cannot
// be too large: truncation, under an exclusive lock, sends an invalidation that resets it, and our lock on the
// table has taken that in.
bool page_exists(Relation heap, BlockNumber block) {
    SMgrRelation storage = RelationGetSmgr(heap);
    const BlockNumber known = storage->smgr_cached_nblocks[MAIN_FORKNUM];
    return (known != InvalidBlockNumber && block < known) || block < smgrnblocks(storage, MAIN_FORKNUM);
}

// Makes the page of a hint the reader's. False where there is no such page.
bool pin_page(RowReader *reader, const core::RowHint &hint) {
    if (BufferIsValid(reader->buffer)) {
        if (BufferGetBlockNumber(reader->buffer) == hint.row.block)
            return true;
        ReleaseBuffer(reader->buffer);
        reader->buffer = InvalidBuffer;
    }
    // The short way does not count as a use of the buffer. A page that is only ever read by hints must not look idle
    // and be evicted: one that begins to is read the long way.
    constexpr unsigned idle = 1;
    if (hint.buffer > 0 && hint.buffer <= NBuffers && !RelationUsesLocalBuffers(reader->heap) &&
        compat::buffer_usage(hint.buffer) > idle &&
        compat::read_recent_buffer(reader->heap, hint.row.block, hint.buffer))
        reader->buffer = hint.buffer;
    else if (page_exists(reader->heap, hint.row.block))
        reader->buffer = ReadBuffer(reader->heap, hint.row.block);
    return BufferIsValid(reader->buffer);
}

} // namespace

void prefetch_row(const core::RowHint &hint) {
    if (hint.buffer <= 0 || hint.buffer > NBuffers)
        return;
    __builtin_prefetch(GetBufferDescriptor(static_cast<uint32>(hint.buffer - 1)));
    const char *page = static_cast<const char *>(BufferGetBlock(hint.buffer));
    __builtin_prefetch(page);
    __builtin_prefetch(page + SizeOfPageHeaderData + sizeof(ItemIdData) * (hint.row.offset - 1U) % BLCKSZ);
    __builtin_prefetch(page + hint.item % BLCKSZ);
    __builtin_prefetch(page + (hint.item + 64) % BLCKSZ);
}

bool fetch_row(RowReader *reader, core::RowHint *hint) {
    Assert(hint->row.known() && is_locked(reader->heap, AccessShareLock));
    Assert(IsMVCCSnapshot(reader->snapshot));
    if (!pin_page(reader, *hint))
        return false;
    const Relation heap = reader->heap;
    const Snapshot snapshot = reader->snapshot;
    const Buffer buffer = reader->buffer;
    LockBuffer(buffer, BUFFER_LOCK_SHARE);
    const Page page = BufferGetPage(buffer);
    compat::test_for_old_snapshot(snapshot, heap, page);
    bool visible = false;
    if (hint->row.offset <= PageGetMaxOffsetNumber(page)) {
        const ItemId item = PageGetItemId(page, hint->row.offset);
        if (ItemIdIsNormal(item)) {
            HeapTuple tuple = &reader->row;
            tuple->t_data = reinterpret_cast<HeapTupleHeader>(PageGetItem(page, item));
            tuple->t_len = ItemIdGetLength(item);
            tuple->t_tableOid = RelationGetRelid(heap);
            ItemPointerSet(&tuple->t_self, hint->row.block, hint->row.offset);
            // As sequential scans do it. What everybody sees on the primary may still be hidden on a standby.
            visible = (PageIsAllVisible(page) && !snapshot->takenDuringRecovery) ||
                      HeapTupleSatisfiesVisibility(tuple, snapshot, buffer);
            if (visible)
                PredicateLockTID(heap, &tuple->t_self, snapshot, HeapTupleHeaderGetXmin(tuple->t_data));
            HeapCheckForSerializableConflictOut(visible, heap, tuple, buffer, snapshot);
            hint->item = static_cast<uint16>(ItemIdGetOffset(item));
        }
    }
    LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
    if (visible)
        hint->buffer = buffer;
    return visible;
}

core::RowHint row_hint(TupleTableSlot *slot) {
    static_assert(BLCKSZ <= 1 << 15, "core::RowCacheEntry has 15 bits for a place on a page");
    Assert(TTS_IS_BUFFERTUPLE(slot) && !TTS_EMPTY(slot));
    const auto *held = reinterpret_cast<BufferHeapTupleTableSlot *>(slot);
    core::RowHint hint = {};
    hint.row = {ItemPointerGetBlockNumber(&slot->tts_tid), ItemPointerGetOffsetNumber(&slot->tts_tid)};
    if (BufferIsValid(held->buffer) && !BufferIsLocal(held->buffer)) {
        hint.buffer = held->buffer;
        hint.item = static_cast<uint16>(reinterpret_cast<const char *>(held->base.tupdata.t_data) -
                                        static_cast<const char *>(BufferGetBlock(held->buffer)));
    }
    return hint;
}

} // namespace dms_refs
