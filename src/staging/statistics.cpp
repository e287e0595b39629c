// Statistics of staged columns for the planner, as ANALYZE would have made them, computed when it first asks.
//
// The server asks for a column's pg_statistic row through a hook; for a column of a stage with rows it gets one that
// was never stored. It is computed by ANALYZE's own code over a sample, once a column, and again when a tenth of the
// rows have changed.
//
// State: a list of computed rows in the content's memory, gone with it; the hook that was there before ours. No locks.
// On error nothing has been added to the list.
#include "staging/stage.hpp"

namespace dms_refs::staging {
namespace {

get_relation_stats_hook_type hook_before = nullptr;

constexpr int64 sample_size = 3000;

Datum fetch(VacAttrStats *stats, int row, bool *is_null) {
    return heap_getattr(stats->rows[row], stats->tupattnum, stats->tupDesc, is_null);
}

// Live rows of the whole stage, one out of each stretch of equal length.
std::span<HeapTuple> sample(const Content *content, std::span<HeapTupleData> tuples) {
    const auto chosen = allocate<HeapTuple>(CurrentMemoryContext, tuples.size());
    Scan scan = begin_scan(content, never - 1);
    ItemPointerData address;
    Size n = 0;
    int64 seen = 0;
    uint32 random = 12345;
    int64 next = 0;
    const int64 stretch = (content->live + sample_size - 1) / sample_size;
    while (const Row *row = next_row(&scan, &address)) {
        if (row->deleted == 0 && seen == next && n < tuples.size()) {
            tuples[n] = tuple_of(row, InvalidOid, address);
            chosen[n] = &tuples[n];
            ++n;
        }
        if (row->deleted != 0)
            continue;
        if (++seen % stretch == 0) {
            random = random * 1664525 + 1013904223;
            next = seen + (random >> 16) % stretch;
        }
    }
    return chosen.first(n);
}

HeapTuple form_row(const VacAttrStats *stats, Oid relation, Relation catalog) {
    Datum values[Natts_pg_statistic] = {};
    bool nulls[Natts_pg_statistic] = {};
    values[Anum_pg_statistic_starelid - 1] = ObjectIdGetDatum(relation);
    values[Anum_pg_statistic_staattnum - 1] = Int16GetDatum(static_cast<int16>(stats->tupattnum));
    values[Anum_pg_statistic_stainherit - 1] = BoolGetDatum(false);
    values[Anum_pg_statistic_stanullfrac - 1] = Float4GetDatum(stats->stanullfrac);
    values[Anum_pg_statistic_stawidth - 1] = Int32GetDatum(stats->stawidth);
    values[Anum_pg_statistic_stadistinct - 1] = Float4GetDatum(stats->stadistinct);
    for (int k = 0; k < STATISTIC_NUM_SLOTS; ++k) {
        values[Anum_pg_statistic_stakind1 - 1 + k] = Int16GetDatum(stats->stakind[k]);
        values[Anum_pg_statistic_staop1 - 1 + k] = ObjectIdGetDatum(stats->staop[k]);
        values[Anum_pg_statistic_stacoll1 - 1 + k] = ObjectIdGetDatum(stats->stacoll[k]);
        nulls[Anum_pg_statistic_stanumbers1 - 1 + k] = stats->numnumbers[k] == 0;
        if (stats->numnumbers[k] > 0) {
            const auto numbers = allocate<Datum>(CurrentMemoryContext, stats->numnumbers[k]);
            for (int n = 0; n < stats->numnumbers[k]; ++n)
                numbers[n] = Float4GetDatum(stats->stanumbers[k][n]);
            values[Anum_pg_statistic_stanumbers1 - 1 + k] = PointerGetDatum(
                construct_array(numbers.data(), stats->numnumbers[k], FLOAT4OID, sizeof(float4), true, TYPALIGN_INT));
        }
        nulls[Anum_pg_statistic_stavalues1 - 1 + k] = stats->numvalues[k] == 0;
        if (stats->numvalues[k] > 0)
            values[Anum_pg_statistic_stavalues1 - 1 + k] =
                PointerGetDatum(construct_array(stats->stavalues[k], stats->numvalues[k], stats->statypid[k],
                                                stats->statyplen[k], stats->statypbyval[k], stats->statypalign[k]));
    }
    return heap_form_tuple(RelationGetDescr(catalog), values, nulls);
}

// NULL where the column's type has nothing to compute.
HeapTuple compute(const Content *content, Relation relation, AttrNumber number) {
    TupleDesc columns = RelationGetDescr(relation);
    const Form_pg_attribute column = TupleDescAttr(columns, number - 1);
    HeapTuple type = SearchSysCacheCopy1(TYPEOID, ObjectIdGetDatum(column->atttypid));
    if (!HeapTupleIsValid(type))
        return nullptr;
    auto *stats = static_cast<VacAttrStats *>(palloc0(sizeof(VacAttrStats)));
    compat::set_analysed_column(stats, column);
    stats->attrtypid = column->atttypid;
    stats->attrtypmod = column->atttypmod;
    stats->attrcollid = column->attcollation;
    stats->attrtype = reinterpret_cast<Form_pg_type>(GETSTRUCT(type));
    stats->anl_context = CurrentMemoryContext;
    stats->tupattnum = number;
    stats->tupDesc = columns;
    for (int k = 0; k < STATISTIC_NUM_SLOTS; ++k) {
        stats->statypid[k] = column->atttypid;
        stats->statyplen[k] = stats->attrtype->typlen;
        stats->statypbyval[k] = stats->attrtype->typbyval;
        stats->statypalign[k] = stats->attrtype->typalign;
    }
    if (!std_typanalyze(stats))
        return nullptr;
    const auto tuples = allocate<HeapTupleData>(CurrentMemoryContext, std::min(content->live, sample_size));
    const auto rows = sample(content, tuples);
    stats->rows = rows.data();
    stats->compute_stats(stats, fetch, static_cast<int>(rows.size()), static_cast<double>(content->live));
    if (!stats->stats_valid)
        return nullptr;
    Relation catalog = table_open(StatisticRelationId, AccessShareLock);
    HeapTuple row = form_row(stats, RelationGetRelid(relation), catalog);
    table_close(catalog, AccessShareLock);
    return row;
}

// The column's entry in the content's list; made where there is none.
ColumnStatistics *entry_of(Content *content, AttrNumber number) {
    for (ColumnStatistics *entry = content->statistics; entry != nullptr; entry = entry->next)
        if (entry->column == number)
            return entry;
    auto *entry = allocate<ColumnStatistics>(content->context, 1).data();
    *entry = {content->statistics, number, -1, nullptr};
    content->statistics = entry;
    return entry;
}

HeapTuple statistics_of(Content *content, Oid id, AttrNumber number) {
    ColumnStatistics *entry = entry_of(content, number);
    if (entry->changes >= 0 && content->changes - entry->changes <= content->live / 10)
        return entry->row;
    Relation relation = table_open(id, NoLock);
    MemoryContext scratch =
        AllocSetContextCreate(CurrentMemoryContext, "dms_refs stage sample", ALLOCSET_DEFAULT_SIZES);
    const MemoryContext before = MemoryContextSwitchTo(scratch);
    HeapTuple row = compute(content, relation, number);
    MemoryContextSwitchTo(content->context);
    HeapTuple old = entry->row;
    entry->row = row != nullptr ? heap_copytuple(row) : nullptr;
    entry->changes = content->changes;
    if (old != nullptr)
        heap_freetuple(old);
    MemoryContextSwitchTo(before);
    MemoryContextDelete(scratch);
    table_close(relation, NoLock);
    return entry->row;
}

bool relation_statistics(PlannerInfo *root, RangeTblEntry *entry, AttrNumber number, VariableStatData *data) {
    if (hook_before != nullptr && hook_before(root, entry, number, data))
        return true;
    if (entry->rtekind != RTE_RELATION || entry->relkind != RELKIND_FOREIGN_TABLE || number <= 0)
        return false;
    const Stage *stage = known_stage(entry->relid);
    if (stage == nullptr || !stage->checked || stage->content == nullptr || stage->content->live == 0)
        return false;
    HeapTuple row = statistics_of(stage->content, entry->relid, number);
    if (row == nullptr)
        return false;
    data->statsTuple = heap_copytuple(row);
    data->freefunc = heap_freetuple;
    data->acl_ok = pg_class_aclcheck(entry->relid, GetUserId(), ACL_SELECT) == ACLCHECK_OK;
    return true;
}

} // namespace

void register_statistics() {
    hook_before = get_relation_stats_hook;
    get_relation_stats_hook = relation_statistics;
}

} // namespace dms_refs::staging
