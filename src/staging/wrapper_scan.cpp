// The executor's side of the foreign-data wrapper, reading: scans of all rows, and lookups through the key.
//
// State: a ScanState in the query's memory. The executor gets pointers into the stage; they stay good for the scan,
// because versions are never moved or freed while a statement or cursor of this session is open on the table. On error
// there is nothing to clean up.
#include "staging/stage.hpp"

namespace dms_refs::staging {
namespace {

struct ScanState {
    Stage *stage;
    Scan scan;
    HeapTupleData tuple;
    Oid relation;
    List *values;              // of the key: ExprState; NIL: scan all rows
    std::span<FmgrInfo> hash;  // of the values
    std::span<Oid> collations; // of the key
    List *types;               // held
    bool started;
};
static_assert(std::is_trivially_copyable_v<ScanState>);

// A plan that counted on far more or fewer rows is made again next time. The message goes to this backend only: the
// rows are nobody else's.
void ask_for_another_plan(Stage *stage, int planned, int64 rows) {
    constexpr int64 few = 100;
    constexpr int64 factor = 10;
    const int64 a = std::max<int64>(planned, few);
    const int64 b = std::max(rows, few);
    if (a < b * factor && b < a * factor)
        return;
    SharedInvalidationMessage message = {};
    message.rc.id = SHAREDINVALRELCACHE_ID;
    message.rc.dbId = MyDatabaseId;
    message.rc.relId = stage->relation;
    // The definition is what it was.
    const bool checked = stage->checked;
    LocalExecuteInvalidationMessage(&message);
    stage->checked = checked;
}

void begin(ForeignScanState *node, int flags) {
    const auto *plan = reinterpret_cast<ForeignScan *>(node->ss.ps.plan);
    EState *estate = node->ss.ps.state;
    Relation relation = node->ss.ss_currentRelation;
    auto *state = allocate<ScanState>(estate->es_query_cxt, 1).data();
    *state = {};
    node->fdw_state = state;
    state->relation = RelationGetRelid(relation);
    state->stage = open_stage(relation);
    auto *hash_functions = static_cast<List *>(list_nth(plan->fdw_private, static_cast<int>(PlanItem::hash_functions)));
    const Key &key = state->stage->definition->key;
    // The plan is as old as the definition: a change of it makes plans anew.
    if (plan->fdw_exprs != NIL && list_length(plan->fdw_exprs) == key.count) {
        state->values = ExecInitExprList(plan->fdw_exprs, &node->ss.ps);
        state->hash = allocate<FmgrInfo>(estate->es_query_cxt, key.count);
        state->collations = allocate<Oid>(estate->es_query_cxt, key.count);
        for (int n = 0; n < key.count; ++n) {
            fmgr_info_cxt(list_nth_oid(hash_functions, n), &state->hash[n], estate->es_query_cxt);
            state->collations[n] = key.collations[n];
        }
    }
    if ((flags & EXEC_FLAG_EXPLAIN_ONLY) != 0)
        return;
    state->types = hold_types(state->stage->definition);
    state->scan = begin_scan(state->stage->content, estate->es_snapshot->curcid);
    const auto planned = intVal(list_nth(plan->fdw_private, static_cast<int>(PlanItem::rows)));
    ask_for_another_plan(state->stage, planned, live_rows(state->stage));
}

// The hash of the key that is looked for; 0: a NULL, which equals nothing.
uint32 hash_of_values(ScanState *state, ExprContext *context) {
    uint32 sum = 0;
    int n = 0;
    const ListCell *cell;
    const MemoryContext before = MemoryContextSwitchTo(context->ecxt_per_tuple_memory);
    foreach (cell, state->values) {
        bool is_null;
        const Datum value = ExecEvalExpr(static_cast<ExprState *>(lfirst(cell)), context, &is_null);
        if (is_null) {
            MemoryContextSwitchTo(before);
            return 0;
        }
        sum = combine_hashes(sum, DatumGetUInt32(FunctionCall1Coll(&state->hash[n], state->collations[n], value)));
        ++n;
    }
    MemoryContextSwitchTo(before);
    return finish_hash(sum);
}

TupleTableSlot *next(ForeignScanState *node) {
    auto *state = static_cast<ScanState *>(node->fdw_state);
    TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;
    ItemPointerData address;
    const Row *row;
    if (state->values == NIL) {
        row = next_row(&state->scan, &address);
    } else {
        if (!state->started) {
            restart_lookup(&state->scan, hash_of_values(state, node->ss.ps.ps_ExprContext));
            state->started = true;
        }
        row = next_match(&state->scan, &address);
    }
    if (row == nullptr)
        return ExecClearTuple(slot);
    state->tuple = tuple_of(row, state->relation, address);
    return ExecStoreHeapTuple(&state->tuple, slot, false);
}

void restart(ForeignScanState *node) {
    auto *state = static_cast<ScanState *>(node->fdw_state);
    state->started = false;
    restart_scan(&state->scan);
}

void end(ForeignScanState *node) {
    const auto *state = static_cast<ScanState *>(node->fdw_state);
    if (state != nullptr)
        release_types(state->types);
}

void explain(ForeignScanState *node, ExplainState *explained) {
    const auto *plan = reinterpret_cast<ForeignScan *>(node->ss.ps.plan);
    if (plan->fdw_exprs == NIL)
        return;
    const auto *state = static_cast<ScanState *>(node->fdw_state);
    const Key &key = state->stage->definition->key;
    StringInfoData names;
    initStringInfo(&names);
    for (int n = 0; n < key.count; ++n)
        appendStringInfo(&names, "%s%s", n > 0 ? ", " : "",
                         quote_identifier(get_attname(state->relation, key.columns[n], false)));
    ExplainPropertyText("Lookup by Key", names.data, explained);
}

} // namespace

void set_scan_functions(FdwRoutine *routine) {
    routine->BeginForeignScan = begin;
    routine->IterateForeignScan = next;
    routine->ReScanForeignScan = restart;
    routine->EndForeignScan = end;
    routine->ExplainForeignScan = explain;
}

} // namespace dms_refs::staging
