//! Refuses, for a while, a plan that would empty the node: a store that lost its data must not take the network with it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use tweed_forward::forwarding::Forwarding;
use tweed_model::Family;
use tweed_state::diff::Plan;
use tweed_state::nexthop::NextHop;
use tweed_state::op::Op;
use tweed_state::state::{KernelState, Route, RouteKey};
use tweed_state::wanted::Desired;

use super::carried;

/// A plan that loses fewer peers than this is not held back, as long as there are others left.
const FEW: usize = 4;
/// What a list that had nobody left took away goes only after so many more lists, which takes half a minute: nodes that put
/// their leases back need a moment for it, and the first of them must not cost the others their routes.
const AFTER_NONE: u64 = 4;

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

impl Held {
    /// Peers that would go, and stay programmed meanwhile.
    pub fn losing(&self) -> usize {
        match self {
            Self::ForSecondList { losing, .. } | Self::ForOperator { losing } => *losing,
        }
    }
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

/// Decision on a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardVerdict {
    /// The plan is carried out.
    Pass,
    /// Add and change, but take nothing away, as before the store is in sync.
    Hold(Held),
}

/// Holds plans back, and keeps the list that the last one stood on.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    held: Option<Suspicion>,
    confirmed: bool,
    /// The list behind the last plan that it let pass.
    passed: Option<u64>,
}

/// A loss that waits for another list to confirm it.
#[derive(Clone, Debug)]
struct Suspicion {
    /// The list from which on others are counted.
    listing: u64,
    losing: BTreeSet<RouteKey>,
    /// The list had no peer left.
    emptied: bool,
    /// No peer has come back yet.
    nobody: bool,
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
    ) -> GuardVerdict {
        let confirmed = std::mem::take(&mut self.confirmed);
        let mut losing = lost(plan, have);
        leave_out_carried(&mut losing, want);
        if let Some(carried) = carried.filter(|_| want.prune) {
            let peers = carried::cut_off(want, carried).into_iter();
            losing.extend(peers.map(|(subnet, _)| RouteKey::of(subnet)));
        }
        let emptied = self.emptied(want, &losing);
        let returning = self.returning(want, &losing);
        let of = match losing.len() {
            0..FEW if !emptied && !returning => 0,
            _ => peers(have, carried.map(Arc::as_ref)),
        };
        let most = losing.len() >= FEW && losing.len() * 2 > of;
        if confirmed || !(most || emptied || returning) || self.said_again(want, &losing) {
            self.held = None;
            if want.prune {
                self.passed = Some(want.listings);
            }
            return GuardVerdict::Pass;
        }
        let count = as_peers(&losing);
        self.suspect(want.listings, losing, emptied);
        GuardVerdict::Hold(match want.peers {
            0 => Held::ForOperator { losing: count },
            _ => Held::ForSecondList { losing: count, of },
        })
    }

    fn suspect(&mut self, listing: u64, losing: BTreeSet<RouteKey>, emptied: bool) {
        match &mut self.held {
            Some(held) if held.emptied && losing.is_subset(&held.losing) => {}
            Some(held) if held.emptied => {
                held.losing.extend(losing);
                held.listing = listing;
            }
            Some(held) if listing <= held.listing && !emptied => {}
            held => {
                *held = Some(Suspicion {
                    listing,
                    losing,
                    emptied,
                    nobody: emptied,
                });
            }
        }
    }

    /// Whether nobody is left where somebody was, and not just because the last one's lease was seen to be removed: an
    /// operator may do that, and the own lease stays. A subnet of a lease that is refused is somebody's, and the routes
    /// of an earlier network are nobody's.
    fn emptied(&self, want: &Desired, losing: &BTreeSet<RouteKey>) -> bool {
        if want.peers > 0 {
            return false;
        }
        let networks = &want.scope.networks;
        let within = |key: &RouteKey| networks.iter().any(|network| network.contains(&key.dst));
        let refused = want.refused.keys().flat_map(|lease| lease.0.values());
        let refused: BTreeSet<_> = refused.copied().collect();
        let lost = losing.iter().copied();
        let lost = lost
            .filter(|key| within(key) && !refused.contains(&key.dst))
            .collect();
        let lost = as_peers(&lost);
        let watched = self.passed == Some(want.listings) && want.own_listed && lost == 1;
        lost > 0 && !watched
    }

    /// Whether some have come back after nobody was left. The lists count from the first of them.
    fn returning(&mut self, want: &Desired, losing: &BTreeSet<RouteKey>) -> bool {
        let Some(held) = self.held.as_mut().filter(|held| held.emptied) else {
            return false;
        };
        if want.peers > 0 && std::mem::take(&mut held.nobody) {
            held.listing = want.listings;
        }
        !losing.is_empty()
    }

    /// Whether enough lists have said so since.
    fn said_again(&self, want: &Desired, losing: &BTreeSet<RouteKey>) -> bool {
        self.held.as_ref().is_some_and(|held| {
            let lists = if held.emptied { AFTER_NONE } else { 1 };
            let enough = want.listings >= held.listing + lists;
            want.peers > 0 && enough && losing.is_subset(&held.losing)
        })
    }
}

/// How many peers these are: one of both families has two routes.
fn as_peers(losing: &BTreeSet<RouteKey>) -> usize {
    let of = |wanted| {
        let routes = losing.iter();
        routes
            .filter(|key| Family::of_net(&key.dst) == wanted)
            .count()
    };
    of(Family::V4).max(of(Family::V6))
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
    if !gone_links.is_empty() {
        let with_links = have.routes.iter().filter(|(_, route)| {
            leads_to_peer(route)
                && matches!(&route.next_hop, NextHop::Via { dev, .. } if gone_links.contains(&**dev))
        });
        lost.extend(with_links.map(|(key, _)| *key));
    }
    for op in &plan.puts {
        if let Op::PutRoute(key, _) = op {
            lost.remove(key);
        }
    }
    lost
}
