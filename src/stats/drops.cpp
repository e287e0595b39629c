// Notices dropped tables and databases, so that their counters go with them.
//
// State: the chain of hooks. Other modules' hooks run first. Errors: none of its own.
#include "stats/statistics.hpp"

namespace dms_refs {

namespace {

object_access_hook_type previous_hook = nullptr;

void on_object_access(ObjectAccessType access, Oid catalog, Oid object, int sub_object, void *argument) {
    if (previous_hook != nullptr)
        previous_hook(access, catalog, object, sub_object, argument);
    if (access != OAT_DROP || sub_object != 0)
        return;
    if (catalog == RelationRelationId)
        note_drop(MyDatabaseId, object);
    else if (catalog == DatabaseRelationId)
        note_drop(object, InvalidOid);
}

} // namespace

void watch_drops() {
    previous_hook = object_access_hook;
    object_access_hook = on_object_access;
}

} // namespace dms_refs
