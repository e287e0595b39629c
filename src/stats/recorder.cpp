// Recording calls: see recorder.hpp.
#include "stats/recorder.hpp"

#include "pg/clock.hpp"
#include "stats/progress.hpp"
#include "stats/shared_table.hpp"

#include <array>

namespace dms_refs {

using namespace core;

namespace {

Recording *innermost = nullptr;

// The counters that this backend used last, by key: finding them in the storage costs more than adding to them.
struct Recent {
    StatKey key;
    CallCounters *counters;
};
std::array<Recent, 8> recents;

CallCounters *counters_of(const StatKey &key, const Origin &origin) {
    const std::size_t hash = key.relation * 31U + static_cast<std::size_t>(key.path) * 7U +
                             static_cast<std::size_t>(key.function) + (key.by_sql ? 4U : 0U);
    Recent &recent = recents[hash % recents.size()];
    if (recent.counters == nullptr || !(recent.key == key))
        recent = {key, counters_for(key, origin)};
    return recent.counters;
}

CallCounters *counters_of(const Recording &recording, StatPath path) {
    return counters_of({MyDatabaseId, recording.relation, recording.function, path, recording.by_sql, 0},
                       recording.origin);
}

void show(const Recording &recording) {
    publish({MyProcPid, MyDatabaseId, recording.relation, recording.function, recording.phase, recording.done,
             recording.total, recording.started});
}

// The server's usage counters as they stand.
CallCost usage() {
    CallCost now = {};
    now.wal_records = pgWalUsage.wal_records;
    now.wal_full_page_images = pgWalUsage.wal_fpi;
    now.wal_bytes = static_cast<int64>(pgWalUsage.wal_bytes);
    now.blocks_hit = pgBufferUsage.shared_blks_hit;
    now.blocks_read = pgBufferUsage.shared_blks_read;
    now.blocks_dirtied = pgBufferUsage.shared_blks_dirtied;
    return now;
}

CallCost cost_of(const Recording &recording, int64 now) {
    CallCost cost = usage();
    cost.time = static_cast<double>(Max(now - recording.started_at, 0)) / 1e6;
    if (recording.timed)
        for (int i = 0; i < phases; ++i)
            cost.phase_time[i] = static_cast<double>(recording.phase_time[i]) / 1e6;
    cost.wal_records -= recording.before.wal_records;
    cost.wal_full_page_images -= recording.before.wal_full_page_images;
    cost.wal_bytes -= recording.before.wal_bytes;
    cost.blocks_hit -= recording.before.blocks_hit;
    cost.blocks_read -= recording.before.blocks_read;
    cost.blocks_dirtied -= recording.before.blocks_dirtied;
    return cost;
}

// Said by the next call: where it is found out, at the end of a transaction, nothing may fail.
[[gnu::cold]] void warn_full() {
    ereport(WARNING, (errmsg("dms_refs has no room for more statistics"),
                      errdetail("Calls of kinds that have no entry are counted together, as \"other\"."),
                      errhint("Raise dms_refs.stats_max, which is %d, and restart the server.", settings.stats_max)));
}

void switch_phase(Recording *recording, Phase phase, int64 now) {
    recording->phase_time[static_cast<int>(recording->phase)] += Max(now - recording->phase_since, 0);
    recording->phase_since = now;
    recording->phase = phase;
}

// To the EXPLAIN and the log that ask for it. Rarely: not to stand in the way of what every call runs through.
[[gnu::cold]] void tell(const Recording &recording, const CallCost &cost, bool failed) {
    const CallLine line = {
        recording.function, recording.relation, recording.path, recording.by_sql, 1, recording.sum, cost};
    if (explaining() && !failed)
        explain_call(line);
    if (settings.log_calls)
        ereport(LOG, (errmsg("%s", describe(line)), errhidestmt(true), errhidecontext(true)));
}

} // namespace

const char *function_name(Function function) {
    static constexpr std::array<const char *, static_cast<std::size_t>(Function::count)> names = {
        "",
        "insert_references",
        "sync_references",
        "diff_references",
        "sync_references_batch",
        "apply_resolved_references",
        "resolve_references",
        "find_invalid_references",
        "referencing_documents",
        "staging",
        "other"};
    static_assert(names.back() != nullptr);
    const auto n = static_cast<std::size_t>(function);
    return n < names.size() ? names[n] : "?";
}

void forget_counters() {
    recents = {};
}

bool recording_wanted() {
    return settings.track != track_none || settings.log_calls || innermost != nullptr || explaining();
}

void begin_recording(Recording *recording, Function function) {
    if (found_full())
        warn_full();
    *recording = {};
    recording->outer = innermost;
    recording->function = function;
    recording->path = StatPath::read;
    recording->tracked = settings.track == track_all || (settings.track == track_top && innermost == nullptr);
    recording->counted = recording->tracked || (innermost == nullptr && (settings.log_calls || explaining()));
    recording->timed = settings.track_timing || explaining();
    innermost = recording;
    if (!recording->counted)
        return;
    recording->before = usage();
    recording->started_at = recording->phase_since = clock_ns();
    recording->started = time_of_day(recording->started_at);
    show(*recording);
}

void end_recording(Recording *recording, bool failed) {
    innermost = recording->outer;
    if (!recording->counted)
        return;
    const int64 now = clock_ns();
    if (recording->timed)
        switch_phase(recording, Phase::none, now);
    if (failed)
        recording->path = StatPath::error;
    const CallCost cost = cost_of(*recording, now);
    if (recording->tracked) {
        if (CallCounters *counters = counters_of(*recording, recording->path))
            counters->add_call(cost, recording->started);
        else
            missed(1);
    }
    if (settings.log_calls || explaining())
        tell(*recording, cost, failed);
    if (innermost != nullptr && innermost->counted)
        show(*innermost);
    else
        publish_nothing();
}

void record_relation(Relation relation) {
    if (innermost == nullptr)
        return;
    innermost->relation = RelationGetRelid(relation);
    innermost->origin = origin_of(relation);
    if (innermost->counted)
        publish_relation(innermost->relation);
}

void record_total(std::size_t references) {
    if (innermost == nullptr || !innermost->counted)
        return;
    innermost->total = static_cast<int64>(references);
    publish_total(innermost->total);
}

void record_phase(Phase phase) {
    if (innermost == nullptr || !innermost->counted || innermost->phase == phase)
        return;
    if (innermost->timed)
        switch_phase(innermost, phase, clock_ns());
    else
        innermost->phase = phase;
    publish_phase(phase);
}

void record_by_sql() {
    if (innermost != nullptr)
        innermost->by_sql = true;
}

void record_document(StatPath path, const DocumentCount &document) {
    Recording *recording = innermost;
    if (recording == nullptr || !recording->counted)
        return;
    add_document(&recording->sum, document);
    recording->done += document.given;
    publish_done(recording->done);
    if (!recording->tracked)
        return;
    if (CallCounters *counters = counters_of(*recording, path))
        counters->add_document(document);
}

void record_lookups(std::size_t given, std::size_t invalid) {
    Recording *recording = innermost;
    if (recording == nullptr || !recording->counted)
        return;
    recording->sum.given += static_cast<int64>(given);
    recording->sum.invalid += static_cast<int64>(invalid);
    if (!recording->tracked)
        return;
    if (CallCounters *counters = counters_of(*recording, StatPath::read)) {
        counters->given += static_cast<int64>(given);
        counters->invalid += static_cast<int64>(invalid);
    }
}

void record_staging(Oid relation, const StagingCount &count) {
    if (settings.track == track_none)
        return;
    // In use, so the relation cache has it; only a stage that DISCARD finds may be gone.
    Relation open = RelationIdGetRelation(relation);
    if (!RelationIsValid(open))
        return;
    const Origin origin = origin_of(open);
    RelationClose(open);
    const StatKey key = {MyDatabaseId, relation, Function::staging, StatPath::read, false, 0};
    if (CallCounters *counters = counters_of(key, origin))
        counters->add_staging(count);
    else
        missed(1);
}

void record_path(StatPath path) {
    if (innermost != nullptr)
        innermost->path = path;
}

char *describe(const CallLine &line) {
    const char *schema = nullptr;
    const char *name = nullptr;
    // A failed transaction cannot look into the catalog.
    if (OidIsValid(line.relation) && line.path != StatPath::error) {
        name = get_rel_name(line.relation);
        schema = name != nullptr ? get_namespace_name(get_rel_namespace(line.relation)) : nullptr;
    }
    const char *relation =
        name != nullptr ? quote_qualified_identifier(schema, name) : psprintf("relation %u", line.relation);
    const DocumentCount &sum = line.sum;
    char *text = psprintf(
        "%s on %s: path=%s engine=%s calls=%lld given=%lld read=%lld inserted=%d updated=%d deleted=%d "
        "kept=%d invalid=%lld wal=%lld time=%.3f ms",
        function_name(line.function), relation, path_name(line.path), line.by_sql ? "sql" : "direct",
        static_cast<long long>(line.calls), static_cast<long long>(sum.given), static_cast<long long>(sum.stored),
        sum.changes.inserted, sum.changes.updated, sum.changes.deleted, sum.changes.kept,
        static_cast<long long>(sum.invalid), static_cast<long long>(line.cost.wal_bytes), line.cost.time);
    const double *time = line.cost.phase_time;
    if (time[static_cast<int>(Phase::resolve)] + time[static_cast<int>(Phase::read)] > 0)
        text = psprintf("%s resolve=%.3f ms read=%.3f ms apply=%.3f ms", text, time[static_cast<int>(Phase::resolve)],
                        time[static_cast<int>(Phase::read)], time[static_cast<int>(Phase::apply)]);
    return text;
}

} // namespace dms_refs
