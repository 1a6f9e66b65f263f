//! Routes of a container's interface.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tweed_model::Family;
use tweed_netlink::{LinkInfo, Netlink, RouteFilter, RouteSpec, TABLE_MAIN};

use crate::spec::{CniError, CniResult, Context, Route};

/// The kernel's number for routes to what is on the link itself.
pub(crate) const SCOPE_LINK: u8 = 253;

/// The destination of a default route.
pub(crate) fn everywhere(family: Family) -> IpNet {
    match family {
        Family::V4 => IpNet::V4(Ipv4Net::default()),
        Family::V6 => IpNet::V6(Ipv6Net::default()),
    }
}

/// Gives the link the routes of a result.
pub(crate) fn add(
    netlink: &mut Netlink,
    link: &LinkInfo,
    result: &CniResult,
) -> Result<(), CniError> {
    for route in effective(result) {
        let set = |number: u32| (number != 0).then_some(number);
        let spec = RouteSpec {
            gateway: route.gw,
            dev: Some(link.dev()),
            metric: set(route.priority),
            table: route.table.unwrap_or(TABLE_MAIN),
            scope: scope(&route),
            mtu: set(route.mtu),
            advmss: set(route.advmss),
            ..RouteSpec::to(route.dst)
        };
        netlink
            .append_route(&spec)
            .context(|| "failed to add route")?;
    }
    Ok(())
}

/// Checks that the routes of the previous result are there.
pub(crate) fn check(
    netlink: &mut Netlink,
    link: &LinkInfo,
    prev: &CniResult,
) -> Result<(), CniError> {
    let wanted = effective(prev);
    let families: BTreeSet<Family> = wanted.iter().map(|r| Family::of_net(&r.dst)).collect();
    let mut present = Vec::new();
    for family in families {
        let filter = RouteFilter {
            family,
            table: None,
        };
        present.extend(netlink.routes(&filter)?);
    }
    let is_there = |route: &Route| {
        present.iter().any(|seen| {
            seen.dst == route.dst
                && seen.table == route.table.unwrap_or(TABLE_MAIN)
                // The kernel lists a route with several gateways as one entry.
                && (seen.multipath || (seen.gateway == route.gw && seen.oif == Some(link.index)))
        })
    };
    match wanted.iter().find(|route| !is_there(route)) {
        None => Ok(()),
        Some(route) => {
            let gateway = route.gw.map(|gw| format!(" via {gw}")).unwrap_or_default();
            let msg = format!(
                "Expected Route {}{gateway} not found in routing table",
                route.dst
            );
            Err(CniError::drift(msg))
        }
    }
}

/// The routes of a result as the kernel shall have them: without a gateway they lead through that of the addresses'
/// family, unless they are to what is on the link, and what then is the same is there once. (IPAM's default route and ours often are.)
fn effective(result: &CniResult) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    for route in &result.routes {
        let mut route = route.clone();
        route.dst = route.dst.trunc();
        if route.gw.is_none() && route.scope != Some(SCOPE_LINK) {
            route.gw = family_gateway(result, Family::of_net(&route.dst));
        }
        if !routes.contains(&route) {
            routes.push(route);
        }
    }
    routes
}

fn family_gateway(result: &CniResult, family: Family) -> Option<IpAddr> {
    let mut gateways = result.ips.iter().filter_map(|ip| ip.gateway);
    gateways.find(|gateway| Family::of(gateway) == family)
}

/// What leads to no gateway leads to the link itself, unless the result gives another scope.
fn scope(route: &Route) -> u8 {
    let link = if route.gw.is_none() && route.dst.addr().is_ipv4() {
        SCOPE_LINK
    } else {
        0
    };
    route.scope.unwrap_or(link)
}
