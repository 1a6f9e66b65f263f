//! Interfaces: look up, create, change, delete.

use std::fmt;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::link::{
    AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoBridgePort, InfoData, InfoKind, InfoPortData,
    InfoPortKind, InfoVeth, LinkAttribute, LinkExtentMask, LinkInfo as Info, LinkMessage,
};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth, LinkVxlan};
use tweed_model::Mac;

use super::error::{NetlinkError, Object};
use super::info::{LinkInfo, NEW_LINK, link_info};
use super::{Dev, Netlink};

/// A VXLAN device to create: unicast, without a default destination, entries made by hand.
#[derive(Clone, Debug)]
pub struct VxlanSpec {
    /// VXLAN network identifier, 24 bits.
    pub vni: u32,
    /// Destination port; 0 leaves the kernel's default, 8472.
    pub port: u16,
    /// Source address of the outer packets.
    pub local: IpAddr,
    /// Index of the interface that carries the outer packets.
    pub underlay: u32,
    /// Learn addresses from packets.
    pub learning: bool,
    /// Group based policy extension.
    pub gbp: bool,
    /// Ethernet address.
    pub mac: Mac,
    /// MTU in bytes; the kernel lowers it silently to what the underlay carries.
    pub mtu: u32,
}

/// One end of a veth pair to create.
#[derive(Clone, Debug)]
pub struct VethEnd<'a> {
    pub name: &'a str,
    /// Ethernet address; the kernel's choice (random) if none.
    pub mac: Option<Mac>,
    /// The namespace to create it in; the socket's own if none.
    pub netns: Option<BorrowedFd<'a>>,
}

/// A veth pair to create.
#[derive(Clone, Debug)]
pub struct VethSpec<'a> {
    /// MTU of both ends in bytes; the kernel's default (1500) if none.
    pub mtu: Option<u32>,
    /// The end that is made first.
    pub end: VethEnd<'a>,
    /// The other.
    pub peer: VethEnd<'a>,
}

/// What to change of an interface, in one request. Prints as `ip link set` would have it.
#[derive(Clone, Debug, Default)]
pub struct LinkChange<'a> {
    /// A new name; the device must be down.
    pub name: Option<&'a str>,
    /// Ethernet address.
    pub mac: Option<Mac>,
    /// MTU in bytes.
    pub mtu: Option<u32>,
    /// Transmit queue length in packets.
    pub txqlen: Option<u32>,
    /// Index of the bridge to join; 0 leaves.
    pub master: Option<u32>,
    /// `IFLA_IFALIAS`; the empty text removes it.
    pub alias: Option<&'a str>,
    /// How IPv6 link-local addresses come about; `None` here means "none at all" on the device.
    pub addr_gen_mode: Option<In6AddrGenMode>,
    /// Promiscuous mode.
    pub promisc: Option<bool>,
    /// Receive all multicast.
    pub allmulti: Option<bool>,
    /// Of a bridge port: frames may leave through the port they came in by.
    pub hairpin: Option<bool>,
    /// Of a bridge port: no frames to other isolated ports.
    pub isolated: Option<bool>,
    /// Administrative state.
    pub up: Option<bool>,
    /// Move it into this namespace.
    pub netns: Option<BorrowedFd<'a>>,
}

