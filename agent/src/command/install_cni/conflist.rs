//! The network configuration list: the built-in one, a given one, and what stands in its way.

use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Value, json};

/// flannel's list: its name decides where host-local keeps addresses, so that pods survive a change of sides. The
/// portmap plugin is named only where there is one, since a list with a missing plugin starts no pod.
pub(super) fn built_in(bin_dir: &Path, links: &[String]) -> String {
    let mut plugins = vec![json!({
        "type": "flannel",
        "delegate": { "hairpinMode": true, "isDefaultGateway": true },
    })];
    let portmap = "portmap";
    if links.iter().any(|link| link == portmap) || bin_dir.join(portmap).exists() {
        plugins.push(json!({ "type": portmap, "capabilities": { "portMappings": true } }));
    }
    let list = json!({ "cniVersion": "1.0.0", "name": "cbr0", "plugins": plugins });
    format!("{list:#}\n")
}

/// Reads a list that somebody wrote, and checks what every runtime demands of it.
pub(super) fn read(file: &Path) -> anyhow::Result<String> {
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

/// Warnings about files that a runtime would take instead: containerd and CRI-O use the first in the order of names.
pub(super) fn sorting_before(dir: &Path, ours: &str) -> anyhow::Result<Vec<String>> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))?;
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| is_configuration(name) && name.as_str() < ours)
        .collect();
    names.sort();
    let warning = |name: &String| {
        let path = dir.join(name);
        format!(
            "{} sorts before {ours}: runtimes use it instead of ours; remove it, or choose an earlier --conf-name",
            path.display()
        )
    };
    Ok(names.iter().map(warning).collect())
}

fn is_configuration(name: &str) -> bool {
    let extension = Path::new(name)
        .extension()
        .and_then(|extension| extension.to_str());
    matches!(extension, Some("conf" | "conflist" | "json"))
}
