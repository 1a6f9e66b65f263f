//! The last events, in the order in which they happened. One that happens again and again has one place, the last.

use std::collections::VecDeque;

use super::event::Event;
use super::kind::Kind;

/// So many are kept.
const KEPT: usize = 1_000;
/// An event that is among so many of the last ones, and happens again within [`WINDOW`], is counted.
const NEAR: usize = 32;
/// Seconds.
const WINDOW: u64 = 600;
/// A process that ends without a word has not saved so many.
const UNSAVED: u64 = 1_000;

/// The events.
#[derive(Debug, Default)]
pub(super) struct Ring {
    events: VecDeque<Event>,
    /// Number of the last one.
    last: u64,
}

impl Ring {
    /// Takes what an earlier process has kept. What has happened meanwhile stays behind it, with numbers that none of its
    /// events had, not even one that it could not save.
    pub(super) fn restore(&mut self, earlier: Vec<Event>) {
        let Some(last) = earlier.iter().map(|event| event.number).max() else {
            return;
        };
        let since = std::mem::replace(&mut self.events, earlier.into());
        self.events.drain(..self.events.len().saturating_sub(KEPT));
        self.last = last + UNSAVED;
        for event in since {
            // A process that ends at each start is to leave room for what happened before.
            let same = self
                .events
                .back()
                .is_some_and(|last| last.says_the_same(&event));
            let before = if same { self.events.pop_back() } else { None };
            self.push_after(before, event);
        }
    }

    /// Adds one that happens at a time in seconds since 1970.
    pub(super) fn add(&mut self, event: Event, now: u64) {
        let near = self.events.iter().rev().take(NEAR);
        let mut of_this_process = near.take_while(|known| known.kind != Kind::AgentStarted);
        let same = of_this_process.position(|known| {
            known.says_the_same(&event) && now.saturating_sub(known.at) <= WINDOW
        });
        let at = same.map(|back| self.events.len() - 1 - back);
        let known = at.and_then(|at| self.events.remove(at));
        self.push_after(known, Event { at: now, ..event });
    }

    /// Adds one that has happened, as this one did before.
    fn push_after(&mut self, before: Option<Event>, event: Event) {
        self.last += 1;
        self.push(Event {
            number: self.last,
            first: before
                .as_ref()
                .map(|before| before.first.unwrap_or(before.at)),
            times: before.map_or(1, |before| before.times + 1),
            ..event
        });
    }

    fn push(&mut self, event: Event) {
        if self.events.len() >= KEPT {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// Those after the one with this number, the oldest first.
    pub(super) fn after(&self, number: u64) -> impl Iterator<Item = &Event> {
        self.events
            .iter()
            .filter(move |event| event.number > number)
    }

    /// Number of the last one, 0 before the first.
    pub(super) fn last(&self) -> u64 {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> Event {
        Event::new(Kind::Repair, text)
    }

    fn told(ring: &Ring) -> Vec<(u64, u64, &str)> {
        let events = ring.after(0);
        events
            .map(|event| (event.number, event.times, &*event.text))
            .collect()
    }

    #[test]
    fn the_last_thousand_are_kept_in_order() {
        let mut ring = Ring::default();
        for number in 0..1_500 {
            ring.add(event(&number.to_string()), number);
        }
        let kept = told(&ring);
        assert_eq!(kept.len(), KEPT);
        assert_eq!((kept[0], kept[999]), ((501, 1, "500"), (1_500, 1, "1499")));
        assert_eq!(ring.after(1_498).count(), 2);
    }

    #[test]
    fn one_that_happens_again_is_counted_and_comes_last() {
        let mut ring = Ring::default();
        for second in 0..100 {
            ring.add(event(["a", "b"][usize::from(second % 2 == 1)]), second);
        }
        assert_eq!(told(&ring), [(99, 50, "a"), (100, 50, "b")]);
        let first = ring.after(0).next().and_then(|event| event.first);
        assert_eq!(first, Some(0));
        // Much later it is news again.
        ring.add(event("a"), 98 + WINDOW + 1);
        assert_eq!(told(&ring).last(), Some(&(101, 1, "a")));
    }

    #[test]
    fn a_start_is_no_repetition_of_what_an_earlier_process_did_but_of_starts_alone() {
        let start = || Event::new(Kind::AgentStarted, "start");
        let mut before = Ring::default();
        before.add(event("a"), 1);
        for second in 2..100 {
            let mut ring = Ring::default();
            ring.add(start(), second);
            ring.restore(before.after(0).cloned().collect());
            before = ring;
        }
        before.add(event("a"), 100);
        let texts: Vec<_> = told(&before)
            .into_iter()
            .map(|(_, times, text)| (times, text))
            .collect();
        assert_eq!(texts, [(1, "a"), (98, "start"), (1, "a")]);
    }

    #[test]
    fn what_an_earlier_process_kept_comes_first_and_numbers_rise() {
        let mut before = Ring::default();
        before.add(event("a"), 1);
        before.add(event("b"), 2);
        let mut ring = Ring::default();
        ring.add(event("start"), 3);
        ring.restore(before.after(0).cloned().collect());
        ring.add(event("c"), 4);
        let all = [
            (1, 1, "a"),
            (2, 1, "b"),
            (1_003, 1, "start"),
            (1_004, 1, "c"),
        ];
        assert_eq!(told(&ring), all);
    }
}
