//! `macspoofchk` of `bridge`: a container sends with its own source address, or not at all.

use serde_json::{Value, json};

use super::lab::{Call, Host, Pod, on_host, sh};

const V4: &str = "10.1.2.0/24";
const GATEWAY: &str = "10.1.2.1";
const OTHER: &str = "02:00:00:00:00:99";

fn checked(host: &Host, version: &str, pod: &Pod) -> Call {
    let mut conf = host.bridge_conf(version, &[V4]);
    conf["macspoofchk"] = json!(true);
    host.call("bridge", conf, pod)
}

fn table() -> String {
    sh("nft list table bridge tweed-cni")
}

fn mac(result: &Value) -> &str {
    result["interfaces"][2]["mac"].as_str().unwrap()
}

/// Whether the pod gets an answer when its interface has this address.
fn reaches_as(pod: &Pod, mac: &str) -> bool {
    pod.sh(&format!("ip link set eth0 address {mac}"));
    sh("ip neigh flush dev cni0");
    pod.reaches(GATEWAY)
}

#[test]
fn frames_with_another_source_address_are_dropped_of_pods_that_are_checked_and_of_no_others() {
    on_host(|host| {
        let (pod, free) = (Pod::new(), Pod::new());
        let call = checked(host, "1.0.0", &pod);
        let result = call.add();
        let unchecked = host.call("bridge", host.bridge_conf("1.0.0", &[V4]), &free);
        unchecked.add();
        assert!(pod.reaches(GATEWAY) && free.reaches(GATEWAY));
        assert!(!reaches_as(&pod, OTHER));
        let dropped = !table().contains("counter packets 0 ");
        assert!(dropped, "{}", table());
        assert!(reaches_as(&free, OTHER));
        assert!(reaches_as(&pod, mac(&result)));
        unchecked.ok("DEL");
        call.ok("DEL");
        assert!(!table().contains("elements"), "{}", table());
    });
}

#[test]
fn the_check_is_checked_and_put_back_by_add_and_goes_with_its_interface_alone() {
    on_host(|host| {
        let pod = Pod::new();
        let eth0 = checked(host, "1.1.0", &pod);
        let net1 = eth0.ifname("net1").set("isDefaultGateway", false);
        let result = eth0.add();
        net1.add();
        eth0.after(&result).ok("CHECK");
        let owner = |ifname: &str| format!("comment \"net/{}/{ifname}\"", pod.name());
        for ifname in ["eth0", "net1"] {
            assert_eq!(table().matches(&owner(ifname)).count(), 2, "{}", table());
        }
        sh("nft flush ruleset");
        let (_, text) = eth0.after(&result).fails("CHECK");
        assert!(text.contains("may have any source address"), "{text}");
        eth0.ok("DEL");
        let result = eth0.add();
        eth0.after(&result).ok("CHECK");
        net1.ok("DEL");
        eth0.after(&result).ok("CHECK");
        // The record tells DEL what the configuration has forgotten.
        eth0.set("macspoofchk", false).ok("DEL");
        assert!(!table().contains("elements"), "{}", table());
        eth0.add();
        eth0.valid(&[]).ok("GC");
        assert!(!table().contains("elements"), "{}", table());
    });
}

#[test]
fn an_add_that_fails_leaves_no_check() {
    on_host(|host| {
        let pod = Pod::new();
        let mut ipam = host.ipam(&[V4]);
        ipam["routes"] = json!([{"dst": "10.9.0.0/16", "gw": "192.0.2.1"}]);
        let call = checked(host, "1.0.0", &pod).set("ipam", ipam);
        let (_, text) = call.fails("ADD");
        assert!(text.contains("failed to add route"), "{text}");
        assert!(!table().contains("elements"), "{}", table());
    });
}

#[test]
fn gos_check_drops_the_same_and_goes_with_our_del() {
    on_host(|host| {
        let pod = Pod::new();
        let call = checked(host, "1.0.0", &pod);
        let result = call.of_go().add();
        assert!(pod.reaches(GATEWAY));
        assert!(!reaches_as(&pod, OTHER));
        assert!(reaches_as(&pod, mac(&result)));
        let theirs = || sh("nft list table bridge nat");
        assert!(theirs().contains(pod.name()), "{}", theirs());
        call.after(&result).ok("DEL");
        assert!(!theirs().contains(pod.name()), "{}", theirs());
    });
}
