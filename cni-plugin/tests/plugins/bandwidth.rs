//! `bandwidth`: limits in the kernel, and what they do to traffic.

use serde_json::{Value, json};

use super::chained::{
    Chained, behind_bridge, behind_bridge_in, del_needs_nothing, survives_errors_and_kills,
};
use super::lab::{VERSIONS, on_host, sh};

/// 8 and 16 Mbit/s, a tenth of a second of it at once.
fn both() -> Value {
    json!({
        "ingressRate": 8_000_000, "ingressBurst": 800_000,
        "egressRate": 16_000_000, "egressBurst": 1_600_000,
    })
}

/// All that the plugin makes: devices, disciplines, filters.
fn state() -> String {
    let ends =
        "for end in $(ls /sys/class/net | grep veth); do tc filter show dev $end ingress; done";
    let devices = "ip -o link show type ifb | sed 's/.*\\(bwp[^:]*\\):.*/\\1/'";
    sh(&format!(
        "{devices}; tc qdisc show | grep -v noqueue || true; {ends}"
    ))
}

fn qdiscs(dev: &str) -> String {
    sh(&format!("tc qdisc show dev {dev}"))
}

fn ifbs() -> Vec<String> {
    let lines = sh("ip -o link show type ifb");
    let names = lines.lines().filter_map(|line| line.split(": ").nth(1));
    names.map(str::to_owned).collect()
}

#[test]
fn both_ways_are_limited_checked_and_freed_in_every_version() {
    on_host(|host| {
        for version in &VERSIONS[2..] {
            let chained = behind_bridge_in(version, host, "bandwidth", &both());
            let end = chained.host_end();
            let result = chained.call.add();
            let [ifb] = ifbs().try_into().unwrap();
            let last = result["interfaces"].as_array().unwrap().last().unwrap();
            assert_eq!(last["name"], ifb.as_str());
            assert!(last["mac"].is_string() && last["sandbox"].is_null());
            assert!(qdiscs(&end).contains("tbf 1: root"), "{}", qdiscs(&end));
            assert!(
                qdiscs(&end).contains("rate 8Mbit burst 100000b"),
                "{}",
                qdiscs(&end)
            );
            assert!(qdiscs(&end).contains("ingress ffff:"), "{}", qdiscs(&end));
            assert!(
                qdiscs(&ifb).contains("rate 16Mbit burst 200000b"),
                "{}",
                qdiscs(&ifb)
            );
            let filter = sh(&format!("tc filter show dev {end} ingress"));
            assert!(
                filter.contains(&format!("Redirect to device {ifb}")),
                "{filter}"
            );
            if *version >= "0.4.0" {
                chained.call.after(&result).ok("CHECK");
            }
            chained.call.after(&result).ok("DEL");
            assert_eq!(state(), "");
            chained.call.ok("DEL");
            chained.bridge.ok("DEL");
        }
    });
}

#[test]
fn one_way_alone_is_limited_and_without_limits_the_result_is_passed_on() {
    on_host(|host| {
        let ingress = json!({"ingressRate": 8000, "ingressBurst": 8000});
        let one = behind_bridge(host, "bandwidth", &ingress);
        assert_eq!(one.call.add(), one.call.conf()["prevResult"]);
        assert!(qdiscs(&one.host_end()).contains("tbf") && ifbs().is_empty());
        let egress =
            json!({"runtimeConfig": {"bandWidth": {"egressRate": 8000, "egressBurst": 8000}}});
        let other = behind_bridge(host, "bandwidth", &egress);
        other.call.add();
        assert!(!qdiscs(&other.host_end()).contains("tbf") && ifbs().len() == 1);
        for keys in [json!({}), json!({"ingressRate": 0, "ingressBurst": 0})] {
            let free = behind_bridge(host, "bandwidth", &keys);
            let before = state();
            let result = free.call.add();
            assert_eq!(result, free.call.conf()["prevResult"]);
            free.call.after(&result).ok("CHECK");
            assert_eq!(state(), before);
        }
    });
}

