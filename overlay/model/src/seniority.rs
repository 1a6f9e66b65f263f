//! Which lease announced a VTEP MAC first. The age of a lease does not say: the holder of an old one may announce another node's
//! MAC today. So it is remembered since when each lease has announced the MAC that it announces now.

use std::sync::Arc;

use super::{ClusterSnapshot, Dual, Family, Lease, Mac, SharedMap, SubnetKey};

/// A MAC, and since when it has been announced: a number that rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Since {
    mac: Mac,
    turn: u64,
}

#[derive(Clone, Debug)]
struct Known {
    lease: Arc<Lease>,
    macs: Dual<Since>,
}

/// What each lease announces, and since when.
#[derive(Clone, Debug, Default)]
pub struct Seniority {
    next: u64,
    known: SharedMap<SubnetKey, Known>,
    /// The leases of the last snapshot, where these are exactly the known ones.
    followed: Option<SharedMap<SubnetKey, Arc<Lease>>>,
}

impl Seniority {
    /// Takes what the store says now. What is new counts from now on, in the order of the leases' age; what a lease no
    /// longer announces is forgotten, and so is a lease that is gone. A store that has lost everything has nothing
    /// forgotten.
    pub fn follow(&mut self, snapshot: &ClusterSnapshot) {
        if snapshot.leases.is_empty() {
            return;
        }
        let followed = self.followed.take().filter(|_| snapshot.in_sync);
        let mut news = match &followed {
            Some(followed) => self.changed(&snapshot.leases, followed),
            None => self.unknown(snapshot),
        };
        self.followed = snapshot.in_sync.then(|| snapshot.leases.clone());
        news.sort_by_key(|lease| lease.created);
        for lease in news {
            // A lease that was taken anew has been gone in between.
            let before = self.known.get(&lease.key);
            let before = before.filter(|known| known.lease.created == lease.created);
            let before = before.map(|known| known.macs);
            let turn = self.next;
            let macs = lease.attrs.vtep_macs().map(|family, mac| {
                let before = before.as_ref().and_then(|macs| macs.get(family));
                let same = before.filter(|before| before.mac == *mac);
                same.copied().unwrap_or(Since { mac: *mac, turn })
            });
            self.next += 1;
            let lease = Arc::clone(lease);
            self.known.insert(lease.key, Known { lease, macs });
        }
    }

