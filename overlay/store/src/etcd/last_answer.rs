//! The time of the last answer over a connection.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::contact::Contact;

/// That. Clones are of the same connection.
#[derive(Clone, Debug)]
pub(super) struct LastAnswer(Arc<Mutex<Instant>>, Contact);

impl LastAnswer {
    /// That of a new connection. Answers count as the store's too.
    pub(super) fn new(contact: Contact) -> Self {
        Self(Arc::new(Mutex::new(Instant::now())), contact)
    }

    /// An answer has come.
    pub(super) fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.1.answer();
    }

    /// When the last one came.
    pub(super) fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
