//! When the store answered last, and when it last renewed the own lease: for the status. Clones share it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// That. A store that is told nothing by its servers says nothing.
#[derive(Clone, Debug, Default)]
pub struct Contact(Arc<Times>);

/// Seconds since 1970; 0 before the first.
#[derive(Debug, Default)]
struct Times {
    answered: AtomicU64,
    renewed: AtomicU64,
}

impl Contact {
    /// An answer has come.
    pub fn answer(&self) {
        set(&self.0.answered);
    }

    /// The own lease was renewed, or taken.
    pub fn renewal(&self) {
        self.answer();
        set(&self.0.renewed);
    }

    /// When the last answer came, in seconds since 1970.
    #[must_use]
    pub fn answered(&self) -> Option<u64> {
        get(&self.0.answered)
    }

    /// When the own lease was renewed last; none where leases don't run out.
    #[must_use]
    pub fn renewed(&self) -> Option<u64> {
        get(&self.0.renewed)
    }
}

fn set(time: &AtomicU64) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_secs());
    // Two at once say the same.
    time.store(now, Ordering::Relaxed);
}

fn get(time: &AtomicU64) -> Option<u64> {
    Some(time.load(Ordering::Relaxed)).filter(|time| *time > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewal_is_an_answer_and_an_answer_is_no_renewal() {
        let contact = Contact::default();
        assert_eq!((contact.answered(), contact.renewed()), (None, None));
        contact.answer();
        assert!(contact.answered() > Some(1_700_000_000));
        assert_eq!(contact.renewed(), None);
        contact.renewal();
        assert!(contact.renewed() >= contact.answered());
    }
}
