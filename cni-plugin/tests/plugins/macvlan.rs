//! `macvlan`: modes, masters, hardware addresses; traffic with others on the same network.

use serde_json::{Value, json};

use super::lab::{Call, Host, Pod, on_host, sh};
use super::subjects::prepare;

fn call(host: &Host, pod: &Pod) -> Call {
    let conf = json!({
        "cniVersion": "1.1.0", "name": "lan", "type": "macvlan", "master": "up0",
        "ipam": host.ipam(&["10.1.2.0/24"]), "stateDir": host.path("run"),
    });
    host.call("macvlan", conf, pod)
}

/// Another host on the network of the uplink.
fn neighbour() -> Pod {
    let neighbour = Pod::new();
    let name = neighbour.name();
    sh(&format!("ip link set wire0 netns {name}"));
    neighbour.sh("ip addr add 10.1.2.1/24 dev wire0 && ip link set wire0 up");
    neighbour
}

fn details(pod: &Pod) -> Value {
    let shown: Value = serde_json::from_str(&pod.sh("ip -j -d link show eth0")).unwrap();
    shown[0]["linkinfo"].clone()
}

#[test]
fn pods_on_an_uplink_reach_one_another_and_other_hosts() {
    on_host(|host| {
        prepare();
        let (one, two, neighbour) = (Pod::new(), Pod::new(), neighbour());
        let both = host.ipam(&["10.1.2.0/24", "fd00:1::/64"]);
        let result = call(host, &one).set("ipam", both.clone()).add();
        call(host, &two).set("ipam", both).add();
        assert!(one.reaches("10.1.2.3") && one.reaches("fd00:1::3") && one.reaches("10.1.2.1"));
        assert!(neighbour.reaches("10.1.2.2"));
        assert_eq!(one.addrs("eth0"), ["10.1.2.2/24", "fd00:1::2/64"]);
        assert_eq!(details(&one)["info_data"]["mode"], "bridge");
        assert_eq!(result["interfaces"].as_array().unwrap().len(), 1);
        assert_eq!(result["interfaces"][0]["sandbox"], one.path());
        assert_eq!(result["ips"][0]["interface"], 0);
        call(host, &one).after(&result).ok("CHECK");
    });
}

#[test]
fn a_neighbour_learns_at_once_that_an_address_is_another_pods() {
    on_host(|host| {
        prepare();
        let neighbour = neighbour();
        let with = |pod: &Pod| {
            let ips = json!({"ips": ["10.1.2.9"]});
            call(host, pod).set("runtimeConfig", ips)
        };
        let old = Pod::new();
        with(&old).add();
        assert!(neighbour.reaches("10.1.2.9"));
        with(&old).ok("DEL");
        let new = Pod::new();
        let mac = with(&new).add()["interfaces"][0]["mac"].clone();
        let learnt = format!(
            "for n in $(seq 100); do ip neigh show 10.1.2.9 | grep -q {} && exit 0; sleep 0.02; done; exit 1",
            mac.as_str().unwrap()
        );
        neighbour.sh(&learnt);
    });
}

