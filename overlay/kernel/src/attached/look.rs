//! Reads wanted and observed attachments. The records are read after the kernel: a plugin that removes an attachment
//! withdraws its record first, so that a missing object that still has a record is damage.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;
use tweed_attach::Owner;
use tweed_attach::live::forwarding::Forwarding;
use tweed_attach::live::{Recorded, Table};
use tweed_host::{KernelError, sysctl};
use tweed_netlink::{LinkInfo, VlanEntry};
use tweed_state::Attached;
use tweed_state::attached::{UsedBridge, missing_ports};

use super::discarded;
use super::state::AttachmentState;
use super::used::used;
use super::wanted::wanted;
use super::ways;
use crate::kinds::{bridge, pair, port};
use crate::linux::{Linux, or_none};

/// Wanted and observed attachments.
#[derive(Clone, Debug, Default)]
pub struct Attachments {
    /// Wanted by the records.
    pub wanted: Attached,
    /// Observed in the kernel.
    pub there: Attached,
    /// Bridges with ports, whatever made them.
    pub bridges: Vec<UsedBridge>,
    /// Attachments with elements in the packet filter that were there at the last look and are missing now: an earlier
    /// version of the plugin may be removing them, and withdraw their record a moment later.
    pub unsure: BTreeSet<String>,
    /// Attachments of running containers whose port is gone, and its name.
    pub portless: BTreeMap<String, String>,
    /// The same, where it is unknown whether the container runs.
    pub doubtful: BTreeMap<String, String>,
    /// Folders with records that can't be read here, and why.
    pub out_of_reach: BTreeMap<PathBuf, String>,
}

/// Reads both.
pub(crate) fn look(linux: &mut Linux, networks: &[IpNet]) -> Result<Attachments, KernelError> {
    let Some(mut attachment_state) = linux.attachment_state.take() else {
        return Ok(Attachments::default());
    };
    let result = attempt(linux, &mut attachment_state, networks);
    linux.attachment_state = Some(attachment_state);
    result
}

fn attempt(
    linux: &mut Linux,
    attachment_state: &mut AttachmentState,
    networks: &[IpNet],
) -> Result<Attachments, KernelError> {
    let before = attachment_state.records.read();
    let links = linux.netlink.links()?;
    let bridges = used(&mut linux.netlink, &links)?;
    let discarded = discarded::names(&links);
    if before.attachments.is_empty() && !before.loopback_open {
        attachment_state.recorded = Arc::clone(&before);
        return Ok(Attachments {
            there: Attached {
                discarded,
                ..Attached::default()
            },
            bridges,
            out_of_reach: before.out_of_reach.clone(),
            ..Attachments::default()
        });
    }
    let names: BTreeSet<&str> = links.iter().map(|link| link.name.as_str()).collect();
    let expected = wanted(&before, networks, |name| names.contains(name));
    let mut books = linux.ledger.lock();
    books
        .places
        .renew(&links, |name| expected.pairs.contains_key(name));
    drop(books);
    let mut there = links_there(linux, &links, &expected)?;
    ways::there(linux, &links, &expected, &mut there)?;
    if expected.rules {
        attachment_state.table.look(linux.firewall.socket())?;
        table_there(&attachment_state.table, &before, &mut there);
    }
    if !expected.sources.is_empty() {
        attachment_state.sources.look(linux.firewall.socket())?;
        sources_there(&attachment_state.sources, &expected, &mut there);
    }
    if !expected.forwarded.is_empty() {
        attachment_state.forwarding.look(linux.firewall.socket())?;
        forwarding_there(&attachment_state.forwarding, &before, &mut there);
    }
    // From here on nothing is read from the kernel.
    let after = attachment_state.records.read();
    let mut want = match Arc::ptr_eq(&before, &after) {
        true => expected,
        false => common(
            expected,
            wanted(&after, networks, |name| names.contains(name)),
        ),
    };
    leave_shared_mtu(&links, &mut want);
    discarded::leave_cut(&links, &after, &mut want);
    leave_uplink(&linux.ledger.lock().scope.uplink, &mut want);
    let unsure = attachment_state.unsure(&want, &there);
    let missing: Vec<(String, Owner)> = missing_ports(&want, &there)
        .filter_map(|(port, owner)| Some((port.clone(), Owner::parse(owner)?)))
        .collect();
    attachment_state.recorded = Arc::clone(&after);
    let found = attachment_state.gone.look(&missing, &after, Instant::now());
    there.gone = found.gone;
    there.discarded = discarded;
    Ok(Attachments {
        wanted: want,
        there,
        bridges,
        unsure,
        portless: found.alive,
        doubtful: found.doubtful,
        out_of_reach: after.out_of_reach.clone(),
    })
}

