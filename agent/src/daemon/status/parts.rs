//! Parts of the status document.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tweed_reconcile::{AttachedOutcome, Outcome};

use super::repair::{repair, repaired};
use crate::daemon::clock;

/// So many bad entries of a kind are shown.
pub const NAMED: usize = 100;

/// A lease that is no peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedLease {
    /// The lease's key.
    pub lease: String,
    /// Why.
    pub reason: String,
    /// A fixed word for the kind of reason.
    pub kind: String,
}

/// What a pass put right that something else had removed or changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "ToldRepair")]
pub struct Repair {
    /// When, in seconds since 1970; an agent of schema 1 doesn't tell.
    pub at: Option<u64>,
    /// The objects.
    pub what: String,
}

/// A repair as agents tell it; the last is schema 1.
#[derive(Deserialize)]
#[serde(untagged)]
enum ToldRepair {
    At { at: Option<u64>, what: String },
    What(String),
}

impl From<ToldRepair> for Repair {
    fn from(told: ToldRepair) -> Self {
        match told {
            ToldRepair::At { at, what } => Self { at, what },
            ToldRepair::What(what) => Self { at: None, what },
        }
    }
}

/// The state of the kernel as the last passes left it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct KernelStatus {
    /// Whether the last pass left everything as wanted.
    pub programmed: bool,
    /// When the last pass was made, in seconds since 1970.
    #[serde(default)]
    pub checked: Option<u64>,
    /// Full passes since start.
    pub full_passes: u64,
    /// Fast passes since start.
    pub fast_passes: u64,
    /// Whether the last pass left the node without its devices: pods can't be reached.
    #[serde(default)]
    pub blocked: bool,
    /// Changes made since start.
    pub changes: u64,
    /// Changes that failed since start.
    pub failures: u64,
    /// Passes since start that put right what something else had removed or changed.
    #[serde(default)]
    pub repairs: u64,
    /// The last one of them.
    #[serde(default)]
    pub last_repair: Option<Repair>,
    /// What the last pass could not do: operation and error.
    pub failed: Vec<String>,
    /// Deletions held back, and why.
    pub held: Option<String>,
    /// Peers that stay programmed only because their deletion is held back.
    #[serde(default)]
    pub held_peers: usize,
    /// Objects that another program keeps changing, with how often that was noticed.
    pub fights: BTreeMap<String, u64>,
    /// Duration of the last full pass in seconds.
    pub last_full_seconds: f64,
}

/// What was placed for the container runtime.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CniStatus {
    /// The network configuration list, once it is there.
    pub list: Option<String>,
    /// Why plugin or list is not in place.
    pub error: Option<String>,
    /// What keeps pods from our network though plugin and list are in place, and what to do about it.
    pub warnings: Vec<String>,
}

/// Something on this host that is in the way of pods' packets, and what to do about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostWarning {
    /// A fixed word for its kind.
    pub kind: String,
    /// What it is, and what mends it.
    pub text: String,
    /// Where it keeps the node from being ready.
    #[serde(skip)]
    pub stops: Stops,
}

/// Conditions under which a hindrance makes the node not ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stops {
    /// Not surely, or nowhere.
    #[default]
    Nothing,
    /// Wherever it is.
    Always,
    /// Where there are peers: packets between pods of different nodes are dropped.
    Forwarding,
    /// Where packets of peers come through a tunnel, and no other backend is accepted beside it.
    Tunnel,
}

impl HostWarning {
    /// A warning of a kind.
    pub fn new(kind: &str, text: impl Into<String>) -> Self {
        Self {
            kind: kind.to_owned(),
            text: text.into(),
            stops: Stops::Nothing,
        }
    }

    /// The same, where it keeps the node from being ready.
    #[must_use]
    pub fn stopping(self, stops: Stops) -> Self {
        Self { stops, ..self }
    }
}

impl KernelStatus {
    /// Files what a look at attachments did.
    pub fn add_attached(&mut self, outcome: &AttachedOutcome) {
        self.changes += outcome.done.len() as u64;
        self.failures += outcome.failed.len() as u64;
        self.add_repair(repaired(&outcome.repaired));
        for object in &outcome.fights {
            *self.fights.entry(object.clone()).or_default() += 1;
        }
    }

    fn add_repair(&mut self, what: Option<String>) {
        if let Some(what) = what {
            self.repairs += 1;
            let at = Some(clock::seconds());
            self.last_repair = Some(Repair { at, what });
        }
    }

    /// Files what a pass did.
    pub fn add(&mut self, outcome: &Outcome) {
        self.programmed = outcome.is_clean();
        self.checked = Some(clock::seconds());
        self.blocked = outcome.blocked;
        self.changes += outcome.changes as u64;
        self.failures += outcome.failed.len() as u64;
        self.add_repair(repair(outcome));
        let failed = outcome.failed.iter();
        let failed = failed.map(|failure| format!("{}: {}", failure.op, failure.error));
        self.failed = failed.collect();
        self.held = outcome.held.map(|held| held.to_string());
        self.held_peers = outcome.held.map_or(0, |held| held.losing());
        for object in &outcome.fights {
            *self.fights.entry(object.clone()).or_default() += 1;
        }
        if outcome.full {
            self.full_passes += 1;
            self.last_full_seconds = outcome.took.as_secs_f64();
        } else {
            self.fast_passes += 1;
        }
    }
}
