// Whether what was written is what was to be written.
//
// Success means that the stored set equals the given one. An SQL statement says how many rows it wrote, and that is all
// there is to ask of an ordinary table. Triggers before the row, rules, policies, views and foreign tables decide for
// themselves what becomes of a row: then the set is read again. AFTER triggers are their owner's; they are not looked
// for. Runs under the call's locks, reads with a snapshot of its own; costs a call nothing that writes to ordinary
// tables.
#include "engine/engine.hpp"

#include "pg/relation.hpp"

namespace dms_refs {

using namespace core;

namespace {

// NULL where it cannot be said which leaf it is.
Relation leaf_to_look_at(Call *call, const Parent &parent) {
    const char *reason = nullptr;
    // Locked since open_reference_leaf, where there is one.
    return open_leaf(call->store, Role::reference, call->reference, parent.key, RowExclusiveLock, &reason);
}

bool has_triggers_before(const TriggerDesc *t) {
    return t != nullptr &&
           (t->trig_insert_before_row || t->trig_update_before_row || t->trig_delete_before_row ||
            t->trig_insert_instead_row || t->trig_update_instead_row || t->trig_delete_instead_row ||
            t->trig_insert_before_statement || t->trig_update_before_statement || t->trig_delete_before_statement);
}

bool is_table(Relation relation) {
    return relation->rd_rel->relkind == RELKIND_RELATION || relation->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
}

bool has_policies(Relation relation) {
    return relation->rd_rel->relrowsecurity &&
           check_enable_rls(RelationGetRelid(relation), InvalidOid, true) == RLS_ENABLED;
}

// What stands between the rows that are written and those that are stored, as text.
struct Causes {
    StringInfoData text;
    int n;
    bool policies_only;
};
constexpr int causes_shown = 8;

void add_cause(Causes *causes, bool policy, const char *name) {
    if (causes->n < causes_shown)
        appendStringInfo(&causes->text, "%s%s", causes->n > 0 ? ", " : "", name);
    else if (causes->n == causes_shown)
        appendStringInfoString(&causes->text, ", ...");
    causes->policies_only = (causes->n == 0 || causes->policies_only) && policy;
    ++causes->n;
}

const char *description(Oid catalog, Oid object) {
    ObjectAddress address;
    ObjectAddressSet(address, catalog, object);
    return getObjectDescription(&address, false);
}

void add_triggers(Causes *causes, Relation relation, int events) {
    // A copy: describing one takes in invalidations, after which the relation may have another list.
    TriggerDesc *triggers = CopyTriggerDesc(relation->trigdesc);
    // A partitioned table's triggers of the row fire as those of its partitions.
    const bool partitioned = relation->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
    for (int i = 0; triggers != nullptr && i < triggers->numtriggers; ++i) {
        const Trigger &trigger = triggers->triggers[i];
        if (!TRIGGER_FOR_AFTER(trigger.tgtype) && (trigger.tgtype & events) != 0 && trigger_fires(trigger.tgenabled) &&
            !(partitioned && TRIGGER_FOR_ROW(trigger.tgtype)))
            add_cause(causes, false, description(TriggerRelationId, trigger.tgoid));
    }
    FreeTriggerDesc(triggers);
}

// All of the table's that have a say in such statements: which of them are the role's, and whether they are missing, is
// more than an error must say.
const char *policies(Relation relation, int events) {
    StringInfoData text;
    initStringInfo(&text);
    appendStringInfo(&text, "row security of %s", description(RelationRelationId, RelationGetRelid(relation)));
    const char *separator = " (policies ";
    const List *all = relation->rd_rsdesc != nullptr ? relation->rd_rsdesc->policies : NIL;
    ListCell *cell;
    foreach (cell, all) {
        const auto *policy = static_cast<const RowSecurityPolicy *>(lfirst(cell));
        const bool concerned = policy->polcmd == '*' || policy->polcmd == ACL_SELECT_CHR ||
                               (policy->polcmd == ACL_INSERT_CHR && (events & TRIGGER_TYPE_INSERT) != 0) ||
                               (policy->polcmd == ACL_UPDATE_CHR && (events & TRIGGER_TYPE_UPDATE) != 0) ||
                               (policy->polcmd == ACL_DELETE_CHR && (events & TRIGGER_TYPE_DELETE) != 0);
        if (!concerned)
            continue;
        appendStringInfo(&text, "%s%s", separator, quote_identifier(policy->policy_name));
        separator = ", ";
    }
    if (separator[0] == ',')
        appendStringInfoChar(&text, ')');
    return text.data;
}

void add_rules_and_policies(Causes *causes, Relation relation, int events) {
    // Their numbers first: describing one takes in invalidations, after which the relation may have others.
    const RuleLock *rules = relation->rd_rules;
    List *firing = NIL;
    for (int i = 0; rules != nullptr && i < rules->numLocks; ++i) {
        const RewriteRule *rule = rules->rules[i];
        const int event = rule->event == CMD_INSERT   ? TRIGGER_TYPE_INSERT
                          : rule->event == CMD_UPDATE ? TRIGGER_TYPE_UPDATE
                          : rule->event == CMD_DELETE ? TRIGGER_TYPE_DELETE
                                                      : 0;
        if ((event & events) != 0 && trigger_fires(rule->enabled))
            firing = lappend_oid(firing, rule->ruleId);
    }
    ListCell *cell;
    foreach (cell, firing)
        add_cause(causes, false, description(RewriteRelationId, lfirst_oid(cell)));
    list_free(firing);
    if (has_policies(relation))
        add_cause(causes, true, policies(relation, events));
    if (!is_table(relation))
        add_cause(causes, false, description(RelationRelationId, RelationGetRelid(relation)));
}

Causes find_causes(Call *call, const Parent &parent, const Outcome &delta) {
    const int events = (delta.counts.inserted > 0 ? TRIGGER_TYPE_INSERT : 0) |
                       (delta.counts.updated > 0 ? TRIGGER_TYPE_UPDATE : 0) |
                       (delta.counts.deleted > 0 ? TRIGGER_TYPE_DELETE : 0);
    Causes causes = {};
    initStringInfo(&causes.text);
    add_rules_and_policies(&causes, call->reference, events);
    add_triggers(&causes, call->reference, events);
    if (call->reference->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
        return causes;
    // Triggers of the row are the partition's.
    if (Relation leaf = leaf_to_look_at(call, parent)) {
        if (!is_table(leaf))
            add_cause(&causes, false, description(RelationRelationId, RelationGetRelid(leaf)));
        add_triggers(&causes, leaf, events);
        table_close(leaf, NoLock);
        return causes;
    }
    ListCell *cell;
    foreach (cell, find_all_inheritors(RelationGetRelid(call->reference), AccessShareLock, nullptr)) {
        Relation partition = table_open(lfirst_oid(cell), NoLock);
        if (partition->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
            add_triggers(&causes, partition, events);
        table_close(partition, NoLock);
    }
    return causes;
}

// "Given but not stored: 2, the first of alias (1, 102)"
void describe_first(StringInfo text, std::span<const Change> changes, const Outcome &now, Action action,
                    const char *what) {
    const auto is = [action](const Change &change) { return change.action == action; };
    const auto n = std::count_if(changes.begin(), changes.end(), is);
    if (n == 0)
        return;
    const Change &first = *std::find_if(changes.begin(), changes.end(), is);
    int16 key;
    int64 id;
    if (first.given >= 0) {
        const Reference &given = now.given[static_cast<std::size_t>(first.given)];
        key = given.partition_key;
        id = given.alias_id;
    } else {
        const StoredReference &stored = now.stored[static_cast<std::size_t>(first.stored)];
        key = stored.partition_key;
        id = stored.alias_id;
    }
    appendStringInfo(text, "%s%s: %ld, the first of alias (%d, %lld)", text->len > 0 ? "; " : "", what,
                     static_cast<long>(n), key, static_cast<long long>(id));
}

[[noreturn]] void raise_not_equal(Call *call, const Parent &parent, const Outcome &delta, const Outcome &now) {
    StringInfoData detail;
    initStringInfo(&detail);
    describe_first(&detail, now.changes, now, Action::insert, "Given but not stored");
    describe_first(&detail, now.changes, now, Action::remove, "Stored but not given");
    describe_first(&detail, now.changes, now, Action::update, "Stored with another target");
    const Causes causes = find_causes(call, parent, delta);
    const long long id = parent.id;
    if (causes.n == 0)
        // Nothing of the table's own. The document's lock keeps other calls away, not SQL that goes past them.
        ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
                        errmsg("could not write the references of document (%d, %lld) due to concurrent update",
                               parent.key, id),
                        errdetail("%s.", detail.data), errhint("The transaction might succeed if retried.")));
    ereport(
        ERROR,
        (errcode(causes.policies_only ? ERRCODE_INSUFFICIENT_PRIVILEGE : ERRCODE_TRIGGERED_ACTION_EXCEPTION),
         errmsg("the references stored for document (%d, %lld) are not the given ones", parent.key, id),
         errdetail("%s. What decides of rows here: %s.", detail.data, causes.text.data),
         causes.policies_only
             ? errhint("What a role may see, insert, update and delete of a document's references must be the same.")
             : errhint("What is named there must let the rows be written as they are given."),
         errtable(call->reference)));
    pg_unreachable();
}

} // namespace

bool may_write_otherwise(Call *call, const Parent &parent) {
    const Relation root = call->reference;
    if (!is_table(root) || root->rd_rules != nullptr || has_triggers_before(root->trigdesc) || has_policies(root))
        return true;
    if (root->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
        return false;
    if (call->leaf.relation != nullptr)
        return has_triggers_before(call->leaf.relation->trigdesc);
    Relation leaf = leaf_to_look_at(call, parent);
    if (leaf == nullptr)
        return true;
    const bool may = !is_table(leaf) || has_triggers_before(leaf->trigdesc);
    table_close(leaf, NoLock);
    return may;
}

void require_equal(Call *call, const Parent &parent, const Outcome &delta) {
    refresh_snapshot(call);
    call->has_written = false;
    Outcome now = {};
    now.given = delta.given;
    now.stored = read_stored_set(call, parent, delta.given.size(), call->snapshot);
    const auto room = allocate<Change>(call->scratch, now.given.size() + now.stored.size());
    now.changes = diff(now.given, now.stored, room, now.counts);
    if (!now.counts.unchanged())
        raise_not_equal(call, parent, delta, now);
}

} // namespace dms_refs
