//! What a port takes from the host, and the keys that it stands by in maps and sets.

use std::fmt;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tweed_model::Family;
use tweed_nft::Element;
use tweed_nft::ruleset::{L4Proto, addr_bytes};

use super::names::{addr_port_map, flow_map, port_map};

/// What a mapping takes from the host in one family, and nobody else may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Claim {
    pub family: Family,
    /// The host's address; none for all.
    pub host_addr: Option<IpAddr>,
    /// The transport protocol.
    pub protocol: L4Proto,
    pub host_port: u16,
}

impl Claim {
    /// Whether a packet could be meant for either, as two sockets that can't both be bound.
    pub fn clashes(&self, other: &Self) -> bool {
        let same = |claim: &Self| (claim.family, claim.protocol, claim.host_port);
        let apart =
            matches!((self.host_addr, other.host_addr), (Some(one), Some(two)) if one != two);
        same(self) == same(other) && !apart
    }

    /// The element of its port on all addresses, as far as its key says.
    pub(crate) fn on_all_addresses(&self) -> (&'static str, Element) {
        let key = service(self.protocol, self.host_port);
        (port_map(self.family), Element::plain(key))
    }

    /// The map that has it as a key.
    pub(super) fn map(&self) -> &'static str {
        match self.host_addr {
            None => port_map(self.family),
            Some(_) => addr_port_map(self.family),
        }
    }

    pub(super) fn key(&self) -> Vec<u8> {
        let mut key = self.host_addr.map(addr_bytes).unwrap_or_default();
        key.extend(service(self.protocol, self.host_port));
        key
    }

    /// Reads an element's key back.
    pub(crate) fn of_element(map: &str, key: &[u8]) -> Option<Self> {
        let family = Family::BOTH.into_iter().find(|family| {
            [port_map, addr_port_map, flow_map]
                .map(|of| of(*family))
                .contains(&map)
        })?;
        let (addr, service) = key.split_at_checked(key.len().checked_sub(8)?)?;
        // Whatever its conditions, a port under conditions is one container's on all addresses.
        let addr = if map == flow_map(family) { &[] } else { addr };
        let protocol = L4Proto::of_number(service[0])?;
        let host_port = u16::from_be_bytes([service[4], service[5]]);
        let host_addr = match addr.len() {
            0 => None,
            4 => Some(IpAddr::from(<[u8; 4]>::try_from(addr).ok()?)),
            _ => Some(IpAddr::from(<[u8; 16]>::try_from(addr).ok()?)),
        };
        Some(Self {
            family,
            host_addr,
            protocol,
            host_port,
        })
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (protocol, port) = (self.protocol, self.host_port);
        match (self.host_addr, self.family) {
            (Some(IpAddr::V6(addr)), _) => write!(f, "{protocol} [{addr}]:{port}"),
            (Some(addr), _) => write!(f, "{protocol} {addr}:{port}"),
            (None, Family::V4) => write!(f, "{protocol} 0.0.0.0:{port}"),
            (None, Family::V6) => write!(f, "{protocol} [::]:{port}"),
        }
    }
}

/// The first and the last key of a range of sources, destinations and ports.
pub(super) fn keys(
    (source, destination): ([IpAddr; 2], [IpAddr; 2]),
    first: &[u8],
    last: &[u8],
) -> [Vec<u8>; 2] {
    let key = |end: usize, service: &[u8]| {
        let mut key = addr_bytes(source[end]);
        key.extend(addr_bytes(destination[end]));
        key.extend(service);
        key
    };
    [key(0, first), key(1, last)]
}

/// Protocol and port as parts of a key.
pub(super) fn service(protocol: L4Proto, port: u16) -> Vec<u8> {
    [vec![protocol.number(), 0, 0, 0], padded(port)].concat()
}

pub(super) fn padded(port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    vec![high, low, 0, 0]
}

pub(super) fn everything(family: Family) -> IpNet {
    match family {
        Family::V4 => Ipv4Net::default().into(),
        Family::V6 => Ipv6Net::default().into(),
    }
}
