//! The wanted state, carried on from one snapshot to the next. What follows from a lease that claims nothing of another
//! one's follows from it alone: [`desired()`] of the changed leases, before and now, says what goes and what comes, and all
//! else is shared with the state before. So a lease among thousands costs what it costs among five.
//!
//! Everything is computed anew when the change is not local: configuration, node or choices are others, leases that changed
//! share a subnet, a public address or a MAC with another one, what a peer changes is not its own alone (a subnet of an
//! unusual length), or many change at once.

use std::sync::Arc;

use tweed_backend::Backends;
use tweed_forward::forwarding::Forwarding;
use tweed_model::{
    ClusterSnapshot, Lease, LocalNode, NetworkConfig, Seniority, SharedMap, SharedSet, SubnetKey,
};
use tweed_nft::{Ruleset, TableState};
use tweed_state::{Desired, KernelState, Scope};

use super::claims::Claims;
use super::desired::{Choices, announced, desired, without_firewall};

/// One in so many leases may change before all of them are computed anew.
const PART: usize = 8;

/// Inputs of the wanted state beside the leases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World {
    /// The network configuration.
    pub config: NetworkConfig,
    /// Backends with their options.
    pub backends: Backends,
    /// The local node, with its host.
    pub node: LocalNode,
    /// The operator's choices.
    pub choices: Choices,
}

/// How the last wanted state was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grain {
    /// From the leases that changed.
    Changes,
    /// From all of them.
    All,
}

/// The wanted state, and what it takes to carry it on.
#[derive(Clone, Debug, Default)]
pub struct Planner(Option<Basis>);

#[derive(Clone, Debug)]
struct Basis {
    world: World,
    leases: SharedMap<SubnetKey, Arc<Lease>>,
    claims: Claims,
    /// What is wanted without a single lease, but for the short form of the ruleset.
    ground: Desired,
    desired: Arc<Desired>,
}

impl Planner {
    /// The wanted state for these leases; the same value as before if nothing has changed.
    pub fn follow(
        &mut self,
        world: &World,
        snapshot: &ClusterSnapshot,
        seniority: &Seniority,
    ) -> (Arc<Desired>, Grain) {
        let basis = self.0.take().filter(|basis| basis.world == *world);
        let before = basis.as_ref().map(|basis| Arc::clone(&basis.desired));
        let next = basis.and_then(|basis| basis.carried_on(snapshot, seniority));
        let grain = match next {
            Some(_) => Grain::Changes,
            None => Grain::All,
        };
        let mut next = next.unwrap_or_else(|| Basis::new(world.clone(), snapshot, seniority));
        if let Some(before) = before.filter(|before| *before == next.desired) {
            next.desired = before;
        }
        let desired = Arc::clone(&next.desired);
        self.0 = Some(next);
        (desired, grain)
    }
}

impl World {
    fn own(&self) -> SubnetKey {
        SubnetKey(self.node.subnets)
    }

    fn desired(&self, snapshot: &ClusterSnapshot, seniority: &Seniority) -> Desired {
        let (config, backends) = (&self.config, &self.backends);
        let (node, choices) = (&self.node, &self.choices);
        desired(config, backends, node, choices, snapshot, seniority)
    }

    fn part(&self, snapshot: &ClusterSnapshot, seniority: &Seniority) -> Desired {
        let (config, backends) = (&self.config, &self.backends);
        let (node, choices) = (&self.node, &self.choices);
        without_firewall(config, backends, node, choices, snapshot, seniority)
    }
}

impl Basis {
    fn new(world: World, snapshot: &ClusterSnapshot, seniority: &Seniority) -> Self {
        let own = world.own();
        let others = snapshot.leases.values().filter(|lease| lease.key != own);
        Self {
            claims: Claims::of(others.map(Arc::as_ref)),
            leases: snapshot.leases.clone(),
            ground: world.part(&ClusterSnapshot::default(), seniority),
            desired: Arc::new(world.desired(snapshot, seniority)),
            world,
        }
    }

