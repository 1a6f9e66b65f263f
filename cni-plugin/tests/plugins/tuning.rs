//! `tuning`: switches and attributes that a container gets, and gets back.

use std::process::Command;

use serde_json::{Value, json};

use super::chained::{
    Chained, behind_bridge, behind_bridge_in, del_needs_nothing, files, survives_errors_and_kills,
};
use super::lab::{Call, Host, Pod, VERSIONS, answer, on_host};

const MAC: &str = "02:00:00:00:00:77";

fn tuned(host: &Host, keys: &Value) -> Chained {
    let mut keys = keys.clone();
    keys["dataDir"] = json!(host.path("tuning"));
    behind_bridge(host, "tuning", &keys)
}

fn all() -> Value {
    json!({
        "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1", "net.core.somaxconn": "500"},
        "mac": MAC, "mtu": 1400, "promisc": true, "allmulti": true, "txQLen": 500,
    })
}

/// All that the plugin changes in a container.
fn inside(pod: &Pod) -> String {
    let link = "ip -o link show eth0 | sed 's/master.*qlen/qlen/; s/ link-netnsid.*//'";
    let switches = "sysctl net.ipv4.conf.eth0.arp_filter net.core.somaxconn net.ipv4.tcp_rmem";
    pod.sh(&format!(
        "{{ {link}; }} 2>/dev/null; ip -o link show eth0 2>/dev/null | grep -o 'link/ether [^ ]*'; {switches}"
    ))
}

#[test]
fn everything_is_changed_checked_and_given_back_in_every_version() {
    on_host(|host| {
        for version in &VERSIONS[2..] {
            let mut keys = all();
            keys["dataDir"] = json!(host.path("tuning"));
            let Chained { pod, bridge, call } = behind_bridge_in(version, host, "tuning", &keys);
            let before = inside(&pod);
            let result = call.add();
            let expected = {
                let mut expected = call.conf()["prevResult"].clone();
                expected["interfaces"][2]["mac"] = json!(MAC);
                if expected["interfaces"][2]["mtu"].is_number() {
                    expected["interfaces"][2]["mtu"] = json!(1400);
                }
                expected
            };
            assert_eq!(result, expected);
            let after = inside(&pod);
            for sign in [
                "PROMISC",
                "ALLMULTI",
                "mtu 1400",
                "qlen 500",
                MAC,
                "arp_filter = 1",
                "somaxconn = 500",
            ] {
                assert!(
                    after.contains(sign) && !before.contains(sign),
                    "{sign}: {after}"
                );
            }
            assert_eq!(
                files(&host.path("tuning")),
                [format!("{}_eth0.json", pod.name())].into()
            );
            if *version >= "0.4.0" {
                call.after(&result).ok("CHECK");
            }
            assert_eq!(call.after(&result).add(), result, "again");
            call.ok("DEL");
            assert_eq!(inside(&pod), before);
            assert!(files(&host.path("tuning")).is_empty());
            call.ok("DEL");
            bridge.ok("DEL");
        }
    });
}

#[test]
fn what_goes_before_what_is_as_in_the_reference() {
    on_host(|host| {
        let Chained { pod, call, .. } = tuned(host, &json!({"mac": MAC, "mtu": 1400}));
        let macs = |call: &Call| {
            call.add();
            let link = pod.sh("ip -o link show eth0");
            call.ok("DEL");
            link
        };
        let with = |mac: &str| format!("link/ether {mac}");
        assert!(macs(&call).contains(&with(MAC)));
        let args = call.args("IgnoreUnknown=1;MAC=02:00:00:00:00:01");
        assert!(macs(&args).contains(&with("02:00:00:00:00:01")));
        let runtime = args.set("runtimeConfig", json!({"mac": "02:00:00:00:00:02"}));
        assert!(macs(&runtime).contains(&with("02:00:00:00:00:02")));
        let last = runtime.set("args", json!({"cni": {
            "mac": "02:00:00:00:00:03", "mtu": 1300, "promisc": true, "allmulti": true, "txQLen": 50,
            "sysctl": {"net.core.somaxconn": "77"},
        }}));
        let link = macs(&last);
        for sign in [
            "02:00:00:00:00:03",
            "mtu 1300",
            "PROMISC",
            "ALLMULTI",
            "qlen 50",
        ] {
            assert!(link.contains(sign), "{sign}: {link}");
        }
        last.add();
        assert!(pod.sh("sysctl -n net.core.somaxconn").starts_with("77\n"));
        last.ok("DEL");
    });
}

