//! What the passes over the kernel have come to in this session.

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
    /// It has. Whatever could be programmed is: a peer that can't be must not keep pods from starting.
    Stands,
    /// And packets are carried: pods may start.
    Open,
}

/// What they have come to.
pub(super) struct Passes {
    pub(super) stage: Stage,
    /// What the last one could not do: said once, not at each retry.
    pub(super) failures: Vec<Failure>,
    pub(super) held: HeldBack,
    /// One has been made for what is wanted now, and held nothing back.
    pub(super) believed: bool,
}

impl Passes {
    pub(super) fn new(relist: Arc<Notify>) -> Self {
        Self {
            stage: Stage::Planned,
            failures: Vec::new(),
            held: HeldBack::new(relist),
            believed: false,
        }
    }

    /// Something else is wanted from now on.
    pub(super) fn expect(&mut self) {
        self.believed = false;
    }

    /// Takes what a pass did; `ours` if it was made for what is wanted now.
    pub(super) fn take(&mut self, outcome: &Outcome, ours: bool) {
        self.failures.clone_from(&outcome.failed);
        self.held.take(outcome.held, Instant::now());
        self.believed = ours && outcome.held.is_none();
        if ours && !outcome.blocked && self.stage == Stage::Planned {
            self.stage = Stage::Stands;
        }
    }
}
