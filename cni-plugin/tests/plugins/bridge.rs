//! `bridge` with `host-local`: what it makes, in every version.

use std::process::Command;

use serde_json::{Value, json};

use super::lab::{Pod, VERSIONS, addrs, answer, on_host, sh};

const V4: &str = "10.1.2.0/24";
const V6: &str = "2001:db8::/64";

/// Address of the first IP of a result, whatever its version.
fn first_address(result: &Value) -> String {
    let new = result["ips"][0]["address"].as_str();
    new.or(result["ip4"]["ip"].as_str())
        .or(result["ip6"]["ip"].as_str())
        .unwrap()
        .to_owned()
}

fn mac(command: &str) -> String {
    let shown: Value = serde_json::from_str(&sh(command)).unwrap();
    shown[0]["address"].as_str().unwrap().to_owned()
}

#[test]
fn a_pod_is_attached_checked_and_detached_in_every_version_and_family() {
    on_host(|host| {
        let families: [(&[&str], &[&str]); 3] = [
            (&[V4], &["10.1.2.1"]),
            (&[V6], &["2001:db8::1"]),
            (&[V4, V6], &["10.1.2.1", "2001:db8::1"]),
        ];
        for version in VERSIONS {
            for (subnets, gateways) in families {
                let pod = Pod::new();
                let call = host.call("bridge", host.bridge_conf(version, subnets), &pod);
                let result = call.add();
                assert_eq!(result["cniVersion"], version);
                assert_eq!(pod.addrs("eth0")[0], first_address(&result));
                for gateway in gateways {
                    assert!(pod.reaches(gateway), "{version} {gateway}");
                }
                if version >= "0.3.0" {
                    check_result(&result, &pod, subnets);
                }
                if version >= "0.4.0" {
                    call.after(&result).ok("CHECK");
                }
                call.after(&result).ok("DEL");
                assert!(pod.links().is_empty());
                assert!(host.veths().is_empty());
                assert!(host.reservations("net").is_empty());
                call.ok("DEL");
            }
        }
        assert_eq!(host.links(), ["cni0"], "the bridge stays");
    });
}

fn check_result(result: &Value, pod: &Pod, subnets: &[&str]) {
    let interfaces = result["interfaces"].as_array().unwrap();
    let names: Vec<&str> = interfaces
        .iter()
        .map(|i| i["name"].as_str().unwrap())
        .collect();
    assert_eq!((names[0], names[2]), ("cni0", "eth0"));
    let host_end = names[1];
    assert_eq!(interfaces[0]["mac"], mac("ip -j link show cni0"));
    assert_eq!(
        interfaces[1]["mac"],
        mac(&format!("ip -j link show {host_end}"))
    );
    assert_eq!(interfaces[2]["sandbox"], pod.path());
    let ips = result["ips"].as_array().unwrap();
    assert_eq!(ips.len(), subnets.len());
    assert!(ips.iter().all(|ip| ip["interface"] == 2));
    let routes = result["routes"].as_array().unwrap();
    assert_eq!(
        routes.len(),
        subnets.len(),
        "a default route a family: {routes:?}"
    );
    let link = sh(&format!("ip -d link show {host_end}"));
    assert!(link.contains("master cni0"));
    assert!(
        link.contains(&format!("alias net/{}/eth0", pod.name())),
        "{link}"
    );
}

#[test]
fn one_ipv4_and_two_ipv6_sets_are_three_addresses() {
    on_host(|host| {
        let pod = Pod::new();
        let conf = host.bridge_conf("1.0.0", &[V4, V6, "2001:db8:1::/64"]);
        let call = host.call("bridge", conf, &pod);
        let result = call.add();
        assert_eq!(result["ips"].as_array().unwrap().len(), 3);
        let mut addrs = addrs("cni0");
        addrs.sort();
        assert_eq!(addrs, ["10.1.2.1/24", "2001:db8:1::1/64", "2001:db8::1/64"]);
        call.after(&result).ok("CHECK");
    });
}

#[test]
fn name_servers_of_the_configuration_replace_those_of_the_ipam_plugin() {
    on_host(|host| {
        std::fs::write(host.path("resolv.conf"), "nameserver 192.0.2.3\n").unwrap();
        let pod = Pod::new();
        let mut conf = host.bridge_conf("1.0.0", &[V4]);
        conf["ipam"]["resolvConf"] = json!(host.path("resolv.conf"));
        let call = host.call("bridge", conf, &pod);
        assert_eq!(call.add()["dns"]["nameservers"], json!(["192.0.2.3"]));
        call.ok("DEL");
        let call = call.set("dns", json!({"nameservers": ["192.0.2.4"]}));
        assert_eq!(call.add()["dns"]["nameservers"], json!(["192.0.2.4"]));
    });
}

