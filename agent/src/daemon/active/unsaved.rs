//! Peers that are not saved yet.

use std::time::{Duration, Instant};

/// They are saved at most this often, so that a busy cluster does not wear out the disk.
const SAVE: Duration = Duration::from_secs(5);

/// Whether there are any, and when the last ones were saved.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    any: bool,
    saved: Option<Instant>,
}

impl Unsaved {
    /// The peers may have changed.
    pub(super) fn add(&mut self, changed: bool) {
        self.any |= changed;
    }

    /// Whether they are to be saved now, which is to be done then.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let due = self.any && self.saved.is_none_or(|saved| now >= saved + SAVE);
        if due {
            self.any = false;
            self.saved = Some(now);
        }
        due
    }
}
