//! Neighbour entries (ARP, NDP) and forwarding database entries: permanent ones, as an overlay lays them out.

use std::fmt;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::RouteType;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use tweed_model::{Family, Mac};

use super::addr::address_family;
use super::error::{NetlinkError, Object};
use super::{Dev, Netlink};

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
        read: fn(&NeighbourMessage) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        let request = Message::GetNeighbour(request);
        self.dump(Object::Neigh, what, request, |message| match message {
            Message::NewNeighbour(message) if message.header.ifindex == dev.index => read(&message),
            _ => None,
        })
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

/// Reads a neighbour message of IPv4 or IPv6: an answer, or a notification.
pub fn neigh_info(message: &NeighbourMessage) -> Option<NeighInfo> {
    let header = &message.header;
    let mut info = NeighInfo {
        index: header.ifindex,
        addr: IpAddr::from([0; 4]),
        mac: None,
        permanent: is_permanent(header.state) && !header.flags.contains(NeighbourFlags::Proxy),
    };
    let mut addr = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(dst) => addr = ip_addr(dst),
            NeighbourAttribute::LinkLayerAddress(bytes) => info.mac = mac(bytes),
            _ => {}
        }
    }
    info.addr = addr?;
    Some(info)
}

/// Reads a neighbour message of the bridge family: an answer, or a notification.
pub fn fdb_info(message: &NeighbourMessage) -> Option<FdbInfo> {
    let header = &message.header;
    let (mut lladdr, mut dst, mut foreign) = (None, None, false);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => lladdr = mac(bytes),
            NeighbourAttribute::Destination(addr) => dst = ip_addr(addr),
            NeighbourAttribute::Port(_)
            | NeighbourAttribute::Vni(_)
            | NeighbourAttribute::IfIndex(_) => foreign = true,
            _ => {}
        }
    }
    Some(FdbInfo {
        index: header.ifindex,
        mac: lladdr?,
        dst,
        permanent: is_permanent(header.state) && header.flags.contains(NeighbourFlags::Own),
        foreign,
    })
}

/// The state is a set of bits, and `bridge fdb add` makes entries that also have NOARP.
fn is_permanent(state: NeighbourState) -> bool {
    u16::from(state) & u16::from(NeighbourState::Permanent) != 0
}

fn mac(bytes: &[u8]) -> Option<Mac> {
    bytes.try_into().ok().map(Mac)
}

/// Forwarding entries carry their destination without a family: its length tells.
fn ip_addr(addr: &NeighbourAddress) -> Option<IpAddr> {
    match addr {
        NeighbourAddress::Inet(addr) => Some((*addr).into()),
        NeighbourAddress::Inet6(addr) => Some((*addr).into()),
        NeighbourAddress::Other(bytes) => <[u8; 4]>::try_from(bytes.as_slice())
            .map(IpAddr::from)
            .or_else(|_| <[u8; 16]>::try_from(bytes.as_slice()).map(IpAddr::from))
            .ok(),
        _ => None,
    }
}
