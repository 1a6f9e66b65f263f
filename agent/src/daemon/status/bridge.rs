//! Bridges that this node's pods are on.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tweed_model::Dual;
use tweed_state::attached::UsedBridge;

/// A bridge with an address of the node's own subnet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeStatus {
    /// As `ip link` shows it.
    pub name: String,
    /// Its addresses, each with the length of its network.
    pub addrs: Vec<IpNet>,
    /// The number of its ports: one a pod.
    pub pods: usize,
}

/// Those among the bridges of the host that have ports.
pub fn of_pods(bridges: &[UsedBridge], own: &Dual<IpNet>) -> Vec<BridgeStatus> {
    let is_own = |addr: IpAddr| own.values().any(|subnet| subnet.contains(&addr));
    let ours = bridges.iter();
    let ours = ours.filter(|bridge| bridge.addrs.iter().any(|net| is_own(net.addr())));
    let shown = ours.map(|bridge| BridgeStatus {
        name: bridge.name.clone(),
        addrs: bridge.addrs.clone(),
        pods: bridge.ports,
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_of_another_network_is_none_of_the_pods() {
        let bridge = |name: &str, addr: &str| UsedBridge {
            name: name.to_owned(),
            addrs: vec![addr.parse().expect("an address")],
            ports: 7,
        };
        let bridges = [
            bridge("docker0", "172.17.0.1/16"),
            bridge("cni0", "10.244.31.1/24"),
        ];
        let own = Dual::of_nets(["10.244.31.0/24".parse().expect("a subnet")]);
        let found = of_pods(&bridges, &own);
        assert_eq!(found.len(), 1);
        assert_eq!((&*found[0].name, found[0].pods), ("cni0", 7));
    }
}
