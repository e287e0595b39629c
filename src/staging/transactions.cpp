// Stages of this backend, their marks, and what commit, rollback, savepoints and DISCARD do: see stage.hpp.
//
// State: the hash table of stages, and the list of those that this transaction has changed. The callbacks of abort and
// commit neither raise nor allocate; PRE_COMMIT looks at the catalog, PRE_PREPARE refuses.
#include "staging/stage.hpp"

#include "stats/recorder.hpp"

namespace dms_refs::staging {
namespace {

MemoryContext root = nullptr;
HTAB *stages = nullptr;
Stage *changed = nullptr;    // list: those with marks
bool some_unchecked = false; // a relation changed since the last commit looked

template <class F> void for_all_stages(F f) {
    if (stages == nullptr)
        return;
    HASH_SEQ_STATUS all;
    hash_seq_init(&all, stages);
    while (auto *stage = static_cast<Stage *>(hash_seq_search(&all)))
        f(stage);
}

void prepare() {
    if (stages != nullptr)
        return;
    if (root == nullptr)
        root = AllocSetContextCreate(TopMemoryContext, "dms_refs staging", ALLOCSET_SMALL_SIZES);
    stages = make_table(root, "dms_refs stages", sizeof(Oid), sizeof(Stage));
}

// --- contents and marks -----------------------------------------------------------------------------

void let_go(Stage *stage, Content *content) noexcept {
    Definition *definition = content->definition;
    free_content(content);
    if (definition != stage->definition)
        drop_definition(definition);
}

bool marked(const Stage *stage, const Content *content) noexcept {
    for (int i = 0; i < stage->mark_count; ++i)
        if (stage->marks[i].content == content)
            return true;
    return false;
}

// A content that held nothing at a mark need not be kept for it.
void forget_empty_marks(Stage *stage, const Content *content) noexcept {
    for (int i = 0; i < stage->mark_count; ++i) {
        Mark &mark = stage->marks[i];
        if (mark.content == content && mark.fill.blocks == 0)
            mark = {mark.level, nullptr, {0, 0}, 0, 0};
    }
}

// The stage has no rows any more; what it had is freed, or kept for a rollback.
void put_content_away(Stage *stage) noexcept {
    Content *content = stage->content;
    if (content == nullptr)
        return;
    stage->content = nullptr;
    forget_empty_marks(stage, content);
    if (marked(stage, content)) {
        content->retired = stage->retired;
        stage->retired = content;
    } else {
        let_go(stage, content);
    }
}

void free_unneeded(Stage *stage) noexcept {
    for (Content **at = &stage->retired; *at != nullptr;) {
        Content *content = *at;
        if (marked(stage, content)) {
            at = &content->retired;
        } else {
            *at = content->retired;
            let_go(stage, content);
        }
    }
}

void take_out_of_retired(Stage *stage, const Content *content) noexcept {
    for (Content **at = &stage->retired; *at != nullptr; at = &(*at)->retired)
        if (*at == content) {
            *at = content->retired;
            return;
        }
}

// Back to the newest mark, which goes.
void back_to_mark(Stage *stage) noexcept {
    const Mark mark = stage->marks[--stage->mark_count];
    if (stage->content != mark.content) {
        put_content_away(stage);
        stage->content = mark.content;
        if (mark.content != nullptr)
            take_out_of_retired(stage, mark.content);
    }
    if (stage->content != nullptr) {
        if (mark.fill.blocks == 0)
            put_content_away(stage);
        else
            roll_back(stage->content, mark.fill, mark.deletions, mark.live);
    }
    free_unneeded(stage);
}

// All rows go, and all that a rollback would need.
void empty(Stage *stage) noexcept {
    stage->mark_count = 0;
    put_content_away(stage);
    free_unneeded(stage);
}

void make_changes_permanent(Stage *stage) noexcept {
    const Mark mark = stage->marks[0];
    stage->mark_count = 0;
    free_unneeded(stage);
    Content *content = stage->content;
    if (content == nullptr)
        return;
    if (content->live == 0)
        put_content_away(stage);
    else if (content == mark.content)
        make_permanent(content, mark.fill, mark.deletions);
    else
        make_permanent(content, {0, 0}, 0);
}

void remove(Stage *stage) noexcept {
    empty(stage);
    MemoryContextDelete(stage->context);
    hash_search(stages, &stage->relation, HASH_REMOVE, nullptr);
}

// --- callbacks --------------------------------------------------------------------------------------

// May run at any time; must not fail, allocate or look anything up.
void relation_changed(Datum, Oid relation) {
    if (stages == nullptr)
        return;
    if (OidIsValid(relation)) {
        if (auto *stage = static_cast<Stage *>(hash_search(stages, &relation, HASH_FIND, nullptr))) {
            stage->checked = false;
            some_unchecked = true;
        }
        return;
    }
    for_all_stages([](Stage *stage) { stage->checked = false; });
    some_unchecked = true;
}

void refuse_prepare() {
    for (const Stage *stage = changed; stage != nullptr; stage = stage->next_changed)
        if (stage->preserve || live_rows(stage) > 0)
            ereport(
                ERROR,
                (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                 errmsg("cannot PREPARE a transaction that has changed rows of a stage"),
                 errdetail("Stage \"%s\" holds its rows in this session's memory: they would be lost.",
                           stage->context->ident),
                 errhint("TRUNCATE a stage with on_commit 'delete' before PREPARE TRANSACTION; do not change one with "
                         "'preserve' in such a transaction.")));
}

// A transaction sees what it has dropped; what others dropped is known by now, too.
void look_for_dropped() {
    if (!some_unchecked)
        return;
    for_all_stages([](Stage *stage) {
        if (!stage->checked)
            stage->exists = SearchSysCacheExists1(RELOID, ObjectIdGetDatum(stage->relation));
    });
}

void end_transaction(bool commit) noexcept {
    for (Stage *stage = changed; stage != nullptr; stage = stage->next_changed) {
        if (!stage->preserve)
            empty(stage);
        else if (commit)
            make_changes_permanent(stage);
        else
            while (stage->mark_count > 0)
                back_to_mark(stage);
        stage->mark_count = 0;
    }
    changed = nullptr;
    if (!some_unchecked)
        return;
    // An entry may be removed while it is the one that the search has just returned.
    for_all_stages([commit](Stage *stage) {
        if (!stage->exists && commit)
            remove(stage);
        else
            stage->exists = true;
    });
    some_unchecked = some_unchecked && !commit;
}

void transaction_event(XactEvent event, void *) {
    if (stages == nullptr)
        return;
    switch (event) {
    case XACT_EVENT_PRE_PREPARE: refuse_prepare(); [[fallthrough]];
    case XACT_EVENT_PRE_COMMIT: look_for_dropped(); break;
    case XACT_EVENT_PREPARE:
    case XACT_EVENT_COMMIT: end_transaction(true); break;
    case XACT_EVENT_ABORT: end_transaction(false); break;
    default: break;
    }
}

void subtransaction_event(SubXactEvent event, SubTransactionId, SubTransactionId, void *) {
    if (changed == nullptr || (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB))
        return;
    const int level = GetCurrentTransactionNestLevel();
    for (Stage **at = &changed; *at != nullptr;) {
        Stage *stage = *at;
        if (stage->marks[stage->mark_count - 1].level >= level) {
            if (event == SUBXACT_EVENT_ABORT_SUB) {
                back_to_mark(stage);
            } else if (stage->mark_count > 1 && stage->marks[stage->mark_count - 2].level == level - 1) {
                stage->mark_count--;
                free_unneeded(stage);
            } else {
                stage->marks[stage->mark_count - 1].level = level - 1;
            }
        }
        if (stage->mark_count == 0)
            *at = stage->next_changed;
        else
            at = &stage->next_changed;
    }
}

// --- definitions ------------------------------------------------------------------------------------

// Makes the stage agree with its relation, as far as its rows allow.
void check_definition(Stage *stage, Relation relation) {
    const Options options = read_options(GetForeignTable(RelationGetRelid(relation))->options);
    stage->preserve = options.preserve;
    if (!stage->preserve && stage->content != nullptr)
        (void)content_to_change(stage); // rows from before the option was set go with this transaction
    Definition *now = make_definition(relation, options.key, CurrentMemoryContext);
    Content *content = stage->content;
    Definition *old = stage->definition;
    Definition *rows = content != nullptr ? content->definition : old;
    const char *why = rows == nullptr ? "" : obstacle(rows, now, RelationGetDescr(relation));
    if (content != nullptr && why != nullptr && content->versions > 0)
        ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                        errmsg("stage \"%s\" was altered while it held rows", RelationGetRelationName(relation)),
                        errdetail("%s", why),
                        errhint("Empty it with TRUNCATE, or end the transaction where it has on_commit 'delete'.")));
    // Nobody may be left with a pointer to what is freed: a statement that runs keeps the table from being altered.
    if (rows != nullptr && why == nullptr && rows->columns.size() == now->columns.size()) {
        MemoryContextDelete(now->context);
        if (content != nullptr)
            stage->definition = content->definition;
    } else {
        MemoryContextSetParent(now->context, stage->context);
        if (content != nullptr && rows != nullptr) {
            // Of a dropped column: what it was, should the drop be rolled back.
            for (Size i = 0; why == nullptr && i < std::min(rows->columns.size(), now->columns.size()); ++i)
                now->columns[i] = rows->columns[i];
            rows->users--;
            content->definition = now;
            now->users++;
            if (rows != old)
                drop_definition(rows);
        }
        stage->definition = now;
    }
    if (old != stage->definition)
        drop_definition(old);
    stage->checked = true;
}

} // namespace

