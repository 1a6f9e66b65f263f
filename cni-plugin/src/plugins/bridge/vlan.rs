//! VLANs of bridge ports, and the gateway of a VLAN.

use std::collections::BTreeSet;

use tweed_model::Family;
use tweed_netlink::{Dev, LinkInfo, Netlink, VethEnd, VethSpec, VlanEntry};

use super::config::Vlans;
use crate::net::sysctl::{of_interface, set_if_there};
use crate::net::{identity, link};
use crate::spec::{CniError, Context};

/// Puts a new port into its VLANs.
pub(super) fn set(
    netlink: &mut Netlink,
    port: Dev<'_>,
    bridge: &LinkInfo,
    vlans: &Vlans,
) -> Result<(), CniError> {
    for change in changes(default_of(bridge), vlans) {
        match change {
            Change::Leave(vid) => netlink.del_vlan(port, vid, false)?,
            Change::Join(vlan) => netlink.add_vlan(port, vlan, false)?,
        }
    }
    Ok(())
}

/// What is done to a port that its bridge has just put into its default VLAN.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    Leave(u16),
    Join(VlanEntry),
}

fn changes(default: Option<u16>, vlans: &Vlans) -> Vec<Change> {
    let leave = default.filter(|_| !vlans.keep_default).map(Change::Leave);
    let join = wanted(vlans).into_iter().map(Change::Join);
    leave.into_iter().chain(join).collect()
}

/// The VLAN that a bridge puts new ports into, if it does.
fn default_of(bridge: &LinkInfo) -> Option<u16> {
    let default = bridge.bridge.map(|info| info.default_pvid);
    default.filter(|default| *default != 0)
}

/// Whether a port is in all VLANs that it must be in, and not in the one that it must have left.
///
/// # Errors
/// The first VLAN that is not as it was.
pub(super) fn check(
    netlink: &mut Netlink,
    port: &LinkInfo,
    bridge: &LinkInfo,
    vlans: &Vlans,
) -> Result<(), CniError> {
    let present = netlink.vlans(port.dev())?;
    let present: BTreeSet<u16> = present.iter().map(|vlan| vlan.vid).collect();
    match drift(&present, default_of(bridge), vlans) {
        None => Ok(()),
        Some(what) => Err(CniError::drift(format!("{} {what}", port.name))),
    }
}

fn drift(present: &BTreeSet<u16>, default: Option<u16>, vlans: &Vlans) -> Option<String> {
    let wanted: BTreeSet<u16> = wanted(vlans).iter().map(|vlan| vlan.vid).collect();
    if let Some(missing) = wanted.difference(present).next() {
        return Some(format!("is not in VLAN {missing}"));
    }
    let left = default.filter(|default| !vlans.keep_default && !wanted.contains(default));
    let still = left.filter(|default| present.contains(default))?;
    Some(format!(
        "is in VLAN {still} too, the bridge's default; a new ADD takes it out, or set \"preserveDefaultVlan\": true"
    ))
}

/// The VLANs of a port. A trunk without one for untagged frames puts them into VLAN 1, as bridges do.
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

/// The interface that has the gateway's address of a VLAN: `<bridge>.<vlan>`, one end of a veth pair whose other end is
/// a port in that VLAN. Made once, like the bridge, and never removed.
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
    let port = link::existing(netlink, &port_name)?;
    if let Some(default) = default_of(bridge).filter(|default| *default != vid) {
        netlink.del_vlan(port.dev(), default, false)?;
    }
    netlink.add_vlan(port.dev(), untagged(vid), false)?;
    let accept_ra = of_interface(Family::V6, name, "accept_ra");
    set_if_there(&accept_ra, "0");
    let gateway = link::existing(netlink, name)?;
    link::bring_up(netlink, &gateway)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vlans(native: Option<u16>, trunk: &[u16], keep_default: bool) -> Vlans {
        Vlans {
            native,
            trunk: trunk.to_vec(),
            keep_default,
        }
    }

    fn tagged(vid: u16) -> Change {
        Change::Join(VlanEntry {
            vid,
            pvid: false,
            untagged: false,
        })
    }

    #[test]
    fn a_port_leaves_the_default_vlan_before_it_joins_its_own() {
        let native = |vid| Change::Join(untagged(vid));
        for (default, vlans, expected) in [
            (
                Some(1),
                vlans(Some(100), &[], false),
                vec![Change::Leave(1), native(100)],
            ),
            (Some(1), vlans(Some(100), &[], true), vec![native(100)]),
            (None, vlans(Some(100), &[], false), vec![native(100)]),
            (
                Some(7),
                vlans(Some(100), &[], false),
                vec![Change::Leave(7), native(100)],
            ),
            (
                Some(1),
                vlans(Some(1), &[], false),
                vec![Change::Leave(1), native(1)],
            ),
            (
                Some(1),
                vlans(None, &[5, 6], false),
                vec![Change::Leave(1), native(1), tagged(5), tagged(6)],
            ),
            (
                Some(1),
                vlans(Some(100), &[5, 100], false),
                vec![Change::Leave(1), native(100), tagged(5)],
            ),
        ] {
            assert_eq!(changes(default, &vlans), expected, "{vlans:?}");
        }
    }

    #[test]
    fn a_port_in_too_few_vlans_or_in_the_one_that_it_should_have_left_is_drift() {
        let drift = |present: &[u16], vlans: &Vlans| {
            drift(&present.iter().copied().collect(), Some(1), vlans)
        };
        let alone = vlans(Some(100), &[5], false);
        assert_eq!(drift(&[5, 100], &alone), None);
        assert_eq!(drift(&[100], &alone).as_deref(), Some("is not in VLAN 5"));
        let leak = drift(&[1, 5, 100], &alone).unwrap();
        assert!(leak.starts_with("is in VLAN 1 too"), "{leak}");
        assert_eq!(drift(&[1, 5, 100], &vlans(Some(100), &[5], true)), None);
        assert_eq!(drift(&[1, 5], &vlans(None, &[5], false)), None);
        // What another plugin has joined is its own affair.
        assert_eq!(drift(&[5, 9, 100], &alone), None);
    }
}
