//! `vlan`, `ipvlan` and `dummy`, for which not every kernel has the kinds of interface.

use serde_json::{Value, json};

use super::lab::{Call, Host, Pod, on_host, sh};
use super::link_faults::{
    fails_and_leaves_nothing, is_called_twice, is_collected_unless_valid, is_killed_and_done_again,
    is_removed_whatever_has_gone_before,
};
use super::subjects::{Subject, prepare, rarer_subjects, state};

/// Software emulation is slow: a call takes ten times as long.
const STEP: std::time::Duration = std::time::Duration::from_millis(5);

fn each(test: impl Fn(&Host, &Subject) + Sync) {
    on_host(|host| {
        prepare();
        for subject in rarer_subjects() {
            test(host, &subject);
        }
    });
}

fn call(host: &Host, pod: &Pod, plugin: &str, keys: Value) -> Call {
    let mut conf = json!({
        "cniVersion": "1.1.0", "name": "net", "type": plugin, "ipam": host.ipam(&["10.1.2.0/24"]),
        "stateDir": host.path("run"),
    });
    for (key, value) in keys.as_object().unwrap() {
        conf[key] = value.clone();
    }
    host.call(plugin, conf, pod)
}

#[test]
#[ignore = "needs a kernel with vlan, ipvlan and dummy: the guest tier runs it"]
fn what_fails_midway_leaves_nothing_of_rarer_kinds() {
    each(|host, subject| {
        if subject.plugin != "dummy" {
            fails_and_leaves_nothing(host, subject);
        }
    });
}

#[test]
#[ignore = "needs a kernel with vlan, ipvlan and dummy: the guest tier runs it"]
fn what_was_killed_leaves_nothing_of_rarer_kinds() {
    each(|host, subject| is_killed_and_done_again(host, subject, STEP));
}

#[test]
#[ignore = "needs a kernel with vlan, ipvlan and dummy: the guest tier runs it"]
fn rarer_kinds_are_added_and_deleted_twice_whatever_has_gone_and_collected() {
    each(|host, subject| {
        is_called_twice(host, subject);
        is_removed_whatever_has_gone_before(host, subject);
        is_collected_unless_valid(host, subject);
    });
}

#[test]
#[ignore = "needs a kernel with vlan: the guest tier runs it"]
fn a_pod_of_a_vlan_reaches_its_vlan_alone() {
    on_host(|host| {
        prepare();
        let neighbour = Pod::new();
        sh(&format!("ip link set wire0 netns {}", neighbour.name()));
        neighbour
            .sh("ip link set wire0 up && ip link add link wire0 name wire0.100 type vlan id 100");
        neighbour.sh("ip addr add 10.1.2.1/24 dev wire0.100 && ip link set wire0.100 up");
        let (one, two) = (Pod::new(), Pod::new());
        let vlan = |pod: &Pod, id: u16| {
            call(
                host,
                pod,
                "vlan",
                json!({"master": "up0", "vlanId": id, "mtu": 1400}),
            )
        };
        let result = vlan(&one, 100).add();
        assert!(one.reaches("10.1.2.1"));
        assert!(
            one.sh("ip -d link show eth0")
                .contains("vlan protocol 802.1Q id 100")
        );
        assert!(one.sh("ip link show eth0").contains("mtu 1400"));
        vlan(&one, 100).after(&result).ok("CHECK");
        let (_, error) = vlan(&one, 101).after(&result).fails("CHECK");
        assert!(error.contains("Vlan(100)"), "{error}");
        let (_, error) = vlan(&two, 100).fails("ADD");
        assert!(
            error.contains("another interface has VLAN 100 of up0"),
            "{error}"
        );
        vlan(&two, 101).add();
        assert!(!two.reaches("10.1.2.1"));
    });
}

