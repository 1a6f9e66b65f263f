//! `portmap`: packets on their way to pods by ports of the host.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};

use super::lab::{Call, Host, Pod, VERSIONS, on_host, sh};
use super::portmap_faults::records;
use super::traffic::{At, Server, attached, client, mapped, mapping, outside};

pub(super) const GATEWAYS: [&str; 2] = ["10.1.2.1", "fd00:1:2::1"];

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn both(host_ip: &str, host_port: u16, port: u16) -> Value {
    json!([
        mapping("tcp", host_ip, host_port, port),
        mapping("udp", host_ip, host_port, port)
    ])
}

pub(super) fn at(addr: &str, port: u16) -> String {
    SocketAddr::new(ip(addr), port).to_string()
}

/// What the pod's server sees of a client, which must be the same with TCP and UDP.
pub(super) fn seen(server: &Server, from: At<'_>, to: &str) -> Option<IpAddr> {
    let (tcp, udp) = (server.tcp_from(from, to), server.udp_from(from, to));
    assert_eq!(tcp, udp, "TCP and UDP to {to}");
    tcp
}

#[test]
fn a_host_port_leads_to_the_pod_from_everywhere_in_both_families() {
    on_host(|host| {
        let other = attached(host, &json!([])).pod;
        let mapped = mapped(host, &both("", 8080, 80));
        let server = Server::at(At::Pod(&mapped.pod), 80);
        let outside = outside(7);
        let own = mapped.pod.addrs("eth0");
        let others = other.addrs("eth0");
        assert_eq!(own.len(), 2, "{own:?}");
        for (index, host_addr) in ["192.0.2.1", "2001:db8:9::1"].into_iter().enumerate() {
            let to = at(host_addr, 8080);
            let client = ["192.0.2.7", "2001:db8:9::7"][index];
            assert_eq!(
                seen(&server, At::Pod(&outside), &to),
                Some(ip(client)),
                "a stranger keeps its address"
            );
            // The kernel gives packets of its own to itself this source.
            assert_eq!(seen(&server, At::Host, &to), Some(ip(host_addr)));
            let gateway = Some(ip(GATEWAYS[index]));
            for pod in [&mapped.pod, &other] {
                assert_eq!(seen(&server, At::Pod(pod), &to), gateway, "{to}");
                let to = at(GATEWAYS[index], 8080);
                assert_eq!(seen(&server, At::Pod(pod), &to), gateway, "{to}");
            }
            assert_eq!(seen(&server, At::Host, &at(GATEWAYS[index], 8080)), gateway);
        }
        assert_eq!(
            seen(&server, At::Host, "127.0.0.1:8080"),
            Some(ip(GATEWAYS[0]))
        );
        // Packets that don't come by a host port are as they were.
        let direct = own[0].replace("/24", ":80");
        let plain = others[0].replace("/24", "");
        assert_eq!(seen(&server, At::Pod(&other), &direct), Some(ip(&plain)));

        mapped.call.ok("CHECK");
        mapped.call.ok("DEL");
        assert_eq!(seen(&server, At::Pod(&outside), "192.0.2.1:8080"), None);
        assert_eq!(seen(&server, At::Host, "127.0.0.1:8080"), None);
    });
}

#[test]
fn a_given_host_address_is_the_only_one() {
    on_host(|host| {
        let outside = outside(7);
        sh("ip addr add 192.0.2.5/24 dev wire7; ip addr add 2001:db8:9::5/64 dev wire7 nodad");
        for (host_ip, reached, unreached) in [
            (
                "192.0.2.5",
                vec!["192.0.2.5"],
                vec!["192.0.2.1", "2001:db8:9::5"],
            ),
            (
                "2001:db8:9::5",
                vec!["2001:db8:9::5"],
                vec!["2001:db8:9::1", "192.0.2.5"],
            ),
            (
                "0.0.0.0",
                vec!["192.0.2.1", "192.0.2.5"],
                vec!["2001:db8:9::1"],
            ),
            (
                "::",
                vec!["2001:db8:9::1", "2001:db8:9::5"],
                vec!["192.0.2.1"],
            ),
        ] {
            let mapped = mapped(host, &both(host_ip, 8080, 80));
            let server = Server::at(At::Pod(&mapped.pod), 80);
            for addr in reached {
                let to = at(addr, 8080);
                assert!(
                    seen(&server, At::Pod(&outside), &to).is_some(),
                    "{host_ip} {to}"
                );
                let own = seen(&server, At::Pod(&mapped.pod), &to);
                assert!(own.is_some(), "{host_ip}: the pod itself to {to}");
            }
            for addr in unreached {
                let to = at(addr, 8080);
                assert_eq!(
                    seen(&server, At::Pod(&outside), &to),
                    None,
                    "{host_ip} {to}"
                );
            }
            mapped.call.ok("CHECK");
            mapped.call.ok("DEL");
        }
    });
}

