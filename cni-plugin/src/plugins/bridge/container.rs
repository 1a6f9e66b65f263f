//! The container's end: switches, addresses, routes.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tweed_overlay::model::Family;
use tweed_overlay::netlink::{AddrSpec, LinkChange, LinkInfo, Netlink, RouteSpec, TABLE_MAIN};
use tweed_overlay::netns::Netns;
use tweed_overlay::sysctl;

use super::config::Config;
use crate::net::sysctl::{of_interface, set_if_there};
use crate::spec::{CniError, CniResult, Context, Route};

/// How long looking for duplicates of addresses may take. The kernel takes one to two seconds.
const DAD_DEADLINE: Duration = Duration::from_secs(5);

/// Enters the container once: sets the switches that netlink has no message for, and comes back with a socket.
///
/// # Errors
/// When the namespace can't be entered, or IPv6 is needed and can't be had.
pub(super) fn enter(
    netns: &Netns,
    ifname: &str,
    families: &BTreeSet<Family>,
    config: &Config,
) -> Result<Netlink, CniError> {
    netns.run(|| {
        set_switches(ifname, families, config)?;
        Netlink::open().context(|| "open a netlink socket in the container")
    })?
}

fn set_switches(
    ifname: &str,
    families: &BTreeSet<Family>,
    config: &Config,
) -> Result<(), CniError> {
    let v6 = |key| of_interface(Family::V6, ifname, key);
    if !config.accept_ra {
        // Any neighbour could give this container a default route.
        set_if_there(&v6("accept_ra"), "0");
    }
    if families.contains(&Family::V4) {
        // Coming up, the kernel then tells the neighbours who has the address now.
        set_if_there(&of_interface(Family::V4, ifname, "arp_notify"), "1");
    }
    if families.contains(&Family::V6) {
        for ifname in ["lo", ifname] {
            // Docker switches IPv6 off in its containers.
            let key = of_interface(Family::V6, ifname, "disable_ipv6");
            sysctl::set(&key, "0").context(|| format!("failed to enable IPv6 on {ifname}"))?;
        }
        sysctl::set(&v6("keep_addr_on_down"), "1")
            .context(|| format!("failed to enable keep_addr_on_down for interface {ifname}"))?;
        set_if_there(&v6("accept_dad"), if config.dad { "1" } else { "0" });
        set_if_there(&v6("enhanced_dad"), if config.dad { "1" } else { "0" });
        set_if_there(&v6("ndisc_notify"), "1");
    }
    Ok(())
}

/// Addresses, up, routes.
///
/// # Errors
/// The kernel's refusal, or an address that somebody else has.
pub(super) fn configure(
    netlink: &mut Netlink,
    link: &LinkInfo,
    result: &CniResult,
    config: &Config,
) -> Result<(), CniError> {
    for ip in &result.ips {
        let spec = AddrSpec {
            net: ip.address,
            broadcast: true,
            nodad: !config.dad,
        };
        netlink
            .add_addr(link.dev(), &spec)
            .context(|| format!("failed to add IP addr {} to {:?}", ip.address, link.name))?;
    }
    bring_up(netlink, link)?;
    if config.dad {
        wait_for_dad(netlink, link)?;
    }
    add_routes(netlink, link, result)?;
    announce(netlink, link, result)
}

/// Sets the interface up.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn bring_up(netlink: &mut Netlink, link: &LinkInfo) -> Result<(), CniError> {
    let up = LinkChange {
        up: Some(true),
        ..LinkChange::default()
    };
    netlink
        .set_link(link.dev(), &up)
        .context(|| format!("failed to set {:?} UP", link.name))
}

/// The routes of a result as the kernel shall have them: without a gateway they lead through that of the addresses'
/// family, and what then is the same is there once. (IPAM's default route and ours often are.)
pub(super) fn effective_routes(result: &CniResult) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    for route in &result.routes {
        let mut route = route.clone();
        route.dst = route.dst.trunc();
        route.gw = route
            .gw
            .or_else(|| family_gateway(result, Family::of_net(&route.dst)));
        if !routes.contains(&route) {
            routes.push(route);
        }
    }
    routes
}

fn family_gateway(result: &CniResult, family: Family) -> Option<IpAddr> {
    let mut gateways = result.ips.iter().filter_map(|ip| ip.gateway);
    gateways.find(|gateway| Family::of(gateway) == family)
}

fn add_routes(netlink: &mut Netlink, link: &LinkInfo, result: &CniResult) -> Result<(), CniError> {
    for route in effective_routes(result) {
        let set = |number: u32| (number != 0).then_some(number);
        let spec = RouteSpec {
            gateway: route.gw,
            dev: Some(link.dev()),
            metric: set(route.priority),
            table: route.table.unwrap_or(TABLE_MAIN),
            scope: scope(&route),
            mtu: set(route.mtu),
            advmss: set(route.advmss),
            ..RouteSpec::to(route.dst)
        };
        netlink
            .append_route(&spec)
            .context(|| "failed to add route")?;
    }
    Ok(())
}

/// What leads to no gateway leads to the link itself, unless the result says otherwise.
fn scope(route: &Route) -> u8 {
    let link = if route.gw.is_none() && route.dst.addr().is_ipv4() {
        253
    } else {
        0
    };
    route.scope.unwrap_or(link)
}

/// Waits until no address is being looked for on the network any more.
fn wait_for_dad(netlink: &mut Netlink, link: &LinkInfo) -> Result<(), CniError> {
    let since = Instant::now();
    loop {
        let addrs = netlink.addrs(Some(link.index))?;
        if let Some(taken) = addrs.iter().find(|addr| addr.dad_failed) {
            let net = taken.net;
            let msg = format!("link {:?} has address {net} in DADFAILED state", link.name);
            return Err(CniError::failed(msg).details("another interface on the network has it"));
        }
        if !addrs.iter().any(|addr| addr.tentative) {
            return Ok(());
        }
        if since.elapsed() > DAD_DEADLINE {
            let seconds = DAD_DEADLINE.as_secs();
            let msg = format!(
                "link {:?} still has tentative addresses after {seconds} seconds",
                link.name
            );
            return Err(CniError::failed(msg));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Tells the neighbours who has the addresses now, so that none sends to an earlier holder. With `arp_notify` and
/// `ndisc_notify`, the kernel does it when the hardware address is set, even to what it is.
fn announce(netlink: &mut Netlink, link: &LinkInfo, result: &CniResult) -> Result<(), CniError> {
    if result.ips.is_empty() {
        return Ok(());
    }
    let same = LinkChange {
        mac: link.mac,
        ..LinkChange::default()
    };
    netlink
        .set_link(link.dev(), &same)
        .context(|| "failed to announce addresses")
}

/// The families of a result's addresses.
pub(super) fn families(result: &CniResult) -> BTreeSet<Family> {
    let nets = result
        .ips
        .iter()
        .map(|ip: &crate::spec::IpConfig| ip.address);
    nets.map(|net: IpNet| Family::of_net(&net)).collect()
}
