//! Lines of the log about passes. A lease that changes all the time causes a pass each time, and a few lines.

use std::time::{Duration, Instant};

use tweed_plan::Held;
use tweed_reconcile::{AttachedOutcome, Failure, Outcome};

use super::per_minute::PerMinute;
use super::status::attached::{AttachedStatus, failed};
use super::status::repair::{repair, repaired};

/// So many refused changes of a pass are logged by name.
const NAMED: usize = 10;
/// So many lines of a kind in a minute.
const LINES: usize = 20;

/// Lines that were logged lately.
pub(super) struct PassLines {
    programmed: PerMinute,
    refused: PerMinute,
}

impl Default for PassLines {
    fn default() -> Self {
        Self {
            programmed: PerMinute::new(LINES),
            refused: PerMinute::new(LINES),
        }
    }
}

impl PassLines {
    /// Logs a pass. What could not be done is said once, not at each retry: `known` is what failed before, and `held` what
    /// was held back.
    pub(super) fn log(&mut self, outcome: &Outcome, known: &[Failure], held: Option<Held>) {
        let now = Instant::now();
        self.failures(outcome, known, now);
        for object in &outcome.fights {
            tracing::warn!(
                object,
                "another program keeps changing this; find and stop it"
            );
        }
        if let Some(held) = outcome.held.filter(|now| Some(*now) != held) {
            tracing::warn!(%held, "deletions held back");
        }
        let Some(first) = outcome.done.first() else {
            return;
        };
        let (changes, took) = (outcome.changes, milliseconds(outcome.took));
        if outcome.old_fights_only {
            tracing::debug!(changes, first, took, "repaired once more");
        } else if let Some(repair) = repair(outcome) {
            tracing::info!(
                changes,
                took,
                "put back what something else had removed or changed: {repair}"
            );
        } else if self.programmed.may_be_told(now) {
            let (peers, full) = (outcome.peers, outcome.full);
            tracing::info!(changes, first, peers, full, took, "kernel programmed");
        }
    }

    fn failures(&mut self, outcome: &Outcome, known: &[Failure], now: Instant) {
        let new = outcome.failed.iter().filter(|now| !known.contains(now));
        let more = new.clone().skip(NAMED).count();
        for failure in new.take(NAMED) {
            if self.refused.may_be_told(now) {
                tracing::warn!(
                    op = failure.op,
                    error = failure.error,
                    "the kernel refused a change"
                );
            }
        }
        self.refused.leave_out(more, now);
        self.sum_up(now);
    }

    /// Logs how many lines were left out, once a minute.
    pub(super) fn sum_up(&mut self, now: Instant) {
        if let Some(more) = self.refused.summary(now) {
            tracing::warn!(more, "the kernel refused more changes");
        }
        if let Some(more) = self.programmed.summary(now) {
            tracing::info!(more, "the kernel was programmed more often than is told");
        }
    }
}

/// Logs a look at attachments; `known` is what was wrong before.
pub(super) fn log_attached(outcome: &AttachedOutcome, known: &AttachedStatus) {
    for wrong in failed(outcome)
        .iter()
        .filter(|wrong| !known.failed.contains(wrong))
    {
        tracing::warn!(wrong, "an attachment can't be put right");
    }
    for object in &outcome.fights {
        tracing::warn!(
            object,
            "another program keeps changing this; find and stop it"
        );
    }
    let Some(repair) = repaired(&outcome.repaired) else {
        return;
    };
    let changes = outcome.done.len();
    match (outcome.old_fights_only, outcome.done.first()) {
        (true, first) => tracing::debug!(changes, first, "repaired once more"),
        (false, first) => tracing::info!(
            changes,
            first,
            "put back what something else had removed or changed of attachments: {repair}"
        ),
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
