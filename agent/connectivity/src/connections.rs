//! Connections of anybody who reaches a port, within a limit. A newcomer always gets in: connections that are held open
//! for their own sake keep nobody out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::AbortHandle;

/// Whether a connection is at something.
#[derive(Clone, Debug, Default)]
pub struct Busy(Arc<AtomicBool>);

impl Busy {
    /// It is from now on, or no longer.
    pub fn set(&self, busy: bool) {
        self.0.store(busy, Ordering::Relaxed);
    }
}

/// The open connections, oldest first.
#[derive(Debug)]
pub struct Connections {
    most: usize,
    open: VecDeque<(AbortHandle, Busy)>,
}

impl Connections {
    /// So many at most.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            open: VecDeque::new(),
        }
    }

    /// Closes the connection that has been there for longest of those that are at nothing; of all, if all are busy.
    pub fn make_room(&mut self) {
        self.open.retain(|(task, _)| !task.is_finished());
        while self.open.len() >= self.most {
            let idle = |(_, busy): &(AbortHandle, Busy)| !busy.0.load(Ordering::Relaxed);
            let oldest = self.open.iter().position(idle).unwrap_or(0);
            match self.open.remove(oldest) {
                Some((task, _)) => task.abort(),
                None => return,
            }
        }
    }

    /// Adds one for which there is room.
    pub fn add(&mut self, task: AbortHandle, busy: Busy) {
        self.open.push_back((task, busy));
    }
}
