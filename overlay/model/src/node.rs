//! This node: its uplink, its addresses, its identity, its lease.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Dual, Family, Host, Mac};

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

/// What a node keeps over restarts and reboots so that its peers need not learn it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// MAC of the IPv4 VTEP (`flannel.N`).
    pub vtep_mac: Mac,
    /// MAC of the IPv6 VTEP (`flannel-v6.N`).
    pub vtep_mac_v6: Mac,
}

impl Identity {
    /// The MAC of the VTEP of one family.
    pub fn mac(&self, family: Family) -> Mac {
        match family {
            Family::V4 => self.vtep_mac,
            Family::V6 => self.vtep_mac_v6,
        }
    }
}

/// Everything about this node on which the desired state depends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LocalNode {
    /// The interface towards the other nodes.
    pub uplink: Uplink,
    /// The addresses announced to the other nodes; behind a NAT they differ from the uplink's.
    pub public: Dual<IpAddr>,
    /// MAC addresses of the VTEPs.
    pub identity: Identity,
    /// The subnets of the own lease.
    pub subnets: Dual<IpNet>,
    /// What else its host has, which no lease may take.
    pub host: Host,
}
