// Differences between the server's versions, each as an inline function with the newest signature.
// The only file, besides the choice of the statistics back end, that looks at PG_VERSION_NUM.
#pragma once

#include "pg/postgres.hpp"

#if PG_VERSION_NUM < 150000
#error "dms_refs needs PostgreSQL 15 or newer"
#endif
// These three minor releases grew ResultRelInfo and broke every module built against their neighbours.
#if PG_VERSION_NUM == 150009 || PG_VERSION_NUM == 160005 || PG_VERSION_NUM == 170001
#error "this minor release has an incompatible ResultRelInfo; use the next one"
#endif

#if PG_VERSION_NUM >= 170000
extern "C" {
#include "utils/injection_point.h"
}
#endif

namespace dms_refs::compat {

// A place where a test may stop a session, through the server's extension injection_points. Nothing where the server is
// built without them.
inline void injection_point([[maybe_unused]] const char *name) {
#ifdef USE_INJECTION_POINTS
#if PG_VERSION_NUM >= 180000
    INJECTION_POINT(name, nullptr);
#else
    INJECTION_POINT(name);
#endif
#endif
}

inline IndexScanDesc index_beginscan(Relation heap, Relation index, Snapshot snapshot, int nkeys) {
#if PG_VERSION_NUM >= 190000
    return ::index_beginscan(heap, index, snapshot, nullptr, nkeys, 0, 0);
#elif PG_VERSION_NUM >= 180000
    return ::index_beginscan(heap, index, snapshot, nullptr, nkeys, 0);
#else
    return ::index_beginscan(heap, index, snapshot, nkeys, 0);
#endif
}

using TreeWalker = bool (*)(Node *node, void *context);

// Until 15 the server declares walkers without their arguments.
inline bool walk_expression(Node *node, TreeWalker walker, void *context) {
#if PG_VERSION_NUM >= 160000
    return expression_tree_walker_impl(node, walker, context);
#else
    return ::expression_tree_walker(node, reinterpret_cast<bool (*)()>(reinterpret_cast<void (*)()>(walker)), context);
#endif
}

// Inserts the index entries of a new row; returns the indexes to be checked again later.
inline List *insert_index_tuples(ResultRelInfo *info, TupleTableSlot *slot, EState *estate) {
#if PG_VERSION_NUM >= 190000
    return ::ExecInsertIndexTuples(info, estate, 0, slot, NIL, nullptr);
#elif PG_VERSION_NUM >= 160000
    return ::ExecInsertIndexTuples(info, slot, estate, false, false, nullptr, NIL, false);
#else
    return ::ExecInsertIndexTuples(info, slot, estate, false, false, nullptr, NIL);
#endif
}

// Gives the executor state a range table of one relation: constraint messages look the columns up there.
inline void init_range_table(EState *estate, RangeTblEntry *entry) {
    List *range_table = list_make1(entry);
#if PG_VERSION_NUM >= 160000
    List *permissions = NIL;
    addRTEPermissionInfo(&permissions, entry);
#endif
#if PG_VERSION_NUM >= 180000
    ExecInitRangeTable(estate, range_table, permissions, bms_make_singleton(1));
#elif PG_VERSION_NUM >= 160000
    ExecInitRangeTable(estate, range_table, permissions);
#else
    ExecInitRangeTable(estate, range_table);
#endif
}

inline Oid identity_sequence(Relation relation, AttrNumber column) {
#if PG_VERSION_NUM >= 170000
    return getIdentitySequence(relation, column, true);
#else
    return getIdentitySequence(RelationGetRelid(relation), column, true);
#endif
}

// Pins the buffer that held a page last time, where it still holds it.
inline bool read_recent_buffer(Relation relation, BlockNumber block, Buffer buffer) {
#if PG_VERSION_NUM >= 160000
    return ReadRecentBuffer(relation->rd_locator, MAIN_FORKNUM, block, buffer);
#else
    return ReadRecentBuffer(relation->rd_node, MAIN_FORKNUM, block, buffer);
#endif
}

// How often a buffer was used of late, as the clock sweep that looks for a buffer to evict counts it: 0 to 5. Without
// its header lock, so perhaps of another page by now.
inline unsigned buffer_usage(Buffer buffer) {
    BufferDesc *descriptor = GetBufferDescriptor(static_cast<uint32>(buffer - 1));
#if PG_VERSION_NUM >= 190000
    return static_cast<unsigned>(BUF_STATE_GET_USAGECOUNT(pg_atomic_read_u64(&descriptor->state)));
#else
    return BUF_STATE_GET_USAGECOUNT(pg_atomic_read_u32(&descriptor->state));
#endif
}

// old_snapshot_threshold went away in 17.
inline void test_for_old_snapshot([[maybe_unused]] Snapshot snapshot, [[maybe_unused]] Relation relation,
                                  [[maybe_unused]] Page page) {
#if PG_VERSION_NUM < 170000
    TestForOldSnapshot(snapshot, relation, page);
#endif
}

// This process's number in the shared array of processes; below MaxBackends for those that run SQL.
inline int my_proc_number() {
#if PG_VERSION_NUM >= 170000
    return MyProcNumber;
#else
    return MyProc->pgprocno;
#endif
}

inline AclResult schema_usage(Oid schema, Oid role) {
#if PG_VERSION_NUM >= 160000
    return object_aclcheck(NamespaceRelationId, schema, role, ACL_USAGE);
#else
    return pg_namespace_aclcheck(schema, role, ACL_USAGE);
#endif
}

// A path of a foreign scan without ordering, inner path or restrictions of its own.
inline ForeignPath *create_foreignscan_path(PlannerInfo *root, RelOptInfo *relation, double rows, Cost startup_cost,
                                            Cost total_cost, Relids required_outer, List *private_items) {
#if PG_VERSION_NUM >= 180000
    return ::create_foreignscan_path(root, relation, nullptr, rows, 0, startup_cost, total_cost, NIL, required_outer,
                                     nullptr, NIL, private_items);
#elif PG_VERSION_NUM >= 170000
    return ::create_foreignscan_path(root, relation, nullptr, rows, startup_cost, total_cost, NIL, required_outer,
                                     nullptr, NIL, private_items);
#else
    return ::create_foreignscan_path(root, relation, nullptr, rows, startup_cost, total_cost, NIL, required_outer,
                                     nullptr, private_items);
#endif
}

// Whether a constraint is checked at all, and whether rows from before it are known to fit: not every NOT NULL says
// that from 18 on.
inline bool is_enforced([[maybe_unused]] const ConstrCheck &check) {
#if PG_VERSION_NUM >= 180000
    return check.ccenforced;
#else
    return true;
#endif
}
inline bool not_null_holds([[maybe_unused]] TupleDesc columns, [[maybe_unused]] int column) {
#if PG_VERSION_NUM >= 180000
    return TupleDescCompactAttr(columns, column)->attnullability != ATTNULLABLE_INVALID;
#else
    return true;
#endif
}

// What ANALYZE's code looks at of a column beside its type: how much to gather.
inline void set_analysed_column(VacAttrStats *stats, [[maybe_unused]] Form_pg_attribute column) {
#if PG_VERSION_NUM >= 170000
    stats->attstattarget = default_statistics_target;
#else
    stats->attr = static_cast<Form_pg_attribute>(palloc(ATTRIBUTE_FIXED_PART_SIZE));
    memcpy(stats->attr, column, ATTRIBUTE_FIXED_PART_SIZE);
    stats->attr->attstattarget = default_statistics_target;
#endif
}

} // namespace dms_refs::compat
