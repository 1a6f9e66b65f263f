//! The host's kernel.

use tweed_model::Family;
use tweed_netlink::RouteKind;

use crate::operator::doctor::facts::Facts;
use crate::operator::doctor::finding::Verdict;

const FORWARD_V4: &str = "net/ipv4/ip_forward";
const FORWARD_V6: &str = "net/ipv6/conf/all/forwarding";
const BRIDGE_V4: &str = "net/bridge/bridge-nf-call-iptables";

/// The switches that the checks ask for.
pub static SWITCHES: &[&str] = &[FORWARD_V4, FORWARD_V6, BRIDGE_V4];

/// Of a table that is as full as this, in percent, the operator is warned.
const FULL: u64 = 90;
/// `RTPROT_RA`: learned by a router advertisement.
const ADVERTISED: u8 = 9;

fn has_family(facts: &Facts, family: Family) -> bool {
    let subnets = &facts.status.subnets;
    facts
        .networks
        .iter()
        .any(|network| Family::of_net(network) == family)
        || subnets.iter().any(|(other, _)| other == family)
}

pub fn modules(facts: &Facts) -> Verdict {
    let device = match facts.status.backend.as_deref() {
        Some("vxlan") => Some("vxlan"),
        Some("udp") => Some("tun"),
        _ => None,
    };
    // What exists needs no module any more.
    let stands = |kind: &str| {
        let links = facts
            .net
            .as_ref()
            .map(|net| &net.links[..])
            .unwrap_or_default();
        links.iter().any(|link| link.kind == kind)
    };
    let Some(modules) = &facts.modules else {
        return match device {
            Some(kind) if stands(kind) => Verdict::ok(format!("a {kind} device stands")),
            _ => Verdict::unknown("/lib/modules has nothing of this kernel"),
        };
    };
    let needed = device.into_iter().chain(["bridge", "veth", "nf_tables"]);
    let lacks: Vec<&str> = needed
        .filter(|name| !stands(name) && !modules.iter().any(|module| module == name))
        .collect();
    match lacks.is_empty() {
        true => Verdict::ok("all are there"),
        false => Verdict::warn(
            format!("the kernel seems to have no {}", lacks.join(", ")),
            "install the package with the kernel's further modules (linux-modules-extra-…), or another kernel",
        ),
    }
}

pub fn forwarding(facts: &Facts) -> Verdict {
    let mut on = Vec::new();
    for (family, key) in [(Family::V4, FORWARD_V4), (Family::V6, FORWARD_V6)] {
        if !has_family(facts, family) {
            continue;
        }
        match facts.switch(key) {
            Err(reason) => return Verdict::unknown(reason),
            Ok(Some("0")) => {
                let key = key.replace('/', ".");
                return Verdict::fail(
                    format!("{key} is 0"),
                    format!(
                        "`sysctl -w {key}=1`, and find what sets it back: the agent sets it at its start and again when it changes"
                    ),
                );
            }
            Ok(_) => on.push(family.to_string()),
        }
    }
    match on.is_empty() {
        true => Verdict::skipped("no pod network is known"),
        false => Verdict::ok(format!("on for {}", on.join(" and "))),
    }
}

pub fn bridge_netfilter(facts: &Facts) -> Verdict {
    if !facts.kubernetes {
        return Verdict::skipped("there are no Services without Kubernetes");
    }
    match facts.switch(BRIDGE_V4) {
        Err(reason) => Verdict::unknown(reason),
        Ok(None) => Verdict::fail(
            "the kernel's module br_netfilter is not loaded",
            "`modprobe br_netfilter; echo br_netfilter > /etc/modules-load.d/tweed.conf`",
        ),
        Ok(Some("0")) => Verdict::fail(
            "net.bridge.bridge-nf-call-iptables is 0",
            "`sysctl -w net.bridge.bridge-nf-call-iptables=1`",
        ),
        Ok(Some(_)) => Verdict::ok("they pass it"),
    }
}

