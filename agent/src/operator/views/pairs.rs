//! The pairs of nodes that don't reach each other, from the views of all. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;
use tweed_model::Dual;
use tweed_probe::health::State;

use crate::daemon::probing::words;
use crate::daemon::status::Status;

/// A node, by its pods' subnets, since an address may be another node's by now.
pub(super) type Id = String;

/// What one node says of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Said {
    /// The node whose agent says it.
    pub(super) by: Id,
    pub(super) state: State,
    /// Since when, in seconds since 1970.
    pub(super) since: u64,
    pub(super) note: Option<String>,
}

/// All views together.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Addresses of all nodes that are named.
    pub(super) nodes: BTreeMap<Id, String>,
    /// Those that gave a view, with the number of their peers.
    pub(super) views: BTreeMap<Id, usize>,
    /// Those whose agent doesn't answer.
    pub(super) silent: BTreeSet<Id>,
    /// Two nodes in order, and what either says of the other.
    pub(super) bad: BTreeMap<(Id, Id), Vec<Said>>,
}

impl Seen {
    pub(super) fn of(views: &[Status]) -> Self {
        let mut seen = Self::default();
        for view in views {
            let own = id(&view.subnets);
            let known = seen.nodes.entry(own.clone()).or_default();
            if known.is_empty() {
                *known = address(&view.public);
            }
            if view.pid.is_none() || view.silent {
                seen.silent.insert(own);
                continue;
            }
            seen.views.insert(own.clone(), view.peers);
            for peer in &view.bad_peers {
                let other = id(&peer.subnets);
                seen.nodes.insert(other.clone(), address(&peer.public));
                let pair = match own < other {
                    true => (own.clone(), other),
                    false => (other, own.clone()),
                };
                seen.bad.entry(pair).or_default().push(Said {
                    by: own.clone(),
                    state: peer.probe.state,
                    since: peer.probe.since,
                    note: peer.probe.note.clone(),
                });
            }
        }
        seen
    }

    /// How many pairs of a node somebody could have said something of.
    pub(super) fn pairs_of(&self, node: &Id) -> usize {
        let others = self.views.keys().filter(|other| *other != node).count();
        let own = self.views.get(node).copied().unwrap_or_default();
        own.max(others)
    }

    /// `192.0.2.7 (10.244.7.0/24)`
    pub(super) fn name(&self, node: &Id) -> String {
        match self.nodes.get(node).filter(|address| !address.is_empty()) {
            Some(address) => format!("{address} ({node})"),
            None => node.clone(),
        }
    }
}

fn id(subnets: &Dual<IpNet>) -> Id {
    match subnets.values().next() {
        Some(_) => words::list(subnets.values()),
        None => "no subnet".to_owned(),
    }
}

fn address(public: &Dual<IpAddr>) -> String {
    words::list(public.values())
}
