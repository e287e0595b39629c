// The planner's side of the foreign-data wrapper: row counts, costs, and lookups through the key.
//
// The backend that plans is the one that holds the rows, so their number is known, not estimated. A key is shown to the
// planner as a unique index that it cannot scan: it proves joins unique and makes selectivities right. Lookups are
// foreign paths of our own, parameterised by the other side of a join where that is what the key is compared with.
//
// State: none; what is made lives with the plan. Errors: those of opening the stage.
#include "staging/stage.hpp"

namespace dms_refs::staging {
namespace {

// What planning a relation needs of its stage: RelOptInfo.fdw_private.
struct Planned {
    const Key *key; // a copy: planning runs users' functions, and nothing keeps the table from changing; NULL: none
    int64 rows;
};

// A scan in memory visits no page; a lookup costs about what finding an entry of a hash index does.
constexpr double lookup_operators = 5;

// `column = expression` for a column of a key.
struct Equality {
    Expr *value = nullptr;
    Oid hash_function = InvalidOid; // of the value
};

Expr *without_relabel(Expr *expression) {
    while (expression != nullptr && IsA(expression, RelabelType))
        expression = reinterpret_cast<RelabelType *>(expression)->arg;
    return expression;
}

bool is_column(Expr *expression, const RelOptInfo *relation, AttrNumber number) {
    expression = without_relabel(expression);
    if (expression == nullptr || !IsA(expression, Var))
        return false;
    const auto *column = reinterpret_cast<Var *>(expression);
    return column->varno == static_cast<int>(relation->relid) && column->varattno == number && column->varlevelsup == 0;
}

bool depends_on(PlannerInfo *root, Expr *expression, const RelOptInfo *relation) {
    return bms_overlap(pull_varnos(root, reinterpret_cast<Node *>(expression)), relation->relids);
}

// The clause as an equality on the n-th column of the key; value is NULL where it is none that a lookup can use.
Equality equality_of(PlannerInfo *root, const RelOptInfo *relation, const Key &key, int n, const Expr *clause) {
    if (!IsA(clause, OpExpr))
        return {};
    const auto *operation = reinterpret_cast<const OpExpr *>(clause);
    if (list_length(operation->args) != 2 || operation->inputcollid != key.collations[n])
        return {};
    auto *left = static_cast<Expr *>(linitial(operation->args));
    auto *right = static_cast<Expr *>(lsecond(operation->args));
    RegProcedure left_hash;
    RegProcedure right_hash;
    if (!op_hashjoinable(operation->opno, exprType(reinterpret_cast<Node *>(left))) ||
        !get_op_hash_functions(operation->opno, &left_hash, &right_hash))
        return {};
    if (!is_column(left, relation, key.columns[n])) {
        std::swap(left, right);
        std::swap(left_hash, right_hash);
    }
    if (!is_column(left, relation, key.columns[n]) || left_hash != key.hash[n].fn_oid ||
        depends_on(root, right, relation) || contain_volatile_functions(reinterpret_cast<Node *>(right)))
        return {};
    return {right, right_hash};
}

// Equalities on all columns of the key among clauses (RestrictInfo): false where one is missing.
bool equalities_in(PlannerInfo *root, const RelOptInfo *relation, const Key &key, const List *first, const List *second,
                   Equality *found) {
    for (int n = 0; n < key.count; ++n) {
        found[n] = {};
        for (const List *clauses : {first, second}) {
            const ListCell *cell;
            foreach (cell, clauses) {
                if (found[n].value == nullptr)
                    found[n] = equality_of(root, relation, key, n, static_cast<RestrictInfo *>(lfirst(cell))->clause);
            }
        }
        if (found[n].value == nullptr)
            return false;
    }
    return true;
}

struct KeyColumn {
    const Key *key;
    int n;
};

bool is_key_column(PlannerInfo *, RelOptInfo *relation, EquivalenceClass *, EquivalenceMember *member, void *which) {
    const auto *column = static_cast<KeyColumn *>(which);
    return is_column(member->em_expr, relation, column->key->columns[column->n]);
}

// Sets of other relations that a lookup may take its values from.
List *possible_outers(PlannerInfo *root, RelOptInfo *relation, const Key &key) {
    List *outers = NIL;
    Relids all = nullptr;
    const auto note = [&](const RestrictInfo *clause) {
        if (!join_clause_is_movable_to(const_cast<RestrictInfo *>(clause), relation))
            return;
        Relids outer = bms_difference(clause->clause_relids, relation->relids);
        const ListCell *cell;
        foreach (cell, outers)
            if (bms_equal(static_cast<Relids>(lfirst(cell)), outer))
                return;
        outers = lappend(outers, outer);
        all = bms_add_members(all, outer);
    };
    for (int n = 0; n < key.count; ++n) {
        const ListCell *cell;
        foreach (cell, relation->joininfo) {
            const auto *clause = static_cast<RestrictInfo *>(lfirst(cell));
            if (equality_of(root, relation, key, n, clause->clause).value != nullptr)
                note(clause);
        }
        if (!relation->has_eclass_joins)
            continue;
        KeyColumn column = {&key, n};
        List *implied = generate_implied_equalities_for_column(root, relation, is_key_column, &column,
                                                               relation->lateral_referencers);
        foreach (cell, implied) {
            const auto *clause = static_cast<RestrictInfo *>(lfirst(cell));
            if (equality_of(root, relation, key, n, clause->clause).value != nullptr)
                note(clause);
        }
    }
    if (list_length(outers) > 1)
        outers = lappend(outers, all);
    return outers;
}

// The key as an index that has neither gettuple nor getbitmap: it proves uniqueness and makes no paths.
void show_key(RelOptInfo *relation, Relation stage, const Key &key) {
    IndexOptInfo *index = makeNode(IndexOptInfo);
    index->reltablespace = relation->reltablespace;
    index->rel = relation;
    index->ncolumns = index->nkeycolumns = key.count;
    index->indexkeys = allocate<int>(CurrentMemoryContext, key.count).data();
    index->indexcollations = allocate<Oid>(CurrentMemoryContext, key.count).data();
    index->opfamily = allocate<Oid>(CurrentMemoryContext, key.count).data();
    index->opcintype = allocate<Oid>(CurrentMemoryContext, key.count).data();
    index->canreturn = static_cast<bool *>(palloc0(sizeof(bool) * key.count));
    for (int n = 0; n < key.count; ++n) {
        const Form_pg_attribute column = TupleDescAttr(RelationGetDescr(stage), key.columns[n] - 1);
        const TypeCacheEntry *type = lookup_type_cache(column->atttypid, TYPECACHE_BTREE_OPFAMILY);
        if (!OidIsValid(type->btree_opf))
            return;
        index->indexkeys[n] = key.columns[n];
        index->indexcollations[n] = key.collations[n];
        index->opfamily[n] = type->btree_opf;
        index->opcintype[n] = type->btree_opintype;
        index->indextlist =
            lappend(index->indextlist,
                    makeTargetEntry(reinterpret_cast<Expr *>(makeVar(relation->relid, key.columns[n], column->atttypid,
                                                                     column->atttypmod, column->attcollation, 0)),
                                    static_cast<AttrNumber>(n + 1), nullptr, false));
    }
    index->relam = HASH_AM_OID; // nobody asks a hash index for its range of values
    index->hypothetical = true;
    index->tuples = relation->tuples;
    index->pages = 1;
    index->unique = true;
    index->immediate = true;
    relation->indexlist = lappend(relation->indexlist, index);
}

void get_size(PlannerInfo *root, RelOptInfo *relation, Oid id) {
    Relation opened = table_open(id, NoLock);
    const Stage *stage = open_stage(opened);
    const Key &key = stage->definition->key;
    auto *planned = allocate<Planned>(CurrentMemoryContext, 1).data();
    *planned = {nullptr, live_rows(stage)};
    if (key.count > 0) {
        auto *copy = allocate<Key>(CurrentMemoryContext, 1).data();
        *copy = key;
        planned->key = copy;
    }
    relation->fdw_private = planned;
    relation->tuples = static_cast<double>(planned->rows);
    relation->pages =
        stage->content == nullptr ? 0 : static_cast<BlockNumber>((stage->content->row_bytes + BLCKSZ - 1) / BLCKSZ);
    if (key.count > 0)
        show_key(relation, opened, key);
    if (planned->rows > 0) {
        TupleDesc columns = RelationGetDescr(opened);
        const auto widths = allocate<int32>(CurrentMemoryContext, columns->natts);
        sample_widths(stage->content, columns, widths);
        for (int i = 0; i < columns->natts; ++i)
            if (widths[i] > 0)
                relation->attr_widths[i + 1 - relation->min_attr] = widths[i];
    }
    set_baserel_size_estimates(root, relation);
    table_close(opened, NoLock);
}

void add_scan(PlannerInfo *root, RelOptInfo *relation, Relids outer, double rows, Cost startup, Cost total,
              List *private_items) {
    add_path(relation, reinterpret_cast<Path *>(compat::create_foreignscan_path(root, relation, rows, startup, total,
                                                                                outer, private_items)));
}

void get_paths(PlannerInfo *root, RelOptInfo *relation, Oid) {
    const auto *planned = static_cast<Planned *>(relation->fdw_private);
    const QualCost per_row = relation->baserestrictcost;
    const Cost run = relation->tuples * (cpu_tuple_cost + per_row.per_tuple);
    Relids lateral = relation->lateral_relids;
    ParamPathInfo *parameters = bms_is_empty(lateral) ? nullptr : get_baserel_parampathinfo(root, relation, lateral);
    add_scan(root, relation, lateral, parameters ? parameters->ppi_rows : relation->rows, per_row.startup,
             per_row.startup + run, NIL);
    if (planned->key == nullptr)
        return;
    const Key &key = *planned->key;
    const auto found = allocate<Equality>(CurrentMemoryContext, key.count);
    const Cost lookup = cpu_operator_cost * lookup_operators * key.count + cpu_tuple_cost + per_row.per_tuple;
    if (equalities_in(root, relation, key, relation->baserestrictinfo, NIL, found.data()))
        add_scan(root, relation, lateral, std::min(relation->rows, 1.0), per_row.startup, per_row.startup + lookup,
                 list_make1(makeInteger(1)));
    const ListCell *cell;
    List *outers = possible_outers(root, relation, key);
    foreach (cell, outers) {
        Relids outer = bms_union(static_cast<Relids>(lfirst(cell)), lateral);
        const ParamPathInfo *info = get_baserel_parampathinfo(root, relation, outer);
        if (equalities_in(root, relation, key, info->ppi_clauses, relation->baserestrictinfo, found.data()))
            add_scan(root, relation, outer, info->ppi_rows, per_row.startup, per_row.startup + lookup,
                     list_make1(makeInteger(1)));
    }
}

ForeignScan *get_plan(PlannerInfo *root, RelOptInfo *relation, Oid, ForeignPath *path, List *targets, List *clauses,
                      Plan *outer_plan) {
    const auto *planned = static_cast<Planned *>(relation->fdw_private);
    List *values = NIL;
    List *hash_functions = NIL;
    if (path->fdw_private != NIL) {
        const auto found = allocate<Equality>(CurrentMemoryContext, planned->key->count);
        if (equalities_in(root, relation, *planned->key, clauses, NIL, found.data()))
            for (const Equality &equality : found) {
                values = lappend(values, equality.value);
                hash_functions = lappend_oid(hash_functions, equality.hash_function);
            }
    }
    const auto rows = static_cast<int>(std::min<int64>(planned->rows, PG_INT32_MAX));
    // All clauses stay: a lookup compares hashes, they compare values.
    return make_foreignscan(targets, extract_actual_clauses(clauses, false), relation->relid, values,
                            list_make2(makeInteger(rows), hash_functions), NIL, NIL, outer_plan);
}

get_relation_info_hook_type hook_before = nullptr;

// Here the planner has read the relation's constraints, and has drawn no conclusion from them.
void relation_info(PlannerInfo *root, Oid relation, bool is_parent, RelOptInfo *info) {
    if (hook_before != nullptr)
        hook_before(root, relation, is_parent, info);
    check_before_planning(relation, is_parent);
}

} // namespace

void register_plan_check() {
    hook_before = get_relation_info_hook;
    get_relation_info_hook = relation_info;
}

void set_planner_functions(FdwRoutine *routine) {
    routine->GetForeignRelSize = get_size;
    routine->GetForeignPaths = get_paths;
    routine->GetForeignPlan = get_plan;
}

} // namespace dms_refs::staging
