//! This node: its addresses, its identity, its lease.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Dual, Family, Host, Mac, Uplink};

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
