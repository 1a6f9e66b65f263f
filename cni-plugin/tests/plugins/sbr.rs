//! `sbr`: what comes from an interface's addresses leaves by it.

use serde_json::{Value, json};

use super::chained::{
    Chained, behind_bridge, behind_bridge_in, del_needs_nothing, survives_errors_and_kills,
};
use super::lab::{Call, Host, Pod, VERSIONS, on_host, sh};

/// A container with two interfaces, the second with several addresses, and the plugin for that one.
fn second(host: &Host, keys: &Value) -> Chained {
    second_in("1.0.0", host, keys)
}

fn second_in(version: &str, host: &Host, keys: &Value) -> Chained {
    sh("sysctl -qw net.ipv6.conf.default.accept_dad=0");
    let pod = Pod::new();
    let first = host.bridge_conf(version, &["10.1.2.0/24"]);
    host.call("bridge", first, &pod).add();
    let mut conf = host.bridge_conf(version, &["10.9.1.0/24", "10.9.2.0/24", "fd00:9::/64"]);
    for (key, value) in [("bridge", "br9"), ("name", "net9")] {
        conf[key] = json!(value);
    }
    conf["isDefaultGateway"] = json!(false);
    conf["isGateway"] = json!(true);
    conf["ipam"]["routes"] = json!([{"dst": "192.0.2.0/24", "gw": "10.9.1.1"}]);
    let bridge = host.call("bridge", conf, &pod).ifname("net1");
    let result = bridge.add();
    let mut conf = json!({"cniVersion": version, "name": "net9", "type": "sbr"});
    for (key, value) in keys.as_object().unwrap() {
        conf[key] = value.clone();
    }
    let call = host.call("sbr", conf, &pod).ifname("net1").after(&result);
    Chained { pod, bridge, call }
}

/// Rules and routes of all tables but the kernel's local one.
fn inside(pod: &Pod) -> String {
    pod.sh(
        "ip rule; ip -6 rule; { ip route show table all; ip -6 route show table all; } \
        | grep -v 'table local' | sed 's/ expires [^ ]*//; s/ *$//' | sort",
    )
}

#[test]
fn each_address_has_a_rule_and_a_table_that_go_with_del_in_every_version() {
    on_host(|host| {
        for version in &VERSIONS[2..] {
            let Chained { pod, call, .. } = second_in(version, host, &json!({}));
            let before = inside(&pod);
            let result = call.add();
            assert_eq!(&result, &call.conf()["prevResult"]);
            let after = inside(&pod);
            for sign in [
                "from 10.9.1.2 lookup 100",
                "from 10.9.2.2 lookup 101",
                "from fd00:9::2 lookup 102",
                "default via 10.9.1.1 dev net1 table 100",
                "default via 10.9.2.1 dev net1 table 101",
                "default via fd00:9::1 dev net1 table 102",
                "192.0.2.0/24 via 10.9.1.1 dev net1 table 100",
                "10.9.1.0/24 dev net1 table 100",
                "default via 10.1.2.1 dev eth0",
            ] {
                assert!(after.contains(sign), "{sign}: {after}");
            }
            assert!(
                !after.contains("192.0.2.0/24 via 10.9.1.1 dev net1 \n"),
                "{after}"
            );
            assert!(
                pod.sh("ip route get 198.51.100.1 from 10.9.2.2")
                    .contains("via 10.9.2.1 dev net1")
            );
            assert!(
                pod.sh("ip route get 198.51.100.1 from 10.1.2.2")
                    .contains("via 10.1.2.1 dev eth0")
            );
            assert!(
                pod.sh("ip -6 route get 2001:db8::1 from fd00:9::2")
                    .contains("via fd00:9::1 dev net1")
            );
            assert!(pod.reaches("-I 10.9.1.2 10.9.1.1") && pod.reaches("10.1.2.1"));
            if *version >= "0.4.0" {
                call.ok("CHECK");
            }
            call.add();
            assert_eq!(inside(&pod), after, "again");
            call.ok("DEL");
            assert_eq!(inside(&pod), before);
            call.ok("DEL");
            sh("ip link del br9; ip link del cni0; rm -rf DATA || true"
                .replace("DATA", host.path("data").to_str().unwrap())
                .as_str());
        }
    });
}

