//! `vrf`, in a kernel that has it; what can be refused without it in any.

use serde_json::{Value, json};

use super::chained::{
    Chained, behind_bridge, behind_bridge_in, del_needs_nothing, survives_errors,
};
use super::lab::{Call, Host, Pod, VERSIONS, on_host};

fn inside(pod: &Pod) -> String {
    pod.sh(
        "ip -br link; ip -br -4 addr; ip -br -6 addr show scope global; \
        { ip route show table all; ip -6 route show table all; } \
        | grep -v -e 'table local' -e fe80 -e multicast -e 'table 10 ' | sort",
    )
}

#[test]
fn what_makes_no_sense_is_refused_and_del_goes_on() {
    on_host(|host| {
        let chained = behind_bridge(host, "vrf", &json!({"vrfname": "red"}));
        let call = &chained.call;
        for (call, text) in [
            (call.set("vrfname", ""), "expected to have a valid vrf name"),
            (call.set("vrfname", "a/b"), "is not a name for an interface"),
            (
                call.set("prevResult", Value::Null),
                "missing prevResult from earlier plugin",
            ),
            (call.ifname("eth7"), "could not get link by name eth7"),
            (call.set("vrfname", "eth0"), "Netlink eth0 is not a VRF"),
        ] {
            let (_, error) = call.fails("ADD");
            assert!(error.contains(text), "{error}");
            call.ok("DEL");
        }
        del_needs_nothing(host, "sample", &json!({}), &String::new);
    });
}

#[test]
#[ignore = "needs a kernel with vrf: the guest tier runs it"]
fn an_interface_goes_into_its_vrf_with_addresses_and_routes_and_comes_back() {
    on_host(|host| {
        let keys = json!({"vrfname": "red", "table": 10});
        let Chained { pod, bridge, call } = behind_bridge(host, "vrf", &keys);
        let before = inside(&pod);
        let result = call.add();
        assert_eq!(&result, &call.conf()["prevResult"]);
        let table = pod.sh("ip route show table 10; ip -6 route show table 10");
        for sign in [
            "default via 10.1.2.1 dev eth0",
            "default via fd00:1:2::1 dev eth0",
        ] {
            assert!(table.contains(sign), "{sign}: {table}");
        }
        assert!(pod.sh("ip link show eth0").contains("master red"));
        assert_eq!(pod.addrs("eth0").len(), 2);
        call.ok("CHECK");
        call.add();
        call.ok("CHECK");
        let (_, text) = call.set("table", 11).fails("ADD");
        assert!(
            text.contains("already exist with different routing table 10"),
            "{text}"
        );
        // A second interface keeps the device.
        let second = bridge.ifname("net1").add();
        let other = call.ifname("net1").after(&second);
        other.add();
        call.ok("DEL");
        assert!(pod.sh("ip link show red").contains("red"));
        other.ok("CHECK");
        let (code, text) = call.fails("CHECK");
        assert_eq!(
            (code, text.contains("associated to vrf red")),
            (103, true),
            "{text}"
        );
        other.ok("DEL");
        bridge.ifname("net1").ok("DEL");
        assert_eq!(inside(&pod), before);
    });
}

#[test]
#[ignore = "needs a kernel with vrf: the guest tier runs it"]
fn a_table_that_no_other_vrf_has_is_found() {
    on_host(|host| {
        let Chained { pod, call, .. } = behind_bridge(host, "vrf", &json!({"vrfname": "red"}));
        pod.sh("ip link add blue type vrf table 1");
        call.add();
        assert!(pod.sh("ip -d link show red").contains("table 2"));
        call.ok("CHECK");
        call.ok("DEL");
    });
}

#[test]
#[ignore = "needs a kernel with vrf: the guest tier runs it"]
fn errors_at_any_point_leave_nothing() {
    on_host(|host| {
        let keys = json!({"vrfname": "red", "table": 10});
        let Chained { pod, call, .. } = behind_bridge(host, "vrf", &keys);
        survives_errors(host, &call, &|| inside(&pod));
    });
}

/// A second interface of a container, and the call that puts it into another VRF.
fn beside(first: &Chained, subnets: &[&str], host: &Host, keys: &Value) -> Call {
    let second = first.bridge.ifname("net1").set("bridge", "cni1");
    let result = second
        .set("isDefaultGateway", false)
        .set("ipam", host.ipam_of("other", subnets))
        .add();
    let mut call = first.call.ifname("net1").after(&result);
    for (key, value) in keys.as_object().unwrap() {
        call = call.set(key, value.clone());
    }
    call
}

