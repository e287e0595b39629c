// Writing rows below SQL: see direct_write.hpp.
//
// Modelled on what the server's logical replication does with one table; the duties are the executor's.
#include "pg/direct_write.hpp"

#include "pg/index_scan.hpp"

namespace dms_refs {

namespace {

// Switches the checked triggers off in the result relation's own copy of the trigger list, and the others on that were
// off in an earlier phase. They keep their places: what the executor knows of a trigger's function is kept by place.
void leave_out(DirectTarget *target, std::span<const Oid> checked) {
    TriggerDesc *triggers = target->info->ri_TrigDesc;
    triggers->trig_insert_after_row = false;
    for (int i = 0; i < triggers->numtriggers; ++i) {
        Trigger &trigger = triggers->triggers[i];
        const bool left_out = std::find(checked.begin(), checked.end(), trigger.tgoid) != checked.end();
        trigger.tgenabled = left_out ? TRIGGER_DISABLED : target->enabled[static_cast<std::size_t>(i)];
        if (!left_out &&
            TRIGGER_TYPE_MATCHES(trigger.tgtype, TRIGGER_TYPE_ROW, TRIGGER_TYPE_AFTER, TRIGGER_TYPE_INSERT))
            triggers->trig_insert_after_row = true;
    }
}

// Tables whose triggers fired in this phase without being written by it: a cascading foreign key writes them in
// statements whose triggers are left to us. The executor opened them for their triggers and closes them with its result
// relations, of which one here is not its own. At the end of each phase, as after each statement: user code may alter
// them then.
void close_trigger_targets(EState *estate) {
    ListCell *cell;
    foreach (cell, estate->es_trig_target_relations) {
        const auto *info = static_cast<const ResultRelInfo *>(lfirst(cell));
        Assert(info->ri_RangeTableIndex == 0 && info->ri_NumIndices == 0);
        table_close(info->ri_RelationDesc, NoLock);
    }
    list_free(estate->es_trig_target_relations);
    estate->es_trig_target_relations = NIL;
}

} // namespace

void raise_serialization_failure(const char *concurrent) {
    ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
                    errmsg("could not serialize access due to concurrent %s", concurrent),
                    errhint("The transaction might succeed if retried.")));
    pg_unreachable();
}

DirectTarget *open_direct(Relation relation) {
    Assert(is_locked(relation, RowExclusiveLock) && relation->rd_rel->relkind == RELKIND_RELATION);
    EState *estate = CreateExecutorState();
    const MemoryContext before = MemoryContextSwitchTo(estate->es_query_cxt);
    auto *target = allocate<DirectTarget>(estate->es_query_cxt, 1).data();
    *target = {};
    target->relation = relation;
    target->estate = estate;
    target->slots = allocate<TupleTableSlot *>(estate->es_query_cxt, batch_rows).first(0);

    RangeTblEntry *entry = makeNode(RangeTblEntry);
    entry->rtekind = RTE_RELATION;
    entry->relid = RelationGetRelid(relation);
    entry->relkind = relation->rd_rel->relkind;
    entry->rellockmode = RowExclusiveLock;
    compat::init_range_table(estate, entry);

    ResultRelInfo *info = target->info = makeNode(ResultRelInfo);
    InitResultRelInfo(info, relation, 1, nullptr, 0);
    if (const TriggerDesc *triggers = info->ri_TrigDesc) {
        target->enabled = allocate<char>(estate->es_query_cxt, static_cast<std::size_t>(triggers->numtriggers));
        for (int i = 0; i < triggers->numtriggers; ++i)
            target->enabled[static_cast<std::size_t>(i)] = triggers->triggers[i].tgenabled;
    }
    // Trigger code finds the result relation here; it must be gone from the list before the state is freed
    // through anything that closes result relations, because the relation is not the state's.
    estate->es_opened_result_relations = lappend(estate->es_opened_result_relations, info);
    ExecOpenIndices(info, false);
    MemoryContextSwitchTo(before);
    return target;
}

