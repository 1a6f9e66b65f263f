//! The subnets of this node's pods, by the bridge to which they are attached. A node that may choose keeps these, or goes
//! back to them: pods don't change their addresses.

use ipnet::IpNet;
use tweed_model::{Dual, Family, Pool};
use tweed_state::attached::UsedBridge;

/// The subnets of the first bridge that has an address inside each pod network with a subnet's length.
pub(super) fn subnets(pools: &Dual<Pool>, bridges: &[UsedBridge]) -> Dual<IpNet> {
    let mut found = bridges.iter().map(|bridge| {
        pools.filter_map(|family, pool| {
            let mut own = bridge.addrs.iter();
            let on = own.find(|net| is_in(family, pool, net))?;
            Some(on.trunc())
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

    use super::*;

    fn found(addrs: &[&str]) -> String {
        let config = NetworkConfig::parse(r#"{"Network":"10.244.0.0/16"}"#).expect("a network");
        let bridge = |addr: &&str| UsedBridge {
            addrs: vec![addr.parse().expect("an address")],
            ..UsedBridge::default()
        };
        let bridges: Vec<_> = addrs.iter().map(bridge).collect();
        let subnets = subnets(&config.0.pools, &bridges);
        subnets.v4.map_or_else(String::new, |net| net.to_string())
    }

    #[test]
    fn the_subnet_of_a_bridge_with_pods_is_inhabited() {
        assert_eq!(found(&[]), "", "nobody is attached");
        assert_eq!(found(&["172.17.0.1/16", "10.244.5.1/24"]), "10.244.5.0/24");
        // Not a subnet that a node could have, or another network's.
        assert_eq!(found(&["10.244.5.1/25", "10.99.5.1/24"]), "");
    }
}
