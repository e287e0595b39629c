// Asking for privileges: see relation.hpp.
#include "pg/relation.hpp"

namespace dms_refs {

bool grants(Relation table, AclMode mode) {
    const Oid role = GetUserId();
    if (compat::schema_usage(RelationGetNamespace(table), role) != ACLCHECK_OK)
        return false;
    // One look for all of them: a privilege at a time only where that fails.
    return pg_class_aclmask(RelationGetRelid(table), role, mode, ACLMASK_ALL) == mode;
}

bool owner_may_look_up(Oid table) {
    HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
    if (!HeapTupleIsValid(tuple))
        return false;
    const auto *form = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple));
    const Oid owner = form->relowner;
    const Oid schema = form->relnamespace;
    ReleaseSysCache(tuple);
    constexpr AclMode wanted = ACL_SELECT | ACL_UPDATE;
    return compat::schema_usage(schema, owner) == ACLCHECK_OK &&
           pg_class_aclmask(table, owner, wanted, ACLMASK_ALL) == wanted;
}

void require_privileges(Relation table, AclMode mode, std::span<const AttrNumber> columns) {
    const Oid role = GetUserId();
    const Oid schema = RelationGetNamespace(table);
    const AclResult usage = compat::schema_usage(schema, role);
    if (usage != ACLCHECK_OK)
        aclcheck_error(usage, OBJECT_SCHEMA, get_namespace_name(schema));

    // What the table itself does not grant must be granted on every column; DELETE has no columns.
    for (AclMode bit : {ACL_SELECT, ACL_INSERT, ACL_UPDATE, ACL_DELETE}) {
        if ((mode & bit) == 0 || pg_class_aclcheck(RelationGetRelid(table), role, bit) == ACLCHECK_OK)
            continue;
        bool granted = bit != ACL_DELETE && !columns.empty();
        for (AttrNumber column : columns)
            granted = granted && pg_attribute_aclcheck(RelationGetRelid(table), column, role, bit) == ACLCHECK_OK;
        if (!granted)
            aclcheck_error(ACLCHECK_NO_PRIV, get_relkind_objtype(table->rd_rel->relkind),
                           RelationGetRelationName(table));
    }
}

} // namespace dms_refs
