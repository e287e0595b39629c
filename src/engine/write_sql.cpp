// The delta written by SQL statements: deletes, then updates, then inserts, each in alias order.
//
// Always right, whatever the tables are: the server does triggers, constraints, routing, row security. Each
// statement takes its own snapshot and its AFTER triggers fire at its end.
#include "engine/engine.hpp"
#include "engine/statements.hpp"

namespace dms_refs {

using namespace core;

namespace {

std::span<Change> changes_of(Call *call, const Outcome &delta, Action action) {
    const auto room = allocate<Change>(call->scratch, delta.changes.size());
    const auto end = std::copy_if(delta.changes.begin(), delta.changes.end(), room.begin(),
                                  [action](const Change &change) { return change.action == action; });
    return room.first(static_cast<std::size_t>(end - room.begin()));
}

// Whether nothing but the server's own code runs when the statement does: not known of tables whose partition has not
// been looked at.
bool runs_servers_code_only(Call *call, Statement statement) {
    const Leaf &leaf = call->leaf.leaf;
    if (!OidIsValid(leaf.relation) || leaf.not_writable != nullptr || call->reference->rd_rel->relrowsecurity)
        return false;
    switch (statement) {
    case Statement::delete_rows: return !leaf.user_code.on_delete;
    case Statement::update_rows: return !leaf.user_code.on_update;
    case Statement::insert_rows: return !leaf.user_code.on_insert;
    default: return false;
    }
}

// Whether it wrote as many rows.
bool write_rows(Call *call, Statement statement, std::span<const Datum> arguments, std::size_t rows) {
    const bool generic = runs_servers_code_only(call, statement);
    const int level = generic ? begin_generic_plans() : 0;
    const uint64 written = run_command(call->store, statement, arguments);
    if (generic)
        end_generic_plans(level);
    return written == rows;
}

// insert_rows and update_rows take the same arguments.
bool write_given(Call *call, const Parent &parent, const Outcome &delta, Action action, Statement statement) {
    const auto changes = changes_of(call, delta, action);
    const auto given = [&delta](const Change &change) -> const Reference & {
        return delta.given[static_cast<std::size_t>(change.given)];
    };
    const Datum arguments[] = {
        Int16GetDatum(parent.key),
        Int64GetDatum(parent.id),
        array_of(call->scratch, changes, INT8OID, [&](const Change &c) { return Int64GetDatum(given(c).alias_id); }),
        array_of(call->scratch, changes, INT2OID,
                 [&](const Change &c) { return Int16GetDatum(given(c).partition_key); }),
        array_of(call->scratch, changes, INT2OID,
                 [&](const Change &c) { return Int16GetDatum(given(c).document_key); }),
        array_of(call->scratch, changes, INT8OID,
                 [&](const Change &c) { return Int64GetDatum(given(c).document_id); })};
    return write_rows(call, statement, arguments, changes.size());
}

} // namespace

bool update_by_sql(Call *call, const Parent &parent, const Outcome &delta) {
    return write_given(call, parent, delta, Action::update, Statement::update_rows);
}

bool insert_by_sql(Call *call, const Parent &parent, const Outcome &delta) {
    return write_given(call, parent, delta, Action::insert, Statement::insert_rows);
}

bool delete_by_sql(Call *call, const Parent &parent, const Outcome &delta) {
    const auto changes = changes_of(call, delta, Action::remove);
    const Datum arguments[] = {Int16GetDatum(parent.key), Int64GetDatum(parent.id),
                               array_of(call->scratch, changes, INT8OID, [&delta](const Change &c) {
                                   return Int64GetDatum(delta.stored[static_cast<std::size_t>(c.stored)].alias_id);
                               })};
    return write_rows(call, Statement::delete_rows, arguments, changes.size());
}

} // namespace dms_refs
