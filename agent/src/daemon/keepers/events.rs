//! Saves the events: soon after the first one, and then not more often than each few seconds.

use std::time::{Duration, Instant};

use super::{Keeper, News};
use crate::daemon::facts::Facts;
use crate::daemon::saved;
use crate::events::journal::Journal;
use crate::files::state_dir::StateDir;

/// Between two writes.
const PAUSE: Duration = Duration::from_secs(5);

/// Knows which events are saved.
pub struct EventsKeeper {
    journal: Journal,
    state: StateDir,
    /// Number of the last one that is.
    saved: u64,
    /// Not before.
    due: Instant,
}

impl EventsKeeper {
    /// For events of which none is saved yet.
    pub fn new(journal: Journal, state: StateDir, now: Instant) -> Self {
        Self {
            saved: 0,
            journal,
            state,
            due: now,
        }
    }

    /// Saves what there is: the process ends.
    pub fn leave(&self) {
        saved::save_events(&self.state, &self.journal);
    }
}

impl Keeper for EventsKeeper {
    fn look(&mut self, _facts: &mut Facts, now: Instant) -> Option<News> {
        let last = self.journal.last();
        if last != self.saved && now >= self.due {
            saved::save_events(&self.state, &self.journal);
            self.saved = last;
            self.due = now + PAUSE;
        }
        None
    }

    fn due(&self) -> Option<Instant> {
        (self.journal.last() != self.saved).then_some(self.due)
    }
}
