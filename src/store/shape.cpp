// What a table's shape allows: native reads, direct writes, native foreign-key checks. See store.hpp.
//
// Worked out from the relcache and pg_constraint once a leaf, under the lock that the caller holds, and kept
// in the store's cache until the server says that the table, or its root, changed.
#include "store/cache.hpp"
#include "store/store.hpp"

namespace dms_refs {

namespace {

const char *relation_not_readable(Relation relation) {
    switch (relation->rd_rel->relkind) {
    case RELKIND_RELATION: break;
    case RELKIND_PARTITIONED_TABLE: return "a partition is itself partitioned";
    case RELKIND_VIEW: return "a view";
    case RELKIND_FOREIGN_TABLE: return "a foreign table";
    default: return "not an ordinary table";
    }
    if (relation->rd_tableam != GetHeapamTableAmRoutine())
        return "a table access method other than heap";
    if (RELATION_IS_OTHER_TEMP(relation))
        return "a temporary table of another session";
    return nullptr;
}

// The default equality operator of a type, and its function.
Oid equality(Oid type) {
    return lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr;
}

// Describes an index as a lookup by exactly the wanted columns, or (prefix) by the wanted columns leading it.
bool describe_index(Relation index, Role role, const AttrNumber *attributes, std::span<const int> wanted, bool prefix,
                    LookupIndex *lookup, bool *provisional) {
    const Form_pg_index form = index->rd_index;
    const int nkeys = static_cast<int>(wanted.size());
    if (index->rd_rel->relam != BTREE_AM_OID || !form->indisvalid || !form->indisready || !form->indislive ||
        !heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, nullptr) || form->indnkeyatts < nkeys)
        return false;
    if (!prefix && (!form->indisunique || form->indnkeyatts != nkeys))
        return false;
    // An index built over broken HOT chains serves only snapshots younger than itself, as in the planner.
    if (form->indcheckxmin &&
        !TransactionIdPrecedes(HeapTupleHeaderGetXmin(index->rd_indextuple->t_data), TransactionXmin)) {
        *provisional = true;
        return false;
    }
    *lookup = {};
    for (int i = 0; i < nkeys; ++i) {
        int column = -1;
        for (int w : wanted)
            if (attributes[w] == form->indkey.values[i])
                column = w;
        for (int earlier = 0; earlier < i; ++earlier)
            if (lookup->columns[earlier] == column)
                column = -1;
        if (column < 0)
            return false;
        const Oid type = column_types[static_cast<int>(role)][column];
        const Oid equal = get_opfamily_member(index->rd_opfamily[i], type, type, BTEqualStrategyNumber);
        if (!OidIsValid(equal) || equal != equality(type))
            return false;
        lookup->columns[i] = column;
        lookup->equal_functions[i] = get_opcode(equal);
    }
    lookup->nkeys = nkeys;
    lookup->oid = RelationGetRelid(index);
    return true;
}

// The smallest-numbered index that serves, preferring one whose next key is `then` (already in write order).
LookupIndex find_index(Relation relation, Role role, Leaf *leaf, std::span<const int> wanted, bool prefix, int then) {
    const AttrNumber *attributes = leaf->attributes;
    LookupIndex best;
    List *indexes = RelationGetIndexList(relation);
    ListCell *cell;
    foreach (cell, indexes) {
        Relation index = index_open(lfirst_oid(cell), AccessShareLock);
        LookupIndex lookup;
        if (describe_index(index, role, attributes, wanted, prefix, &lookup, &leaf->provisional)) {
            const int n = lookup.nkeys;
            const bool in_order =
                then >= 0 && index->rd_index->indnkeyatts > n && index->rd_index->indkey.values[n] == attributes[then];
            if (!best.usable() || in_order)
                best = lookup;
            if (in_order || then < 0) {
                index_close(index, AccessShareLock);
                break;
            }
        }
        index_close(index, AccessShareLock);
    }
    list_free(indexes);
    return best;
}

// One of the store's two foreign keys, where its check is provably the lookup that the engine does: immediate,
// simple match, default equality, exactly these columns.
bool match_foreign_key(const Trigger &trigger, Oid referenced_table, const AttrNumber *referencing_columns,
                       const AttrNumber *referenced_columns, const Oid *types, NativeForeignKey *key) {
    if (!OidIsValid(trigger.tgconstraint) || RI_FKey_trigger_type(trigger.tgfoid) != RI_TRIGGER_FK ||
        !TRIGGER_FOR_INSERT(trigger.tgtype) || trigger.tgdeferrable)
        return false;
    HeapTuple tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(trigger.tgconstraint));
    if (!HeapTupleIsValid(tuple))
        return false;
    const auto *constraint = reinterpret_cast<Form_pg_constraint>(GETSTRUCT(tuple));
    bool matches = constraint->contype == CONSTRAINT_FOREIGN && constraint->confrelid == referenced_table &&
                   constraint->confmatchtype == FKCONSTR_MATCH_SIMPLE && !constraint->condeferrable;
    if (matches) {
        int n = 0;
        AttrNumber referencing[INDEX_MAX_KEYS];
        AttrNumber referenced[INDEX_MAX_KEYS];
        Oid equal[INDEX_MAX_KEYS];
        DeconstructFkConstraintRow(tuple, &n, referencing, referenced, equal, nullptr, nullptr, nullptr, nullptr);
        matches = n == 2;
        for (int i = 0; matches && i < 2; ++i) {
            matches = false;
            for (int j = 0; j < 2; ++j)
                if (referencing[i] == referencing_columns[j] && referenced[i] == referenced_columns[j] &&
                    equal[i] == equality(types[j]))
                    matches = true;
        }
        matches = matches && referencing[0] != referencing[1];
    }
    ReleaseSysCache(tuple);
    if (matches)
        *key = {trigger.tgconstraint, trigger.tgoid, trigger.tgenabled};
    return matches;
}

