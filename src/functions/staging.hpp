// What DISCARD does to this session's state: see staging.cpp.
#pragma once

#include "pg/module.hpp"

namespace dms_refs {

// Hooks utility statements; once, when the module is loaded.
void register_discard();

} // namespace dms_refs
