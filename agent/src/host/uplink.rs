//! The uplink: the interface over which the other nodes are reached. The rules are in [`select`]: which interface it
//! can't be in [`unfit`], which of its addresses is the node's in [`address`]. [`facts`] reads the host.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::Context;
use tweed_model::Dual;
use tweed_netlink::Netlink;

mod address;
mod facts;
mod host;
mod select;
mod unfit;
mod wanted;

pub use address::Known;
pub use select::Choice;
pub use unfit::Overlay;
pub use wanted::Wanted;

/// Chooses the uplink in the current network namespace.
///
/// # Errors
/// If no interface fits, with everything that was tried.
pub fn choose(wanted: &Wanted) -> anyhow::Result<Choice> {
    let mut netlink = Netlink::open().context("open a netlink socket")?;
    let facts = facts::read(&mut netlink, wanted.options.can_reach)?;
    select::select(wanted, &facts).map_err(|error| {
        let error = anyhow::Error::new(error);
        match down(&mut netlink) {
            Some(names) => error.context(format!("{names} is down")),
            None => error,
        }
    })
}

/// Interfaces with a machine behind them that are down though they have an address: the kernel has dropped their routes.
fn down(netlink: &mut Netlink) -> Option<String> {
    let addrs = netlink.addrs(None).ok()?;
    let has_address = |index| addrs.iter().any(|addr| addr.index == index);
    let links = netlink.links().ok()?.into_iter();
    let down = links.filter(|link| {
        let ours =
            link.name.starts_with("flannel") || matches!(link.kind.as_str(), "bridge" | "tun");
        !link.up && !link.loopback && !ours && has_address(link.index)
    });
    let names: Vec<String> = down
        .map(|link| format!("interface {}", link.name))
        .collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// The indexes of the interfaces that belong to the pod network, which are never the uplink.
///
/// # Errors
/// If the kernel refuses a dump.
pub fn inner(netlink: &mut Netlink, overlay: &Overlay) -> anyhow::Result<BTreeSet<u32>> {
    let facts = facts::read(netlink, None)?;
    Ok(overlay.unfit(&facts).into_keys().collect())
}

/// The interface of this host's default route, if it has one; for notes.
pub fn of_default_route() -> Option<host::Interface> {
    let mut netlink = Netlink::open().ok()?;
    let facts = facts::read(&mut netlink, None).ok()?;
    let mut ways = facts.defaults.iter();
    ways.find_map(|way| {
        let mut interfaces = facts.interfaces.iter();
        let found = interfaces.find(|interface| Some(interface.index) == way.interface)?;
        Some(found.clone())
    })
}

/// Logs the decision and its reason.
pub fn announce(choice: &Choice) {
    for reason in &choice.passed_over {
        tracing::warn!("uplink: passed over: {reason}");
    }
    for doubt in &choice.doubts {
        tracing::warn!("uplink: {doubt}");
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
