//! `vrf`, in a kernel that has it; what can be refused without it in any.

use serde_json::{Value, json};

use super::chained::{Chained, behind_bridge, del_needs_nothing, survives_errors};
use super::lab::{Pod, on_host};

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