/// Two interfaces, each in a VRF of its own, with addresses of these subnets.
fn two_vrfs(host: &Host, subnets: &[&str]) {
    let first = behind_bridge(host, "vrf", &json!({"vrfname": "red", "table": 10}));
    let (pod, red) = (&first.pod, &first.call);
    let blue = beside(
        &first,
        subnets,
        host,
        &json!({"vrfname": "blue", "table": 11}),
    );
    let addrs = [pod.addrs("eth0"), pod.addrs("net1")];
    red.add();
    blue.add();
    for call in [red, &blue] {
        call.ok("CHECK");
    }
    let addrs_now = [pod.addrs("eth0"), pod.addrs("net1")];
    assert_eq!(addrs_now, addrs, "addresses go along, those of IPv6 too");
    assert!(pod.sh("ip link show eth0").contains("master red"));
    assert!(pod.sh("ip link show net1").contains("master blue"));
    for (subnet, family) in subnets.iter().zip(["-4", "-6"]) {
        let on = |table: u8| pod.sh(&format!("ip {family} route show {subnet} table {table}"));
        assert!(on(11).contains("dev net1"), "{}", on(11));
        assert!(!on(10).contains("dev net1"), "{}", on(10));
    }
    red.ok("DEL");
    assert!(pod.sh("ip -o link show type vrf").contains("blue"));
    blue.ok("CHECK");
    blue.ok("DEL");
    assert_eq!(pod.sh("ip -o link show type vrf"), "");
}

#[test]
#[ignore = "needs a kernel with vrf: the guest tier runs it"]
fn two_interfaces_in_two_vrfs_have_each_its_table_whatever_their_addresses() {
    on_host(|host| two_vrfs(host, &["10.3.0.0/24", "fd00:3::/64"]));
    // The subnets, and so the addresses, that the first interface has.
    on_host(|host| two_vrfs(host, &["10.1.2.0/24", "fd00:1:2::/64"]));
}

#[test]
#[ignore = "needs a kernel with vrf: the guest tier runs it"]
fn two_vrfs_can_have_one_table() {
    on_host(|host| {
        let first = behind_bridge(host, "vrf", &json!({"vrfname": "red", "table": 10}));
        let keys = json!({"vrfname": "blue", "table": 10});
        let second = beside(&first, &["10.3.0.0/24"], host, &keys);
        let before = inside(&first.pod);
        for call in [&first.call, &second] {
            call.add();
        }
        let table = first.pod.sh("ip route show table 10");
        assert!(
            table.contains("dev eth0") && table.contains("dev net1"),
            "{table}"
        );
        for call in [&first.call, &second] {
            call.ok("CHECK");
            call.ok("DEL");
        }
        assert_eq!(inside(&first.pod), before);
    });
}

#[test]
#[ignore = "needs a kernel with vrf: the guest tier runs it"]
fn an_interface_of_another_master_stays_with_it() {
    on_host(|host| {
        let Chained { pod, call, .. } = behind_bridge(host, "vrf", &json!({"vrfname": "red"}));
        pod.sh("ip link add br0 type bridge && ip link set eth0 master br0");
        let before = inside(&pod);
        let (_, text) = call.fails("ADD");
        assert!(
            text.contains("eth0 has already a master set: br0"),
            "{text}"
        );
        assert_eq!(inside(&pod), before, "no VRF is left");
        call.ok("DEL");
        assert!(pod.sh("ip link show eth0").contains("master br0"));
    });
}

#[test]
#[ignore = "needs a kernel with vrf: the guest tier runs it"]
fn every_version_from_0_3_1_on_has_vrfs_and_the_first_has_the_first_table() {
    on_host(|host| {
        for version in &VERSIONS[3..] {
            let keys = json!({"vrfname": "red"});
            let Chained { pod, call, .. } = behind_bridge_in(version, host, "vrf", &keys);
            let result = call.add();
            assert_eq!(&result["cniVersion"], version);
            assert!(
                pod.sh("ip -d link show red").contains("table 1 "),
                "{version}"
            );
            call.ok("DEL");
            assert!(!pod.links().contains(&"red".to_owned()), "{version}");
        }
    });
}
