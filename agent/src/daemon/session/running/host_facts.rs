//! The host's addresses and networks beside the overlay's, which change while a session lasts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tweed_model::{Host, OnLink, host};
use tweed_nft::POD_BRIDGE;

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
        let found = facts::read(&self.session.uplink.overlay, &self.session.servers);
        let Ok(mut found) = found else {
            return;
        };
        found.missing.extend(self.shared(&found.host));
        daemon.tell_host_facts(&found);
        if self.node.host != found.host {
            self.node.host = found.host;
            if self.desired.is_some() {
                self.take_snapshot(&Arc::clone(&self.snapshot), daemon);
            }
        }
    }

    /// What a link of the host has of this node's own subnets.
    fn shared(&self, host: &Host) -> Vec<String> {
        let own = self.node.subnets.iter();
        let told = own.filter_map(|(family, own)| {
            let network = &self.session.config.pools.get(family)?.network;
            let OnLink { net, dev } = host::shared(network, host, own, POD_BRIDGE)?;
            Some(format!(
                "this node's subnet {own} and the network {net} of {dev} overlap: pods or {dev} can't be reached; give \
                 {dev} another network"
            ))
        });
        told.collect()
    }
}
