//! Bridges: create, port attributes, VLANs of ports.

use std::collections::BTreeMap;
use std::fmt;

use netlink_packet_route::link::{
    BridgeVlanInfoFlags, InfoKind, LinkAttribute, LinkExtentMask, LinkMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use rtnetlink::{LinkBridge, LinkBridgePort, LinkBridgeVlan, LinkMessageBuilder};
use tweed_model::Mac;

use super::attributes::{attribute, attributes, number, short};
use super::error::{NetlinkError, Object};
use super::info::NEW_LINK;
use super::{Dev, Netlink};

/// A bridge to create.
#[derive(Clone, Debug, Default)]
pub struct BridgeSpec {
    /// MTU in bytes; the kernel's default (1500, then that of the smallest port) if none.
    pub mtu: Option<u32>,
    /// Ethernet address. Without one the bridge takes that of a port, and changes it as ports come and go.
    pub mac: Option<Mac>,
    /// Filter frames by VLAN.
    pub vlan_filtering: bool,
    /// VLAN of untagged frames on new ports; the kernel's default (1) if none, 0 for no such VLAN.
    pub default_pvid: Option<u16>,
}

/// What to change of a bridge port, in one request.
#[derive(Clone, Copy, Debug, Default)]
pub struct PortChange {
    /// Frames may leave through the port they came in by.
    pub hairpin: Option<bool>,
    /// No frames to other isolated ports.
    pub isolated: Option<bool>,
}

/// A VLAN of a bridge port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VlanEntry {
    /// VLAN number, 1 to 4094.
    pub vid: u16,
    /// Untagged frames that come in belong to this VLAN.
    pub pvid: bool,
    /// Frames of this VLAN leave without a tag.
    pub untagged: bool,
}

impl Netlink {
    /// Creates a bridge, down.
    ///
    /// # Errors
    /// `EEXIST` when the name is taken.
    pub fn add_bridge(&mut self, name: &str, spec: &BridgeSpec) -> Result<(), NetlinkError> {
        let mut bridge = LinkBridge::new(name);
        if let Some(mtu) = spec.mtu {
            bridge = bridge.mtu(mtu);
        }
        if let Some(mac) = spec.mac {
            bridge = bridge.address(mac.0.to_vec());
        }
        if spec.vlan_filtering {
            bridge = bridge.vlan_filtering(true);
        }
        if let Some(vid) = spec.default_pvid {
            bridge = bridge.vlan_default_pvid(vid);
        }
        self.add_link(format_args!("add bridge {name}"), bridge.build())
    }

    /// Switches VLAN filtering of a bridge.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn set_vlan_filtering(&mut self, dev: Dev<'_>, on: bool) -> Result<(), NetlinkError> {
        // Without the name: Linux 6.1 takes it for a new one, and refuses to rename what is up.
        let message = LinkMessageBuilder::<LinkBridge>::new_with_info_kind(InfoKind::Bridge)
            .index(dev.index)
            .vlan_filtering(on)
            .build();
        let what = format_args!("set bridge {} vlan_filtering {}", dev.name, u8::from(on));
        self.change(Object::Link, what, Message::NewLink(message), 0)
    }

    /// Changes attributes of a port. The device must be a port already: joining and this are two requests.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn set_bridge_port(
        &mut self,
        dev: Dev<'_>,
        change: &PortChange,
    ) -> Result<(), NetlinkError> {
        let mut port = LinkBridgePort::new(dev.index);
        if let Some(on) = change.hairpin {
            port = port.hairpin(on);
        }
        if let Some(on) = change.isolated {
            port = port.isolated(on);
        }
        let what = format_args!("set bridge port {}{change}", dev.name);
        self.change(Object::Link, what, Message::NewLink(port.build()), 0)
    }

    /// Adds a VLAN to a port, or with `bridge` to the bridge device itself. Adding it again changes its flags.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn add_vlan(
        &mut self,
        dev: Dev<'_>,
        vlan: VlanEntry,
        bridge: bool,
    ) -> Result<(), NetlinkError> {
        let mut flags = BridgeVlanInfoFlags::empty();
        flags.set(BridgeVlanInfoFlags::Pvid, vlan.pvid);
        flags.set(BridgeVlanInfoFlags::Untagged, vlan.untagged);
        let message = vlan_message(dev, vlan.vid, flags, bridge);
        let what = format_args!("add vlan {} to {}", vlan.vid, dev.name);
        self.change(Object::Link, what, Message::SetLink(message), 0)
    }

    /// Removes a VLAN from a port, or with `bridge` from the bridge device itself. An absent one is no error.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn del_vlan(&mut self, dev: Dev<'_>, vid: u16, bridge: bool) -> Result<(), NetlinkError> {
        let message = vlan_message(dev, vid, BridgeVlanInfoFlags::empty(), bridge);
        let what = format_args!("delete vlan {vid} from {}", dev.name);
        self.change(Object::Link, what, Message::DelLink(message), 0)
    }

    /// The VLANs of a port or bridge, by number.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn vlans(&mut self, dev: Dev<'_>) -> Result<Vec<VlanEntry>, NetlinkError> {
        Ok(self.all_vlans()?.remove(&dev.index).unwrap_or_default())
    }

    /// The VLANs of all ports and bridges, by the interface's index.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn all_vlans(&mut self) -> Result<BTreeMap<u32, Vec<VlanEntry>>, NetlinkError> {
        let mut request = LinkMessage::default();
        request.header.interface_family = AddressFamily::Bridge;
        request.attributes = vec![LinkAttribute::ExtMask(vec![LinkExtentMask::Brvlan])];
        let what = "list vlans of bridge ports";
        let request = Message::GetLink(request);
        let found = self.dump_raw(Object::Link, what, request, NEW_LINK, vlan_entries)?;
        let mut all: BTreeMap<u32, Vec<VlanEntry>> = BTreeMap::new();
        for (index, vlans) in found {
            all.entry(index).or_default().extend(vlans);
        }
        Ok(all)
    }
}

