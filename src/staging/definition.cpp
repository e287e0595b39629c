// What a stage is made of: its options, its columns as rows hold them, and its key.
//
// State: Definition structs in contexts of their own, and how many there were. A definition is built completely before
// anybody sees it; on error its context goes with the caller's.
#include "staging/stage.hpp"

namespace dms_refs::staging {
namespace {

uint64 definitions_made = 0;

ColumnShape shape_of(const FormData_pg_attribute *column) {
    return {column->atttypid,
            column->atttypmod,
            column->attcollation,
            column->attlen,
            column->attbyval,
            column->attalign,
            column->atthasdef || column->atthasmissing || column->attgenerated != '\0'};
}

// Names as long as can be, quoted, with room to spare. Anybody may hand options to the validator.
constexpr Size longest_key = Size{INDEX_MAX_KEYS} * 4 * NAMEDATALEN;

void require_few_columns(int count) {
    if (count > INDEX_MAX_KEYS)
        ereport(ERROR,
                (errcode(ERRCODE_TOO_MANY_COLUMNS), errmsg("a key cannot have more than %d columns", INDEX_MAX_KEYS)));
}

void add_key_column(Definition *definition, Relation relation, const char *name) {
    TupleDesc columns = RelationGetDescr(relation);
    Key &key = definition->key;
    const AttrNumber number = get_attnum(RelationGetRelid(relation), name);
    if (number <= 0)
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
                        errmsg("the key of stage \"%s\" names column \"%s\", which does not exist",
                               RelationGetRelationName(relation), name),
                        errhint("ALTER FOREIGN TABLE ... OPTIONS (SET key '...') names the columns of the key, "
                                "OPTIONS (DROP key) drops it.")));
    Assert(key.count < INDEX_MAX_KEYS);
    const Form_pg_attribute column = TupleDescAttr(columns, number - 1);
    if (column->attgenerated != '\0' && column->attgenerated != ATTRIBUTE_GENERATED_STORED)
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("virtual generated column \"%s\" cannot be part of a stage's key", name)));
    const TypeCacheEntry *type =
        lookup_type_cache(column->atttypid, TYPECACHE_EQ_OPR_FINFO | TYPECACHE_HASH_PROC_FINFO);
    if (!OidIsValid(type->hash_proc) || !OidIsValid(type->eq_opr))
        ereport(ERROR,
                (errcode(ERRCODE_UNDEFINED_FUNCTION), errmsg("column \"%s\" cannot be part of a stage's key", name),
                 errdetail("Type %s has no hash function.", format_type_be(column->atttypid))));
    const int i = key.count++;
    key.columns[i] = number;
    key.collations[i] = column->attcollation;
    fmgr_info_cxt(type->hash_proc, &key.hash[i], definition->context);
    fmgr_info_cxt(get_opcode(type->eq_opr), &key.equal[i], definition->context);
}

bool same_key(const Definition &one, const Definition &other) {
    const Key &a = one.key;
    const Key &b = other.key;
    bool same = a.count == b.count && std::equal(one.key_functions.begin(), one.key_functions.end(),
                                                 other.key_functions.begin(), other.key_functions.end());
    for (int i = 0; same && i < a.count; ++i)
        same = a.columns[i] == b.columns[i] && a.collations[i] == b.collations[i] &&
               a.hash[i].fn_oid == b.hash[i].fn_oid && a.equal[i].fn_oid == b.equal[i].fn_oid;
    return same;
}

} // namespace

