//! What the kernel says of an interface, as one typed value, read from the bytes: the library's reader brings along those
//! of all kinds of interfaces, 150 kB of program. Pure.

use std::net::IpAddr;

use netlink_packet_core::Emitable;
use netlink_packet_route::link::LinkMessage;
use tweed_model::Mac;

use super::Dev;
use super::attributes::{attribute, attributes, ip_addr, is_on, number, short, text};
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

/// `struct ifinfomsg`: family, type, index, flags, mask.
const HEADER: usize = 16;

/// `IFF_UP` and its like.
const UP: u32 = 1;
const LOOPBACK: u32 = 8;
const PROMISC: u32 = 0x100;
const ALL_MULTICAST: u32 = 0x200;
const LOWER_UP: u32 = 0x1_0000;

/// `IFLA_ADDRESS` and the further attributes that matter.
const ADDRESS: u16 = 1;
const NAME: u16 = 3;
const MTU: u16 = 4;
const LINK: u16 = 5;
const MASTER: u16 = 10;
const QUEUE_LENGTH: u16 = 13;
const OPERATIONAL: u16 = 16;
const INFO: u16 = 18;
const ALIAS: u16 = 20;
const LINK_NETNSID: u16 = 37;
const PROPERTIES: u16 = 52;
/// `IFLA_ALT_IFNAME`, a property.
const ALTNAME: u16 = 53;

/// `IFLA_INFO_KIND`, `IFLA_INFO_DATA`, `IFLA_INFO_SLAVE_KIND`, `IFLA_INFO_SLAVE_DATA`.
const KIND: u16 = 1;
const DATA: u16 = 2;
const PORT_KIND: u16 = 4;
const PORT_DATA: u16 = 5;

/// Reads a message of the library's.
pub fn link_info_of(message: &LinkMessage) -> Option<LinkInfo> {
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    link_info(&bytes)
}

