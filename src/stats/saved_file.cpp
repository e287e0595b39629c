// The statistics' file: a clean shutdown writes it (dms_refs.stats_persist), the next start reads and removes it. After
// a crash there is none, so counters start at zero, as the server's own do.
//
// State: the file, and only in the server's first process. Layout: magic, version of the server, size of an entry,
// number of entries, entries. On error: nothing is read or kept, and the log says so.
#include "stats/shared_table.hpp"

#include <cstdio>

namespace dms_refs {

namespace {

constexpr const char *file_name = "pg_stat/dms_refs.stat";
constexpr const char *temporary_name = "pg_stat/dms_refs.stat.tmp";
constexpr uint32 file_magic = 0x44525303;

struct FileHeader {
    uint32 magic;
    uint32 version;
    uint32 entry_size;
    uint32 entries;
};

// An immediate shutdown ends the postmaster as an orderly one does: only the control file tells them apart.
bool shut_down_cleanly() {
    bool sound = false;
    ControlFileData *control = get_controlfile(DataDir, &sound);
    return sound && (control->state == DB_SHUTDOWNED || control->state == DB_SHUTDOWNED_IN_RECOVERY);
}

bool write_entry(const SavedEntry &entry, void *file) {
    return fwrite(&entry, sizeof entry, 1, static_cast<FILE *>(file)) == 1;
}

} // namespace

void load_table() {
    FILE *file = AllocateFile(file_name, PG_BINARY_R);
    if (file == nullptr)
        return;
    FileHeader header = {};
    bool sound = fread(&header, sizeof header, 1, file) == 1 && header.magic == file_magic &&
                 header.version == PG_VERSION_NUM / 10000 && header.entry_size == sizeof(SavedEntry);
    auto *entry = allocate<SavedEntry>(CurrentMemoryContext, 1).data();
    uint32 left_out = 0;
    for (uint32 i = 0; sound && i < header.entries; ++i) {
        sound = fread(entry, sizeof *entry, 1, file) == 1;
        if (sound && !put_saved(*entry))
            ++left_out;
    }
    pfree(entry);
    FreeFile(file);
    if (left_out > 0)
        ereport(LOG, (errmsg("dms_refs.stats_max is smaller than what was saved: %u entries are left out", left_out)));
    if (!sound)
        ereport(LOG, (errmsg("ignoring the invalid statistics file \"%s\"", file_name)));
    (void)unlink(file_name);
}

void save_table(int code, Datum) {
    if (code != 0 || !table_exists() || !settings.stats_persist || !shut_down_cleanly())
        return;
    FILE *file = AllocateFile(temporary_name, PG_BINARY_W);
    const FileHeader header = {file_magic, PG_VERSION_NUM / 10000, sizeof(SavedEntry), entries_to_save()};
    bool written =
        file != nullptr && fwrite(&header, sizeof header, 1, file) == 1 && for_each_to_save(write_entry, file);
    if (file != nullptr)
        written = FreeFile(file) == 0 && written;
    if (written)
        (void)durable_rename(temporary_name, file_name, LOG);
    else
        ereport(LOG, (errcode_for_file_access(), errmsg("could not write file \"%s\": %m", temporary_name)));
}

} // namespace dms_refs
