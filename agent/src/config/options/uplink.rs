//! How the uplink is chosen.

use std::net::IpAddr;

use regex::Regex;
use tweed_model::Dual;

use crate::config::flags;
use crate::config::settings::{Settings, UsageError};

use super::values;

/// What was asked about the uplink. Without any wish it is the interface of the default route.
#[derive(Clone, Debug, Default)]
pub struct UplinkOptions {
    /// Names or addresses, tried first, in their order.
    pub ifaces: Vec<String>,
    /// Patterns, tried next.
    pub regexes: Vec<Regex>,
    /// An address to reach, tried last.
    pub can_reach: Option<IpAddr>,
    /// Addresses to announce; without other wishes they select the interface.
    pub public: Dual<IpAddr>,
}

pub(super) fn read(settings: &Settings<'_>) -> Result<UplinkOptions, UsageError> {
    let regexes = settings
        .list(&flags::IFACE_REGEX)
        .into_iter()
        .map(|(source, text)| {
            Regex::new(&text).map_err(|error| {
                let expected = format!("a regular expression: {error}");
                UsageError::invalid(&source, &text, expected)
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(UplinkOptions {
        ifaces: settings
            .list(&flags::IFACE)
            .into_iter()
            .map(|(_, text)| text)
            .collect(),
        regexes,
        can_reach: settings.parsed(&flags::IFACE_CAN_REACH, "an IP address", |text| {
            text.parse().ok()
        })?,
        public: values::public(settings)?,
    })
}
