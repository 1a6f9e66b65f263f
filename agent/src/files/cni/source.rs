//! Where the plugin comes from that is installed.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::config::cni_names::PLUGIN;

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