#[test]
#[ignore = "needs a kernel with ipvlan: the guest tier runs it"]
fn pods_of_an_ipvlan_reach_one_another_in_every_mode() {
    on_host(|host| {
        prepare();
        for mode in ["l2", "l3", "l3s"] {
            let (one, two) = (Pod::new(), Pod::new());
            let ipvlan =
                |pod: &Pod| call(host, pod, "ipvlan", json!({"master": "up0", "mode": mode}));
            let result = ipvlan(&one).add();
            ipvlan(&two).add();
            let other = two.addrs("eth0")[0].replace("/24", "");
            assert!(one.reaches(&other), "{mode}");
            let shown = one.sh("ip -d link show eth0");
            let words: Vec<&str> = shown.split_whitespace().collect();
            assert!(
                words
                    .windows(3)
                    .any(|words| words == ["ipvlan", "mode", mode])
            );
            ipvlan(&one).after(&result).ok("CHECK");
            for pod in [&one, &two] {
                ipvlan(pod).ok("DEL");
            }
        }
    });
}

#[test]
#[ignore = "needs a kernel with ipvlan: the guest tier runs it"]
fn an_ipvlan_behind_another_plugin_takes_its_interface_and_addresses() {
    on_host(|host| {
        prepare();
        let before = state(host);
        let pod = Pod::new();
        let prev = json!({
            "cniVersion": "1.1.0", "interfaces": [{"name": "up0"}],
            "ips": [{"address": "10.1.2.9/24", "gateway": "10.1.2.1", "interface": 0}],
            "routes": [{"dst": "0.0.0.0/0"}],
        });
        let chained = call(host, &pod, "ipvlan", json!({"ipam": {}})).after(&prev);
        let result = chained.add();
        assert_eq!(pod.addrs("eth0"), ["10.1.2.9/24"]);
        assert!(pod.sh("ip route").contains("default via 10.1.2.1 dev eth0"));
        assert_eq!(result["interfaces"][0]["name"], "eth0");
        chained.after(&result).ok("CHECK");
        chained.ok("DEL");
        assert_eq!(state(host), before);
        let (_, error) = chained
            .set("prevResult", Value::Null)
            .set("master", "up0")
            .fails("ADD");
        assert!(error.contains("ipam.type is missing"), "{error}");
    });
}

#[test]
#[ignore = "needs a kernel with dummy: the guest tier runs it"]
fn a_dummy_has_an_address_that_the_pod_itself_reaches() {
    on_host(|host| {
        let pod = Pod::new();
        let dummy = call(host, &pod, "dummy", json!({}));
        let result = dummy.add();
        pod.sh("ip link set lo up");
        assert!(pod.reaches("10.1.2.2"));
        assert!(pod.sh("ip -d link show eth0").contains("dummy"));
        dummy.after(&result).ok("CHECK");
        pod.sh("ip link set eth0 down");
        let (_, error) = dummy.after(&result).fails("CHECK");
        assert!(error.contains("is down"), "{error}");
        dummy.ok("DEL");
        assert!(pod.links().is_empty());
    });
}

#[test]
#[ignore = "needs a kernel with vlan and ipvlan: the guest tier runs it"]
fn a_vlan_has_its_masters_mtu_and_an_ipvlan_without_master_the_default_routes_interface() {
    on_host(|host| {
        prepare();
        sh("ip link set up0 mtu 1300");
        sh("ip addr add 192.0.2.1/24 dev up0 && ip route add default via 192.0.2.254");
        for (plugin, keys, most) in [
            ("vlan", json!({"master": "up0", "vlanId": 100}), 1300),
            ("ipvlan", json!({}), 1300),
        ] {
            let pod = Pod::new();
            let call = call(host, &pod, plugin, keys);
            let result = call.add();
            call.after(&result).ok("CHECK");
            let shown: Value = serde_json::from_str(&pod.sh("ip -j link show eth0")).unwrap();
            assert_eq!(shown[0]["mtu"], most, "{plugin}");
            let lower: Value = serde_json::from_str(&sh("ip -j link show up0")).unwrap();
            assert_eq!(shown[0]["link_index"], lower[0]["ifindex"], "{plugin}");
            call.ok("DEL");
            let (_, error) = call.set("mtu", most + 1).fails("ADD");
            assert!(error.contains("master MTU(1300)"), "{error}");
            assert!(pod.links().is_empty());
        }
    });
}

