//! What the data plane is to do, as a value: the device, the sockets, and the peers.

use std::net::IpAddr;
#[cfg(any(test, feature = "test-util"))]
use std::net::SocketAddr;

use ipnet::IpNet;
#[cfg(any(test, feature = "test-util"))]
use ipnet::Ipv4Net;
use tweed_model::{Dual, SharedMap};

use super::options::ForwardOptions;
use super::table::Peer;

/// What the userspace data plane does: see the crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forwarding {
    /// Name of the TUN device.
    pub device: String,
    /// UDP port to receive on, host byte order.
    pub port: u16,
    /// Threads that carry packets, each with a queue of the device.
    pub workers: u8,
    /// Whether the device outlives the agent.
    pub persist: bool,
    /// What else the operator chose.
    pub options: ForwardOptions,
    /// Addresses of the uplink, for each enabled family, to receive at. Link-local ones of IPv6 are none.
    pub locals: Dual<IpAddr>,
    /// This node's subnets.
    pub own: Dual<IpNet>,
    /// The other nodes, one for each family, by their pods' subnet. Copies share what they have in common.
    pub peers: SharedMap<IpNet, Peer>,
}

impl Forwarding {
    /// Whether device and sockets are the same, so that a new table is all that is needed.
    pub fn same_path(&self, other: &Self) -> bool {
        let path = |of: &Self| (of.port, of.locals, of.workers, of.persist, of.options);
        self.device == other.device && path(self) == path(other)
    }

    /// That of host 1, with the hosts of these numbers.
    #[cfg(any(test, feature = "test-util"))]
    pub fn towards(numbers: std::ops::Range<u8>) -> Self {
        let subnet = |number| IpNet::from(Ipv4Net::new_assert([10, 244, number, 0].into(), 24));
        let peer = |number| Peer {
            endpoint: SocketAddr::from(([198, 18, 0, number], 8285)),
            addresses: Dual::of_addrs([[198, 18, 0, number].into()]),
            subnets: Dual::of_nets([subnet(number)]),
            mtu: 1472,
        };
        let peers = numbers.map(|number| (subnet(number), peer(number)));
        Self {
            device: "flannel0".into(),
            port: 8285,
            workers: 1,
            persist: true,
            options: ForwardOptions::default(),
            locals: Dual::default(),
            own: Dual::of_nets([subnet(1)]),
            peers: peers.collect(),
        }
    }
}