pub fn reverse_path(facts: &Facts) -> Verdict {
    match facts.grown("reverse_path") {
        None => Verdict::unknown("the kernel counts none"),
        Some(0) => Verdict::ok("none within a second"),
        Some(number) => Verdict::warn(
            format!("{number} packets within a second were dropped for it"),
            "`sysctl -a | grep '\\.rp_filter'`: 2 (loose) on the interface by which they come, or a route that leads back by it",
        ),
    }
}

pub fn advertised_route(facts: &Facts) -> Verdict {
    if !has_family(facts, Family::V6) {
        return Verdict::skipped("the pod network has no IPv6");
    }
    let net = match &facts.net {
        Err(reason) => return Verdict::unknown(reason),
        Ok(net) => net,
    };
    let learned = net.routes.iter().find(|route| {
        route.dst.addr().is_ipv6()
            && route.dst.prefix_len() == 0
            && route.protocol == ADVERTISED
            && route.kind == RouteKind::Unicast
    });
    let Some(route) = learned else {
        return Verdict::ok("the default route is not of a router advertisement");
    };
    let name = net.name(route.oif.unwrap_or(0));
    let key = format!("net/ipv6/conf/{name}/accept_ra");
    match tweed_host::sysctl::read(&key) {
        Ok(Some(value)) if value != "2" => Verdict::warn(
            format!("{name} takes no router advertisements any more (accept_ra {value})"),
            format!(
                "`sysctl -w net.ipv6.conf.{name}.accept_ra=2`; systemd-networkd: IPv6AcceptRA=yes"
            ),
        ),
        Ok(_) => Verdict::ok(format!("{name} takes router advertisements")),
        Err(error) => Verdict::unknown(format!("{key}: {error}")),
    }
}

pub fn neighbours(facts: &Facts) -> Verdict {
    let remedy = "`sysctl -w net.ipv4.neigh.default.gc_thresh3=…` (and gc_thresh2), twice the number of pods and nodes";
    if facts
        .grown("neighbour_overflows")
        .is_some_and(|grown| grown > 0)
    {
        return Verdict::fail(
            "the table is full: entries were refused within the last second",
            remedy,
        );
    }
    let [_, now] = &facts.counters;
    let (Some(used), Some(limit)) = (now.get("neighbours"), now.get("neighbour_limit")) else {
        return Verdict::skipped("a namespace of the network has no limit of its own");
    };
    let fact = format!("{used} of {limit} entries");
    match used * 100 >= limit * FULL {
        true => Verdict::warn(fact, remedy),
        false => Verdict::ok(fact),
    }
}

pub fn conntrack(facts: &Facts) -> Verdict {
    let remedy = "`sysctl -w net.netfilter.nf_conntrack_max=…`; name servers' caches on each node save the most";
    let [_, now] = &facts.counters;
    let (Some(used), Some(limit)) = (now.get("conntrack_count"), now.get("conntrack_max")) else {
        return Verdict::skipped("the kernel tracks no connections here");
    };
    let dropped = facts.grown("conntrack_drop").unwrap_or(0);
    let fact = format!("{used} of {limit} connections");
    match (dropped, used * 100 >= limit * FULL) {
        (0, false) => Verdict::ok(fact),
        (0, true) => Verdict::warn(fact, remedy),
        (dropped, _) => Verdict::fail(
            format!("{fact}; {dropped} packets within a second were dropped for it"),
            remedy,
        ),
    }
}

pub fn receive_drops(facts: &Facts) -> Verdict {
    let of = |name, what: &str| {
        let number = facts.grown(name)?;
        (number > 0).then(|| format!("{number} {what}"))
    };
    let found: Vec<String> = [
        of(
            "udp_receive_buffer",
            "datagrams found no room in their socket",
        ),
        of("udp_checksum", "datagrams had a wrong checksum"),
        of(
            "softnet_dropped",
            "packets found no room in a processor's queue",
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    match found.is_empty() {
        true => Verdict::ok("none within a second"),
        false => Verdict::warn(
            format!("within a second {}", found.join(", ")),
            "wrong checksums: `ethtool -K <uplink> tx-checksum-ip-generic off` on the senders; no room: more receive queues, or `net.core.netdev_max_backlog`",
        ),
    }
}