void close_direct(DirectTarget *target) {
    ExecCloseIndices(target->info);
    ExecResetTupleTable(target->estate->es_tupleTable, false);
    FreeExecutorState(target->estate);
}

void begin_phase(DirectTarget *target, CmdType command, std::span<const Oid> checked) {
    Assert(command == CMD_INSERT || (command == CMD_DELETE && checked.empty()));
    CheckCmdReplicaIdentity(target->relation, command);
    if (command == CMD_INSERT && target->info->ri_TrigDesc != nullptr)
        leave_out(target, checked);
    const TriggerDesc *triggers = target->info->ri_TrigDesc;
    target->fires_triggers = triggers != nullptr && (command == CMD_INSERT ? triggers->trig_insert_after_row
                                                                           : triggers->trig_delete_after_row);
    target->estate->es_output_cid = GetCurrentCommandId(true);
    if (target->fires_triggers)
        AfterTriggerBeginQuery();
}

void end_phase(DirectTarget *target, bool users_code) {
    if (target->fires_triggers) {
        const int level = users_code ? 0 : begin_generic_plans();
        AfterTriggerEndQuery(target->estate);
        close_trigger_targets(target->estate);
        if (!users_code)
            end_generic_plans(level);
    }
    CommandCounterIncrement();
}

std::span<TupleTableSlot *> blank_slots(DirectTarget *target, int n) {
    Assert(n > 0);
    const std::size_t wanted = static_cast<std::size_t>(Min(n, batch_rows));
    const std::size_t made = target->slots.size();
    if (made < wanted) {
        const MemoryContext before = MemoryContextSwitchTo(target->estate->es_query_cxt);
        target->slots = {target->slots.data(), wanted};
        for (std::size_t i = made; i < wanted; ++i)
            target->slots[i] = table_slot_create(target->relation, &target->estate->es_tupleTable);
        MemoryContextSwitchTo(before);
    }
    for (std::size_t i = 0; i < wanted; ++i)
        ExecClearTuple(target->slots[i]);
    return target->slots.first(wanted);
}

void insert_rows(DirectTarget *target, std::span<TupleTableSlot *> rows, bool compute_generated) {
    EState *estate = target->estate;
    ResultRelInfo *info = target->info;
    const MemoryContext before = MemoryContextSwitchTo(GetPerTupleMemoryContext(estate));
    for (TupleTableSlot *row : rows) {
        Assert(!TTS_EMPTY(row) && row->tts_tupleDescriptor->natts == RelationGetNumberOfAttributes(target->relation));
        row->tts_tableOid = RelationGetRelid(target->relation);
        if (compute_generated)
            ExecComputeStoredGenerated(info, estate, row, CMD_INSERT);
        if (RelationGetDescr(target->relation)->constr != nullptr)
            ExecConstraints(info, row, estate);
    }
    table_multi_insert(target->relation, rows.data(), static_cast<int>(rows.size()), estate->es_output_cid, 0, nullptr);
    for (TupleTableSlot *row : rows) {
        List *recheck = NIL;
        if (info->ri_NumIndices > 0)
            recheck = compat::insert_index_tuples(info, row, estate);
        ExecARInsertTriggers(estate, info, row, recheck, nullptr);
        ResetPerTupleExprContext(estate);
    }
    MemoryContextSwitchTo(before);
}

