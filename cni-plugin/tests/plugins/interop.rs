//! Go's plugins (Debian's, 1.1.1) and ours on one host: either removes and checks what the other has made.

use serde_json::json;

use super::lab::{Call, Host, Pod, on_host, sh};

const GO_VERSIONS: [&str; 6] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0"];
const SUBNETS: [&str; 2] = ["10.1.2.0/24", "2001:db8::/64"];

fn bridge(host: &Host, version: &str, pod: &Pod) -> Call {
    let mut conf = host.bridge_conf(version, &SUBNETS);
    // With a gateway: Go's CHECK does not find routes that have none in the result, not even its own.
    conf["ipam"]["routes"] = json!([{"dst": "10.0.0.0/8", "gw": "10.1.2.1"}]);
    host.call("bridge", conf, pod)
}

fn assert_clean(host: &Host, pod: &Pod) {
    assert!(pod.links().is_empty() && host.veths().is_empty());
    assert!(host.reservations("net").is_empty());
}

#[test]
fn either_bridge_plugin_removes_and_checks_the_others_pods() {
    on_host(|host| {
        for version in GO_VERSIONS {
            for ours_adds in [true, false] {
                let pod = Pod::new();
                let ours = bridge(host, version, &pod);
                let go = ours.of_go();
                let (adds, removes) = if ours_adds {
                    (&ours, &go)
                } else {
                    (&go, &ours)
                };
                let result = adds.add();
                if version >= "0.4.0" {
                    removes.after(&result).ok("CHECK");
                    adds.after(&result).ok("CHECK");
                }
                removes.after(&result).ok("DEL");
                assert_clean(host, &pod);
                adds.ok("DEL");
            }
        }
    });
}

#[test]
fn both_give_the_same_result_but_for_names_and_hardware_addresses() {
    on_host(|host| {
        for version in GO_VERSIONS {
            let pod = Pod::new();
            let call = bridge(host, version, &pod).args("IgnoreUnknown=1;IP=10.1.2.77");
            let mut results = [call.clone(), call.of_go()].map(|call| {
                let result = call
                    .set("isDefaultGateway", false)
                    .set("isGateway", true)
                    .add();
                call.ok("DEL");
                result
            });
            for result in &mut results {
                let empty = result["dns"]
                    .as_object()
                    .is_some_and(serde_json::Map::is_empty);
                if version >= "1.0.0" && empty {
                    result.as_object_mut().unwrap().remove("dns");
                }
                for interface in result["interfaces"].as_array_mut().into_iter().flatten() {
                    interface["mac"].take();
                    if interface["name"].as_str().unwrap().starts_with("veth") {
                        interface["name"].take();
                    }
                }
                for ip in result["ips"].as_array_mut().into_iter().flatten().skip(1) {
                    ip["address"].take();
                }
                if let Some(ip) = result.get_mut("ip6") {
                    ip["ip"].take();
                }
            }
            assert_eq!(results[0], results[1], "{version}");
        }
    });
}

#[test]
fn one_folder_of_reservations_serves_both_at_once() {
    on_host(|host| {
        use std::process::Child;
        let pod = Pod::new();
        let conf = json!({"cniVersion": "1.0.0", "name": "net", "type": "ipvlan", "ipam": host.ipam(&["10.1.2.0/24"])});
        let call = |n: usize| {
            let call = host
                .call("host-local", conf.clone(), &pod)
                .container_id(&format!("c{n}"));
            if n.is_multiple_of(2) {
                call
            } else {
                call.of_go()
            }
        };
        let all = |verb: &str, swap: usize| -> Vec<std::process::Output> {
            let children: Vec<Child> = (0..80)
                .map(|n| {
                    // The verb of each container, by the plugin that did not do the one before.
                    let program = call(n + swap).container_id(&format!("c{n}"));
                    program.start(verb)
                })
                .collect();
            children
                .into_iter()
                .map(|child| child.wait_with_output().unwrap())
                .collect()
        };
        for output in all("ADD", 0) {
            assert!(output.status.success(), "{output:?}");
        }
        assert_eq!(host.reservations("net").len(), 80);
        for n in 0..80 {
            call(n + 1).container_id(&format!("c{n}")).ok("CHECK");
            let (code, text) = call(n + 1).container_id(&format!("c{n}")).fails("ADD");
            assert!(
                text.contains("duplicate allocation is not allowed"),
                "{code} {text}"
            );
        }
        for output in all("DEL", 1) {
            assert!(output.status.success(), "{output:?}");
        }
        assert!(host.reservations("net").is_empty());
    });
}

