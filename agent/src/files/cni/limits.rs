//! How large the files may be that are read.

use tweed_host::bounded_file::MIB;

/// More than a plugin has, with all its symbols too.
pub const PLUGIN_LIMIT: usize = 256 * MIB;
/// More than any network configuration list has.
pub const LIST_LIMIT: usize = MIB;
