//! The values that the agent's rules follow from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use tweed_model::Dual;

use super::rule::Match;

/// What the agent's rules follow from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyInput {
    /// Name of the nftables table.
    pub table: String,
    /// The networks of each enabled family.
    pub networks: Dual<PolicyNetwork>,
    /// Masquerade pod traffic that leaves the pod network; none where the option is off.
    pub masquerade: Option<Masquerade>,
    /// The tunnels that pods and strangers are kept away from; none where the backend has no such tunnel.
    pub tunnels: Option<Tunnels>,
}

/// One family's networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyNetwork {
    /// The pod network of all nodes.
    pub network: IpNet,
    /// This node's part of it.
    pub subnet: IpNet,
}

/// Options of masquerading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Masquerade {
    /// Choose source ports at random.
    pub fully_random: bool,
}

/// The tunnels of the network, and from which sources their packets are accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tunnels {
    /// UDP ports, and how to know the tunnel's packets where the kernel takes them from anybody. None where the agent
    /// itself takes them, and checks their senders.
    pub ports: BTreeMap<u16, Option<Mark>>,
    /// The interface by which peers' packets come, though they may come by others.
    pub uplink: String,
    /// Interfaces by which none do: the bridge of pods, and the tunnels' own.
    pub inner: BTreeSet<String>,
    /// Whether the kernel can say of a packet to this host that what goes back would leave by another interface.
    pub way_back: bool,
    /// Source addresses of the peers' packets, both families mixed: no marked packet is taken from others. None where
    /// that is switched off.
    pub peers: Option<BTreeSet<IpAddr>>,
    /// What each peer may be the source of, by the address that its packets come from. None where any source is taken
    /// from a peer.
    pub sources: Option<BTreeSet<(IpAddr, IpNet)>>,
}

/// How to know a tunnel's packets: other overlays at the same port are left alone. An Ethernet frame begins 16 bytes
/// behind the start of the UDP header, as in VXLAN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// What rules call them, such as `VXLAN 1`.
    pub name: String,
    /// Bytes from the start of the UDP header.
    pub offset: u8,
    /// What stands there.
    pub bytes: Vec<u8>,
}

impl Mark {
    pub(crate) fn matches(&self) -> Match {
        Match::Transport {
            offset: self.offset,
            bytes: self.bytes.clone(),
        }
    }
}

impl Tunnels {
    pub(crate) fn not_by_uplink(&self) -> Match {
        Match::InInterface {
            not: true,
            name: self.uplink.clone(),
        }
    }
}