    /// Forgets what is gone, and gives what is new: what the last snapshot shares with this one is not looked at.
    fn changed<'a>(
        &mut self,
        leases: &'a SharedMap<SubnetKey, Arc<Lease>>,
        followed: &SharedMap<SubnetKey, Arc<Lease>>,
    ) -> Vec<&'a Arc<Lease>> {
        let mut news = Vec::new();
        for change in leases.changes_by(followed, Arc::ptr_eq) {
            match leases.get(change.key) {
                Some(lease) => news.push(lease),
                None => drop(self.known.remove(change.key)),
            }
        }
        news
    }

    /// The same of all leases.
    fn unknown<'a>(&mut self, snapshot: &'a ClusterSnapshot) -> Vec<&'a Arc<Lease>> {
        let leases = &snapshot.leases;
        if snapshot.in_sync {
            self.known.retain(|key, _| leases.contains_key(key));
        }
        let known = |lease: &Arc<Lease>| {
            let known = self.known.get(&lease.key);
            known.is_some_and(|known| Arc::ptr_eq(&known.lease, lease))
        };
        leases.values().filter(|lease| !known(lease)).collect()
    }

    /// The turn at which a lease first announced the MACs that it announces now.
    pub fn of(&self, key: &SubnetKey) -> Dual<u64> {
        let known = self.known.get(key);
        known.map_or_else(Dual::default, |known| known.macs.map(|_, since| since.turn))
    }

    /// The lease that had a MAC of this one first, and the family. Others refuse the later one for it, unless both have
    /// the same address: then they are one node's.
    pub fn ahead_of(&self, key: &SubnetKey) -> Option<(Family, SubnetKey)> {
        let own = self.known.get(key)?;
        let first = |other: &Known, family| {
            let (ours, theirs) = (own.macs.get(family)?, other.macs.get(family)?);
            let public = |known: &Known| known.lease.attrs.public.get(family).copied();
            let ahead = ours.mac == theirs.mac && theirs.turn < ours.turn;
            (ahead && public(own) != public(other)).then_some((family, other.lease.key))
        };
        let mut others = self.known.values();
        others.find_map(|other| Family::BOTH.into_iter().find_map(|f| first(other, f)))
    }

    /// The same memory, as an earlier process saved it: leases with the turns at which they announced what they did.
    pub fn restored(saved: impl IntoIterator<Item = (Arc<Lease>, Dual<u64>)>) -> Self {
        let mut seniority = Self::default();
        for (lease, turns) in saved {
            let macs = lease.attrs.vtep_macs().filter_map(|family, mac| {
                let turn = *turns.get(family)?;
                Some(Since { mac: *mac, turn })
            });
            let last = macs.values().map(|since| since.turn).max();
            seniority.next = seniority.next.max(last.map_or(0, |last| last + 1));
            seniority.known.insert(lease.key, Known { lease, macs });
        }
        seniority
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LeaseAttrs;
    use crate::lease::Term;

    fn lease(number: u8, mac: &str, created: u64) -> Arc<Lease> {
        let data = serde_json::json!({ "VNI": 1, "VtepMAC": mac });
        let subnet = format!("10.244.{number}.0/24").parse().unwrap();
        Arc::new(Lease {
            key: SubnetKey(Dual::of_nets([subnet])),
            attrs: LeaseAttrs {
                data: Dual {
                    v4: Some(data.into()),
                    v6: None,
                },
                ..LeaseAttrs::default()
            },
            node: None,
            created,
            term: Term::Leased,
        })
    }

    fn snapshot(leases: &[Arc<Lease>]) -> ClusterSnapshot {
        ClusterSnapshot {
            leases: leases
                .iter()
                .map(|lease| (lease.key, Arc::clone(lease)))
                .collect(),
            in_sync: true,
            ..ClusterSnapshot::default()
        }
    }

    fn first(seniority: &Seniority, a: &Lease, b: &Lease) -> bool {
        seniority.of(&a.key).v4.unwrap() < seniority.of(&b.key).v4.unwrap()
    }

    const OWN: &str = "a2:00:00:00:00:01";
    const OTHER: &str = "a2:00:00:00:00:02";

    #[test]
    fn an_old_lease_that_takes_on_a_mac_comes_after_the_one_that_has_it() {
        let (old, young) = (lease(2, OTHER, 1), lease(3, OWN, 9));
        let mut seniority = Seniority::default();
        seniority.follow(&snapshot(&[old.clone(), young.clone()]));
        assert!(first(&seniority, &old, &young), "by age at first");
        let thief = lease(2, OWN, 1);
        seniority.follow(&snapshot(&[thief.clone(), young.clone()]));
        assert!(first(&seniority, &young, &thief));
        // The same lease announced again is no news, whatever else in it has changed.
        let mut moved = (*young).clone();
        moved.attrs.public.v4 = Some("192.0.2.7".parse().unwrap());
        seniority.follow(&snapshot(&[thief.clone(), moved.clone().into()]));
        assert!(first(&seniority, &moved, &thief));
    }

    #[test]
    fn who_is_gone_has_lost_its_place_and_an_empty_store_takes_nobody_s() {
        let (a, b) = (lease(2, OWN, 1), lease(3, OWN, 2));
        let mut seniority = Seniority::default();
        seniority.follow(&snapshot(&[a.clone(), b.clone()]));
        seniority.follow(&snapshot(&[]));
        assert!(first(&seniority, &a, &b), "all of them gone is no news");
        seniority.follow(&snapshot(std::slice::from_ref(&b)));
        seniority.follow(&snapshot(&[a.clone(), b.clone()]));
        assert!(first(&seniority, &b, &a));
    }

    fn at(public: &str, lease: &Lease) -> Arc<Lease> {
        let mut lease = lease.clone();
        lease.attrs.public.v4 = Some(public.parse().unwrap());
        lease.into()
    }

    #[test]
    fn a_node_finds_out_that_another_has_its_mac_first_in_whichever_order_that_came_about() {
        let own = at("192.0.2.3", &lease(3, OWN, 9));
        let named = |seniority: &Seniority| seniority.ahead_of(&own.key);
        let taken = Some((Family::V4, lease(2, OWN, 1).key));
        // It copies the MAC of a node that is there.
        let thief = at("192.0.2.2", &lease(2, OWN, 1));
        let mut seniority = Seniority::default();
        seniority.follow(&snapshot(&[own.clone(), lease(2, OTHER, 1)]));
        seniority.follow(&snapshot(&[own.clone(), thief.clone()]));
        assert_eq!(named(&seniority), None, "it comes later");
        // The node's lease runs out meanwhile, and is taken anew before anybody looks.
        let anew = Arc::new(Lease {
            created: 99,
            ..(*own).clone()
        });
        seniority.follow(&snapshot(&[anew, thief.clone()]));
        assert_eq!(named(&seniority), taken);
        // It is there before the node comes.
        let mut seniority = Seniority::default();
        seniority.follow(&snapshot(std::slice::from_ref(&thief)));
        assert_eq!(named(&seniority), None, "without a lease of our own");
        seniority.follow(&snapshot(&[own.clone(), thief]));
        assert_eq!(named(&seniority), taken);
        // It announces the node's address as well, and another one later.
        let mut seniority = Seniority::default();
        let twin = at("192.0.2.3", &lease(2, OWN, 1));
        seniority.follow(&snapshot(&[own.clone(), twin.clone()]));
        assert_eq!(named(&seniority), None, "one node");
        seniority.follow(&snapshot(&[own.clone(), at("192.0.2.2", &twin)]));
        assert_eq!(named(&seniority), taken);
    }

    #[test]
    fn what_is_followed_change_by_change_is_what_is_looked_at_whole() {
        let (mut step_by_step, mut whole) = (Seniority::default(), Seniority::default());
        let macs = [OWN, OTHER];
        for round in 0..200_u8 {
            // A few leases come, go and change their MACs; each seventh snapshot is out of sync.
            let there = (2..9_u8).filter(|number| !(round / number).is_multiple_of(3));
            let leases: Vec<_> = there
                .map(|number| {
                    let mac = macs[usize::from(round / (number + 1) % 2)];
                    lease(number, mac, u64::from(round / (2 * number)))
                })
                .collect();
            let now = ClusterSnapshot {
                in_sync: round % 7 != 0,
                ..snapshot(&leases)
            };
            step_by_step.follow(&now);
            whole.followed = None;
            whole.follow(&now);
            let order = |seniority: &Seniority| {
                let mut keys: Vec<_> = seniority.known.keys().copied().collect();
                keys.sort_by_key(|key| seniority.of(key).v4);
                keys
            };
            assert_eq!(order(&step_by_step), order(&whole), "round {round}");
        }
    }

    #[test]
    fn a_restart_keeps_the_order() {
        let (old, young) = (lease(2, OTHER, 1), lease(3, OWN, 9));
        let mut before = Seniority::default();
        before.follow(&snapshot(&[old, young.clone()]));
        let thief = lease(2, OWN, 1);
        before.follow(&snapshot(&[thief.clone(), young.clone()]));
        let saved = [&thief, &young].map(|lease| ((*lease).clone(), before.of(&lease.key)));
        let mut after = Seniority::restored(saved);
        after.follow(&snapshot(&[thief.clone(), young.clone()]));
        assert!(first(&after, &young, &thief));
        let third = lease(4, OTHER, 0);
        after.follow(&snapshot(&[thief.clone(), young, third.clone()]));
        assert!(first(&after, &thief, &third), "new ones come last");
    }
}
