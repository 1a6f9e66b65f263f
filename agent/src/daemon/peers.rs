//! The other nodes one by one, for `tweedd status --peers`: made when somebody asks, from what the session has anyway.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tweed_forward::peers::PeerTraffic;
use tweed_model::{ClusterSnapshot, Dual, Lease, SharedMap, SubnetKey};
use tweed_state::Desired;

use super::clock;
use super::data_plane::status::DataPlaneStatus;
use super::probing::PeerProbe;

/// As many are listed at most.
pub const MOST: usize = 5_000;

/// What a node is to this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    Peer,
    /// Nobody: a subnet that is set aside for a node that has not taken it.
    Reserved,
    /// Its lease is refused.
    Refused,
    /// Its lease is gone, and what the kernel has for it is held back from deletion.
    Held,
}

/// What was exchanged with a node, in one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchanged {
    pub subnet: IpNet,
    /// The largest packet that gets there unfragmented, in bytes.
    pub mtu: u16,
    /// What was exchanged.
    #[serde(flatten)]
    pub traffic: PeerTraffic,
}

/// Another node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its lease's key.
    pub lease: String,
    /// Its name, where the store knows it.
    pub node: Option<String>,
    /// The addresses that it announces.
    pub public: Dual<IpAddr>,
    pub subnets: Dual<IpNet>,
    /// The backend that it announces.
    pub backend: String,
    /// Since when this agent has known its lease, in seconds since 1970.
    pub seen: Option<u64>,
    /// Order of its lease's creation in the store.
    pub created: u64,
    /// What it is to this node.
    pub state: Standing,
    /// Why, where it is no peer.
    pub reason: Option<String>,
    /// A fixed word for the kind of reason.
    pub kind: Option<String>,
    /// What our own data plane has exchanged with it, a family each.
    pub traffic: Vec<Exchanged>,
    /// How it answers, where it is asked.
    #[serde(default)]
    pub probe: Option<PeerProbe>,
}

/// The other nodes, as a session knows them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Known {
    own: Option<SubnetKey>,
    snapshot: Arc<ClusterSnapshot>,
    desired: Option<Arc<Desired>>,
    /// The last one that the guard let pass.
    confirmed: Arc<ClusterSnapshot>,
    seen: Seen,
}

/// Since when leases have been known, in seconds since 1970.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// Those of the first list.
    first: u64,
    /// Those that came later.
    later: SharedMap<SubnetKey, u64>,
}

impl Known {
    /// Takes what the store says now, and what follows from it.
    pub(super) fn take(
        &mut self,
        own: SubnetKey,
        snapshot: &Arc<ClusterSnapshot>,
        desired: &Arc<Desired>,
    ) {
        let now = clock::seconds();
        if self.own.replace(own).is_none() {
            self.seen.first = now;
        } else {
            let changes = snapshot
                .leases
                .changes_by(&self.snapshot.leases, |_, _| true);
            for change in changes {
                match change.now {
                    Some(_) => self.seen.later.insert(*change.key, now),
                    None => self.seen.later.remove(change.key),
                };
            }
        }
        self.snapshot = Arc::clone(snapshot);
        self.desired = Some(Arc::clone(desired));
    }

    /// The kernel holds what the last list says.
    pub(super) fn confirm(&mut self) {
        self.confirmed = Arc::clone(&self.snapshot);
    }

    /// The nodes, and how many are left out. `held` is why deletions are held back, where they are.
    pub fn list(&self, held: Option<&str>, plane: Option<&DataPlaneStatus>) -> (Vec<Peer>, usize) {
        let traffic = traffic(plane);
        let others = |snapshot: &Arc<ClusterSnapshot>| {
            let leases = snapshot.leases.values().cloned();
            let others = leases.filter(|lease| Some(lease.key) != self.own);
            others.collect::<Vec<_>>()
        };
        let mut found = Vec::new();
        for lease in others(&self.snapshot) {
            let refused = self.desired.as_ref();
            let refused = refused.and_then(|desired| desired.refused.get(&lease.key));
            let why = refused.map(|why| (why.to_string(), why.label().to_owned()));
            let reserved = self.desired.as_ref();
            let reserved = reserved.is_some_and(|want| want.reserved.contains_key(&lease.key));
            let state = match why {
                Some(_) => Standing::Refused,
                None if reserved => Standing::Reserved,
                None => Standing::Peer,
            };
            found.push(self.peer(&lease, state, why, &traffic));
        }
        if let Some(held) = held {
            let there: BTreeSet<_> = self.snapshot.leases.keys().copied().collect();
            for lease in others(&self.confirmed) {
                if !there.contains(&lease.key) {
                    let why = Some((held.to_owned(), "held".to_owned()));
                    found.push(self.peer(&lease, Standing::Held, why, &traffic));
                }
            }
        }
        let left_out = found.len().saturating_sub(MOST);
        // Those with whom something is wrong are not left out.
        let well = |state| match state {
            Standing::Refused | Standing::Held => 0,
            Standing::Peer => 1,
            Standing::Reserved => 2,
        };
        found.sort_by_key(|peer| well(peer.state));
        found.truncate(MOST);
        (found, left_out)
    }

