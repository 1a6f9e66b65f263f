//! Notices when another program undoes our work again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(60);
const REPAIRS: usize = 4;
/// Repairs that follow each other more quickly are one: an operator's few commands, and what the kernel makes of them, are no
/// fight. A program that never rests is found after three times this.
const ONE: Duration = Duration::from_secs(3);

/// Times of each object's last repairs.
#[derive(Debug, Default)]
pub(super) struct Fights {
    repairs: BTreeMap<String, Vec<Instant>>,
    reported: BTreeMap<String, Instant>,
}

impl Fights {
    /// Files the repairs of one pass; returns the objects that were repaired too often, each at most once a window.
    pub(super) fn repaired(&mut self, objects: BTreeSet<String>, now: Instant) -> Vec<String> {
        self.forget_before(now);
        let mut fights = Vec::new();
        for object in objects {
            let times = self.repairs.entry(object.clone()).or_default();
            if times
                .last()
                .is_none_or(|last| now.duration_since(*last) >= ONE)
            {
                times.push(now);
            }
            if times.len() >= REPAIRS && !self.reported.contains_key(&object) {
                self.reported.insert(object.clone(), now);
                fights.push(object);
            }
        }
        fights
    }

    /// Whether each of these has been reported within the window. Of nothing there is nothing to know.
    pub(super) fn known(&mut self, objects: &BTreeSet<String>, now: Instant) -> bool {
        self.forget_before(now);
        let reported = |object| self.reported.contains_key(object);
        !objects.is_empty() && objects.iter().all(reported)
    }

    fn forget_before(&mut self, now: Instant) {
        let recent = |time: &Instant| now.duration_since(*time) < WINDOW;
        for times in self.repairs.values_mut() {
            times.retain(recent);
        }
        self.repairs.retain(|_, times| !times.is_empty());
        self.reported.retain(|_, time| recent(time));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route() -> BTreeSet<String> {
        BTreeSet::from(["route 10.1.2.0/24".to_owned()])
    }

    #[test]
    fn the_fourth_repair_within_a_minute_is_reported_once() {
        let mut fights = Fights::default();
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        for second in [0, 10, 20] {
            assert!(fights.repaired(route(), at(second)).is_empty());
        }
        assert_eq!(fights.repaired(route(), at(30)), ["route 10.1.2.0/24"]);
        assert!(fights.repaired(route(), at(40)).is_empty());
    }

    #[test]
    fn a_few_commands_of_an_operator_are_no_fight_and_a_program_that_never_rests_is_one() {
        let mut fights = Fights::default();
        let start = Instant::now();
        let at = |tenths: u64| start + Duration::from_millis(100 * tenths);
        // Two commands, each of which takes two repairs; and two more after a while.
        for tenths in [0, 2, 9, 11, 200, 202, 209, 211] {
            assert!(fights.repaired(route(), at(tenths)).is_empty());
        }
        let mut fights = Fights::default();
        let found = (0..100).find(|tenths| !fights.repaired(route(), at(*tenths)).is_empty());
        assert_eq!(found, Some(90), "after nine seconds");
    }

    #[test]
    fn repairs_far_apart_are_no_fight() {
        let mut fights = Fights::default();
        let start = Instant::now();
        for minute in 0..10 {
            assert!(
                fights
                    .repaired(route(), start + Duration::from_secs(61 * minute))
                    .is_empty()
            );
        }
    }
}
