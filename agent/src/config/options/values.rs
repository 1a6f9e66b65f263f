//! Values that several options share: paths, addresses, spans of time.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use tweed_model::{Dual, Family};

use crate::config::flags::{self, Flag};
use crate::config::go_values;
use crate::config::settings::{Settings, UsageError};

pub(super) fn at_least(
    settings: &Settings<'_>,
    flag: &'static Flag,
    seconds: u64,
) -> Result<Duration, UsageError> {
    let least = Duration::from_secs(seconds);
    let most = Duration::from_secs(i32::MAX as u64);
    settings.required(
        flag,
        &format!("a time of at least {seconds}s: seconds, or a number with s, m or h"),
        |text| go_values::duration(text).filter(|time| (least..=most).contains(time)),
    )
}

pub(super) fn path(settings: &Settings<'_>, flag: &'static Flag) -> PathBuf {
    settings
        .text(flag)
        .map_or_else(|| flag.default.into(), |(_, text)| text.into())
}

fn address(
    settings: &Settings<'_>,
    flag: &'static Flag,
    family: Family,
) -> Result<Option<IpAddr>, UsageError> {
    settings.parsed(flag, &format!("an {family} address"), |text| {
        let addr: IpAddr = text.parse().ok()?;
        (Family::of(&addr) == family && !addr.is_unspecified()).then_some(addr)
    })
}

pub(super) fn public(settings: &Settings<'_>) -> Result<Dual<IpAddr>, UsageError> {
    Ok(Dual {
        v4: address(settings, &flags::PUBLIC_IP, Family::V4)?,
        v6: address(settings, &flags::PUBLIC_IPV6, Family::V6)?,
    })
}
