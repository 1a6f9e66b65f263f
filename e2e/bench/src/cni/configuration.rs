//! The configurations that both sides get.

use serde_json::{Value, json};

use super::chain::Chain;

/// A pod in a bridge, with an address and a default route.
pub(super) fn plain(folder: &str, subnet: &str) -> Chain {
    Chain::new(folder, vec![bridge(subnet)])
}

/// A host port of the pod's number.
fn port(number: usize) -> Value {
    json!([{"hostPort": 20_000 + number, "containerPort": 80, "protocol": "tcp"}])
}

/// Limits both ways, bits.
fn limits() -> Value {
    json!({
        "ingressRate": 800_000_000, "ingressBurst": 80_000_000,
        "egressRate": 800_000_000, "egressBurst": 80_000_000,
    })
}

/// All that [`full`] does by one plugin in one process.
pub(super) fn whole(folder: &str, number: usize) -> Chain {
    let mut plugin = bridge("10.244.9.0/24");
    plugin["type"] = "tweed".into();
    plugin["mode"] = "bridge".into();
    plugin["capabilities"] = json!({"portMappings": true, "bandwidth": true});
    plugin["runtimeConfig"] = json!({"portMappings": port(number), "bandwidth": limits()});
    plugin["sysctl"] = json!({"net.core.somaxconn": "500"});
    Chain::new(folder, vec![plugin])
}

/// A pod in a bridge with a host port, limits both ways and a switch, by a plugin each.
pub(super) fn full(folder: &str, number: usize) -> Chain {
    let (ports, limits) = (port(number), limits());
    let plugins = vec![
        bridge("10.244.9.0/24"),
        json!({
            "type": "portmap", "capabilities": {"portMappings": true},
            "runtimeConfig": {"portMappings": ports},
        }),
        json!({
            "type": "bandwidth", "capabilities": {"bandwidth": true},
            "runtimeConfig": {"bandwidth": limits},
        }),
        json!({"type": "tuning", "sysctl": {"net.core.somaxconn": "500"}}),
    ];
    Chain::new(folder, plugins)
}

fn bridge(subnet: &str) -> Value {
    json!({
        "type": "bridge",
        "bridge": "cni0",
        "mtu": 1450,
        "isGateway": true,
        "isDefaultGateway": true,
        "ipMasq": false,
        "ipam": { "type": "host-local", "ranges": [[{ "subnet": subnet }]] },
    })
}

/// Host ports alone, of a container that has this address.
pub(super) fn ports(folder: &str, addr: &str, ports: std::ops::Range<usize>) -> Chain {
    let mappings =
        ports.map(|port| json!({"hostPort": port, "containerPort": 80, "protocol": "tcp"}));
    let mappings: Vec<Value> = mappings.collect();
    let prev = json!({
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "cni0"}, {"name": "eth0", "sandbox": "/run/netns/none"}],
        "ips": [{"address": format!("{addr}/24"), "interface": 1}],
    });
    let plugin = json!({
        "type": "portmap", "capabilities": {"portMappings": true},
        "runtimeConfig": {"portMappings": mappings}, "prevResult": prev,
    });
    Chain::new(folder, vec![plugin])
}

/// Addresses alone, of a network of 65,536.
pub(super) fn addresses(folder: &str) -> Chain {
    let ipam = json!({"type": "host-local", "ranges": [[{"subnet": "10.77.0.0/16"}]]});
    Chain::new(folder, vec![json!({"type": "host-local", "ipam": ipam})])
}
