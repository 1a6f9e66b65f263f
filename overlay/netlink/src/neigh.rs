//! Neighbour entries (ARP, NDP) and forwarding database entries: permanent ones, as an overlay lays them out.

use std::fmt;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{
    NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::RouteType;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use tweed_model::{Family, Mac};

use super::addr::address_family;
use super::attributes::{attributes, ip_addr, number};
use super::error::{NetlinkError, Object};
use super::{Dev, Netlink};

/// `RTM_NEWNEIGH`, `RTM_DELNEIGH`.
pub const NEW_NEIGH: u16 = 28;
pub const DEL_NEIGH: u16 = 29;
/// `AF_BRIDGE`, the family of forwarding entries.
const BRIDGE: u8 = 7;
/// `NUD_PERMANENT`, `NTF_SELF`, `NTF_PROXY`.
const PERMANENT: u16 = 0x80;
const OWN: u8 = 2;
const PROXY: u8 = 8;
/// `NDA_DST`, `NDA_LLADDR`, `NDA_PORT`, `NDA_VNI`, `NDA_IFINDEX`.
const DESTINATION: u16 = 1;
const LINK_ADDRESS: u16 = 2;
const PORT: u16 = 6;
const VNI: u16 = 7;
const INTERFACE: u16 = 8;

/// A neighbour entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighInfo {
    /// Index of the interface.
    pub index: u32,
    /// The neighbour's address.
    pub addr: IpAddr,
    /// Its Ethernet address, if it is known.
    pub mac: Option<Mac>,
    /// Made by hand, never expires, and isn't a proxy entry.
    pub permanent: bool,
}

/// A forwarding database entry of a VXLAN device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FdbInfo {
    /// Index of the interface.
    pub index: u32,
    /// The Ethernet address that is forwarded.
    pub mac: Mac,
    /// Where to: the outer destination address.
    pub dst: Option<IpAddr>,
    /// Made by hand, and never expires.
    pub permanent: bool,
    /// It overrides the device's port, VNI or interface.
    pub foreign: bool,
}

impl Netlink {
    /// Neighbour entries of one family and interface, the kernel's own included.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn neighs(&mut self, dev: Dev<'_>, family: Family) -> Result<Vec<NeighInfo>, NetlinkError> {
        let mut request = NeighbourMessage::default();
        request.header.family = address_family(family);
        request.attributes = vec![NeighbourAttribute::IfIndex(dev.index)];
        let what = format_args!("list {family} neighbours of {}", dev.name);
        self.entries(dev, what, request, neigh_info)
    }

    /// Neighbour entries of one family on all interfaces.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn all_neighs(&mut self, family: Family) -> Result<Vec<NeighInfo>, NetlinkError> {
        let mut request = NeighbourMessage::default();
        request.header.family = address_family(family);
        let what = format_args!("list {family} neighbours");
        let request = Message::GetNeighbour(request);
        self.dump_raw(Object::Neigh, what, request, NEW_NEIGH, neigh_info)
    }

    /// Puts a permanent neighbour entry.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn put_neigh(&mut self, dev: Dev<'_>, addr: IpAddr, mac: Mac) -> Result<(), NetlinkError> {
        let mut message = neigh_message(dev, addr);
        message.header.state = NeighbourState::Permanent;
        message.header.kind = RouteType::Unicast;
        message
            .attributes
            .push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
        let what = format_args!("put neigh {addr} lladdr {mac} dev {}", dev.name);
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        self.change(Object::Neigh, what, Message::NewNeighbour(message), flags)
    }

    /// Deletes a neighbour entry.
    ///
    /// # Errors
    /// [`NetlinkError::is_not_found`] when it is gone.
    pub fn del_neigh(&mut self, dev: Dev<'_>, addr: IpAddr) -> Result<(), NetlinkError> {
        let what = format_args!("delete neigh {addr} dev {}", dev.name);
        let message = Message::DelNeighbour(neigh_message(dev, addr));
        self.change(Object::Neigh, what, message, 0)
    }

    /// The forwarding database of a VXLAN device, learned entries included.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn fdb(&mut self, dev: Dev<'_>) -> Result<Vec<FdbInfo>, NetlinkError> {
        let mut request = NeighbourMessage::default();
        request.header.family = AddressFamily::Bridge;
        request.header.ifindex = dev.index;
        let what = format_args!("list forwarding entries of {}", dev.name);
        self.entries(dev, what, request, fdb_info)
    }

    fn entries<T>(
        &mut self,
        dev: Dev<'_>,
        what: fmt::Arguments<'_>,
        request: NeighbourMessage,
        read: fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        let request = Message::GetNeighbour(request);
        // Kernels before strict checking list those of all interfaces.
        let read = |payload: &[u8]| {
            let of_dev = payload.get(4..8).and_then(number) == Some(dev.index);
            of_dev.then(|| read(payload)).flatten()
        };
        self.dump_raw(Object::Neigh, what, request, NEW_NEIGH, read)
    }

    /// Puts a permanent forwarding entry: frames to `mac` go to `dst`. Moves the entry if it leads elsewhere.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn put_fdb(&mut self, dev: Dev<'_>, mac: Mac, dst: IpAddr) -> Result<(), NetlinkError> {
        let mut message = fdb_message(dev, mac);
        message.header.state = NeighbourState::Permanent;
        message
            .attributes
            .push(NeighbourAttribute::Destination(dst.into()));
        let what = format_args!("put fdb {mac} dst {dst} dev {}", dev.name);
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        self.change(Object::Neigh, what, Message::NewNeighbour(message), flags)
    }

    /// Deletes a forwarding entry, wherever it leads.
    ///
    /// # Errors
    /// [`NetlinkError::is_not_found`] when it is gone.
    pub fn del_fdb(&mut self, dev: Dev<'_>, mac: Mac) -> Result<(), NetlinkError> {
        let what = format_args!("delete fdb {mac} dev {}", dev.name);
        let message = Message::DelNeighbour(fdb_message(dev, mac));
        self.change(Object::Neigh, what, message, 0)
    }
}

