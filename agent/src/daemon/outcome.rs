//! What a pass did, for the log.

use std::time::Duration;

use tweed_plan::Held;
use tweed_reconcile::{Failure, Outcome};

use super::status::repair::repair;

/// So many refused changes of a pass are logged by name.
const NAMED: usize = 10;

/// Logs a pass. What could not be done is said once, not at each retry: `known` is what failed before, and `held` what
/// was held back.
pub(super) fn log_outcome(outcome: &Outcome, known: &[Failure], held: Option<Held>) {
    let new = outcome.failed.iter().filter(|now| !known.contains(now));
    let more = new.clone().skip(NAMED).count();
    for failure in new.take(NAMED) {
        tracing::warn!(
            op = failure.op,
            error = failure.error,
            "the kernel refused a change"
        );
    }
    if more > 0 {
        tracing::warn!(more, "the kernel refused more changes");
    }
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
    } else {
        let (peers, full) = (outcome.peers, outcome.full);
        tracing::info!(changes, first, peers, full, took, "kernel programmed");
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
