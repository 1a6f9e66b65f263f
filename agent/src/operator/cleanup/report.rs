//! Report of a cleanup, in words.

use std::path::PathBuf;

use serde::Serialize;
use tweed_reconcile::Outcome;

/// Removed objects, or those that would be removed.
#[derive(Debug, Default, Serialize)]
pub(super) struct CleanupReport {
    pub(super) dry_run: bool,
    /// Changes of the kernel, in words.
    pub(super) changes: Vec<String>,
    /// Changes that failed, and why.
    pub(super) failed: Vec<String>,
    pub(super) files: Vec<PathBuf>,
    pub(super) warnings: Vec<String>,
}

impl CleanupReport {
    pub(super) fn take(&mut self, outcome: Outcome) {
        let more = outcome.changes.saturating_sub(outcome.done.len());
        self.changes = outcome.done;
        if more > 0 {
            self.changes.push(format!("and {more} changes more"));
        }
        let failed = outcome.failed.iter();
        self.failed = failed
            .map(|failure| format!("{}: {}", failure.op, failure.error))
            .collect();
        if outcome.skipped > 0 {
            self.failed.push(format!(
                "{} more changes of the same devices",
                outcome.skipped
            ));
        }
    }
}

pub(super) fn words(report: &CleanupReport) -> String {
    let mut text = String::new();
    for change in &report.changes {
        text += &format!("{change}\n");
    }
    for file in &report.files {
        text += &format!("remove {}\n", file.display());
    }
    for failure in &report.failed {
        text += &format!("failed: {failure}\n");
    }
    match (text.is_empty(), report.dry_run) {
        (true, _) => "nothing to do\n".to_owned(),
        (false, true) => format!("would do:\n{text}"),
        (false, false) => text,
    }
}