#[test]
fn masquerading_can_be_off_or_for_all() {
    on_host(|host| {
        let outside = outside(7);
        let mapped = attached(host, &both("", 8080, 80));
        let server = Server::at(At::Pod(&mapped.pod), 80);
        let all = mapped.call.set("masqAll", true);
        all.add();
        for (to, gateway) in ["192.0.2.1:8080", "[2001:db8:9::1]:8080"]
            .iter()
            .zip(GATEWAYS)
        {
            assert_eq!(seen(&server, At::Pod(&outside), to), Some(ip(gateway)));
        }
        all.ok("CHECK");
        let off = mapped.call.set("snat", false);
        off.add();
        let to = "192.0.2.1:8080";
        assert_eq!(
            seen(&server, At::Pod(&outside), to),
            Some(ip("192.0.2.7")),
            "another ADD replaces the first"
        );
        assert_eq!(seen(&server, At::Pod(&mapped.pod), to), None);
        assert_eq!(seen(&server, At::Host, "127.0.0.1:8080"), None);
        off.ok("CHECK");
    });
}

#[test]
fn a_udp_flow_follows_the_port_to_its_new_holder_and_no_other_flow_is_touched() {
    on_host(|host| {
        let outside = outside(7);
        let host_server = Server::at(At::Host, 8053);
        let elsewhere = Server::at(At::Pod(&outside), 8053);
        for to in ["192.0.2.1:8053", "[2001:db8:9::1]:8053"] {
            let to: SocketAddr = to.parse().unwrap();
            let socket = At::Pod(&outside).open(|| client(to));
            assert!(host_server.udp_through(&socket).is_some(), "nobody's port");

            let one = mapped(host, &both("", 8053, 53));
            let first = Server::at(At::Pod(&one.pod), 53);
            assert!(first.udp_through(&socket).is_some(), "the pod's port: {to}");
            // A flow of the host's own to another machine's port of this number.
            let theirs: SocketAddr = at(
                ["192.0.2.7", "2001:db8:9::7"][usize::from(to.is_ipv6())],
                8053,
            )
            .parse()
            .unwrap();
            let through = client(theirs);
            assert!(elsewhere.udp_through(&through).is_some());
            let kept = flows(&format!("dport=8053 src={}", theirs.ip()));

            one.call.ok("DEL");
            assert!(
                host_server.udp_through(&socket).is_some(),
                "nobody's port again"
            );
            let two = mapped(host, &both("", 8053, 53));
            let second = Server::at(At::Pod(&two.pod), 53);
            assert!(
                second.udp_through(&socket).is_some(),
                "the other pod's port"
            );
            assert_eq!(flows(&format!("dport=8053 src={}", theirs.ip())), kept);
            assert_eq!(kept, 1);
            two.call.ok("DEL");
        }
    });
}

/// How many UDP flows have this in their listing.
fn flows(text: &str) -> usize {
    let all = ["ipv4", "ipv6"].map(|family| sh(&format!("conntrack -L -p udp -f {family}")));
    all.concat()
        .lines()
        .filter(|line| line.contains(text))
        .count()
}

#[test]
fn a_hundred_ports_are_mapped_at_once_and_reached() {
    on_host(|host| {
        let outside = outside(7);
        let ports: Vec<Value> = (0..100)
            .map(|n| mapping("tcp", "", 20_000 + n, 80 + n % 2))
            .collect();
        let mapped = mapped(host, &json!(ports));
        let servers = [80, 81].map(|port| Server::at(At::Pod(&mapped.pod), port));
        for n in [0, 1, 50, 98, 99] {
            for addr in ["192.0.2.1", "2001:db8:9::1"] {
                let to = at(addr, 20_000 + n);
                let server = &servers[usize::from(n % 2)];
                assert!(server.tcp_from(At::Pod(&outside), &to).is_some(), "{to}");
                assert!(server.tcp_from(At::Pod(&mapped.pod), &to).is_some(), "{to}");
            }
        }
        let set = sh("nft list set inet tweed-cni hairpin4");
        assert_eq!(set.matches("20000-20099").count(), 1, "{set}");
        mapped.call.ok("CHECK");
        mapped.call.ok("DEL");
        assert!(!sh("nft list table inet tweed-cni").contains(mapped.pod.name()));
    });
}

