//! When the kernel thread looks at what is no part of a pass.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tweed_host::pauses::Pauses;
use tweed_kernel::is_reported;
use tweed_state::Desired;

/// Events of attachments are gathered for this long: the port of one that is being removed goes down before it is gone.
const GATHER: Duration = Duration::from_millis(100);
/// Between two looks at attachments, however many come and go.
const REST: Duration = Duration::from_millis(250);
/// Attachments are looked at this often without any event.
const PERIOD: Duration = Duration::from_secs(10);
/// Between two looks at attachments that can't be put right.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Between two looks at sysctls.
const SYSCTLS: Duration = Duration::from_secs(1);

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
    pub(super) fn looked(&mut self, now: Instant, (failed, unsure): (bool, bool)) {
        self.rested = now + REST;
        let pause = match (failed, unsure) {
            (_, true) => REST,
            (true, false) => self.retries.next_pause(),
            (false, false) => {
                self.retries.start_over();
                PERIOD
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
    /// The last look found another value. What can't be set is tried again with the pass that failed.
    differ: bool,
}

impl SysctlTimes {
    /// The wanted state is now this.
    pub(super) fn want(&mut self, desired: &Arc<Desired>, now: Instant) {
        let mut wanted = desired.state.sysctls.keys();
        let any = wanted.any(|key| !is_reported(key));
        self.due = any.then(|| self.due.unwrap_or(now + SYSCTLS));
    }

    /// Sets the time of the next look. Returns whether a difference is news.
    pub(super) fn looked(&mut self, now: Instant, hold: bool) -> bool {
        self.due = Some(now + SYSCTLS);
        let known = std::mem::replace(&mut self.differ, !hold);
        !hold && !known
    }
}
