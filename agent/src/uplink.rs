//! The uplink: the interface over which the other nodes are reached. The rules are in [`select`]; [`facts`] reads the
//! host's interfaces and routes.

use anyhow::Context;
use tweed_overlay::model::Family;
use tweed_overlay::netlink::Netlink;

use crate::options::UplinkOptions;

pub mod facts;
pub mod select;

pub use select::Choice;

/// Chooses the uplink for the enabled families (never none) in the current network namespace.
///
/// # Errors
/// If no interface fits, with everything that was tried.
pub fn choose(options: &UplinkOptions, families: &[Family]) -> anyhow::Result<Choice> {
    let mut netlink = Netlink::open().context("open a netlink socket")?;
    choose_with(&mut netlink, options, families)
}

/// As [`choose`], over a socket that is open already.
///
/// # Errors
/// As [`choose`].
pub fn choose_with(
    netlink: &mut Netlink,
    options: &UplinkOptions,
    families: &[Family],
) -> anyhow::Result<Choice> {
    let facts = facts::read(netlink, options.can_reach)?;
    Ok(select::select(options, families, &facts)?)
}

/// Logs the decision and its reason.
pub fn announce(choice: &Choice) {
    for reason in &choice.passed_over {
        tracing::warn!("uplink: passed over a wish: {reason}");
    }
    let uplink = &choice.uplink;
    let list = |addrs: &tweed_overlay::model::Dual<std::net::IpAddr>| {
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
