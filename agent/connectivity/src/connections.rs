//! Connections of anybody who reaches a port, within a limit. A newcomer always gets in: connections that are held open
//! for their own sake keep nobody out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

/// So long a connection counts as new: its first request may be under way.
const FIRST_REQUEST: Duration = Duration::from_secs(1);

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
    open: VecDeque<Connection>,
}

#[derive(Debug)]
struct Connection {
    task: AbortHandle,
    busy: Busy,
    since: Instant,
}

impl Connection {
    fn is_busy(&self) -> bool {
        self.busy.0.load(Ordering::Relaxed)
    }

    fn is_idle(&self) -> bool {
        !self.is_busy() && self.since.elapsed() > FIRST_REQUEST
    }
}

impl Connections {
    /// So many at most.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            open: VecDeque::new(),
        }
    }

    /// Closes the oldest idle connection. Where none is idle, the oldest of the busy or of the new ones, whichever are
    /// more: neither a flood of requests nor one of connections keeps the other kind out.
    pub fn make_room(&mut self) {
        self.open.retain(|open| !open.task.is_finished());
        while self.open.len() >= self.most {
            let busy = self.open.iter().filter(|open| open.is_busy()).count();
            let of_most = |open: &Connection| open.is_busy() == (2 * busy > self.open.len());
            let idle = self.open.iter().position(Connection::is_idle);
            let oldest = idle.or_else(|| self.open.iter().position(of_most));
            match self.open.remove(oldest.unwrap_or(0)) {
                Some(open) => open.task.abort(),
                None => return,
            }
        }
    }

    /// Adds one for which there is room.
    pub fn add(&mut self, task: AbortHandle, busy: Busy) {
        let since = Instant::now();
        self.open.push_back(Connection { task, busy, since });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that lasts, and whether it is at something.
    fn open(connections: &mut Connections, busy: bool) -> AbortHandle {
        connections.make_room();
        let task = tokio::spawn(std::future::pending::<()>()).abort_handle();
        let state = Busy::default();
        state.set(busy);
        connections.add(task.clone(), state);
        task
    }

    async fn is_open(task: &AbortHandle) -> bool {
        tokio::task::yield_now().await;
        !task.is_finished()
    }

    #[tokio::test]
    async fn a_new_connection_outlasts_busy_ones_and_a_busy_one_outlasts_new_ones() {
        let mut connections = Connections::new(8);
        let busy = open(&mut connections, true);
        for _ in 0..100 {
            open(&mut connections, false);
        }
        assert!(is_open(&busy).await, "among new ones");
        let mut connections = Connections::new(8);
        let first = open(&mut connections, true);
        let new = open(&mut connections, false);
        for _ in 0..100 {
            open(&mut connections, true);
        }
        assert!(is_open(&new).await, "among busy ones");
        assert!(!is_open(&first).await, "the oldest made room");
    }
}
