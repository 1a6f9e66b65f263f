//! The subnets of this node's pods, read from the bridge to which they are attached. A node that may choose keeps
//! these, or goes back to them: pods don't change their addresses.

use ipnet::IpNet;
use tweed_model::{Dual, Family, Pool};
use tweed_netlink::{AddrInfo, LinkInfo, Netlink};

/// Reads the bridges. Where they can't be read the result is empty, as on a host without pods.
pub(super) fn read(pools: &Dual<Pool>) -> Dual<IpNet> {
    let dumps = || {
        let mut netlink = Netlink::open().ok()?;
        Some((netlink.links().ok()?, netlink.addrs(None).ok()?))
    };
    let dumps = dumps();
    dumps.map_or_else(Dual::default, |(links, addrs)| of(pools, &links, &addrs))
}

/// The subnets of the first bridge that has ports, and an address inside each pod network with a subnet's length.
fn of(pools: &Dual<Pool>, links: &[LinkInfo], addrs: &[AddrInfo]) -> Dual<IpNet> {
    let bridges = links.iter().filter(|link| {
        let port = |port: &LinkInfo| port.master == Some(link.index);
        link.kind == "bridge" && links.iter().any(port)
    });
    let mut found = bridges.map(|bridge| {
        pools.filter_map(|family, pool| {
            let mut own = addrs.iter().filter(|addr| addr.index == bridge.index);
            let on = own.find(|addr| is_in(family, pool, &addr.net))?;
            Some(on.net.trunc())
        })
    });
    let whole = |subnets: &Dual<IpNet>| subnets.iter().count() == pools.iter().count();
    found.find(whole).unwrap_or_default()
}

fn is_in(family: Family, pool: &Pool, net: &IpNet) -> bool {
    Family::of_net(net) == family
        && net.prefix_len() == pool.subnet_len
        && pool.network.contains(&net.addr())
}

#[cfg(test)]
mod tests {
    use tweed_model::NetworkConfig;
    use tweed_netlink::lab::ip;
    use tweed_netlink::netns::isolated;

    use super::*;

    fn found() -> String {
        let config = NetworkConfig::parse(r#"{"Network":"10.244.0.0/16"}"#).expect("a network");
        let subnets = read(&config.0.pools);
        subnets.v4.map_or_else(String::new, |net| net.to_string())
    }

    #[test]
    fn the_subnet_of_a_bridge_with_pods_is_inhabited() {
        isolated(|| {
            ip("link add cni0 type bridge");
            ip("addr add 10.244.5.1/24 dev cni0");
            assert_eq!(found(), "", "nobody is attached");
            ip("link add veth1 master cni0 type veth peer name pod");
            assert_eq!(found(), "10.244.5.0/24");
            // Not a subnet that a node could have, or another network's.
            for other in ["10.244.5.1/25", "10.99.5.1/24"] {
                ip("addr flush dev cni0");
                ip(&format!("addr add {other} dev cni0"));
                assert_eq!(found(), "", "{other}");
            }
        });
    }
}
