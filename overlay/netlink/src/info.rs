//! What the kernel says of an interface, as one typed value. Pure.

use std::net::IpAddr;

use netlink_packet_core::Nla as _;
use netlink_packet_route::link::{
    InfoBridge, InfoBridgePort, InfoData, InfoPortData, InfoTun, InfoVrf, InfoVxlan, LinkAttribute,
    LinkFlags, LinkInfo as Info, LinkMessage, Prop, State,
};
use tweed_model::Mac;

use super::Dev;
use super::stacked::{Stacked, stacked};

/// `RTM_NEWLINK`.
pub(super) const NEW_LINK: u16 = 16;

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    /// Index, in the namespace it was asked in.
    pub index: u32,
    pub name: String,
    /// Its other names (`ip link property add … altname`).
    pub altnames: Vec<String>,
    /// The kernel's name of its kind (`vxlan`, `bridge`, `veth`, …), empty for a physical device and `lo`.
    pub kind: String,
    /// Ethernet address; all zeroes for `lo`, none for what isn't Ethernet (TUN).
    pub mac: Option<Mac>,
    /// MTU in bytes.
    pub mtu: u32,
    /// Administratively up (`IFF_UP`).
    pub up: bool,
    /// In promiscuous mode because somebody said so (`IFF_PROMISC`).
    pub promisc: bool,
    /// It has a carrier: frames can leave once it is up (`IFF_LOWER_UP`).
    pub carrier: bool,
    /// Receives all multicast because somebody said so (`IFF_ALLMULTI`).
    pub allmulti: bool,
    /// The loopback device.
    pub loopback: bool,
    /// Whether packets can pass.
    pub operstate: OperState,
    /// Transmit queue length in packets.
    pub txqlen: u32,
    /// Index of the bridge or bond it belongs to.
    pub master: Option<u32>,
    /// `IFLA_LINK`: of a veth the peer, of a vlan its parent; an index in `link_netnsid`'s namespace if that is set.
    pub link: Option<u32>,
    /// Set when `link` is in another namespace.
    pub link_netnsid: Option<i32>,
    /// `IFLA_IFALIAS`, empty if none.
    pub alias: String,
    /// For a VXLAN device.
    pub vxlan: Option<VxlanInfo>,
    /// For a bridge.
    pub bridge: Option<BridgeInfo>,
    /// For a port of a bridge.
    pub port: Option<PortInfo>,
    /// For an interface on another one.
    pub stacked: Option<Stacked>,
    /// Of a TUN device: made to have several queues.
    pub queues: bool,
    /// Of a VRF: its routing table.
    pub vrf_table: Option<u32>,
}

/// `IFLA_OPERSTATE` as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperState {
    /// Packets pass.
    Up,
    /// Packets don't pass: own or lower carrier missing, or administratively down.
    Down,
    /// The device doesn't say (`lo`, VXLAN, TUN).
    Unknown,
}

/// Attributes of a VXLAN device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VxlanInfo {
    /// VXLAN network identifier.
    pub vni: u32,
    /// Destination port, host byte order.
    pub port: u16,
    /// Source address of the outer packets.
    pub local: Option<IpAddr>,
    /// Index of the interface that carries the outer packets, 0 if any.
    pub link: u32,
    /// Learns addresses from packets.
    pub learning: bool,
    /// Group based policy extension.
    pub gbp: bool,
    /// Something is switched on that no unicast overlay with static entries has: a default destination, external
    /// control (`external`), GPE, VNI filter, misses reported to user space, ARP proxy, route short-circuit.
    pub foreign: bool,
}

/// Attributes of a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BridgeInfo {
    /// Filters frames by VLAN.
    pub vlan_filtering: bool,
    /// VLAN of untagged frames on new ports; 0 if none.
    pub default_pvid: u16,
}

/// Attributes of a bridge port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortInfo {
    /// Frames may leave through the port they came in by.
    pub hairpin: bool,
    /// No frames to other isolated ports.
    pub isolated: bool,
}

impl LinkInfo {
    /// How verbs want it.
    pub fn dev(&self) -> Dev<'_> {
        Dev {
            index: self.index,
            name: &self.name,
        }
    }

    /// Index of the other end of a veth pair, in the namespace that it is in.
    pub fn peer_index(&self) -> Option<u32> {
        (self.kind == "veth").then_some(self.link).flatten()
    }
}