#[test]
fn gateways_a_table_and_hints_are_as_configured() {
    on_host(|host| {
        let Chained { pod, call, .. } = second(host, &json!({}));
        let before = inside(&pod);
        let with = call.set("gateways", json!(["10.9.1.77", "fd00:9::77"]));
        let gateways = with.set("prevResult", {
            let mut prev = call.conf()["prevResult"].clone();
            let ips = prev["ips"].as_array_mut().unwrap();
            ips.remove(1);
            prev
        });
        gateways.add();
        let after = inside(&pod);
        for sign in [
            "default via 10.9.1.77 dev net1 table 100",
            "default via fd00:9::77 dev net1 table 101",
        ] {
            assert!(after.contains(sign), "{sign}: {after}");
        }
        gateways.ok("CHECK");
        gateways.ok("DEL");
        assert_eq!(inside(&pod), before);

        let table = call.set("table", 2000);
        table.add();
        let after = inside(&pod);
        for sign in [
            "from 10.9.1.2 lookup 2000",
            "from 10.9.2.2 lookup 2000",
            "from fd00:9::2 lookup 2000",
        ] {
            assert!(after.contains(sign), "{sign}: {after}");
        }
        assert!(!after.contains("table 2000"), "{after}");
        table.ok("CHECK");
        // Only rules of that table go.
        call.set("table", 7).ok("DEL");
        assert_eq!(inside(&pod), after);
        table.ok("DEL");
        assert_eq!(inside(&pod), before);

        let hints = call.set("addSourceHints", true);
        hints.add();
        let after = inside(&pod);
        assert!(
            after.contains("10.9.1.0/24 dev net1 scope link src 10.9.1.2"),
            "{after}"
        );
        assert!(
            !after.contains("192.0.2.0/24 via 10.9.1.1 dev net1\n"),
            "{after}"
        );
        hints.ok("CHECK");
        hints.ok("DEL");
        for (call, text) in [
            (
                call.set("prevResult", Value::Null),
                "must be called as chained plugin",
            ),
            (
                call.set("prevResult", json!({"cniVersion": "1.0.0"})),
                "No IP addresses supplied on interface: net1",
            ),
            (
                call.set("gateways", json!(["10.0.0.1", "10.0.0.2"])),
                "multiple IPv4 addresses",
            ),
            (
                call.set("gateways", json!(["192.0.2.7"])),
                "Failed to add default route to 192.0.2.7",
            ),
            (call.netns("/run/netns/none"), "failed to open netns"),
        ] {
            let before = inside(&pod);
            let (_, error) = call.fails("ADD");
            assert!(error.contains(text), "{error}");
            assert_eq!(inside(&pod), before, "{text}");
        }
    });
}

#[test]
fn tables_that_others_have_are_left_alone() {
    on_host(|host| {
        let Chained { pod, call, .. } = second(host, &json!({}));
        pod.sh("ip route add 203.0.113.0/24 via 10.1.2.1 table 100; ip rule add from 10.3.3.3 lookup 101");
        let before = inside(&pod);
        call.add();
        let after = inside(&pod);
        assert!(after.contains("from 10.9.1.2 lookup 102"), "{after}");
        call.ok("DEL");
        assert_eq!(inside(&pod), before);
    });
}

#[test]
fn check_notices_what_is_not_as_it_was() {
    on_host(|host| {
        let Chained { pod, call, .. } = second(host, &json!({}));
        for (damage, text) in [
            (
                "ip rule del from 10.9.2.2",
                "there is no rule for packets from 10.9.2.2",
            ),
            (
                "ip -6 rule del from fd00:9::2",
                "there is no rule for packets from fd00:9::2",
            ),
            (
                "ip route del default table 100",
                "table 100 has no default route by 10.9.1.1",
            ),
        ] {
            call.add();
            call.ok("CHECK");
            pod.sh(damage);
            let (code, error) = call.fails("CHECK");
            assert!(error.contains(text), "{error}");
            assert_eq!(code, 103);
            call.add();
            call.ok("CHECK");
            call.ok("DEL");
        }
        let new = call
            .set("cniVersion", "1.1.0")
            .set("prevResult", Value::Null);
        new.ok("STATUS");
        new.valid(&[]).ok("GC");
        assert!(new.fails("GC").1.contains("valid-attachments"));
    });
}

