// Which phases of writing a reference table can run users' code: see store.hpp.
//
// What was found out before such code ran need not hold after it: it can delete a document, or make a trigger. So this
// errs on the safe side: code is the server's own where it is known to be, and a user's in all other cases. Looked at
// once a leaf, like the rest of its shape.
#include "store/cache.hpp"
#include "store/store.hpp"

namespace dms_refs {

namespace {

// Functions that come with the server and are immutable do what they say and nothing else. A volatile or stable one may
// run anything: query_to_xml, for one, runs queries.
bool is_users(Oid function, void *) {
    return function >= FirstNormalObjectId || func_volatile(function) != PROVOLATILE_IMMUTABLE;
}

// A tree walker: true at the first node that may run a user's code. Only kinds of nodes are passed whose functions
// check_functions_in_node sees; others (a domain's constraints, say) may hide some.
bool runs_users_code(Node *node, void *context) {
    if (node == nullptr)
        return false;
    switch (nodeTag(node)) {
    case T_Var:
    case T_Const:
    case T_FuncExpr:
    case T_OpExpr:
    case T_DistinctExpr:
    case T_NullIfExpr:
    case T_ScalarArrayOpExpr:
    case T_BoolExpr:
    case T_RelabelType:
    case T_CoerceViaIO:
    case T_CollateExpr:
    case T_CaseExpr:
    case T_CaseTestExpr:
    case T_ArrayExpr:
    case T_CoalesceExpr:
    case T_MinMaxExpr:
    case T_NullTest:
    case T_BooleanTest:
    case T_List: break;
    default: return true;
    }
    return check_functions_in_node(node, is_users, nullptr) || compat::walk_expression(node, runs_users_code, context);
}

bool text_runs_users_code(const char *expression) {
    return runs_users_code(static_cast<Node *>(stringToNode(expression)), nullptr);
}

bool index_runs_users_code(Relation relation) {
    bool found = false;
    List *indexes = RelationGetIndexList(relation);
    ListCell *cell;
    foreach (cell, indexes) {
        Relation index = index_open(lfirst_oid(cell), AccessShareLock);
        found = found || runs_users_code(reinterpret_cast<Node *>(RelationGetIndexExpressions(index)), nullptr) ||
                runs_users_code(reinterpret_cast<Node *>(RelationGetIndexPredicate(index)), nullptr);
        index_close(index, AccessShareLock);
    }
    list_free(indexes);
    return found;
}

// In what a row goes through when it is written: generated columns, checks, indexes.
bool row_runs_users_code(Relation relation) {
    const TupleDesc columns = RelationGetDescr(relation);
    const TupleConstr *constraints = columns->constr;
    bool found = false;
    for (int i = 0; constraints != nullptr && i < constraints->num_check && !found; ++i)
        found = text_runs_users_code(constraints->check[i].ccbin);
    for (int i = 0; constraints != nullptr && i < constraints->num_defval && !found; ++i) {
        const AttrDefault &expression = constraints->defval[i];
        if (TupleDescAttr(columns, expression.adnum - 1)->attgenerated != '\0')
            found = text_runs_users_code(expression.adbin);
    }
    return found || index_runs_users_code(relation);
}

// The check of a foreign key's own row is a lookup by its equality operators.
bool checks_with_users_code(Oid constraint) {
    HeapTuple tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
    if (!HeapTupleIsValid(tuple))
        return true;
    int n = 0;
    AttrNumber referencing[INDEX_MAX_KEYS];
    AttrNumber referenced[INDEX_MAX_KEYS];
    Oid equal[INDEX_MAX_KEYS];
    DeconstructFkConstraintRow(tuple, &n, referencing, referenced, equal, nullptr, nullptr, nullptr, nullptr);
    const bool found = std::any_of(equal, equal + n, [](Oid oid) { return oid >= FirstNormalObjectId; });
    ReleaseSysCache(tuple);
    return found;
}

struct KnownTrigger {
    Oid constraint; // of a foreign key's check; else InvalidOid
    int16 type;
};

// A copy: looking things up lets the relation's own list go.
std::span<KnownTrigger> triggers_of(Relation relation) {
    const TriggerDesc *list = relation->trigdesc;
    if (list == nullptr)
        return {};
    const auto triggers = allocate<KnownTrigger>(CurrentMemoryContext, static_cast<std::size_t>(list->numtriggers));
    for (std::size_t i = 0; i < triggers.size(); ++i) {
        const Trigger &trigger = list->triggers[i];
        const bool checks = RI_FKey_trigger_type(trigger.tgfoid) == RI_TRIGGER_FK;
        triggers[i] = {checks ? trigger.tgconstraint : InvalidOid, trigger.tgtype};
    }
    return triggers;
}

void add_triggers(Relation relation, UserCode *code) {
    for (const KnownTrigger &trigger : triggers_of(relation)) {
        if (OidIsValid(trigger.constraint) && !checks_with_users_code(trigger.constraint))
            continue;
        code->on_insert = code->on_insert || TRIGGER_FOR_INSERT(trigger.type);
        code->on_update = code->on_update || TRIGGER_FOR_UPDATE(trigger.type);
        code->on_delete = code->on_delete || TRIGGER_FOR_DELETE(trigger.type);
    }
}

} // namespace

UserCode find_user_code(Relation root, Relation leaf) {
    UserCode code = {};
    add_triggers(leaf, &code);
    if (RelationGetRelid(root) != RelationGetRelid(leaf))
        add_triggers(root, &code);
    if (row_runs_users_code(leaf))
        code.on_insert = code.on_update = true;
    return code;
}

} // namespace dms_refs
