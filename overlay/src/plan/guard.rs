//! Refuses, for a while, a plan that would empty the node: a store that lost its data must not take the network with it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::desired::Desired;
use super::diff::Plan;
use super::op::Op;
use super::state::{KernelState, NextHop, RouteKey};

/// A plan that deletes fewer routes than this is never held back.
const FEW: usize = 4;

/// Why deletions are held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Until another full list says the same.
    ForSecondList {
        /// Peers that would go.
        losing: usize,
        /// Peers there are.
        of: usize,
    },
    /// Until the operator confirms: the store is empty, or none of its leases can be used here.
    ForOperator {
        /// Peers that would go.
        losing: usize,
    },
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForSecondList { losing, of } => write!(
                f,
                "{losing} of {of} peers would go; waiting for a second full list that says the same"
            ),
            Self::ForOperator { losing } => write!(
                f,
                "no lease in the store makes a peer, all {losing} would go; check the store, then confirm with `tweedd plan --confirm`"
            ),
        }
    }
}

/// What the guard says of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Pass,
    /// Make the puts, leave the deletes.
    Hold(Held),
}

/// Remembers what it held back, and on which list that stood.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    held: Option<Suspicion>,
    confirmed: bool,
}

/// What a list said that was not believed at once.
#[derive(Clone, Debug)]
struct Suspicion {
    listing: u64,
    losing: BTreeSet<RouteKey>,
}

impl Guard {
    /// The operator has said that what is held back may go. Holds for the next plan, whatever that is, so that it can't
    /// be used up by another loss long after.
    pub fn confirm(&mut self) {
        self.confirmed = true;
    }

    /// Judges a plan against what is there.
    pub fn check(&mut self, plan: &Plan, want: &Desired, have: &KernelState) -> Verdict {
        let confirmed = std::mem::take(&mut self.confirmed);
        let mut losing = lost(plan, have);
        leave_out_carried(&mut losing, want);
        let routes = have
            .routes
            .values()
            .filter(|route| route.next_hop != NextHop::Blackhole);
        let of = routes.count();
        let few = losing.len() < FEW || losing.len() * 2 <= of;
        let second = self.held.as_ref().is_some_and(|held| {
            want.peers > 0 && want.listings > held.listing && losing.is_subset(&held.losing)
        });
        if few || confirmed || second {
            self.held = None;
            return Verdict::Pass;
        }
        let losing = match &self.held {
            Some(held) if want.listings <= held.listing => losing.len(),
            _ => self.suspect(want.listings, losing),
        };
        Verdict::Hold(match want.peers {
            0 => Held::ForOperator { losing },
            _ => Held::ForSecondList { losing, of },
        })
    }

    fn suspect(&mut self, listing: u64, losing: BTreeSet<RouteKey>) -> usize {
        let count = losing.len();
        self.held = Some(Suspicion { listing, losing });
        count
    }
}

/// A peer that has gone over to our own data plane needs no route for itself: it is not lost.
fn leave_out_carried(losing: &mut BTreeSet<RouteKey>, want: &Desired) {
    let Some(forwarding) = want.forwarding.as_ref().filter(|_| !losing.is_empty()) else {
        return;
    };
    let subnets = forwarding
        .peers
        .iter()
        .flat_map(|peer| peer.subnets.values());
    let carried: BTreeSet<IpAddr> = subnets.map(IpNet::network).collect();
    losing.retain(|key| !carried.contains(&key.dst.network()));
}

/// Peers' routes that the plan deletes, those included that go with a deleted link.
fn lost(plan: &Plan, have: &KernelState) -> BTreeSet<RouteKey> {
    let mut gone_links = BTreeSet::new();
    let mut lost = BTreeSet::new();
    for op in &plan.deletes {
        match op {
            Op::DelLink(name) => {
                gone_links.insert(name.as_str());
            }
            Op::DelRoute(key, route) if route.next_hop != NextHop::Blackhole => {
                lost.insert(*key);
            }
            _ => {}
        }
    }
    let with_links = have.routes.iter().filter(|(_, route)| {
        matches!(&route.next_hop, NextHop::Via { dev, .. } if gone_links.contains(&**dev))
    });
    lost.extend(with_links.map(|(key, _)| *key));
    for op in &plan.puts {
        if let Op::PutRoute(key, _) = op {
            lost.remove(key);
        }
    }
    lost
}
