//! Addresses of interfaces.

use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use tweed_model::Family;

use super::error::{NetlinkError, Object};
use super::{Dev, Netlink};

/// `RTM_NEWADDR`.
pub(super) const NEW_ADDR: u16 = 20;

/// An address that an interface has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddrInfo {
    /// Index of the interface.
    pub index: u32,
    /// The address with its prefix length.
    pub net: IpNet,
    /// Scope: 0 global, 253 link, 254 host.
    pub scope: u8,
    /// The far end, of a point-to-point address.
    pub peer: Option<IpAddr>,
    /// IPv6: not usable yet, duplicates are being looked for.
    pub tentative: bool,
    /// IPv6: not usable, somebody else has it.
    pub dad_failed: bool,
    /// Without a lifetime: made by hand, not by a router's advertisement or DHCP.
    pub permanent: bool,
    /// A privacy address of IPv6 (`IFA_F_TEMPORARY`), or a secondary one of IPv4 (`IFA_F_SECONDARY`, the same bit).
    pub secondary: bool,
    /// Not to be used for new connections.
    pub deprecated: bool,
    /// Which program or part of the kernel made it (`IFA_PROTO`, Linux 5.18); 0 if nobody said.
    pub protocol: u8,
    /// The kernel keeps no route to the address's network (`IFA_F_NOPREFIXROUTE`).
    pub without_route: bool,
}

/// An address to add.
#[derive(Clone, Copy, Debug)]
pub struct AddrSpec {
    /// The address with its prefix length.
    pub net: IpNet,
    /// IPv4: also set the network's broadcast address, if the prefix leaves room for one.
    pub broadcast: bool,
    /// IPv6: usable at once, no looking for duplicates.
    pub nodad: bool,
}

impl AddrSpec {
    /// An address that is usable at once, without broadcast.
    pub fn plain(net: IpNet) -> Self {
        Self {
            net,
            broadcast: false,
            nodad: true,
        }
    }
}

impl Netlink {
    /// Addresses of all interfaces, or of one.
    ///
    /// # Errors
    /// The kernel's refusal; [`NetlinkError::is_not_found`] when there is no such interface.
    pub fn addrs(&mut self, index: Option<u32>) -> Result<Vec<AddrInfo>, NetlinkError> {
        let mut request = AddressMessage::default();
        request.header.index = index.unwrap_or(0);
        let what = "list addresses";
        let request = Message::GetAddress(request);
        let read = |message: AddressMessage| addr_info(&message);
        let mut addrs = self.list(Object::Addr, what, request, NEW_ADDR, read)?;
        // Kernels without strict checking don't filter.
        addrs.retain(|addr| index.is_none_or(|index| index == addr.index));
        Ok(addrs)
    }

    /// Adds an address.
    ///
    /// # Errors
    /// `EEXIST` when the interface has it.
    pub fn add_addr(&mut self, dev: Dev<'_>, spec: &AddrSpec) -> Result<(), NetlinkError> {
        self.new_addr(dev, spec, NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Adds an address, or brings the one that is there into this form.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn put_addr(&mut self, dev: Dev<'_>, spec: &AddrSpec) -> Result<(), NetlinkError> {
        self.new_addr(dev, spec, NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Deletes an address.
    ///
    /// # Errors
    /// [`NetlinkError::is_not_found`] when it is gone.
    pub fn del_addr(&mut self, dev: Dev<'_>, net: IpNet) -> Result<(), NetlinkError> {
        let what = format_args!("delete addr {net} dev {}", dev.name);
        let message = Message::DelAddress(addr_message(dev, net));
        self.change(Object::Addr, what, message, 0)
    }

    fn new_addr(&mut self, dev: Dev<'_>, spec: &AddrSpec, flags: u16) -> Result<(), NetlinkError> {
        let mut message = addr_message(dev, spec.net);
        match spec.net {
            IpNet::V4(net) if spec.broadcast && net.prefix_len() < 31 => {
                let broadcast = AddressAttribute::Broadcast(net.broadcast());
                message.attributes.push(broadcast);
            }
            IpNet::V6(_) if spec.nodad => {
                message.header.flags = AddressHeaderFlags::Nodad;
            }
            _ => {}
        }
        let what = format_args!("add addr {} dev {}", spec.net, dev.name);
        self.change(Object::Addr, what, Message::NewAddress(message), flags)
    }
}

fn addr_message(dev: Dev<'_>, net: IpNet) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = dev.index;
    message.header.family = address_family(Family::of_net(&net));
    message.header.prefix_len = net.prefix_len();
    message.header.scope = scope_of(&net.addr());
    message.attributes = vec![
        AddressAttribute::Local(net.addr()),
        AddressAttribute::Address(net.addr()),
    ];
    message
}

/// The scope that `ip addr add` gives.
fn scope_of(addr: &IpAddr) -> AddressScope {
    match addr {
        IpAddr::V4(addr) if addr.is_loopback() => AddressScope::Host,
        _ => AddressScope::Universe,
    }
}

/// Reads an address message: an answer, or a notification.
pub fn addr_info(message: &AddressMessage) -> Option<AddrInfo> {
    let (mut local, mut address, mut flags, mut protocol) = (None, None, None, 0);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(addr) => local = Some(*addr),
            AddressAttribute::Address(addr) => address = Some(*addr),
            AddressAttribute::Flags(all) => flags = Some(*all),
            AddressAttribute::Protocol(number) => protocol = u8::from(*number),
            _ => {}
        }
    }
    let flags =
        flags.unwrap_or_else(|| AddressFlags::from_bits_retain(message.header.flags.bits().into()));
    // With a peer, IFA_ADDRESS is the peer.
    let own = local.or(address)?;
    Some(AddrInfo {
        index: message.header.index,
        net: IpNet::new(own, message.header.prefix_len).ok()?,
        scope: u8::from(message.header.scope),
        peer: address.filter(|addr| *addr != own),
        tentative: flags.contains(AddressFlags::Tentative),
        dad_failed: flags.contains(AddressFlags::Dadfailed),
        permanent: flags.contains(AddressFlags::Permanent),
        secondary: flags.contains(AddressFlags::Secondary),
        deprecated: flags.contains(AddressFlags::Deprecated),
        protocol,
        without_route: flags.contains(AddressFlags::Noprefixroute),
    })
}

pub(crate) fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}
