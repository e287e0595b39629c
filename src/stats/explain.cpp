// EXPLAIN (ANALYZE, DMS_REFS): the calls that a statement made, one line for each function, table and path. Options of
// modules came with PostgreSQL 18; before it, dms_refs.log_calls writes the same lines to the log.
//
// State: the collection of the EXPLAIN that is running, in its memory; a callback of that memory ends the collecting,
// also on error.
#include "stats/recorder.hpp"

namespace dms_refs {

#if PG_VERSION_NUM >= 180000

namespace {

struct Collection {
    MemoryContext context;
    std::span<CallLine> room;
    std::size_t size;
    MemoryContextCallback end;
};

Collection *collecting = nullptr;
int extension_id = -1;
explain_per_plan_hook_type previous_per_plan = nullptr;
explain_validate_options_hook_type previous_validate = nullptr;

void stop_collecting(void *collection) {
    if (collecting == collection)
        collecting = nullptr;
}

void option_given(ExplainState *explain, DefElem *option, ParseState *) {
    if (!defGetBoolean(option))
        return;
    auto *collection = allocate<Collection>(CurrentMemoryContext, 1).data();
    *collection = {CurrentMemoryContext, allocate<CallLine>(CurrentMemoryContext, 8), 0, {}};
    collection->end.func = stop_collecting;
    collection->end.arg = collection;
    MemoryContextRegisterResetCallback(CurrentMemoryContext, &collection->end);
    SetExplainExtensionState(explain, extension_id, collection);
}

// Runs after all options were read, whatever their order.
void validate(ExplainState *explain, List *options, ParseState *parse) {
    if (previous_validate != nullptr)
        previous_validate(explain, options, parse);
    auto *collection = static_cast<Collection *>(GetExplainExtensionState(explain, extension_id));
    if (collection == nullptr)
        return;
    if (!explain->analyze)
        ereport(ERROR,
                (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("EXPLAIN option %s requires ANALYZE", "DMS_REFS")));
    collecting = collection;
}

void put_structured(ExplainState *explain, const CallLine &line) {
    const core::DocumentCount &sum = line.sum;
    ExplainOpenGroup("dms_refs Call", nullptr, true, explain);
    ExplainPropertyText("Function", function_name(line.function), explain);
    if (const char *relation = get_rel_name(line.relation))
        ExplainPropertyText("Relation Name", relation, explain);
    ExplainPropertyText("Path", core::path_name(line.path), explain);
    ExplainPropertyText("Engine", line.by_sql ? "sql" : "direct", explain);
    ExplainPropertyInteger("Calls", nullptr, line.calls, explain);
    ExplainPropertyInteger("References Given", nullptr, sum.given, explain);
    ExplainPropertyInteger("References Read", nullptr, sum.stored, explain);
    ExplainPropertyInteger("Rows Inserted", nullptr, sum.changes.inserted, explain);
    ExplainPropertyInteger("Rows Updated", nullptr, sum.changes.updated, explain);
    ExplainPropertyInteger("Rows Deleted", nullptr, sum.changes.deleted, explain);
    ExplainPropertyInteger("Rows Kept", nullptr, sum.changes.kept, explain);
    ExplainPropertyInteger("References Invalid", nullptr, sum.invalid, explain);
    ExplainPropertyInteger("WAL Bytes", nullptr, line.cost.wal_bytes, explain);
    ExplainPropertyFloat("Time", "ms", line.cost.time, 3, explain);
    ExplainPropertyFloat("Resolve Time", "ms", line.cost.phase_time[static_cast<int>(core::Phase::resolve)], 3,
                         explain);
    ExplainPropertyFloat("Read Time", "ms", line.cost.phase_time[static_cast<int>(core::Phase::read)], 3, explain);
    ExplainPropertyFloat("Apply Time", "ms", line.cost.phase_time[static_cast<int>(core::Phase::apply)], 3, explain);
    ExplainCloseGroup("dms_refs Call", nullptr, true, explain);
}

// What the views would show: a SECURITY DEFINER function may use tables that whoever explains may not read.
std::span<CallLine> visible(std::span<CallLine> lines) {
    const bool everything = sees_everything();
    const auto end = std::remove_if(lines.begin(), lines.end(), [everything](const CallLine &line) {
        return !everything && !may_see(MyDatabaseId, line.relation);
    });
    return lines.first(static_cast<std::size_t>(end - lines.begin()));
}

void per_plan(PlannedStmt *plan, IntoClause *into, ExplainState *explain, const char *query, ParamListInfo parameters,
              QueryEnvironment *environment) {
    if (previous_per_plan != nullptr)
        previous_per_plan(plan, into, explain, query, parameters, environment);
    auto *collection = static_cast<Collection *>(GetExplainExtensionState(explain, extension_id));
    if (collection == nullptr)
        return;
    const auto lines = visible(collection->room.first(collection->size));
    if (explain->format == EXPLAIN_FORMAT_TEXT) {
        for (const CallLine &line : lines)
            ExplainPropertyText("dms_refs", describe(line), explain);
    } else {
        ExplainOpenGroup("dms_refs Calls", "dms_refs Calls", false, explain);
        for (const CallLine &line : lines)
            put_structured(explain, line);
        ExplainCloseGroup("dms_refs Calls", "dms_refs Calls", false, explain);
    }
    collection->size = 0; // a rule makes several plans
}

void add(CallLine *to, const CallLine &line) {
    ++to->calls;
    core::add_document(&to->sum, line.sum);
    core::add_cost(&to->cost, line.cost);
}

} // namespace

bool explaining() {
    return collecting != nullptr;
}

void explain_call(const CallLine &line) {
    for (CallLine &known : collecting->room.first(collecting->size)) {
        if (known.function == line.function && known.relation == line.relation && known.path == line.path &&
            known.by_sql == line.by_sql) {
            add(&known, line);
            return;
        }
    }
    if (collecting->size == collecting->room.size()) {
        const auto larger = allocate<CallLine>(collecting->context, collecting->room.size() * 2);
        std::copy(collecting->room.begin(), collecting->room.end(), larger.begin());
        collecting->room = larger;
    }
    collecting->room[collecting->size++] = line;
}

void register_explain_option() {
    extension_id = GetExplainExtensionId("dms_refs");
    RegisterExtensionExplainOption("dms_refs", option_given);
    previous_per_plan = explain_per_plan_hook;
    explain_per_plan_hook = per_plan;
    previous_validate = explain_validate_options_hook;
    explain_validate_options_hook = validate;
}

#else

bool explaining() {
    return false;
}

void explain_call(const CallLine &) {}

void register_explain_option() {}

#endif

} // namespace dms_refs