#[test]
fn gos_plugin_goes_on_where_ours_has_stopped() {
    on_host(|host| {
        let pod = Pod::new();
        let conf = json!({"cniVersion": "1.0.0", "name": "net", "type": "ipvlan", "ipam": host.ipam(&["10.1.2.0/24"])});
        let ours = host.call("host-local", conf, &pod);
        let mut got = Vec::new();
        for n in 0..6 {
            let call = if n % 2 == 0 {
                ours.clone()
            } else {
                ours.of_go()
            };
            let call = call.container_id(&format!("c{n}"));
            got.push(call.add()["ips"][0]["address"].as_str().unwrap().to_owned());
            call.ok("DEL");
        }
        assert_eq!(
            got,
            ["2", "3", "4", "5", "6", "7"].map(|n| format!("10.1.2.{n}/24"))
        );
    });
}

#[test]
fn the_go_chain_of_bridge_and_ours_of_host_local_work_together() {
    on_host(|host| {
        let pod = Pod::new();
        let bin = host.path("bin");
        let call = bridge(host, "1.0.0", &pod)
            .of_go()
            .path(bin.to_str().unwrap());
        let result = call.add();
        call.after(&result).ok("CHECK");
        assert!(pod.reaches("10.1.2.1"));
        call.ok("DEL");
        assert_clean(host, &pod);
    });
}

#[test]
fn a_second_plugin_in_a_chain_accepts_our_result() {
    on_host(|host| {
        for version in ["0.3.1", "0.4.0", "1.0.0"] {
            let pod = Pod::new();
            let call = bridge(host, version, &pod);
            let result = call.add();
            let conf = json!({"cniVersion": version, "name": "net", "type": "portmap", "prevResult": result,
                "runtimeConfig": {"portMappings": []}});
            let portmap = host.call("bridge", conf, &pod).of_go_named("portmap");
            assert_eq!(portmap.add()["ips"], result["ips"]);
            portmap.ok("DEL");
            call.after(&result).ok("DEL");
        }
    });
}

#[test]
fn masquerading_that_gos_plugin_has_set_up_goes_with_our_del() {
    on_host(|host| {
        let (pod, other) = (Pod::new(), Pod::new());
        let conf = |pod: &Pod| bridge(host, "1.0.0", pod).set("ipMasq", true);
        conf(&other).of_go().add();
        let before = sh("iptables-nft-save -t nat; ip6tables-nft-save -t nat");
        conf(&pod).of_go().add();
        let with = sh("iptables-nft-save -t nat");
        assert!(
            with.contains(&format!("id: \\\"{}\\\"", pod.name())),
            "{with}"
        );
        conf(&pod).ok("DEL");
        let rules = |text: &str| -> Vec<String> {
            let lines = text.lines().filter(|line| line.starts_with("-A"));
            lines.map(str::to_owned).collect()
        };
        let after = sh("iptables-nft-save -t nat; ip6tables-nft-save -t nat");
        assert_eq!(rules(&after), rules(&before), "the other container's stay");
        assert_eq!(
            after.matches(":CNI-").count(),
            before.matches(":CNI-").count()
        );

        // Newer releases have a table of their own.
        let id = hex_digest(&format!("eth0:{}", other.name()));
        let comment = format!("{}-{id}, net: net, if: eth0", hex_digest("net"));
        sh("nft add table inet cni_plugins_masquerade");
        sh("nft add chain inet cni_plugins_masquerade masq_checks");
        for comment in [comment.as_str(), "of another program"] {
            sh(&format!(
                "nft 'add rule inet cni_plugins_masquerade masq_checks ip saddr 10.1.2.9 counter comment \"{comment}\"'"
            ));
        }
        conf(&other).ok("DEL");
        let table = sh("nft list table inet cni_plugins_masquerade");
        assert!(
            !table.contains(&comment) && table.contains("of another program"),
            "{table}"
        );
        assert!(!sh("iptables-nft-save -t nat").contains("CNI-"));
    });
}

/// The first 16 digits of the SHA-512 of a text.
fn hex_digest(text: &str) -> String {
    sh(&format!("printf %s '{text}' | sha512sum | cut -c1-16"))
        .trim()
        .to_owned()
}