#[test]
fn errors_and_kills_at_any_point_leave_nothing() {
    on_host(|host| {
        let Chained { pod, call, .. } = second(host, &json!({}));
        survives_errors_and_kills(host, &call, &|| inside(&pod));
    });
}

#[test]
fn del_succeeds_whatever_has_gone_before() {
    on_host(|host| {
        del_needs_nothing(host, "sbr", &json!({}), &String::new);
        // Go's plugin made a file there.
        let Chained { call, .. } = second(host, &json!({}));
        let path = host.path("none");
        call.netns(path.to_str().unwrap()).ok("DEL");
        assert!(!path.exists());
    });
}

#[test]
fn either_plugin_makes_the_same_and_removes_the_others_rules() {
    on_host(|host| {
        let made = |who: fn(&Call) -> Call| {
            let Chained { pod, call, .. } = second(host, &json!({}));
            let mut result = who(&call).add();
            result.as_object_mut().unwrap().remove("dns");
            for interface in result["interfaces"].as_array_mut().unwrap() {
                interface.take();
            }
            for ip in result["ips"].as_array_mut().unwrap() {
                ip["address"].take();
            }
            let text = inside(&pod);
            for verb in ["DEL", "DEL"] {
                who(&call).ok(verb);
            }
            sh(&format!(
                "ip link del br9; ip link del cni0; rm -rf {}",
                host.path("data").display()
            ));
            (result, text)
        };
        let (ours, gos) = (made(Call::clone), made(Call::of_go));
        assert_eq!(ours.0, gos.0);
        // Ours marks the default routes that were in no table, and leaves link-local ones where neighbours are asked by
        // them.
        let ours = ours.1.replace(" proto 84", "");
        let lines = |text: &str| {
            let lines = text.lines().filter(|line| {
                // Go's puts the route of one family into the tables of the other, too.
                let is_idle = line.starts_with("fd00:9::/64 dev net1 table 10")
                    && !line.contains("table 102");
                !is_idle && !line.contains("fe80::/64") && !line.contains("multicast ff00")
            });
            lines
                .map(|line| line.replace(" linkdown", ""))
                .collect::<Vec<_>>()
        };
        assert_eq!(lines(&ours), lines(&gos.1));

        for ours_adds in [true, false] {
            let Chained { pod, call, .. } = second(host, &json!({}));
            let go = call.of_go();
            let (adds, removes) = if ours_adds {
                (&call, &go)
            } else {
                (&go, &call)
            };
            adds.add();
            removes.ok("DEL");
            assert!(!inside(&pod).contains("from 10.9"), "{}", inside(&pod));
            sh(&format!(
                "ip link del br9; ip link del cni0; rm -rf {}",
                host.path("data").display()
            ));
        }
    });
}

#[test]
fn in_a_version_without_interfaces_all_addresses_are_the_interfaces() {
    on_host(|host| {
        let Chained { pod, call, .. } = behind_bridge_in("0.2.0", host, "sbr", &json!({}));
        let before = inside(&pod);
        assert_eq!(&call.add(), &call.conf()["prevResult"]);
        let after = inside(&pod);
        assert!(after.contains("from 10.1.2.2 lookup 100"), "{after}");
        call.ok("DEL");
        assert_eq!(inside(&pod), before);
    });
}

#[test]
fn a_default_route_of_the_interface_goes_before_a_configured_gateway_as_in_the_reference() {
    on_host(|host| {
        let Chained { pod, call, .. } =
            behind_bridge(host, "sbr", &json!({"gateways": ["10.1.2.9"]}));
        let before = inside(&pod);
        let result = call.add();
        let after = inside(&pod);
        assert!(
            after.contains("default via 10.1.2.1 dev eth0 table 100"),
            "{after}"
        );
        call.after(&result).ok("CHECK");
        pod.sh("ip route del default table 100");
        let (_, text) = call.after(&result).fails("CHECK");
        assert!(text.contains("table 100 has no default route"), "{text}");
        call.ok("DEL");
        assert_ne!(inside(&pod), after);
        pod.sh("ip route add default via 10.1.2.1 dev eth0");
        assert_eq!(inside(&pod), before);
    });
}
