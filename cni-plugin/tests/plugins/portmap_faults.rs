//! `portmap`: what it refuses, survives, cleans up and finds changed.

use std::process::Child;

use serde_json::{Value, json};

use super::lab::{Call, Host, on_host, sh};
use super::traffic::{At, Server, attached, mapped, mapping};

fn table() -> String {
    sh("nft list table inet tweed-cni")
}

/// Number of records of attachments' host ports.
pub(crate) fn records(host: &Host) -> usize {
    let entries = std::fs::read_dir(host.path("run")).into_iter().flatten();
    let names = entries.flatten().map(|entry| entry.file_name());
    names
        .filter(|name| name.to_string_lossy().ends_with(".ports.json"))
        .count()
}

fn tcp(host_ip: &str, host_port: u16) -> Value {
    json!([mapping("tcp", host_ip, host_port, 80)])
}

#[test]
fn a_port_that_another_container_has_is_refused_and_the_holder_named() {
    on_host(|host| {
        for (held, wanted, clash) in [
            ("", "", true),
            ("", "0.0.0.0", true),
            ("", "192.0.2.1", true),
            ("192.0.2.1", "", true),
            ("::", "2001:db8::1", true),
            ("2001:db8::1", "2001:db8::1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("0.0.0.0", "::", false),
            ("192.0.2.1", "2001:db8::1", false),
        ] {
            let holder = mapped(host, &tcp(held, 8080));
            let other = attached(host, &tcp(wanted, 8080));
            if clash {
                let before = table();
                let (code, text) = other.call.fails("ADD");
                assert_eq!(code, 104, "{held:?} {wanted:?}");
                let name = format!("net/{}/eth0", holder.pod.name());
                assert!(
                    text.contains("host port tcp ") && text.contains(&name),
                    "{text}"
                );
                assert_eq!(table(), before, "nothing is left");
                assert_eq!(records(host), 1, "the holder's");
                holder.call.ok("CHECK");
                holder.call.ok("DEL");
            }
            other.call.add();
            other.call.ok("CHECK");
            other.call.ok("DEL");
            holder.call.ok("DEL");
        }
        // The other protocol and the other port are nobody's.
        let one = mapped(host, &tcp("", 8080));
        let two = mapped(
            host,
            &json!([mapping("udp", "", 8080, 80), mapping("tcp", "", 8081, 80)]),
        );
        one.call.ok("CHECK");
        two.call.ok("CHECK");
    });
}

#[test]
fn a_container_that_died_without_del_does_not_keep_its_port() {
    on_host(|host| {
        let dead = mapped(
            host,
            &json!([mapping("tcp", "", 8080, 80), mapping("tcp", "", 9090, 90)]),
        );
        let other = attached(host, &tcp("", 8080));
        assert_eq!(other.call.fails("ADD").0, 104);
        let name = dead.pod.name().to_owned();
        drop(dead.pod);
        other.call.add();
        other.call.ok("CHECK");
        assert!(!table().contains(&name), "{}", table());
        assert_eq!(records(host), 1);
        // A late DEL of the dead takes nothing from the living.
        dead.call.ok("DEL");
        other.call.ok("CHECK");
    });
}

#[test]
fn of_twenty_that_want_one_port_at_once_one_gets_it() {
    on_host(|host| {
        let pods: Vec<_> = (0..20)
            .map(|n| attached(host, &tcp(if n % 2 == 0 { "" } else { "192.0.2.1" }, 8080)))
            .collect();
        let calls: Vec<&Call> = pods.iter().map(|pod| &pod.call).collect();
        let started: Vec<Child> = calls.iter().map(|call| call.start("ADD")).collect();
        let done: Vec<bool> = started
            .into_iter()
            .map(|child| child.wait_with_output().unwrap().status.success())
            .collect();
        assert_eq!(done.iter().filter(|ok| **ok).count(), 1, "{done:?}");
        assert_eq!(records(host), 1);
        for (call, ok) in calls.iter().zip(done) {
            if ok {
                call.ok("CHECK");
            }
        }
    });
}

#[test]
fn add_and_del_can_be_repeated_and_del_needs_nothing_but_the_name() {
    on_host(|host| {
        let mapped = mapped(host, &tcp("", 8080));
        let before = table();
        mapped.call.add();
        assert_eq!(table(), before);
        mapped
            .call
            .set("runtimeConfig", json!({"portMappings": tcp("", 8081)}))
            .add();
        assert!(!table().contains("8080") && table().contains("8081"));
        let bare = json!({"cniVersion": "1.1.0", "name": "net", "type": "portmap", "stateDir": host.path("run")});
        let stripped = host.call("portmap", bare, &mapped.pod);
        for broken in [
            stripped.clone(),
            stripped.netns(""),
            stripped.netns("/run/netns/no-such-one"),
            mapped.call.set("prevResult", Value::Null),
            mapped.call.set("prevResult", "garbage"),
            mapped.call.set(
                "runtimeConfig",
                json!({"portMappings": [{"hostPort": 0}, 7]}),
            ),
            mapped.call.set("conditionsV4", json!(["x"])),
            mapped.call.set("backend", "none"),
        ] {
            mapped.call.add();
            assert!(table().contains(mapped.pod.name()));
            broken.ok("DEL");
            assert!(!table().contains(mapped.pod.name()), "{}", broken.conf());
            assert_eq!(records(host), 0);
            broken.ok("DEL");
        }
        // Without the record, the mappings say that there is something to look for.
        mapped.call.add();
        std::fs::remove_dir_all(host.path("run")).unwrap();
        mapped.call.ok("DEL");
        assert!(!table().contains(mapped.pod.name()));
    });
}

#[test]
fn two_interfaces_of_one_container_have_their_own_ports() {
    on_host(|host| {
        let one = mapped(host, &tcp("", 8080));
        let bridge = one.bridge.ifname("net1");
        let result = bridge.add();
        let two = one.call.ifname("net1").after(&result);
        assert_eq!(
            two.fails("ADD").0,
            104,
            "a container's other interface is another holder"
        );
        let two = two.set("runtimeConfig", json!({"portMappings": tcp("", 8081)}));
        two.add();
        one.call.ok("DEL");
        two.ok("CHECK");
        assert!(!table().contains("8080"));
        two.ok("DEL");
        assert_eq!(records(host), 0);
    });
}

#[test]
fn check_finds_whatever_keeps_a_port_from_working() {
    on_host(|host| {
        let mapped = mapped(
            host,
            &json!([
                mapping("tcp", "", 8080, 80),
                mapping("udp", "192.0.2.1", 53, 53)
            ]),
        );
        for (damage, text) in [
            (
                "nft delete element inet tweed-cni hostport4 { tcp . 8080 }",
                "tcp 0.0.0.0:8080",
            ),
            (
                "nft delete element inet tweed-cni hostport6 { tcp . 8080 }",
                "tcp [::]:8080",
            ),
            (
                "nft delete element inet tweed-cni hostaddr4 { 192.0.2.1 . udp . 53 }",
                "udp 192.0.2.1:53",
            ),
            ("nft flush set inet tweed-cni hairpin4", "host port"),
            ("nft flush chain inet tweed-cni hostports", "rules"),
            ("nft insert rule inet tweed-cni output accept", "rules"),
            ("nft flush ruleset", "rules"),
            ("nft flush map inet tweed-cni loopback4", "host port"),
        ] {
            mapped.call.ok("CHECK");
            sh(damage);
            let (code, error) = mapped.call.fails("CHECK");
            assert_eq!(code, 103, "{damage}");
            assert!(error.contains(text), "{damage}: {error}");
            mapped.call.add();
        }
        mapped.call.ok("CHECK");
        let (code, error) = mapped.call.set("prevResult", Value::Null).fails("CHECK");
        assert!(code == 7 && error.contains("prevResult"), "{error}");
    });
}

#[test]
fn garbage_collection_removes_what_is_not_valid_and_nothing_of_other_networks() {
    on_host(|host| {
        let pods = [8080, 8081, 8082].map(|port| mapped(host, &tcp("", port)));
        let foreign = pods[2].call.set("name", "other");
        pods[2].call.ok("DEL");
        foreign.add();
        let (code, _) = pods[0].call.fails("GC");
        assert_eq!(code, 7, "without a list nothing is removed");
        pods[0].call.valid(&[(pods[0].pod.name(), "eth0")]).ok("GC");
        pods[0].call.ok("CHECK");
        assert_eq!(pods[1].call.fails("CHECK").0, 103);
        foreign.ok("CHECK");
        assert_eq!(records(host), 2);
        // Elements without a record, and a record without elements.
        pods[1].call.add();
        std::fs::remove_dir_all(host.path("run")).unwrap();
        pods[0].call.add();
        sh("nft flush map inet tweed-cni hostport4");
        pods[0].call.valid(&[]).ok("GC");
        let left = table();
        assert!(!left.contains(pods[0].pod.name()) && !left.contains(pods[1].pod.name()));
        assert_eq!(records(host), 0);
    });
}

#[test]
fn what_is_not_supported_is_refused_before_anything_is_done() {
    on_host(|host| {
        let attached = attached(host, &tcp("", 8080));
        for (key, value, code, text) in [
            (
                "conditionsV4",
                json!(["-s", "192.0.2.0/24", "-i", "eth0"]),
                2,
                "conditionsV4: \"-i\" and what follows it can't be translated",
            ),
            ("conditionsV6", json!(["ip6", "saddr"]), 2, "conditionsV6"),
            ("markMasqBit", json!(5), 2, "bit 13"),
            ("markMasqBit", json!(32), 7, "between 0 and 31"),
            ("backend", json!("ipvs"), 7, "unrecognized backend"),
            (
                "prevResult",
                Value::Null,
                7,
                "must be called as chained plugin",
            ),
            (
                "runtimeConfig",
                json!({"portMappings": [{"hostPort": 0, "containerPort": 80}]}),
                7,
                "Invalid host port number: 0",
            ),
            (
                "runtimeConfig",
                json!({"portMappings": [mapping("tcp", "", 80, 80), mapping("tcp", "", 80, 81)]}),
                7,
                "host port tcp 0.0.0.0:80 is mapped to both 80 and 81",
            ),
        ] {
            let (is, error) = attached.call.set(key, value).fails("ADD");
            assert_eq!(is, code, "{error}");
            assert!(error.contains(text), "{error}");
        }
        assert_eq!(records(host), 0);
        attached.call.ok("STATUS");
        assert_eq!(
            attached
                .call
                .set("conditionsV4", json!(["x"]))
                .fails("STATUS")
                .0,
            2
        );
        // What another's chain would mark, our own rule does.
        let external = attached
            .call
            .set("externalSetMarkChain", "KUBE-MARK-MASQ")
            .set("backend", "iptables");
        external.add();
        external.ok("CHECK");
        // Without mappings there is nothing to do.
        let none = attached
            .call
            .set("runtimeConfig", json!({"portMappings": []}));
        none.container_id("another").add();
        none.container_id("another").ok("CHECK");
        none.container_id("another").ok("DEL");
    });
}

#[test]
fn del_removes_what_the_go_plugin_has_made() {
    on_host(|host| {
        let attached = attached(
            host,
            &json!([mapping("tcp", "", 8080, 80), mapping("udp", "", 53, 53)]),
        );
        let other = attached
            .call
            .container_id("other")
            .set("cniVersion", "1.0.0");
        let other = with_version(&other, "1.0.0")
            .set("runtimeConfig", json!({"portMappings": tcp("", 8085)}));
        let ours = with_version(&attached.call, "1.0.0");
        ours.of_go().add();
        other.of_go().add();
        let server = Server::at(At::Pod(&attached.pod), 80);
        assert!(
            server.tcp_from(At::Host, "127.0.0.1:8080").is_some(),
            "Go's port works"
        );
        let rules = || ["iptables-save", "ip6tables-save"].map(sh).concat();
        assert!(rules().contains(attached.pod.name()), "{}", rules());
        ours.ok("DEL");
        let left = rules();
        assert!(!left.contains(attached.pod.name()), "{left}");
        assert_eq!(
            left.matches(":CNI-DN-").count(),
            2,
            "the other's, one a family: {left}"
        );
        // A table of its own, since Go's release 1.6: rules with the container as comment.
        for family in ["ip", "ip6"] {
            sh(&format!("nft add table {family} cni_hostport"));
            sh(&format!("nft add chain {family} cni_hostport hostports"));
            for id in [attached.pod.name(), "other"] {
                sh(&format!(
                    "nft add rule {family} cni_hostport hostports tcp dport 8080 accept comment '\"{id}\"'"
                ));
            }
        }
        ours.ok("DEL");
        let left = sh("nft list ruleset");
        assert!(!left.contains(attached.pod.name()), "{left}");
        assert_eq!(
            left.matches("accept comment \"other\"").count(),
            2,
            "{left}"
        );
    });
}

/// The same call in a version that Debian's Go plugins speak.
fn with_version(call: &Call, version: &str) -> Call {
    let mut result = call.conf()["prevResult"].clone();
    result["cniVersion"] = json!(version);
    call.set("cniVersion", version).after(&result)
}

#[test]
fn ports_of_twenty_containers_go_at_once_and_leave_nothing() {
    on_host(|host| {
        let pods: Vec<_> = (0..20).map(|n| mapped(host, &tcp("", 8000 + n))).collect();
        let calls = || pods.iter().chain(&pods).map(|pod| pod.call.start("DEL"));
        let started: Vec<Child> = calls().collect();
        for child in started {
            assert!(child.wait_with_output().unwrap().status.success());
        }
        assert!(!table().contains("comment \"net/"), "{}", table());
        assert_eq!(records(host), 0);
    });
}
