//! What was exchanged with each peer.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tweed_model::Dual;

use super::counters::Traffic;
use super::table::{Peer, PeerId, Table};

/// The counts of one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerTraffic {
    /// Sent to it.
    pub sent: Traffic,
    /// Received from it, and given to the device.
    pub received: Traffic,
    /// ICMP errors of the underlay about datagrams to it, other than those about their size: nobody listens there, or
    /// there is no way.
    pub refused: u64,
}

impl PeerTraffic {
    /// Adds the counts of another worker.
    pub fn add(&mut self, other: &Self) {
        self.sent.add(&other.sent);
        self.received.add(&other.received);
        self.refused += other.refused;
    }
}

/// The counts of all peers of a table, by their place in it.
#[derive(Clone, Debug, Default)]
pub struct PeerCounts(Vec<PeerTraffic>);

/// What makes a peer the same one in another table.
type Key = (SocketAddr, Dual<IpNet>);

fn key(peer: &Peer) -> Key {
    (peer.endpoint, peer.subnets)
}

impl PeerCounts {
    /// Nothing counted yet.
    pub fn new(table: &Table) -> Self {
        Self(vec![PeerTraffic::default(); table.peers().len()])
    }

    /// The counts of a peer of the table that these are for.
    #[inline]
    pub fn of(&mut self, id: PeerId) -> &mut PeerTraffic {
        &mut self.0[id.index()]
    }

    /// All of them, in the table's order.
    pub fn all(&self) -> &[PeerTraffic] {
        &self.0
    }

    /// The counts of all peers at an address of the underlay.
    pub fn at(&mut self, table: &Table, addr: std::net::IpAddr) -> Option<&mut PeerTraffic> {
        let place = table
            .peers()
            .iter()
            .position(|peer| peer.endpoint.ip() == addr)?;
        self.0.get_mut(place)
    }

    /// The same counts for another table: peers that it doesn't have are forgotten. What most changes leave in place,
    /// the beginning, is not looked up.
    #[must_use]
    pub fn follow(&self, old: &Table, new: &Table) -> Self {
        let pairs = old.peers().iter().zip(new.peers());
        let same = pairs.take_while(|(old, new)| key(old) == key(new)).count();
        let moved: BTreeMap<Key, usize> = (same..old.peers().len())
            .map(|place| (key(&old.peers()[place]), place))
            .collect();
        let count = |place: usize| {
            let before = if place < same {
                Some(&place)
            } else {
                moved.get(&key(&new.peers()[place]))
            };
            before.map_or_else(PeerTraffic::default, |before| self.0[*before])
        };
        Self((0..new.peers().len()).map(count).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(numbers: &[u8]) -> Table {
        let peer = |n: &u8| {
            let endpoint = SocketAddr::from(([192, 0, 2, *n], 8285));
            Peer {
                endpoint,
                addresses: Dual::of_addrs([endpoint.ip()]),
                subnets: Dual::of_nets([format!("10.42.{n}.0/24").parse().unwrap()]),
                mtu: 1472,
            }
        };
        Table::new(Dual::default(), numbers.iter().map(peer).collect())
    }

    proptest! {
        #[test]
        fn each_peer_keeps_its_counts_wherever_it_moves(
            old in prop::collection::btree_set(any::<u8>(), 0..20),
            new in prop::collection::btree_set(any::<u8>(), 0..20),
        ) {
            let old: Vec<u8> = old.into_iter().collect();
            let new: Vec<u8> = new.into_iter().rev().collect();
            let (before, after) = (table(&old), table(&new));
            let mut counts = PeerCounts::new(&before);
            for (count, number) in counts.0.iter_mut().zip(&old) {
                count.refused = u64::from(*number) + 1;
            }
            let followed = counts.follow(&before, &after);
            for (count, number) in followed.all().iter().zip(&new) {
                let expected = if old.contains(number) { u64::from(*number) + 1 } else { 0 };
                prop_assert_eq!(count.refused, expected);
            }
            prop_assert_eq!(followed.all().len(), new.len());
        }
    }
}
