//! Reports hindrances of pods' packets.

use std::time::Instant;

use super::surroundings::Surroundings;
use super::{Keeper, News};
use crate::daemon::facts::Facts;
use crate::daemon::readings::Reader;
use crate::files::state_dir::StateDir;

/// Keeper of the reports about the host's surroundings.
pub struct Records {
    surroundings: Surroundings,
    state: StateDir,
}

impl Records {
    /// For the agent with this nftables table; with `services` they are expected to work between pods of one node; with
    /// `accepts` rules of ours go into iptables' FORWARD chain.
    pub fn new(
        table: &str,
        (services, accepts): (bool, bool),
        state: StateDir,
        reader: Reader,
    ) -> Self {
        Self {
            surroundings: Surroundings::new(table, services, accepts, reader),
            state,
        }
    }
}

impl Keeper for Records {
    fn look(&mut self, facts: &mut Facts, now: Instant) -> Option<News> {
        let session = &facts.session;
        if !session.networks.is_empty()
            && let Some(news) = self
                .surroundings
                .look(session, &facts.attached, &self.state, now)
        {
            facts.warnings = news;
        }
        None
    }
}
