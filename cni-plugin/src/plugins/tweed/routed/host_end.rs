//! The host's end of a routed pod's pair, and what leads to it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use tweed_attach::{Owner, ROUTE_PROTOCOL};
use tweed_model::{Family, Routed as Place};
use tweed_netlink::{Dev, LinkChange, LinkInfo, Netlink, RouteFilter, RouteSpec, TABLE_MAIN};

use crate::net::routes::SCOPE_LINK;
use crate::net::sysctl::{of_interface, set_if_there};
use crate::spec::{CniError, Context};

/// Advice of an error about an object that another program has removed.
const RESTORES: &str = "another program has removed it; tweedd restores it, or a new ADD";

/// Names the owner on the host's end, and brings it up.
pub(super) fn set_up(
    netlink: &mut Netlink,
    end: Dev<'_>,
    owner: &Owner,
    families: &BTreeSet<Family>,
) -> Result<(), CniError> {
    let v6 = |key| of_interface(Family::V6, end.name, key);
    if families.contains(&Family::V6) {
        // A host may have IPv6 off by default.
        set_if_there(&v6("disable_ipv6"), "0");
    }
    set_if_there(&v6("accept_ra"), "0");
    let alias = owner.to_string();
    let change = LinkChange {
        alias: Some(&alias),
        up: Some(true),
        ..LinkChange::default()
    };
    Ok(netlink.set_link(end, &change)?)
}

/// Puts a route to each address of the container, and its neighbour entry.
pub(super) fn lead(netlink: &mut Netlink, end: Dev<'_>, place: &Place) -> Result<(), CniError> {
    for addr in &place.addresses {
        // With the scope of the link the kernel looks for a source among all addresses of the host.
        let route = RouteSpec {
            protocol: ROUTE_PROTOCOL,
            scope: SCOPE_LINK,
            ..RouteSpec::to(IpNet::from(*addr)).dev(end)
        };
        // One that leads to a pod that is gone is replaced: the address is this pod's now.
        netlink
            .put_route(&route)
            .context(|| "failed to add route on host")?;
        netlink
            .put_neigh(end, *addr, place.mac)
            .context(|| "failed to add neighbour entry on host")?;
    }
    Ok(())
}

/// Checks that routes and neighbour entries are there.
///
/// # Errors
/// The first that is not.
pub(super) fn check(
    netlink: &mut Netlink,
    end: &LinkInfo,
    container_end: &LinkInfo,
    addrs: &[IpAddr],
) -> Result<(), CniError> {
    let name = &end.name;
    for family in addrs.iter().map(Family::of).collect::<BTreeSet<_>>() {
        let routes = netlink.routes(&RouteFilter {
            family,
            table: Some(TABLE_MAIN),
        })?;
        let neighs = netlink.neighs(end.dev(), family)?;
        for addr in addrs.iter().filter(|addr| Family::of(addr) == family) {
            let dst = IpNet::from(*addr);
            // Of several the kernel takes the first.
            let route = routes.iter().find(|route| route.dst == dst);
            if route.and_then(|route| route.oif) != Some(end.index) {
                let msg = format!("Expected Route {dst} dev {name} not found on the host");
                return Err(CniError::drift(msg).details(RESTORES));
            }
            let is_there = |it: &tweed_netlink::NeighInfo| {
                it.addr == *addr && it.permanent && it.mac == container_end.mac
            };
            if !neighs.iter().any(is_there) {
                let msg = format!("{name} has no neighbour entry for {addr}");
                return Err(CniError::drift(msg).details(RESTORES));
            }
        }
    }
    Ok(())
}
