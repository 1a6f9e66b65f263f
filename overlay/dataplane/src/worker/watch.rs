//! Looking for packets instead of sleeping: until when, and where.

use std::time::Duration;

use tweed_forward::options::BusyPoll;
use tweed_forward::polling::Polling;
use tweed_forward::trace::Way;

use super::path::Path;

/// Turns for packets that are expected before events are asked for: there may be mail, or errors.
const UNASKED: u32 = 16;

/// Until when to look for packets, not to sleep.
#[derive(Default)]
pub(super) struct Watch {
    polling: Polling,
    since: Duration,
    until: Duration,
    /// Where the next packet comes from, if that is known, and that it is alone: single packets alternate.
    next: Option<Way>,
    /// Turns since events were last asked for.
    unasked: u32,
}

impl Watch {
    /// A turn is over that looked one way, or both. Before it, it was this late and so many packets had been carried.
    pub(super) fn turn(
        &mut self,
        path: &mut Path,
        way: Option<Way>,
        (came, carried): (Duration, u64),
    ) {
        path.counters.polling += came.min(self.until).saturating_sub(self.since);
        let way = way.filter(|_| path.counters.carried() == carried + 1);
        self.since = path.tick();
        self.unasked += 1;
        (self.next, self.until) = match path.options.busy_poll {
            BusyPoll::WhileAnswersCome => {
                let span = self.polling.turn(way, came, self.since);
                let next = way.filter(|_| span > Duration::ZERO).map(Way::other);
                (next, self.since + span)
            }
            BusyPoll::Always(span) => (None, self.since + span),
        };
    }

    /// Until when to look.
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

    /// Where to look for the next packet before events are asked for.
    pub(super) fn expects(&self, now: Duration) -> Option<Way> {
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
        let mut watch = Watch {
            next: Some(Way::In),
            until,
            ..Watch::default()
        };
        assert_eq!(watch.expects(Duration::ZERO), Some(Way::In));
        assert_eq!(watch.expects(until), None, "then it sleeps");
        watch.unasked = UNASKED;
        assert_eq!(watch.expects(Duration::ZERO), None, "there may be mail");
        watch.asks();
        assert_eq!(watch.expects(Duration::ZERO), Some(Way::In));
        watch.next = None;
        assert_eq!(watch.expects(Duration::ZERO), None);
    }
}
