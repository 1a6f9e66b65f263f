//! Refuses, for a while, a plan that would empty the node: a store that lost its data must not take the network with it.

use std::fmt;

use super::desired::Desired;
use super::diff::Plan;
use super::state::{KernelState, NextHop};

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
    /// Until the operator confirms: the store holds no peer at all.
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
                "the store holds no peers, all {losing} would go; check the store, then confirm with `tweedd plan --confirm`"
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
#[derive(Clone, Copy, Debug, Default)]
pub struct Guard {
    held_at: Option<u64>,
    confirmed: bool,
}

impl Guard {
    /// The operator has said that an empty store is right. Holds for the next plan that deletes.
    pub fn confirm(&mut self) {
        self.confirmed = true;
    }

    /// Judges a plan against what is there.
    pub fn check(&mut self, plan: &Plan, want: &Desired, have: &KernelState) -> Verdict {
        let losing = lost(plan, have);
        let routes = have
            .routes
            .values()
            .filter(|route| route.next_hop != NextHop::Blackhole);
        let of = routes.count();
        if losing < FEW || losing * 2 <= of {
            self.held_at = None;
            return Verdict::Pass;
        }
        if self.confirmed {
            *self = Self::default();
            return Verdict::Pass;
        }
        if want.peers == 0 {
            self.held_at = Some(want.listings);
            return Verdict::Hold(Held::ForOperator { losing });
        }
        match self.held_at {
            Some(listing) if want.listings > listing => {
                self.held_at = None;
                Verdict::Pass
            }
            Some(_) => Verdict::Hold(Held::ForSecondList { losing, of }),
            None => {
                self.held_at = Some(want.listings);
                Verdict::Hold(Held::ForSecondList { losing, of })
            }
        }
    }
}

/// Peers' routes that the plan deletes, those included that go with a deleted link.
fn lost(plan: &Plan, have: &KernelState) -> usize {
    let gone_links = plan.deletes.iter().filter_map(|op| match op {
        super::Op::DelLink(name) => Some(name.as_str()),
        _ => None,
    });
    let gone_links: Vec<&str> = gone_links.collect();
    let put: Vec<_> = plan
        .puts
        .iter()
        .filter_map(|op| match op {
            super::Op::PutRoute(key, _) => Some(*key),
            _ => None,
        })
        .collect();
    let with_links = have.routes.iter().filter(|(key, route)| {
        matches!(&route.next_hop, NextHop::Via { dev, .. } if gone_links.contains(&dev.as_str()))
            && !put.contains(key)
    });
    plan.lost_routes() + with_links.count()
}
