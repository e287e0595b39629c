// When a backend's counters are merged into shared memory.
//
// Before PostgreSQL 18: when a top-level transaction ends. From 18 on a module can be told when the server flushes its
// own statistics: at the end of a transaction, at most once a second, when a session goes idle, and when it ends. For
// that, and for nothing else, the module registers a kind of cumulative statistics. The counters themselves are not
// kept there: the server would allocate each entry in dynamic shared memory, raising an error with its table's lock
// held where there is none left, and nothing would bound how many entries a role can make. State: none. No locks.
#include "stats/statistics.hpp"

namespace dms_refs {

#if PG_VERSION_NUM >= 180000

namespace {

// Kinds of extensions have the numbers 24 to 32, and a number must be ours alone on a server: 24 is for experiments,
// the server's tests use 25 and 26, and 28 and 29 are other extensions'.
constexpr PgStat_Kind kind = 27;
static_assert(kind >= PGSTAT_KIND_CUSTOM_MIN && kind <= PGSTAT_KIND_CUSTOM_MAX);

// Never waits, so nothing is ever left over.
bool flush(bool) {
    flush_counters();
    return false;
}

// In the order of the declaration, as g++ wants it. No entries, so nothing of ours gets into the server's statistics
// file.
constexpr PgStat_KindInfo kind_info = {
    .fixed_amount = false,
    .accessed_across_databases = false,
    .write_to_file = false,
    .shared_size = 0,
    .snapshot_ctl_off = 0,
    .shared_ctl_off = 0,
    .shared_data_off = 0,
    .shared_data_len = 0,
    .pending_size = 0,
    .init_backend_cb = nullptr,
    .flush_pending_cb = nullptr,
    .delete_pending_cb = nullptr,
    .reset_timestamp_cb = nullptr,
    .to_serialized_name = nullptr,
    .from_serialized_name = nullptr,
    .init_shmem_cb = nullptr,
    .flush_static_cb = flush,
    .reset_all_cb = nullptr,
    .snapshot_cb = nullptr,
    .name = "dms_refs",
};

} // namespace

void preload_flush() {
    pgstat_register_kind(kind, &kind_info);
}

void flush_soon() {
    pgstat_report_fixed = true;
}

#else

void preload_flush() {}

void flush_soon() {
    flush_counters();
}

#endif

} // namespace dms_refs
