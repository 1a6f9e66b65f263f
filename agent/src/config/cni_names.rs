//! The names of the CNI plugin's files on a host, and their usual folders.

use std::path::Path;

use anyhow::bail;
pub use tweed_model::plugins::{BINARY as PLUGIN, LINKS};

/// Folder for plugins.
pub const BIN_DIR: &str = "/opt/cni/bin";
/// Folder for network configurations.
pub const CONF_DIR: &str = "/etc/cni/net.d";
/// File name of the network configuration list: flannel's, so that either takes the other's place.
pub const CONF_NAME: &str = "10-flannel.conflist";

/// Checks that a name stays within its folder.
///
/// # Errors
/// If it doesn't.
pub fn file_name(name: &str) -> anyhow::Result<()> {
    match Path::new(name).file_name() {
        Some(file) if file == name => Ok(()),
        _ => bail!("{name:?} is not a file name"),
    }
}
