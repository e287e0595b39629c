// Recording calls: what the SQL functions and the engine say, and one record a call at its end, however it ends.
//
// State: a chain of the calls that are running, nested ones through triggers, each on its function's stack.
// Locks: none. Memory: at the first call of a kind (statistics.hpp). So a call that fails can be recorded where it is
// caught, while it may still hold locks of the server's.
#pragma once

#include "stats/statistics.hpp"

namespace dms_refs {

struct Recording {
    Recording *outer;
    Function function;
    bool tracked; // for the statistics; as the setting was when the call began
    bool counted; // also for the log or an EXPLAIN; false: only keeps a nested call's numbers from those around it
    bool timed;   // by phase, too
    bool by_sql;
    core::StatPath path;
    core::Phase phase;
    Oid relation;
    Origin origin; // of the relation
    TimestampTz started;
    int64 started_at; // monotonic, nanoseconds
    int64 phase_since;
    int64 phase_time[core::phases];
    int64 done; // references, for progress
    int64 total;
    core::DocumentCount sum; // of all documents, for the log and EXPLAIN
    core::CallCost before;   // the server's usage counters, no times
};
static_assert(std::is_trivially_destructible_v<Recording>);

// Whether calls are of interest to anybody: statistics, the log, or an EXPLAIN.
bool recording_wanted();
void begin_recording(Recording *recording, Function function);
void end_recording(Recording *recording, bool failed);

// --- said of the innermost call that is running ---

void record_relation(Relation relation);
void record_total(std::size_t references);
void record_phase(core::Phase phase);
void record_by_sql();
// One document that was compared or found invalid; in a batch there are many.
void record_document(core::StatPath path, const core::DocumentCount &document);
// References that a function without documents looked up.
void record_lookups(std::size_t given, std::size_t invalid);
// The call as a whole.
void record_path(core::StatPath path);

// --- said by staging, of one of its tables: no call ---

void record_staging(Oid relation, const core::StagingCount &count);

// Runs the body of an SQL function and records it. PG_TRY: a call that raises is a call, too, and which calls are
// running is state that the server cannot put right.
template <Datum (*body)(FunctionCallInfo)> Datum recorded(FunctionCallInfo fcinfo, Function function) {
    if (!recording_wanted())
        return body(fcinfo);
    Recording recording;
    begin_recording(&recording, function);
    volatile Datum result = static_cast<Datum>(0);
    PG_TRY();
    { result = body(fcinfo); }
    PG_CATCH();
    {
        end_recording(&recording, true);
        PG_RE_THROW();
    }
    PG_END_TRY();
    end_recording(&recording, false);
    return result;
}

// --- explain.cpp: the same record, for EXPLAIN (DMS_REFS), where the server has such options ---

struct CallLine {
    Function function;
    Oid relation;
    core::StatPath path;
    bool by_sql;
    int64 calls;
    core::DocumentCount sum;
    core::CallCost cost;
};

// Whether an EXPLAIN collects calls, and one more for it.
bool explaining();
void explain_call(const CallLine &line);
void register_explain_option();

// "insert_references on dms.reference: path=…", in the current memory context.
char *describe(const CallLine &line);

} // namespace dms_refs
