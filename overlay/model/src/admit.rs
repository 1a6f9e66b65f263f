//! Which leases become peers, and why the others don't. One bad entry is refused by name and harms nobody else.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::lease::Term;
use super::shown::shown;
use super::subnet::overlap;
use super::{
    ClusterSnapshot, Dual, Family, Lease, LocalNode, Pool, Seniority, SubnetKey, host, special,
};

/// What one family of a peer is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerSide {
    /// The peer's subnet.
    pub subnet: IpNet,
    /// Where its packets go.
    pub public: IpAddr,
}

/// Another node, as far as its lease is sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its lease: what it announces, its name, its age.
    pub lease: Arc<Lease>,
    /// The families it can be reached with.
    pub sides: Dual<PeerSide>,
    /// The turn at which it first announced the MAC that it announces now, see [`Seniority`].
    pub since: Dual<u64>,
}

/// Why a lease is not a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A subnet lies outside the pod network.
    Outside {
        subnet: IpNet,
        /// The network it should lie in.
        network: IpNet,
    },
    /// A subnet overlaps ours.
    OverlapsOwn {
        subnet: IpNet,
        /// Ours.
        own: IpNet,
    },
    /// A subnet overlaps an older lease's.
    Overlaps {
        subnet: IpNet,
        /// The lease that was there first.
        older: SubnetKey,
    },
    /// It announces our own public address.
    OwnPublicAddress(IpAddr),
    /// It announces an address that no node can have.
    BadPublicAddress {
        /// The address.
        addr: IpAddr,
        /// Why not.
        why: String,
    },
    /// A subnet holds what this host reaches otherwise: a network on its links, its own address, its gateway or its
    /// store.
    TakesHostsOwn {
        subnet: IpNet,
        /// What it holds.
        what: String,
    },
    /// It has no subnet together with a public address in any family that is enabled here.
    NothingUsable,
    /// It runs a backend that this node does not.
    OtherBackend {
        /// What the peer announces.
        theirs: String,
        /// The names of ours.
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
            Self::BadPublicAddress { .. } => "bad_public_address",
            Self::TakesHostsOwn { .. } => "takes_hosts_own",
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
                write!(
                    f,
                    "it announces {addr}, an address of this host; if it is an earlier lease of this host's, give back its subnet with tweedd leases release"
                )
            }
            Self::BadPublicAddress { addr, why } => {
                write!(f, "no node can be reached at {addr}: {why}")
            }
            Self::TakesHostsOwn { subnet, what } => {
                write!(
                    f,
                    "subnet {subnet} holds {what}, which this host would lose"
                )
            }
            Self::NothingUsable => {
                f.write_str("it has no subnet with a public address in a family enabled here")
            }
            Self::OtherBackend { theirs, ours } if theirs.is_empty() => {
                write!(f, "it announces no backend, this node runs {ours}")
            }
            Self::OtherBackend { theirs, ours } if ours.split(" and ").any(|own| own == theirs) => {
                write!(
                    f,
                    "its BackendType is {theirs}, and leases of backend {theirs} have none: remove that key"
                )
            }
            Self::OtherBackend { theirs, ours } => {
                let theirs = shown(theirs);
                write!(f, "it runs backend {theirs}, this node runs {ours}")
            }
            Self::BadData(reason) => write!(f, "backend data: {reason}"),
        }
    }
}

/// The peers, and the leases that are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// Sound leases of others, the oldest first: in a conflict that one stays.
    pub peers: Vec<Peer>,
    /// Unsound ones.
    pub refused: BTreeMap<SubnetKey, Refusal>,
    /// Reservations that no node has taken up; whether for this node.
    pub reserved: BTreeMap<SubnetKey, bool>,
}

impl Admission {
    /// Notes since when each peer has announced what it announces.
    pub fn rank(&mut self, seniority: &Seniority) {
        for peer in &mut self.peers {
            peer.since = seniority.of(&peer.lease.key);
        }
    }

    /// The peers that announce a backend, the oldest first.
    pub fn announcing(&self, wire_type: &str) -> impl Iterator<Item = &Peer> {
        let peers = self.peers.iter();
        peers.filter(move |peer| peer.lease.attrs.backend_type == wire_type)
    }

    /// Moves leases that can't be used to the refused.
    pub fn refuse(&mut self, refused: BTreeMap<SubnetKey, Refusal>) {
        if !refused.is_empty() {
            let sound = |peer: &Peer| !refused.contains_key(&peer.lease.key);
            self.peers.retain(sound);
            self.refused.extend(refused);
        }
    }
}

/// Sorts the leases of a snapshot into peers and refused ones. The own lease (by its key) is neither, nor is a
/// reservation that no node has taken up. `spoken` are the backends that this node runs: what their leases announce, and
/// what they are called.
pub fn admit(
    pools: &Dual<Pool>,
    node: &LocalNode,
    spoken: &BTreeMap<&str, &str>,
    snapshot: &ClusterSnapshot,
) -> Admission {
    let own = SubnetKey(node.subnets);
    let leases = snapshot.leases.values();
    let mut others: Vec<&Arc<Lease>> = leases.filter(|lease| lease.key != own).collect();
    // The sort is stable: leases of one age stay in the order of their keys.
    others.sort_by_key(|lease| lease.created);
    let mut taken = Taken::default();
    let mut admission = Admission::default();
    for lease in others {
        if lease.term == Term::Reserved && is_for(node, lease) {
            admission.reserved.insert(lease.key, true);
            continue;
        }
        match sound(pools, node, spoken, lease, &taken) {
            Ok(sides) => {
                taken.insert(&sides, lease.key);
                let lease = Arc::clone(lease);
                let since = Dual::default();
                admission.peers.push(Peer {
                    lease,
                    sides,
                    since,
                });
            }
            // An operator has set it aside for a node that is still to come: neither peer nor fault.
            Err(Refusal::OtherBackend { theirs, .. })
                if theirs.is_empty() && lease.term == Term::Reserved =>
            {
                admission.reserved.insert(lease.key, false);
            }
            Err(reason) => {
                admission.refused.insert(lease.key, reason);
            }
        }
    }
    admission
}

