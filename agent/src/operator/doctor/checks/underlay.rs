//! Between the hosts: addresses that nodes announce, and the ways to them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use tweed_netlink::{NeighInfo, RouteInfo};
use tweed_probe::health::State;

use super::count;
use crate::daemon::peers::Peer;
use crate::operator::doctor::facts::{Facts, Net};
use crate::operator::doctor::finding::Verdict;

/// How many other nodes don't answer, and how many there are.
fn lost(facts: &Facts) -> (usize, usize) {
    let states = facts.status.peer_states.iter();
    states.fold((0, 0), |(lost, all), (state, number)| {
        (
            lost + if State::is_lost(*state) { *number } else { 0 },
            all + number,
        )
    })
}

/// Whether the node with this address doesn't answer.
fn is_lost(facts: &Facts, addr: &IpAddr) -> bool {
    let mut bad = facts.status.bad_peers.iter();
    bad.any(|peer| State::is_lost(peer.probe.state) && peer.public.values().any(|one| one == addr))
}

fn peers(facts: &Facts) -> impl Iterator<Item = &Peer> {
    facts.status.peer_list.iter().flatten()
}

pub fn public_address(facts: &Facts) -> Verdict {
    let net = match &facts.net {
        Err(reason) => return Verdict::unknown(reason),
        Ok(net) => net,
    };
    let public = &facts.status.public;
    let Some(addr) = public.values().find(|addr| !net.has_addr(addr)) else {
        return Verdict::ok("it is an address of this host");
    };
    let fact = format!("{addr} is announced and no address of this host");
    match lost(facts) {
        (lost, all) if lost > 0 && lost == all => Verdict::fail(
            format!("{fact}, and none of the other nodes answers"),
            "take --public-ip (or the annotation public-ip-overwrite) back, or have what is on the way translate the address",
        ),
        _ => Verdict::info(format!("{fact}: something on the way must translate it")),
    }
}

pub fn duplicates(facts: &Facts) -> Verdict {
    let mut nodes: BTreeMap<IpAddr, Vec<&str>> = BTreeMap::new();
    let public = peers(facts).flat_map(|peer| {
        peer.public
            .values()
            .map(|addr| (*addr, peer.lease.as_str()))
    });
    let own = facts
        .status
        .public
        .values()
        .map(|addr| (*addr, "this node"));
    for (addr, node) in own.chain(public) {
        nodes.entry(addr).or_default().push(node);
    }
    let found = nodes.iter().filter(|(_, nodes)| nodes.len() > 1);
    let found: Vec<String> = found
        .map(|(addr, nodes)| format!("{addr} is announced by {}", nodes.join(" and ")))
        .collect();
    match found.first() {
        None => Verdict::ok("each node has its own"),
        Some(first) => Verdict::fail(
            first,
            "give each host an address of its own; the lease of a node that is gone is released with `tweedd leases release`",
        )
        .because(found.iter().skip(1)),
    }
}

/// What is wrong with a route to a node's own address; `Ok` tells what is worth knowing.
fn way(
    facts: &Facts,
    net: &Net,
    addr: IpAddr,
    route: Option<&RouteInfo>,
) -> Result<Option<String>, String> {
    let uplink = facts.status.uplink.as_deref().unwrap_or_default();
    let Some(index) = route.and_then(|route| route.oif) else {
        return Err(format!("no route leads to {addr}"));
    };
    let name = net.name(index);
    let link = net.links.iter().find(|link| link.index == index);
    if link.is_some_and(|link| tweed_state::instance_of(&link.alias).is_some()) {
        return Err(format!("{addr} leads into the overlay itself, by {name}"));
    }
    match (name == uplink, facts.surroundings.strict) {
        (true, _) => Ok(None),
        (false, true) if addr.is_ipv4() => Err(format!(
            "packets from {addr} are dropped: they come by {uplink}, answers would leave by {name}, and rp_filter is strict"
        )),
        (false, _) => Ok(Some(format!("{addr} leads to {name}, not {uplink}"))),
    }
}

pub fn ways(facts: &Facts) -> Verdict {
    let net = match &facts.net {
        Err(reason) => return Verdict::unknown(reason),
        Ok(net) => net,
    };
    if net.underlay.is_empty() {
        return Verdict::skipped("no peers are known");
    }
    let (mut wrong, mut told) = (Vec::new(), Vec::new());
    for (addr, route) in &net.underlay {
        match way(facts, net, *addr, route.as_ref()) {
            Ok(fact) => told.extend(fact),
            Err(fact) => wrong.push(fact),
        }
    }
    match (wrong.first(), told.first()) {
        (Some(first), _) => Verdict::fail(
            first,
            "`ip route get <address>` and `ip rule` show the route that wins: mend it, or with two ways set rp_filter to 2 on the uplink",
        )
        .because(wrong.iter().skip(1)),
        (None, Some(first)) => Verdict::info(first),
        (None, None) => Verdict::ok(format!(
            "{} by the uplink",
            count(net.underlay.len(), "address is reached", "addresses are reached")
        )),
    }
}

pub fn neighbours(facts: &Facts) -> Verdict {
    let net = match &facts.net {
        Err(reason) => return Verdict::unknown(reason),
        Ok(net) => net,
    };
    let gateways = net
        .underlay
        .iter()
        .filter_map(|(addr, route)| Some((*addr, route.as_ref()?.gateway.unwrap_or(*addr))));
    let fixed: Vec<(IpAddr, &NeighInfo)> = gateways
        .filter_map(|(addr, next)| {
            let mut entries = net.neighs.iter();
            let entry = entries.find(|entry| entry.permanent && entry.addr == next)?;
            Some((addr, entry))
        })
        .collect();
    let say = |(_, entry): &(IpAddr, &NeighInfo)| {
        let mac = entry.mac.map(|mac| mac.to_string()).unwrap_or_default();
        format!(
            "{} has the fixed Ethernet address {mac} on {}",
            entry.addr,
            net.name(entry.index)
        )
    };
    let bad = fixed.iter().filter(|(addr, _)| is_lost(facts, addr));
    let bad: Vec<String> = bad.map(say).collect();
    match (bad.first(), fixed.first()) {
        (Some(first), _) => Verdict::fail(
            format!("{first}, and does not answer"),
            "`ip neigh del <address> dev <interface>`: the kernel asks for the right one itself",
        )
        .because(bad.iter().skip(1)),
        (None, Some(first)) => Verdict::info(say(first)),
        (None, None) => Verdict::ok("the kernel asks for them itself"),
    }
}
