//! What the agent placed for the container runtime, and what the plugins leave when no pod is attached any more: bridge,
//! nftables table, records and reservations. As long as a pod is attached these stay: it lives on them.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;
use tweed_attach::CNI_TABLE;
use tweed_attach::record::RECORDS_DIR;
use tweed_host::bounded_file::{self, Links};
use tweed_netlink::{Netfilter, Netlink};
use tweed_nft::{Change, live};

use super::remove::remove;
use super::report::CleanupReport;
use crate::config::options::CniOptions;
use crate::files::cni::{Folder, LIST_LIMIT, Replace};

/// Folders in which plugins keep their state.
pub(super) struct Folders {
    /// Records of attachments, from which the nftables table can be made again.
    pub(super) records: PathBuf,
    /// Reservations and delegates' configurations.
    pub(super) data: PathBuf,
}

impl Folders {
    /// The usual folders of a host.
    pub(super) fn of_host() -> Self {
        Self {
            records: RECORDS_DIR.into(),
            data: "/var/lib/cni".into(),
        }
    }
}

/// Removes files, table and bridge, or lists them.
///
/// # Errors
/// When a file can't be removed, or the kernel refuses.
pub(super) fn clean(
    options: &CniOptions,
    folders: &Folders,
    dry_run: bool,
    report: &mut CleanupReport,
) -> Result<()> {
    let network = Network::read(options);
    // The list goes first: without it the runtime starts no pods.
    for folder in [&options.conf_dir, &options.bin_dir] {
        if folder.exists() {
            let ours = Folder::open(folder, Replace::Ours)?.ours()?;
            files(&ours, dry_run, report)?;
        }
    }
    let mut netlink = Netlink::open().context("open a netlink socket")?;
    let bridge = match netlink.link(&network.bridge)? {
        Some(link) if link.kind == "bridge" => Some(link),
        _ => None,
    };
    if let Some(bridge) = &bridge {
        let links = netlink.links()?;
        let ports = links
            .iter()
            .filter(|link| link.master == Some(bridge.index));
        let ports = ports.count();
        if ports > 0 {
            report.warnings.push(format!(
                "{ports} pods are attached to {}: it stays, with their addresses and rules; run this again when they are gone",
                bridge.name
            ));
            return Ok(());
        }
        report.changes.push(format!("delete link {}", bridge.name));
        if !dry_run {
            netlink.del_link(bridge.dev())?;
        }
    }
    table(dry_run, report)?;
    let data = &folders.data;
    let traces = [
        folders.records.clone(),
        data.join("flannel"),
        data.join("networks").join(&network.name),
    ];
    files(&traces, dry_run, report)
}

fn files(paths: &[PathBuf], dry_run: bool, report: &mut CleanupReport) -> Result<()> {
    for path in paths {
        let there = match dry_run {
            true => path.exists() || path.is_symlink(),
            false => remove(path)?,
        };
        if there {
            report.files.push(path.clone());
        }
    }
    Ok(())
}

fn table(dry_run: bool, report: &mut CleanupReport) -> Result<()> {
    let mut socket = Netfilter::open().context("open a netlink socket")?;
    if live::observe(&mut socket, CNI_TABLE)?.is_none() {
        return Ok(());
    }
    let change = Change::Delete(CNI_TABLE.to_owned());
    report.changes.push(change.to_string());
    if !dry_run {
        live::apply(&mut socket, &change)?;
    }
    Ok(())
}

/// Names of network and bridge in the host's list.
struct Network {
    name: String,
    bridge: String,
}

impl Network {
    fn read(options: &CniOptions) -> Self {
        let list = options.conf_dir.join(&options.conf_name);
        let list = bounded_file::read(&list, Links::Followed, LIST_LIMIT).unwrap_or_default();
        let list: Value = serde_json::from_slice(&list).unwrap_or_default();
        let text = |value: &Value, default: &str| value.as_str().unwrap_or(default).to_owned();
        let name = text(&list["name"], "cbr0");
        Self {
            // A name with a path out of the folder is no network's.
            name: match crate::config::cni_names::file_name(&name) {
                Ok(()) => name,
                Err(_) => "cbr0".to_owned(),
            },
            bridge: text(&list["plugins"][0]["delegate"]["bridge"], "cni0"),
        }
    }
}
