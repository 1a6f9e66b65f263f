//! Events and lines of the log about passes. A lease that changes all the time causes a pass each time, and a few lines.

use std::time::{Duration, Instant};

use tweed_plan::Held;
use tweed_reconcile::{AttachedOutcome, Failure, Outcome};

use super::per_minute::PerMinute;
use super::status::attached::{AttachedStatus, failed};
use super::status::repair::{repair, repaired};
use crate::events::journal::Journal;
use crate::events::sentences;

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
    /// Tells of a pass. What could not be done is said once, not at each retry: `known` is what failed before, and `held`
    /// what was held back.
    pub(super) fn tell(
        &mut self,
        events: &Journal,
        outcome: &Outcome,
        known: &[Failure],
        held: Option<Held>,
    ) {
        let now = Instant::now();
        self.failures(events, outcome, known, now);
        for object in &outcome.fights {
            events.tell(sentences::fight(object));
        }
        match (held, outcome.held) {
            (before, Some(held)) if before != Some(held) => {
                events.tell(sentences::deletions_held(&held));
            }
            (Some(_), None) => events.tell(sentences::deletions_over()),
            _ => {}
        }
        let Some(first) = outcome.done.first() else {
            return;
        };
        let (changes, took) = (outcome.changes, milliseconds(outcome.took));
        if outcome.old_fights_only {
            tracing::debug!(changes, first, took, "repaired once more");
        } else if let Some(repair) = repair(outcome) {
            events.tell(sentences::repair(&repair));
        } else if outcome.full && self.programmed.may_be_told(now) {
            let peers = outcome.peers;
            tracing::info!(changes, took, "the kernel is programmed for {peers} peers");
        } else {
            tracing::debug!(changes, first, took, "the kernel follows its peers");
        }
    }

    fn failures(&mut self, events: &Journal, outcome: &Outcome, known: &[Failure], now: Instant) {
        let new = outcome.failed.iter().filter(|now| !known.contains(now));
        let more = new.clone().skip(NAMED).count();
        for failure in new.take(NAMED) {
            if self.refused.may_be_told(now) {
                events.tell(sentences::change_refused(&failure.op, &failure.error));
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

/// Tells of a look at attachments; `known` is what was wrong before.
pub(super) fn tell_attached(events: &Journal, outcome: &AttachedOutcome, known: &AttachedStatus) {
    for wrong in failed(outcome)
        .iter()
        .filter(|wrong| !known.failed.contains(wrong))
    {
        events.tell(sentences::attachment_refused(wrong));
    }
    for object in &outcome.fights {
        events.tell(sentences::fight(object));
    }
    let Some(repair) = repaired(&outcome.repaired) else {
        return;
    };
    let changes = outcome.done.len();
    match (outcome.old_fights_only, outcome.done.first()) {
        (true, first) => tracing::debug!(changes, first, "repaired once more"),
        (false, _) => events.tell(sentences::repair(&repair)),
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
