//! Which leases become peers, and why the others don't. One bad entry is refused by name and harms nobody else.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::lease::Term;
use super::{ClusterSnapshot, Dual, Family, Lease, LocalNode, Pool, SubnetKey};

/// What one family of a peer is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSide {
    /// The peer's subnet.
    pub subnet: IpNet,
    /// Where its packets go.
    pub public: IpAddr,
    /// The backend's data, raw.
    pub data: Option<Value>,
}

/// Another node, as far as its lease is sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The families it can be reached with.
    pub sides: Dual<PeerSide>,
    /// The backend it announces; empty where flannel announces none.
    pub backend_type: String,
    /// Its name, where the store knows one.
    pub node: Option<String>,
    /// Order of creation of its lease: in a conflict the older one stays.
    pub created: u64,
}

/// Why a lease is not a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A subnet lies outside the pod network.
    Outside {
        /// The subnet.
        subnet: IpNet,
        /// The network it should lie in.
        network: IpNet,
    },
    /// A subnet overlaps ours.
    OverlapsOwn {
        /// The subnet.
        subnet: IpNet,
        /// Ours.
        own: IpNet,
    },
    /// A subnet overlaps an older lease's.
    Overlaps {
        /// The subnet.
        subnet: IpNet,
        /// The lease that was there first.
        older: SubnetKey,
    },
    /// It announces our own public address.
    OwnPublicAddress(IpAddr),
    /// It announces an address that no node can have.
    BadPublicAddress(IpAddr),
    /// It has no subnet together with a public address in any family that is enabled here.
    NothingUsable,
    /// It runs another backend.
    OtherBackend {
        /// The peer's.
        theirs: String,
        /// Ours.
        ours: String,
    },
    /// Its backend data can't be used.
    BadData(String),
}

impl Refusal {
    /// A short fixed word for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Outside { .. } => "outside_network",
            Self::OverlapsOwn { .. } => "overlaps_own",
            Self::Overlaps { .. } => "overlaps_peer",
            Self::OwnPublicAddress(_) => "own_public_address",
            Self::BadPublicAddress(_) => "bad_public_address",
            Self::NothingUsable => "nothing_usable",
            Self::OtherBackend { .. } => "other_backend",
            Self::BadData(_) => "bad_data",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outside { subnet, network } => {
                write!(f, "subnet {subnet} is outside the network {network}")
            }
            Self::OverlapsOwn { subnet, own } => {
                write!(f, "subnet {subnet} overlaps this node's {own}")
            }
            Self::Overlaps { subnet, older } => {
                write!(f, "subnet {subnet} overlaps the older lease {older}")
            }
            Self::OwnPublicAddress(addr) => {
                write!(f, "it announces this node's public address {addr}")
            }
            Self::BadPublicAddress(addr) => write!(f, "no node can have the public address {addr}"),
            Self::NothingUsable => {
                f.write_str("it has no subnet with a public address in a family enabled here")
            }
            Self::OtherBackend { theirs, ours } if theirs.is_empty() => {
                write!(f, "it announces no backend, this node runs {ours}")
            }
            Self::OtherBackend { theirs, ours } => {
                write!(f, "it runs backend {theirs}, this node runs {ours}")
            }
            Self::BadData(reason) => write!(f, "backend data: {reason}"),
        }
    }
}

/// The peers, and the leases that are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// Sound leases of others.
    pub peers: BTreeMap<SubnetKey, Peer>,
    /// Unsound ones.
    pub refused: BTreeMap<SubnetKey, Refusal>,
}

impl Admission {
    /// Moves a peer to the refused: what a backend does with data it can't use.
    pub fn refuse(&mut self, key: SubnetKey, reason: Refusal) {
        self.peers.remove(&key);
        self.refused.insert(key, reason);
    }
}

