//! Keeps the lock file in its place, where other agents look for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::file_look::{FileLook, Files};
use super::{Keeper, News};
use crate::daemon::facts::Facts;
use crate::host::lock::Lock;

/// Looks after the lock.
pub struct KeptLock {
    lock: Arc<Mutex<Lock>>,
    look: FileLook<bool>,
}

impl KeptLock {
    /// A keeper of this lock.
    pub fn new(lock: Lock, files: &Files, now: Instant) -> Self {
        Self {
            look: FileLook::new(Some(lock.folder()), files, now),
            lock: Arc::new(Mutex::new(lock)),
        }
    }

    /// The file or its folder has changed.
    pub fn changed(&mut self) {
        self.look.changed();
    }
}

impl Keeper for KeptLock {
    fn look(&mut self, _facts: &mut Facts, now: Instant) -> Option<News> {
        let lock = Arc::clone(&self.lock);
        let keep = move || lock.lock().unwrap_or_else(PoisonError::into_inner).keep();
        if self.look.look(now, keep) == Some(false) {
            self.look.again_soon(now);
        }
        None
    }

    fn due(&self) -> Option<Instant> {
        self.look.due()
    }
}