#[test]
fn an_existing_bridge_is_used_and_keeps_its_address() {
    on_host(|host| {
        let index = |()| {
            sh("cat /sys/class/net/cni0/ifindex 2>/dev/null || ip -o link show cni0 | cut -d: -f1")
        };
        sh("ip link add cni0 type bridge");
        let (before, before_mac) = (index(()), mac("ip -j link show cni0"));
        let pods = [Pod::new(), Pod::new()];
        for pod in &pods {
            let conf = host.bridge_conf("1.0.0", &[V4]);
            let result = host.call("bridge", conf, pod).add();
            assert_eq!(result["interfaces"][0]["mac"], mac("ip -j link show cni0"));
        }
        assert_eq!(index(()), before);
        assert_ne!(before_mac, "");
        assert!(pods[0].reaches("10.1.2.3"));
    });
}

#[test]
fn the_bridges_hardware_address_never_changes() {
    on_host(|host| {
        let pods = [Pod::new(), Pod::new(), Pod::new()];
        let mut seen = Vec::new();
        for pod in &pods {
            host.call("bridge", host.bridge_conf("1.0.0", &[V4]), pod)
                .add();
            seen.push(mac("ip -j link show cni0"));
        }
        for pod in &pods {
            host.call("bridge", host.bridge_conf("1.0.0", &[V4]), pod)
                .ok("DEL");
            seen.push(mac("ip -j link show cni0"));
        }
        seen.dedup();
        assert_eq!(seen.len(), 1, "{seen:?}");
    });
}

#[test]
fn without_ipam_the_bridge_is_a_switch() {
    on_host(|host| {
        let pod = Pod::new();
        let conf = |version: &str| json!({"cniVersion": version, "name": "l2", "type": "bridge", "ipam": {}});
        for version in VERSIONS {
            let call = host.call("bridge", conf(version), &pod);
            if version < "0.3.0" {
                let (_, text) = call.fails("ADD");
                assert!(
                    text.contains("cannot convert: no valid IP addresses"),
                    "{text}"
                );
                assert!(
                    pod.links().is_empty() && host.veths().is_empty(),
                    "nothing is left"
                );
                continue;
            }
            let result = call.add();
            assert_eq!(result["interfaces"].as_array().unwrap().len(), 3);
            assert!(result.get("ips").is_none());
            assert!(pod.sh("ip link show eth0").contains(",UP"));
            if version >= "0.4.0" {
                call.after(&result).ok("CHECK");
            }
            call.ok("DEL");
        }
    });
}

#[test]
fn the_containers_end_can_be_left_down() {
    on_host(|host| {
        let pod = Pod::new();
        let conf = json!({"cniVersion": "1.0.0", "name": "l2", "type": "bridge", "disableContainerInterface": true});
        let call = host.call("bridge", conf, &pod);
        call.add();
        assert!(pod.sh("ip link show eth0").contains("state DOWN"));
        let (code, text) = call.set("ipam", host.ipam(&[V4])).fails("ADD");
        assert_eq!(code, 7);
        assert!(text.contains("cannot use IPAM when DisableContainerInterface flag is set"));
    });
}

#[test]
fn port_flags_are_set_and_checked() {
    on_host(|host| {
        for (key, flag, other) in [
            ("hairpinMode", "hairpin on", "hairpin off"),
            ("portIsolation", "isolated on", "isolated off"),
        ] {
            let pod = Pod::new();
            let call = host.call("bridge", host.bridge_conf("1.0.0", &[V4]), &pod);
            let result = call.add();
            let port = |result: &Value| {
                let name = result["interfaces"][1]["name"].as_str().unwrap().to_owned();
                sh(&format!("ip -d link show {name}"))
            };
            assert!(port(&result).contains(other));
            let (_, text) = call.set(key, true).after(&result).fails("CHECK");
            assert!(text.contains("configured is true"), "{text}");
            call.ok("DEL");
            let call = call.set(key, true);
            let result = call.add();
            assert!(port(&result).contains(flag));
            call.after(&result).ok("CHECK");
            call.ok("DEL");
        }
        let pod = Pod::new();
        host.call("bridge", host.bridge_conf("1.0.0", &[V4]), &pod)
            .set("promiscMode", true)
            .add();
        assert!(sh("ip link show cni0").contains("PROMISC"));
    });
}

#[test]
fn isolated_containers_reach_the_gateway_but_not_each_other() {
    on_host(|host| {
        let pods = [Pod::new(), Pod::new()];
        for pod in &pods {
            let call = host.call("bridge", host.bridge_conf("1.0.0", &[V4]), pod);
            call.set("portIsolation", true).add();
        }
        assert!(pods[0].reaches("10.1.2.1"));
        assert!(!pods[0].reaches("10.1.2.3"));
    });
}