/// Sorts the leases of a snapshot into peers and refused ones. The own lease (by its key) is neither, nor is a
/// reservation that no node has taken up.
pub fn admit(
    pools: &Dual<Pool>,
    node: &LocalNode,
    backend_type: &str,
    snapshot: &ClusterSnapshot,
) -> Admission {
    let own = SubnetKey(node.subnets);
    let mut others: Vec<&Lease> = snapshot.leases.values().filter(|l| l.key != own).collect();
    others.sort_by_key(|lease| (lease.created, lease.key));
    let mut taken = Taken::default();
    let mut admission = Admission::default();
    for lease in others {
        match sound(pools, node, backend_type, lease, &taken) {
            Ok(peer) => {
                taken.insert(&peer, lease.key);
                admission.peers.insert(lease.key, peer);
            }
            // An operator has set it aside for a node that is still to come: neither peer nor fault.
            Err(Refusal::OtherBackend { theirs, .. })
                if theirs.is_empty() && lease.term == Term::Reserved => {}
            Err(reason) => {
                admission.refused.insert(lease.key, reason);
            }
        }
    }
    admission
}

fn sound(
    pools: &Dual<Pool>,
    node: &LocalNode,
    backend_type: &str,
    lease: &Lease,
    taken: &Taken,
) -> Result<Peer, Refusal> {
    for (family, subnet) in lease.key.0.iter() {
        let Some(pool) = pools.get(family) else {
            continue;
        };
        if !pool.network.contains(subnet) {
            return Err(Refusal::Outside {
                subnet: *subnet,
                network: pool.network,
            });
        }
        if let Some(own) = node.subnets.get(family)
            && (own.contains(subnet) || subnet.contains(own))
        {
            return Err(Refusal::OverlapsOwn {
                subnet: *subnet,
                own: *own,
            });
        }
        if let Some(older) = taken.overlap(subnet) {
            return Err(Refusal::Overlaps {
                subnet: *subnet,
                older,
            });
        }
    }
    if let Some(addr) = lease.attrs.public.values().find(|addr| is_own(node, addr)) {
        return Err(Refusal::OwnPublicAddress(*addr));
    }
    if let Some(addr) = lease
        .attrs
        .public
        .values()
        .find(|addr| !can_be_a_node(addr))
    {
        return Err(Refusal::BadPublicAddress(*addr));
    }
    if lease.attrs.backend_type != backend_type {
        return Err(Refusal::OtherBackend {
            theirs: lease.attrs.backend_type.clone(),
            ours: backend_type.to_owned(),
        });
    }
    let sides = pools.filter_map(|family, _| {
        Some(PeerSide {
            subnet: *lease.key.0.get(family)?,
            public: *lease.attrs.public.get(family)?,
            data: lease.attrs.data.get(family).cloned(),
        })
    });
    if sides.is_empty() {
        return Err(Refusal::NothingUsable);
    }
    let backend_type = lease.attrs.backend_type.clone();
    Ok(Peer {
        sides,
        backend_type,
        node: lease.node.clone(),
        created: lease.created,
    })
}

fn is_own(node: &LocalNode, addr: &IpAddr) -> bool {
    node.public
        .values()
        .chain(node.uplink.addrs.values())
        .any(|own| own == addr)
}

fn can_be_a_node(addr: &IpAddr) -> bool {
    let broadcast = matches!(addr, IpAddr::V4(v4) if v4.is_broadcast());
    !(addr.is_unspecified() || addr.is_multicast() || addr.is_loopback() || broadcast)
}

/// Subnets given out so far, disjoint, as ranges of addresses: an overlap is found with one look-up.
#[derive(Default)]
struct Taken(BTreeMap<(Family, u128), (u128, SubnetKey)>);

impl Taken {
    fn insert(&mut self, peer: &Peer, key: SubnetKey) {
        for (family, side) in peer.sides.iter() {
            let (first, last) = bounds(&side.subnet);
            self.0.insert((family, first), (last, key));
        }
    }

    fn overlap(&self, subnet: &IpNet) -> Option<SubnetKey> {
        let family = Family::of_net(subnet);
        let (first, last) = bounds(subnet);
        let before = self.0.range((family, 0)..=(family, last)).next_back();
        before
            .filter(|(_, (end, _))| *end >= first)
            .map(|(_, (_, key))| *key)
    }
}

fn bounds(net: &IpNet) -> (u128, u128) {
    match net {
        IpNet::V4(v4) => (
            u32::from(v4.network()).into(),
            u32::from(v4.broadcast()).into(),
        ),
        IpNet::V6(v6) => (v6.network().into(), v6.broadcast().into()),
    }
}

#[cfg(test)]
mod tests;
