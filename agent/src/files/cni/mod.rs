//! The CNI plugin's files on this host: the plugin, its links, and the network configuration list. Runtimes start pods
//! the moment the list is there, so that it comes last. Every file appears whole, by rename.
//!
//! A file is ours if it is what an earlier run put there, which a record beside it tells. Anything else of the same name
//! belongs to somebody and is left alone.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tweed_overlay::bounded_file::MIB;

pub mod conflist;
mod folder;
mod record;

pub use folder::{Folder, Outcome, Placed, Replace};
pub use tweed_overlay::model::plugins::{BINARY as PLUGIN, LINKS};

/// More than a plugin has, with all its symbols too.
pub const PLUGIN_LIMIT: usize = 256 * MIB;
/// More than any network configuration list has.
pub const LIST_LIMIT: usize = MIB;
/// Folder for plugins.
pub const BIN_DIR: &str = "/opt/cni/bin";
/// Folder for network configurations.
pub const CONF_DIR: &str = "/etc/cni/net.d";
/// File name of the network configuration list: flannel's, so that either takes the other's place.
pub const CONF_NAME: &str = "10-flannel.conflist";

/// The plugin binary to install: the one beside this program, unless another is given.
///
/// # Errors
/// If there is none.
pub fn source(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(plugin) = given {
        return Ok(plugin.to_owned());
    }
    let own = std::env::current_exe().context("find this program's own file")?;
    let beside = own.with_file_name(PLUGIN);
    match beside.exists() {
        true => Ok(beside),
        false => bail!(
            "there is no {}: the plugin belongs beside this program",
            beside.display()
        ),
    }
}

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
