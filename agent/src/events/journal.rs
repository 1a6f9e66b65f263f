//! The events of this process and the one before, shared between the daemon's threads.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::event::Event;
use super::kind::Weight;
use super::ring::Ring;
use crate::daemon::clock;

/// The events. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Journal(Arc<Mutex<Ring>>);

impl Journal {
    /// Logs an event and keeps it.
    pub fn tell(&self, event: Event) {
        let row = event.kind.row();
        let (kind, text) = (row.word, &event.text);
        match row.weight {
            Weight::Info => tracing::info!(kind, "{text}"),
            Weight::Warning => tracing::warn!(kind, "{text}"),
            Weight::Error => tracing::error!(kind, "{text}"),
        }
        self.ring().add(event, clock::seconds());
    }

    /// Takes what an earlier process has kept.
    pub fn restore(&self, earlier: Vec<Event>) {
        self.ring().restore(earlier);
    }

    /// The events after the one with this number, the oldest first.
    pub fn after(&self, number: u64) -> Vec<Event> {
        self.ring().after(number).cloned().collect()
    }

    /// Number of the last one.
    pub fn last(&self) -> u64 {
        self.ring().last()
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
