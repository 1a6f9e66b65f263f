//! `tx-checksum-ip-generic` of the VXLAN devices, as the status tells it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What was decided, why, and what the devices do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxChecksumStatus {
    /// `Backend.TxChecksum`: `auto`, `on` or `off`.
    pub choice: String,
    /// Why.
    pub reason: String,
    /// Whether it is on, by device; without those that aren't there or can't be asked.
    pub devices: BTreeMap<String, bool>,
}

impl fmt::Display for TxChecksumStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.devices.is_empty() {
            f.write_str("unknown")?;
        }
        for (index, (device, on)) in self.devices.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let on = if *on { "on" } else { "off" };
            write!(f, "{comma}{on} at {device}")?;
        }
        write!(f, " ({}: {})", self.choice, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_sees_what_the_devices_do_and_why() {
        let mut status = TxChecksumStatus {
            choice: "off".to_owned(),
            reason: "as Backend.TxChecksum says".to_owned(),
            devices: BTreeMap::from([
                ("flannel.1".to_owned(), false),
                ("flannel-v6.1".to_owned(), true),
            ]),
        };
        assert_eq!(
            status.to_string(),
            "on at flannel-v6.1, off at flannel.1 (off: as Backend.TxChecksum says)"
        );
        status.devices.clear();
        assert!(status.to_string().starts_with("unknown (off"));
    }
}