#[test]
fn every_key_does_what_it_says() {
    on_host(|host| {
        prepare();
        sh("ip addr add 192.0.2.1/24 dev up0 && ip route add default via 192.0.2.254");
        let mac = "02:00:00:00:00:0a";
        let shown = |call: Call, command: &str| {
            let result = call.add();
            call.after(&result).ok("CHECK");
            let pod = result["interfaces"][0]["sandbox"].as_str().unwrap();
            let pod = pod.rsplit('/').next().unwrap();
            let shown = sh(&format!("ip netns exec {pod} {command}"));
            call.ok("DEL");
            (shown, result)
        };
        let link = "ip -d link show eth0";
        for mode in ["bridge", "private", "vepa", "passthru"] {
            let pod = Pod::new();
            let (text, _) = shown(call(host, &pod).set("mode", mode), link);
            assert!(text.contains(&format!("macvlan mode {mode}")), "{text}");
        }
        let pod = Pod::new();
        let (text, _) = shown(call(host, &pod).set("mtu", 1300), link);
        assert!(text.contains("mtu 1300"), "{text}");
        let (text, _) = shown(call(host, &pod).set("bcqueuelen", 2000), link);
        assert!(text.contains("bcqueuelen 2000"), "{text}");
        let (text, _) = shown(call(host, &pod).set("master", ""), link);
        assert!(text.contains("macvlan"), "{text}");
        sh("ip link property add dev up0 altname uplink");
        shown(call(host, &pod).set("master", "uplink"), link);
        let (text, result) = shown(call(host, &pod).set("mac", mac), link);
        assert!(
            text.contains(mac) && result["interfaces"][0]["mac"] == mac,
            "{text}"
        );
        let by_args = call(host, &pod)
            .set("mac", "02:00:00:00:00:0b")
            .args(&format!("IgnoreUnknown=1;MAC={mac}"));
        assert!(shown(by_args.clone(), link).0.contains(mac));
        let runtime = json!({"mac": "02:00:00:00:00:0c"});
        let (text, _) = shown(by_args.set("runtimeConfig", runtime), link);
        assert!(text.contains("02:00:00:00:00:0c"), "{text}");
        let flat = call(host, &pod).set("ipam", json!({}));
        let (text, result) = shown(flat, link);
        assert!(text.contains(",UP,") && result["ips"].is_null(), "{text}");
        let (_, text) = call(host, &pod).set("mode", "bridged").fails("ADD");
        assert!(
            text.contains("want bridge, private, vepa or passthru"),
            "{text}"
        );
    });
}

#[test]
fn a_master_in_the_container_is_left_there() {
    on_host(|host| {
        let pod = Pod::new();
        pod.sh("ip link add up0 type veth peer name wire0 && ip link set up0 up && ip link set wire0 up");
        let inside = call(host, &pod).set("linkInContainer", true).ifname("net1");
        let result = inside.add();
        inside.after(&result).ok("CHECK");
        inside.ok("STATUS");
        assert_eq!(pod.addrs("net1")[0], "10.1.2.2/24");
        inside.ok("DEL");
        let mut left = pod.links();
        left.sort();
        assert_eq!(left, ["up0", "wire0"]);
        let (_, text) = call(host, &pod).fails("ADD");
        assert!(text.contains("failed to lookup master \"up0\""), "{text}");
    });
}

#[test]
fn check_of_a_macvlan_notices_what_is_not_as_it_was() {
    on_host(|host| {
        prepare();
        sh("ip link add up1 type veth peer name wire1 && ip link set up1 up");
        for (command, text) in [
            ("ip addr del 10.1.2.2/24 dev eth0", "Failed to match addr"),
            (
                "ip link set eth0 address 02:00:00:00:00:99",
                "has MAC 02:00:00:00:00:99",
            ),
            ("ip link set eth0 down", "interface eth0 is down"),
            ("ip link set eth0 type macvlan mode private", "Private"),
            ("ip link del eth0", "container interface eth0 not found"),
            (
                "ip link del eth0 && ip link add eth0 type bridge",
                "is a bridge, not a macvlan",
            ),
        ] {
            let pod = Pod::new();
            let call = call(host, &pod).set("runtimeConfig", json!({"ips": ["10.1.2.2"]}));
            let mut result = call.add();
            pod.sh(command);
            if command.contains("bridge") {
                result["interfaces"][0]["mac"].take();
            }
            let (code, error) = call.after(&result).fails("CHECK");
            assert!(error.contains(text), "{command}: {error}");
            assert_eq!(code, 103, "{command}");
            call.ok("DEL");
        }
        let pod = Pod::new();
        let call = call(host, &pod);
        let result = call.add();
        for (master, text) in [
            ("up1", "does not lie on up1"),
            ("none", "master none not found"),
        ] {
            let (_, error) = call.set("master", master).after(&result).fails("CHECK");
            assert!(error.contains(text), "{error}");
        }
    });
}
