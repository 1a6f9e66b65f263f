//! The keys of `ptp`. Pure.

use serde::Deserialize;

use crate::net::options;
use crate::spec::{CniError, Dns, NetConf};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PtpConfig {
    /// What leaves the container's subnet gets the host's address.
    pub(super) ip_masq: bool,
    /// MTU of the pair, in bytes.
    pub(super) mtu: Option<u32>,
    /// Name servers, in place of those of the IPAM plugin.
    pub(super) dns: Option<Dns>,
}

/// All keys. Their defaults are unset, off, none or 0, as in the reference.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    ip_masq: bool,
    ip_masq_backend: String,
    mtu: i64,
}

impl PtpConfig {
    /// Reads and checks the keys.
    ///
    /// # Errors
    /// Names the key, and what is allowed.
    pub(super) fn parse(conf: &NetConf) -> Result<Self, CniError> {
        let keys: Keys = conf.read()?;
        options::check_masquerade_backend(&keys.ip_masq_backend)?;
        Ok(Self {
            ip_masq: keys.ip_masq,
            mtu: options::mtu(keys.mtu)?,
            dns: options::dns(conf)?,
        })
    }
}