    /// The next one, from the leases that changed; `None` if that says too little.
    fn carried_on(mut self, snapshot: &ClusterSnapshot, seniority: &Seniority) -> Option<Self> {
        let own = self.world.own();
        let (mut before, mut now) = (SharedMap::new(), SharedMap::new());
        for change in snapshot.leases.changes(&self.leases) {
            if *change.key != own {
                let put = |map: &mut SharedMap<_, _>, lease: Option<&Arc<Lease>>| {
                    map.extend(lease.map(|lease| (*change.key, Arc::clone(lease))));
                };
                put(&mut before, change.before);
                put(&mut now, change.now);
            }
            if before.len().max(now.len()) > 1 + self.leases.len() / PART {
                return None;
            }
        }
        let (gone, come) = (before.values(), now.values());
        let (gone, come) = (gone.map(Arc::as_ref), come.map(Arc::as_ref));
        if !self.claims.replace(gone, come) {
            return None;
        }
        let desired = |leases| {
            let part = ClusterSnapshot {
                leases,
                in_sync: snapshot.in_sync,
                ..ClusterSnapshot::default()
            };
            self.world.part(&part, seniority)
        };
        let (before, now) = (desired(before), desired(now));
        if !same_ground(&before, &self.ground) || !same_ground(&now, &self.ground) {
            return None;
        }
        let mut next = Desired::clone(&self.desired);
        replace(&mut next, &before, &now);
        next.prune = snapshot.in_sync;
        next.listings = snapshot.listings;
        next.own_listed = snapshot.leases.contains_key(&own);
        next.scope.announced = announced(&self.world.node, snapshot);
        Some(Self {
            leases: snapshot.leases.clone(),
            desired: Arc::new(next),
            ..self
        })
    }
}

/// Whether two states differ in nothing but what there is one of for each peer.
fn same_ground(a: &Desired, b: &Desired) -> bool {
    let state = |state: &KernelState| KernelState {
        neighs: SharedMap::new(),
        fdb: SharedMap::new(),
        nexthops: SharedSet::new(),
        routes: SharedMap::new(),
        ..state.clone()
    };
    let scope = |scope: &Scope| Scope {
        node_addrs: Default::default(),
        announced: Default::default(),
        ..scope.clone()
    };
    let sets = |ruleset: &Ruleset| -> Vec<_> {
        let sets = ruleset.sets.iter();
        sets.map(|(name, set)| {
            (
                name.clone(),
                set.key.clone(),
                set.value.clone(),
                set.interval,
            )
        })
        .collect()
    };
    let rest = |desired: &Desired| {
        let ruleset = &desired.ruleset;
        let rules = (
            ruleset.table.clone(),
            ruleset.chains.clone(),
            ruleset.fresh.clone(),
        );
        (rules, sets(ruleset), desired.spare_links.clone())
    };
    let path = |desired: &Desired| {
        let forwarding = desired.forwarding.as_deref().cloned();
        forwarding.map(|all| Forwarding {
            peers: SharedMap::new(),
            ..all
        })
    };
    state(&a.state) == state(&b.state)
        && scope(&a.scope) == scope(&b.scope)
        && path(a) == path(b)
        && rest(a) == rest(b)
}

/// Takes out what followed from some leases, and puts in what follows from them now.
fn replace(all: &mut Desired, before: &Desired, now: &Desired) {
    let (state, was, is) = (&mut all.state, &before.state, &now.state);
    state.neighs.take_over(&was.neighs, &is.neighs);
    state.fdb.take_over(&was.fdb, &is.fdb);
    state.nexthops.take_over(&was.nexthops, &is.nexthops);
    state.routes.take_over(&was.routes, &is.routes);
    let (was, is) = (&before.scope.node_addrs, &now.scope.node_addrs);
    all.scope.node_addrs.take_over(was, is);
    for (name, set) in &mut all.ruleset.sets {
        if let (Some(was), Some(is)) = (before.ruleset.sets.get(name), now.ruleset.sets.get(name)) {
            set.elements.take_over(&was.elements, &is.elements);
        }
    }
    if let Some(firewall) = &mut all.state.firewall {
        condense(&all.ruleset, firewall);
    }
    if let (Some(was), Some(is)) = (&before.forwarding, &now.forwarding)
        && let Some(forwarding) = all.forwarding.as_mut().filter(|_| was.peers != is.peers)
    {
        let forwarding = Arc::make_mut(forwarding);
        forwarding.peers.take_over(&was.peers, &is.peers);
    }
    all.peers = all.peers - before.peers + now.peers;
    all.refused
        .retain(|key, _| !before.refused.contains_key(key));
    all.refused.extend(now.refused.clone());
    all.reserved
        .retain(|key, _| !before.reserved.contains_key(key));
    all.reserved.extend(now.reserved.clone());
}

/// Brings the short form of a ruleset up to date, whose sets alone have changed.
fn condense(ruleset: &Ruleset, firewall: &mut TableState) {
    for (name, set) in &mut firewall.sets {
        if let Some(wanted) = ruleset.sets.get(name) {
            set.elements.clone_from(&wanted.elements);
        }
    }
}

#[cfg(test)]
mod tests;
