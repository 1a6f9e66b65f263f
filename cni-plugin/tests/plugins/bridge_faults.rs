//! `bridge` when things go wrong: an ADD that fails leaves nothing, a DEL removes whatever is left.

use std::process::Child;
use std::time::Duration;

use serde_json::{Value, json};

use super::lab::{Call, Host, Pod, addrs, on_host, sh};
use super::mishaps::{LOSSES, Loss};

const V4: &str = "10.1.2.0/24";

fn call(host: &Host, pod: &Pod) -> Call {
    host.call("bridge", host.bridge_conf("1.0.0", &[V4]), pod)
}

/// Nothing of any attachment is on the host.
fn assert_clean(host: &Host, what: &str) {
    assert!(host.veths().is_empty(), "{what}: {:?}", host.veths());
    assert!(
        host.reservations("net").is_empty(),
        "{what}: {:?}",
        host.reservations("net")
    );
    let records = std::fs::read_dir(host.path("run")).map_or(0, Iterator::count);
    assert_eq!(records, 0, "{what}");
}

#[test]
fn an_add_that_fails_at_any_step_leaves_nothing() {
    on_host(|host| {
        let pod = Pod::new();
        let base = call(host, &pod);
        let route = |route: Value| {
            let mut ipam = host.ipam(&[V4]);
            ipam["routes"] = json!([route]);
            base.set("ipam", ipam)
        };
        for (what, call, text) in [
            (
                "configuration",
                base.set("vlan", 5000),
                "invalid VLAN ID 5000",
            ),
            (
                "namespace",
                base.netns("/run/netns/none"),
                "failed to open netns \"/run/netns/none\"",
            ),
            (
                "ipam configuration",
                base.set("ipam", host.ipam(&["10.1.2.0/31"])),
                "too small",
            ),
            ("ipam request", base.args("IP=10.1.2.1"), "subnet's gateway"),
            (
                "unknown ipam",
                base.set("ipam", json!({"type": "nowhere"})),
                "failed to find plugin \"nowhere\"",
            ),
            ("pair", base.set("mtu", 40), "failed to make veth pair"),
            (
                "route",
                route(json!({"dst": "10.9.0.0/16", "gw": "192.0.2.1"})),
                "failed to add route",
            ),
        ] {
            let (_, error) = call.fails("ADD");
            assert!(error.contains(text), "{what}: {error}");
            assert_clean(host, what);
            assert!(pod.links().is_empty(), "{what}");
        }
        base.add();
    });
}

#[test]
fn a_foreign_interface_of_that_name_stays_and_is_named() {
    on_host(|host| {
        let pod = Pod::new();
        pod.sh("ip link add eth0 type bridge");
        let (code, text) = call(host, &pod).fails("ADD");
        assert_eq!(code, 100);
        assert!(
            text.contains("container veth name (\"eth0\") already exists"),
            "{text}"
        );
        assert_clean(host, "foreign interface");
        assert_eq!(pod.links(), ["eth0"]);
    });
}

#[test]
fn something_else_of_the_bridges_name_stays_and_is_named() {
    on_host(|host| {
        sh("ip link add cni0 type veth peer name other");
        let pod = Pod::new();
        let (code, text) = call(host, &pod).fails("ADD");
        assert_eq!(code, 104);
        assert!(
            text.contains("\"cni0\" already exists but is not a bridge"),
            "{text}"
        );
        assert!(host.reservations("net").is_empty());
        sh("ip link del cni0");
        sh("ip link add other type bridge && ip link property add dev other altname cni0");
        let (code, text) = call(host, &pod).fails("ADD");
        assert_eq!(code, 104);
        let remedy = "ip link property del dev other altname cni0";
        assert!(text.contains(remedy), "{text}");
        assert!(host.reservations("net").is_empty());
        sh(remedy);
        call(host, &pod).add();
    });
}

#[test]
fn an_add_over_what_a_killed_one_has_left_succeeds() {
    on_host(|host| {
        for n in 0..60_u64 {
            let pod = Pod::new();
            let call = call(host, &pod);
            call.kill_after("ADD", Duration::from_micros(n * 150));
            let result = call.add();
            call.after(&result).ok("CHECK");
            assert_eq!(pod.links(), ["eth0"]);
            assert_eq!(
                host.reservations("net").len(),
                1,
                "{:?}",
                host.reservations("net")
            );
            call.ok("DEL");
            assert_clean(host, "after DEL");
        }
    });
}

