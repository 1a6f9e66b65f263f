//! The host's interfaces and routes, as the kernel tells them.

use std::net::IpAddr;

use anyhow::Context;
use tweed_host::sysctl;
use tweed_model::Family;
use tweed_netlink::{LinkInfo, Netlink, RouteFilter, RouteInfo, RouteKind, TABLE_MAIN};

use super::host::{DefaultRoute, Facts, Interface, InterfaceAddr, Reach};

/// `RTPROT_RA`. A daemon that reads advertisements itself uses it too, with `accept_ra` off.
const BY_ADVERTISEMENT: u8 = 9;

/// Reads what the choice depends on.
///
/// # Errors
/// If the kernel refuses a dump.
pub fn read(netlink: &mut Netlink, can_reach: Option<IpAddr>) -> anyhow::Result<Facts> {
    let mut facts = Facts {
        interfaces: interfaces(netlink)?,
        reach: can_reach.map(|target| reach(netlink, target)),
        ..Facts::default()
    };
    for family in Family::BOTH {
        let filter = RouteFilter {
            family,
            table: Some(TABLE_MAIN),
        };
        let routes = netlink.routes(&filter)?;
        for route in routes.iter().filter(|route| is_plain(route)) {
            note(&mut facts, family, route);
        }
    }
    Ok(facts)
}

fn interfaces(netlink: &mut Netlink) -> anyhow::Result<Vec<Interface>> {
    let addrs = netlink.addrs(None)?;
    let links = netlink.links()?.into_iter();
    Ok(links
        .map(|link| Interface {
            addrs: addrs
                .iter()
                .filter(|addr| addr.index == link.index)
                .filter(|addr| !addr.dad_failed)
                .map(|addr| InterfaceAddr {
                    addr: addr.net.addr(),
                    prefix: addr.net.prefix_len(),
                    peer: addr.peer.is_some(),
                    permanent: addr.permanent,
                    temporary: addr.secondary,
                    deprecated: addr.deprecated,
                    protocol: addr.protocol,
                })
                .collect(),
            index: link.index,
            parent: parent(&link),
            name: link.name,
            altnames: link.altnames,
            kind: link.kind,
            alias: link.alias,
            loopback: link.loopback,
            master: link.master,
            mtu: link.mtu,
        })
        .collect())
}

/// The interface below another one. The underlay of a VXLAN device and the other end of a veth don't count.
fn parent(link: &LinkInfo) -> Option<u32> {
    let other = link.link_netnsid.is_some() || matches!(link.kind.as_str(), "veth" | "vxlan");
    link.link.filter(|_| !other)
}

fn reach(netlink: &mut Netlink, target: IpAddr) -> Result<Reach, String> {
    let route = netlink
        .route_to(target)
        .map_err(|error| error.to_string())?
        .ok_or("the kernel has none")?;
    Ok(Reach {
        interface: route
            .oif
            .context("it has no interface")
            .map_err(|e| e.to_string())?,
        source: route.src,
    })
}

fn is_plain(route: &RouteInfo) -> bool {
    route.kind == RouteKind::Unicast && route.tos == 0
}

fn note(facts: &mut Facts, family: Family, route: &RouteInfo) {
    if route.dst.prefix_len() == 0 {
        facts.defaults.push(DefaultRoute {
            family,
            metric: route.metric,
            interface: interface(route),
            learned: route.protocol == BY_ADVERTISEMENT && accepts_advertisements(facts, route),
        });
    } else if let (Some(index), None, false) = (route.oif, route.gateway, route.multipath) {
        facts.onlink.push((index, route.dst));
    }
}

/// The interface that a route leads over. Several next hops on one are in no doubt.
fn interface(route: &RouteInfo) -> Option<u32> {
    let (first, others) = match &route.hops[..] {
        [] => return route.oif,
        [first, others @ ..] => (first, others),
    };
    others.iter().all(|hop| hop == first).then_some(*first)
}

/// Whether the kernel itself learns routes on the route's interface: `accept_ra` is 1, or 2 if forwarding is no obstacle.
fn accepts_advertisements(facts: &Facts, route: &RouteInfo) -> bool {
    let mut interfaces = facts.interfaces.iter();
    let interface = interfaces.find(|interface| Some(interface.index) == route.oif);
    interface.is_some_and(|interface| {
        let key = format!("net/ipv6/conf/{}/accept_ra", interface.name);
        matches!(sysctl::read(&key), Ok(Some(value)) if value == "1" || value == "2")
    })
}