void find_foreign_keys(const Store &store, Relation relation, Leaf *leaf) {
    if (relation->trigdesc == nullptr)
        return;
    namespace r = reference_column;
    // A dropped table has no foreign keys to it.
    Relation document = try_table_open(store.table(Role::document), AccessShareLock);
    Relation alias = try_table_open(store.table(Role::alias), AccessShareLock);
    if (document == nullptr || alias == nullptr) {
        if (document != nullptr)
            table_close(document, AccessShareLock);
        if (alias != nullptr)
            table_close(alias, AccessShareLock);
        return;
    }
    const AttrNumber parent_from[] = {leaf->attributes[r::parent_key], leaf->attributes[r::parent_id]};
    const AttrNumber parent_to[] = {store_column(store, Role::document, document_column::partition_key, document),
                                    store_column(store, Role::document, document_column::id, document)};
    const AttrNumber alias_from[] = {leaf->attributes[r::alias_key], leaf->attributes[r::alias_id]};
    const AttrNumber alias_to[] = {store_column(store, Role::alias, alias_column::partition_key, alias),
                                   store_column(store, Role::alias, alias_column::id, alias)};
    const Oid types[] = {INT2OID, INT8OID};
    // A copy: the relation's own list is freed when an invalidation makes it anew, and looking up a constraint takes
    // invalidations in. Columns, partitions and an index's own row, in contrast, stay while their relation is open.
    TriggerDesc *triggers = CopyTriggerDesc(relation->trigdesc);
    for (int i = 0; triggers != nullptr && i < triggers->numtriggers; ++i) {
        const Trigger &trigger = triggers->triggers[i];
        if (!match_foreign_key(trigger, RelationGetRelid(document), parent_from, parent_to, types, &leaf->parent_key))
            match_foreign_key(trigger, RelationGetRelid(alias), alias_from, alias_to, types, &leaf->alias_key);
    }
    FreeTriggerDesc(triggers);
    // A call keeps what it needs locked; the view `stores` keeps no lock, as reading it takes no right on the tables.
    table_close(alias, AccessShareLock);
    table_close(document, AccessShareLock);
}

