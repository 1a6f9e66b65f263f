//! The host's ends of containers' veth pairs: ports of bridges, and those that routes lead to. None is ever made here:
//! the other end is the container's.

use tweed_host::KernelError;
use tweed_model::Vlan;
use tweed_netlink::{Dev, LinkChange, LinkInfo, Netlink, NetlinkError, VlanEntry};
use tweed_state::attached::PodPort;

use super::refusal::{hosts_own, refused};
use crate::linux::Linux;

/// A port with the interface of the bridge that it is in, and its VLANs.
pub(crate) fn read(info: &LinkInfo, bridge: Option<&LinkInfo>, vlans: &[VlanEntry]) -> PodPort {
    let default = bridge
        .and_then(|bridge| bridge.bridge)
        .map(|bridge| bridge.default_pvid);
    let is_in = |vid: &u16| vlans.iter().any(|vlan| vlan.vid == *vid);
    PodPort {
        bridge: bridge.map(|bridge| bridge.name.clone()),
        up: info.up,
        hairpin: info.port.is_some_and(|port| port.hairpin),
        isolated: info.port.is_some_and(|port| port.isolated),
        vlans: vlans.iter().map(of_entry).collect(),
        default_vlan: default.filter(is_in),
        keeps_default_vlan: false,
    }
}

fn of_entry(entry: &VlanEntry) -> Vlan {
    Vlan {
        vid: entry.vid,
        native: entry.pvid && entry.untagged,
    }
}

/// Puts an end into its bridge, up, with its flags and VLANs; or up, and into none. One that is gone has been removed
/// with its container.
pub(crate) fn put(linux: &mut Linux, name: &str, port: &PodPort) -> Result<(), KernelError> {
    match attempt(linux, name, port)? {
        Err(error) if error.is_not_found() => Ok(()),
        result => result.map_err(Into::into),
    }
}

/// The host's end of a container's pair has no address but the kernel's own.
fn has_addr(netlink: &mut Netlink, dev: Dev<'_>) -> Result<bool, KernelError> {
    let addrs = netlink.addrs(Some(dev.index))?;
    Ok(addrs.iter().any(|addr| addr.scope == 0))
}

/// The host's end of a container's pair; `None` if it is gone.
///
/// # Errors
/// When the name is that of another interface.
pub(super) fn containers_end(
    linux: &mut Linux,
    name: &str,
) -> Result<Option<LinkInfo>, KernelError> {
    let own = hosts_own(linux, name);
    let Some(there) = linux.netlink.link(name)? else {
        return Ok(None);
    };
    if own || there.kind != "veth" || has_addr(&mut linux.netlink, there.dev())? {
        let why = "a record calls it a container's, and it is the host's: remove the record";
        return Err(refused(name, why));
    }
    Ok(Some(there))
}

/// Brings up an end that is in no bridge.
fn stand_alone(linux: &mut Linux, name: &str) -> Result<Result<(), NetlinkError>, KernelError> {
    let Some(there) = containers_end(linux, name)? else {
        return Ok(Ok(()));
    };
    let place = LinkChange {
        master: there.master.map(|_| 0),
        up: Some(true),
        ..LinkChange::default()
    };
    Ok(linux.netlink.set_link(there.dev(), &place))
}

fn attempt(
    linux: &mut Linux,
    name: &str,
    port: &PodPort,
) -> Result<Result<(), NetlinkError>, KernelError> {
    let Some(bridge) = port.bridge.as_deref() else {
        return stand_alone(linux, name);
    };
    let there = linux.netlink.link(bridge)?;
    let Some(bridge) = there.filter(|there| there.kind == "bridge") else {
        return Err(refused(name, &format!("there is no bridge {bridge}")));
    };
    let Some(there) = containers_end(linux, name)? else {
        return Ok(Ok(()));
    };
    let dev = there.dev();
    let netlink = &mut linux.netlink;
    let joins = there.master != Some(bridge.index);
    let place = LinkChange {
        master: joins.then_some(bridge.index),
        up: Some(true),
        ..LinkChange::default()
    };
    // Only what is a port already takes the flags of one.
    let flags = LinkChange {
        hairpin: Some(port.hairpin),
        isolated: Some(port.isolated),
        ..LinkChange::default()
    };
    let mut put = || {
        netlink.set_link(dev, &place)?;
        netlink.set_link(dev, &flags)?;
        if port.vlans.is_empty() {
            return Ok(());
        }
        let default = bridge.bridge.map_or(0, |bridge| bridge.default_pvid);
        if default != 0 && !port.keeps_default_vlan {
            netlink.del_vlan(dev, default, false)?;
        }
        port.vlans.iter().try_for_each(|vlan| {
            let entry = VlanEntry {
                vid: vlan.vid,
                pvid: vlan.native,
                untagged: vlan.native,
            };
            netlink.add_vlan(dev, entry, false)
        })
    };
    Ok(put())
}
