// The executor's side of the foreign-data wrapper, writing: INSERT, COPY, UPDATE, DELETE, TRUNCATE.
//
// The server computes defaults and generated columns and fires triggers; constraints and the key are checked here.
//
// Users' code runs in the middle: constraints, hash functions, triggers. It may do to the stage what the server allows
// while the table is in use, with savepoints that it rolls back. So all of it runs first; then the row to be changed
// and the content are looked up, and only the equality function, which is watched, runs between that and the change.
//
// State: a ModifyState in the query's memory. What is written goes to the stage at once; on error the transaction's
// rollback takes it back.
#include "staging/stage.hpp"

#include "stats/recorder.hpp"

namespace dms_refs::staging {
namespace {

struct ModifyState {
    Relation relation;
    Stage *stage;
    uint64 definition; // its serial, when the statement began
    Key key;           // of that definition, for this query
    std::span<AttrNumber> variable;
    List *types; // held
    CommandId command;
    AttrNumber address;        // junk attribute: ctid
    bool skip_duplicates;      // ON CONFLICT DO NOTHING
    MemoryContext row_context; // reset for each row
    std::span<Datum> values;
    core::StagingCount added; // rows and bytes of this statement
};
static_assert(std::is_trivially_copyable_v<ModifyState>);

ModifyState *prepare(EState *estate, ResultRelInfo *info, CommandId command) {
    Relation relation = info->ri_RelationDesc;
    if (command > last_command)
        ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
                        errmsg("cannot change stages in more than %u commands of a transaction", last_command)));
    auto *state = allocate<ModifyState>(estate->es_query_cxt, 1).data();
    *state = {};
    state->relation = relation;
    state->stage = open_stage(relation);
    const Definition *definition = state->stage->definition;
    state->definition = definition->serial;
    state->key = definition->key;
    for (int n = 0; n < state->key.count; ++n) {
        fmgr_info_copy(&state->key.hash[n], const_cast<FmgrInfo *>(&definition->key.hash[n]), estate->es_query_cxt);
        fmgr_info_copy(&state->key.equal[n], const_cast<FmgrInfo *>(&definition->key.equal[n]), estate->es_query_cxt);
    }
    state->variable = allocate<AttrNumber>(estate->es_query_cxt, definition->variable.size());
    std::copy(definition->variable.begin(), definition->variable.end(), state->variable.begin());
    const MemoryContext before = MemoryContextSwitchTo(estate->es_query_cxt);
    state->types = hold_types(definition);
    MemoryContextSwitchTo(before);
    state->command = command;
    state->row_context = AllocSetContextCreate(estate->es_query_cxt, "dms_refs staged row", ALLOCSET_DEFAULT_SIZES);
    state->values = allocate<Datum>(estate->es_query_cxt, RelationGetDescr(relation)->natts);
    info->ri_FdwState = state;
    return state;
}

void begin(ModifyTableState *node, ResultRelInfo *info, List *, int, int flags) {
    if ((flags & EXEC_FLAG_EXPLAIN_ONLY) != 0)
        return;
    ModifyState *state = prepare(node->ps.state, info, node->ps.state->es_output_cid);
    const auto *plan = reinterpret_cast<ModifyTable *>(node->ps.plan);
    state->skip_duplicates = plan->onConflictAction == ONCONFLICT_NOTHING;
    if (node->operation == CMD_UPDATE || node->operation == CMD_DELETE)
        state->address = ExecFindJunkAttributeInTlist(outerPlanState(node)->plan->targetlist, "ctid");
}

// COPY, and rows that come through a partitioned table.
void begin_insert(ModifyTableState *node, ResultRelInfo *info) {
    if (info->ri_FdwState != nullptr)
        return;
    const auto *plan = reinterpret_cast<ModifyTable *>(node->ps.plan);
    ModifyState *state =
        prepare(node->ps.state, info, plan != nullptr ? node->ps.state->es_output_cid : GetCurrentCommandId(true));
    state->skip_duplicates = plan != nullptr && plan->onConflictAction == ONCONFLICT_NOTHING;
}

// Values that live outside the row, and may go away before it does, are fetched; compressed ones stay so.
const Datum *flat_values(ModifyState *state, const TupleTableSlot *slot) {
    bool copied = false;
    for (const AttrNumber number : state->variable) {
        const int i = number - 1;
        if (slot->tts_isnull[i])
            continue;
        auto *value = reinterpret_cast<struct varlena *>(DatumGetPointer(slot->tts_values[i]));
        if (!VARATT_IS_EXTERNAL(value))
            continue;
        if (!copied)
            std::copy(slot->tts_values, slot->tts_values + state->values.size(), state->values.begin());
        copied = true;
        state->values[i] = PointerGetDatum(detoast_external_attr(value));
    }
    return copied ? state->values.data() : slot->tts_values;
}

