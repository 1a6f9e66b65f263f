//! The network configuration list: the built-in one, a given one, and what stands in its way.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tweed_host::bounded_file::{self, Links};

use super::limits::LIST_LIMIT;
use crate::config::cni_names::{LINKS, PLUGIN};

/// The versions of the specification, all of which the plugins speak.
const VERSIONS: [&str; 7] = [
    "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0",
];

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
    // Kubernetes mounts a ConfigMap as links.
    let text = bounded_file::read_text(file, Links::Followed, LIST_LIMIT)
        .with_context(|| format!("read {}", file.display()))?;
    check(&text).with_context(|| format!("{} is no network configuration list", file.display()))?;
    Ok(text)
}

fn check(text: &str) -> anyhow::Result<()> {
    let list: Value = serde_json::from_str(text)?;
    let full = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    if !full(&list["name"]) {
        bail!("it has no name");
    }
    check_versions(&list)?;
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

/// A runtime takes the highest of these versions that it knows; a list without any is of the oldest.
fn check_versions(list: &Value) -> anyhow::Result<()> {
    let one = Some(&list["cniVersion"]).filter(|version| !version.is_null());
    let several = match &list["cniVersions"] {
        Value::Null => &[],
        Value::Array(versions) => versions.as_slice(),
        other => bail!("cniVersions is {other}, want a list"),
    };
    let versions: Vec<&Value> = one.into_iter().chain(several).collect();
    if let Some(wrong) = versions.iter().find(|version| !version.is_string()) {
        bail!("cniVersion is {wrong}, want a text such as \"1.0.0\"");
    }
    let known = |version: &&Value| {
        version
            .as_str()
            .is_some_and(|text| VERSIONS.contains(&text))
    };
    match versions.iter().copied().find(|version| !known(version)) {
        Some(wrong) if !versions.iter().copied().any(|version| known(&version)) => bail!(
            "cniVersion {wrong} is none that runtimes and plugins speak ({})",
            VERSIONS.join(", ")
        ),
        _ => Ok(()),
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
    let of = |plugin: &Value| {
        // Plugins that ours call are run in the same process where they are ours.
        let called = [&plugin["ipam"]["type"], &plugin["delegate"]["type"]];
        let called = called.into_iter().filter_map(Value::as_str);
        let called = called.filter(|name| !LINKS.contains(name) && *name != PLUGIN);
        let names = plugin["type"].as_str().into_iter().chain(called);
        names.map(str::to_owned).collect::<Vec<_>>()
    };
    let mut names: Vec<String> = plugins.flat_map(of).collect();
    names.retain(|name| !bin_dir.join(name).exists());
    names
}

pub(super) fn is_configuration(name: &str) -> bool {
    let extension = Path::new(name)
        .extension()
        .and_then(|extension| extension.to_str());
    matches!(extension, Some("conf" | "conflist" | "json"))
}
