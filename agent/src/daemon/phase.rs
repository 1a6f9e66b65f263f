//! Phases of the daemon: without a lease, on a saved one, on a confirmed one.

use super::active::Active;

/// The phases of the daemon. In each the keepers look after their things, and the kernel thread repairs what it was last
/// told.
pub(super) enum Phase {
    /// Without a lease: there is no saved state, or the store says that it would be wrong. The store is asked.
    Waiting,
    /// On the saved state. The store is asked.
    Offline(Box<Active>),
    /// On a lease that the store gave, which is kept.
    Running(Box<Active>),
}

impl Phase {
    /// The session, where there is one.
    pub(super) fn active(&mut self) -> Option<&mut Active> {
        match self {
            Self::Waiting => None,
            Self::Offline(active) | Self::Running(active) => Some(active),
        }
    }
}
