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
bool rows_unchecked = false; // perhaps of a stage with rows, since the planner last looked
bool some_depend = false;    // stages on other relations, or on types
uint64 invalidations = 0;
bool some_unchecked = false; // a relation changed, or a definition was replaced, since the last commit looked

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

void uncheck(Stage *stage) noexcept {
    stage->checked = false;
    some_unchecked = true;
    rows_unchecked = true;
}

// --- contents and marks -----------------------------------------------------------------------------

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
            mark = {mark.level, nullptr, nullptr, {0, 0}, 0, 0};
    }
}

// The stage has no rows any more; what it had is freed, or kept for a rollback.
void put_content_away(Stage *stage) noexcept {
    Content *content = stage->content;
    if (content == nullptr)
        return;
    stage->content = nullptr;
    if (content->definition->narrowed)
        uncheck(stage); // the next rows are checked against all constraints
    forget_empty_marks(stage, content);
    if (marked(stage, content)) {
        content->retired = stage->retired;
        stage->retired = content;
    } else {
        free_content(content);
    }
}

void free_unneeded(Stage *stage) noexcept {
    for (Content **at = &stage->retired; *at != nullptr;) {
        Content *content = *at;
        if (marked(stage, content)) {
            at = &content->retired;
        } else {
            *at = content->retired;
            free_content(content);
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
    Assert(stage->mark_count > 0);
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
    if (stage->content == nullptr)
        return;
    // The rows are again what they were; what the relation is now is seen at the next use.
    stage->content->definition = mark.definition;
    if (mark.definition != stage->definition || !stage->checked)
        uncheck(stage);
}

// Only reads rows, or their definition.
bool same_rows(const Stage *stage, const Mark &mark) {
    const Fill fill = fill_of(stage->content);
    return stage->content == mark.content && fill.blocks == mark.fill.blocks && fill.used == mark.fill.used &&
           (stage->content == nullptr || stage->content->deletion_count == mark.deletions);
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

void free_old_definitions(Stage *stage) noexcept {
    Assert(stage->mark_count == 0 && stage->retired == nullptr);
    for (Definition **at = &stage->definitions; *at != nullptr;) {
        Definition *old = *at;
        if (old == stage->definition || (stage->content != nullptr && stage->content->definition == old)) {
            at = &old->next;
        } else {
            *at = old->next;
            MemoryContextDelete(old->context);
        }
    }
}

void remove(Stage *stage) noexcept {
    empty(stage);
    MemoryContextDelete(stage->context);
    hash_search(stages, &stage->relation, HASH_REMOVE, nullptr);
}

// --- callbacks --------------------------------------------------------------------------------------

// These may run at any time; they must not fail, allocate or look anything up.
void relation_changed(Datum, Oid relation) {
    invalidations++;
    if (stages == nullptr)
        return;
    if (!OidIsValid(relation)) {
        for_all_stages(uncheck);
        return;
    }
    if (auto *stage = static_cast<Stage *>(hash_search(stages, &relation, HASH_FIND, nullptr)))
        uncheck(stage);
    if (!some_depend)
        return;
    for_all_stages([relation](Stage *stage) {
        const Definition *definition = stage->definition;
        if (definition != nullptr &&
            (std::any_of(definition->composites.begin(), definition->composites.end(),
                         [relation](const Composite &one) { return one.relation == relation; }) ||
             std::find(definition->ancestors.begin(), definition->ancestors.end(), relation) !=
                 definition->ancestors.end()))
            uncheck(stage);
    });
}

// A domain may have become NOT NULL.
void type_changed(Datum, int, uint32 hash) {
    invalidations++;
    if (some_depend)
        for_all_stages([hash](Stage *stage) {
            if (stage->definition == nullptr)
                return;
            for (const uint32 domain : stage->definition->domains)
                if (hash == 0 || hash == domain)
                    uncheck(stage);
        });
}

// Perhaps one of a domain: the server does not say of which.
void constraint_changed(Datum, int, uint32) {
    invalidations++;
    if (some_depend)
        for_all_stages([](Stage *stage) {
            if (stage->definition != nullptr && !stage->definition->domains.empty())
                uncheck(stage);
        });
}

// Perhaps one that gave a key its hash and equality functions.
void operator_class_changed(Datum, int, uint32) {
    invalidations++;
    for_all_stages([](Stage *stage) {
        if (stage->definition != nullptr && stage->definition->key.count > 0)
            uncheck(stage);
    });
}

// Rows that the transaction staged, or would have to take back, cannot be: the session may be gone by then.
void refuse_prepare() {
    for (const Stage *stage = changed; stage != nullptr; stage = stage->next_changed) {
        const Mark &before = stage->marks[0];
        if (same_rows(stage, before) || (before.live == 0 && live_rows(stage) == 0))
            continue;
        const char *name = get_rel_name(stage->relation);
        ereport(
            ERROR,
            (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
             errmsg("cannot PREPARE a transaction that has changed rows of a stage"),
             errdetail("Stage \"%s\" holds its rows in this session's memory: they would be lost.",
                       name != nullptr ? name : stage->context->ident),
             errhint("Empty a stage with on_commit 'delete' by dms_refs.empty_stage before PREPARE TRANSACTION; do not "
                     "change one with 'preserve' in such a transaction.")));
    }
}

// A transaction sees what it has dropped and altered; what others did is known by now, too.
void look_at_catalog() {
    if (!some_unchecked)
        return;
    for_all_stages([](Stage *stage) {
        if (stage->checked)
            return;
        stage->exists = SearchSysCacheExists1(FOREIGNTABLEREL, ObjectIdGetDatum(stage->relation));
        if (stage->exists && stage->mark_count > 0)
            stage->preserve = read_options(GetForeignTable(stage->relation)->options).preserve;
    });
}

void end_transaction(bool commit) noexcept {
    for (Stage *stage = changed; stage != nullptr; stage = stage->next_changed) {
        if (!commit)
            while (stage->mark_count > 0)
                back_to_mark(stage);
        else if (stage->preserve)
            make_changes_permanent(stage);
        else
            empty(stage);
        Assert(stage->mark_count == 0);
    }
    changed = nullptr;
    if (memory_is_short())
        for_all_stages([](Stage *stage) {
            if (stage->content != nullptr)
                give_up_dead_rows(stage->content);
        });
    trim_memory();
    if (!some_unchecked)
        return;
    // An entry may be removed while it is the one that the search has just returned.
    for_all_stages([commit](Stage *stage) {
        if (!stage->exists && commit) {
            remove(stage);
        } else {
            stage->exists = true;
            free_old_definitions(stage);
        }
    });
    some_unchecked = some_unchecked && !commit;
}

void transaction_event(XactEvent event, void *) {
    if (stages == nullptr)
        return;
    switch (event) {
    case XACT_EVENT_PRE_PREPARE: refuse_prepare(); break;
    case XACT_EVENT_PRE_COMMIT: look_at_catalog(); break;
    case XACT_EVENT_COMMIT: end_transaction(true); break;
    // What was dropped or altered may come back, and this session will not be told.
    case XACT_EVENT_PREPARE:
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

// Before anything is changed: rows, or what they are made of.
void leave_mark(Stage *stage) {
    const int level = GetCurrentTransactionNestLevel();
    if (stage->mark_count > 0 && stage->marks[stage->mark_count - 1].level >= level)
        return;
    if (static_cast<Size>(stage->mark_count) == stage->marks.size()) {
        const auto more = allocate<Mark>(stage->context, std::max<Size>(4, stage->marks.size() * 2));
        std::copy(stage->marks.begin(), stage->marks.end(), more.begin());
        if (!stage->marks.empty())
            pfree(stage->marks.data());
        stage->marks = more;
    }
    const Content *content = stage->content;
    Mark mark = {level, nullptr, nullptr, {0, 0}, 0, 0};
    if (content != nullptr)
        mark = {level, stage->content, content->definition, fill_of(content), content->deletion_count, content->live};
    Assert(stage->mark_count == 0 || stage->marks[stage->mark_count - 1].level < level);
    stage->marks[stage->mark_count] = mark;
    if (stage->mark_count++ == 0) {
        stage->next_changed = changed;
        changed = stage;
    }
}

// Makes the stage agree with its relation, as far as its rows allow.
void check_definition(Stage *stage, Relation relation) {
    const uint64 before = invalidations;
    const Options options = read_options(GetForeignTable(RelationGetRelid(relation))->options);
    Definition *now = make_definition(relation, options.key, CurrentMemoryContext);
    if (stage->content != nullptr &&
        (stage->content->versions == 0 || !same_creation(stage->content->definition->creation, now->creation)))
        truncate(stage); // of a table that was dropped, if there are any
    Content *content = stage->content;
    Definition *rows = content != nullptr ? content->definition : stage->definition;
    const char *why = content != nullptr ? obstacle(rows, now, RelationGetDescr(relation)) : nullptr;
    if (why != nullptr)
        ereport(ERROR,
                (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                 errmsg("stage \"%s\" was altered while it held rows", RelationGetRelationName(relation)),
                 errdetail("%s", why),
                 errhint("SELECT dms_refs.empty_stage(%s) takes the rows of this session away; where on_commit is "
                         "'delete', so does the end of the transaction.",
                         quote_literal_cstr(quote_qualified_identifier(
                             get_namespace_name(RelationGetNamespace(relation)), RelationGetRelationName(relation))))));
    // What was altered may be rolled back. And rows from before on_commit was set to delete go with this transaction.
    const bool narrowed = content != nullptr && keep_common_constraints(now, rows);
    const bool same = rows != nullptr && same_definition(rows, now);
    if (content != nullptr && (!same || !options.preserve))
        leave_mark(stage);
    stage->preserve = options.preserve;
    if (same) {
        MemoryContextDelete(now->context);
        now = rows;
    } else {
        MemoryContextSetParent(now->context, stage->context);
        now->next = stage->definitions;
        stage->definitions = now;
    }
    now->narrowed = now->narrowed || narrowed;
    stage->definition = now;
    if (content != nullptr)
        content->definition = now;
    some_depend = some_depend || !now->composites.empty() || !now->domains.empty() || !now->ancestors.empty();
    some_unchecked = true; // an old definition may be left
    // What was read before an invalidation may be stale: then the next use looks again.
    stage->checked = invalidations == before;
    rows_unchecked = rows_unchecked || !stage->checked;
}

} // namespace

void register_callbacks() {
    RegisterXactCallback(transaction_event, nullptr);
    RegisterSubXactCallback(subtransaction_event, nullptr);
    CacheRegisterRelcacheCallback(relation_changed, static_cast<Datum>(0));
    CacheRegisterSyscacheCallback(TYPEOID, type_changed, static_cast<Datum>(0));
    CacheRegisterSyscacheCallback(CONSTROID, constraint_changed, static_cast<Datum>(0));
    CacheRegisterSyscacheCallback(CLAOID, operator_class_changed, static_cast<Datum>(0));
}

Stage *known_stage(Oid relation) {
    return stages == nullptr ? nullptr : static_cast<Stage *>(hash_search(stages, &relation, HASH_FIND, nullptr));
}

const Stage *current_stage(Oid relation) {
    const Stage *stage = known_stage(relation);
    if (stage == nullptr || stage->definition == nullptr ||
        (!stage->checked && !same_creation(stage->definition->creation, creation_of(relation))))
        return nullptr;
    return stage;
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
    if (stage->definition != nullptr)
        lock_types(stage->definition);
    if (!stage->checked)
        check_definition(stage, relation);
    return stage;
}

void check_before_planning(Oid relation, bool is_parent) {
    if (!rows_unchecked)
        return;
    List *unchecked = NIL;
    for_all_stages([&unchecked](Stage *stage) {
        if (!stage->checked && live_rows(stage) > 0)
            unchecked = lappend_oid(unchecked, stage->relation);
    });
    rows_unchecked = unchecked != NIL;
    const ListCell *cell;
    foreach (cell, unchecked) {
        const Oid id = lfirst_oid(cell);
        // Partitions are left out of a plan before they are looked at; those that are looked at are locked.
        const bool is_partition = is_parent && id != relation && get_rel_relispartition(id) &&
                                  list_member_oid(get_partition_ancestors(id), relation);
        if ((id != relation && !is_partition) || current_stage(id) == nullptr)
            continue;
        Relation opened = try_relation_open(id, is_partition ? AccessShareLock : NoLock);
        if (opened == nullptr)
            continue;
        (void)open_stage(opened);
        relation_close(opened, NoLock);
    }
}

Content *content_to_change(Stage *stage) {
    leave_mark(stage);
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
    leave_mark(stage);
    put_content_away(stage);
    trim_memory();
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
