//! Addresses that no lease may take: the host's own, the networks on its links, its gateways, the servers of its store.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context;
use ipnet::IpNet;
use tweed_model::{Family, Host, OnLink};
use tweed_netlink::{AddrInfo, LinkInfo, Netlink, RouteFilter, RouteInfo, RouteKind, TABLE_MAIN};
use tweed_state::instance_of;

use crate::host::uplink::{self, Overlay};

/// How long names of the store's servers may take to be looked up.
const LOOK_UP: Duration = Duration::from_secs(1);

/// The host, and what is wrong with its routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// The host, as leases are judged by it.
    pub host: Host,
    /// Connected routes that are missing, each with the command that puts it back.
    pub missing: Vec<String>,
}

/// Reads the facts; `servers` are those of the store. A gateway behind the pod network's own devices does not count:
/// a pod that answers a DHCP client there could name any address, and have a peer or the whole network refused.
///
/// # Errors
/// If the kernel refuses a dump.
pub fn read(overlay: &Overlay, servers: &BTreeSet<IpAddr>) -> anyhow::Result<HostFacts> {
    let mut netlink = Netlink::open().context("open a netlink socket")?;
    let inner = uplink::inner(&mut netlink, overlay)?;
    let links: BTreeMap<u32, LinkInfo> = others(netlink.links()?, &overlay.links);
    let addrs = netlink.addrs(None)?;
    let mut routes = Vec::new();
    for family in Family::BOTH {
        let table = None;
        routes.extend(netlink.routes(&RouteFilter { family, table })?);
    }
    let mut host = Host::default();
    let mut missing = Vec::new();
    for addr in &addrs {
        let Some(link) = links.get(&addr.index) else {
            continue;
        };
        host.addrs.insert(addr.net.addr());
        if !link.up || link.loopback || addr.net.prefix_len() >= addr.net.max_prefix_len() {
            continue;
        }
        host.onlink.insert(OnLink {
            net: addr.net.trunc(),
            dev: link.name.clone(),
        });
        missing.extend(without_route(addr, link, &routes));
    }
    let by_pods = |route: &RouteInfo| route.oif.is_some_and(|index| inner.contains(&index));
    let gateways = routes
        .iter()
        .filter(|route| is_default(route) && !by_pods(route));
    let gateways = gateways.filter_map(|route| route.gateway);
    host.needed
        .extend(gateways.map(|addr| (addr, "this host's gateway".to_owned())));
    host.needed.extend(
        servers
            .iter()
            .map(|addr| (*addr, "the address of a server of the store".to_owned())),
    );
    missing.sort();
    missing.dedup();
    Ok(HostFacts { host, missing })
}

/// All addresses of the host. Reading them costs little; where they have changed all facts are to be read again.
///
/// # Errors
/// If the kernel refuses the dump.
pub fn addresses() -> anyhow::Result<Vec<AddrInfo>> {
    let mut netlink = Netlink::open().context("open a netlink socket")?;
    Ok(netlink.addrs(None)?)
}

/// The links that are not the overlay's, of this instance or another.
fn others(links: Vec<LinkInfo>, own: &BTreeSet<String>) -> BTreeMap<u32, LinkInfo> {
    let others = links
        .into_iter()
        .filter(|link| !own.contains(&link.name) && instance_of(&link.alias).is_none());
    others.map(|link| (link.index, link)).collect()
}

fn is_default(route: &RouteInfo) -> bool {
    route.table == TABLE_MAIN && route.dst.prefix_len() == 0 && route.kind == RouteKind::Unicast
}

/// Says that the kernel's route to an address's network is not there, as after an earlier version replaced it. IPv6
/// keeps its own beside any other.
fn without_route(addr: &AddrInfo, link: &LinkInfo, routes: &[RouteInfo]) -> Option<String> {
    let IpNet::V4(net) = addr.net else {
        return None;
    };
    let dst = IpNet::V4(net.trunc());
    let there = |route: &RouteInfo| route.dst == dst && route.oif == Some(link.index);
    if addr.without_route || addr.peer.is_some() || routes.iter().any(there) {
        return None;
    }
    let (dev, source) = (&link.name, net.addr());
    Some(format!(
        "the connected route of {dev} to {dst} is missing: put it back with `ip route replace {dst} dev {dev} \
         proto kernel scope link src {source}`"
    ))
}