#[test]
fn the_mtu_is_that_of_both_ends_and_of_a_new_bridge() {
    on_host(|host| {
        let pod = Pod::new();
        let call = host
            .call("bridge", host.bridge_conf("1.0.0", &[V4]), &pod)
            .set("mtu", 1450);
        let result = call.add();
        let host_end = result["interfaces"][1]["name"].as_str().unwrap();
        for shown in [
            sh("ip link show cni0"),
            sh(&format!("ip link show {host_end}")),
            pod.sh("ip link show eth0"),
        ] {
            assert!(shown.contains("mtu 1450"), "{shown}");
        }
    });
}

#[test]
fn a_hardware_address_can_be_asked_for() {
    on_host(|host| {
        let pod = Pod::new();
        let call = host
            .call("bridge", host.bridge_conf("1.0.0", &[V4]), &pod)
            .args("IgnoreUnknown=1;K8S_POD_NAME=x;MAC=c2:11:22:33:44:55");
        let result = call.add();
        assert_eq!(result["interfaces"][2]["mac"], "c2:11:22:33:44:55");
        call.ok("DEL");
        let call = call.set("runtimeConfig", json!({"mac": "c2:11:22:33:44:77"}));
        let result = call.add();
        assert_eq!(result["interfaces"][2]["mac"], "c2:11:22:33:44:77");
        call.after(&result).ok("CHECK");
        pod.sh("ip link set eth0 address c2:11:22:33:44:78");
        assert!(
            call.after(&result)
                .fails("CHECK")
                .1
                .contains("prevResult says c2:11:22:33:44:77")
        );
    });
}

#[test]
fn two_interfaces_of_one_container_live_and_die_on_their_own() {
    on_host(|host| {
        let pod = Pod::new();
        let eth0 = host.call("bridge", host.bridge_conf("1.0.0", &[V4]), &pod);
        let net1 = eth0
            .ifname("net1")
            .set("isDefaultGateway", false)
            .set("isGateway", true);
        let first = eth0.add();
        let second = net1.add();
        eth0.after(&first).ok("CHECK");
        net1.after(&second).ok("CHECK");
        eth0.ok("DEL");
        assert_eq!(pod.links(), ["net1"]);
        net1.after(&second).ok("CHECK");
        net1.ok("DEL");
        assert!(pod.links().is_empty() && host.reservations("net").is_empty());
    });
}

#[test]
fn status_and_garbage_collection_are_passed_on_and_done() {
    on_host(|host| {
        let pods = [Pod::new(), Pod::new()];
        let mut conf = host.bridge_conf("1.1.0", &["10.1.2.0/30"]);
        conf["ipMasq"] = json!(true);
        let call = |pod: &Pod| host.call("bridge", conf.clone(), pod);
        call(&pods[0]).ok("STATUS");
        call(&pods[0]).add();
        let (code, text) = call(&pods[1]).fails("STATUS");
        assert_eq!(code, 50);
        assert!(
            text.contains("no IP addresses available in range set"),
            "{text}"
        );
        // The runtime has lost the container without DEL.
        assert_eq!(call(&pods[1]).fails("GC").0, 7);
        call(&pods[1]).valid(&[(pods[0].name(), "eth0")]).ok("GC");
        assert_eq!(pods[0].links(), ["eth0"]);
        call(&pods[1]).set("name", "other").valid(&[]).ok("GC");
        assert_eq!(pods[0].links(), ["eth0"], "another network's");
        call(&pods[1]).valid(&[]).ok("GC");
        assert!(pods[0].links().is_empty() && host.veths().is_empty());
        assert!(host.reservations("net").is_empty());
        assert!(!sh("nft list table inet tweed-cni").contains("comment \"net/"));
        call(&pods[1]).ok("STATUS");
    });
}

#[test]
fn status_reports_a_packet_filter_that_refuses_us_where_it_is_needed() {
    on_host(|host| {
        let pod = Pod::new();
        let status = |masquerade: bool| {
            let mut conf = host.bridge_conf("1.1.0", &[V4]);
            conf["ipMasq"] = json!(masquerade);
            let call = host.call("bridge", conf, &pod);
            let (allowed, mut refused) = (call.command("STATUS"), Command::new("setpriv"));
            refused.arg("--bounding-set=-net_admin");
            refused.arg(allowed.get_program()).env_clear();
            refused.envs(
                allowed
                    .get_envs()
                    .filter_map(|(key, value)| Some((key, value?))),
            );
            answer(refused, &call.conf().to_string())
        };
        let (code, text) = status(true).error();
        assert!(
            code == 50 && text.contains("CAP_NET_ADMIN"),
            "{code} {text}"
        );
        let without = status(false);
        assert_eq!(without.code, 0, "{without:?}");
    });
}
