//! What the kernel should hold, and what is needed to get there safely, as a value.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tweed_forward::forwarding::Forwarding;
use tweed_model::{Refusal, SubnetKey};
use tweed_nft::Ruleset;

use super::state::{KernelState, Scope};

/// Everything the kernel should hold, and what is needed to get there safely.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// What the kernel shows once everything is in place: what a fast pass compares the next wanted state with.
    pub state: KernelState,
    /// Our nftables table in full, of which `state.firewall` is the short form.
    pub ruleset: Ruleset,
    /// What the data plane forwards by, where packets go through ours.
    pub forwarding: Option<Arc<Forwarding>>,
    /// Links that the node can do without: its own backend has others.
    pub spare_links: BTreeSet<String>,
    /// What to look at.
    pub scope: Scope,
    /// Whether what is not wanted may be deleted: the store has said it is in sync.
    pub prune: bool,
    /// How many full lists stand behind this; see the guard.
    pub listings: u64,
    /// Whether the own lease is in the store as well.
    pub own_listed: bool,
    /// Number of peers.
    pub peers: usize,
    /// Leases that are no peers, and why.
    pub refused: BTreeMap<SubnetKey, Refusal>,
    /// Reservations that no node has taken up; whether for this node.
    pub reserved: BTreeMap<SubnetKey, bool>,
}

impl Desired {
    /// Nothing at all, within the same scope: what `tweedd cleanup` reconciles to.
    pub fn nothing(scope: Scope) -> Self {
        Self {
            scope,
            prune: true,
            ..Self::default()
        }
    }
}
