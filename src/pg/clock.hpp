// The time, cheaply, for measuring calls of a few microseconds.
//
// Reading the kernel's clock waits until all earlier loads have arrived. In a call that mostly waits for memory two
// such readings cost more than all the rest of counting it. The processor's own counter can be read without the wait,
// where the kernel trusts it too; how fast it runs is taken from the kernel's clock, anew about every second.
// State: the last comparison of the two, a backend's own. No locks. Reading raises no error; start_clock may, where the
// process has no file descriptor left.
#pragma once

#include "pg/postgres.hpp"

namespace dms_refs {

// From _PG_init.
void start_clock();

// Nanoseconds since some time in the past; differences have a meaning. A nanosecond in a thousand may be wrong, and
// a difference may be a few nanoseconds below zero.
int64 clock_ns();

// The time of day at a time that clock_ns() has just returned.
TimestampTz time_of_day(int64 clock);

} // namespace dms_refs
