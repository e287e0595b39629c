// The difference of one parent written: rows to be deleted, to be updated, to be inserted, each kind like one
// statement.
//
// Users' code may run with each: triggers, functions in checks and indexes. It can do what a statement can: delete a
// document or an alias, make a trigger or a rule, become another role. So after each phase in which it can have run,
// all that was found out before is found out anew, as SQL does with each statement. The foreign keys' own rows are
// locked first, in the order of all locks, and once more after such a phase; where users' code can run among the rows
// to be inserted, nothing that is found out before them will do, and the foreign keys keep their triggers.
#include "engine/engine.hpp"
#include "pg/relation.hpp"
#include "stats/recorder.hpp"

namespace dms_refs {

using namespace core;

namespace {

bool writes_directly(Call *call) {
    const char *reason = call->not_native != nullptr ? call->not_native : call->leaf.leaf.not_writable;
    if (reason == nullptr)
        return true;
    if (settings.engine == engine_direct)
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("store \"%s\" cannot be written directly", NameStr(call->store.name)),
                        errdetail("Reason: %s.", reason),
                        errhint("Set dms_refs.engine to \"auto\", which uses SQL statements where it must.")));
    record_by_sql();
    return false;
}

// Checks the store's own foreign keys natively. Only for direct writes: triggers before an SQL statement's rows
// may make the very rows that they refer to.
ForeignKeys check_foreign_keys(Call *call, const Parent &parent, const Outcome &delta, ParentRow parent_row) {
    const Leaf &leaf = call->leaf.leaf;
    ForeignKeys keys = {};
    if (!call->native_fk_checks || delta.counts.inserted == 0 || leaf.user_code.on_insert)
        return keys;
    // The triggers look in the name of the referenced table's owner, who may have taken the right to from himself.
    if (leaf.parent_key.fires() && owner_may_look_up(call->store.table(Role::document))) {
        if (parent_row == ParentRow::referable || share_parent(call, parent))
            keys.checked[keys.n_checked++] = leaf.parent_key.trigger;
        else
            keys.parent_missing = true;
    }
    if (leaf.alias_key.fires() && owner_may_look_up(call->store.table(Role::alias)) &&
        lock_aliases(call, delta.given, delta.changes, &keys.missing))
        keys.checked[keys.n_checked++] = leaf.alias_key.trigger;
    return keys;
}

// How the next phase is written.
struct Way {
    bool direct;
    ForeignKeys keys;
};

Way choose_way(Call *call, const Parent &parent, const Outcome &delta, ParentRow parent_row) {
    Way way = {};
    way.direct = writes_directly(call);
    if (way.direct)
        way.keys = check_foreign_keys(call, parent, delta, parent_row);
    return way;
}

// After a phase. Statements tell nothing of the code that ran with them.
void after_phase(Call *call, const Parent &parent, const Outcome &delta, bool user_code, bool last, Way *way) {
    if (way->direct && !user_code)
        return;
    call->user_code_ran = call->look_again = true;
    if (last)
        return;
    look_again(call, parent);
    *way = choose_way(call, parent, delta, ParentRow::locked);
}

} // namespace

void apply(Call *call, const Parent &parent, const Outcome &delta, ParentRow parent_row) {
    const Counts &n = delta.counts;
    bool otherwise = may_write_otherwise(call, parent);
    bool all = true;
    Way way = choose_way(call, parent, delta, parent_row);
    if (n.deleted > 0) {
        const bool user_code = call->leaf.leaf.user_code.on_delete;
        all = way.direct ? delete_directly(call, parent, delta) : delete_by_sql(call, parent, delta);
        after_phase(call, parent, delta, user_code, n.updated + n.inserted == 0, &way);
    }
    if (n.updated > 0) {
        // By SQL in either way: they are rare, and take every road of the executor.
        const bool user_code = call->leaf.leaf.user_code.on_update;
        all = update_by_sql(call, parent, delta) && all;
        after_phase(call, parent, delta, user_code, n.inserted == 0, &way);
    }
    if (n.inserted > 0) {
        compat::injection_point("dms_refs-before-insert-phase");
        const bool user_code = call->leaf.leaf.user_code.on_insert;
        if (way.direct)
            insert_directly(call, parent, delta, way.keys);
        else
            all = insert_by_sql(call, parent, delta) && all;
        after_phase(call, parent, delta, user_code, true, &way);
    }
    call->has_written = true;
    // A trigger may have made another one.
    otherwise = otherwise || may_write_otherwise(call, parent);
    if (!all || otherwise)
        require_equal(call, parent, delta);
}

} // namespace dms_refs
