//! The host's addresses and networks beside the overlay's, which change while a session lasts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Running;
use crate::daemon::shared::Daemon;
use crate::host::facts;

/// How often the host's addresses are read.
const LOOK: Duration = Duration::from_secs(5);

impl Running<'_> {
    /// Reads the host's addresses now and then, and where they have changed all that goes with them.
    pub(super) fn look_around(&mut self, daemon: &mut Daemon) {
        if self.addresses_read.elapsed() < LOOK {
            return;
        }
        self.addresses_read = Instant::now();
        // What can't be read now is read next time.
        let Ok(addresses) = facts::addresses() else {
            return;
        };
        if addresses != self.addresses {
            self.addresses = addresses;
            self.look_around_now(daemon);
        }
    }

    /// Reads what else the host has, and judges the leases by it.
    pub(in crate::daemon::session) fn look_around_now(&mut self, daemon: &mut Daemon) {
        let Ok(found) = facts::read(&self.session.uplink.overlay, &self.session.servers) else {
            return;
        };
        daemon.tell_host_facts(&found);
        if self.node.host != found.host {
            self.node.host = found.host;
            if self.desired.is_some() {
                self.take_snapshot(&Arc::clone(&self.snapshot), daemon);
            }
        }
    }
}
