//! What is held by which container: addresses and ports, from the end of an ADD to the beginning of the DEL.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

/// What is held by which container, and since when each container has nothing.
pub(super) struct Held {
    holders: Mutex<BTreeMap<String, usize>>,
    absent_since: Vec<Mutex<Option<Instant>>>,
    names: Vec<String>,
}

impl Held {
    /// Nothing is held by containers of these names.
    pub(super) fn by(names: Vec<String>) -> Self {
        let now = Instant::now();
        Self {
            holders: Mutex::default(),
            absent_since: names.iter().map(|_| Mutex::new(Some(now))).collect(),
            names,
        }
    }

    /// The container of a name.
    pub(super) fn number_of(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    /// Notes what an ADD has given. Nobody else has it.
    pub(super) fn take(&self, container: usize, things: Vec<String>) {
        let mut holders = self.holders.lock().unwrap();
        for thing in things {
            if let Some(other) = holders.insert(thing.clone(), container) {
                panic!("{thing} of {other} is given to {container} too");
            }
        }
    }

    /// What a container had is about to be free.
    pub(super) fn release(&self, container: usize) {
        let mut holders = self.holders.lock().unwrap();
        holders.retain(|_, holder| *holder != container);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.holders.lock().unwrap().is_empty()
    }

    /// Whether a container may have something on the host.
    pub(super) fn set_present(&self, container: usize, is_present: bool) {
        let since = (!is_present).then(Instant::now);
        *self.absent_since[container].lock().unwrap() = since;
    }

    /// Whether it may have had something at or after this time.
    pub(super) fn was_present(&self, container: usize, after: Instant) -> bool {
        let since = self.absent_since[container].lock().unwrap();
        since.is_none_or(|since| since > after)
    }
}
