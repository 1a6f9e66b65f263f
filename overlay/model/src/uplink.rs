//! The interface towards the other nodes.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::Dual;

/// The interface over which the other nodes are reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Uplink {
    /// Interface name.
    pub name: String,
    /// Interface index; only for display, the kernel layer looks it up again by name.
    pub index: u32,
    /// MTU in bytes.
    pub mtu: u32,
    /// The address of each family that this node sends from.
    pub addrs: Dual<IpAddr>,
    /// Prefixes reachable on the link without a gateway. They decide direct routing.
    pub onlink: Vec<IpNet>,
    /// Its IPv6 default route was learned by the kernel from a router advertisement.
    pub learned_default: bool,
}

impl Uplink {
    /// Whether `addr` is a neighbour on the uplink: no gateway in between.
    pub fn reaches_directly(&self, addr: &IpAddr) -> bool {
        self.onlink.iter().any(|net| net.contains(addr))
    }
}
