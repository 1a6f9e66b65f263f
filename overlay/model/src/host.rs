//! What a host reaches by ways of its own, which no lease and no pod network may take from it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use super::subnet::overlap;
use super::{Dual, Pool, Uplink};

/// A prefix on a link of the host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct OnLink {
    /// The prefix.
    pub net: IpNet,
    /// The interface's name.
    pub dev: String,
}

/// The host's addresses and networks, those of the overlay's own devices left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Host {
    /// All its addresses.
    pub addrs: BTreeSet<IpAddr>,
    /// What is on its links: the prefixes of its addresses.
    pub onlink: BTreeSet<OnLink>,
    /// Addresses of others that the host can't do without, and what they are: its gateways, the servers of its store.
    pub needed: BTreeMap<IpAddr, String>,
}

/// What of a host's own a subnet of the pod network would take. A link that holds the whole pod network as a small part
/// of itself (10.0.0.0/8 with pods in 10.244.0.0/16) goes on without that part.
pub fn held_by(host: &Host, network: &IpNet, subnet: &IpNet) -> Option<String> {
    let mut onlink = host.onlink.iter();
    let link = onlink.find(|link| overlap(&link.net, subnet) && !is_around(&link.net, network));
    if let Some(OnLink { net, dev }) = link {
        return Some(format!("{net} of {dev}"));
    }
    let range = subnet.network()..=subnet.broadcast();
    if let Some(addr) = host.addrs.range(range.clone()).next() {
        return Some(format!("{addr}, an address of this host"));
    }
    let (addr, what) = host.needed.range(range).next()?;
    Some(format!("{addr}, {what}"))
}

/// What of a host's own lies inside the pod networks: a subnet that holds any of it would take it from the host.
pub fn inside(pools: &Dual<Pool>, host: &Host) -> Vec<IpNet> {
    let networks: Vec<&IpNet> = pools.values().map(|pool| &pool.network).collect();
    let links = host.onlink.iter().map(|link| link.net);
    let within = |net: &IpNet| {
        let mut networks = networks.iter();
        networks.any(|network| overlap(network, net) && !is_around(net, network))
    };
    let addrs = host.addrs.iter().map(|addr| IpNet::from(*addr));
    links.chain(addrs).filter(within).collect()
}

/// The network of another link that a node's own subnet takes a part of. The pods' bridge has just the subnet; so may
/// the link have, but then there are two.
pub fn shared<'a>(
    network: &IpNet,
    host: &'a Host,
    own: &IpNet,
    bridge: &str,
) -> Option<&'a OnLink> {
    let links = host.onlink.iter();
    let meets = |link: &&OnLink| overlap(&link.net, own) && !is_around(&link.net, network);
    let links: Vec<&OnLink> = links.filter(meets).collect();
    let bridges = links.iter().filter(|link| link.net == own.trunc());
    let several = bridges.count() > 1;
    let mut links = links.into_iter();
    links.find(|link| link.net != own.trunc() || several && link.dev != bridge)
}

fn is_around(link: &IpNet, network: &IpNet) -> bool {
    link.contains(network) && link != network
}

/// Why a host can't be in a pod network: what of its own lies inside.
pub fn conflict(
    pools: &Dual<Pool>,
    uplink: &Uplink,
    public: &Dual<IpAddr>,
    host: &Host,
) -> Option<String> {
    let addrs: Vec<&IpAddr> = public.values().chain(uplink.addrs.values()).collect();
    pools.values().find_map(|pool| {
        let network = &pool.network;
        let own = addrs.iter().find(|addr| network.contains(**addr));
        let own = own.map(|addr| format!("{addr}, this node's own address"));
        let link = uplink.onlink.iter().find(|net| network.contains(*net));
        let link = link.map(|net| format!("{net}, which is on the link {}", uplink.name));
        let mut needed = host.needed.iter();
        let needed = needed.find(|(addr, _)| network.contains(*addr));
        let needed = needed.map(|(addr, what)| format!("{addr}, {what}"));
        let inside = own.or(link).or(needed)?;
        Some(format!(
            "the pod network {network} holds {inside}: the host would lose it; choose a network that nothing else uses"
        ))
    })
}

