//! What the kernel says of one object, as the plan sees it: the same for a dump and for a notification. Pure.

use std::net::{IpAddr, Ipv4Addr};

use tweed_model::{LinkName, Mac};
use tweed_netlink::{FdbInfo, LinkInfo, RouteInfo, RouteKind};
use tweed_state::{Link, NextHop, ObjectRef, Route, RouteKey};

use super::connected::route_key;
use super::{kinds, ownership};

/// An interface as the plan sees it.
pub(super) fn as_link(info: &LinkInfo, underlay: String) -> Link {
    Link {
        kind: kinds::read(info, underlay),
        mtu: info.mtu,
        mac: info.mac.unwrap_or(Mac([0; 6])),
        up: info.up,
        alias: info.alias.clone(),
    }
}

/// Where a permanent forwarding entry leads. One that overrides the device's port, VNI or interface leads somewhere
/// that no peer is: nowhere, so that it is replaced, or deleted.
pub(super) fn as_fdb(entry: &FdbInfo) -> Option<IpAddr> {
    if !entry.permanent || !ownership::owns_fdb(&entry.mac) {
        return None;
    }
    match entry.dst {
        Some(dst) if !entry.foreign => Some(dst),
        _ => Some(Ipv4Addr::UNSPECIFIED.into()),
    }
}

/// A route as the plan sees it; `None` for what no plan of ours contains (several next hops, types of service,
/// prohibitions), and for a device that is gone.
pub(super) fn as_route(
    info: &RouteInfo,
    dev: Option<LinkName>,
    object: ObjectRef,
) -> Option<(RouteKey, Route)> {
    if info.multipath || info.tos != 0 {
        return None;
    }
    let next_hop = match info.kind {
        RouteKind::Blackhole => NextHop::Blackhole,
        RouteKind::Unicast => NextHop::Via {
            gateway: info.gateway,
            dev: dev?,
            onlink: info.onlink,
            object,
        },
        RouteKind::Other(_) => return None,
    };
    let route = Route {
        next_hop,
        protocol: info.protocol,
    };
    Some((route_key(info), route))
}