#[test]
fn an_add_with_other_values_changes_the_limits() {
    on_host(|host| {
        let chained = behind_bridge(host, "bandwidth", &both());
        let (call, end) = (&chained.call, chained.host_end());
        let first = call.add();
        let before = state();
        assert_eq!(call.after(&first).add(), first, "the same again");
        assert_eq!(state(), before);
        let faster = call
            .set("ingressRate", 80_000_000)
            .set("egressRate", 40_000_000);
        let result = faster.after(&first).add();
        assert_eq!(result, first);
        assert!(qdiscs(&end).contains("rate 80Mbit"), "{}", qdiscs(&end));
        assert!(qdiscs(&ifbs()[0]).contains("rate 40Mbit"));
        faster.after(&result).ok("CHECK");
        let (_, text) = call.after(&result).fails("CHECK");
        assert!(
            text.contains("10000000 bytes a second, wanted are 1000000 bytes"),
            "{text}"
        );
        let receives = call.set("egressRate", 0).set("egressBurst", 0);
        receives.add();
        assert!(
            ifbs().is_empty() && !qdiscs(&end).contains("ingress"),
            "{}",
            qdiscs(&end)
        );
        let sends = call.set("ingressRate", 0).set("ingressBurst", 0);
        sends.add();
        assert!(
            ifbs().len() == 1 && !qdiscs(&end).contains("tbf"),
            "{}",
            qdiscs(&end)
        );
        sends.set("egressRate", 0).set("egressBurst", 0).add();
        assert_eq!(state(), "");
    });
}

#[test]
fn what_can_not_be_limited_is_refused_and_nothing_is_left() {
    on_host(|host| {
        let chained = behind_bridge(host, "bandwidth", &both());
        let call = &chained.call;
        let prev = &call.conf()["prevResult"];
        let mut without = prev.clone();
        without["interfaces"].as_array_mut().unwrap().remove(1);
        let mut none = prev.clone();
        none["interfaces"] = json!([]);
        for (call, text) in [
            (
                call.set("prevResult", Value::Null),
                "must be called as chained plugin",
            ),
            (call.after(&none), "no interfaces provided"),
            (
                call.after(&without),
                "no veth peer of container interface found in host ns",
            ),
            (call.ifname("lo"), "container interface lo has no veth peer"),
            (
                call.ifname("eth7"),
                "container interface eth7 has no veth peer",
            ),
            (
                call.set("ingressBurst", 0),
                "if rate is set, burst must also be set",
            ),
            (
                call.set("unshapedSubnets", json!(["10.0.0.0/8"])),
                "unshapedSubnets is not supported",
            ),
            (call.netns("/run/netns/none"), "failed to open netns"),
        ] {
            let (_, error) = call.fails("ADD");
            assert!(error.contains(text), "{error}");
            assert_eq!(state(), "");
        }
        // Another program's filters stay, and are named.
        let end = chained.host_end();
        sh(&format!("tc qdisc add dev {end} clsact"));
        let before = state();
        let (code, text) = call.fails("ADD");
        assert_eq!(code, 104, "{text}");
        assert!(
            text.contains("another program looks at what comes in by"),
            "{text}"
        );
        assert_eq!(state(), before);
    });
}

#[test]
fn errors_and_kills_at_any_point_leave_nothing() {
    on_host(|host| {
        let chained = behind_bridge(host, "bandwidth", &both());
        survives_errors_and_kills(host, &chained.call, &state);
    });
}

#[test]
fn del_succeeds_whatever_has_gone_before() {
    on_host(|host| del_needs_nothing(host, "bandwidth", &both(), &state));
}