/// Whether the pod network is a part of what is on a link: that part of the link can't be reached any more.
pub fn covered(pools: &Dual<Pool>, host: &Host) -> Option<(IpNet, OnLink)> {
    pools.values().find_map(|pool| {
        let mut onlink = host.onlink.iter();
        let link = onlink.find(|link| is_around(&link.net, &pool.network))?;
        Some((pool.network, link.clone()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NetworkConfig;

    fn host() -> Host {
        let onlink = |net: &str, dev: &str| OnLink {
            net: net.parse().unwrap(),
            dev: dev.to_owned(),
        };
        Host {
            addrs: ["10.1.2.3", "10.244.50.7"]
                .map(|a| a.parse().unwrap())
                .into(),
            onlink: BTreeSet::from([onlink("10.0.0.0/8", "eth0"), onlink("10.244.7.0/24", "br0")]),
            needed: BTreeMap::from([("10.244.60.1".parse().unwrap(), "its gateway".to_owned())]),
        }
    }

    fn held(network: &str, subnet: &str) -> Option<String> {
        held_by(&host(), &network.parse().unwrap(), &subnet.parse().unwrap())
    }

    #[test]
    fn what_the_host_would_lose_to_a_subnet_is_named() {
        let network = "10.244.0.0/16";
        for (subnet, what) in [
            ("10.244.7.0/24", "10.244.7.0/24 of br0"),
            ("10.244.6.0/23", "10.244.7.0/24 of br0"),
            ("10.244.7.128/25", "10.244.7.0/24 of br0"),
            ("10.244.50.0/24", "10.244.50.7, an address of this host"),
            ("10.244.60.0/24", "10.244.60.1, its gateway"),
        ] {
            assert_eq!(held(network, subnet).as_deref(), Some(what), "{subnet}");
        }
        assert_eq!(held(network, "10.244.8.0/24"), None, "eth0 is all around");
        let whole = held("10.0.0.0/8", "10.9.0.0/16");
        assert_eq!(whole.as_deref(), Some("10.0.0.0/8 of eth0"));
    }

    #[test]
    fn a_link_that_has_a_part_of_the_nodes_own_subnet_is_told_from_the_pods_bridge() {
        let network = "10.244.0.0/16".parse().unwrap();
        let own = "10.244.5.0/24".parse().unwrap();
        let found = |links: &[(&str, &str)]| {
            let onlink = links.iter().map(|(net, dev)| OnLink {
                net: net.parse().unwrap(),
                dev: (*dev).to_owned(),
            });
            let host = Host {
                onlink: onlink.collect(),
                ..Host::default()
            };
            shared(&network, &host, &own, "cni0").map(|link| link.dev.clone())
        };
        let cni0 = ("10.244.5.0/24", "cni0");
        assert_eq!(found(&[cni0]), None);
        assert_eq!(found(&[("10.244.5.0/24", "pods0")]), None, "another name");
        assert_eq!(found(&[cni0, ("10.0.0.0/8", "eth0")]), None, "all around");
        for link in ["10.244.5.0/24", "10.244.5.128/25", "10.244.4.0/22"] {
            let docker0 = (link, "docker0");
            assert_eq!(
                found(&[cni0, docker0]).as_deref(),
                Some("docker0"),
                "{link}"
            );
        }
    }

    #[test]
    fn what_lies_inside_a_pod_network_is_not_drawn_from() {
        let text = r#"{"Network":"10.244.0.0/16"}"#;
        let pools = NetworkConfig::parse(text).unwrap().0.pools;
        let found: Vec<String> = inside(&pools, &host())
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found, ["10.244.7.0/24", "10.244.50.7/32"]);
    }

    #[test]
    fn a_pod_network_around_what_the_host_needs_is_refused() {
        let uplink = Uplink {
            name: "eth0".into(),
            index: 2,
            mtu: 1500,
            addrs: Dual::of_addrs(["192.168.1.5".parse().unwrap()]),
            onlink: vec!["192.168.1.0/24".parse().unwrap()],
            learned_default: false,
        };
        let said = |network: &str, public: &str| {
            let text = format!(r#"{{"Network":"{network}"}}"#);
            let pools = NetworkConfig::parse(&text).unwrap().0.pools;
            let public = Dual::of_addrs([public.parse().unwrap()]);
            conflict(&pools, &uplink, &public, &host())
        };
        for (network, public, what) in [
            (
                "192.168.0.0/16",
                "198.51.100.1",
                "192.168.1.5, this node's own",
            ),
            (
                "198.51.0.0/16",
                "198.51.100.1",
                "198.51.100.1, this node's own",
            ),
            ("192.168.1.0/24", "198.51.100.1", "192.168.1.5"),
            ("10.244.0.0/16", "198.51.100.1", "10.244.60.1, its gateway"),
        ] {
            let said = said(network, public).unwrap_or_default();
            assert!(said.contains(what), "{network}: {said}");
        }
        assert_eq!(said("10.99.0.0/16", "198.51.100.1"), None);
        let text = r#"{"Network":"10.99.0.0/16"}"#;
        let pools = NetworkConfig::parse(text).unwrap().0.pools;
        let (_, around) = covered(&pools, &host()).unwrap();
        assert_eq!(around.dev, "eth0");
    }
}
