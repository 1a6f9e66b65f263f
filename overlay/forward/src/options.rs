//! Options of forwarding, from the `Backend` object.

use std::time::Duration;

use super::decide::Trust;

/// Options that all workers share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForwardOptions {
    /// What packets from the network must prove.
    pub trust: Trust,
    /// How long a worker goes on looking for packets after the last one before it sleeps.
    pub busy_poll: BusyPoll,
    /// How often a peer that nothing is sent to is sent an empty packet, so that a firewall or NAT on the way
    /// remembers the flow.
    pub keep_alive: Option<Duration>,
    /// The priority of a worker's thread, from -20, the first, to 19. Where the process may not have it, it stays.
    pub nice: i8,
}

/// When to look for packets instead of sleeping until one comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BusyPoll {
    /// While questions and answers follow each other at once: [`Polling`](super::polling::Polling).
    #[default]
    WhileAnswersCome,
    /// After each packet so long; zero for never.
    Always(Duration),
}