void register_callbacks() {
    RegisterXactCallback(transaction_event, nullptr);
    RegisterSubXactCallback(subtransaction_event, nullptr);
    CacheRegisterRelcacheCallback(relation_changed, static_cast<Datum>(0));
}

Stage *known_stage(Oid relation) {
    return stages == nullptr ? nullptr : static_cast<Stage *>(hash_search(stages, &relation, HASH_FIND, nullptr));
}

Stage *open_stage(Relation relation) {
    if (IsParallelWorker())
        ereport(ERROR,
                (errcode(ERRCODE_INVALID_TRANSACTION_STATE), errmsg("a stage cannot be used in a parallel worker"),
                 errhint("Mark functions that use stages PARALLEL RESTRICTED or UNSAFE.")));
    prepare();
    const Oid id = RelationGetRelid(relation);
    auto *stage = static_cast<Stage *>(hash_search(stages, &id, HASH_FIND, nullptr));
    if (stage == nullptr) {
        MemoryContext context = AllocSetContextCreate(root, "dms_refs stage", ALLOCSET_SMALL_SIZES);
        MemoryContextCopyAndSetIdentifier(context, RelationGetRelationName(relation));
        Stage made = {};
        made.relation = id;
        made.exists = true;
        made.context = context;
        bool found;
        stage = static_cast<Stage *>(hash_search(stages, &id, HASH_ENTER, &found));
        *stage = made;
    }
    if (!stage->checked)
        check_definition(stage, relation);
    return stage;
}

