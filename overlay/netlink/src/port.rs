//! Notifications of bridges about their ports.

use netlink_packet_core::Nla;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{
    AfSpecBridge, BridgeVlanInfo, LinkAttribute, LinkMessage, LinkProtoInfoBridge,
};

/// `IFLA_BRPORT_MODE` and `IFLA_BRPORT_ISOLATED`.
const HAIRPIN: u16 = 4;
const ISOLATED: u16 = 33;

/// What a bridge reports of a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortNotice {
    /// Frames may leave through the port they came in by.
    pub hairpin: bool,
    /// No frames to other isolated ports.
    pub isolated: bool,
    /// Its VLANs, in ranges.
    pub vlans: Vec<BridgeVlanInfo>,
}

/// Reads a notification. `None` if no bridge has sent it, or it tells nothing of a port.
pub fn port_notice(message: &LinkMessage) -> Option<PortNotice> {
    if message.header.interface_family != AddressFamily::Bridge {
        return None;
    }
    let mut attributes = message.attributes.iter();
    let switches = attributes.find_map(|attribute| match attribute {
        LinkAttribute::ProtoInfoBridge(switches) => Some(switches),
        _ => None,
    })?;
    let is_on = |kind| {
        let mut switches = switches.iter();
        switches.any(|switch| switch.kind() == kind && value(switch) == [1])
    };
    let parts = message
        .attributes
        .iter()
        .filter_map(|attribute| match attribute {
            LinkAttribute::AfSpecBridge(parts) => Some(parts),
            _ => None,
        });
    let vlans = parts.flatten().filter_map(|part| match part {
        AfSpecBridge::VlanInfo(info) => Some(*info),
        _ => None,
    });
    Some(PortNotice {
        hairpin: is_on(HAIRPIN),
        isolated: is_on(ISOLATED),
        vlans: vlans.collect(),
    })
}

fn value(switch: &LinkProtoInfoBridge) -> Vec<u8> {
    let mut value = vec![0; switch.value_len()];
    switch.emit_value(&mut value);
    value
}
