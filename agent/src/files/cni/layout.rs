//! Where the container runtime of k3s or RKE2 looks for plugins and lists. Both write their containerd's configuration
//! themselves, and name folders of their own there while their own flannel is on.

use std::path::{Path, PathBuf};

use tweed_host::bounded_file::{self, Links, MIB};

use crate::config::options::{CniOptions, Layout};

/// Folders of a distribution's own.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Folders {
    bin: PathBuf,
    conf: PathBuf,
}

/// Puts the folders that nobody has named where this host's runtime looks. `root` is `/`; `list` says whether a list is to
/// be placed too. Returns what an operator should know.
pub fn settle(options: &mut CniOptions, root: &Path, list: bool) -> Option<String> {
    let found = match options.layout {
        Layout::Standard => return None,
        Layout::K3s => Some(named(root, "k3s").unwrap_or_else(|| usual_of_k3s(root))),
        Layout::Rke2 => named(root, "rke2"),
        Layout::Auto if options.named_bin && options.named_conf => return None,
        Layout::Auto => {
            let mut all: Vec<_> = ["k3s", "rke2"]
                .into_iter()
                .filter_map(|name| Some((name, named(root, name)?)))
                .collect();
            let (name, folders) = all.pop()?;
            if !all.is_empty() {
                return Some("k3s and RKE2 both have folders of their own for plugins and lists; choose by --cni-layout, or name the folders".to_owned());
            }
            if list && has_foreign_list(&folders.conf) {
                return Some(format!(
                    "the list goes to {}, and the containerd of {name} reads {}, where there is another program's: with --flannel-backend=none {name} leaves both folders to others; --cni-layout={name} uses them all the same",
                    options.conf_dir.display(),
                    folders.conf.display()
                ));
            }
            Some(folders)
        }
    };
    if let Some(folders) = found {
        if !options.named_bin {
            options.bin_dir = folders.bin;
        }
        if !options.named_conf {
            options.conf_dir = folders.conf;
        }
    }
    None
}

/// The folders that the distribution's containerd has been given.
fn named(root: &Path, distribution: &str) -> Option<Folders> {
    let file = format!("var/lib/rancher/{distribution}/agent/etc/containerd/config.toml");
    let text = bounded_file::read_text(&root.join(file), Links::Followed, MIB).ok()?;
    let value = |key: &str| of_section(&text, key).map(PathBuf::from);
    Some(Folders {
        bin: value("bin_dir").or_else(|| value("bin_dirs"))?,
        conf: value("conf_dir")?,
    })
}

/// The first text that a key of a section `….cni]` has: `key = "text"`, or the first of a list on one line.
fn of_section<'t>(toml: &'t str, key: &str) -> Option<&'t str> {
    let mut within = false;
    for line in toml.lines().map(str::trim) {
        if line.starts_with('[') {
            within = line.ends_with(".cni]");
            continue;
        }
        let pair = line.split_once('=').filter(|_| within);
        let Some((_, value)) = pair.filter(|(name, _)| name.trim() == key) else {
            continue;
        };
        let mut parts = value.split(['"', '\'']);
        return parts.nth(1).filter(|text| text.starts_with('/'));
    }
    None
}

/// Releases until October 2024 had the plugins among their own programs.
fn usual_of_k3s(root: &Path) -> Folders {
    let data = root.join("var/lib/rancher/k3s");
    let fixed = data.join("data/cni");
    Folders {
        bin: match fixed.is_dir() {
            true => fixed,
            false => data.join("data/current/bin"),
        },
        conf: data.join("agent/etc/cni/net.d"),
    }
}

/// Whether there are lists, and none is ours.
fn has_foreign_list(conf: &Path) -> bool {
    let entries = std::fs::read_dir(conf).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let names: Vec<String> = names.collect();
    let has = |end: &str| names.iter().any(|name| name.ends_with(end));
    has(".conflist") && !has(".tweed-installed")
}

#[cfg(test)]
mod tests;
