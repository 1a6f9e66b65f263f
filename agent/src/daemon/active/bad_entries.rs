//! Entries of the store that are no peers, for the log: the first of them by name, and beyond that a count. A writer
//! of the store could invent any number of them, and change them as often as it likes.

use std::collections::BTreeMap;
use std::time::Instant;

use tweed_model::{Refusal, SubnetKey};

use crate::daemon::per_minute::PerMinute;
use crate::events::journal::Journal;
use crate::events::sentences;

/// So many lines in a minute.
const LINES: usize = 20;

/// What has been logged lately.
#[derive(Debug)]
pub(super) struct BadEntries(PerMinute);

impl Default for BadEntries {
    fn default() -> Self {
        Self(PerMinute::new(LINES))
    }
}

impl BadEntries {
    /// Tells what is new.
    pub(super) fn tell(
        &mut self,
        events: &Journal,
        refused: (
            &BTreeMap<SubnetKey, Refusal>,
            Option<&BTreeMap<SubnetKey, Refusal>>,
        ),
        broken: (&BTreeMap<String, String>, &BTreeMap<String, String>),
        now: Instant,
    ) {
        for (key, reason) in refused.0 {
            let known = refused.1.and_then(|before| before.get(key));
            if known != Some(reason) && self.0.may_be_told(now) {
                events.tell(sentences::lease_refused(key, reason));
            }
        }
        for (key, reason) in broken.0 {
            if broken.1.get(key) != Some(reason) && self.0.may_be_told(now) {
                events.tell(sentences::entry_ignored(key, reason));
            }
        }
        self.sum_up(now);
    }

    /// Says how many there were beyond those that were named, once a minute.
    pub(super) fn sum_up(&mut self, now: Instant) {
        if let Some(more) = self.0.summary(now) {
            tracing::warn!(
                more,
                "more entries of the store are refused or ignored; tweedd status and the metrics count them"
            );
        }
    }
}
