//! The plugins' records on this host: what another program has flushed of their nftables table is put back, and what is in
//! the way of pods' packets is told.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use tweed_attach::live::Restorer;
use tweed_attach::record::RECORDS_DIR;

use super::surroundings::Surroundings;
use super::{Keeper, News};
use crate::daemon::facts::Facts;
use crate::daemon::readings::Reader;
use crate::files::state_dir::StateDir;

/// Looks after them.
pub struct Records {
    restorer: Restorer,
    surroundings: Surroundings,
    state: StateDir,
}

impl Records {
    /// For the agent with this nftables table; with `services` they are expected to work between pods of one node; with
    /// `accepts` rules of ours go into iptables' FORWARD chain.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new(
        table: &str,
        (services, accepts): (bool, bool),
        state: StateDir,
        reader: Reader,
    ) -> Result<Self> {
        let restorer = Restorer::open(Path::new(RECORDS_DIR)).context("open a netlink socket")?;
        Ok(Self {
            restorer,
            surroundings: Surroundings::new(table, services, accepts, reader),
            state,
        })
    }

    fn restore(&mut self) {
        match self.restorer.look() {
            Ok(0) => {}
            Ok(attachments) => {
                tracing::warn!(
                    attachments,
                    "another program flushed the plugins' nftables table; restored"
                );
            }
            Err(error) => {
                tracing::debug!(%error, "the plugins' nftables table can't be looked after now");
            }
        }
    }
}

impl Keeper for Records {
    fn look(&mut self, facts: &mut Facts, now: Instant) -> Option<News> {
        self.restore();
        let session = &facts.session;
        if !session.networks.is_empty()
            && let Some(news) = self
                .surroundings
                .look(session, &self.restorer, &self.state, now)
        {
            facts.warnings = news;
        }
        None
    }
}
