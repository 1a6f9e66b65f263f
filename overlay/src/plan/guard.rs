//! Refuses, for a while, a plan that would empty the node: a store that lost its data must not take the network with it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::carried;
use super::desired::Desired;
use super::diff::Plan;
use super::op::Op;
use super::state::{KernelState, NextHop, Route, RouteKey};
use crate::backend::Forwarding;

/// A plan that loses fewer peers than this is never held back.
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
                "no lease in the store makes a peer, all {losing} would go; check the store, then confirm with `tweedd confirm`"
            ),
        }
    }
}

/// What the guard says of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Pass,
    /// Add and change, but take nothing away, as before the store is in sync.
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

    /// Judges a plan against what is there: the kernel's routes, and the peers that the data plane carried until now.
    pub fn check(
        &mut self,
        plan: &Plan,
        want: &Desired,
        have: &KernelState,
        carried: Option<&Arc<Forwarding>>,
    ) -> Verdict {
        let confirmed = std::mem::take(&mut self.confirmed);
        let mut losing = lost(plan, have);
        leave_out_carried(&mut losing, want);
        if let Some(carried) = carried.filter(|_| want.prune) {
            let peers = carried::cut_off(want, carried).into_iter();
            losing.extend(peers.flat_map(carried::subnets_of));
        }
        let of = match losing.len() {
            0..FEW => 0,
            _ => peers(have, carried.map(Arc::as_ref)),
        };
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
    let carried: BTreeSet<RouteKey> = carried::subnets(forwarding).collect();
    losing.retain(|key| !carried.contains(key));
}

/// Number of peers' subnets that there is a way to.
fn peers(have: &KernelState, carried: Option<&Forwarding>) -> usize {
    let routes = have.routes.iter();
    let routes = routes.filter(|(_, route)| leads_to_peer(route));
    let carried = carried.into_iter().flat_map(carried::subnets);
    let subnets: BTreeSet<RouteKey> = routes.map(|(key, _)| *key).chain(carried).collect();
    subnets.len()
}

/// Routes without a gateway are the ways to gateways, or to all that a device carries.
fn leads_to_peer(route: &Route) -> bool {
    matches!(&route.next_hop, NextHop::Via { gateway, .. } if gateway.is_some())
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
            Op::DelRoute(key, route) if leads_to_peer(route) => {
                lost.insert(*key);
            }
            _ => {}
        }
    }
    let with_links = have.routes.iter().filter(|(_, route)| {
        leads_to_peer(route)
            && matches!(&route.next_hop, NextHop::Via { dev, .. } if gone_links.contains(&**dev))
    });
    lost.extend(with_links.map(|(key, _)| *key));
    for op in &plan.puts {
        if let Op::PutRoute(key, _) = op {
            lost.remove(key);
        }
    }
    lost
}