Options read_options(List *definitions) {
    Options options = {NIL, false};
    ListCell *cell;
    foreach (cell, definitions) {
        CHECK_FOR_INTERRUPTS();
        auto *definition = static_cast<DefElem *>(lfirst(cell));
        char *value = defGetString(definition);
        if (strcmp(definition->defname, "key") == 0) {
            if (strlen(value) > longest_key)
                ereport(ERROR, (errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE), errmsg("option \"key\" is too long"),
                                errdetail("It has %zu characters, and %zu are allowed.", strlen(value), longest_key)));
            if (!SplitIdentifierString(pstrdup(value), ',', &options.key) || options.key == NIL)
                ereport(ERROR,
                        (errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
                         errmsg("invalid list of columns in option \"key\": \"%s\"", value),
                         errhint("Write column names separated by commas, in double quotes where SQL needs them.")));
            require_few_columns(list_length(options.key));
            for (int i = 0; i < list_length(options.key); ++i)
                for (int j = 0; j < i; ++j)
                    if (strcmp(static_cast<char *>(list_nth(options.key, i)),
                               static_cast<char *>(list_nth(options.key, j))) == 0)
                        ereport(ERROR, (errcode(ERRCODE_DUPLICATE_COLUMN),
                                        errmsg("column \"%s\" appears twice in option \"key\"",
                                               static_cast<char *>(list_nth(options.key, i)))));
        } else if (strcmp(definition->defname, "on_commit") == 0) {
            options.preserve = strcmp(value, "preserve") == 0;
            if (!options.preserve && strcmp(value, "delete") != 0)
                ereport(ERROR, (errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
                                errmsg("invalid value for option \"on_commit\": \"%s\"", value),
                                errhint("The values are \"delete\" and \"preserve\".")));
        } else {
            ereport(ERROR,
                    (errcode(ERRCODE_FDW_INVALID_OPTION_NAME), errmsg("invalid option \"%s\"", definition->defname),
                     errhint("The options of a stage are \"key\" and \"on_commit\".")));
        }
    }
    return options;
}

Definition *make_definition(Relation relation, List *key, MemoryContext parent) {
    TupleDesc columns = RelationGetDescr(relation);
    MemoryContext context = AllocSetContextCreate(parent, "dms_refs stage definition", ALLOCSET_SMALL_SIZES);
    auto *definition = allocate<Definition>(context, 1).data();
    *definition = {};
    definition->serial = ++definitions_made;
    definition->relation = RelationGetRelid(relation);
    definition->creation = creation_of(definition->relation);
    definition->context = context;
    definition->columns = shapes_of(columns, context);
    definition->variable = allocate<AttrNumber>(context, columns->natts);
    Size variable = 0;
    for (int i = 0; i < columns->natts; ++i) {
        const Form_pg_attribute column = TupleDescAttr(columns, i);
        if (column->attlen == -1 && !column->attisdropped)
            definition->variable[variable++] = column->attnum;
    }
    definition->variable = definition->variable.first(variable);
    ListCell *cell;
    foreach (cell, key)
        add_key_column(definition, relation, static_cast<char *>(lfirst(cell)));
    note_dependencies(definition, relation);
    return definition;
}

std::span<ColumnShape> shapes_of(TupleDesc columns, MemoryContext context) {
    const auto shapes = allocate<ColumnShape>(context, columns->natts);
    for (int i = 0; i < columns->natts; ++i)
        shapes[i] = shape_of(TupleDescAttr(columns, i));
    return shapes;
}

bool same_definition(const Definition *a, const Definition *b) {
    return same_creation(a->creation, b->creation) &&
           std::equal(a->columns.begin(), a->columns.end(), b->columns.begin(), b->columns.end(), same_shape) &&
           same_key(*a, *b) && same_dependencies(a, b);
}

// A column that nobody alters, and no statement drops, was written by who made the table.
Creation creation_of(Oid relation) {
    HeapTuple column =
        SearchSysCache2(ATTNUM, ObjectIdGetDatum(relation), Int16GetDatum(SelfItemPointerAttributeNumber));
    if (!HeapTupleIsValid(column))
        return {};
    const Creation creation = {HeapTupleHeaderGetRawXmin(column->t_data), get_rel_type_id(relation)};
    ReleaseSysCache(column);
    return creation;
}

// A column that was dropped stays in the rows; a column that was added is NULL in them, where that is what it means.
const char *obstacle(const Definition *rows, const Definition *now, TupleDesc columns) {
    for (int i = 0; i < columns->natts; ++i) {
        const Form_pg_attribute column = TupleDescAttr(columns, i);
        if (column->attisdropped)
            continue;
        if (static_cast<Size>(i) >= rows->columns.size()) {
            if (now->columns[i].by_default || column->attnotnull)
                return psprintf("Column \"%s\" was added with a default, a generation expression or NOT NULL.",
                                NameStr(column->attname));
            // A table would have given it a value, or refused to add it.
            if (get_typdefault(column->atttypid) != nullptr || DomainHasConstraints(column->atttypid))
                return psprintf("Column \"%s\" was added with a type that has a default or constraints.",
                                NameStr(column->attname));
            continue;
        }
        if (!same_shape(rows->columns[i], now->columns[i]))
            return psprintf("Column \"%s\" has another type.", NameStr(column->attname));
    }
    if (!same_key(*rows, *now))
        return "The key is another one.";
    return obstacle_in_dependencies(rows, now, columns);
}

} // namespace dms_refs::staging
