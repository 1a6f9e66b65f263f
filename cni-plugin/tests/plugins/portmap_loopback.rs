//! `portmap` and the addresses of the host's loopback.

use std::fs;

use serde_json::json;

use super::lab::{on_host, sh};
use super::portmap::{GATEWAYS, both, ip, seen};
use super::traffic::{At, Server, mapped, mapping, outside};

#[test]
fn a_program_on_the_ipv6_loopback_keeps_its_port() {
    on_host(|host| {
        let _mapped = mapped(host, &both("", 8080, 80));
        let server = Server::at(At::Host, 8080);
        assert_eq!(seen(&server, At::Host, "[::1]:8080"), Some(ip("::1")));
        assert_eq!(seen(&server, At::Host, "127.0.0.1:8080"), None);
    });
}

#[test]
fn the_hosts_loopback_is_no_way_in_for_others() {
    on_host(|host| {
        let outside = outside(7);
        let pods = [
            mapped(host, &both("127.0.0.1", 8080, 80)),
            mapped(host, &both("", 8081, 80)),
        ];
        let server = Server::at(At::Pod(&pods[0].pod), 80);
        let of_host = Server::at(At::Host, 9000);
        assert!(seen(&server, At::Host, "127.0.0.1:8080").is_some());
        assert!(seen(&of_host, At::Host, "127.0.0.1:9000").is_some());
        // A neighbour that routes 127.0.0.1 to us.
        for (neighbour, gateway) in [(&outside, "192.0.2.1"), (&pods[1].pod, "10.1.2.1")] {
            neighbour.sh("sysctl -qw net.ipv4.conf.all.route_localnet=1");
            neighbour.sh("ip link set lo up");
            for net in ["127.0.0.1", "127.0.0.0/8"] {
                neighbour.sh(&format!("ip route del local {net} dev lo table local"));
            }
            neighbour.sh(&format!("ip route add 127.0.0.1 via {gateway}"));
            let from = At::Pod(neighbour);
            assert_eq!(server.receives(from, "127.0.0.1:8080"), None, "{gateway}");
            assert_eq!(of_host.receives(from, "127.0.0.1:9000"), None, "{gateway}");
        }
        let got_in = || of_host.receives(At::Pod(&pods[1].pod), "127.0.0.1:9000");
        sh("nft flush ruleset");
        assert_eq!(got_in(), None, "no rule is needed");
        // As kube-proxy may do for its node ports.
        sh("sysctl -qw net.ipv4.conf.all.route_localnet=1");
        assert!(got_in().is_some(), "the way that this test goes is one");
        pods[1].call.add();
        assert_eq!(
            got_in(),
            None,
            "the rule keeps out what another program lets in"
        );
    });
}

#[test]
fn the_hosts_loopback_leads_to_the_pod_by_each_of_its_addresses_and_stays_closed() {
    on_host(|host| {
        let ports = json!([
            mapping("tcp", "", 8080, 80),
            mapping("udp", "", 8080, 80),
            mapping("tcp", "127.0.0.5", 8081, 80),
            mapping("udp", "127.0.0.5", 8081, 80),
        ]);
        let mapped = mapped(host, &ports);
        let server = Server::at(At::Pod(&mapped.pod), 80);
        let gateway = Some(ip(GATEWAYS[0]));
        for to in ["127.0.0.1:8080", "127.0.0.9:8080", "127.0.0.5:8081"] {
            assert_eq!(seen(&server, At::Host, to), gateway, "{to}");
        }
        // What leads nowhere is the host's own, and sees the source that it was sent with.
        let own = Server::at(At::Host, 8081);
        let loopback = Some(ip("127.0.0.1"));
        assert_eq!(seen(&own, At::Host, "127.0.0.1:8081"), loopback);
        for interface in ["all", "cni0"] {
            let switch = format!("/proc/sys/net/ipv4/conf/{interface}/route_localnet");
            assert_eq!(fs::read_to_string(switch).unwrap().trim(), "0");
        }
        mapped.call.ok("CHECK");
    });
}
