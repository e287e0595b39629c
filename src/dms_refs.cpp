// The module's frame: magic block, settings, registration. Nothing else.
#include "engine/statements.hpp"
#include "functions/staging.hpp"
#include "pg/clock.hpp"
#include "pg/module.hpp"
#include "staging/memory.hpp"
#include "staging/stage.hpp"
#include "stats/progress.hpp"
#include "stats/recorder.hpp"
#include "stats/shared_table.hpp"
#include "store/store.hpp"

extern "C" {
PG_MODULE_MAGIC;
PGDLLEXPORT void _PG_init(void);
}

namespace dms_refs {

Settings settings;

namespace {

const config_enum_entry engine_choices[] = {
    {"auto", engine_auto, false}, {"direct", engine_direct, false}, {"sql", engine_sql, false}, {nullptr, 0, false}};
const config_enum_entry lock_parent_choices[] = {{"on_change", lock_on_change, false},
                                                 {"always", lock_always, false},
                                                 {"never", lock_never, false},
                                                 {nullptr, 0, false}};
const config_enum_entry duplicates_choices[] = {
    {"ignore", duplicates_ignore, false}, {"error", duplicates_error, false}, {nullptr, 0, false}};

const config_enum_entry track_choices[] = {
    {"none", track_none, false}, {"top", track_top, false}, {"all", track_all, false}, {nullptr, 0, false}};

void define_statistics_settings() {
    DefineCustomEnumVariable("dms_refs.track", "Which calls are counted in the statistics.",
                             "top: calls that are not made by another call's triggers; all: those, too; none: nothing.",
                             &settings.track, track_top, track_choices, PGC_SUSET, 0, nullptr, nullptr, nullptr);
    DefineCustomBoolVariable("dms_refs.track_timing", "Times the phases of each call: resolve, read, apply.", nullptr,
                             &settings.track_timing, false, PGC_SUSET, 0, nullptr, nullptr, nullptr);
    DefineCustomBoolVariable("dms_refs.log_calls", "Writes a line about each call to the server's log.",
                             "The line that EXPLAIN (ANALYZE, DMS_REFS) shows on PostgreSQL 18 and later.",
                             &settings.log_calls, false, PGC_SUSET, 0, nullptr, nullptr, nullptr);
    // Where the module is loaded later these two have no effect, but a configuration file may name them.
    const GucContext at_start = process_shared_preload_libraries_in_progress ? PGC_POSTMASTER : PGC_SIGHUP;
    DefineCustomIntVariable("dms_refs.stats_max", "Entries of the statistics: kinds of calls that are counted apart.",
                            "About 5 kB of shared memory each.", &settings.stats_max, 1000, 10, 1000000, at_start, 0,
                            nullptr, nullptr, nullptr);
    DefineCustomBoolVariable("dms_refs.stats_persist", "Keeps the statistics over a clean restart.", nullptr,
                             &settings.stats_persist, true, at_start, 0, nullptr, nullptr, nullptr);
}

void define_settings() {
    DefineCustomEnumVariable("dms_refs.engine", "How stores are read and written.",
                             "auto: natively where the tables allow it, else by SQL statements; direct: an error where "
                             "writes cannot be native; sql: SQL statements for everything.",
                             &settings.engine, engine_auto, engine_choices, PGC_USERSET, 0, nullptr, nullptr, nullptr);
    DefineCustomBoolVariable("dms_refs.native_fk_checks",
                             "Checks the store's own two foreign keys by locking the rows just looked up.",
                             "off leaves them to the server's foreign-key triggers.", &settings.native_fk_checks, true,
                             PGC_USERSET, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("dms_refs.alias_cache", "Alias row addresses that a backend remembers.",
                            "16 bytes each; an address is believed only after its row has been fetched and compared. "
                            "0 turns the cache off.",
                            &settings.alias_cache, 4096, 0, 16 * 1024 * 1024, PGC_USERSET, 0, nullptr, nullptr,
                            nullptr);
    DefineCustomEnumVariable(
        "dms_refs.lock_parent", "When a call locks its parent document FOR NO KEY UPDATE.",
        "on_change: before its first write; always: also where nothing changes; never: two writers "
        "of one document may leave a mix of their sets.",
        &settings.lock_parent, lock_on_change, lock_parent_choices, PGC_USERSET, 0, nullptr, nullptr, nullptr);
    DefineCustomEnumVariable("dms_refs.duplicate_references", "What happens when a call names a reference twice.",
                             nullptr, &settings.duplicate_references, duplicates_ignore, duplicates_choices,
                             PGC_USERSET, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("dms_refs.staging_memory", "Memory that the stages of a session may take.",
                            "A statement that needs more fails with 53200.", &settings.staging_memory, 64 * 1024, 64,
                            MAX_KILOBYTES, PGC_USERSET, GUC_UNIT_KB, nullptr, nullptr, nullptr);
    DefineCustomIntVariable(
        "dms_refs.staging_memory_total", "Memory that the stages of all sessions may take together.",
        "Where the module is not preloaded, of each session. -1: no bound.", &settings.staging_memory_total, -1, -1,
        MAX_KILOBYTES, PGC_SIGHUP, GUC_UNIT_KB, nullptr, nullptr, nullptr);
    define_statistics_settings();
    MarkGUCPrefixReserved("dms_refs");
}

// These three minor releases changed ResultRelInfo in place: a module built against a neighbour writes to the
// wrong fields.
void refuse_incompatible_server() {
    const char *version = GetConfigOption("server_version_num", false, false);
    for (const char *broken : {"150009", "160005", "170001"})
        if (strcmp(version, broken) == 0)
            ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                            errmsg("dms_refs cannot be loaded into this minor release of PostgreSQL"),
                            errhint("Install the next minor release: it restored the binary interface.")));
}

} // namespace
} // namespace dms_refs

extern "C" void _PG_init(void) {
    dms_refs::refuse_incompatible_server();
    dms_refs::define_settings();
    dms_refs::register_store_invalidation(dms_refs::end_statements);
    dms_refs::register_explain_option();
    dms_refs::start_clock();
    if (process_shared_preload_libraries_in_progress) {
        dms_refs::preload_table();
        dms_refs::preload_flush();
        dms_refs::preload_progress();
        dms_refs::staging::preload_staging_memory();
    }
    dms_refs::start_counting();
    dms_refs::watch_drops();
    dms_refs::staging::register_callbacks();
    dms_refs::staging::register_statistics();
    dms_refs::staging::register_plan_check();
    dms_refs::register_discard();
}
