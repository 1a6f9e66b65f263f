//! The files that the agent writes: its own state, its notice for the plugins, and with `--install-cni` the plugin and
//! the network configuration list.

pub mod atomic;
pub mod cni;
pub mod for_plugins;
pub mod state_dir;
pub mod watch;
pub mod writer;

/// Device and inode of what has this name now.
pub fn file_id(path: &std::path::Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let found = std::fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}
