// Counting the memory of stages: see memory.hpp.
#include "staging/memory.hpp"

#include "stats/recorder.hpp"

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace dms_refs::staging {
namespace {

Size taken = 0;              // by all stages of this backend
Size freed = 0;              // since memory was given back to the system
bool was_short = false;      // somebody was refused memory
bool leaves_on_exit = false; // the shared sum will be told
pg_atomic_uint64 *shared_sum = nullptr;
shmem_request_hook_type previous_request = nullptr;
shmem_startup_hook_type previous_startup = nullptr;

constexpr Size update_share = 16; // the last sixteenth of the bound is for updates
constexpr Size worth_trimming = 4 * 1024 * 1024;

void request() {
    if (previous_request != nullptr)
        previous_request();
    RequestAddinShmemSpace(sizeof(pg_atomic_uint64));
}

void startup() {
    if (previous_startup != nullptr)
        previous_startup();
    LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
    bool found;
    shared_sum =
        static_cast<pg_atomic_uint64 *>(ShmemInitStruct("dms_refs staging memory", sizeof(pg_atomic_uint64), &found));
    if (!found)
        pg_atomic_init_u64(shared_sum, 0);
    LWLockRelease(AddinShmemInitLock);
}

// The transaction's end comes after this, and frees rows that nobody counts any more.
void leave(int, Datum) {
    pg_atomic_fetch_sub_u64(shared_sum, taken);
    shared_sum = nullptr;
}

Size bound(Need need) {
    const Size all = static_cast<Size>(settings.staging_memory) * 1024;
    return need == Need::insertion ? all - all / update_share : all;
}

Size session_left(Need need) {
    const Size all = bound(need);
    return all - std::min(all, taken);
}

Size total_left(Size sum) {
    if (settings.staging_memory_total < 0)
        return SIZE_MAX;
    const Size all = static_cast<Size>(settings.staging_memory_total) * 1024;
    return all - std::min(all, sum);
}

// Of the sum of all sessions, or of this one where there is no other.
Size sum_taken() {
    return shared_sum != nullptr ? pg_atomic_read_u64(shared_sum) : taken;
}

// Counts so many bytes more in all sessions; false where the bound would be passed.
bool claim(Size bytes, Need need) {
    if (shared_sum == nullptr)
        return need == Need::deletion || bytes <= total_left(taken);
    if (!leaves_on_exit) {
        before_shmem_exit(leave, static_cast<Datum>(0));
        leaves_on_exit = true;
    }
    const Size before = pg_atomic_fetch_add_u64(shared_sum, static_cast<int64>(bytes));
    if (need == Need::deletion || bytes <= total_left(before))
        return true;
    pg_atomic_fetch_sub_u64(shared_sum, static_cast<int64>(bytes));
    return false;
}

void note_overflow(Oid stage) {
    was_short = true;
    core::StagingCount overflow = {};
    overflow.overflows = 1;
    record_staging(stage, overflow);
}

[[noreturn]] void report_session(Size bytes, Need need) {
    ereport(ERROR,
            (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("staging memory is exhausted"),
             errdetail(
                 "The stages of this session hold %zu kB, %zu more are needed, and dms_refs.staging_memory is %d kB%s.",
                 taken / 1024, (bytes + 1023) / 1024, settings.staging_memory,
                 need == Need::insertion ? ", a sixteenth of which is left to updates" : ""),
             errhint("Delete rows or empty stages that are done with, write in smaller portions, each in a transaction "
                     "of its own, or raise dms_refs.staging_memory.")));
}

[[noreturn]] void report_total(Size bytes) {
    ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("staging memory of all sessions is exhausted"),
                    errdetail("The stages of this session hold %zu kB, %zu more are needed, and "
                              "dms_refs.staging_memory_total is %d kB.",
                              taken / 1024, (bytes + 1023) / 1024, settings.staging_memory_total),
                    errhint("Delete rows or empty stages that are done with, in this session or in others.")));
}

} // namespace

Size memory_left(Need need) {
    return std::min(session_left(need), total_left(sum_taken()));
}

void *take_memory(MemoryContext context, Oid stage, Size bytes, Size counted, Need need, bool required) {
    if (need != Need::deletion && counted > session_left(need)) {
        if (!required)
            return nullptr;
        note_overflow(stage);
        report_session(counted, need);
    }
    void *memory = MemoryContextAllocHuge(context, bytes);
    if (!claim(counted, need)) {
        pfree(memory);
        if (!required)
            return nullptr;
        note_overflow(stage);
        report_total(counted);
    }
    taken += counted;
    return memory;
}

void gave_memory_back(Size bytes) noexcept {
    Assert(bytes <= taken);
    taken -= bytes;
    freed += bytes;
    if (shared_sum != nullptr)
        pg_atomic_fetch_sub_u64(shared_sum, static_cast<int64>(bytes));
}

bool memory_is_short() noexcept {
    const bool was = was_short;
    was_short = false;
    return was || (taken > 0 && memory_left(Need::insertion) == 0);
}

// The C library keeps what was freed, for the next allocation of this process. Its threshold for giving large blocks
// back at once grows with each of them, so asking is the only way that is sure.
void trim_memory() noexcept {
    if (freed < worth_trimming)
        return;
    freed = 0;
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

void preload_staging_memory() {
    previous_request = shmem_request_hook;
    shmem_request_hook = request;
    previous_startup = shmem_startup_hook;
    shmem_startup_hook = startup;
}

} // namespace dms_refs::staging