// "Key (a, b)=(1, 2) already exists.", unless the user may not see these columns.
int duplicate_detail(Relation relation, const Key &key, const Datum *values) {
    const Oid id = RelationGetRelid(relation);
    StringInfoData names;
    StringInfoData shown;
    initStringInfo(&names);
    initStringInfo(&shown);
    const bool all = pg_class_aclcheck(id, GetUserId(), ACL_SELECT) == ACLCHECK_OK;
    for (int n = 0; n < key.count; ++n) {
        const Form_pg_attribute column = TupleDescAttr(RelationGetDescr(relation), key.columns[n] - 1);
        if (!all && pg_attribute_aclcheck(id, key.columns[n], GetUserId(), ACL_SELECT) != ACLCHECK_OK)
            return 0;
        Oid output;
        bool is_varlena;
        getTypeOutputInfo(column->atttypid, &output, &is_varlena);
        appendStringInfo(&names, "%s%s", n > 0 ? ", " : "", NameStr(column->attname));
        appendStringInfo(&shown, "%s%s", n > 0 ? ", " : "", OidOutputFunctionCall(output, values[key.columns[n] - 1]));
    }
    return errdetail("Key (%s)=(%s) already exists.", names.data, shown.data);
}

[[noreturn]] void report_duplicate(const ModifyState *state, const Datum *values) {
    ereport(ERROR,
            (errcode(ERRCODE_UNIQUE_VIOLATION),
             errmsg("duplicate key value violates the key of stage \"%s\"", RelationGetRelationName(state->relation)),
             duplicate_detail(state->relation, state->key, values),
             errtableconstraint(state->relation,
                                makeObjectName(RelationGetRelationName(state->relation), nullptr, "key"))));
}

// A row as it will be added, in the state's row context.
struct NewRow {
    const Datum *values;
    const bool *nulls;
    uint32 hash;
};

// The row of a slot, when the constraints have been checked: the last of users' code, but for the equality function.
NewRow new_row(ModifyState *state, const TupleTableSlot *slot) {
    MemoryContextReset(state->row_context);
    const MemoryContext before = MemoryContextSwitchTo(state->row_context);
    NewRow row = {flat_values(state, slot), slot->tts_isnull, 0};
    row.hash = hash_key(state->key, row.values, row.nulls);
    MemoryContextSwitchTo(before);
    // The table is in use and cannot be altered, but a type of its columns can.
    if (!state->stage->checked)
        (void)open_stage(state->relation);
    if (state->stage->definition->serial != state->definition)
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("stage \"%s\" was altered by a function of the statement that writes to it",
                               RelationGetRelationName(state->relation))));
    return row;
}

// Puts a row into the stage, in the place of an old version where there is one; false where it is a duplicate to be
// skipped.
bool put(ModifyState *state, const NewRow &row, Row *old) {
    Stage *stage = state->stage;
    Content *content = content_to_change(stage);
    TupleDesc columns = RelationGetDescr(state->relation);
    const MemoryContext before = MemoryContextSwitchTo(state->row_context);
    if (find_same_key(content, state->key, columns, row.hash, row.values, old) != nullptr) {
        if (!state->skip_duplicates)
            report_duplicate(state, row.values);
        MemoryContextSwitchTo(before);
        return false;
    }
    if (old != nullptr)
        delete_row(content, old, state->command);
    const Row *added = add_row(content, columns, row.values, row.nulls, row.hash, state->command,
                               old == nullptr ? Need::insertion : Need::update);
    state->added.rows++;
    state->added.bytes += added->length;
    note_peak(stage);
    MemoryContextSwitchTo(before);
    return true;
}

void check(EState *estate, ResultRelInfo *info, TupleTableSlot *slot) {
    Relation relation = info->ri_RelationDesc;
    slot_getallattrs(slot);
    slot->tts_tableOid = RelationGetRelid(relation);
    if (RelationGetDescr(relation)->constr != nullptr)
        ExecConstraints(info, slot, estate);
    // Rows do not move from a foreign table to another partition: one that would have to is refused.
    if (relation->rd_rel->relispartition)
        ExecPartitionCheck(info, slot, estate, true);
}

