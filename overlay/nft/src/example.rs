//! For tests: the policy of a node of both families whose backends are `vxlan` and `udp`.

use tweed_model::Dual;

use crate::input::{Mark, Masquerade, PolicyInput, PolicyNetwork, Tunnels};

/// Network 10.244.0.0/16 and fd00:10:244::/48, of which subnet 1 is ours, and three peers.
///
/// # Panics
/// Never.
pub fn dual_stack() -> PolicyInput {
    let network = |network: &str, subnet: &str| PolicyNetwork {
        network: network.parse().expect("a network"),
        subnet: subnet.parse().expect("a subnet"),
    };
    let vxlan = Mark {
        name: "VXLAN 1".to_owned(),
        offset: 12,
        bytes: vec![0, 0, 1],
    };
    let sources = [
        ("192.168.0.2", "10.244.2.0/24"),
        ("192.168.0.2", "192.168.0.2/32"),
        ("192.168.0.3", "10.244.48.0/20"),
        ("fd01::2", "fd00:10:244:2::/64"),
    ]
    .map(|(outer, inner)| {
        let outer = outer.parse().expect("an address");
        (outer, inner.parse().expect("a network"))
    });
    PolicyInput {
        table: "tweed".to_owned(),
        networks: Dual {
            v4: Some(network("10.244.0.0/16", "10.244.1.0/24")),
            v6: Some(network("fd00:10:244::/48", "fd00:10:244:1::/64")),
        },
        masquerade: Some(Masquerade { fully_random: true }),
        tunnels: Some(Tunnels {
            ports: [(8285, None), (8472, Some(vxlan))].into(),
            uplink: "eth0".to_owned(),
            inner: ["cni0", "flannel.1", "flannel-v6.1", "flannel0"]
                .map(str::to_owned)
                .into(),
            way_back: true,
            peers: Some(sources.iter().map(|(outer, _)| *outer).collect()),
            sources: Some(sources.into()),
        }),
    }
}
