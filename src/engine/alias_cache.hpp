// The backend's cache of alias row addresses: storage, setting and lifetime of core/row_cache.hpp.
#pragma once

#include "core/row_cache.hpp"
#include "pg/module.hpp"

namespace dms_refs {

// The cache, sized as dms_refs.alias_cache says now. It lives until the backend ends.
core::RowCache &alias_cache();

} // namespace dms_refs
