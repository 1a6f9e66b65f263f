//! The decision on checksums of VXLAN devices' packets, and the devices' setting, for log and status.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tweed_backend::{Backends, TxChecksum};
use tweed_netlink::{Ethtool, TX_CHECKSUM};

use super::{Keeper, News, next_look};
use crate::daemon::choices::kernel_version;
use crate::daemon::facts::Facts;
use crate::daemon::readings::{Reader, Reading};
use crate::daemon::status::tx_checksum::TxChecksumStatus;

/// Between two looks that no pass causes: with `auto` somebody else may switch it, and no pass cares.
const LOOK: Duration = Duration::from_secs(10);

/// Reads the devices' feature.
pub struct TxChecksumLook {
    choice: Option<TxChecksum>,
    reason: String,
    devices: BTreeSet<String>,
    features: Reading<BTreeMap<String, bool>>,
    due: Instant,
}

impl TxChecksumLook {
    /// Logs the decision for the devices of backends that the kernel encapsulates for, once a session.
    pub fn of(backends: &Backends, reader: Reader, now: Instant) -> Self {
        let choice = backends.all().find_map(|backend| backend.tx_checksum);
        let devices = backends.all().flat_map(|backend| backend.vteps.values());
        let reason = choice.map_or_else(String::new, |choice| choice.reason(kernel_version()));
        if let Some(choice) = choice {
            tracing::info!(%choice, reason, "{TX_CHECKSUM} of VXLAN devices");
        }
        Self {
            choice,
            reason,
            devices: devices.cloned().collect(),
            features: Reading::new(reader),
            due: now,
        }
    }

    /// A pass has been made: the next look is due.
    pub fn after_pass(&mut self, now: Instant) {
        self.due = now;
    }

    /// Status of the devices that are there and can be asked.
    fn status(&self, devices: BTreeMap<String, bool>) -> Option<TxChecksumStatus> {
        Some(TxChecksumStatus {
            choice: self.choice?.to_string(),
            devices,
            reason: self.reason.clone(),
        })
    }
}

impl Keeper for TxChecksumLook {
    fn look(&mut self, facts: &mut Facts, now: Instant) -> Option<News> {
        if self.choice.is_none() {
            facts.tx_checksum = None;
            return None;
        }
        if let Some(devices) = self.features.take() {
            facts.tx_checksum = self.status(devices);
        }
        if now >= self.due {
            self.due = next_look(now, LOOK);
            let devices = self.devices.clone();
            self.features.ask(move || read(&devices));
        }
        None
    }

    fn due(&self) -> Option<Instant> {
        self.choice.map(|_| self.due)
    }
}

fn read(devices: &BTreeSet<String>) -> BTreeMap<String, bool> {
    let socket = Ethtool::open()
        .inspect_err(|error| tracing::debug!(%error, "features of devices can't be read"));
    let Ok(mut socket) = socket else {
        return BTreeMap::new();
    };
    let read = |name: &String| {
        let on = socket.feature(name, TX_CHECKSUM).ok()?;
        Some((name.clone(), on))
    };
    devices.iter().filter_map(read).collect()
}
