//! Routes, devices and MTU.

use ipnet::IpNet;
use tweed_netlink::{LinkInfo, RouteInfo, RouteKind};

use super::count;
use crate::daemon::peers::Standing;
use crate::operator::doctor::facts::{Facts, Net};
use crate::operator::doctor::finding::Verdict;

/// `RTPROT_KERNEL`: made by the kernel with an address.
const BY_KERNEL: u8 = 2;
/// `RT_TABLE_LOCAL`
const TABLE_LOCAL: u32 = 255;
/// Names of other overlay networks' devices.
const OTHERS: &[(&str, &str)] = &[
    ("cilium_", "Cilium"),
    ("vxlan.calico", "Calico"),
    ("wireguard.cali", "Calico"),
    ("weave", "Weave Net"),
    ("flannel-wg", "flannel's WireGuard"),
    ("antrea-", "Antrea"),
    ("kube-bridge", "kube-router"),
    ("ovn-", "OVN-Kubernetes"),
];

/// Whether an interface belongs to the overlay, the pods, or the packet path of either.
fn is_inner(facts: &Facts, link: &LinkInfo) -> bool {
    let subnets = facts.status.subnets;
    let has_own = |net: &Net| {
        net.addrs_of(link.index).any(|addr| {
            subnets
                .values()
                .any(|subnet| subnet.contains(&addr.net.addr()))
        })
    };
    let is_port = link.master.is_some() || link.kind == "veth";
    tweed_state::instance_of(&link.alias).is_some()
        || is_port
        || facts.net.as_ref().is_ok_and(has_own)
}

pub fn overlap(facts: &Facts) -> Verdict {
    let net = match &facts.net {
        Err(reason) => return Verdict::unknown(reason),
        Ok(net) => net,
    };
    if facts.networks.is_empty() {
        return Verdict::unknown("no pod network is known");
    }
    let inside = |one: &IpNet| facts.networks.iter().any(|network| network.contains(one));
    let inner = |index: u32| {
        let link = net.links.iter().find(|link| link.index == index);
        link.is_some_and(|link| is_inner(facts, link))
    };
    let addrs = net
        .addrs
        .iter()
        .filter(|addr| inside(&addr.net) && !inner(addr.index));
    let addrs = addrs.map(|addr| format!("address {} of {}", addr.net, net.name(addr.index)));
    let foreign = |route: &&RouteInfo| {
        let made = route.protocol != BY_KERNEL && route.table != TABLE_LOCAL;
        let dev = route.oif.is_some_and(|index| !inner(index));
        let unicast = route.kind == RouteKind::Unicast;
        made && dev && unicast && inside(&route.dst) && !is_peers(facts, route)
    };
    let routes = net.routes.iter().filter(foreign);
    let routes = routes.map(|route| {
        format!(
            "route {} by {}",
            route.dst,
            net.name(route.oif.unwrap_or(0))
        )
    });
    let found: Vec<String> = addrs.chain(routes).collect();
    match found.is_empty() {
        true => Verdict::ok("nothing else is in the pod network"),
        false => Verdict::warn(
            format!("{} of others in the pod network", count(found.len(), "address or route", "addresses or routes")),
            "give the other network other addresses, or choose another Network while the cluster is young",
        )
        .because(found),
    }
}

/// Whether a route is that to a peer: by its subnet.
fn is_peers(facts: &Facts, route: &RouteInfo) -> bool {
    let peers = facts.status.peer_list.iter().flatten();
    let mut subnets = peers.flat_map(|peer| peer.subnets.values());
    subnets.any(|subnet| *subnet == route.dst)
}

