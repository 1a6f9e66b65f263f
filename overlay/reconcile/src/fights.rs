//! Notices when another program undoes our work again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(60);
const REPAIRS: usize = 3;

/// When each object was repaired lately.
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
            times.push(now);
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
    fn the_third_repair_within_a_minute_is_reported_once() {
        let mut fights = Fights::default();
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        assert!(fights.repaired(route(), at(0)).is_empty());
        assert!(fights.repaired(route(), at(10)).is_empty());
        assert_eq!(fights.repaired(route(), at(20)), ["route 10.1.2.0/24"]);
        assert!(fights.repaired(route(), at(30)).is_empty());
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
