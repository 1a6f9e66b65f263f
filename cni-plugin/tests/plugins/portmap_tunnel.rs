//! `portmap` beside tunnels between nodes.

use serde_json::{Value, json};

use super::lab::{on_host, sh};
use super::portmap_faults::records;
use super::traffic::{attached, mapped, mapping};

fn port(protocol: &str, host_ip: &str, host_port: u16) -> Value {
    json!([mapping(protocol, host_ip, host_port, 53)])
}

#[test]
fn a_host_port_that_is_a_tunnels_is_refused_by_name() {
    on_host(|host| {
        sh("ip link add flannel.7 type vxlan id 7 dstport 8472 local 192.0.2.1 nolearning");
        sh("ip link add other type vxlan id 9 dstport 4789 local 192.0.2.1");
        sh("ip tuntap add flannel0 mode tun");
        for (taken, device) in [(8472, "flannel.7"), (4789, "other"), (8285, "flannel0")] {
            for address in ["", "0.0.0.0", "192.0.2.1"] {
                let pod = attached(host, &port("udp", address, taken));
                let (code, text) = pod.call.fails("ADD");
                assert_eq!(code, 104, "{text}");
                let words = format!("host port udp {taken} is the port of the tunnel {device}");
                assert!(text.contains(&words), "{text}");
                assert_eq!(records(host), 0, "nothing is left");
                pod.call.ok("DEL");
            }
            // The other protocol, the host's own loopback and any other port are no tunnel's.
            for free in [
                port("tcp", "", taken),
                port("udp", "127.0.0.1", taken),
                port("udp", "", taken + 1),
            ] {
                let pod = mapped(host, &free);
                pod.call.ok("CHECK");
                pod.call.ok("DEL");
            }
        }
    });
}