/// Whether an entry says nothing but this node's address, as flannel compares: by IPv4 where there is one.
fn is_for(node: &LocalNode, lease: &Lease) -> bool {
    let theirs = &lease.attrs.public;
    if !lease.attrs.data.is_empty() {
        return false;
    }
    match (theirs.v4, node.public.v4) {
        (None, None) => theirs.v6.is_some() && theirs.v6 == node.public.v6,
        (theirs, ours) => theirs == ours,
    }
}

fn sound(
    pools: &Dual<Pool>,
    node: &LocalNode,
    spoken: &BTreeMap<&str, &str>,
    lease: &Lease,
    taken: &Taken,
) -> Result<Dual<PeerSide>, Refusal> {
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
            && overlap(own, subnet)
        {
            return Err(Refusal::OverlapsOwn {
                subnet: *subnet,
                own: *own,
            });
        }
        if let Some(what) = host::held_by(&node.host, &pool.network, subnet) {
            return Err(Refusal::TakesHostsOwn {
                subnet: *subnet,
                what,
            });
        }
        if let Some(older) = taken.overlap(subnet) {
            return Err(Refusal::Overlaps {
                subnet: *subnet,
                older,
            });
        }
    }
    for addr in lease.attrs.public.values() {
        reachable(pools, node, addr)?;
    }
    let theirs = lease.attrs.backend_type.as_str();
    if !spoken.contains_key(theirs) {
        let ours: Vec<&str> = spoken.values().copied().collect();
        return Err(Refusal::OtherBackend {
            theirs: theirs.to_owned(),
            ours: ours.join(" and "),
        });
    }
    let sides = pools.filter_map(|family, _| {
        let public = *lease.attrs.public.get(family)?;
        Some(PeerSide {
            subnet: *lease.key.0.get(family)?,
            public: Some(public).filter(|addr| !is_of_another_link(node, addr))?,
        })
    });
    if sides.is_empty() {
        let mut addrs = lease.attrs.public.values();
        let far = addrs.find(|addr| is_of_another_link(node, addr));
        return Err(
            far.map_or(Refusal::NothingUsable, |addr| Refusal::BadPublicAddress {
                addr: *addr,
                why: "it is link-local, and nothing says of which link".to_owned(),
            }),
        );
    }
    Ok(sides)
}

/// Why packets to an address would not leave this host, or reach nobody.
fn reachable(pools: &Dual<Pool>, node: &LocalNode, addr: &IpAddr) -> Result<(), Refusal> {
    match no_node(pools, addr) {
        Some(why) => Err(Refusal::BadPublicAddress { addr: *addr, why }),
        None if is_own(node, addr) => Err(Refusal::OwnPublicAddress(*addr)),
        None => Ok(()),
    }
}

/// Why no node can have an address, this one included. Link-local ones are another matter: neighbours can have them.
pub fn no_node(pools: &Dual<Pool>, addr: &IpAddr) -> Option<String> {
    if let Some(block) = special::block_of(addr).filter(|block| !block.of_one_link) {
        return Some(format!("it is {}", block.word));
    }
    let mut networks = pools.values().map(|pool| pool.network);
    let network = networks.find(|network| network.contains(addr))?;
    Some(format!("it is inside the pod network {network}"))
}

fn is_own(node: &LocalNode, addr: &IpAddr) -> bool {
    let mut own = node.public.values().chain(node.uplink.addrs.values());
    own.any(|own| own == addr) || node.host.addrs.contains(addr)
}

/// A link-local address of which nothing says that it is of our link. IPv6 has such addresses on each link.
fn is_of_another_link(node: &LocalNode, addr: &IpAddr) -> bool {
    let block = special::block_of(addr).filter(|block| block.of_one_link);
    block.is_some() && (Family::of(addr) == Family::V6 || !node.uplink.reaches_directly(addr))
}

/// Subnets given out so far, disjoint, by their first address: an overlap is found with one look-up.
#[derive(Default)]
struct Taken(BTreeMap<IpAddr, (IpNet, SubnetKey)>);

impl Taken {
    fn insert(&mut self, sides: &Dual<PeerSide>, key: SubnetKey) {
        let entries = sides.values().map(|side| side.subnet);
        self.0
            .extend(entries.map(|subnet| (subnet.network(), (subnet, key))));
    }

    fn overlap(&self, subnet: &IpNet) -> Option<SubnetKey> {
        let (_, (before, key)) = self.0.range(..=subnet.broadcast()).next_back()?;
        overlap(before, subnet).then_some(*key)
    }
}

#[cfg(test)]
mod tests;
