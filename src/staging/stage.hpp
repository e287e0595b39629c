// Stages: foreign tables whose rows live in this backend. Which there are, what they are made of, and what
// transactions do to them.
//
// A stage's rows are one Content. A (sub)transaction that changes a stage first leaves a mark: how far the content
// was filled then, and what its rows were made of. Rolling back goes back to the mark; a committed subtransaction
// leaves its mark to its parent or drops it where the parent has one. TRUNCATE takes a new content and keeps the old
// one only while a mark needs it. Whether a stage is emptied by a commit is looked up at the commit, where the stage
// was altered.
//
// State: one Stage a foreign table that this backend has used, in a hash table under the backend's one staging context,
// until the table is found to be gone. No locks beyond those the statement holds on the foreign table. On error the
// transaction rolls back, and the callbacks go back to the marks.
#pragma once

#include "staging/rows.hpp"

namespace dms_refs::staging {

struct Mark {
    int level; // of nesting: 1 is the transaction itself
    Content *content;
    Definition *definition; // the content's
    Fill fill;
    uint64 deletions;
    int64 live;
};

struct Stage {
    Oid relation;  // the hash key: first
    bool checked;  // definition agrees with the relation; false after the server said that it changed
    bool preserve; // on_commit
    bool exists;   // false: dropped by this transaction
    MemoryContext context;
    Definition *definition;  // of the relation as it was last seen
    Definition *definitions; // list: all that are kept
    Content *content;        // NULL: no rows
    Content *retired;        // list: contents that marks need
    std::span<Mark> marks;
    int mark_count; // 0: unchanged in this transaction
    Stage *next_changed;
    Size peak_bytes;
};
static_assert(std::is_trivially_copyable_v<Stage>);

void register_callbacks();
void register_statistics(); // of columns, for the planner
void register_plan_check(); // that it believes no constraint that rows do not fit

// The stage of an open foreign table. Errors: 42703 and others for a bad key, 55000 where the table was altered in
// a way that the rows staged do not fit.
Stage *open_stage(Relation relation);

// Before anything is changed.
Content *content_to_change(Stage *stage);
void note_peak(Stage *stage);
void truncate(Stage *stage);

// DISCARD: all stages of this session.
void discard_all();

// The stage of a relation, as far as this backend knows one. Does not raise.
Stage *known_stage(Oid relation);
// The same for views: not one that was dropped and left its OID to this relation.
const Stage *current_stage(Oid relation);

inline int64 live_rows(const Stage *stage) {
    return stage->content == nullptr ? 0 : stage->content->live;
}

// Options of the foreign table.
struct Options {
    List *key; // names as char *; NIL: none
    bool preserve;
};
Options read_options(List *definitions);

// Builds a definition, in a context of its own under parent.
Definition *make_definition(Relation relation, List *key, MemoryContext parent);
Creation creation_of(Oid relation);
inline bool same_creation(Creation a, Creation b) {
    return a.transaction == b.transaction && a.row_type == b.row_type;
}
std::span<ColumnShape> shapes_of(TupleDesc columns, MemoryContext context);
bool same_definition(const Definition *a, const Definition *b);
// Whether rows made under one definition can be read under another, whose relation it is: NULL, or what is in the way.
const char *obstacle(const Definition *rows, const Definition *now, TupleDesc columns);

// Of a definition: the types of values and the constraints. Locks row types.
void note_dependencies(Definition *definition, Relation relation);
bool same_dependencies(const Definition *a, const Definition *b);
const char *obstacle_in_dependencies(const Definition *rows, const Definition *now, TupleDesc columns);
// Leaves those that old rows were checked against, too. Whether any had to go.
bool keep_common_constraints(Definition *now, const Definition *rows);
// Nobody alters row types while a transaction uses values of them; nor does this session while a statement does.
void lock_types(const Definition *definition);
List *hold_types(const Definition *definition);
void release_types(List *held);

// Looks at a stage's rows before the planner does, where the relation is a stage or a parent of one.
void check_before_planning(Oid relation, bool is_parent);

// The foreign-data wrapper's functions.
FdwRoutine *wrapper();
void set_planner_functions(FdwRoutine *routine);
void set_scan_functions(FdwRoutine *routine);
void set_modify_functions(FdwRoutine *routine);

// What a plan says to its scan: ForeignScan.fdw_private.
enum class PlanItem : int { rows, hash_functions };

} // namespace dms_refs::staging