/// Reads the payload of a message about an interface: an answer, or a notification.
pub fn link_info(payload: &[u8]) -> Option<LinkInfo> {
    let (header, rest) = payload.split_at_checked(HEADER)?;
    let flags = number(&header[8..12])?;
    let mut info = LinkInfo {
        index: number(&header[4..8])?,
        name: String::new(),
        altnames: Vec::new(),
        kind: String::new(),
        mac: None,
        mtu: 0,
        up: flags & UP != 0,
        promisc: flags & PROMISC != 0,
        carrier: flags & LOWER_UP != 0,
        allmulti: flags & ALL_MULTICAST != 0,
        loopback: flags & LOOPBACK != 0,
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
    for (kind, value) in attributes(rest) {
        match kind {
            NAME => info.name = text(value),
            PROPERTIES => {
                let names = attributes(value).filter(|(kind, _)| *kind == ALTNAME);
                info.altnames.extend(names.map(|(_, name)| text(name)));
            }
            ALIAS => info.alias = text(value),
            MTU => info.mtu = number(value).unwrap_or(0),
            QUEUE_LENGTH => info.txqlen = number(value).unwrap_or(0),
            ADDRESS => info.mac = value.try_into().ok().map(Mac),
            MASTER => info.master = number(value),
            LINK => info.link = number(value).filter(|index| *index != 0),
            LINK_NETNSID => info.link_netnsid = number(value).map(u32::cast_signed),
            OPERATIONAL => info.operstate = oper_state(value),
            INFO => kind_of(&mut info, value),
            _ => {}
        }
    }
    Some(info)
}

/// `IF_OPER_UNKNOWN`, `IF_OPER_UP`.
fn oper_state(value: &[u8]) -> OperState {
    match value {
        [0] => OperState::Unknown,
        [6] => OperState::Up,
        _ => OperState::Down,
    }
}

fn kind_of(info: &mut LinkInfo, parts: &[u8]) {
    /// `IFLA_TUN_MULTI_QUEUE`, `IFLA_VRF_TABLE`.
    const MULTI_QUEUE: u16 = 7;
    const VRF_TABLE: u16 = 1;
    info.kind = attribute(parts, KIND).map(text).unwrap_or_default();
    let data = attribute(parts, DATA).unwrap_or_default();
    match info.kind.as_str() {
        "vxlan" => info.vxlan = Some(vxlan_info(data)),
        "bridge" => info.bridge = Some(bridge_info(data)),
        "tun" => info.queues = attribute(data, MULTI_QUEUE).is_some_and(is_on),
        "vrf" => info.vrf_table = attribute(data, VRF_TABLE).and_then(number),
        kind => info.stacked = stacked(kind, data),
    }
    if attribute(parts, PORT_KIND).map(text).as_deref() == Some("bridge") {
        info.port = attribute(parts, PORT_DATA).map(port_info);
    }
}

/// `IFLA_VXLAN_ID` and the further attributes that matter.
mod vxlan {
    pub(super) const ID: u16 = 1;
    pub(super) const GROUP: u16 = 2;
    pub(super) const LINK: u16 = 3;
    pub(super) const LOCAL: u16 = 4;
    pub(super) const LEARNING: u16 = 7;
    pub(super) const PROXY: u16 = 11;
    pub(super) const RSC: u16 = 12;
    pub(super) const L2MISS: u16 = 13;
    pub(super) const L3MISS: u16 = 14;
    pub(super) const PORT: u16 = 15;
    pub(super) const GROUP6: u16 = 16;
    pub(super) const LOCAL6: u16 = 17;
    pub(super) const GBP: u16 = 23;
    pub(super) const COLLECT_METADATA: u16 = 25;
    pub(super) const GPE: u16 = 27;
    pub(super) const VNI_FILTER: u16 = 30;
}

fn vxlan_info(data: &[u8]) -> VxlanInfo {
    let mut info = VxlanInfo {
        vni: 0,
        port: 0,
        local: None,
        link: 0,
        learning: false,
        gbp: false,
        foreign: false,
    };
    let is_set = |value| ip_addr(value).is_some_and(|addr| !addr.is_unspecified());
    for (kind, value) in attributes(data) {
        match kind {
            vxlan::ID => info.vni = number(value).unwrap_or(0),
            vxlan::PORT => info.port = short(value).map_or(0, u16::from_be),
            vxlan::LOCAL | vxlan::LOCAL6 => info.local = ip_addr(value),
            vxlan::LINK => info.link = number(value).unwrap_or(0),
            vxlan::LEARNING => info.learning = is_on(value),
            vxlan::GBP => info.gbp = true,
            vxlan::GROUP | vxlan::GROUP6 => info.foreign |= is_set(value),
            vxlan::GPE => info.foreign = true,
            vxlan::COLLECT_METADATA
            | vxlan::VNI_FILTER
            | vxlan::L2MISS
            | vxlan::L3MISS
            | vxlan::PROXY
            | vxlan::RSC => info.foreign |= is_on(value),
            _ => {}
        }
    }
    // Some kernels send 0.0.0.0 as the unset source address of an IPv4 device.
    info.local = info.local.filter(|addr| !addr.is_unspecified());
    info
}

/// `IFLA_BR_VLAN_FILTERING`, `IFLA_BR_VLAN_DEFAULT_PVID`.
fn bridge_info(data: &[u8]) -> BridgeInfo {
    const VLAN_FILTERING: u16 = 7;
    const DEFAULT_PVID: u16 = 39;
    BridgeInfo {
        vlan_filtering: attribute(data, VLAN_FILTERING).is_some_and(is_on),
        default_pvid: attribute(data, DEFAULT_PVID).and_then(short).unwrap_or(1),
    }
}

/// `IFLA_BRPORT_MODE`, `IFLA_BRPORT_ISOLATED`.
fn port_info(data: &[u8]) -> PortInfo {
    const HAIRPIN: u16 = 4;
    const ISOLATED: u16 = 33;
    PortInfo {
        hairpin: attribute(data, HAIRPIN).is_some_and(is_on),
        isolated: attribute(data, ISOLATED).is_some_and(is_on),
    }
}