#[test]
fn a_del_after_a_killed_add_removes_everything() {
    on_host(|host| {
        for n in 0..60_u64 {
            let pod = Pod::new();
            let call = call(host, &pod).set("ipMasq", true);
            call.kill_after("ADD", Duration::from_micros(n * 200));
            call.ok("DEL");
            assert_clean(host, "after DEL");
            assert!(pod.links().is_empty());
        }
        assert!(!sh("nft list ruleset").contains("comment \"net/"));
    });
}

#[test]
fn del_succeeds_whatever_has_gone_before() {
    on_host(|host| {
        let more: [Loss; 4] = [
            ("the path", |_, call| call.netns("")),
            ("the bridge", |_, call| {
                sh("ip link del cni0");
                call.clone()
            }),
            ("the result", |_, call| {
                call.set("prevResult", json!({"cniVersion": "0.1.0", "ips": 3}))
            }),
            ("the configuration", |_, call| {
                call.set("vlan", 5000)
                    .set("bridge", "other")
                    .set("mtu", "many")
                    .set("hairpinMode", 1)
            }),
        ];
        for (what, lose) in LOSSES.into_iter().chain(more) {
            let pod = Pod::new();
            let call = call(host, &pod).set("ipMasq", true);
            call.add();
            let call = lose(&pod, &call);
            call.ok("DEL");
            assert_clean(host, what);
            assert!(!sh("nft list ruleset").contains("comment \"net/"), "{what}");
            call.ok("DEL");
        }
    });
}

#[test]
fn del_of_what_never_was_succeeds() {
    on_host(|host| {
        let pod = Pod::new();
        call(host, &pod).ok("DEL");
        call(host, &pod).set("ipMasq", true).ok("DEL");
        assert!(host.links().is_empty());
    });
}

#[test]
fn an_address_in_the_way_is_refused_with_the_fix_or_replaced_by_force() {
    on_host(|host| {
        let (first, second) = (Pod::new(), Pod::new());
        call(host, &first).add();
        let other = call(host, &second).set("ipam", host.ipam(&["10.9.0.0/16"]));
        let (code, text) = other.fails("ADD");
        assert_eq!(code, 104);
        assert!(
            text.contains(
                "failed to set bridge addr: \"cni0\" already has an IP address different from 10.9.0.1/16"
            ),
            "{text}"
        );
        assert!(text.contains("ip addr del 10.1.2.1/24 dev cni0"), "{text}");
        assert_eq!(addrs("cni0"), ["10.1.2.1/24"]);
        assert_eq!(host.reservations("net"), ["10.1.2.2"]);
        other.set("forceAddress", true).add();
        assert_eq!(addrs("cni0"), ["10.9.0.1/16"]);
    });
}

#[test]
fn ipv6_subnets_stay_side_by_side_unless_they_overlap() {
    on_host(|host| {
        let pods = [Pod::new(), Pod::new(), Pod::new()];
        let with = |pod: &Pod, subnet: &str| call(host, pod).set("ipam", host.ipam(&[subnet]));
        with(&pods[0], "fd00:1::/64").add();
        with(&pods[1], "fd00:2::/64").add();
        assert_eq!(addrs("cni0").len(), 2);
        let overlapping = with(&pods[2], "fd00:1::/56");
        assert!(
            overlapping
                .fails("ADD")
                .1
                .contains("already has an IP address different from fd00:1::1/56")
        );
        overlapping.set("forceAddress", true).add();
        assert!(!addrs("cni0").contains(&"fd00:1::1/64".to_owned()));
        assert!(addrs("cni0").contains(&"fd00:2::1/64".to_owned()));
    });
}

