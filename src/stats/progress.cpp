// Publishing what runs: see progress.hpp.
#include "stats/progress.hpp"

namespace dms_refs {

namespace {

// Each in cache lines of its own: neighbours write theirs at every call.
struct alignas(PG_CACHE_LINE_SIZE) Slot {
    uint32 changes; // odd while it is being written
    Running running;
};

Slot *slots = nullptr;
shmem_request_hook_type previous_request = nullptr;
shmem_startup_hook_type previous_startup = nullptr;

Size size() {
    return mul_size(sizeof(Slot), static_cast<Size>(MaxBackends));
}

void request() {
    if (previous_request != nullptr)
        previous_request();
    RequestAddinShmemSpace(size());
}

void startup() {
    if (previous_startup != nullptr)
        previous_startup();
    LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
    bool found;
    slots = static_cast<Slot *>(ShmemInitStruct("dms_refs running calls", size(), &found));
    if (!found)
        memset(static_cast<void *>(slots), 0, size());
    LWLockRelease(AddinShmemInitLock);
}

// NULL where there is none. A process keeps its number, so it looks for its slot once.
volatile Slot *own_slot() {
    static Slot *own = nullptr;
    if (likely(own != nullptr))
        return own;
    const int number = compat::my_proc_number();
    Assert(number >= 0);
    if (slots != nullptr && number < MaxBackends)
        own = &slots[number];
    return own;
}

// A member that is written at once leaves the others as true as they were: it needs no change count.
template <class T> void set(T Running::*member, T value) {
    if (volatile Slot *slot = own_slot())
        slot->running.*member = value;
}

} // namespace

void preload_progress() {
    previous_request = shmem_request_hook;
    shmem_request_hook = request;
    previous_startup = shmem_startup_hook;
    shmem_startup_hook = startup;
}

void publish(const Running &running) {
    volatile Slot *slot = own_slot();
    if (slot == nullptr)
        return;
    Assert(slot->changes % 2 == 0); // nobody else writes it
    slot->changes = slot->changes + 1;
    pg_write_barrier();
    *const_cast<Running *>(&slot->running) = running;
    pg_write_barrier();
    slot->changes = slot->changes + 1;
}

void publish_phase(core::Phase phase) {
    set(&Running::phase, phase);
}

void publish_relation(Oid relation) {
    set(&Running::relation, relation);
}

void publish_done(int64 references) {
    set(&Running::done, references);
}

void publish_total(int64 references) {
    set(&Running::total, references);
}

void publish_nothing() {
    set(&Running::pid, 0);
}

std::span<Running> running_calls(MemoryContext context) {
    if (slots == nullptr)
        return {};
    const auto found = allocate<Running>(context, static_cast<std::size_t>(MaxBackends));
    std::size_t n = 0;
    for (int i = 0; i < MaxBackends; ++i) {
        volatile Slot *slot = &slots[i];
        for (;;) {
            CHECK_FOR_INTERRUPTS();
            const uint32 before = slot->changes;
            pg_read_barrier();
            found[n] = *const_cast<Running *>(&slot->running);
            pg_read_barrier();
            if (before == slot->changes && before % 2 == 0)
                break;
        }
        // A backend that was terminated within a call left its slot as it was.
        if (found[n].pid != 0 && BackendPidGetProc(found[n].pid) != nullptr)
            ++n;
    }
    return found.first(n);
}

} // namespace dms_refs