impl Netlink {
    /// All interfaces, without their counters.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn links(&mut self) -> Result<Vec<LinkInfo>, NetlinkError> {
        self.dump_links("list links", Vec::new())
    }

    /// All interfaces of a kind, such as `vxlan`.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn links_of_kind(&mut self, kind: InfoKind) -> Result<Vec<LinkInfo>, NetlinkError> {
        let name = kind.to_string();
        let filter = LinkAttribute::LinkInfo(vec![Info::Kind(kind)]);
        let mut links = self.dump_links(format_args!("list links of kind {name}"), vec![filter])?;
        // Kernels without strict checking don't filter.
        links.retain(|link| link.kind == name);
        Ok(links)
    }

    /// The interface of this name, `None` if there is none: one that has it as an alternative name is another interface.
    ///
    /// # Errors
    /// The kernel's refusal for another reason.
    pub fn link(&mut self, name: &str) -> Result<Option<LinkInfo>, NetlinkError> {
        let found = self.link_of_any_name(name)?;
        Ok(found.filter(|link| link.name == name))
    }

    /// The interface that has this as an alternative name: no other can be made with it.
    ///
    /// # Errors
    /// The kernel's refusal for another reason.
    pub fn link_by_altname(&mut self, name: &str) -> Result<Option<LinkInfo>, NetlinkError> {
        let found = self.link_of_any_name(name)?;
        Ok(found.filter(|link| link.name != name))
    }

    fn link_of_any_name(&mut self, name: &str) -> Result<Option<LinkInfo>, NetlinkError> {
        let request = LinkUnspec::new_with_name(name);
        self.get_link(format_args!("look up link {name}"), request)
    }

    /// The interface of this index, `None` if there is none.
    ///
    /// # Errors
    /// The kernel's refusal for another reason.
    pub fn link_by_index(&mut self, index: u32) -> Result<Option<LinkInfo>, NetlinkError> {
        let request = LinkUnspec::new_with_index(index);
        self.get_link(format_args!("look up link number {index}"), request)
    }

    /// Creates a VXLAN device, down, with the attributes that flannel sends: queue length 0, TTL and TOS 0, no proxy, no
    /// misses, IPv6 checksums on; IPv4's outer UDP checksum is left to the kernel's default.
    ///
    /// # Errors
    /// `EEXIST` when the name is taken, or the VNI and port by another device.
    pub fn add_vxlan(&mut self, name: &str, spec: &VxlanSpec) -> Result<(), NetlinkError> {
        let mut link = LinkVxlan::new(name, spec.vni)
            .mtu(spec.mtu)
            .txqueuelen(0)
            .address(spec.mac.0.to_vec())
            .dev(spec.underlay)
            .ttl(0)
            .tos(0)
            .learning(spec.learning)
            .proxy(false)
            .rsc(false)
            .l2miss(false)
            .l3miss(false)
            .udp_zero_csum6_tx(false)
            .udp_zero_csum6_rx(false);
        link = match spec.local {
            IpAddr::V4(addr) => link.local(addr),
            IpAddr::V6(addr) => link.local6(addr),
        };
        if spec.gbp {
            link = link.gbp();
        }
        if spec.port != 0 {
            link = link.port(spec.port);
        }
        let what = format_args!("add vxlan device {name} id {}", spec.vni);
        self.add_link(what, link.build())
    }

    /// Creates a veth pair, both ends down, each in its namespace, in one request.
    ///
    /// # Errors
    /// `EEXIST` when either name is taken in its namespace.
    pub fn add_veth(&mut self, spec: &VethSpec<'_>) -> Result<(), NetlinkError> {
        self.new_veth(spec, |end| end)
    }

    /// The same with the first end up and a port of a bridge from the start, which costs one request less each.
    ///
    /// # Errors
    /// As [`Netlink::add_veth`].
    pub fn add_veth_port(
        &mut self,
        spec: &VethSpec<'_>,
        bridge: Dev<'_>,
    ) -> Result<(), NetlinkError> {
        self.new_veth(spec, |end| end.controller(bridge.index).up())
    }

    fn new_veth(
        &mut self,
        spec: &VethSpec<'_>,
        first: impl FnOnce(LinkMessageBuilder<LinkVeth>) -> LinkMessageBuilder<LinkVeth>,
    ) -> Result<(), NetlinkError> {
        let end = |builder: LinkMessageBuilder<LinkVeth>, end: &VethEnd<'_>| {
            let builder = builder.name(end.name);
            with(builder, spec.mtu, LinkMessageBuilder::mtu)
                .with(end.mac, |link, mac| link.address(mac.0.to_vec()))
                .with(end.netns, |link, fd| link.setns_by_fd(fd.as_raw_fd()))
                .0
        };
        let peer = end(LinkMessageBuilder::default(), &spec.peer).build();
        let pair = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)));
        let what = format_args!("add veth pair {} {}", spec.end.name, spec.peer.name);
        self.add_link(what, first(end(pair, &spec.end)).build())
    }

    /// Creates any interface from a message; [`rtnetlink`]'s builders make them.
    ///
    /// # Errors
    /// `EEXIST` when the name is taken.
    pub fn add_link(
        &mut self,
        what: impl fmt::Display,
        message: LinkMessage,
    ) -> Result<(), NetlinkError> {
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        self.change(Object::Link, what, Message::NewLink(message), flags)
    }

    /// Changes an interface.
    ///
    /// # Errors
    /// The kernel's refusal of the first part that it refuses; parts before it (in the order of [`LinkChange`]) are
    /// done.
    pub fn set_link(&mut self, dev: Dev<'_>, change: &LinkChange<'_>) -> Result<(), NetlinkError> {
        let what = format_args!("set link {}{change}", dev.name);
        let message = Message::NewLink(change.message(dev.index));
        self.change(Object::Link, what, message, 0)
    }

    /// Deletes an interface, with its addresses, entries and routes.
    ///
    /// # Errors
    /// [`NetlinkError::is_not_found`] when it is gone.
    pub fn del_link(&mut self, dev: Dev<'_>) -> Result<(), NetlinkError> {
        let message = LinkUnspec::new_with_index(dev.index).build();
        let what = format_args!("delete link {}", dev.name);
        self.change(Object::Link, what, Message::DelLink(message), 0)
    }

    fn get_link(
        &mut self,
        what: fmt::Arguments<'_>,
        request: LinkMessageBuilder<LinkUnspec>,
    ) -> Result<Option<LinkInfo>, NetlinkError> {
        let mut message = request.build();
        message.attributes.push(without_counters());
        let request = Message::GetLink(message);
        let read = |_: &_, payload: &[u8]| Ok(link_info(payload));
        match self.transport.get_raw(Object::Link, what, request, read) {
            Ok(link) => Ok(link),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn dump_links(
        &mut self,
        what: impl fmt::Display,
        filter: Vec<LinkAttribute>,
    ) -> Result<Vec<LinkInfo>, NetlinkError> {
        let mut message = LinkMessage::default();
        message.attributes = filter;
        message.attributes.push(without_counters());
        let request = Message::GetLink(message);
        self.dump_raw(Object::Link, what, request, NEW_LINK, link_info)
    }
}

/// Counters are the larger half of a link message, and nobody here reads them.
fn without_counters() -> LinkAttribute {
    LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats])
}

