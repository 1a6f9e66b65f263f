//! CHECK: is everything still as ADD left it? Compares with the previous result where that says something, so that what
//! later plugins changed on purpose is no drift, and with the configuration where only that does.

use std::collections::BTreeSet;

use ipnet::IpNet;
use tweed_overlay::model::Family;
use tweed_overlay::netlink::{LinkInfo, Netlink, RouteFilter, TABLE_MAIN};

use super::config::Config;
use super::{container, masquerade, vlan};
use crate::net::identity;
use crate::net::namespace;
use crate::runtime::delegate::Delegate;
use crate::spec::{Call, CniError, CniResult, Context, Interface, NetConf, Route, Verb};

/// Checks an attachment.
///
/// # Errors
/// The first thing that is not as it was, or that nothing says how it was.
pub(super) fn check(call: &Call, conf: &NetConf) -> Result<(), CniError> {
    let ipam = Delegate::of_ipam(conf)?;
    let config = Config::parse(conf, &call.args, ipam.is_some())?;
    if let Some(ipam) = ipam {
        ipam.call(call, Verb::Check)?;
    }
    let prev = conf.required_prev_result()?;
    let netns = namespace::open(call)?;
    let mut host = Netlink::open().context(|| "open a netlink socket")?;
    let mut inside = netns.netlink()?;

    let ifname = &call.attachment.ifname;
    let sandbox = netns.path().to_string_lossy();
    let entry = prev.interface(ifname, &sandbox).ok_or_else(|| {
        CniError::drift(format!(
            "interface {ifname} of {sandbox} is not in prevResult"
        ))
    })?;
    let container_end = check_container_end(&mut inside, entry)?;
    let bridge = check_bridge(&mut host, &prev, &config)?;
    check_port(&mut host, &prev, &container_end, &bridge, &config)?;
    check_addresses(&mut inside, &container_end, &prev)?;
    check_routes(&mut inside, &container_end, &prev)?;
    if config.ip_masq {
        let owner = identity::owner(&conf.name, &call.attachment);
        let addrs: Vec<IpNet> = prev.addresses_of(ifname).map(|ip| ip.address).collect();
        masquerade::check(&owner, &addrs)?;
    }
    Ok(())
}

fn check_container_end(netlink: &mut Netlink, entry: &Interface) -> Result<LinkInfo, CniError> {
    let name = &entry.name;
    let link = netlink
        .link(name)?
        .ok_or_else(|| CniError::drift(format!("container interface {name} not found")))?;
    if link.kind != "veth" {
        let kind = &link.kind;
        return Err(CniError::drift(format!(
            "container interface {name} is a {kind}, not a veth"
        )));
    }
    same_mac(&link, entry)?;
    Ok(link)
}

fn check_bridge(
    netlink: &mut Netlink,
    prev: &CniResult,
    config: &Config,
) -> Result<LinkInfo, CniError> {
    let name = &config.bridge;
    let bridge = netlink
        .link(name)?
        .ok_or_else(|| CniError::drift(format!("bridge {name} not found")))?;
    if bridge.kind != "bridge" {
        return Err(CniError::drift(format!("{name} is not a bridge")));
    }
    let entry = prev
        .interface(name, "")
        .ok_or_else(|| CniError::drift(format!("bridge {name} is not in prevResult")))?;
    same_mac(&bridge, entry)?;
    if config.promisc && !bridge.promisc {
        let msg = format!(
            "Bridge interface {name} configured Promisc Mode true doesn't match current state: false"
        );
        return Err(CniError::drift(msg));
    }
    if !bridge.up {
        return Err(CniError::drift(format!("bridge {name} is down")));
    }
    Ok(bridge)
}

/// The host's end is the one that the container's end names as its peer.
fn check_port(
    netlink: &mut Netlink,
    prev: &CniResult,
    container_end: &LinkInfo,
    bridge: &LinkInfo,
    config: &Config,
) -> Result<(), CniError> {
    let not_found = || {
        let msg = format!(
            "CNI veth created for bridge {} was not found",
            config.bridge
        );
        CniError::drift(msg)
    };
    let index = container_end.peer_index().ok_or_else(not_found)?;
    let port = netlink.link_by_index(index)?.ok_or_else(not_found)?;
    let entry = prev.interface(&port.name, "").ok_or_else(not_found)?;
    same_mac(&port, entry)?;
    if port.master != Some(bridge.index) {
        let msg = format!("{} is not connected to bridge {}", port.name, config.bridge);
        return Err(CniError::drift(msg));
    }
    let flags = port
        .port
        .map_or((false, false), |info| (info.hairpin, info.isolated));
    for (flag, is, wanted) in [
        ("hairpin mode", flags.0, config.hairpin),
        ("isolation", flags.1, config.isolated),
    ] {
        if is != wanted {
            let msg = format!("{}: {flag} is {is}, configured is {wanted}", port.name);
            return Err(CniError::drift(msg));
        }
    }
    match &config.vlans {
        Some(vlans) => vlan::check(netlink, &port, bridge, vlans),
        None => Ok(()),
    }
}

fn check_addresses(
    netlink: &mut Netlink,
    link: &LinkInfo,
    prev: &CniResult,
) -> Result<(), CniError> {
    let present: BTreeSet<IpNet> = netlink
        .addrs(Some(link.index))?
        .into_iter()
        .map(|addr| addr.net)
        .collect();
    for ip in prev.addresses_of(&link.name) {
        if !present.contains(&ip.address) {
            let (name, net) = (&link.name, ip.address);
            let msg = format!("Failed to match addr {net} on interface {name}");
            return Err(CniError::drift(msg));
        }
    }
    Ok(())
}

fn check_routes(netlink: &mut Netlink, link: &LinkInfo, prev: &CniResult) -> Result<(), CniError> {
    let wanted = container::effective_routes(prev);
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
                // Of several gateways the kernel tells none apart in one entry.
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

fn same_mac(link: &LinkInfo, entry: &Interface) -> Result<(), CniError> {
    let is = link.mac.map(|mac| mac.to_string()).unwrap_or_default();
    if entry.mac.is_empty() || entry.mac.eq_ignore_ascii_case(&is) {
        return Ok(());
    }
    let (name, was) = (&link.name, &entry.mac);
    Err(CniError::drift(format!(
        "interface {name} has MAC {is}, prevResult says {was}"
    )))
}
