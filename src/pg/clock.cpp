// Two clocks, compared about once a second: see clock.hpp.
#include "pg/clock.hpp"

#include <ctime>

#ifdef __x86_64__
#include <x86intrin.h>
#endif

namespace dms_refs {

namespace {

constexpr int64 second = 1'000'000'000;

struct Comparison {
    int64 ns; // of the kernel's clock, 0: there was none yet
    uint64 ticks;
    TimestampTz timestamp;
};
Comparison last;

bool has_counter = false;
double measured_rate = 0; // nanoseconds a tick, between the last two comparisons
double rate = 0;          // to be used; 0: not certain

uint64 ticks() {
#ifdef __x86_64__
    return __rdtsc();
#else
    return 0;
#endif
}

// The counter's rate is believed when two periods in a row agree. The kernel's clock is corrected by less than that.
// A machine that was suspended or moved to another in between disagrees with what was before.
void take_rate(double measured) {
    const double ratio = measured / measured_rate;
    rate = ratio > 0.999 && ratio < 1.001 ? measured : 0;
    measured_rate = measured;
}

int64 kernel_ns() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const int64 ns = static_cast<int64>(now.tv_sec) * second + now.tv_nsec;
    if (last.ns == 0 || ns - last.ns > second) {
        const Comparison comparison = {ns, ticks(), GetCurrentTimestamp()};
        if (has_counter && last.ns != 0)
            take_rate(static_cast<double>(ns - last.ns) / static_cast<double>(comparison.ticks - last.ticks));
        last = comparison;
    }
    return ns;
}

} // namespace

void start_clock() {
#ifdef __x86_64__
    // The kernel uses the counter itself where it has found that it runs evenly and alike on all processors.
    char source[4] = {};
    if (FILE *file = AllocateFile("/sys/devices/system/clocksource/clocksource0/current_clocksource", PG_BINARY_R)) {
        has_counter = fread(source, 1, sizeof source, file) == sizeof source && memcmp(source, "tsc\n", 4) == 0;
        FreeFile(file);
    }
#endif
    (void)kernel_ns();
}

int64 clock_ns() {
    if (rate > 0) {
        const double since = static_cast<double>(static_cast<int64>(ticks() - last.ticks)) * rate;
        if (since >= 0 && since < static_cast<double>(second))
            return last.ns + static_cast<int64>(since);
    }
    return kernel_ns();
}

TimestampTz time_of_day(int64 clock) {
    return last.timestamp + (clock - last.ns) / 1000;
}

} // namespace dms_refs
