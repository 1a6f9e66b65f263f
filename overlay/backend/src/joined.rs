//! The joined intents of several backends of one node. While a network moves from one to another, each packet goes by the
//! backend of its receiver's lease, and is accepted by any of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use tweed_forward::forwarding::Forwarding;
use tweed_model::{Family, LocalNode, Refusal, SubnetKey};
use tweed_state::{KernelState, NextHop, ROUTE_PROTOCOL, Route, RouteKey};

use super::intent::Intent;

/// The intents of one node's backends as one, its own backend's first. `direct` says whether packets of pods may go over
/// the uplink as they are.
pub(super) fn joined(
    node: &LocalNode,
    direct: bool,
    intents: impl IntoIterator<Item = Intent>,
) -> Intent {
    let mut all = Intent::default();
    let mut count = 0;
    for intent in intents {
        all.join(intent);
        count += 1;
    }
    if count > 1 {
        add_gateways(&mut all.state);
        allow_detours(node, direct, &mut all.state);
        if let Some(forwarding) = &mut all.forwarding {
            leave_out(forwarding, &all.refused);
        }
    }
    refuse_advertisements(&mut all.state);
    all
}

/// The data plane takes packets of all peers, and a lease that another backend refuses is none.
fn leave_out(forwarding: &mut Forwarding, refused: &BTreeMap<SubnetKey, Refusal>) {
    let subnets: BTreeSet<&IpNet> = refused.keys().flat_map(|key| key.0.values()).collect();
    if !subnets.is_empty() {
        forwarding
            .peers
            .retain(|subnet, _| !subnets.contains(subnet));
    }
}

/// A peer's packets come by the backend of our lease and ours go by that of the peer's. A strict reverse path
/// filter would drop them; it is the larger of the device's value and `all`'s that counts, and 2 is loose.
fn allow_detours(node: &LocalNode, direct: bool, state: &mut KernelState) {
    let is_v4 = |net: &IpNet| Family::of_net(net) == Family::V4;
    let devices = state.addrs.iter().filter(|(_, net)| is_v4(net));
    let mut devices: BTreeSet<&str> = devices.map(|(name, _)| name.as_str()).collect();
    if !devices.is_empty() && direct {
        devices.insert(&node.uplink.name);
    }
    let switch = |name: &str| (format!("net/ipv4/conf/{name}/rp_filter"), "2".to_owned());
    let switches: Vec<_> = devices.into_iter().map(switch).collect();
    state.sysctls.extend(switches);
}

/// Behind the devices of ours are peers and their pods, and no router of the host's. A device without an IPv6 address of
/// ours would accept a router that announces itself, as long as the host itself forwards no IPv6.
fn refuse_advertisements(state: &mut KernelState) {
    let switch = |name: &String| (format!("net/ipv6/conf/{name}/accept_ra"), "0".to_owned());
    let switches: Vec<_> = state.links.keys().map(switch).collect();
    state.sysctls.extend(switches);
}

/// IPv6 refuses an onlink route whose gateway is also within another device's route, as it is within the network's over
/// the TUN device, unless the gateway has a route of its own (seen on Linux 6.18: "Nexthop has invalid gateway or device
/// mismatch").
fn add_gateways(state: &mut KernelState) {
    let gateway = |route: &Route| match &route.next_hop {
        NextHop::Via {
            gateway: Some(gateway @ IpAddr::V6(_)),
            dev,
            onlink: true,
            ..
        } => Some((*gateway, dev.clone())),
        _ => None,
    };
    let gateways: Vec<_> = state.routes.values().filter_map(gateway).collect();
    state
        .routes
        .extend(gateways.into_iter().map(|(gateway, dev)| {
            let next_hop = NextHop::via(None, dev, false);
            let protocol = ROUTE_PROTOCOL;
            (RouteKey::of(gateway.into()), Route { next_hop, protocol })
        }));
}
