//! The container's end of an attachment: entered once, its switches set, then its addresses and routes.

use std::collections::BTreeSet;

use tweed_host::sysctl;
use tweed_model::Family;
use tweed_netlink::netns::Netns;
use tweed_netlink::{LinkInfo, Netlink};

use super::sysctl::{of_interface, set_if_there};
use super::{addresses, link, routes};
use crate::spec::{CniError, CniResult, Context};

/// How the container's interface behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Behaviour {
    /// Whether it takes routes and addresses from router advertisements.
    pub(crate) accept_ra: bool,
    /// Whether duplicates of IPv6 addresses are looked for.
    pub(crate) dad: bool,
}

/// Enters the container once: sets the switches that netlink has no message for, and comes back with a socket.
///
/// # Errors
/// When the namespace can't be entered, or IPv6 is needed and can't be had.
pub(crate) fn enter(
    netns: &Netns,
    ifname: &str,
    families: &BTreeSet<Family>,
    behaviour: Behaviour,
) -> Result<Netlink, CniError> {
    netns.run(|| {
        set_switches(ifname, families, behaviour)?;
        Netlink::open().context(|| "open a netlink socket in the container")
    })?
}

fn set_switches(
    ifname: &str,
    families: &BTreeSet<Family>,
    behaviour: Behaviour,
) -> Result<(), CniError> {
    let v6 = |key| of_interface(Family::V6, ifname, key);
    if !behaviour.accept_ra {
        // Any neighbour could give this container a default route.
        set_if_there(&v6("accept_ra"), "0");
    }
    if families.contains(&Family::V4) {
        // Coming up, the kernel then announces the address to the neighbours.
        set_if_there(&of_interface(Family::V4, ifname, "arp_notify"), "1");
    }
    if families.contains(&Family::V6) {
        for ifname in ["lo", ifname] {
            // Docker switches IPv6 off in its containers.
            let key = of_interface(Family::V6, ifname, "disable_ipv6");
            sysctl::set(&key, "0").context(|| format!("failed to enable IPv6 on {ifname}"))?;
        }
        sysctl::set(&v6("keep_addr_on_down"), "1")
            .context(|| format!("failed to enable keep_addr_on_down for interface {ifname}"))?;
        let dad = if behaviour.dad { "1" } else { "0" };
        set_if_there(&v6("accept_dad"), dad);
        set_if_there(&v6("enhanced_dad"), dad);
        set_if_there(&v6("ndisc_notify"), "1");
    }
    Ok(())
}

/// Addresses, up, routes.
///
/// # Errors
/// The kernel's refusal, or an address that another interface has.
pub(crate) fn configure(
    netlink: &mut Netlink,
    container: &LinkInfo,
    result: &CniResult,
    behaviour: Behaviour,
) -> Result<(), CniError> {
    addresses::add(netlink, container, result, behaviour.dad)?;
    link::bring_up(netlink, container)?;
    if behaviour.dad && addresses::families(result).contains(&Family::V6) {
        addresses::wait_for_dad(netlink, container)?;
    }
    routes::add(netlink, container, result)
}

/// Checks that the container still has the addresses and routes of the previous result.
pub(crate) fn check(
    netlink: &mut Netlink,
    container: &LinkInfo,
    prev: &CniResult,
) -> Result<(), CniError> {
    addresses::check(netlink, container, prev)?;
    routes::check(netlink, container, prev)
}
