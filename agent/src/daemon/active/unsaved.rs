//! Peers that are not saved yet.

use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, spawn_blocking};
use tweed_host::memory;

/// They are saved at most this often, so that a busy cluster does not wear out the disk.
const SAVE: Duration = Duration::from_secs(5);

/// Whether there are any, and when the last ones were saved.
#[derive(Debug, Default)]
pub(super) struct Unsaved {
    any: bool,
    saved: Option<Instant>,
    saving: Option<JoinHandle<()>>,
}

impl Unsaved {
    /// The peers may have changed.
    pub(super) fn add(&mut self, changed: bool) {
        self.any |= changed;
    }

    /// Whether they are to be saved now, which is to be done then.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let due = self.any && !self.is_busy() && self.saved.is_none_or(|saved| now >= saved + SAVE);
        if due {
            self.any = false;
            self.saved = Some(now);
        }
        due
    }

    /// When they are to be saved, unless others are being saved.
    pub(super) fn due(&self) -> Option<Instant> {
        let due = self.saved.map_or_else(Instant::now, |saved| saved + SAVE);
        (self.any && !self.is_busy()).then_some(due)
    }

    fn is_busy(&self) -> bool {
        let saving = self.saving.as_ref();
        saving.is_some_and(|saving| !saving.is_finished())
    }

    /// Saves them, on a thread of its own: those of a large cluster are megabytes, and a disk may take its time.
    pub(super) fn save(&mut self, save: impl FnOnce() + Send + 'static) {
        self.saving = Some(spawn_blocking(|| {
            save();
            memory::give_back();
        }));
    }
}
