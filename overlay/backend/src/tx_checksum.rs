//! `Backend.TxChecksum`: who makes the checksums of the packets that a VXLAN device carries. On, which is the kernel's
//! default, they are left to the device below; off, the kernel makes them, and cuts large packets, before it encapsulates.

use std::fmt;

use tweed_model::ConfigError;
use tweed_model::json::Object;

use super::options;

/// What the configuration says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxChecksum {
    /// Not changed: as the device has it.
    Auto,
    /// Left to the device below.
    On,
    /// Made by the kernel.
    Off,
}

impl TxChecksum {
    pub(super) const KEY: &'static str = "TxChecksum";

    pub(super) fn parse(options: &Object) -> Result<Self, ConfigError> {
        let words = [("auto", Self::Auto), ("on", Self::On), ("off", Self::Off)];
        options::choice(options, Self::KEY, &words)
    }

    /// The setting of the device, where one is wanted.
    pub(super) fn wanted(self) -> Option<bool> {
        match self {
            Self::Auto => None,
            Self::On => Some(true),
            Self::Off => Some(false),
        }
    }

    /// What was decided and why, on a kernel of this version (major, minor).
    ///
    /// Slow devices were reported from Linux 6.12 on, and neither version nor driver tells them from good ones, which lose by
    /// `off`. So `auto` doesn't guess, and says what measures it.
    pub fn reason(self, kernel: (u32, u32)) -> String {
        let (major, minor) = kernel;
        match self {
            Self::On | Self::Off => format!("as Backend.{} says", Self::KEY),
            Self::Auto if kernel >= (6, 12) => format!(
                "left as it is; this is Linux {major}.{minor}, and some hosts with 6.12 or newer carry 50 to 300 Mbit/s by VXLAN until it is off: `tweedd connectivity tx-checksum` measures it; if it says so, set Backend.{} to \"off\"",
                Self::KEY
            ),
            Self::Auto => "left as it is".to_owned(),
        }
    }
}

impl fmt::Display for TxChecksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::On => "on",
            Self::Off => "off",
        })
    }
}