// Rows come one by one, also from COPY: for a batch the server (16 and later) makes a tuple of each row, which would
// only be taken apart again, and that costs more than the call. So an error names its line, too.
TupleTableSlot *insert(EState *estate, ResultRelInfo *info, TupleTableSlot *slot, TupleTableSlot *) {
    auto *state = static_cast<ModifyState *>(info->ri_FdwState);
    check(estate, info, slot);
    return put(state, new_row(state, slot), nullptr) ? slot : nullptr;
}

// The version that a plan's row came from. NULL: this command has changed it already, as happens to a row that a join
// finds twice; then the first change stands.
Row *row_to_change(ModifyState *state, TupleTableSlot *plan_slot, ItemPointerData *address) {
    bool is_null;
    const Datum value = ExecGetJunkAttribute(plan_slot, state->address, &is_null);
    if (is_null)
        elog(ERROR, "a staged row has no address");
    *address = *reinterpret_cast<const ItemPointerData *>(DatumGetPointer(value));
    Row *row = row_at(state->stage->content, *address);
    if (row->deleted == 0 && row->added != never)
        return row;
    if (row->deleted != state->command + 1)
        ereport(
            ERROR,
            (errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
             errmsg(
                 "a row to be updated or deleted was already changed by an operation triggered by the current command"),
             errhint(
                 "Consider using an AFTER trigger instead of a BEFORE trigger to propagate changes to other rows.")));
    return nullptr;
}

TupleTableSlot *update(EState *estate, ResultRelInfo *info, TupleTableSlot *slot, TupleTableSlot *plan_slot) {
    auto *state = static_cast<ModifyState *>(info->ri_FdwState);
    check(estate, info, slot);
    const NewRow row = new_row(state, slot);
    ItemPointerData address;
    Row *old = row_to_change(state, plan_slot, &address);
    if (old == nullptr)
        return nullptr;
    put(state, row, old);
    return slot;
}

TupleTableSlot *remove(EState *, ResultRelInfo *info, TupleTableSlot *slot, TupleTableSlot *plan_slot) {
    auto *state = static_cast<ModifyState *>(info->ri_FdwState);
    ItemPointerData address;
    Row *row = row_to_change(state, plan_slot, &address);
    if (row == nullptr)
        return nullptr;
    delete_row(content_to_change(state->stage), row, state->command);
    note_peak(state->stage);
    HeapTupleData tuple = tuple_of(row, RelationGetRelid(state->relation), address);
    ExecForceStoreHeapTuple(&tuple, slot, false);
    ExecMaterializeSlot(slot);
    return slot;
}

void end(EState *, ResultRelInfo *info) {
    auto *state = static_cast<ModifyState *>(info->ri_FdwState);
    if (state == nullptr)
        return;
    if (state->added.rows > 0) {
        state->added.peak_bytes = static_cast<int64>(state->stage->peak_bytes);
        record_staging(RelationGetRelid(state->relation), state->added);
    }
    release_types(state->types);
    MemoryContextDelete(state->row_context);
    info->ri_FdwState = nullptr;
}

void add_address(PlannerInfo *root, Index range, RangeTblEntry *, Relation) {
    Var *address = makeVar(static_cast<int>(range), SelfItemPointerAttributeNumber, TIDOID, -1, InvalidOid, 0);
    add_row_identity_var(root, address, range, "ctid");
}

void truncate_all(List *relations, DropBehavior, bool) {
    // So that what follows is another command.
    (void)GetCurrentCommandId(true);
    const ListCell *cell;
    foreach (cell, relations) {
        Relation relation = static_cast<Relation>(lfirst(cell));
        Stage *stage = known_stage(RelationGetRelid(relation));
        if (stage != nullptr)
            truncate(stage);
    }
}

} // namespace

void set_modify_functions(FdwRoutine *routine) {
    routine->AddForeignUpdateTargets = add_address;
    routine->BeginForeignModify = begin;
    routine->BeginForeignInsert = begin_insert;
    routine->ExecForeignInsert = insert;
    routine->ExecForeignUpdate = update;
    routine->ExecForeignDelete = remove;
    routine->EndForeignModify = end;
    routine->EndForeignInsert = end;
    routine->ExecForeignTruncate = truncate_all;
}

FdwRoutine *wrapper() {
    FdwRoutine *routine = makeNode(FdwRoutine);
    set_planner_functions(routine);
    set_scan_functions(routine);
    set_modify_functions(routine);
    return routine;
}

} // namespace dms_refs::staging
