//! Entries of the store that are no peers, for the log: the first of them by name, and beyond that a count. A writer
//! of the store could invent any number of them, and change them as often as it likes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tweed_model::{Refusal, SubnetKey};

/// So many lines in a minute.
const LINES: usize = 20;
const MINUTE: Duration = Duration::from_secs(60);

/// What has been logged lately.
#[derive(Debug, Default)]
pub(super) struct BadEntries {
    since: Option<Instant>,
    lines: usize,
    untold: usize,
}

impl BadEntries {
    /// Logs what is new.
    pub(super) fn log(
        &mut self,
        refused: (
            &BTreeMap<SubnetKey, Refusal>,
            Option<&BTreeMap<SubnetKey, Refusal>>,
        ),
        broken: (&BTreeMap<String, String>, &BTreeMap<String, String>),
        now: Instant,
    ) {
        for (key, reason) in refused.0 {
            let known = refused.1.and_then(|before| before.get(key));
            if known != Some(reason) && self.may_be_told(now) {
                tracing::warn!(lease = %key, %reason, "lease refused as a peer");
            }
        }
        for (key, reason) in broken.0 {
            if broken.1.get(key) != Some(reason) && self.may_be_told(now) {
                tracing::warn!(key, reason, "store entry ignored");
            }
        }
        self.sum_up(now);
    }

    /// Says how many there were beyond those that were named, once a minute.
    pub(super) fn sum_up(&mut self, now: Instant) {
        let over = self.since.is_some_and(|since| now >= since + MINUTE);
        let first = self.lines == LINES && self.untold > 0;
        if self.untold > 0 && (over || first) {
            tracing::warn!(
                more = self.untold,
                "more entries of the store are refused or ignored; tweedd status and the metrics count them"
            );
            self.untold = 0;
            // Said once before the minute is over.
            self.lines += 1;
        }
        if over {
            *self = Self::default();
        }
    }

    fn may_be_told(&mut self, now: Instant) -> bool {
        self.since.get_or_insert(now);
        let may = self.lines < LINES;
        match may {
            true => self.lines += 1,
            false => self.untold += 1,
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(entries: &mut BadEntries, times: usize, now: Instant) -> usize {
        (0..times).filter(|_| entries.may_be_told(now)).count()
    }

    #[test]
    fn of_ten_thousand_entries_a_few_are_named_and_the_rest_counted() {
        let start = Instant::now();
        let mut entries = BadEntries::default();
        assert_eq!(told(&mut entries, 10_000, start), LINES);
        assert_eq!(entries.untold, 10_000 - LINES);
        entries.sum_up(start);
        assert_eq!(entries.untold, 0);
        // One by one they are not named either, and counted when the minute is over.
        for second in 1..60 {
            let now = start + Duration::from_secs(second);
            assert_eq!(told(&mut entries, 10, now), 0);
            entries.sum_up(now);
        }
        assert_eq!(entries.untold, 590);
        entries.sum_up(start + MINUTE);
        assert_eq!(told(&mut entries, 3, start + MINUTE), 3);
    }
}