#[test]
fn an_interface_with_dots_in_its_name_has_its_switches_set() {
    on_host(|host| {
        let Chained { pod, bridge, call } = tuned(host, &json!({}));
        let result = bridge.ifname("eth0.100").add();
        let call = call.ifname("eth0.100").after(&result);
        for key in [
            "net.ipv4.conf.IFNAME.arp_filter",
            "net.ipv4.conf.eth0.100.arp_filter",
            "net/ipv4/conf/eth0.100/arp_filter",
        ] {
            let call = call.set(
                "sysctl",
                json!({key: "1", "net.ipv4.tcp_rmem": "4096 50000 60000"}),
            );
            let switch = || pod.sh("cat /proc/sys/net/ipv4/conf/eth0.100/arp_filter");
            let memory = pod.sh("cat /proc/sys/net/ipv4/tcp_rmem");
            call.add();
            assert_eq!(switch(), "1\n", "{key}");
            call.ok("CHECK");
            call.ok("DEL");
            assert_eq!(
                (switch(), pod.sh("cat /proc/sys/net/ipv4/tcp_rmem")),
                ("0\n".into(), memory)
            );
        }
    });
}

#[test]
fn what_makes_no_sense_is_refused_and_nothing_is_left() {
    on_host(|host| {
        let Chained { pod, call, .. } = tuned(host, &all());
        let before = inside(&pod);
        let sysctl = |key: &str, value: &str| {
            call.set("sysctl", json!({key: value, "net.core.somaxconn": "500"}))
        };
        for (call, text) in [
            (
                call.set("prevResult", Value::Null),
                "Required prevResult missing",
            ),
            (
                sysctl("kernel.hostname", "x"),
                "invalid net sysctl key: \"kernel.hostname\"",
            ),
            (
                sysctl("net/../kernel/hostname", "x"),
                "invalid net sysctl key",
            ),
            (
                sysctl("net.ipv4.no_such_switch", "1"),
                "there is no sysctl net.ipv4.no_such_switch",
            ),
            (
                sysctl("net/core/somaxconn", "1"),
                "duplicated sysctl keys are not allowed",
            ),
            (
                sysctl("net.ipv4.ip_forward", "perhaps"),
                "the kernel refuses the value",
            ),
            (call.set("mtu", -1), "invalid mtu -1"),
            (call.set("mtu", 2), "set link eth0"),
            (call.set("mac", "02:00"), "invalid args 02:00 for MAC addr"),
            (
                call.set("mac", "01:00:00:00:00:01"),
                "not the address of one interface",
            ),
            (call.set("txQLen", -1), "invalid txQLen -1"),
            (call.ifname("eth7"), "failed to get \"eth7\""),
            (call.netns("/run/netns/none"), "failed to open netns"),
        ] {
            let (_, error) = call.fails("ADD");
            assert!(error.contains(text), "{text}: {error}");
            assert_eq!(inside(&pod), before, "{text}");
            assert!(files(&host.path("tuning")).is_empty(), "{text}");
        }
        let twice = call.conf().to_string().replace(
            "\"net.core.somaxconn\":\"500\"",
            "\"net.core.somaxconn\":\"500\",\"net.core.somaxconn\":\"501\"",
        );
        let refused = answer(call.command("ADD"), &twice);
        assert!(
            refused
                .error()
                .1
                .contains("duplicated sysctl keys are not allowed"),
            "{refused:?}"
        );
    });
}

/// Runs a verb where the allowlist has this text.
fn with_list(call: &Call, verb: &str, list: &str) -> super::lab::Answer {
    let plain = call.command(verb);
    let script = "mount -t tmpfs list /etc && mkdir -p /etc/cni/tuning \
        && printf '%s' \"$1\" >/etc/cni/tuning/allowlist.conf && exec \"$0\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-ec", script]);
    command.arg(plain.get_program()).arg(list);
    command.env_clear();
    let set = plain
        .get_envs()
        .filter_map(|(key, value)| Some((key, value?)));
    command.envs(set);
    answer(command, &call.conf().to_string())
}

#[test]
fn only_switches_of_the_operators_list_may_be_set() {
    on_host(|host| {
        let Chained { pod, call, .. } = tuned(
            host,
            &json!({
                "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}, "cniVersion": "1.0.0",
            }),
        );
        let before = inside(&pod);
        for (list, text) in [
            (
                "^net.core.*\n",
                "Sysctl net.ipv4.conf.IFNAME.arp_filter is not allowed",
            ),
            ("", "are allowed: []"),
            ("(", "\"(\" is no pattern"),
        ] {
            let refused = with_list(&call, "ADD", list);
            assert!(refused.error().1.contains(text), "{refused:?}");
            assert_eq!(inside(&pod), before);
            let status = with_list(
                &call
                    .set("cniVersion", "1.1.0")
                    .set("prevResult", Value::Null),
                "STATUS",
                list,
            );
            assert!(status.error().1.contains(text), "{status:?}");
        }
        for list in ["\n ^net\\.core \n arp_f[a-z]*$\n", "."] {
            let allowed = with_list(&call, "ADD", list);
            assert_eq!(allowed.code, 0, "{allowed:?}");
            assert!(inside(&pod).contains("arp_filter = 1"));
            // A list that has become shorter keeps nothing from being given back.
            assert_eq!(with_list(&call, "DEL", "").code, 0);
            assert_eq!(inside(&pod), before);
        }
    });
}

