//! `firewall`: what the host forwards for containers, and between bridges.

use serde_json::{Value, json};

use super::chained::{
    Chained, behind_bridge, behind_bridge_in, del_needs_nothing, files, survives_errors_and_kills,
};
use super::lab::{Call, Host, Pod, on_host, sh};
use super::traffic::outside;

/// The rules of both families that forward, without counters.
fn rules() -> String {
    let saved = sh("iptables-nft-save -t filter; ip6tables-nft-save -t filter");
    let lines = saved
        .lines()
        .filter(|line| line.starts_with('-') || line.starts_with(':'));
    let lines = lines.map(|line| line.split(" [").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

/// What the plugin makes for containers.
fn state(host: &Host) -> String {
    let own = rules();
    let own = own
        .lines()
        .filter(|line| line.contains("10.1.2.") || line.contains("fd00:1:2"));
    let records = files(&host.path("run"));
    let records = records.iter().filter(|name| name.contains("firewall"));
    format!(
        "{:?} {:?}",
        own.collect::<Vec<_>>(),
        records.collect::<Vec<_>>()
    )
}

#[test]
fn what_a_container_sends_is_accepted_in_every_version_until_del() {
    on_host(|host| {
        for version in ["0.4.0", "1.0.0", "1.1.0"] {
            let chained = behind_bridge_in(version, host, "firewall", &json!({}));
            let result = chained.call.add();
            assert_eq!(&result, &chained.call.conf()["prevResult"]);
            let after = rules();
            for sign in [
                "-A FORWARD -m comment --comment \"CNI firewall plugin rules\" -j CNI-FORWARD",
                "-A CNI-FORWARD -m comment --comment \"CNI firewall plugin admin overrides\" -j CNI-ADMIN",
                "-A CNI-FORWARD -d 10.1.2.2/32 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
                "-A CNI-FORWARD -s 10.1.2.2/32 -j ACCEPT",
                "-A CNI-FORWARD -d fd00:1:2::2/128 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
                "-A CNI-FORWARD -s fd00:1:2::2/128 -j ACCEPT",
            ] {
                assert!(after.lines().any(|line| line == sign), "{sign}: {after}");
            }
            chained.call.after(&result).ok("CHECK");
            chained.call.add();
            assert_eq!(rules(), after, "again");
            chained.call.ok("DEL");
            assert_eq!(state(host), "[] []");
            let (code, text) = chained.call.after(&result).fails("CHECK");
            assert_eq!(code, 103);
            assert!(
                text.contains("does not accept what 10.1.2.2 sends"),
                "{text}"
            );
            chained.call.ok("DEL");
            chained.bridge.ok("DEL");
            sh(&format!("rm -r {}", host.path("data").display()));
        }
    });
}

#[test]
fn where_forwarding_is_dropped_by_policy_containers_reach_out_and_nobody_in() {
    on_host(|host| {
        let wire = outside(9);
        wire.sh("ip route add 10.1.2.0/24 via 192.0.2.1");
        sh("iptables-nft -P FORWARD DROP");
        let Chained { pod, call, .. } = behind_bridge(host, "firewall", &json!({}));
        assert!(!pod.reaches("192.0.2.9"));
        let answer = call.run("ADD");
        assert_eq!((answer.code, answer.stderr.as_str()), (0, ""));
        assert!(pod.reaches("192.0.2.9"));
        assert!(!wire.reaches("10.1.2.2"));
        assert!(rules().contains(":FORWARD DROP"), "{}", rules());
        call.ok("DEL");
        assert!(!pod.reaches("192.0.2.9"));
        // A table of another program: nothing can be done about it, and it is said.
        sh(
            "iptables-nft -P FORWARD ACCEPT; nft add table inet strict; \
            nft 'add chain inet strict passing { type filter hook forward priority 10; policy drop; }'",
        );
        let answer = call.run("ADD");
        assert_eq!(answer.code, 0);
        let words = "chain passing of nftables table inet strict drops what 10.1.2.2 sends";
        assert!(answer.stderr.contains(words), "{answer:?}");
        assert!(!pod.reaches("192.0.2.9"));
        call.ok("DEL");
    });
}

/// Two containers in one bridge, one in another, all with a policy.
fn three(host: &Host, policy: &str) -> [(Pod, Call); 3] {
    let mut number = 0;
    ["br1", "br1", "br2"].map(|bridge| {
        number += 1;
        let pod = Pod::new();
        let subnet = if bridge == "br1" {
            "10.1.2.0/24"
        } else {
            "10.1.3.0/24"
        };
        let conf = host.bridge_conf("1.0.0", &[subnet]);
        let made = host
            .call("bridge", conf, &pod)
            .set("bridge", bridge)
            .set("name", bridge);
        let result = made.add();
        let conf = json!({
            "cniVersion": "1.0.0", "name": bridge, "type": "firewall", "ingressPolicy": policy,
            "stateDir": host.path("run"), "prevResult": result,
        });
        let call = host.call("firewall", conf, &pod);
        call.add();
        call.ok("CHECK");
        (pod, call)
    })
}

#[test]
fn policies_keep_bridges_apart_and_isolated_containers_too() {
    for (policy, within, between) in [
        ("open", true, true),
        ("same-bridge", true, false),
        ("isolated", false, false),
    ] {
        on_host(|host| {
            sh("sysctl -qw net.bridge.bridge-nf-call-iptables=1");
            let [(one, call), (two, _), (three, other)] = three(host, policy);
            assert_eq!(one.reaches("10.1.2.3"), within, "{policy}");
            assert_eq!(two.reaches("10.1.3.2"), between, "{policy}");
            assert_eq!(three.reaches("10.1.2.2"), between, "{policy}");
            assert!(one.reaches("10.1.2.1"));
            let wire = outside(9);
            wire.sh("ip route add 10.1.0.0/16 via 192.0.2.1");
            assert!(
                one.reaches("192.0.2.9") && wire.reaches("10.1.2.2"),
                "{policy}"
            );
            let before = rules();
            call.add();
            assert_eq!(rules(), before);
            other.ok("DEL");
            if policy != "open" {
                sh("iptables-nft -F CNI-ISOLATION-STAGE-1");
                let (code, text) = call.fails("CHECK");
                assert_eq!(
                    (code, text.contains("bridge br1 is not isolated")),
                    (103, true),
                    "{text}"
                );
            }
        });
    }
}

#[test]
fn what_makes_no_sense_is_refused_and_nothing_is_left() {
    on_host(|host| {
        let call = behind_bridge(host, "firewall", &json!({})).call;
        let policy = call.set("ingressPolicy", "isolated");
        let none = json!({"cniVersion": "1.0.0", "ips": call.conf()["prevResult"]["ips"]});
        for (call, text) in [
            (
                call.set("prevResult", Value::Null),
                "missing prevResult from earlier plugin",
            ),
            (
                call.set("ingressPolicy", "closed"),
                "unknown ingress policy: \"closed\"",
            ),
            (
                call.set("backend", "firewalld"),
                "backend \"firewalld\" is not supported",
            ),
            (call.set("backend", "ebpf"), "unrecognized backend \"ebpf\""),
            (
                call.set("iptablesAdminChainName", "a b"),
                "is not a name for a chain",
            ),
            (
                policy.set("prevResult", none),
                "interface needs to be set for ingress policy",
            ),
        ] {
            let (_, error) = call.fails("ADD");
            assert!(error.contains(text), "{error}");
            assert_eq!(state(host), "[] []");
        }
        let own = call
            .set("iptablesAdminChainName", "MINE")
            .set("backend", "iptables");
        own.add();
        assert!(rules().contains("-j MINE"), "{}", rules());
        own.ok("CHECK");
    });
}

#[test]
fn an_address_that_another_container_has_by_now_keeps_its_rules() {
    on_host(|host| {
        let old = behind_bridge(host, "firewall", &json!({}));
        old.call.add();
        let new = old.call.container_id("new");
        new.add();
        let both = rules();
        old.call.ok("DEL");
        assert_eq!(rules(), both);
        new.ok("CHECK");
        let gone = new
            .set("cniVersion", "1.1.0")
            .set("prevResult", Value::Null);
        gone.set("name", "another").valid(&[]).ok("GC");
        gone.valid(&[("new", "eth0")]).ok("GC");
        assert_eq!(rules(), both);
        gone.valid(&[]).ok("GC");
        assert_eq!(state(host), "[] []");
        gone.ok("STATUS");
    });
}

#[test]
fn errors_and_kills_at_any_point_leave_nothing() {
    on_host(|host| {
        let chained = behind_bridge(host, "firewall", &json!({}));
        survives_errors_and_kills(host, &chained.call, &|| state(host));
    });
}

#[test]
fn del_succeeds_whatever_has_gone_before() {
    on_host(|host| del_needs_nothing(host, "firewall", &json!({}), &|| state(host)));
}

#[test]
fn either_plugin_makes_the_same_and_removes_the_others() {
    on_host(|host| {
        // Go's 1.1.1 knows no other, and its comments name no other.
        for policy in ["open", "same-bridge"] {
            let keys = json!({"ingressPolicy": policy, "backend": "iptables"});
            let chained = behind_bridge(host, "firewall", &keys);
            let (ours, go) = (chained.call.clone(), chained.call.of_go());
            let wipe = "for t in iptables-nft ip6tables-nft; do $t -F; $t -X; done";
            let made = [&ours, &go].map(|call| {
                let mut result = call.add();
                result.as_object_mut().unwrap().remove("dns");
                let made = rules().replace("same-bridge|isolated", "same-bridge");
                call.after(&call.conf()["prevResult"].clone()).ok("CHECK");
                call.ok("DEL");
                let left = rules().replace("same-bridge|isolated", "same-bridge");
                sh(wipe);
                (result, made, left)
            });
            assert_eq!(made[0], made[1], "{policy}");
            for (adds, removes) in [(&ours, &go), (&go, &ours)] {
                adds.add();
                removes.ok("CHECK");
                let before = rules();
                removes.add();
                if policy == "open" {
                    assert_eq!(rules(), before);
                }
                removes.ok("DEL");
                assert!(!rules().contains("10.1.2.2/32"), "{policy}: {}", rules());
                ours.ok("DEL");
                sh(wipe);
            }
            chained.bridge.ok("DEL");
            sh(&format!("rm -r {}", host.path("data").display()));
        }
    });
}
