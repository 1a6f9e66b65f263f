//! What was decided on the checksums of what VXLAN devices carry, and what the devices do: said in log and status.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tweed_backend::TxChecksum;
use tweed_netlink::{Ethtool, TX_CHECKSUM};

use crate::daemon::choices::kernel_version;
use crate::daemon::status::TxChecksumStatus;

/// Between two looks that no pass causes: with `auto` somebody else may switch it, and no pass cares.
const LOOK: Duration = Duration::from_secs(10);

/// Reads the devices' feature.
pub(super) struct Look {
    choice: Option<TxChecksum>,
    reason: String,
    socket: Option<Ethtool>,
    due: Instant,
}

impl Look {
    /// Says what was decided, once a session.
    pub(super) fn of(choice: Option<TxChecksum>) -> Self {
        let reason = choice.map_or_else(String::new, |choice| choice.reason(kernel_version()));
        if let Some(choice) = choice {
            tracing::info!(%choice, reason, "{TX_CHECKSUM} of VXLAN devices");
        }
        Self {
            choice,
            reason,
            socket: None,
            due: Instant::now(),
        }
    }

    /// What there is to say of these devices, if a pass was just made or it is time.
    pub(super) fn look(
        &mut self,
        names: impl FnOnce() -> BTreeSet<String>,
        after_pass: bool,
    ) -> Option<Option<TxChecksumStatus>> {
        let now = Instant::now();
        if !after_pass && now < self.due {
            return None;
        }
        self.due = now + LOOK;
        Some(self.read(names()))
    }

    /// That of these devices: those that are there and can be asked.
    fn read(&mut self, names: BTreeSet<String>) -> Option<TxChecksumStatus> {
        let choice = self.choice?;
        if self.socket.is_none() {
            self.socket = Ethtool::open()
                .inspect_err(|error| tracing::debug!(%error, "features of devices can't be read"))
                .ok();
        }
        let mut devices = BTreeMap::new();
        if let Some(socket) = &mut self.socket {
            devices.extend(names.into_iter().filter_map(|name| {
                let on = socket.feature(&name, TX_CHECKSUM).ok()?;
                Some((name, on))
            }));
        }
        Some(TxChecksumStatus {
            choice: choice.to_string(),
            devices,
            reason: self.reason.clone(),
        })
    }
}
