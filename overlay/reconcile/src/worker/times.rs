//! When the kernel thread looks at what is no part of a pass.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tweed_host::pauses::Pauses;
use tweed_kernel::is_reported;
use tweed_state::Desired;

use crate::AttachedOutcome;

/// Events of attachments are gathered for this long: the port of one that is being removed goes down before it is gone.
const GATHER: Duration = Duration::from_millis(100);
/// Between two looks at attachments, however many come and go.
const REST: Duration = Duration::from_millis(250);
/// Attachments are looked at this often without any event.
const PERIOD: Duration = Duration::from_secs(10);
/// The same while the port of a running container is gone: no event tells that its runtime has removed the container.
const SOON: Duration = Duration::from_secs(1);
/// Between two looks at attachments that can't be put right.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Between two looks at sysctls.
const SYSCTLS: Duration = Duration::from_secs(1);
/// Between two reports of the same other values, which can't be set, or are set again by something else.
const SAME: Duration = Duration::from_secs(10);

/// When attachments are looked at.
pub(super) struct AttachedTimes {
    pub(super) due: Instant,
    rested: Instant,
    retries: Pauses,
}

impl AttachedTimes {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            due: now,
            rested: now,
            retries: Pauses::new(RETRY_MIN, PERIOD),
        }
    }

    pub(super) fn want(&mut self, now: Instant) {
        let ready = (now + GATHER).max(self.rested);
        self.due = self.due.min(ready);
    }

    /// Sets the time of the next look, after one that left something wrong or did not.
    pub(super) fn looked(&mut self, now: Instant, outcome: &AttachedOutcome) {
        self.rested = now + REST;
        let pause = match (outcome.failed.is_empty(), outcome.unsure) {
            (_, true) => REST,
            (false, false) => self.retries.next_pause(),
            (true, false) => {
                self.retries.start_over();
                match outcome.portless.is_empty() {
                    true => PERIOD,
                    false => SOON,
                }
            }
        };
        self.due = now + pause.min(PERIOD);
    }
}

/// When sysctls are looked at whose changes are no event.
#[derive(Default)]
pub(super) struct SysctlTimes {
    /// None while there are none.
    pub(super) due: Option<Instant>,
    /// The other values that the last look found, by sysctl.
    differ: BTreeMap<String, String>,
    reported: Option<Instant>,
}

impl SysctlTimes {
    /// The wanted state is now this.
    pub(super) fn want(&mut self, desired: &Arc<Desired>, now: Instant) {
        let mut wanted = desired.state.sysctls.keys();
        let any = wanted.any(|key| !is_reported(key));
        self.due = any.then(|| self.due.unwrap_or(now + SYSCTLS));
    }

    /// Sets the time of the next look. Returns whether what differs is news. Other values than at the last look are: they
    /// have changed since a pass set them.
    pub(super) fn looked(&mut self, now: Instant, differ: BTreeMap<String, String>) -> bool {
        self.due = Some(now + SYSCTLS);
        let is_recent = self.reported.is_some_and(|at| now < at + SAME);
        let is_same = std::mem::replace(&mut self.differ, differ) == self.differ;
        if self.differ.is_empty() || (is_same && is_recent) {
            return false;
        }
        self.reported = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_changes_again_before_the_next_look_is_news_and_one_that_stays_seldom_is() {
        let mut times = SysctlTimes::default();
        let start = Instant::now();
        let mut news = |value: Option<&str>, seconds| {
            let key = || "net/ipv4/ip_forward".to_owned();
            let differ = value.map(|value| (key(), value.to_owned()));
            times.looked(
                start + Duration::from_secs(seconds),
                differ.into_iter().collect(),
            )
        };
        assert!(!news(None, 0));
        assert!(news(Some("0"), 1));
        assert!(
            news(Some("2"), 2),
            "it was set meanwhile, and changed again"
        );
        assert!(!news(Some("2"), 3));
        assert!(
            news(Some("2"), 12),
            "once more: it may be possible to set now"
        );
        assert!(!news(None, 13));
        assert!(news(Some("2"), 14));
    }

    #[test]
    fn a_container_without_its_port_is_looked_at_each_second_until_it_is_gone() {
        let now = Instant::now();
        let mut times = AttachedTimes::new(now);
        let mut outcome = AttachedOutcome::default();
        let (owner, port) = ("cbr0/abc/eth0".to_owned(), "veth1".to_owned());
        outcome.portless.insert(owner, port);
        times.looked(now, &outcome);
        assert_eq!(times.due, now + SOON);
        times.looked(now, &AttachedOutcome::default());
        assert_eq!(times.due, now + PERIOD);
    }
}