fn neigh_message(dev: Dev<'_>, addr: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = address_family(Family::of(&addr));
    message.header.ifindex = dev.index;
    message.attributes = vec![NeighbourAttribute::Destination(addr.into())];
    message
}

fn fdb_message(dev: Dev<'_>, mac: Mac) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = dev.index;
    // "self": the device's own database, not that of a bridge it is a port of.
    message.header.flags = NeighbourFlags::Own;
    message.attributes = vec![NeighbourAttribute::LinkLayerAddress(mac.0.to_vec())];
    message
}

/// Whether the payload of a neighbour message is about a forwarding entry, and not about a neighbour.
pub fn is_forwarding(payload: &[u8]) -> bool {
    payload.first() == Some(&BRIDGE)
}

/// Reads the payload of a neighbour message of IPv4 or IPv6: an answer, or a notification.
pub fn neigh_info(payload: &[u8]) -> Option<NeighInfo> {
    let (header, rest) = Header::read(payload)?;
    let (mut addr, mut mac) = (None, None);
    for (kind, value) in attributes(rest) {
        match kind {
            DESTINATION => addr = ip_addr(value),
            LINK_ADDRESS => mac = value.try_into().ok().map(Mac),
            _ => {}
        }
    }
    Some(NeighInfo {
        index: header.index,
        addr: addr?,
        mac,
        permanent: header.permanent && header.flags & PROXY == 0,
    })
}

/// Reads the payload of a neighbour message of the bridge family: an answer, or a notification.
pub fn fdb_info(payload: &[u8]) -> Option<FdbInfo> {
    let (header, rest) = Header::read(payload)?;
    let (mut mac, mut dst, mut foreign) = (None, None, false);
    for (kind, value) in attributes(rest) {
        match kind {
            LINK_ADDRESS => mac = value.try_into().ok().map(Mac),
            // Without a family.
            DESTINATION => dst = ip_addr(value),
            PORT | VNI | INTERFACE => foreign = true,
            _ => {}
        }
    }
    Some(FdbInfo {
        index: header.index,
        mac: mac?,
        dst,
        permanent: header.permanent && header.flags & OWN != 0,
        foreign,
    })
}

/// `struct ndmsg`: family, three bytes of padding, interface, state, flags, type.
struct Header {
    index: u32,
    permanent: bool,
    flags: u8,
}

impl Header {
    const LENGTH: usize = 12;

    fn read(payload: &[u8]) -> Option<(Self, &[u8])> {
        let (header, rest) = payload.split_at_checked(Self::LENGTH)?;
        let state = u16::from_ne_bytes([header[8], header[9]]);
        let header = Self {
            index: number(&header[4..8])?,
            // The state is a set of bits, and `bridge fdb add` makes entries that also have NOARP.
            permanent: state & PERMANENT != 0,
            flags: header[10],
        };
        Some((header, rest))
    }
}
