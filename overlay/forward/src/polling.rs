//! When to look for the next packet instead of sleeping until it comes. Where questions and answers alternate, the waits
//! are shorter than waking up after them, and each wake-up delays the answer. Looking takes the processor that would have
//! slept; so it is for waits that have been short for a while, it ends with the first that is not, and it is left off for
//! a second where they stay longer than it pays even so. At worst a trial is in vain, 26 ms of a second for each direction.
//! What hypervisors do for their guests' processors (the kernel's Documentation/virt/kvm/halt-polling.rst) for the same
//! reason.

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::trace::Direction;

/// The longest time to look.
pub const LIMIT: Duration = Duration::from_micros(100);
/// A wait that is called short. It includes the wake-ups of all processes that slept; where they poll, it is a fraction of that.
const SHORT: Duration = Duration::from_micros(200);
/// Short waits in a row before the next one is looked through.
const ROW: u32 = 8;
/// Waits that were looked through, to be judged together. They become shorter at first, when the other ends look too.
const JUDGED: u32 = 256;
/// How long they may be on average. Longer ones are not answers of this host's pods, nor of a near one's.
const WORTH: Duration = Duration::from_micros(60);
/// How long not to look after that.
const REST: Duration = Duration::from_secs(1);

/// One worker's waits between questions and answers. All times are since its start.
#[derive(Clone, Debug, Default)]
pub struct Polling {
    outbound: Waits,
    inbound: Waits,
    /// The last packet's direction, and when it was done.
    last: Option<(Direction, Duration)>,
}

/// The waits that follow packets of one direction.
#[derive(Clone, Copy, Debug, Default)]
struct Waits {
    /// How many in a row were short.
    short: u32,
    /// How many were looked through, and for how long in all.
    looked: u32,
    spent: Duration,
    /// No looking before.
    rest: Duration,
}

impl Polling {
    /// How long to look for the next packet after one turn. A `direction` has the turn that carried one packet, and only if it
    /// was one; it `came` and was `done` with at these times.
    pub fn turn(
        &mut self,
        direction: Option<Direction>,
        came: Duration,
        done: Duration,
    ) -> Duration {
        if let Some((last, since)) = self.last {
            let wait = came.saturating_sub(since);
            let answers = direction.is_some_and(|direction| direction != last);
            self.after(last).end(wait, answers, came);
        }
        self.last = direction.map(|direction| (direction, done));
        match direction {
            Some(direction) if self.after(direction).are_worth_looking(done) => LIMIT,
            _ => Duration::ZERO,
        }
    }

    fn after(&mut self, direction: Direction) -> &mut Waits {
        match direction {
            Direction::Out => &mut self.outbound,
            Direction::In => &mut self.inbound,
        }
    }
}

impl Waits {
    fn are_worth_looking(&self, now: Duration) -> bool {
        self.short >= ROW && now >= self.rest
    }

    /// One is over. `answers` says whether a single packet of the other direction ended it.
    fn end(&mut self, wait: Duration, answers: bool, now: Duration) {
        if self.are_worth_looking(now.saturating_sub(wait)) {
            self.looked += 1;
            self.spent += wait.min(LIMIT);
        }
        self.short = if answers && wait < SHORT {
            self.short.saturating_add(1)
        } else {
            0
        };
        if self.looked == JUDGED {
            if self.spent > WORTH * JUDGED {
                self.rest = now + REST;
                self.short = 0;
            }
            self.looked = 0;
            self.spent = Duration::ZERO;
        }
    }
}
