//! `tweed` with `"mode": "routed"`: a pod without a bridge.

use serde_json::{Value, json};

use super::chained::survives_errors_and_kills;
use super::lab::{Call, Host, Pod, VERSIONS, on_host, sh};
use super::tweed::{full, rest};

/// An entry without what single pods want.
fn plain(host: &Host) -> Value {
    let mut conf = full(host, "routed");
    conf["runtimeConfig"] = json!({});
    conf
}

fn call(host: &Host, pod: &Pod) -> Call {
    host.call("tweed", plain(host), pod)
}

fn end(result: &Value) -> String {
    result["interfaces"][0]["name"].as_str().unwrap().to_owned()
}

fn address(result: &Value, index: usize) -> String {
    let address = result["ips"][index]["address"].as_str().unwrap();
    address.split('/').next().unwrap().to_owned()
}

#[test]
fn the_host_has_a_route_and_a_neighbour_for_each_address_and_the_pod_one_way_out() {
    on_host(|host| {
        let pod = Pod::new();
        let call = host.call("tweed", full(host, "routed"), &pod);
        let result = call.add();
        let (end, mac) = (end(&result), "02:00:00:00:00:42");
        assert_eq!(
            result["ips"],
            json!([
                {"address": "10.244.1.77/32", "gateway": "169.254.1.1", "interface": 1},
                {"address": "fc00:0:0:1::77/128", "gateway": "fe80::1", "interface": 1},
            ])
        );
        assert_eq!(
            result["routes"],
            json!([
                {"dst": "0.0.0.0/0", "gw": "169.254.1.1"},
                {"dst": "::/0", "gw": "fe80::1"},
            ])
        );
        assert!(!host.links().contains(&"cni0".to_owned()));
        assert_eq!(
            sh("ip route show proto 86"),
            format!("10.244.1.77 dev {end} scope link \n")
        );
        assert!(sh("ip -6 route show proto 86").contains("fc00:0:0:1::77"));
        for addr in ["10.244.1.77", "fc00:0:0:1::77"] {
            let neigh = sh(&format!("ip neigh show {addr} dev {end}"));
            assert!(
                neigh.contains(mac) && neigh.contains("PERMANENT"),
                "{neigh}"
            );
        }
        assert_eq!(pod.addrs("eth0"), ["10.244.1.77/32", "fc00:0:0:1::77/128"]);
        assert!(pod.sh("ip link show eth0").contains("mtu 1450"));
        let routes = pod.sh("ip route");
        assert!(
            routes.contains("default via 169.254.1.1 dev eth0"),
            "{routes}"
        );
        assert!(
            routes.contains("169.254.1.1 dev eth0 scope link"),
            "{routes}"
        );
        let host_mac = result["interfaces"][0]["mac"].as_str().unwrap();
        let neighs = pod.sh("ip neigh show nud permanent");
        assert_eq!(neighs.matches(host_mac).count(), 2, "{neighs}");
        let record = sh(&format!("cat {}/*.json", host.path("run").display()));
        let routed = format!(
            r#""routed":{{"port":"{end}","mac":"{mac}","addresses":["10.244.1.77","fc00:0:0:1::77"]}}"#
        );
        assert!(record.contains(&routed), "{record}");
        call.after(&result).ok("CHECK");
    });
}

#[test]
fn a_routed_pod_lives_through_all_verbs_in_every_version() {
    on_host(|host| {
        for version in VERSIONS {
            let pod = Pod::new();
            let mut conf = plain(host);
            conf["cniVersion"] = version.into();
            if version < "0.3.0" {
                conf["capabilities"] = json!({});
            }
            let call = host.call("tweed", conf, &pod);
            let result = call.add();
            assert_eq!(result["cniVersion"], version);
            if version >= "0.4.0" {
                call.after(&result).ok("CHECK");
            }
            call.after(&result).ok("DEL");
            call.after(&result).ok("DEL");
            assert!(pod.links().is_empty() && host.veths().is_empty());
            assert!(host.reservations("net").is_empty());
        }
    });
}

#[test]
fn pods_and_their_host_reach_each_other_through_the_forward_hook() {
    on_host(|host| {
        sh("ip link add up0 type veth peer name wire0 && ip addr add 192.0.2.1/24 dev up0");
        sh("ip link set up0 up && ip link set wire0 up");
        sh("ip addr add fd00:9::1/64 dev up0 nodad");
        for key in ["all", "default"] {
            sh(&format!("sysctl -qw net.ipv4.conf.{key}.rp_filter=1"));
        }
        let pods = [Pod::new(), Pod::new()];
        let results = pods.each_ref().map(|pod| call(host, pod).add());
        for index in [0, 1] {
            let other = address(&results[1], index);
            assert!(pods[0].reaches(&other), "{other}");
            sh(&format!("ping -c1 -W2 {other}"));
        }
        assert!(pods[0].reaches("192.0.2.1"));
        // A pod with another's address gets nowhere, since the way back is another.
        sh("nft 'add table inet t; add chain inet t f { type filter hook forward priority 0; }'");
        sh("nft add rule inet t f ip saddr 10.244.1.200 counter");
        pods[0].sh("ip addr add 10.244.1.200/32 dev eth0");
        let to = address(&results[1], 0);
        let end = end(&results[0]);
        for (strict, packets) in [(1, "packets 0"), (0, "packets 1")] {
            for name in ["all", end.as_str()] {
                sh(&format!(
                    "sysctl -qw net.ipv4.conf.{name}.rp_filter={strict}"
                ));
            }
            pods[0].sh(&format!("ping -c1 -W1 -I 10.244.1.200 {to} || true"));
            assert!(sh("nft list table inet t").contains(packets), "{packets}");
        }
        sh("nft add chain inet t f '{ policy drop; }'");
        assert!(!pods[0].reaches(&address(&results[1], 0)));
        sh(&format!("ping -c1 -W2 {}", address(&results[1], 0)));
    });
}