/// The part that was wanted both before the look and after it.
fn common(mut before: Attached, after: Attached) -> Attached {
    before
        .owners
        .retain(|port, _| after.owners.contains_key(port));
    before
        .ports
        .retain(|port, _| after.ports.contains_key(port));
    before
        .masquerade
        .retain(|owner, _| after.masquerade.contains_key(owner));
    before
        .sources
        .retain(|owner, _| after.sources.contains_key(owner));
    before
        .host_ports
        .retain(|owner, _| after.host_ports.contains_key(owner));
    before
        .neighs
        .retain(|neigh, mac| after.neighs.get(neigh) == Some(mac));
    before
        .pairs
        .retain(|name, _| after.pairs.contains_key(name));
    before
        .forwarded
        .retain(|owner, _| after.forwarded.contains_key(owner));
    let mut bridges = after.bridges;
    bridges.retain(|name, _| before.bridges.contains_key(name));
    Attached {
        routes: before.routes.intersection(&after.routes).cloned().collect(),
        addrs: before.addrs.intersection(&after.addrs).cloned().collect(),
        bridges,
        ..before
    }
}

fn links_there(
    linux: &mut Linux,
    links: &[LinkInfo],
    want: &Attached,
) -> Result<Attached, KernelError> {
    let mut there = Attached::default();
    let by_vlan = want.ports.values().any(|port| !port.vlans.is_empty());
    let vlans: BTreeMap<u32, Vec<VlanEntry>> = match by_vlan {
        true => linux.netlink.all_vlans()?,
        false => BTreeMap::new(),
    };
    let holders: BTreeSet<&String> = want.addrs.iter().map(|(name, _)| name).collect();
    for link in links {
        let name = &link.name;
        if want.bridges.contains_key(name)
            && let Some(bridge) = bridge::read(link)
        {
            there.bridges.insert(name.clone(), bridge);
        }
        if want.ports.contains_key(name) {
            let bridge = links.iter().find(|other| Some(other.index) == link.master);
            let vlans = vlans.get(&link.index).map_or(&[][..], Vec::as_slice);
            there
                .ports
                .insert(name.clone(), port::read(link, bridge, vlans));
        }
        if want.pairs.contains_key(name) {
            there.pairs.insert(name.clone(), pair::read(link));
        }
        if holders.contains(name) {
            let addrs = or_none(linux.netlink.addrs(Some(link.index)))?;
            there
                .addrs
                .extend(addrs.iter().map(|addr| (name.clone(), addr.net)));
        }
    }
    for key in want.sysctls.keys() {
        if let Ok(Some(value)) = sysctl::read(key) {
            there.sysctls.insert(key.clone(), value);
        }
    }
    Ok(there)
}

fn table_there(table: &Table, recorded: &Recorded, there: &mut Attached) {
    there.rules = table.stands();
    for (owner, attachment) in recorded.attachments.iter().filter(|_| table.stands()) {
        let masqueraded = &attachment.masquerade;
        if !masqueraded.is_empty() && table.masquerades(owner, masqueraded) {
            there
                .masquerade
                .insert(owner.to_string(), masqueraded.clone());
        }
        if let Some(publication) = &attachment.publication
            && table.publishes(owner, publication)
        {
            let claims = publication.claims().unwrap_or_default();
            let words: Vec<String> = claims.keys().map(ToString::to_string).collect();
            there.host_ports.insert(owner.to_string(), words.join(", "));
        }
    }
}

fn forwarding_there(forwarding: &Forwarding, recorded: &Recorded, there: &mut Attached) {
    for (owner, attachment) in &recorded.attachments {
        let record = attachment.forwarded.as_ref();
        if let Some(record) = record.filter(|record| forwarding.has(record)) {
            there.forwarded.insert(owner.to_string(), record.words());
        }
    }
}

/// Leaves the bridge by which the host itself is reached, though it may have containers' ports.
fn leave_uplink(uplink: &str, want: &mut Attached) {
    want.bridges.remove(uplink);
    want.addrs.retain(|(holder, _)| holder != uplink);
    let of_uplink = |key: &String| key.split('/').nth(3) == Some(uplink);
    want.sysctls.retain(|key, _| !of_uplink(key));
}

fn sources_there(table: &Table, want: &Attached, there: &mut Attached) {
    there.sources.clone_from(&want.sources);
    there.sources.retain(|owner, (port, mac)| {
        let owner = Owner::parse(owner);
        owner.is_some_and(|owner| table.binds_source(&owner, port, *mac))
    });
}

/// Leaves the MTU of a bridge that has other ports too: it follows from theirs as well.
fn leave_shared_mtu(links: &[LinkInfo], want: &mut Attached) {
    for bridge in links.iter().filter(|link| link.kind == "bridge") {
        let mut ports = links
            .iter()
            .filter(|link| link.master == Some(bridge.index));
        if ports.any(|port| !want.ports.contains_key(&port.name))
            && let Some(bridge) = want.bridges.get_mut(&bridge.name)
        {
            bridge.mtu = None;
        }
    }
}