/// Reads a link message: an answer, or a notification.
pub fn link_info(message: LinkMessage) -> LinkInfo {
    let flags = message.header.flags;
    let mut info = LinkInfo {
        index: message.header.index,
        name: String::new(),
        altnames: Vec::new(),
        kind: String::new(),
        mac: None,
        mtu: 0,
        up: flags.contains(LinkFlags::Up),
        promisc: flags.contains(LinkFlags::Promisc),
        carrier: flags.contains(LinkFlags::LowerUp),
        allmulti: flags.contains(LinkFlags::Allmulti),
        loopback: flags.contains(LinkFlags::Loopback),
        operstate: OperState::Unknown,
        txqlen: 0,
        master: None,
        link: None,
        link_netnsid: None,
        alias: String::new(),
        vxlan: None,
        bridge: None,
        port: None,
        stacked: None,
        queues: false,
        vrf_table: None,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => info.name = name,
            LinkAttribute::PropList(list) => {
                info.altnames
                    .extend(list.into_iter().filter_map(|property| match property {
                        Prop::AltIfName(name) => Some(name),
                        _ => None,
                    }))
            }
            LinkAttribute::IfAlias(alias) => info.alias = alias,
            LinkAttribute::Mtu(mtu) => info.mtu = mtu,
            LinkAttribute::TxQueueLen(length) => info.txqlen = length,
            LinkAttribute::Address(bytes) => {
                info.mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac);
            }
            LinkAttribute::Controller(index) => info.master = Some(index),
            LinkAttribute::Link(index) => info.link = (index != 0).then_some(index),
            LinkAttribute::LinkNetNsId(id) => info.link_netnsid = Some(id),
            LinkAttribute::OperState(state) => info.operstate = oper_state(state),
            LinkAttribute::LinkInfo(parts) => kind_of(&mut info, parts),
            _ => {}
        }
    }
    info
}

fn oper_state(state: State) -> OperState {
    match state {
        State::Up => OperState::Up,
        State::Unknown => OperState::Unknown,
        _ => OperState::Down,
    }
}

fn kind_of(info: &mut LinkInfo, parts: Vec<Info>) {
    for part in parts {
        match part {
            Info::Kind(kind) => info.kind = kind.to_string(),
            Info::Data(InfoData::Vxlan(attributes)) => info.vxlan = Some(vxlan_info(&attributes)),
            Info::Data(InfoData::Bridge(attributes)) => {
                info.bridge = Some(bridge_info(&attributes));
            }
            Info::Data(InfoData::Tun(attributes)) => {
                info.queues = attributes.iter().any(has_queues);
            }
            Info::Data(InfoData::Vrf(attributes)) => {
                info.vrf_table = attributes.iter().find_map(|attribute| match attribute {
                    InfoVrf::TableId(table) => Some(*table),
                    _ => None,
                });
            }
            Info::Data(data) => info.stacked = stacked(&data),
            Info::PortData(InfoPortData::BridgePort(attributes)) => {
                info.port = Some(port_info(&attributes));
            }
            _ => {}
        }
    }
}

/// `IFLA_TUN_MULTI_QUEUE` (`linux/if_link.h`), which the crate doesn't name.
fn has_queues(attribute: &InfoTun) -> bool {
    const MULTI_QUEUE: u16 = 7;
    let mut value = [0; 1];
    if attribute.kind() != MULTI_QUEUE || attribute.value_len() != 1 {
        return false;
    }
    attribute.emit_value(&mut value);
    value != [0]
}

fn vxlan_info(attributes: &[InfoVxlan]) -> VxlanInfo {
    let mut info = VxlanInfo {
        vni: 0,
        port: 0,
        local: None,
        link: 0,
        learning: false,
        gbp: false,
        foreign: false,
    };
    for attribute in attributes {
        match attribute {
            InfoVxlan::Id(vni) => info.vni = *vni,
            InfoVxlan::Port(port) => info.port = *port,
            InfoVxlan::Local(addr) => info.local = Some((*addr).into()),
            InfoVxlan::Local6(addr) => info.local = Some((*addr).into()),
            InfoVxlan::Link(index) => info.link = *index,
            InfoVxlan::Learning(on) => info.learning = *on,
            InfoVxlan::Gbp => info.gbp = true,
            InfoVxlan::Group(addr) => info.foreign |= !addr.is_unspecified(),
            InfoVxlan::Group6(addr) => info.foreign |= !addr.is_unspecified(),
            InfoVxlan::Gpe => info.foreign = true,
            InfoVxlan::CollectMetadata(on)
            | InfoVxlan::Vnifilter(on)
            | InfoVxlan::L2Miss(on)
            | InfoVxlan::L3Miss(on)
            | InfoVxlan::Proxy(on)
            | InfoVxlan::Rsc(on) => info.foreign |= *on,
            _ => {}
        }
    }
    // Some kernels send 0.0.0.0 as the unset source address of an IPv4 device.
    info.local = info.local.filter(|addr| !addr.is_unspecified());
    info
}

fn bridge_info(attributes: &[InfoBridge]) -> BridgeInfo {
    let mut info = BridgeInfo {
        vlan_filtering: false,
        default_pvid: 1,
    };
    for attribute in attributes {
        match attribute {
            InfoBridge::VlanFiltering(on) => info.vlan_filtering = *on,
            InfoBridge::VlanDefaultPvid(vid) => info.default_pvid = *vid,
            _ => {}
        }
    }
    info
}

fn port_info(attributes: &[InfoBridgePort]) -> PortInfo {
    let mut info = PortInfo {
        hairpin: false,
        isolated: false,
    };
    for attribute in attributes {
        match attribute {
            InfoBridgePort::HairpinMode(on) => info.hairpin = *on,
            InfoBridgePort::Isolated(on) => info.isolated = *on,
            _ => {}
        }
    }
    info
}
