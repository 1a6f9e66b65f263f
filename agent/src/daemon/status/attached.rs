//! State of containers' attachments on the host after the last look.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tweed_reconcile::AttachedOutcome;

/// Number of failures that are shown.
const NAMED: usize = 20;

/// Attachments, looks, and what can't be put right.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedStatus {
    /// Attachments that are looked after.
    pub attachments: usize,
    /// Looks since start.
    pub looks: u64,
    /// Addresses, devices and rules of containers gone without DEL that were removed since start.
    #[serde(default)]
    pub collected: u64,
    /// What can't be put right: the attachment, what is wrong, and what mends it.
    pub failed: Vec<String>,
    /// Those whose port is gone while nothing is known of their containers, and which one it was.
    pub doubtful: BTreeMap<String, String>,
    /// Folders with records that can't be read here, and why.
    pub out_of_reach: BTreeMap<PathBuf, String>,
}

impl AttachedStatus {
    /// Takes the outcome of a look.
    pub fn take(&mut self, outcome: &AttachedOutcome) {
        self.looks += 1;
        self.attachments = outcome.attachments;
        self.failed = failed(outcome);
        self.doubtful.clone_from(&outcome.doubtful);
        self.out_of_reach.clone_from(&outcome.out_of_reach);
    }
}

/// The failures of a look, in words.
pub fn failed(outcome: &AttachedOutcome) -> Vec<String> {
    let failed = outcome.failed.iter();
    let failed = failed.map(|failure| format!("{}: {}", failure.op, failure.error));
    let portless = outcome.portless.iter();
    let portless = portless.map(|(owner, port)| {
        format!("attachment {owner}: the host's end {port} of its interface is gone, and only its runtime can make it: delete the pod")
    });
    let mut all: Vec<String> = portless.chain(failed).collect();
    if all.len() > NAMED {
        let more = all.len() - NAMED;
        all.truncate(NAMED);
        all.push(format!("and {more} more of attachments"));
    }
    all
}