// Columns that we do not write must take NULL, an identity value or a generated one.
const char *unwritten_columns(Relation root, Relation relation, Leaf *leaf) {
    TupleDesc columns = RelationGetDescr(root);
    for (int i = 0; i < columns->natts; ++i) {
        const Form_pg_attribute attribute = TupleDescAttr(columns, i);
        if (attribute->attisdropped)
            continue;
        const AttrNumber in_leaf = attribute_number(relation, NameStr(attribute->attname));
        bool ours = false;
        for (int c = 0; c < reference_column::count; ++c)
            ours = ours || leaf->attributes[c] == in_leaf;
        if (ours) {
            // SQL refuses to give it one.
            if (attribute->attgenerated != '\0' || attribute->attidentity == ATTRIBUTE_IDENTITY_ALWAYS)
                return "a column of the store takes no value";
            continue;
        }
        if (attribute->attidentity != '\0') {
            if (leaf->identity_attribute != 0)
                return "two identity columns";
            leaf->identity_attribute = in_leaf;
            leaf->identity_type = attribute->atttypid;
            leaf->identity_sequence = compat::identity_sequence(root, attribute->attnum);
            if (!OidIsValid(leaf->identity_sequence))
                return "an identity column without a sequence";
        } else if (attribute->attgenerated == '\0') {
            if (attribute->atthasdef)
                return "a column with a default of its own";
            if (get_typtype(attribute->atttypid) == TYPTYPE_DOMAIN)
                return "a column of a domain type";
        }
    }
    return nullptr;
}

const char *indexes_not_writable(Relation relation) {
    const char *reason = nullptr;
    List *indexes = RelationGetIndexList(relation);
    ListCell *cell;
    foreach (cell, indexes) {
        Relation index = index_open(lfirst_oid(cell), AccessShareLock);
        if (index->rd_index->indisexclusion)
            reason = "an exclusion constraint";
        else if (index->rd_index->indisunique && !index->rd_index->indimmediate)
            reason = "a deferrable unique constraint";
        index_close(index, AccessShareLock);
    }
    list_free(indexes);
    return reason;
}

const char *not_writable(Relation root, Relation relation, Leaf *leaf) {
    if (root->rd_rules != nullptr)
        return "rules on the table";
    if (root->rd_rel->relispartition)
        return "the table is itself a partition";
    if (const TriggerDesc *t = root->trigdesc;
        t != nullptr &&
        (t->trig_insert_before_statement || t->trig_insert_after_statement || t->trig_delete_before_statement ||
         t->trig_delete_after_statement || t->trig_insert_new_table || t->trig_delete_old_table))
        return "statement-level triggers";
    if (const TriggerDesc *t = relation->trigdesc;
        t != nullptr && (t->trig_insert_before_row || t->trig_delete_before_row || t->trig_insert_instead_row ||
                         t->trig_delete_instead_row))
        return "BEFORE row triggers";
    if (const char *reason = unwritten_columns(root, relation, leaf))
        return reason;
    return indexes_not_writable(relation);
}

// Where the store's columns lie as long as all columns before them have a fixed size.
void find_offsets(Role role, TupleDesc columns, Leaf *leaf) {
    std::fill(std::begin(leaf->offsets), std::end(leaf->offsets), static_cast<int16>(-1));
    Size offset = 0;
    for (int i = 0; i < columns->natts; ++i) {
        const Form_pg_attribute attribute = TupleDescAttr(columns, i);
        offset = att_align_nominal(offset, attribute->attalign);
        if (attribute->attlen <= 0 || offset > PG_INT16_MAX)
            return;
        for (int c = 0; c < column_counts[static_cast<int>(role)]; ++c)
            if (leaf->attributes[c] == i + 1)
                leaf->offsets[c] = static_cast<int16>(offset);
        offset += static_cast<Size>(attribute->attlen);
    }
}