fn vlan_message(dev: Dev<'_>, vid: u16, flags: BridgeVlanInfoFlags, bridge: bool) -> LinkMessage {
    let message: LinkMessageBuilder<LinkBridgeVlan> = LinkBridgeVlan::new(dev.index);
    let message = if bridge {
        message.bridge_self()
    } else {
        message
    };
    message.vlan(vid, flags).build()
}

/// The VLANs that a message tells of, and the interface's index.
fn vlan_entries(payload: &[u8]) -> Option<(u32, Vec<VlanEntry>)> {
    /// `struct ifinfomsg`, `IFLA_AF_SPEC`, `IFLA_BRIDGE_VLAN_INFO`.
    const HEADER: usize = 16;
    const OF_FAMILY: u16 = 26;
    const VLAN: u16 = 2;
    let (header, rest) = payload.split_at_checked(HEADER)?;
    let vlans = attributes(attribute(rest, OF_FAMILY).unwrap_or_default());
    let vlans = vlans.filter(|(kind, _)| *kind == VLAN);
    let vlans = vlans.filter_map(|(_, value)| {
        let (flags, vid) = value.split_at_checked(2)?;
        let flags = BridgeVlanInfoFlags::from_bits_retain(short(flags)?);
        Some(VlanEntry {
            vid: short(vid)?,
            pvid: flags.contains(BridgeVlanInfoFlags::Pvid),
            untagged: flags.contains(BridgeVlanInfoFlags::Untagged),
        })
    });
    Some((number(&header[4..8])?, vlans.collect()))
}

impl fmt::Display for PortChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in [("hairpin", self.hairpin), ("isolated", self.isolated)] {
            if let Some(on) = value {
                write!(f, " {name} {}", if on { "on" } else { "off" })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::Emitable;

    use super::*;

    /// Kernels may be built without VLAN filtering, so what is sent is compared with the layout in the kernel's
    /// `if_bridge.h`: IFLA_AF_SPEC (26) holding IFLA_BRIDGE_FLAGS (0) and IFLA_BRIDGE_VLAN_INFO (2, flags then vid).
    #[test]
    fn a_vlan_request_has_the_layout_of_if_bridge_h() {
        let dev = Dev {
            index: 5,
            name: "veth1",
        };
        let flags = BridgeVlanInfoFlags::Pvid | BridgeVlanInfoFlags::Untagged;
        let message = vlan_message(dev, 7, flags, true);
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes);
        assert_eq!(bytes[0], 7, "AF_BRIDGE");
        assert_eq!(bytes[4..8], 5u32.to_ne_bytes());
        let words: Vec<u16> = bytes[16..]
            .chunks_exact(2)
            .map(|pair| u16::from_ne_bytes([pair[0], pair[1]]))
            .collect();
        assert_eq!(words, [20, 26, 6, 0, 2, 0, 8, 2, 0b110, 7]);
        let entry = VlanEntry {
            vid: 7,
            pvid: true,
            untagged: true,
        };
        assert_eq!(vlan_entries(&bytes), Some((5, vec![entry])));
    }
}