#[test]
fn two_interfaces_of_a_container_have_limits_of_their_own_and_gc_frees_what_is_not_valid() {
    on_host(|host| {
        let Chained { pod, bridge, call } = behind_bridge(host, "bandwidth", &both());
        let second = bridge.ifname("net1").add();
        let other = call.ifname("net1").after(&second);
        let one = call.add();
        other.add();
        assert_eq!(ifbs().len(), 2);
        call.after(&one).ok("CHECK");
        other.ok("CHECK");
        let new = call
            .set("cniVersion", "1.1.0")
            .set("prevResult", Value::Null);
        let foreign = new.set("name", "another");
        foreign.valid(&[]).ok("GC");
        assert_eq!(ifbs().len(), 2, "another network's");
        new.valid(&[(pod.name(), "net1")]).ok("GC");
        assert_eq!(ifbs().len(), 1);
        other.ok("CHECK");
        other.ok("DEL");
        assert!(ifbs().is_empty());
        assert!(new.fails("GC").1.contains("valid-attachments"));
        new.ok("STATUS");
    });
}

#[test]
fn check_notices_what_is_not_as_it_was() {
    on_host(|host| {
        for (damage, text) in [
            ("tc qdisc del dev END root", "END has no token bucket"),
            (
                "tc qdisc change dev END root tbf rate 1mbit burst 9000 limit 9000",
                "END lets through 125000",
            ),
            (
                "tc qdisc del dev END ingress",
                "what comes in by END is not led to IFB",
            ),
            ("tc qdisc del dev IFB root", "IFB has no token bucket"),
            ("ip link set IFB down", "IFB is down"),
            (
                "ip link del IFB",
                "there is no ifb device for what eth0 sends",
            ),
        ] {
            let chained = behind_bridge(host, "bandwidth", &both());
            let result = chained.call.add();
            let named = |text: &str| {
                let text = text.replace("END", &chained.host_end());
                text.replace("IFB", &ifbs().first().cloned().unwrap_or_default())
            };
            let (damage, text) = (named(damage), named(text));
            sh(&damage);
            let (code, error) = chained.call.after(&result).fails("CHECK");
            assert!(error.contains(&text), "{damage}: {error}");
            assert_eq!(code, 103);
            // And an ADD mends it.
            chained.call.add();
            chained.call.after(&result).ok("CHECK");
            chained.call.ok("DEL");
            assert_eq!(state(), "");
        }
    });
}

#[test]
fn either_plugin_makes_the_same_and_removes_the_others() {
    on_host(|host| {
        for ours_adds in [true, false] {
            let chained = behind_bridge(host, "bandwidth", &both());
            let (ours, go) = (chained.call.clone(), chained.call.of_go());
            let made = [&ours, &go].map(|call| {
                let mut result = call.add();
                result["interfaces"]
                    .as_array_mut()
                    .unwrap()
                    .last_mut()
                    .unwrap()["mac"]
                    .take();
                result.as_object_mut().unwrap().remove("dns");
                let state = state();
                call.after(&result).ok("CHECK");
                call.ok("DEL");
                (result, strip_numbers(&state))
            });
            // Go's removes the device alone.
            assert_eq!(made[0], made[1]);
            sh(&format!(
                "tc qdisc del dev {} root; tc qdisc del dev {} ingress || true",
                chained.host_end(),
                chained.host_end()
            ));
            let (adds, removes) = if ours_adds {
                (&ours, &go)
            } else {
                (&go, &ours)
            };
            let result = adds.add();
            removes.after(&result).ok("CHECK");
            removes.after(&result).ok("DEL");
            assert!(ifbs().is_empty());
            // Ours mends what the other has left, too.
            let result = ours.add();
            ours.after(&result).ok("CHECK");
            ours.ok("DEL");
            assert_eq!(state(), "");
        }
    });
}

/// Without reference counts, which differ with what a kernel has done before.
fn strip_numbers(state: &str) -> String {
    let words = state.split_whitespace().collect::<Vec<_>>();
    let mut kept = Vec::new();
    let mut skip = 0;
    for word in words {
        match word {
            "refcnt" | "index" => skip = 2,
            _ => {}
        }
        if skip > 0 {
            skip -= 1;
        } else {
            kept.push(word);
        }
    }
    kept.join(" ")
}