// Stored or virtual: a NOT NULL may be on either.
bool has_generated_columns(TupleDesc columns) {
    for (int i = 0; i < columns->natts; ++i)
        if (TupleDescAttr(columns, i)->attgenerated != '\0')
            return true;
    return false;
}

Leaf describe_leaf(const Store &store, Role role, Relation root, Relation relation) {
    Leaf leaf;
    leaf.relation = RelationGetRelid(relation);
    leaf.not_readable = relation_not_readable(relation);
    for (int c = 0; c < column_counts[static_cast<int>(role)]; ++c)
        leaf.attributes[c] = store_column(store, role, c, relation);
    find_offsets(role, RelationGetDescr(relation), &leaf);
    if (leaf.not_readable != nullptr) {
        leaf.not_writable = leaf.not_readable;
        return leaf;
    }
    switch (role) {
    case Role::document: {
        const int key[] = {document_column::partition_key, document_column::id};
        leaf.by_key = find_index(relation, role, &leaf, key, false, -1);
        break;
    }
    case Role::alias: {
        const int key[] = {alias_column::partition_key, alias_column::referential_id};
        const int id[] = {alias_column::partition_key, alias_column::id};
        leaf.by_key = find_index(relation, role, &leaf, key, false, -1);
        leaf.by_id = find_index(relation, role, &leaf, id, false, -1);
        if (!leaf.by_id.usable())
            leaf.not_readable = "no unique index on partition key and id";
        break;
    }
    case Role::reference: {
        const int parent[] = {reference_column::parent_key, reference_column::parent_id};
        leaf.by_key = find_index(relation, role, &leaf, parent, true, reference_column::alias_id);
        find_foreign_keys(store, relation, &leaf);
        leaf.not_writable = not_writable(root, relation, &leaf);
        TupleConstr *constraints = RelationGetDescr(relation)->constr;
        leaf.has_generated = constraints != nullptr && constraints->has_generated_stored;
        leaf.user_code = find_user_code(root, relation);
        leaf.row_by_row = (constraints != nullptr && constraints->num_check > 0) ||
                          has_generated_columns(RelationGetDescr(relation)) || leaf.user_code.on_insert;
        break;
    }
    }
    if (!leaf.by_key.usable())
        leaf.not_readable = "no usable index on the key";
    return leaf;
}

// As the server's own tuple routing does for one key column; -1 where no partition takes the key.
int partition_of_key(PartitionKey key, PartitionBoundInfo bounds, int16 value) {
    Datum datum = Int16GetDatum(value);
    int index = -1;
    switch (key->strategy) {
    case PARTITION_STRATEGY_LIST: {
        bool equal = false;
        const int offset = partition_list_bsearch(key->partsupfunc, key->partcollation, bounds, datum, &equal);
        if (offset >= 0 && equal)
            index = bounds->indexes[offset];
        break;
    }
    case PARTITION_STRATEGY_RANGE: {
        bool equal = false;
        const int offset =
            partition_range_datum_bsearch(key->partsupfunc, key->partcollation, bounds, 1, &datum, &equal);
        index = bounds->indexes[offset + 1];
        break;
    }
    case PARTITION_STRATEGY_HASH: {
        bool is_null = false;
        const uint64 hash = compute_partition_hash_value(1, key->partsupfunc, key->partcollation, &datum, &is_null);
        index = bounds->indexes[hash % static_cast<uint64>(bounds->nindexes)];
        break;
    }
    default: break;
    }
    return index >= 0 ? index : bounds->default_index;
}

