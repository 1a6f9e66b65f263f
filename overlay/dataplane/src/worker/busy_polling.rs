//! Busy polling: until when to look for packets instead of sleeping, and in which direction.

use std::time::Duration;

use tweed_forward::options::BusyPoll;
use tweed_forward::polling::Polling;
use tweed_forward::trace::Direction;

use super::state::WorkerState;

/// Turns for packets that are expected before events are asked for: there may be mail, or errors.
const UNASKED: u32 = 16;

/// How long a worker polls, and what it expects.
#[derive(Default)]
pub(super) struct BusyPolling {
    polling: Polling,
    since: Duration,
    until: Duration,
    /// The direction of the next packet, where single packets alternate: it will be alone.
    next: Option<Direction>,
    /// Turns since events were last asked for.
    unasked: u32,
}

impl BusyPolling {
    /// A turn is over that looked in one direction, or both. Before it, it was this late and so many packets had been carried.
    pub(super) fn turn(
        &mut self,
        state: &mut WorkerState,
        direction: Option<Direction>,
        (came, carried): (Duration, u64),
    ) {
        state.counters.polling += came.min(self.until).saturating_sub(self.since);
        let direction = direction.filter(|_| state.counters.carried() == carried + 1);
        self.since = state.tick();
        self.unasked += 1;
        (self.next, self.until) = match state.options.busy_poll {
            BusyPoll::WhileAnswersCome => {
                let span = self.polling.turn(direction, came, self.since);
                let next = direction
                    .filter(|_| span > Duration::ZERO)
                    .map(Direction::other);
                (next, self.since + span)
            }
            BusyPoll::Always(span) => (None, self.since + span),
        };
    }

    /// When polling ends.
    pub(super) fn until(&self) -> Duration {
        self.until
    }

    /// Whether the next packet will be alone.
    pub(super) fn waits_for_one(&self) -> bool {
        self.next.is_some()
    }

    /// Events are asked for.
    pub(super) fn asks(&mut self) {
        self.unasked = 0;
    }

    /// The direction in which to look for the next packet before events are asked for.
    pub(super) fn expects(&self, now: Duration) -> Option<Direction> {
        let next = self.next.filter(|_| now < self.until);
        next.filter(|_| self.unasked < UNASKED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_expected_for_a_while_and_not_for_ever() {
        let until = Duration::from_micros(100);
        let mut polling = BusyPolling {
            next: Some(Direction::In),
            until,
            ..BusyPolling::default()
        };
        assert_eq!(polling.expects(Duration::ZERO), Some(Direction::In));
        assert_eq!(polling.expects(until), None, "then it sleeps");
        polling.unasked = UNASKED;
        assert_eq!(polling.expects(Duration::ZERO), None, "there may be mail");
        polling.asks();
        assert_eq!(polling.expects(Duration::ZERO), Some(Direction::In));
        polling.next = None;
        assert_eq!(polling.expects(Duration::ZERO), None);
    }
}