Content *content_to_change(Stage *stage) {
    const int level = GetCurrentTransactionNestLevel();
    if (stage->mark_count == 0 || stage->marks[stage->mark_count - 1].level < level) {
        if (static_cast<Size>(stage->mark_count) == stage->marks.size()) {
            const auto more = allocate<Mark>(stage->context, std::max<Size>(4, stage->marks.size() * 2));
            std::copy(stage->marks.begin(), stage->marks.end(), more.begin());
            if (!stage->marks.empty())
                pfree(stage->marks.data());
            stage->marks = more;
        }
        const Content *content = stage->content;
        stage->marks[stage->mark_count] = {level, stage->content, fill_of(content),
                                           content == nullptr ? 0 : content->deletion_count,
                                           content == nullptr ? 0 : content->live};
        if (stage->mark_count++ == 0) {
            stage->next_changed = changed;
            changed = stage;
        }
    }
    if (stage->content == nullptr)
        stage->content = new_content(stage->context, stage->definition);
    return stage->content;
}

void note_peak(Stage *stage) {
    if (stage->content != nullptr)
        stage->peak_bytes = std::max(stage->peak_bytes, stage->content->bytes);
}

void truncate(Stage *stage) {
    if (stage->content == nullptr)
        return;
    content_to_change(stage);
    put_content_away(stage);
}

void discard_all() {
    for_all_stages([](Stage *stage) {
        if (stage->content == nullptr)
            return;
        Relation relation = RelationIdGetRelation(stage->relation);
        if (RelationIsValid(relation)) {
            CheckTableNotInUse(relation, "DISCARD");
            RelationClose(relation);
        }
        if (live_rows(stage) > 0) {
            core::StagingCount discard = {};
            discard.discards = 1;
            record_staging(stage->relation, discard);
        }
        truncate(stage);
    });
}

} // namespace dms_refs::staging
