//! The time of the last answer over a connection.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// That. Clones are of the same connection.
#[derive(Clone, Debug)]
pub(super) struct LastAnswer(Arc<Mutex<Instant>>);

impl LastAnswer {
    /// That of a new connection.
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    /// An answer has come.
    pub(super) fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// When the last one came.
    pub(super) fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