#[test]
fn the_bridge_moves_to_a_new_subnet_once_no_pod_uses_the_old_one() {
    on_host(|host| {
        let (old, new) = (Pod::new(), Pod::new());
        call(host, &old).add();
        let moved = call(host, &new).set("ipam", host.ipam(&["10.77.0.0/24"]));
        assert_eq!(moved.fails("ADD").0, 104, "a pod of the old subnet lives");
        call(host, &old).ok("DEL");
        moved.add();
        assert_eq!(addrs("cni0"), ["10.77.0.1/24"]);
        assert!(new.reaches("10.77.0.1"));
    });
}

#[test]
fn an_administrators_address_is_never_taken_away() {
    on_host(|host| {
        sh("ip link add cni0 type bridge && ip addr add 192.0.2.17/24 dev cni0");
        let pod = Pod::new();
        let (code, text) = call(host, &pod).fails("ADD");
        assert_eq!(code, 104);
        assert!(
            text.contains("192.0.2.17/24 is no gateway of pods, so it is left alone"),
            "{text}"
        );
        assert_eq!(addrs("cni0"), ["192.0.2.17/24"]);
    });
}

#[test]
fn thirty_pods_at_once_make_one_bridge_and_thirty_addresses() {
    on_host(|host| {
        let pods: Vec<Pod> = (0..30).map(|_| Pod::new()).collect();
        let run_all = |verb: &str| -> Vec<std::process::Output> {
            let children: Vec<Child> = pods
                .iter()
                .map(|pod| call(host, pod).set("ipMasq", true).start(verb))
                .collect();
            children
                .into_iter()
                .map(|child| child.wait_with_output().unwrap())
                .collect()
        };
        let mut addresses = Vec::new();
        for output in run_all("ADD") {
            let result: Value = serde_json::from_slice(&output.stdout).unwrap();
            let address = result["ips"][0]["address"].as_str();
            addresses.push(address.unwrap_or_else(|| panic!("{result}")).to_owned());
        }
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), 30);
        assert_eq!(addrs("cni0"), ["10.1.2.1/24"]);
        assert!(pods.iter().all(|pod| pod.reaches("10.1.2.1")));
        for output in run_all("DEL") {
            assert!(output.status.success(), "{output:?}");
        }
        assert_clean(host, "after all DELs");
    });
}

#[test]
fn check_notices_what_is_not_as_it_was() {
    on_host(|host| {
        let damage = |pod: &Pod, result: &Value, command: &str| {
            let port = result["interfaces"][1]["name"].as_str().unwrap();
            match command.strip_prefix("host: ") {
                Some(command) => drop(sh(&command.replace("PORT", port))),
                None => drop(pod.sh(command)),
            }
        };
        for (command, text) in [
            (
                "ip addr del 10.1.2.2/24 dev eth0",
                "Failed to match addr 10.1.2.2/24 on interface eth0",
            ),
            (
                "ip link set eth0 address 02:00:00:00:00:99",
                "has MAC 02:00:00:00:00:99",
            ),
            ("ip link del eth0", "container interface eth0 not found"),
            (
                "host: ip link set PORT nomaster",
                "is not connected to bridge cni0",
            ),
            ("host: ip link set PORT down", "is down"),
            (
                "host: ip addr flush dev cni0",
                "cni0 does not have the gateway's address 10.1.2.1/24",
            ),
            ("host: ip link set cni0 down", "bridge cni0 is down"),
            (
                "host: ip link set cni0 address 02:00:00:00:00:98",
                "interface cni0 has MAC",
            ),
            ("host: ip link del cni0", "bridge cni0 not found"),
        ] {
            let pod = Pod::new();
            let call = call(host, &pod).set("runtimeConfig", json!({"ips": ["10.1.2.2"]}));
            let result = call.add();
            call.after(&result).ok("CHECK");
            damage(&pod, &result, command);
            let (code, error) = call.after(&result).fails("CHECK");
            assert!(error.contains(text), "{command}: {error}");
            assert_eq!(code, 103, "{command}");
            call.ok("DEL");
            sh("ip link del cni0 2>/dev/null || true");
        }
        let pod = Pod::new();
        assert!(
            call(host, &pod)
                .fails("CHECK")
                .1
                .contains("Failed to find address")
        );
        let call = call(host, &pod);
        call.add();
        assert!(
            call.fails("CHECK")
                .1
                .contains("Required prevResult missing")
        );
    });
}
