//! The gateway's address on the bridge, and forwarding.
//!
//! When a node gets another subnet, the bridge still has the old gateway. Go's plugin refuses every pod from then on,
//! until somebody deletes the bridge. Here the bridge moves house by itself, as soon as no pod uses the old subnet.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;
use tweed_overlay::model::Family;
use tweed_overlay::netlink::{AddrInfo, AddrSpec, LinkInfo, Netlink};

use super::config::Config;
use super::device;
use crate::host_local;
use crate::spec::{CniError, CniResult, Context, Kind, NetConf, Route};
use crate::sysctl;

/// Fills in the gateways that the IPAM plugin left open, and the default routes that are wanted.
pub(super) fn complete(result: &mut CniResult, config: &Config) {
    if !config.gateway {
        return;
    }
    for ip in &mut result.ips {
        ip.gateway.get_or_insert_with(|| first_address(&ip.address));
    }
    if !config.default_gateway {
        return;
    }
    for family in Family::BOTH {
        let everywhere = default_route(family);
        let known = result.routes.iter().any(|route| route.dst == everywhere);
        let mut ips = result.ips.iter();
        let gateway = ips.find_map(|ip| ip.gateway.filter(|gw| Family::of(gw) == family));
        if let (false, Some(gateway)) = (known, gateway) {
            result.routes.push(Route::new(everywhere, Some(gateway)));
        }
    }
}

/// The gateways of a result with the lengths of their subnets, each once.
pub(super) fn gateways(result: &CniResult) -> BTreeSet<IpNet> {
    let ips = result.ips.iter();
    ips.filter_map(|ip| IpNet::new(ip.gateway?, ip.address.prefix_len()).ok())
        .collect()
}

/// Gives the bridge (or the interface of its VLAN) the gateways' addresses, and lets packets pass.
///
/// # Errors
/// When another address is in the way that somebody uses.
pub(super) fn ensure(
    netlink: &mut Netlink,
    bridge: &LinkInfo,
    gateways: &BTreeSet<IpNet>,
    config: &Config,
    conf: &NetConf,
) -> Result<(), CniError> {
    let present = netlink.addrs(Some(bridge.index))?;
    for gateway in gateways {
        if !present.iter().any(|addr| addr.net == *gateway) {
            clear(netlink, bridge, *gateway, &present, gateways, config, conf)
                .and_then(|()| add(netlink, bridge, *gateway))
                .context(|| "failed to set bridge addr")?;
        }
    }
    let families: BTreeSet<Family> = gateways.iter().map(Family::of_net).collect();
    families.into_iter().try_for_each(sysctl::enable_forwarding)
}

fn add(netlink: &mut Netlink, bridge: &LinkInfo, gateway: IpNet) -> Result<(), CniError> {
    // Looking for duplicates would keep the first pods without a gateway for a second or two.
    let spec = AddrSpec {
        net: gateway,
        broadcast: true,
        nodad: true,
    };
    match netlink.add_addr(bridge.dev(), &spec) {
        Err(error) if !error.is_exists() => Err(error.into()),
        _ => Ok(()),
    }
}

/// Removes addresses that can't stay beside the gateway's: any other of IPv4, overlapping ones of IPv6.
fn clear(
    netlink: &mut Netlink,
    bridge: &LinkInfo,
    gateway: IpNet,
    present: &[AddrInfo],
    gateways: &BTreeSet<IpNet>,
    config: &Config,
    conf: &NetConf,
) -> Result<(), CniError> {
    for addr in present {
        let same_family = Family::of_net(&addr.net) == Family::of_net(&gateway);
        let overlaps = addr.net.contains(&gateway.addr()) || gateway.contains(&addr.net.addr());
        let conflicts = same_family && (gateway.addr().is_ipv4() || overlaps);
        if !conflicts || gateways.contains(&addr.net) {
            continue;
        }
        if !config.force_address {
            let ports = device::ports(netlink, bridge)?;
            judge(bridge, addr, gateway, &ports, conf)?;
        }
        match netlink.del_addr(bridge.dev(), addr.net) {
            Err(error) if !error.is_not_found() => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

/// Whether an address is an earlier lease's gateway that no pod needs any more. What doesn't look like a gateway is an
/// administrator's, and stays.
fn judge(
    bridge: &LinkInfo,
    old: &AddrInfo,
    gateway: IpNet,
    ports: &[LinkInfo],
    conf: &NetConf,
) -> Result<(), CniError> {
    let refuse = |why: String, fix: String| {
        let msg = format!(
            "{:?} already has an IP address different from {gateway}",
            bridge.name
        );
        Err(CniError::new(Kind::Conflict, msg).details(format!("it has {}: {why}; {fix}", old.net)))
    };
    let remove = format!("ip addr del {} dev {}", old.net, bridge.name);
    if old.net.addr() != first_address(&old.net) {
        return refuse(
            "that is no gateway of pods, so it is left alone".to_owned(),
            format!("set \"forceAddress\": true, name another bridge, or `{remove}`"),
        );
    }
    if ports.is_empty() || !may_be_used(old.net, ports, conf) {
        return Ok(());
    }
    refuse(
        format!("{} interfaces are connected that may use it", ports.len()),
        format!(
            "drain this node's pods of the old subnet, set \"forceAddress\": true, or `{remove}`"
        ),
    )
}

/// Unless it is known that only containers are connected and none has an address there.
fn may_be_used(net: IpNet, ports: &[LinkInfo], conf: &NetConf) -> bool {
    let only_pods = ports.iter().all(|port| port.kind == "veth");
    !only_pods || host_local::may_have_reserved(net, conf)
}

/// The gateway that a subnet has unless somebody says otherwise.
fn first_address(net: &IpNet) -> IpAddr {
    host_local::first_address(net)
}

/// Everywhere.
pub(super) fn default_route(family: Family) -> IpNet {
    match family {
        Family::V4 => IpNet::V4(ipnet::Ipv4Net::default()),
        Family::V6 => IpNet::V6(ipnet::Ipv6Net::default()),
    }
}
