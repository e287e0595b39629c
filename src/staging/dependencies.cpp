// What rows depend on beside the columns of their table: the row types that values are made of, and the constraints
// that they were checked against.
//
// The server keeps a type from being altered where a table has values of it, and looks at a table's rows when it takes
// a constraint. For foreign tables it does neither (late minor releases do the first), and yet the planner believes the
// constraints, and values are read by the types as they are. So a definition notes both, and each use compares.
//
// State: arrays in the definition's context. Row types are locked in share mode until the transaction ends, like the
// table itself: what was noted of them stays true for it. On error the definition goes with its context.
#include "staging/stage.hpp"

namespace dms_refs::staging {
namespace {

bool holds(const List *types, Oid type) {
    return list_member_oid(types, type);
}

// Adds the types that values of these are made of, at any depth.
List *with_parts(List *types) {
    for (int i = 0; i < list_length(types); ++i) {
        CHECK_FOR_INTERRUPTS();
        const Oid id = list_nth_oid(types, i);
        HeapTuple row = SearchSysCache1(TYPEOID, ObjectIdGetDatum(id));
        if (!HeapTupleIsValid(row))
            elog(ERROR, "cache lookup failed for type %u", id);
        const FormData_pg_type type = *reinterpret_cast<Form_pg_type>(GETSTRUCT(row));
        ReleaseSysCache(row);
        if (type.typtype == TYPTYPE_DOMAIN) {
            types = list_append_unique_oid(types, type.typbasetype);
        } else if (type.typtype == TYPTYPE_RANGE) {
            types = list_append_unique_oid(types, get_range_subtype(id));
        } else if (type.typtype == TYPTYPE_MULTIRANGE) {
            types = list_append_unique_oid(types, get_multirange_range(id));
        } else if (type.typtype == TYPTYPE_COMPOSITE) {
            Relation relation = relation_open(type.typrelid, AccessShareLock);
            TupleDesc attributes = RelationGetDescr(relation);
            for (int n = 0; n < attributes->natts; ++n)
                if (!TupleDescAttr(attributes, n)->attisdropped)
                    types = list_append_unique_oid(types, TupleDescAttr(attributes, n)->atttypid);
            relation_close(relation, NoLock);
        } else if (OidIsValid(type.typelem)) {
            types = list_append_unique_oid(types, type.typelem);
        }
    }
    return types;
}

template <class T> std::span<T> copy_of(const List *list, MemoryContext context) {
    const auto copy = allocate<T>(context, list_length(list));
    for (Size i = 0; i < copy.size(); ++i)
        if constexpr (std::is_same_v<T, Oid>)
            copy[i] = list_nth_oid(list, static_cast<int>(i));
        else
            copy[i] = *static_cast<T *>(list_nth(list, static_cast<int>(i)));
    return copy;
}

Composite *composite(Oid type, Oid relation, const List *key_types, MemoryContext context) {
    auto *made = allocate<Composite>(CurrentMemoryContext, 1).data();
    Relation opened = relation_open(relation, NoLock);
    *made = {relation, holds(key_types, type), shapes_of(RelationGetDescr(opened), context)};
    relation_close(opened, NoLock);
    return made;
}

// In the order in which values of the key are looked into; where a function changes, hashes of old rows say nothing.
std::span<Oid> functions_of(const List *key_types, MemoryContext context) {
    List *functions = NIL;
    const ListCell *cell;
    foreach (cell, key_types) {
        const TypeCacheEntry *type = lookup_type_cache(lfirst_oid(cell), TYPECACHE_EQ_OPR | TYPECACHE_HASH_PROC);
        functions = lappend_oid(functions, lfirst_oid(cell));
        functions = lappend_oid(functions, type->eq_opr);
        functions = lappend_oid(functions, type->hash_proc);
    }
    return copy_of<Oid>(functions, context);
}

// --- constraints ------------------------------------------------------------------------------------

struct Noting {
    MemoryContext context;
    List *constraints;
};

void note(Noting *noting, ConstraintKind kind, uint32 of, const char *text, bool believed) {
    auto *made = allocate<Constraint>(CurrentMemoryContext, 1).data();
    *made = {kind, believed, of, MemoryContextStrdup(noting->context, text)};
    noting->constraints = lappend(noting->constraints, made);
}

void note_domain(Noting *noting, Oid domain, bool not_null) {
    if (not_null)
        note(noting, ConstraintKind::domain, domain, "NOT NULL", true);
    Relation catalog = table_open(ConstraintRelationId, AccessShareLock);
    ScanKeyData key;
    ScanKeyInit(&key, Anum_pg_constraint_contypid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(domain));
    SysScanDesc scan = systable_beginscan(catalog, ConstraintTypidIndexId, true, nullptr, 1, &key);
    for (HeapTuple row = systable_getnext(scan); HeapTupleIsValid(row); row = systable_getnext(scan)) {
        const auto *constraint = reinterpret_cast<Form_pg_constraint>(GETSTRUCT(row));
        bool is_null;
        const Datum expression = heap_getattr(row, Anum_pg_constraint_conbin, RelationGetDescr(catalog), &is_null);
        if (constraint->contype == CONSTRAINT_CHECK && !is_null)
            note(noting, ConstraintKind::domain, domain, TextDatumGetCString(expression), constraint->convalidated);
    }
    systable_endscan(scan);
    table_close(catalog, AccessShareLock);
}

void note_table(Noting *noting, Relation relation) {
    TupleDesc columns = RelationGetDescr(relation);
    for (int i = 0; i < columns->natts; ++i)
        if (const Form_pg_attribute column = TupleDescAttr(columns, i); column->attnotnull && !column->attisdropped)
            note(noting, ConstraintKind::not_null, column->attnum, "", compat::not_null_holds(columns, i));
    const TupleConstr *constraints = columns->constr;
    for (int i = 0; constraints != nullptr && i < constraints->num_check; ++i)
        if (const ConstrCheck &check = constraints->check[i]; compat::is_enforced(check))
            note(noting, ConstraintKind::check, 0, check.ccbin, check.ccvalid);
    for (int i = 0; constraints != nullptr && i < constraints->num_defval; ++i)
        if (const AttrDefault &value = constraints->defval[i];
            TupleDescAttr(columns, value.adnum - 1)->attgenerated != '\0')
            note(noting, ConstraintKind::generated, value.adnum, value.adbin, true);
    if (relation->rd_rel->relispartition)
        if (List *bound = RelationGetPartitionQual(relation); bound != NIL)
            note(noting, ConstraintKind::partition, 0, nodeToString(bound), true);
}

bool same_constraint(const Constraint &a, const Constraint &b) {
    return a.kind == b.kind && a.of == b.of && strcmp(a.text, b.text) == 0;
}

bool holds(std::span<const Constraint> constraints, const Constraint &one) {
    CHECK_FOR_INTERRUPTS();
    return std::any_of(constraints.begin(), constraints.end(),
                       [&one](const Constraint &other) { return same_constraint(one, other); });
}

const char *description(const Constraint &constraint, TupleDesc columns) {
    switch (constraint.kind) {
    case ConstraintKind::not_null:
        return psprintf("Column \"%s\" was set NOT NULL.",
                        NameStr(TupleDescAttr(columns, static_cast<int>(constraint.of) - 1)->attname));
    case ConstraintKind::check: return "A CHECK constraint was added or validated.";
    case ConstraintKind::generated:
        return psprintf("Column \"%s\" has another generation expression.",
                        NameStr(TupleDescAttr(columns, static_cast<int>(constraint.of) - 1)->attname));
    case ConstraintKind::partition: return "It was attached as a partition, or its bounds are others.";
    case ConstraintKind::domain:
        return psprintf("A constraint of domain %s was added or validated.", format_type_be(constraint.of));
    }
    return "";
}

const Composite *find(std::span<const Composite> composites, Oid relation) {
    const auto found = std::find_if(composites.begin(), composites.end(),
                                    [relation](const Composite &one) { return one.relation == relation; });
    return found == composites.end() ? nullptr : &*found;
}

// What the server does over tables is done here, too: attributes may be dropped, and added where they are NULL in old
// values. But the hash and equality of a value look at all of them.
bool readable(const Composite &was, const Composite &is) {
    for (Size i = 0; i < is.attributes.size(); ++i) {
        const ColumnShape &now = is.attributes[i];
        if (i >= was.attributes.size()) {
            if (is.in_key || now.by_default)
                return false;
        } else if (!same_shape(was.attributes[i], now) && (is.in_key || OidIsValid(now.type))) {
            return false;
        }
    }
    return true;
}

} // namespace

void note_dependencies(Definition *definition, Relation relation) {
    TupleDesc columns = RelationGetDescr(relation);
    List *types = NIL;
    List *key_types = NIL;
    for (int i = 0; i < columns->natts; ++i)
        if (!TupleDescAttr(columns, i)->attisdropped)
            types = list_append_unique_oid(types, TupleDescAttr(columns, i)->atttypid);
    for (int n = 0; n < definition->key.count; ++n)
        key_types = list_append_unique_oid(key_types, TupleDescAttr(columns, definition->key.columns[n] - 1)->atttypid);
    types = with_parts(types);
    key_types = with_parts(key_types);
    Noting noting = {definition->context, NIL};
    note_table(&noting, relation);
    List *composites = NIL;
    List *domains = NIL;
    const ListCell *cell;
    foreach (cell, types) {
        const Oid id = lfirst_oid(cell);
        HeapTuple row = SearchSysCache1(TYPEOID, ObjectIdGetDatum(id));
        if (!HeapTupleIsValid(row))
            elog(ERROR, "cache lookup failed for type %u", id);
        const FormData_pg_type type = *reinterpret_cast<Form_pg_type>(GETSTRUCT(row));
        ReleaseSysCache(row);
        if (type.typtype == TYPTYPE_COMPOSITE)
            composites = lappend(composites, composite(id, type.typrelid, key_types, definition->context));
        if (type.typtype == TYPTYPE_DOMAIN) {
            note_domain(&noting, id, type.typnotnull);
            domains = lappend_oid(domains, GetSysCacheHashValue1(TYPEOID, ObjectIdGetDatum(id)));
        }
    }
    definition->composites = copy_of<Composite>(composites, definition->context);
    definition->key_functions = functions_of(key_types, definition->context);
    definition->domains = copy_of<Oid>(domains, definition->context);
    definition->constraints = copy_of<Constraint>(noting.constraints, definition->context);
    definition->ancestors =
        copy_of<Oid>(relation->rd_rel->relispartition ? get_partition_ancestors(RelationGetRelid(relation)) : NIL,
                     definition->context);
}

bool same_dependencies(const Definition *a, const Definition *b) {
    return std::ranges::equal(a->composites, b->composites,
                              [](const Composite &x, const Composite &y) {
                                  return x.relation == y.relation && x.in_key == y.in_key &&
                                         std::ranges::equal(x.attributes, y.attributes, same_shape);
                              }) &&
           std::ranges::equal(a->ancestors, b->ancestors) && a->constraints.size() == b->constraints.size() &&
           std::all_of(a->constraints.begin(), a->constraints.end(),
                       [b](const Constraint &one) { return holds(b->constraints, one); });
}

const char *obstacle_in_dependencies(const Definition *rows, const Definition *now, TupleDesc columns) {
    // A type that rows know nothing of is one of a column or attribute that is NULL in them.
    for (const Composite &is : now->composites)
        if (const Composite *was = find(rows->composites, is.relation); was != nullptr && !readable(*was, is))
            return psprintf("Row type \"%s\", of which there are values, was altered.", get_rel_name(is.relation));
    for (const Constraint &constraint : now->constraints)
        if (constraint.believed && !holds(rows->constraints, constraint))
            return description(constraint, columns);
    return nullptr;
}

bool keep_common_constraints(Definition *now, const Definition *rows) {
    Size kept = 0;
    for (const Constraint &constraint : now->constraints)
        if (holds(rows->constraints, constraint))
            now->constraints[kept++] = constraint;
    const bool some_gone = kept < now->constraints.size();
    now->constraints = now->constraints.first(kept);
    return some_gone;
}

void lock_types(const Definition *definition) {
    for (const Composite &composite : definition->composites)
        LockRelationOid(composite.relation, AccessShareLock);
}

List *hold_types(const Definition *definition) {
    List *held = NIL;
    for (const Composite &composite : definition->composites)
        held = lappend(held, relation_open(composite.relation, NoLock));
    return held;
}

void release_types(List *held) {
    const ListCell *cell;
    foreach (cell, held)
        relation_close(static_cast<Relation>(lfirst(cell)), NoLock);
}

} // namespace dms_refs::staging
