//! The uplink: the interface over which the other nodes are reached. The rules are in [`select`]; [`facts`] reads the
//! host's interfaces and routes.

use std::net::IpAddr;

use anyhow::Context;
use tweed_overlay::model::{Dual, Family};
use tweed_overlay::netlink::Netlink;

use crate::options::UplinkOptions;

pub mod facts;
pub mod select;

pub use select::Choice;

/// Chooses the uplink in the current network namespace, for the families that have a value in `enabled`: at least one.
///
/// # Errors
/// If no interface fits, with everything that was tried.
pub fn choose<T>(options: &UplinkOptions, enabled: &Dual<T>) -> anyhow::Result<Choice> {
    let mut netlink = Netlink::open().context("open a netlink socket")?;
    choose_with(&mut netlink, options, enabled)
}

/// As [`choose`], over a socket that is open already.
///
/// # Errors
/// As [`choose`].
pub fn choose_with<T>(
    netlink: &mut Netlink,
    options: &UplinkOptions,
    enabled: &Dual<T>,
) -> anyhow::Result<Choice> {
    let families: Vec<Family> = enabled.iter().map(|(family, _)| family).collect();
    let facts = facts::read(netlink, options.can_reach)?;
    Ok(select::select(options, &families, &facts)?)
}

/// Logs the decision and its reason.
pub fn announce(choice: &Choice) {
    for reason in &choice.passed_over {
        tracing::warn!("uplink: passed over a wish: {reason}");
    }
    let uplink = &choice.uplink;
    let list = |addrs: &Dual<IpAddr>| {
        let addrs: Vec<String> = addrs.values().map(ToString::to_string).collect();
        addrs.join(" ")
    };
    tracing::info!(
        interface = uplink.name,
        mtu = uplink.mtu,
        address = list(&uplink.addrs),
        public = list(&choice.public),
        "uplink chosen: {}",
        choice.reason
    );
}

#[cfg(test)]
mod tests;