// Whether a partition that is itself partitioned by the key has a partition for it.
bool takes_key(const Store &store, Role role, Relation partition, int16 key) {
    if (partition->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
        return true;
    const PartitionKey by = RelationGetPartitionKey(partition);
    if (by->partnatts != 1 || by->partattrs[0] != attribute_number(partition, store.column(role, 0)))
        return true; // SQL will tell
    const PartitionDesc partitions = RelationGetPartitionDesc(partition, true);
    return partitions->nparts > 0 && partition_of_key(by, partitions->boundinfo, key) >= 0;
}

} // namespace

Datum required_column(HeapTuple row, TupleDesc descriptor, AttrNumber attribute) {
    Assert(attribute > 0 && attribute <= descriptor->natts);
    bool is_null;
    const Datum value = heap_getattr(row, attribute, descriptor, &is_null);
    if (is_null)
        ereport(ERROR, (errcode(ERRCODE_NOT_NULL_VIOLATION),
                        errmsg("column \"%s\" of a stored row is null",
                               NameStr(TupleDescAttr(descriptor, attribute - 1)->attname)),
                        errhint("A store's columns must not hold nulls.")));
    return value;
}

bool trigger_fires(char enabled) {
    if (SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA)
        return enabled == TRIGGER_FIRES_ON_REPLICA || enabled == TRIGGER_FIRES_ALWAYS;
    return enabled == TRIGGER_FIRES_ON_ORIGIN || enabled == TRIGGER_FIRES_ALWAYS;
}

const char *root_not_readable(Relation root) {
    if (root->rd_rel->relkind != RELKIND_PARTITIONED_TABLE) {
        if (const char *reason = relation_not_readable(root))
            return reason;
        if (has_subclass(RelationGetRelid(root)))
            return "inheritance children";
    }
    if (root->rd_rel->relrowsecurity && check_enable_rls(RelationGetRelid(root), InvalidOid, true) == RLS_ENABLED)
        return "row security is in force";
    return nullptr;
}

