// SQL functions of staging: the wrapper's handler and validator, the list behind the view stages; and the hook that
// gives DISCARD its meaning for what a session holds.
//
// State: the hook that was there before ours. No locks. On error DISCARD rolls back like any statement.
#include "functions/staging.hpp"

#include "functions/results.hpp"
#include "staging/stage.hpp"

namespace dms_refs {
namespace {

ProcessUtility_hook_type hook_before = nullptr;

void process_utility(PlannedStmt *statement, const char *text, bool read_only, ProcessUtilityContext context,
                     ParamListInfo parameters, QueryEnvironment *environment, DestReceiver *destination,
                     QueryCompletion *completion) {
    // The tree may be gone afterwards.
    const Node *utility = statement->utilityStmt;
    const bool discard = IsA(utility, DiscardStmt);
    const DiscardMode target = discard ? reinterpret_cast<const DiscardStmt *>(utility)->target : DISCARD_PLANS;
    (hook_before != nullptr ? hook_before : standard_ProcessUtility)(statement, text, read_only, context, parameters,
                                                                     environment, destination, completion);
    if (!discard)
        return;
    if (target == DISCARD_ALL || target == DISCARD_TEMP)
        staging::discard_all();
    if (target == DISCARD_ALL)
        forget_invalid();
}

// The foreign table of a stage.
Relation open_table(Oid id, LOCKMODE lock) {
    Relation relation = try_relation_open(id, lock);
    if (relation == nullptr)
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("relation with OID %u does not exist", id)));
    if (relation->rd_rel->relkind != RELKIND_FOREIGN_TABLE ||
        GetFdwRoutineForRelation(relation, false)->BeginForeignScan != staging::wrapper()->BeginForeignScan)
        ereport(ERROR,
                (errcode(ERRCODE_WRONG_OBJECT_TYPE), errmsg("\"%s\" is not a stage", RelationGetRelationName(relation)),
                 errhint("dms_refs.create_stage makes one.")));
    return relation;
}

} // namespace

void register_discard() {
    hook_before = ProcessUtility_hook;
    ProcessUtility_hook = process_utility;
}

} // namespace dms_refs

DMS_REFS_FUNCTION(dms_refs_stage_handler) {
    PG_RETURN_POINTER(dms_refs::staging::wrapper());
}

// (options text[], catalog oid): only foreign tables have options.
DMS_REFS_FUNCTION(dms_refs_stage_validator) {
    List *options = untransformRelOptions(PG_GETARG_DATUM(0));
    if (PG_GETARG_OID(1) == ForeignTableRelationId)
        (void)dms_refs::staging::read_options(options);
    else if (options != NIL)
        ereport(ERROR, (errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
                        errmsg("invalid option \"%s\"", static_cast<DefElem *>(linitial(options))->defname),
                        errhint("Only foreign tables of dms_refs_stage have options: \"key\" and \"on_commit\".")));
    PG_RETURN_VOID();
}

// Looks at the definition as a first use would: for create_stage.
DMS_REFS_FUNCTION(dms_refs_check_stage) {
    Relation relation = dms_refs::open_table(PG_GETARG_OID(0), AccessShareLock);
    (void)dms_refs::staging::open_stage(relation);
    relation_close(relation, AccessShareLock);
    PG_RETURN_VOID();
}

// TRUNCATE for this session alone: it asks for the same privilege, and for the lock that INSERT takes. The definition
// may be one that the rows do not fit.
DMS_REFS_FUNCTION(dms_refs_empty_stage) {
    using namespace dms_refs;
    const Oid id = PG_GETARG_OID(0);
    PreventCommandIfReadOnly("empty_stage()");
    const AclResult allowed = pg_class_aclcheck(id, GetUserId(), ACL_TRUNCATE);
    if (allowed != ACLCHECK_OK)
        aclcheck_error(allowed, get_relkind_objtype(get_rel_relkind(id)), get_rel_name(id));
    Relation relation = open_table(id, RowExclusiveLock);
    CheckTableNotInUse(relation, "empty");
    if (staging::Stage *stage = staging::known_stage(id)) {
        // So that what follows is another command.
        (void)GetCurrentCommandId(true);
        staging::truncate(stage);
    }
    relation_close(relation, NoLock);
    PG_RETURN_VOID();
}

// (relation oid, OUT rows bigint, OUT bytes bigint, OUT peak_bytes bigint) of this session.
DMS_REFS_FUNCTION(dms_refs_stage_contents) {
    using namespace dms_refs;
    static TupleDesc row_type = nullptr;
    const staging::Stage *stage = staging::current_stage(PG_GETARG_OID(0));
    const int64 bytes = stage != nullptr && stage->content != nullptr ? static_cast<int64>(stage->content->bytes) : 0;
    const Datum values[] = {Int64GetDatum(stage != nullptr ? staging::live_rows(stage) : 0), Int64GetDatum(bytes),
                            Int64GetDatum(stage != nullptr ? static_cast<int64>(stage->peak_bytes) : 0)};
    const bool nulls[] = {false, false, false};
    PG_RETURN_DATUM(row_datum(result_type(fcinfo, &row_type), values, nulls));
}