/// The servers whose names are addresses.
pub fn literal(hosts: &[String]) -> BTreeSet<IpAddr> {
    let addrs = hosts.iter().map(|host| host.parse());
    addrs.filter_map(Result::ok).collect()
}

/// The addresses of servers. A name that can't be looked up now has none.
pub async fn addresses_of(hosts: Vec<String>) -> BTreeSet<IpAddr> {
    let mut addrs = BTreeSet::new();
    for host in hosts {
        match host.parse() {
            Ok(addr) => drop(addrs.insert(addr)),
            Err(_) => {
                let found = tokio::net::lookup_host((host, 0));
                if let Ok(Ok(found)) = tokio::time::timeout(LOOK_UP, found).await {
                    addrs.extend(found.map(|socket| socket.ip()));
                }
            }
        }
    }
    addrs
}

#[cfg(test)]
mod tests {
    use tweed_netlink::lab::ip;
    use tweed_netlink::netns::isolated;

    use super::*;

    #[test]
    fn addresses_networks_gateways_and_servers_are_found_and_our_own_devices_are_not() {
        isolated(|| {
            ip("link add lan type veth peer name far
                link set lan up
                link set far up
                link add off type bridge
                addr add 192.168.56.11/24 dev lan
                addr add 10.9.0.1/16 dev off
                route add default via 192.168.56.1 dev lan
                link add flannel.1 type bridge
                link set flannel.1 up
                addr add 10.244.1.0/16 dev flannel.1");
            let overlay = Overlay {
                links: BTreeSet::from(["flannel.1".to_owned()]),
                ..Overlay::default()
            };
            let servers = BTreeSet::from([IpAddr::from([192, 0, 2, 1])]);
            let found = read(&overlay, &servers).expect("read");
            let nets: Vec<String> = found
                .host
                .onlink
                .iter()
                .map(|l| l.net.to_string())
                .collect();
            assert!(nets.contains(&"192.168.56.0/24".to_owned()), "{nets:?}");
            assert!(!nets.iter().any(|net| net.starts_with("10.")), "{nets:?}");
            let has = |addr: &str| {
                found
                    .host
                    .addrs
                    .contains(&addr.parse().expect("an address"))
            };
            assert!(has("192.168.56.11") && has("10.9.0.1") && !has("10.244.1.0"));
            let needed: Vec<String> = found.host.needed.keys().map(ToString::to_string).collect();
            assert_eq!(needed, ["192.0.2.1", "192.168.56.1"]);
            assert_eq!(found.missing, Vec::<String>::new());
        });
    }

    #[test]
    fn a_gateway_that_a_pod_has_named_is_none_of_the_hosts() {
        isolated(|| {
            ip("link add lan type veth peer name far
                link set lan up
                link set far up
                addr add 192.168.56.11/24 dev lan
                route add default via 192.168.56.1 dev lan metric 100
                link add flannel.1 type bridge
                link add cni0 type bridge
                link add veth1 type veth peer name pod
                link set veth1 master cni0
                link set pod up");
            for dev in ["flannel.1", "cni0", "veth1"] {
                ip(&format!(
                    "link set {dev} up
                     route add default via 10.244.2.1 dev {dev} onlink metric 5"
                ));
                let overlay = Overlay {
                    links: BTreeSet::from(["flannel.1".to_owned()]),
                    ..Overlay::default()
                };
                let needed = read(&overlay, &BTreeSet::new()).expect("read").host.needed;
                let needed: Vec<String> = needed.keys().map(ToString::to_string).collect();
                assert_eq!(needed, ["192.168.56.1"], "{dev}");
                ip(&format!("route del default dev {dev} metric 5"));
            }
        });
    }

    #[test]
    fn a_connected_route_that_is_gone_is_told_with_the_command_that_puts_it_back() {
        isolated(|| {
            ip("link add lan type veth peer name far
                link set lan up
                link set far up
                addr add 192.168.56.11/24 dev lan
                addr add 192.168.57.11/24 dev lan noprefixroute
                route del 192.168.56.0/24 dev lan");
            let missing = read(&Overlay::default(), &BTreeSet::new())
                .expect("read")
                .missing;
            let [said] = &missing[..] else {
                panic!("{missing:?}");
            };
            let (_, command) = said.split_once('`').expect("a command");
            let words = command.trim_end_matches('`').trim_start_matches("ip ");
            ip(words);
            let missing = read(&Overlay::default(), &BTreeSet::new())
                .expect("read")
                .missing;
            assert_eq!(missing, Vec::<String>::new());
        });
    }
}
