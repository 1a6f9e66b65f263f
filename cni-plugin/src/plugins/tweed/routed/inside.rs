//! The container's end of a routed pod's pair: single addresses, and the gateways by which everything leaves.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use tweed_model::{Family, Mac};
use tweed_netlink::{LinkInfo, Netlink, RouteFilter, RouteSpec, TABLE_MAIN};

use crate::net::container::{self, Behaviour};
use crate::net::routes::{SCOPE_LINK, everywhere};
use crate::net::{addresses, link, routes};
use crate::spec::{CniError, CniResult, Context, Route};

/// Nobody but this host is on the link: no router to learn from, no duplicate to look for.
pub(super) const BEHAVIOUR: Behaviour = Behaviour {
    accept_ra: false,
    dad: false,
};

/// The gateways, which nobody has.
const GATEWAY4: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
const GATEWAY6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// The gateway of a family.
fn gateway(family: Family) -> IpAddr {
    match family {
        Family::V4 => GATEWAY4.into(),
        Family::V6 => GATEWAY6.into(),
    }
}

/// The result that follows from an IPAM plugin's: each address alone, the host as the gateway for all.
///
/// # Errors
/// When a route has another gateway.
pub(super) fn routed(mut result: CniResult) -> Result<CniResult, CniError> {
    let given = result.ips.iter().filter_map(|ip| ip.gateway);
    let given: Vec<IpAddr> = given.collect();
    for route in &mut result.routes {
        let own = gateway(Family::of_net(&route.dst));
        // The gateway of a subnet would be a bridge's address.
        match route.gw {
            Some(gw) if gw != own && !given.contains(&gw) => {
                let msg = format!("route {} has the gateway {gw}", route.dst);
                return Err(CniError::config(msg)
                    .details("the only gateway of a routed pod is its host: remove gw"));
            }
            _ => route.gw = Some(own).filter(|_| route.scope != Some(SCOPE_LINK)),
        }
    }
    for ip in &mut result.ips {
        ip.address = ip.address.addr().into();
        ip.gateway = Some(gateway(Family::of_net(&ip.address)));
    }
    for family in addresses::families(&result) {
        let everywhere = everywhere(family);
        if !result.routes.iter().any(|route| route.dst == everywhere) {
            let route = Route::new(everywhere, Some(gateway(family)));
            result.routes.push(route);
        }
    }
    Ok(result)
}

/// Gives the end its addresses, brings it up, and has everything go to the host.
pub(super) fn configure(
    inside: &mut Netlink,
    end: &LinkInfo,
    result: &CniResult,
    host_mac: Mac,
) -> Result<(), CniError> {
    addresses::add(inside, end, result, BEHAVIOUR.dad)?;
    link::bring_up(inside, end)?;
    for family in addresses::families(result) {
        let gateway = gateway(family);
        inside
            .put_neigh(end.dev(), gateway, host_mac)
            .context(|| "failed to add the gateway's neighbour entry")?;
        if family == Family::V4 {
            let on_link = RouteSpec {
                scope: SCOPE_LINK,
                ..RouteSpec::to(gateway.into()).dev(end.dev())
            };
            inside
                .add_route(&on_link)
                .context(|| "failed to add route to the gateway")?;
        }
    }
    routes::add(inside, end, result)
}

/// Checks addresses, routes and the gateways' neighbour entries.
///
/// # Errors
/// The first that is not there.
pub(super) fn check(
    inside: &mut Netlink,
    end: &LinkInfo,
    prev: &CniResult,
    host_end: &LinkInfo,
) -> Result<(), CniError> {
    container::check(inside, end, prev)?;
    for family in addresses::families(prev) {
        let gateway = gateway(family);
        let neighs = inside.neighs(end.dev(), family)?;
        let is_there = |it: &tweed_netlink::NeighInfo| {
            it.addr == gateway && it.permanent && it.mac == host_end.mac
        };
        if !neighs.iter().any(is_there) {
            let msg = format!(
                "{} has no neighbour entry for its gateway {gateway}",
                end.name
            );
            return Err(CniError::drift(msg));
        }
        let on_link = IpNet::from(gateway);
        let filter = RouteFilter {
            family,
            table: Some(TABLE_MAIN),
        };
        let leads =
            |route: &tweed_netlink::RouteInfo| route.dst == on_link && route.oif == Some(end.index);
        if family == Family::V4 && !inside.routes(&filter)?.iter().any(leads) {
            let msg = format!("Expected Route {on_link} not found in routing table");
            return Err(CniError::drift(msg));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::IpConfig;

    fn given(gw: Option<&str>) -> CniResult {
        CniResult {
            ips: vec![IpConfig {
                interface: None,
                address: "10.244.1.5/24".parse().unwrap(),
                gateway: Some("10.244.1.1".parse().unwrap()),
            }],
            routes: vec![Route::new(
                "10.9.0.0/16".parse().unwrap(),
                gw.map(|gw| gw.parse().unwrap()),
            )],
            ..CniResult::default()
        }
    }

    #[test]
    fn an_address_stands_alone_and_everything_goes_to_the_host() {
        for gw in [None, Some("10.244.1.1"), Some("169.254.1.1")] {
            let result = routed(given(gw)).unwrap();
            assert_eq!(result.ips[0].address, "10.244.1.5/32".parse().unwrap());
            assert_eq!(result.ips[0].gateway, Some(GATEWAY4.into()));
            let routes: Vec<_> = result
                .routes
                .iter()
                .map(|route| (route.dst, route.gw))
                .collect();
            let by_host = |dst: &str| (dst.parse().unwrap(), Some(IpAddr::V4(GATEWAY4)));
            assert_eq!(routes, [by_host("10.9.0.0/16"), by_host("0.0.0.0/0")]);
        }
    }

    #[test]
    fn a_route_by_another_gateway_is_refused() {
        let error = routed(given(Some("10.244.1.9"))).unwrap_err().to_string();
        assert!(error.contains("has the gateway 10.244.1.9"), "{error}");
    }
}
