//! Devices and rules that have no end with their container.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use serde::Deserialize;
use tweed_host::bounded_file::{self, MIB};
use tweed_netlink::{LinkInfo, Netfilter, Netlink};

use super::claims::Claims;
use super::scope::Collected;
use crate::live::forwarding;
use crate::{Owner, sha512_hex};

/// Removes the devices to which `bandwidth` has led what these attachments sent. Ours have a name as alias; Go's have
/// none, and are known by a hash of network and container.
pub(super) fn devices(
    netlink: &mut Netlink,
    links: &[LinkInfo],
    claims: &Claims,
    doomed: &BTreeSet<Owner>,
    collected: &mut Collected,
) {
    let containers = claims.containers(doomed).into_iter();
    let gos: BTreeSet<String> = containers
        .map(|(network, container)| {
            format!("bwp{}", sha512_hex(&format!("{network}{container}"), 12))
        })
        .collect();
    let is_theirs = |link: &LinkInfo| match link.alias.as_str() {
        "" => gos.contains(&link.name),
        alias => Owner::parse(alias).is_some_and(|owner| doomed.contains(&owner)),
    };
    for link in links.iter().filter(|link| link.kind == "ifb") {
        if is_theirs(link) {
            let removed = match netlink.del_link(link.dev()) {
                Err(error) if error.is_not_found() => continue,
                removed => removed,
            };
            if collected.note(Path::new(&link.name), removed).is_some() {
                collected.devices += 1;
            }
        }
    }
}

/// A record of `firewall`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Forwarded {
    network: String,
    #[serde(rename = "containerID")]
    container_id: String,
    ifname: String,
    forwarded: BTreeSet<IpAddr>,
}

/// Removes the rules that forward for these attachments. An address that another attachment has by now keeps its rules.
pub(super) fn rules(
    netfilter: &mut Netfilter,
    records: &Path,
    doomed: &BTreeSet<Owner>,
    collected: &mut Collected,
) {
    let entries = fs::read_dir(records).into_iter().flatten().flatten();
    let all = entries.filter_map(|entry| {
        let text = bounded_file::read_trusted(&entry.path(), MIB).ok()?;
        let record: Forwarded = serde_json::from_str(&text).ok()?;
        let owner = Owner::new(&record.network, &record.container_id, &record.ifname);
        Some((entry.path(), owner, record.forwarded))
    });
    let (stale, kept): (Vec<_>, Vec<_>) = all.partition(|(_, owner, _)| doomed.contains(owner));
    let kept: BTreeSet<IpAddr> = kept.into_iter().flat_map(|(_, _, addrs)| addrs).collect();
    for (file, _, addrs) in stale {
        let addrs = &addrs - &kept;
        let removed = forwarding::unaccept(netfilter, &addrs);
        if collected.note(&file, removed).is_some()
            && collected.note(&file, fs::remove_file(&file)).is_some()
        {
            collected.rules += 1;
        }
    }
}
