//! Chooses this node's address among an interface's. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use tweed_model::{Dual, Family};

use super::host::{Interface, InterfaceAddr};
use super::unfit::Overlay;

/// `RTPROT_KEEPALIVED`, by which keepalived marks the virtual addresses that it adds.
const KEEPALIVED: u8 = 18;

/// Addresses that the choice considers beside the kernel's facts.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Earlier addresses of this node: they stay as long as the host has them.
    pub before: Dual<IpAddr>,
    /// Addresses that other nodes announce.
    pub others: BTreeSet<IpAddr>,
}

/// The usable addresses of one family, best first. An address that looks virtual (it moves to another host at a
/// failover) comes last: it would take the node's identity with it.
pub fn ranked(
    interface: &Interface,
    family: Family,
    overlay: &Overlay,
    known: &Known,
) -> Vec<IpAddr> {
    let mut addrs: Vec<&InterfaceAddr> = interface
        .addrs
        .iter()
        .filter(|own| Family::of(&own.addr) == family)
        .filter(|own| !own.addr.is_loopback() && !own.addr.is_unspecified())
        .filter(|own| overlay.network_of(&own.addr).is_none())
        .collect();
    addrs.sort_by_key(|own| rank(own, known));
    addrs.into_iter().map(|own| own.addr).collect()
}

/// The lower, the better. Of equals the kernel's first.
fn rank(own: &InterfaceAddr, known: &Known) -> impl Ord {
    let moves = own.protocol == KEEPALIVED;
    let link_local = is_link_local(&own.addr);
    let before = known.before.get(Family::of(&own.addr)) == Some(&own.addr);
    let others = known.others.contains(&own.addr);
    let ipv6 = own.addr.is_ipv6();
    // IPv4's secondary addresses have the same flag as IPv6's temporary ones, which last only for hours.
    let temporary = ipv6 && own.temporary;
    (
        (own.deprecated, link_local, moves, temporary),
        !before,
        (others, is_single(own), own.temporary),
        ipv6 && !own.permanent,
    )
}

/// Whether the prefix is a single address without an end, as of a virtual address. DHCPv6 gives such prefixes too, but
/// with an end.
fn is_single(own: &InterfaceAddr) -> bool {
    match own.addr {
        IpAddr::V4(_) => own.prefix == 32 && !own.peer,
        IpAddr::V6(_) => own.prefix == 128 && !own.peer && own.permanent,
    }
}

fn is_link_local(addr: &IpAddr) -> bool {
    match addr {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests;