#[test]
fn keys_that_only_a_bridge_has_are_refused_by_name() {
    on_host(|host| {
        let pod = Pod::new();
        let call = call(host, &pod);
        for (key, value) in [
            ("hairpinMode", json!(true)),
            ("vlan", json!(7)),
            ("promiscMode", json!(true)),
            ("isDefaultGateway", json!(false)),
            ("macspoofchk", json!(true)),
            ("bridge", json!("cni0")),
        ] {
            let (code, text) = call.set(key, value).fails("ADD");
            assert!(code == 7 && text.starts_with(key), "{key}: {code} {text}");
        }
        let dhcp = call.set("ipam", json!({"type": "dhcp"}));
        assert!(dhcp.fails("ADD").1.contains("works in mode bridge alone"));
        let mut ipam = plain(host)["ipam"].clone();
        ipam["routes"] = json!([{"dst": "10.9.0.0/16", "gw": "10.244.1.9"}]);
        let (_, text) = call.set("ipam", ipam).fails("ADD");
        assert!(text.contains("has the gateway 10.244.1.9"), "{text}");
        assert!(host.links().is_empty() && host.reservations("net").is_empty());
    });
}

#[test]
fn check_notices_what_is_not_as_it_was() {
    on_host(|host| {
        sh("ip link add br0 type bridge");
        sh("ip link add other0 type veth peer name other1 && ip link set other0 up");
        for (command, text) in [
            ("pod: ip addr del ADDR/32 dev eth0", "Failed to match addr"),
            (
                "pod: ip link set eth0 address 02:00:00:00:00:99",
                "has MAC 02:00:00:00:00:99",
            ),
            (
                "pod: ip link del eth0",
                "container interface eth0 not found",
            ),
            ("pod: ip route del default", "Expected Route 0.0.0.0/0"),
            (
                "pod: ip neigh del 169.254.1.1 dev eth0",
                "no neighbour entry for its gateway",
            ),
            (
                "pod: ip neigh del fe80::1 dev eth0",
                "no neighbour entry for its gateway",
            ),
            ("ip link set END down", "is down"),
            (
                "ip link set END address 02:00:00:00:00:98",
                "has MAC 02:00:00:00:00:98",
            ),
            ("ip link set END master br0", "is in a bridge"),
            ("ip route del ADDR/32", "not found on the host"),
            (
                "ip route replace ADDR/32 dev other0",
                "not found on the host",
            ),
            (
                "ip neigh del ADDR dev END",
                "has no neighbour entry for ADDR",
            ),
            ("nft flush ruleset", "is not masqueraded"),
        ] {
            let pod = Pod::new();
            let call = call(host, &pod).set("ipMasq", true);
            let result = call.add();
            call.after(&result).ok("CHECK");
            let fill = |text: &str| {
                let text = text.replace("END", &end(&result));
                text.replace("ADDR", &address(&result, 0))
            };
            match command.strip_prefix("pod: ") {
                Some(command) => drop(pod.sh(&fill(command))),
                None => drop(sh(&fill(command))),
            }
            let (code, error) = call.after(&result).fails("CHECK");
            assert!(error.contains(&fill(text)), "{command}: {error}");
            assert_eq!(code, 103, "{command}");
            call.ok("DEL");
        }
    });
}

#[test]
fn an_address_of_static_is_checked_and_one_of_a_pod_that_is_gone_is_taken_over() {
    on_host(|host| {
        let (old, new) = (Pod::new(), Pod::new());
        let ipam = json!({"type": "static", "addresses": [
            {"address": "10.244.1.9/24", "gateway": "10.244.1.1"},
        ]});
        let call = |pod: &Pod| call(host, pod).set("ipam", ipam.clone());
        call(&old).add();
        let result = call(&new).add();
        call(&new).after(&result).ok("CHECK");
        assert!(sh("ip route show 10.244.1.9").contains(&end(&result)));
        call(&old).ok("DEL");
        call(&new).after(&result).ok("CHECK");
    });
}

#[test]
fn an_add_is_repeated_and_gc_removes_what_is_not_valid() {
    on_host(|host| {
        let pods = [Pod::new(), Pod::new()];
        let calls = pods
            .each_ref()
            .map(|pod| call(host, pod).set("ipMasq", true));
        calls[0].add();
        let kept = calls[0].add();
        calls[1].add();
        assert_eq!((host.veths().len(), host.reservations("net").len()), (2, 4));
        calls[0].after(&kept).ok("CHECK");
        calls[0].valid(&[(pods[0].name(), "eth0")]).ok("GC");
        assert!(pods[1].links().is_empty());
        assert_eq!((host.veths().len(), host.reservations("net").len()), (1, 2));
        assert!(!sh("nft list ruleset").contains(pods[1].name()));
        calls[0].after(&kept).ok("CHECK");
        sh(&format!("ip netns del {}", pods[0].name()));
        calls[0].ok("DEL");
        let clean = rest(host);
        assert!(
            clean.starts_with("[] []") && !clean.contains("json"),
            "{clean}"
        );
    });
}

#[test]
fn every_error_and_kill_leaves_nothing_after_a_del() {
    on_host(|host| {
        let pod = Pod::new();
        let call = host.call("tweed", full(host, "routed"), &pod);
        call.add();
        call.ok("DEL");
        survives_errors_and_kills(host, &call, &|| rest(host));
    });
}
