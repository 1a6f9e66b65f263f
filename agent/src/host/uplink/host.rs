//! Inputs of the choice as values: the host's interfaces, addresses and routes.

use std::net::IpAddr;

use ipnet::IpNet;
use tweed_model::Family;

/// Interfaces and routes of the host.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// All interfaces, in the kernel's order.
    pub interfaces: Vec<Interface>,
    /// The default routes of the main table, in the kernel's order.
    pub defaults: Vec<DefaultRoute>,
    /// Routes of the main table without a gateway: interface index and destination.
    pub onlink: Vec<(u32, IpNet)>,
    /// How the kernel would reach the address of `--iface-can-reach`, or why it can't. Present exactly when it is set.
    pub reach: Option<Result<Reach, String>>,
}

#[derive(Clone, Debug, Default)]
pub struct Interface {
    pub index: u32,
    pub name: String,
    /// Its other names.
    pub altnames: Vec<String>,
    /// The kernel's name of its kind; empty for a physical device and the loopback.
    pub kind: String,
    /// `IFLA_IFALIAS`, empty if none.
    pub alias: String,
    /// The loopback device.
    pub loopback: bool,
    /// Index of the bridge or bond that it belongs to.
    pub master: Option<u32>,
    /// Index of the interface that it is made upon, in this namespace: of a VLAN its parent. A veth's other end is none.
    pub parent: Option<u32>,
    /// MTU in bytes.
    pub mtu: u32,
    /// Its addresses, in the kernel's order.
    pub addrs: Vec<InterfaceAddr>,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug)]
pub struct InterfaceAddr {
    /// The address.
    pub addr: IpAddr,
    /// Length of its prefix.
    pub prefix: u8,
    /// It has a far end, as on a point-to-point link: its prefix says nothing then.
    pub peer: bool,
    /// It has no end (`IFA_F_PERMANENT`): not from DHCP or router advertisement.
    pub permanent: bool,
    /// A privacy address (`IFA_F_TEMPORARY`), or a secondary one of IPv4, which is the same bit.
    pub temporary: bool,
    /// No longer to be used for new connections (`IFA_F_DEPRECATED`).
    pub deprecated: bool,
    /// The program that made it, by number (`IFA_PROTO`); 0 if it is not known.
    pub protocol: u8,
}

#[derive(Clone, Copy, Debug)]
pub struct DefaultRoute {
    pub family: Family,
    /// Its metric; the lowest wins.
    pub metric: u32,
    /// Index of its interface; none if it has next hops on several.
    pub interface: Option<u32>,
    /// The kernel learned it from a router advertisement, and may go on learning.
    pub learned: bool,
}

/// A route look-up's answer.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// Index of the interface.
    pub interface: u32,
    /// The source address that the kernel would use.
    pub source: Option<IpAddr>,
}

impl Facts {
    /// The interface that has an address.
    pub fn owner(&self, addr: &IpAddr) -> Option<&Interface> {
        let mut interfaces = self.interfaces.iter();
        interfaces.find(|interface| interface.addrs.iter().any(|own| own.addr == *addr))
    }

    /// The interface with an index.
    ///
    /// # Errors
    /// If it is gone.
    pub fn by_index(&self, index: u32) -> Result<&Interface, String> {
        let mut interfaces = self.interfaces.iter();
        let found = interfaces.find(|interface| interface.index == index);
        found.ok_or_else(|| format!("interface {index} is gone"))
    }
}

impl Interface {
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.name)
            .chain(&self.altnames)
            .map(String::as_str)
    }

    /// Whether this is one of its names.
    pub fn is_called(&self, name: &str) -> bool {
        self.names().any(|own| own == name)
    }
}
