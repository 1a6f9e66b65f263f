//! Results of the passes over the kernel in this session.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;
use tweed_reconcile::{Failure, Outcome};

use super::held::HeldBack;

/// How far the session has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The kernel has not been programmed in this session.
    Planned,
    /// Everything that could be programmed is: a peer that can't be must not keep pods from starting.
    Stands,
    /// Packets are carried too: pods may start.
    Open,
}

/// Stage and last results.
pub(super) struct Passes {
    pub(super) stage: Stage,
    /// Failures of the last pass: logged once, not at each retry.
    pub(super) failures: Vec<Failure>,
    pub(super) held: HeldBack,
    /// A pass has been made for the state that is wanted now, and held nothing back.
    pub(super) confirmed: bool,
}

impl Passes {
    pub(super) fn new(relist: Arc<Notify>) -> Self {
        Self {
            stage: Stage::Planned,
            failures: Vec::new(),
            held: HeldBack::new(relist),
            confirmed: false,
        }
    }

    /// The wanted state has changed.
    pub(super) fn expect(&mut self) {
        self.confirmed = false;
    }

    /// Takes the outcome of a pass; `ours` if it was made for the state that is wanted now.
    pub(super) fn take(&mut self, outcome: &Outcome, ours: bool) {
        self.failures.clone_from(&outcome.failed);
        self.held.take(outcome.held, Instant::now());
        self.confirmed = ours && outcome.held.is_none();
        if ours && !outcome.blocked && self.stage == Stage::Planned {
            self.stage = Stage::Stands;
        }
    }
}
