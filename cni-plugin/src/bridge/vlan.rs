//! VLANs of bridge ports, and the gateway of a VLAN.

use tweed_overlay::model::Family;
use tweed_overlay::netlink::{Dev, LinkChange, LinkInfo, Netlink, VethEnd, VethSpec, VlanEntry};

use super::config::Vlans;
use crate::identity;
use crate::spec::{CniError, Context};
use crate::sysctl;

/// Puts a new port into its VLANs.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn set(
    netlink: &mut Netlink,
    port: Dev<'_>,
    bridge: &LinkInfo,
    vlans: &Vlans,
) -> Result<(), CniError> {
    let default = bridge.bridge.map_or(0, |info| info.default_pvid);
    if !vlans.keep_default && default != 0 {
        netlink.del_vlan(port, default, false)?;
    }
    for vlan in wanted(vlans) {
        netlink.add_vlan(port, vlan, false)?;
    }
    Ok(())
}

/// A trunk without a VLAN for untagged frames puts them into VLAN 1, as bridges do.
pub(super) fn wanted(vlans: &Vlans) -> Vec<VlanEntry> {
    let native = vlans.native.unwrap_or(1);
    let tagged = vlans.trunk.iter().filter(|vid| **vid != native);
    let tagged = tagged.map(|vid| VlanEntry {
        vid: *vid,
        pvid: false,
        untagged: false,
    });
    std::iter::once(untagged(native)).chain(tagged).collect()
}

fn untagged(vid: u16) -> VlanEntry {
    VlanEntry {
        vid,
        pvid: true,
        untagged: true,
    }
}

/// The interface that has the gateway's address of a VLAN: `<bridge>.<vlan>`, one end of a veth pair whose other end is a
/// port in that VLAN. Made once, like the bridge, and never removed.
///
/// # Errors
/// When the name is too long for an interface, or the kernel refuses.
pub(super) fn gateway(
    netlink: &mut Netlink,
    bridge: &LinkInfo,
    vid: u16,
) -> Result<LinkInfo, CniError> {
    let name = format!("{}.{vid}", bridge.name);
    if name.len() > 15 {
        let msg = format!("interface name {name:?} for the gateway of VLAN {vid} is too long");
        return Err(CniError::config(msg).details("give the bridge a shorter name"));
    }
    let what = || format!("failed to set up the gateway of VLAN {vid}");
    if netlink.link(&name).context(what)?.is_none() {
        create_gateway(netlink, bridge, &name, vid).context(what)?;
    }
    netlink
        .link(&name)?
        .ok_or_else(|| CniError::failed(format!("{name} was removed while it was made")))
}

fn create_gateway(
    netlink: &mut Netlink,
    bridge: &LinkInfo,
    name: &str,
    vid: u16,
) -> Result<(), CniError> {
    let port_name = identity::gateway_port(name);
    let end = |name| VethEnd {
        name,
        mac: None,
        netns: None,
    };
    let spec = VethSpec {
        mtu: Some(bridge.mtu),
        end: end(&port_name),
        peer: end(name),
    };
    match netlink.add_veth_port(&spec, bridge.dev()) {
        // Another container's ADD was faster.
        Err(error) if error.is_exists() => return Ok(()),
        other => other?,
    }
    let find = |netlink: &mut Netlink, name: &str| {
        let link = netlink.link(name)?;
        link.ok_or_else(|| CniError::failed(format!("{name} has vanished")))
    };
    let port = find(netlink, &port_name)?;
    let default = bridge.bridge.map_or(0, |info| info.default_pvid);
    if default != 0 && default != vid {
        netlink.del_vlan(port.dev(), default, false)?;
    }
    netlink.add_vlan(port.dev(), untagged(vid), false)?;
    let accept_ra = sysctl::of_interface(Family::V6, name, "accept_ra");
    sysctl::set_if_there(&accept_ra, "0");
    let up = LinkChange {
        up: Some(true),
        ..LinkChange::default()
    };
    let gateway = find(netlink, name)?;
    Ok(netlink.set_link(gateway.dev(), &up)?)
}