#[test]
#[ignore = "needs a kernel with vlan and ipvlan: the guest tier runs it"]
fn a_master_in_the_container_serves_rarer_kinds_too() {
    on_host(|host| {
        for (plugin, keys) in [
            ("vlan", json!({"master": "up0", "vlanId": 100, "mtu": 1400})),
            ("ipvlan", json!({"master": "up0"})),
            // The interface of the container's own default route.
            ("ipvlan", json!({})),
        ] {
            let pod = Pod::new();
            pod.sh("ip link add up0 type veth peer name wire0");
            pod.sh("ip link set up0 up && ip link set wire0 up");
            pod.sh("ip addr add 192.0.2.1/24 dev up0 && ip route add default via 192.0.2.254");
            let outside = call(host, &pod, plugin, keys).ifname("net1");
            let inside = outside.set("linkInContainer", true);
            let result = inside.add();
            inside.after(&result).ok("CHECK");
            inside.ok("STATUS");
            assert_eq!(pod.addrs("net1").len(), 1, "{plugin}");
            let (_, error) = inside.ifname("net2").set("mtu", 9000).fails("ADD");
            assert!(error.contains("master MTU(1500)"), "{error}");
            inside.ok("DEL");
            let mut left = pod.links();
            left.sort();
            assert_eq!(left, ["up0", "wire0"], "{plugin}");
            // The host has no such interface, and no default route.
            outside.fails("ADD");
        }
    });
}

#[test]
#[ignore = "needs a kernel with dummy: the guest tier runs it"]
fn a_name_that_the_host_has_is_free_in_the_container() {
    on_host(|host| {
        sh("ip link add eth0 type veth peer name eth1");
        let (before, pod) = (state(host), Pod::new());
        let dummy = call(host, &pod, "dummy", json!({}));
        let result = dummy.add();
        assert_eq!(pod.links(), ["eth0"]);
        dummy.after(&result).ok("CHECK");
        dummy.ok("DEL");
        assert_eq!(state(host), before);
    });
}

/// On a kernel without them the refusal names the kind and what to do.
#[test]
fn a_kind_that_the_kernel_lacks_is_refused_by_name_or_works() {
    each(|host, subject| {
        let before = state(host);
        let pod = Pod::new();
        let call = subject.call(host, &pod);
        let answer = call.run("ADD");
        if answer.code != 0 {
            let (_, text) = answer.error();
            let wanted = format!("this kernel has no {}: load its module", subject.plugin);
            assert!(text.contains(&wanted), "{text}");
        }
        call.ok("DEL");
        assert!(pod.links().is_empty());
        assert_eq!(state(host), before);
        let without = call.set("ipam", json!({}));
        let (_, text) = without.fails("ADD");
        assert!(
            text.contains("requires an IPAM configuration")
                || text.contains("ipam.type is missing"),
            "{text}"
        );
    });
}

#[test]
fn what_no_vlan_can_be_is_refused() {
    on_host(|host| {
        let pod = Pod::new();
        for (keys, text) in [
            (json!({"vlanId": 5}), "\"master\" is missing"),
            (
                json!({"master": "up0", "vlanId": 4095}),
                "invalid VLAN ID 4095",
            ),
            (json!({"master": "up0", "vlanId": -1}), "invalid VLAN ID -1"),
            (
                json!({"master": "up0", "mtu": -1}),
                "mtu -1 is not a number of bytes",
            ),
        ] {
            let call = call(host, &pod, "vlan", keys);
            let (code, error) = call.fails("ADD");
            assert!(error.contains(text), "{error}");
            assert_eq!(code, 7);
            call.ok("DEL");
        }
        let ipvlan = call(host, &pod, "ipvlan", json!({"master": "up0", "mode": "l4"}));
        let (_, error) = ipvlan.fails("ADD");
        assert!(error.contains("want l2, l3 or l3s"), "{error}");
    });
}