namespace {

constexpr const char *chosen_points[role_count] = {"dms_refs-document-leaf-chosen", "dms_refs-alias-leaf-chosen",
                                                   "dms_refs-reference-leaf-chosen"};
constexpr const char *described_points[role_count] = {
    "dms_refs-document-leaf-described", "dms_refs-alias-leaf-described", "dms_refs-reference-leaf-described"};

// Whether what is kept of a store is of the tables and columns that the copy names. A store that got others while a
// call was running may have been read again since, by a trigger's call.
bool keeps(const StoreEntry &entry, const Store &store) {
    return entry.generation == store.generation ||
           (memcmp(entry.store.tables, store.tables, sizeof store.tables) == 0 &&
            memcmp(entry.store.columns, store.columns, sizeof store.columns) == 0);
}

bool partitioned_by(Relation root, const char *column) {
    const PartitionKey key = RelationGetPartitionKey(root);
    return key->partnatts == 1 && key->partattrs[0] == attribute_number(root, column);
}

// What a partition that is being detached concurrently, or was left in the middle of it, is to a call. To reads and
// writes it is what the active snapshot says. A foreign key's check looks for its row under the newest snapshot, at
// every isolation level: when the detaching goes on, nobody looks whether there are references to the partition's rows.
enum class Detaching { by_snapshot, gone };

// The partition that takes a key, InvalidOid where none does. An answer that depends on the snapshot is not lasting.
Oid look_up_leaf(Relation root, int16 key, Detaching detaching, bool *lasting) {
    const PartitionKey by = RelationGetPartitionKey(root);
    PartitionDesc partitions = RelationGetPartitionDesc(root, true);
    *lasting = !partitions->detached_exist;
    if (partitions->detached_exist && detaching == Detaching::gone) {
        PushActiveSnapshot(GetLatestSnapshot());
        partitions = RelationGetPartitionDesc(root, true);
        PopActiveSnapshot();
    }
    const int index = partitions->nparts > 0 ? partition_of_key(by, partitions->boundinfo, key) : -1;
    return index >= 0 ? partitions->oids[index] : InvalidOid;
}

Oid find_leaf(const Store &store, Role role, Relation root, int16 key, Detaching detaching, const char **not_native) {
    Assert(is_locked(root, AccessShareLock) && RelationGetRelid(root) == store.table(role));
    *not_native = nullptr;
    if (root->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
        return RelationGetRelid(root);
    RootEntry &known = store.entry->roots[static_cast<int>(role)];
    // Taken before anything is looked at: an invalidation that comes while we look makes what we keep stale.
    const uint64 generation = keeps(*store.entry, store) ? store.entry->generation : 0;
    if (generation == 0 || known.generation != generation) {
        const char *reason = partitioned_by(root, store.column(role, 0)) ? nullptr : "not partitioned by its key alone";
        if (generation == 0) {
            bool lasting;
            *not_native = reason;
            return reason == nullptr ? look_up_leaf(root, key, detaching, &lasting) : InvalidOid;
        }
        known.not_native = reason;
        known.generation = generation;
    }
    if (known.not_native != nullptr) {
        *not_native = known.not_native;
        return InvalidOid;
    }
    KeyEntry &place = place_of(known, key);
    if (place.key == key && place.generation == generation)
        return place.leaf;

    bool lasting;
    const Oid leaf = look_up_leaf(root, key, detaching, &lasting);
    if (lasting && OidIsValid(leaf))
        place = {generation, leaf, key};
    return leaf;
}

} // namespace

Oid leaf_for_key(const Store &store, Role role, Relation root, int16 key, const char **not_native) {
    return find_leaf(store, role, root, key, Detaching::by_snapshot, not_native);
}

Relation open_leaf(const Store &store, Role role, Relation root, int16 key, LOCKMODE lock, const char **not_native) {
    const Detaching detaching = lock == RowShareLock ? Detaching::gone : Detaching::by_snapshot;
    for (;;) {
        const Oid leaf = find_leaf(store, role, root, key, detaching, not_native);
        if (!OidIsValid(leaf))
            return nullptr;
        compat::injection_point(chosen_points[static_cast<int>(role)]);
        LockRelationOid(leaf, lock);
        // While we waited for the lock the leaf may have been detached and dropped, or a partition been attached that
        // takes the key from the default partition; the lock has taken in what the server says of it. A leaf that is
        // still the key's exists.
        if (find_leaf(store, role, root, key, detaching, not_native) == leaf) {
            Relation relation = table_open(leaf, NoLock);
            if (takes_key(store, role, relation, key))
                return relation;
            table_close(relation, lock);
            return nullptr;
        }
        UnlockRelationOid(leaf, lock);
        CHECK_FOR_INTERRUPTS();
    }
}

Leaf leaf_of(const Store &store, Role role, Relation root, Relation relation) {
    Assert(is_locked(root, AccessShareLock) && is_locked(relation, AccessShareLock));
    StoreEntry *entry = store.entry;
    if (!keeps(*entry, store))
        return describe_leaf(store, role, root, relation);
    const Oid oid = RelationGetRelid(relation);
    bool found;
    auto *known = static_cast<LeafEntry *>(hash_search(entry->leaves, &oid, HASH_ENTER, &found));
    if (!found) {
        known->changed = entry->generation;
        known->described = 0;
    }
    if (known->described == known->changed && known->role == role)
        return known->leaf;
    // Describing takes in invalidations, perhaps of what has been looked at already: then it serves this call, whose
    // locks keep what it needs as it is, and no other.
    const uint64 before = known->changed;
    const Leaf fresh = describe_leaf(store, role, root, relation);
    compat::injection_point(described_points[static_cast<int>(role)]);
    known->leaf = fresh;
    known->role = role;
    known->described = fresh.provisional ? 0 : before;
    return fresh;
}

} // namespace dms_refs
