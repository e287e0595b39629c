// Asking for privileges as an SQL statement would.
#pragma once

#include "pg/module.hpp"

namespace dms_refs {

// Whether the current user has USAGE on the table's schema and all privileges of mode on the table as a whole.
bool grants(Relation table, AclMode mode);

// Whether a table's owner may select from it and lock its rows: the server's foreign keys look in his name.
bool owner_may_look_up(Oid table);

// Raises 42501 where the current user lacks USAGE on the table's schema, or a privilege of mode on the table
// and on any of the columns.
void require_privileges(Relation table, AclMode mode, std::span<const AttrNumber> columns);

} // namespace dms_refs