#[test]
fn check_notices_what_is_not_as_it_was() {
    on_host(|host| {
        let Chained { pod, call, .. } = tuned(host, &all());
        for (damage, text) in [
            (
                "sysctl -qw net.core.somaxconn=9",
                "value of /proc/sys/net/core/somaxconn is 500, current value is 9",
            ),
            (
                "ip link set eth0 address 02:00:00:00:00:99",
                "Ethernet address of eth0 is",
            ),
            (
                "ip link set eth0 promisc off",
                "promisc of eth0 is true, current value is false",
            ),
            (
                "ip link set eth0 mtu 1401",
                "MTU of eth0 is 1400, current value is 1401",
            ),
            (
                "ip link set eth0 allmulticast off",
                "all-multicast mode of eth0 is true",
            ),
            (
                "ip link set eth0 txqueuelen 7",
                "transmit queue length of eth0 is 500",
            ),
        ] {
            let result = call.add();
            call.after(&result).ok("CHECK");
            pod.sh(damage);
            let (code, error) = call.after(&result).fails("CHECK");
            assert!(error.contains(text), "{error}");
            assert_eq!(code, 103);
            call.ok("DEL");
        }
        // What nobody has asked for may be as it likes.
        pod.sh("ip link set eth0 promisc on");
        call.set("promisc", false)
            .set("mac", "")
            .set("sysctl", json!({}))
            .set("mtu", 0)
            .set("allmulti", Value::Null)
            .set("txQLen", Value::Null)
            .ok("CHECK");
    });
}

#[test]
fn errors_and_kills_at_any_point_leave_nothing() {
    on_host(|host| {
        let Chained { pod, call, .. } = tuned(host, &all());
        let state = || format!("{}{:?}", inside(&pod), files(&host.path("tuning")));
        survives_errors_and_kills(host, &call, &state);
    });
}

#[test]
fn del_succeeds_whatever_has_gone_before() {
    on_host(|host| {
        let mut keys = all();
        keys["dataDir"] = json!(host.path("tuning"));
        del_needs_nothing(host, "tuning", &keys, &|| {
            format!("{:?}", files(&host.path("tuning")))
        });
    });
}

#[test]
fn gc_forgets_what_is_not_valid_and_of_its_network() {
    on_host(|host| {
        let (one, other) = (tuned(host, &all()), tuned(host, &all()));
        one.call.add();
        other.call.add();
        let gos = host.path("tuning/of-go_eth0.json");
        std::fs::write(&gos, r#"{"mtu": 1500}"#).unwrap();
        let new = one
            .call
            .set("cniVersion", "1.1.0")
            .set("prevResult", Value::Null);
        new.set("name", "another").valid(&[]).ok("GC");
        assert_eq!(files(&host.path("tuning")).len(), 3);
        new.valid(&[(other.pod.name(), "eth0")]).ok("GC");
        let left = files(&host.path("tuning"));
        assert_eq!(
            left,
            [
                format!("{}_eth0.json", other.pod.name()),
                "of-go_eth0.json".into()
            ]
            .into()
        );
        new.ok("STATUS");
    });
}

#[test]
fn either_plugin_makes_the_same_and_gives_back_what_the_other_has_changed() {
    on_host(|host| {
        // Go's 1.1.1 knows no txQLen, and gives no switch back.
        let mut keys = all();
        keys.as_object_mut().unwrap().remove("txQLen");
        let Chained { pod, call, .. } = tuned(host, &keys);
        let go = call.of_go();
        let before = inside(&pod);
        let made = [&call, &go].map(|call| {
            let mut result = call.add();
            result.as_object_mut().unwrap().remove("dns");
            let made = inside(&pod);
            call.ok("DEL");
            pod.sh("sysctl -qw net.core.somaxconn=4096 net.ipv4.conf.eth0.arp_filter=0");
            (result, made)
        });
        assert_eq!(made[0], made[1]);
        assert_eq!(inside(&pod), before);
        for (adds, removes) in [(&call, &go), (&go, &call)] {
            let result = adds.add();
            removes.after(&result).ok("DEL");
            pod.sh("sysctl -qw net.core.somaxconn=4096 net.ipv4.conf.eth0.arp_filter=0");
            assert_eq!(inside(&pod), before);
            assert!(files(&host.path("tuning")).is_empty());
        }
    });
}
