//! Deletions that the guard holds back, and the lists that are asked for meanwhile: one at once, which settles most
//! cases; then at growing intervals, since a list of a large cluster is costly and every node may be asking.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tweed_host::pauses::Pauses;
use tweed_plan::Held;

/// The first pause between two lists.
const PAUSE: Duration = Duration::from_secs(5);
/// The longest one.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// What is held back now.
pub(super) struct HeldBack {
    relist: Arc<Notify>,
    held: Option<Held>,
    /// When the next list is due.
    due: Instant,
    pauses: Pauses,
}

impl HeldBack {
    pub(super) fn new(relist: Arc<Notify>) -> Self {
        Self {
            relist,
            held: None,
            due: Instant::now(),
            pauses: Pauses::new(PAUSE, PAUSE_MAX),
        }
    }

    /// The deletions that the last pass held back.
    pub(super) fn held(&self) -> Option<Held> {
        self.held
    }

    /// Takes the result of a pass.
    pub(super) fn take(&mut self, held: Option<Held>, now: Instant) {
        let kind = |held: &Held| std::mem::discriminant(held);
        if self.held.as_ref().map(kind) != held.as_ref().map(kind) {
            self.due = now;
            self.pauses.start_over();
        }
        self.held = held;
        self.look(now);
    }

    /// When the next list is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.held.map(|_| self.due)
    }

    /// Asks for a list if one is due.
    pub(super) fn look(&mut self, now: Instant) {
        if self.held.is_some() && now >= self.due {
            self.due = now + self.pauses.next_pause();
            self.relist.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::unconstrained;

    use super::*;

    /// Whether a list has been asked for since the last question.
    fn asked(relist: &Notify) -> bool {
        use std::pin::pin;
        use std::task::{Context, Poll, Waker};
        let notified = pin!(unconstrained(relist.notified()));
        notified.poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(())
    }

    #[test]
    fn lists_are_asked_for_at_once_and_then_ever_more_seldom() {
        let relist = Arc::new(Notify::new());
        let mut held = HeldBack::new(Arc::clone(&relist));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let some = Some(Held::ForOperator { losing: 4 });
        held.take(None, at(0));
        assert!(!asked(&relist), "nothing is held back");
        for (second, wanted) in [(0, true), (0, false), (4, false), (5, true), (14, false)] {
            held.take(some, at(second));
            assert_eq!(asked(&relist), wanted, "after {second} s");
        }
        held.look(at(15));
        assert!(asked(&relist));
        let hour = (16..3600).filter(|second| {
            held.look(at(*second));
            asked(&relist)
        });
        assert_eq!(hour.count(), 14);
        held.take(None, at(3600));
        held.take(some, at(3601));
        assert!(asked(&relist), "another case");
    }
}
