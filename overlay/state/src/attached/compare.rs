//! The difference between wanted and observed attachments.

use std::collections::BTreeSet;

use super::held::{Attached, Pair, PodBridge, PodPort};
use super::repair::Repair;

/// The repairs, from the ground up: bridges, ports, addresses, switches, packet filter. A bridge without a port of an
/// attachment belongs to none: it is neither made nor changed.
pub fn repairs(want: &Attached, have: &Attached) -> Vec<Repair> {
    let ports: Vec<_> = want
        .ports
        .iter()
        .filter_map(|(name, port)| Some((name, port, have.ports.get(name)?)))
        .collect();
    let used: BTreeSet<&String> = ports
        .iter()
        .filter_map(|(_, port, _)| port.bridge.as_ref())
        .collect();
    let mut repairs = Vec::new();
    for (name, bridge) in &want.bridges {
        match have.bridges.get(name) {
            _ if !used.contains(name) => {}
            None => repairs.push(Repair::AddBridge(name.clone(), bridge.clone())),
            Some(there) if lacks(bridge, there) => {
                repairs.push(Repair::SetBridge(name.clone(), bridge.clone()));
            }
            Some(_) => {}
        }
    }
    for (name, pair) in &want.pairs {
        let port = want.ports.get(&pair.port);
        let of_used =
            port.is_some_and(|port| port.bridge.iter().any(|bridge| used.contains(bridge)));
        if let Some(port) = port.filter(|_| of_used && !stands(pair, have.pairs.get(name))) {
            repairs.push(Repair::PutPair(name.clone(), pair.clone(), port.clone()));
        }
    }
    for (name, port, there) in ports {
        if differs(port, there) {
            let owner = want.owners.get(name).cloned().unwrap_or_default();
            repairs.push(Repair::SetPort(name.clone(), port.clone(), owner));
        }
    }
    let on = |name: &String| used.contains(name) || want.pairs.contains_key(name);
    let addrs = want.addrs.difference(&have.addrs);
    let addrs = addrs.filter(|(name, _)| on(name));
    repairs.extend(addrs.map(|(name, net)| Repair::AddAddr(name.clone(), *net)));
    repairs.extend(ways(want, have));
    repairs.extend(switches(want, have, &used));
    repairs.extend(table(want, have));
    repairs.extend(have.gone.iter().cloned().map(Repair::Sweep));
    if !have.discarded.is_empty() {
        repairs.push(Repair::RemoveLinks(have.discarded.clone()));
    }
    repairs
}

/// Switches of bridges that are used, and of the host's ends of containers without one.
fn switches(want: &Attached, have: &Attached, used: &BTreeSet<&String>) -> Vec<Repair> {
    let is_end = |name: &String| {
        let wanted = want.ports.get(name);
        wanted.is_some_and(|port| port.bridge.is_none()) && have.ports.contains_key(name)
    };
    let of_used = |key: &str| {
        // net/ipv4/conf/<interface>/…
        let of = key.split('/').nth(3).map(str::to_owned);
        of.is_some_and(|name| used.contains(&name) || is_end(&name))
    };
    let differ = want
        .sysctls
        .iter()
        .filter(|(key, value)| of_used(key) && have.sysctls.get(*key) != Some(*value));
    differ
        .map(|(key, value)| Repair::SetSysctl(key.clone(), value.clone()))
        .collect()
}

/// What leads to containers without a bridge. Where the host's end is gone, only the runtime can help.
fn ways(want: &Attached, have: &Attached) -> Vec<Repair> {
    let routes = want.routes.difference(&have.routes);
    let routes = routes.filter(|(_, name)| have.ports.contains_key(name));
    let routes = routes.map(|(dst, name)| Repair::AddRoute(*dst, name.clone()));
    let neighs = want.neighs.iter().filter(|((name, addr), mac)| {
        let there = have.neighs.get(&(name.clone(), *addr));
        have.ports.contains_key(name) && there != Some(*mac)
    });
    let neighs = neighs.map(|((name, addr), mac)| Repair::PutNeigh(name.clone(), *addr, *mac));
    routes.chain(neighs).collect()
}

/// Ports of attachments that are not there: only the container's runtime can make them.
pub fn missing_ports<'a>(
    want: &'a Attached,
    have: &'a Attached,
) -> impl Iterator<Item = (&'a String, &'a String)> {
    let missing = want.owners.iter();
    missing.filter(|(name, _)| !have.ports.contains_key(*name))
}

fn table(want: &Attached, have: &Attached) -> Vec<Repair> {
    let mut repairs = Vec::new();
    if want.rules && !have.rules {
        repairs.push(Repair::Rules);
    }
    let stays = |owner: &String| !have.gone.contains(owner);
    for (owner, addrs) in want.masquerade.iter().filter(|(owner, _)| stays(owner)) {
        if have.masquerade.get(owner) != Some(addrs) {
            repairs.push(Repair::Masquerade(owner.clone(), addrs.clone()));
        }
    }
    for (owner, source) in want.sources.iter().filter(|(owner, _)| stays(owner)) {
        if have.sources.get(owner) != Some(source) {
            let (port, mac) = source.clone();
            repairs.push(Repair::Source(owner.clone(), port, mac));
        }
    }
    for (owner, ports) in want.host_ports.iter().filter(|(owner, _)| stays(owner)) {
        if have.host_ports.get(owner) != Some(ports) {
            repairs.push(Repair::HostPorts(owner.clone(), ports.clone()));
        }
    }
    for (owner, what) in want.forwarded.iter().filter(|(owner, _)| stays(owner)) {
        if have.forwarded.get(owner) != Some(what) {
            repairs.push(Repair::Forward(owner.clone(), what.clone()));
        }
    }
    repairs
}

fn lacks(want: &PodBridge, have: &PodBridge) -> bool {
    want.mac.is_some() && want.mac != have.mac
        || want.mtu.is_some() && want.mtu != have.mtu
        || want.promisc && !have.promisc
        || want.vlan_filtering && !have.vlan_filtering
        || want.up && !have.up
}

fn stands(want: &Pair, have: Option<&Pair>) -> bool {
    have.is_some_and(|have| have.up && (want.mac.is_none() || want.mac == have.mac))
}

fn differs(want: &PodPort, have: &PodPort) -> bool {
    let stays = have
        .default_vlan
        .filter(|vid| !want.keeps_default_vlan && !want.vlans.iter().any(|vlan| vlan.vid == *vid));
    let vlans = !want.vlans.is_empty() && (stays.is_some() || !want.vlans.is_subset(&have.vlans));
    want.bridge != have.bridge
        || want.up && !have.up
        || want.bridge.is_some() && (want.hairpin != have.hairpin || want.isolated != have.isolated)
        || vlans
}

#[cfg(test)]
mod tests;
