//! Keeps the lock file in its place, where other agents look for it.

use std::time::{Duration, Instant};

use super::{Keeper, News};
use crate::daemon::facts::Facts;
use crate::host::lock::Lock;

/// How often its file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Looks after the lock.
pub struct KeptLock {
    lock: Lock,
    due: Instant,
}

impl KeptLock {
    /// A keeper of this lock.
    pub fn new(lock: Lock, now: Instant) -> Self {
        Self {
            lock,
            due: now + LOOK,
        }
    }
}

impl Keeper for KeptLock {
    fn look(&mut self, _facts: &mut Facts, now: Instant) -> Option<News> {
        if now >= self.due {
            self.due = now + LOOK;
            self.lock.keep();
        }
        None
    }
}