    fn seen(&self, key: &SubnetKey) -> Option<u64> {
        let later = self.seen.later.get(key).copied();
        let there = self.snapshot.leases.contains_key(key);
        there.then(|| later.unwrap_or(self.seen.first))
    }

    fn peer(
        &self,
        lease: &Lease,
        state: Standing,
        why: Option<(String, String)>,
        traffic: &BTreeMap<IpNet, Exchanged>,
    ) -> Peer {
        let (reason, kind) = why.unzip();
        let subnets = lease.key.0;
        Peer {
            lease: lease.key.to_string(),
            node: lease.node.clone(),
            public: lease.attrs.public,
            subnets,
            backend: tweed_model::shown::shown(&lease.attrs.backend_type).into_owned(),
            seen: self.seen(&lease.key),
            created: lease.created,
            state,
            reason,
            kind,
            traffic: subnets
                .values()
                .filter_map(|subnet| traffic.get(subnet).copied())
                .collect(),
            probe: None,
        }
    }
}

fn traffic(plane: Option<&DataPlaneStatus>) -> BTreeMap<IpNet, Exchanged> {
    let peers = plane.into_iter().flat_map(|plane| &plane.peers);
    let exchanged = peers.map(|peer| {
        let exchanged = Exchanged {
            subnet: peer.subnet,
            mtu: peer.mtu,
            traffic: peer.traffic,
        };
        (peer.subnet, exchanged)
    });
    exchanged.collect()
}

#[cfg(test)]
mod tests {
    use tweed_model::LeaseAttrs;
    use tweed_model::lease::Term;
    use tweed_state::Scope;

    use super::*;

    fn lease(number: usize) -> Arc<Lease> {
        let (high, low) = (number / 256, number % 256);
        Arc::new(Lease {
            key: format!("10.{high}.{low}.0-24").parse().expect("a key"),
            attrs: LeaseAttrs {
                public: Dual::of_addrs([format!("192.0.{high}.{low}")
                    .parse()
                    .expect("an address")]),
                backend_type: "vxlan".to_owned(),
                data: Dual::default(),
            },
            node: None,
            created: 1,
            term: Term::Leased,
        })
    }

    fn snapshot(numbers: impl Iterator<Item = usize>) -> Arc<ClusterSnapshot> {
        Arc::new(ClusterSnapshot {
            leases: numbers
                .map(|number| (lease(number).key, lease(number)))
                .collect(),
            ..ClusterSnapshot::default()
        })
    }

    #[test]
    fn the_own_lease_is_no_peer_and_what_is_held_back_is_named() {
        let own = lease(1).key;
        let desired = Arc::new(Desired::nothing(Scope::default()));
        let mut known = Known::default();
        known.take(own, &snapshot(1..=3), &desired);
        known.confirm();
        known.take(own, &snapshot(1..=2), &desired);
        let states = |held| -> Vec<_> {
            let (list, left_out) = known.list(held, None);
            assert_eq!(left_out, 0);
            list.into_iter()
                .map(|peer| (peer.lease, peer.state))
                .collect()
        };
        let peer = ("10.0.2.0-24".to_owned(), Standing::Peer);
        assert_eq!(states(None), std::slice::from_ref(&peer));
        let held = ("10.0.3.0-24".to_owned(), Standing::Held);
        assert_eq!(states(Some("why")), [held, peer]);
    }

    #[test]
    fn a_reservation_is_no_peer() {
        let desired = Arc::new(Desired {
            reserved: [(lease(2).key, false)].into(),
            ..Desired::nothing(Scope::default())
        });
        let mut known = Known::default();
        known.take(lease(1).key, &snapshot(1..=3), &desired);
        let (list, _) = known.list(None, None);
        let states: Vec<_> = list.iter().map(|peer| (&*peer.lease, peer.state)).collect();
        let expected = [
            ("10.0.3.0-24", Standing::Peer),
            ("10.0.2.0-24", Standing::Reserved),
        ];
        assert_eq!(states, expected);
    }

    #[test]
    fn a_list_has_an_end_and_says_how_many_it_leaves_out() {
        let mut known = Known::default();
        let desired = Arc::new(Desired::nothing(Scope::default()));
        known.take(lease(0).key, &snapshot(0..=MOST + 7), &desired);
        let (list, left_out) = known.list(None, None);
        assert_eq!((list.len(), left_out), (MOST, 7));
        assert!(list.iter().all(|peer| peer.seen.is_some()));
    }
}
