//! CHECK compares the kernel with the previous result, so that changes of later plugins are no drift, and with the
//! configuration for values that the result doesn't have.

use ipnet::IpNet;
use tweed_netlink::{LinkInfo, Netlink};

use super::config::BridgeConfig;
use super::{gateway, source, vlan};
use crate::net::masquerade::Masquerade;
use crate::net::{attachment, container, identity, link, namespace};
use crate::runtime::delegate::Delegate;
use crate::runtime::plugin::Request;
use crate::spec::{CniError, CniResult};

/// Advice of an error about an object that another program has changed.
const RESTORES: &str = "another program has changed it; tweedd restores it, or a new ADD";

/// Checks an attachment.
///
/// # Errors
/// The first thing that is not as it was, or that the previous result lacks.
pub(super) fn check(request: &Request<'_>) -> Result<(), CniError> {
    let Request { call, conf, .. } = request;
    let ipam = Delegate::of_ipam(request)?;
    let config = BridgeConfig::parse(conf, &call.args, ipam.is_some())?;
    if let Some(ipam) = ipam {
        ipam.check(request)?;
    }
    let prev = conf.required_prev_result()?;
    let netns = namespace::open(call)?;
    let mut host = link::socket()?;
    let mut inside = netns.netlink()?;

    let ifname = &call.attachment.ifname;
    let entry = attachment::interface(&prev, call)?;
    let container_end = link::check(&mut inside, entry, "veth")?;
    let bridge = check_bridge(&mut host, &prev, &config)?;
    let port = check_port(&mut host, &prev, &container_end, &bridge, &config)?;
    if config.checks_source {
        let owner = identity::owner(&conf.name, &call.attachment);
        source::check(&owner, &port.name, container_end.mac)?;
    }
    check_gateways(&mut host, &prev, &config)?;
    container::check(&mut inside, &container_end, &prev)?;
    if config.ip_masq {
        let addrs: Vec<IpNet> = prev.addresses_of(ifname).map(|ip| ip.address).collect();
        Masquerade::of(conf, &call.attachment).check(&addrs)?;
    }
    Ok(())
}

fn check_bridge(
    netlink: &mut Netlink,
    prev: &CniResult,
    config: &BridgeConfig,
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
    link::check_mac(&bridge, entry)?;
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

/// The gateways' addresses are on the bridge, or on the interface of its VLAN.
fn check_gateways(
    netlink: &mut Netlink,
    prev: &CniResult,
    config: &BridgeConfig,
) -> Result<(), CniError> {
    let gateways = gateway::gateways(prev);
    if !config.gateway || gateways.is_empty() {
        return Ok(());
    }
    let native = config.vlans.as_ref().and_then(|vlans| vlans.native);
    let name = match native {
        Some(vid) => format!("{}.{vid}", config.bridge),
        None => config.bridge.clone(),
    };
    let holder = netlink
        .link(&name)?
        .ok_or_else(|| CniError::drift(format!("interface {name} not found")))?;
    let present = netlink.addrs(Some(holder.index))?;
    let mut missing = gateways
        .iter()
        .filter(|gateway| !present.iter().any(|addr| addr.net == **gateway));
    match missing.next() {
        None => Ok(()),
        Some(gateway) => {
            let msg = format!("{name} does not have the gateway's address {gateway}");
            Err(CniError::drift(msg).details(RESTORES))
        }
    }
}

/// The host's end is the one that the container's end names as its peer.
fn check_port(
    netlink: &mut Netlink,
    prev: &CniResult,
    container_end: &LinkInfo,
    bridge: &LinkInfo,
    config: &BridgeConfig,
) -> Result<LinkInfo, CniError> {
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
    link::check_mac(&port, entry)?;
    if port.master != Some(bridge.index) {
        let msg = format!("{} is not connected to bridge {}", port.name, config.bridge);
        return Err(CniError::drift(msg));
    }
    if !port.up {
        return Err(CniError::drift(format!("{} is down", port.name)).details(RESTORES));
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
    if let Some(vlans) = &config.vlans {
        vlan::check(netlink, &port, bridge, vlans)?;
    }
    Ok(port)
}
