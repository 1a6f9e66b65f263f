//! Which peer an address belongs to, and which peers there are: an immutable value, swapped as a whole when leases
//! change. A lookup allocates nothing and costs the same with three peers and with thousands.

#[cfg(test)]
mod tests;
mod trie;

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use tweed_model::{Dual, Family};

use self::trie::Trie;

/// A peer's place in [`Table::peers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(u32);

impl PeerId {
    /// The place as an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where its packets are sent.
    pub endpoint: SocketAddr,
    /// The addresses its packets come from. Their port is free: workers send from ports of their own.
    pub addresses: Dual<IpAddr>,
    /// The subnets of its pods.
    pub subnets: Dual<IpNet>,
    /// The largest packet in bytes that reaches it in one datagram without fragmentation of the underlay.
    pub mtu: u16,
}

/// What packets are forwarded by.
#[derive(Clone, Debug)]
pub struct Table {
    own: Dual<IpNet>,
    peers: Vec<Peer>,
    v4: Trie<4>,
    v6: Trie<16>,
    /// Sorted, to tell a sender without lease from a peer that lies about the inside.
    senders: Vec<IpAddr>,
}

impl Table {
    /// A table of the peers. `own` are this node's subnets, each with the device's address before the slash. Of two
    /// peers with the same subnet, the first has it.
    pub fn new(own: Dual<IpNet>, peers: Vec<Peer>) -> Self {
        let subnets = |family| {
            let pairs = peers.iter().enumerate();
            pairs.filter_map(move |(index, peer)| Some((*peer.subnets.get(family)?, index as u32)))
        };
        let v4 = subnets(Family::V4).filter_map(|(net, index)| match net {
            IpNet::V4(net) => Some((net.network().octets(), net.prefix_len(), index)),
            IpNet::V6(_) => None,
        });
        let v6 = subnets(Family::V6).filter_map(|(net, index)| match net {
            IpNet::V6(net) => Some((net.network().octets(), net.prefix_len(), index)),
            IpNet::V4(_) => None,
        });
        let (v4, v6) = (Trie::new(v4.collect()), Trie::new(v6.collect()));
        let mut senders: Vec<IpAddr> = peers
            .iter()
            .flat_map(|peer| peer.addresses.values())
            .copied()
            .collect();
        senders.sort_unstable();
        senders.dedup();
        Self {
            own,
            peers,
            v4,
            v6,
            senders,
        }
    }

    /// This node's subnets, each with the device's address before the slash.
    pub fn own(&self) -> &Dual<IpNet> {
        &self.own
    }

    /// All peers, by [`PeerId::index`].
    pub fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// Whether a peer at an address of the underlay has a larger MTU than this.
    pub(super) fn is_wider(&self, addr: IpAddr, mtu: u16) -> bool {
        let mut there = self.peers.iter().filter(|peer| peer.endpoint.ip() == addr);
        there.any(|peer| peer.mtu > mtu)
    }

    /// Lowers the MTU of every peer at an address of the underlay to this.
    pub(super) fn narrow(&mut self, addr: IpAddr, mtu: u16) {
        for peer in &mut self.peers {
            if peer.endpoint.ip() == addr {
                peer.mtu = peer.mtu.min(mtu);
            }
        }
    }

    /// A peer that this table's [`lookup`](Self::lookup) named.
    pub fn peer(&self, id: PeerId) -> &Peer {
        &self.peers[id.index()]
    }

    /// The peer with the longest subnet that contains an address.
    #[inline]
    pub fn lookup(&self, addr: IpAddr) -> Option<PeerId> {
        let found = match addr {
            IpAddr::V4(addr) => self.v4.lookup(addr.octets()),
            IpAddr::V6(addr) => self.v6.lookup(addr.octets()),
        };
        found.map(PeerId)
    }

    /// Whether an address is in one of this node's subnets.
    #[inline]
    pub fn is_own(&self, addr: IpAddr) -> bool {
        self.own.values().any(|net| net.contains(&addr))
    }

    /// Whether any peer's packets come from an address of the underlay.
    pub fn knows_sender(&self, addr: IpAddr) -> bool {
        self.senders.binary_search(&addr).is_ok()
    }
}