pub fn paths(facts: &Facts) -> Verdict {
    let net = match &facts.net {
        Err(reason) => return Verdict::unknown(reason),
        Ok(net) => net,
    };
    let uplink = facts.status.uplink.as_deref().unwrap_or_default();
    let peers = || facts.status.peer_list.iter().flatten();
    // By the uplink a packet goes to a peer itself, where backend and network let it.
    let directly = |route: &RouteInfo| {
        let mut addrs = peers().flat_map(|peer| peer.public.values());
        route
            .gateway
            .is_some_and(|gateway| addrs.any(|addr| *addr == gateway))
    };
    let good = |route: &RouteInfo| {
        let index = route.oif.unwrap_or(0);
        let link = net.links.iter().find(|link| link.index == index);
        link.is_some_and(|link| {
            tweed_state::instance_of(&link.alias).is_some()
                || link.name == uplink && directly(route)
        })
    };
    let programmed = |subnet: &IpNet| {
        peers().any(|peer| {
            matches!(peer.state, Standing::Peer | Standing::Held)
                && peer.subnets.values().any(|one| one == subnet)
        })
    };
    let all: Vec<_> = net
        .paths
        .iter()
        .filter(|(subnet, _)| programmed(subnet))
        .collect();
    let bad: Vec<String> = all
        .iter()
        .filter_map(|(subnet, route)| match route {
            Some(route) if good(route) => None,
            Some(route) => Some(format!(
                "{subnet} leads to {}",
                net.name(route.oif.unwrap_or(0))
            )),
            None => Some(format!("{subnet} leads nowhere")),
        })
        .collect();
    match (all.len(), bad.len()) {
        (0, _) => Verdict::skipped("no peers are known"),
        (all, 0) => Verdict::ok(format!("{} into the overlay", count(all, "subnet leads", "subnets lead"))),
        (all, wrong) => Verdict::fail(
            format!("{wrong} of {} lead elsewhere", count(all, "peer's subnets", "peers' subnets")),
            "`ip route get <address>` and `ip rule` show the route that wins; remove it, or have its program leave the pod network out",
        )
        .because(bad),
    }
}

pub fn tunnel_port(facts: &Facts) -> Verdict {
    let net = match &facts.net {
        Err(reason) => return Verdict::unknown(reason),
        Ok(net) => net,
    };
    if facts.status.backend.as_deref() != Some("vxlan") {
        return Verdict::skipped("the backend has no device with a port");
    }
    let own = |link: &&LinkInfo| tweed_state::instance_of(&link.alias).is_some();
    let ours = net
        .links
        .iter()
        .filter(own)
        .find_map(|link| link.vxlan.as_ref());
    if let Some(vxlan) = ours {
        return Verdict::ok(format!("UDP {} is our device's", vxlan.port));
    }
    let port = 8472;
    match facts.udp_ports.contains(&port) {
        true => Verdict::fail(
            format!("UDP {port} belongs to another program"),
            format!(
                "`ss -lunp sport = :{port}` and `ip -d link show type vxlan` name it; end it, or set Backend.Port"
            ),
        ),
        false => Verdict::ok(format!("UDP {port} is free")),
    }
}

pub fn others(facts: &Facts) -> Verdict {
    let net = match &facts.net {
        Err(reason) => return Verdict::unknown(reason),
        Ok(net) => net,
    };
    let of = |link: &LinkInfo| {
        let known = OTHERS.iter().find(|(name, _)| link.name.starts_with(name));
        known.map(|(_, network)| format!("{} of {network}", link.name))
    };
    let found: Vec<String> = net.links.iter().filter_map(of).collect();
    match found.is_empty() {
        true => Verdict::ok("none"),
        false => Verdict::info(found.join(", ")),
    }
}

pub fn mtu(facts: &Facts) -> Verdict {
    let status = &facts.status;
    let net = match &facts.net {
        Err(reason) => return Verdict::unknown(reason),
        Ok(net) => net,
    };
    let name = status.uplink.as_deref().unwrap_or_default();
    let (Some(pods), Some(link)) = (status.mtu, net.link(name)) else {
        return Verdict::unknown("MTU of pods or uplink are not known");
    };
    let over_v6 = status.public.iter().any(|(_, addr)| addr.is_ipv6());
    let overhead = match (status.backend.as_deref(), over_v6) {
        (Some("vxlan"), false) => 50,
        (Some("vxlan"), true) => 70,
        (Some("udp"), false) => 28,
        (Some("udp"), true) => 48,
        _ => 0,
    };
    let fact = format!("pods {pods}, outer headers {overhead}, {name} {}", link.mtu);
    match pods + overhead <= link.mtu {
        true => Verdict::ok(fact),
        false => Verdict::fail(
            fact,
            "raise the uplink's MTU, or take Backend.MTU out of the network configuration: the agent computes one that fits",
        ),
    }
}