impl LinkChange<'_> {
    fn message(&self, index: u32) -> LinkMessage {
        let link = with(
            LinkUnspec::new_with_index(index),
            self.name,
            LinkMessageBuilder::name,
        )
        .with(self.mac, |link, mac| link.address(mac.0.to_vec()))
        .with(self.mtu, LinkMessageBuilder::mtu)
        .with(self.txqlen, LinkMessageBuilder::txqueuelen)
        .with(self.master, LinkMessageBuilder::controller)
        .with(self.alias, LinkMessageBuilder::alias)
        .with(self.addr_gen_mode, |link, mode| {
            let inet6 = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(mode)]);
            link.append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![inet6]))
        })
        .with(self.port_data(), |link, data| {
            link.set_port_kind(InfoPortKind::Bridge).set_port_data(data)
        })
        .with(self.promisc, LinkMessageBuilder::promiscuous)
        .with(self.allmulti, LinkMessageBuilder::allmulticast)
        .with(self.up, |link, up| if up { link.up() } else { link.down() })
        .with(self.netns, |link, fd| link.setns_by_fd(fd.as_raw_fd()));
        link.0.build()
    }

    fn port_data(&self) -> Option<InfoPortData> {
        let hairpin = self.hairpin.map(InfoBridgePort::HairpinMode);
        let data: Vec<_> = hairpin
            .into_iter()
            .chain(self.isolated.map(InfoBridgePort::Isolated))
            .collect();
        (!data.is_empty()).then_some(InfoPortData::BridgePort(data))
    }
}

impl fmt::Display for LinkChange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let on = |on| if on { "on" } else { "off" };
        if let Some(name) = self.name {
            write!(f, " name {name}")?;
        }
        if let Some(mac) = self.mac {
            write!(f, " address {mac}")?;
        }
        if let Some(mtu) = self.mtu {
            write!(f, " mtu {mtu}")?;
        }
        if let Some(length) = self.txqlen {
            write!(f, " txqueuelen {length}")?;
        }
        match self.master {
            Some(0) => f.write_str(" nomaster")?,
            Some(index) => write!(f, " master number {index}")?,
            None => {}
        }
        if let Some(alias) = self.alias {
            write!(f, " alias {alias:?}")?;
        }
        if let Some(mode) = self.addr_gen_mode {
            write!(f, " addrgenmode {mode:?}")?;
        }
        if let Some(promisc) = self.promisc {
            write!(f, " promisc {}", on(promisc))?;
        }
        if let Some(allmulti) = self.allmulti {
            write!(f, " allmulticast {}", on(allmulti))?;
        }
        if let Some(hairpin) = self.hairpin {
            write!(f, " hairpin {}", on(hairpin))?;
        }
        if let Some(isolated) = self.isolated {
            write!(f, " isolated {}", on(isolated))?;
        }
        match self.up {
            Some(true) => f.write_str(" up")?,
            Some(false) => f.write_str(" down")?,
            None => {}
        }
        if self.netns.is_some() {
            f.write_str(" into another namespace")?;
        }
        Ok(())
    }
}

/// A builder that takes optional parts.
struct Parts<T>(T);

fn with<T, V>(builder: T, value: Option<V>, set: impl FnOnce(T, V) -> T) -> Parts<T> {
    Parts(builder).with(value, set)
}

impl<T> Parts<T> {
    fn with<V>(self, value: Option<V>, set: impl FnOnce(T, V) -> T) -> Self {
        match value {
            Some(value) => Self(set(self.0, value)),
            None => self,
        }
    }
}