#[test]
fn every_protocol_is_in_the_maps_and_the_result_is_handed_on_in_every_version() {
    on_host(|host| {
        for version in VERSIONS {
            let pod = Pod::new();
            let bridge = host.call("bridge", host.bridge_conf(version, &["10.1.2.0/24"]), &pod);
            let result = bridge.add();
            let ports = json!([
                mapping("tcp", "", 8080, 80),
                mapping("UDP", "192.0.2.1", 53, 5353),
                mapping("sctp", "0.0.0.0", 36412, 36412),
            ]);
            let conf = json!({
                "cniVersion": version, "name": "net", "type": "portmap", "stateDir": host.path("run"),
                "runtimeConfig": {"portMappings": ports},
            });
            let call = host.call("portmap", conf, &pod).after(&result);
            assert_eq!(call.add(), result, "{version}");
            let addr = pod.addrs("eth0")[0].replace("/24", "");
            let table = sh("nft list table inet tweed-cni");
            for element in [
                format!(
                    "tcp . 8080 comment \"net/{}/eth0\" : {addr} . 80",
                    pod.name()
                ),
                format!(
                    "192.0.2.1 . udp . 53 comment \"net/{}/eth0\" : {addr} . 5353",
                    pod.name()
                ),
                format!(
                    "sctp . 36412 comment \"net/{}/eth0\" : {addr} . 36412",
                    pod.name()
                ),
            ] {
                assert!(table.contains(&element), "{element}: {table}");
            }
            if version >= "0.4.0" {
                call.ok("CHECK");
            }
            call.ok("DEL");
            bridge.ok("DEL");
        }
    });
}

#[test]
fn one_entry_of_tweed_with_the_capability_is_enough() {
    on_host(|host| {
        let outside = outside(7);
        let (pod, call) = tweed(host);
        let result = call.add();
        let server = Server::at(At::Pod(&pod), 80);
        for (to, client) in [
            ("192.0.2.1:8080", "192.0.2.7"),
            ("[2001:db8:9::1]:8080", "2001:db8:9::7"),
        ] {
            assert_eq!(seen(&server, At::Pod(&outside), to), Some(ip(client)));
        }
        let call = call.after(&result);
        call.ok("CHECK");
        sh("nft flush map inet tweed-cni hostport4");
        let (code, text) = call.fails("CHECK");
        assert!(code == 103 && text.contains("tcp 0.0.0.0:8080"), "{text}");
        // The runtime has lost the answer and asks again.
        let call = call.after(&call.add());
        call.ok("CHECK");
        call.ok("DEL");
        assert_eq!(seen(&server, At::Pod(&outside), "192.0.2.1:8080"), None);
        assert!(!sh("nft list table inet tweed-cni").contains(pod.name()));
        assert_eq!(records(host), 0, "records are removed");
    });
}

#[test]
fn tweed_takes_the_pod_back_when_its_host_port_is_taken() {
    on_host(|host| {
        let holder = mapped(host, &both("", 8080, 80));
        let (pod, call) = tweed(host);
        let (code, text) = call.fails("ADD");
        assert_eq!(code, 104);
        assert!(
            text.contains(&format!("net/{}/eth0", holder.pod.name())),
            "{text}"
        );
        assert!(pod.links().is_empty());
        assert_eq!(host.veths().len(), 1, "the holder's");
        assert_eq!(host.reservations("mesh").len(), 0);
    });
}

/// A pod whose runtime gives `tweed` the capability.
fn tweed(host: &Host) -> (Pod, Call) {
    sh("ip link set lo up; sysctl -qw net.ipv6.conf.default.accept_dad=0");
    let env = "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.2.1/24\nFLANNEL_IPV6_NETWORK=fd00:1::/32\n\
               FLANNEL_IPV6_SUBNET=fd00:1:2::1/64\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
    fs::write(host.path("subnet.env"), env).unwrap();
    let pod = Pod::new();
    let conf = json!({
        "cniVersion": "1.1.0", "name": "mesh", "type": "tweed", "subnetFile": host.path("subnet.env"),
        "dataDir": host.path("flannel"), "ipam": {"dataDir": host.path("data")},
        "delegate": {"hairpinMode": true, "isDefaultGateway": true, "stateDir": host.path("run")},
        "capabilities": {"portMappings": true}, "runtimeConfig": {"portMappings": both("", 8080, 80)},
    });
    let call = host.call("tweed", conf, &pod);
    (pod, call)
}
