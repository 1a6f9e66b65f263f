//! The network configuration list: the built-in one, a given one, and what stands in its way.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::PLUGIN;

/// flannel's list: its name decides where host-local keeps addresses, so that pods survive a change of sides. The
/// portmap plugin is named only where there is one, since a list with a missing plugin starts no pod.
pub fn built_in(bin_dir: &Path, links: &[impl AsRef<str>]) -> String {
    let mut plugins = vec![json!({
        "type": "flannel",
        "delegate": { "hairpinMode": true, "isDefaultGateway": true },
    })];
    let portmap = "portmap";
    if links.iter().any(|link| link.as_ref() == portmap) || bin_dir.join(portmap).exists() {
        plugins.push(json!({ "type": portmap, "capabilities": { "portMappings": true } }));
    }
    // Runtimes that know the second key take the highest version they know; with 1.1.0 they ask for STATUS, too.
    let list = json!({
        "cniVersion": "1.0.0",
        "cniVersions": ["1.0.0", "1.1.0"],
        "name": "cbr0",
        "plugins": plugins,
    });
    format!("{list:#}\n")
}

/// Reads a list that somebody wrote, and checks what every runtime demands of it.
///
/// # Errors
/// If it can't be read, or a runtime would refuse it.
pub fn read(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    check(&text).with_context(|| format!("{} is no network configuration list", file.display()))?;
    Ok(text)
}

fn check(text: &str) -> anyhow::Result<()> {
    let list: Value = serde_json::from_str(text)?;
    let full = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    if !full(&list["name"]) {
        bail!("it has no name");
    }
    match list["plugins"].as_array() {
        Some(plugins) if !plugins.is_empty() => {
            match plugins.iter().position(|plugin| !full(&plugin["type"])) {
                Some(index) => bail!("plugin {index} has no type"),
                None => Ok(()),
            }
        }
        _ => bail!("it has no plugins"),
    }
}

/// The files that a runtime would take instead of ours: containerd and CRI-O use the first in the order of names.
///
/// # Errors
/// If the folder can't be read.
pub fn sorting_before(dir: &Path, ours: &str) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))?;
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| is_configuration(name) && name.as_str() < ours)
        .collect();
    names.sort();
    Ok(names.iter().map(|name| dir.join(name)).collect())
}

/// Whether this is a list of flannel's, or one of ours: its first plugin says so. The successor may replace it.
pub fn is_flannels(content: &[u8]) -> bool {
    let list: Value = serde_json::from_slice(content).unwrap_or_default();
    matches!(
        list["plugins"][0]["type"].as_str(),
        Some("flannel" | PLUGIN)
    )
}

/// The plugins that a list names and a folder lacks: with such a list no pod starts.
pub fn missing_plugins(list: &str, bin_dir: &Path) -> Vec<String> {
    let list: Value = serde_json::from_str(list).unwrap_or_default();
    let plugins = list["plugins"].as_array().into_iter().flatten();
    let types = plugins.filter_map(|plugin| plugin["type"].as_str());
    types
        .filter(|name| !bin_dir.join(name).exists())
        .map(str::to_owned)
        .collect()
}

fn is_configuration(name: &str) -> bool {
    let extension = Path::new(name)
        .extension()
        .and_then(|extension| extension.to_str());
    matches!(extension, Some("conf" | "conflist" | "json"))
}