namespace {

Locked lock_version(Relation relation, core::RowAddress row, Snapshot snapshot, LockTupleMode mode, uint8 flags,
                    CommandId command, TupleTableSlot *slot) {
    Assert(row.known() && is_locked(relation, RowShareLock));
    ItemPointerData tid = item_pointer(row);
    TM_FailureData failure;
    const bool follow = !IsolationUsesXactSnapshot();
    if (follow)
        flags |= TUPLE_LOCK_FLAG_FIND_LAST_VERSION;
    const TM_Result result =
        table_tuple_lock(relation, &tid, snapshot, slot, command, mode, LockWaitBlock, flags, &failure);
    switch (result) {
    case TM_Ok: return failure.traversed ? Locked::followed : Locked::locked;
    case TM_SelfModified:
    case TM_Invisible: return Locked::own_change;
    case TM_Updated: raise_serialization_failure("update");
    case TM_Deleted:
        if (!follow)
            raise_serialization_failure("delete");
        return Locked::gone;
    default: elog(ERROR, "unexpected result %d of locking a row", result);
    }
    pg_unreachable();
}

[[noreturn]] void raise_changed_by_trigger() {
    ereport(
        ERROR,
        (errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
         errmsg("a reference to be deleted was already modified by an operation triggered by the current command"),
         errhint("Consider using an AFTER trigger instead of a BEFORE trigger to propagate changes to other rows.")));
    pg_unreachable();
}

} // namespace

bool delete_row(DirectTarget *target, core::RowAddress row, Snapshot snapshot,
                bool (*still_wanted)(TupleTableSlot *latest, const void *argument), const void *argument) {
    Assert(row.known() && IsMVCCSnapshot(snapshot));
    ItemPointerData tid = item_pointer(row);
    for (;;) {
        TM_FailureData failure;
        const TM_Result result = table_tuple_delete(target->relation, &tid, target->estate->es_output_cid, snapshot,
                                                    InvalidSnapshot, true, &failure, false);
        switch (result) {
        case TM_Ok: ExecARDeleteTriggers(target->estate, target->info, &tid, nullptr, nullptr, false); return true;
        case TM_SelfModified:
            if (failure.cmax != target->estate->es_output_cid)
                raise_changed_by_trigger();
            return false; // deleted by this very command: nothing is left to do
        case TM_Deleted:
            if (IsolationUsesXactSnapshot())
                raise_serialization_failure("delete");
            return false;
        case TM_Updated: {
            if (IsolationUsesXactSnapshot())
                raise_serialization_failure("update");
            if (target->lock_slot == nullptr) {
                const MemoryContext before = MemoryContextSwitchTo(target->estate->es_query_cxt);
                target->lock_slot = table_slot_create(target->relation, &target->estate->es_tupleTable);
                MemoryContextSwitchTo(before);
            }
            // As ExecDelete: the newest version alone is locked, which is about to be deleted.
            const Locked locked = lock_version(target->relation, row_address(tid), snapshot, LockTupleExclusive, 0,
                                               target->estate->es_output_cid, target->lock_slot);
            if (locked == Locked::own_change)
                raise_changed_by_trigger();
            if (locked == Locked::gone || !still_wanted(target->lock_slot, argument))
                return false;
            tid = target->lock_slot->tts_tid;
            break;
        }
        default: elog(ERROR, "unexpected result %d of deleting a row", result);
        }
    }
}

bool superseded(TupleTableSlot *locked) {
    // Read without the page's lock: a version that is being written at this moment comes after us either way.
    const auto *held = reinterpret_cast<const BufferHeapTupleTableSlot *>(locked);
    const HeapTupleHeader header = held->base.tuple->t_data;
    return !ItemPointerEquals(&header->t_ctid, &locked->tts_tid);
}

Locked lock_row(Relation relation, core::RowAddress row, Snapshot snapshot, LockTupleMode mode, TupleTableSlot *slot) {
    // As ExecLockRows. An update that leaves the key alone, committed or not, lets a KEY SHARE lock pass; the newer
    // versions must be locked with it, or who made them could delete the row without waiting for us.
    return lock_version(relation, row, snapshot, mode, TUPLE_LOCK_FLAG_LOCK_UPDATE_IN_PROGRESS,
                        GetCurrentCommandId(false), slot);
}

} // namespace dms_refs
