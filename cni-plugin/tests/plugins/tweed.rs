//! `tweed` with `mode`: one entry does a whole pod.

use std::fs;

use serde_json::{Value, json};

use super::chained::survives_errors_and_kills;
use super::lab::{Call, Host, Pod, VERSIONS, on_host, sh};

const ENV: &str = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\n\
    FLANNEL_IPV6_NETWORK=fc00::/48\nFLANNEL_IPV6_SUBNET=fc00:0:0:1::1/64\n\
    FLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n";
const MAC: &str = "02:00:00:00:00:42";

pub(crate) fn write_env(host: &Host) {
    fs::write(host.path("subnet.env"), ENV).unwrap();
}

/// An entry, and what a runtime adds for a pod that wants everything.
pub(crate) fn full(host: &Host, mode: &str) -> Value {
    write_env(host);
    json!({
        "cniVersion": "1.1.0", "name": "net", "type": "tweed", "mode": mode,
        "subnetFile": host.path("subnet.env"), "runDir": host.path("agent"),
        "stateDir": host.path("run"), "dataDir": host.path("tuning"),
        "ipam": {"dataDir": host.path("data")},
        "capabilities": {"portMappings": true, "bandwidth": true, "mac": true, "ips": true},
        "sysctl": {"net.ipv4.conf.IFNAME.log_martians": "1"}, "txQLen": 777,
        "runtimeConfig": {
            "mac": MAC, "ips": ["10.244.1.77", "fc00:0:0:1::77"],
            "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
            "bandwidth": {
                "ingressRate": 8_000_000, "ingressBurst": 800_000,
                "egressRate": 16_000_000, "egressBurst": 1_600_000,
            },
        },
    })
}

/// All that a pod may have on the host and in itself, in a form that can be compared.
pub(crate) fn state(host: &Host, pod: &Pod) -> String {
    let files = |folder: &str| {
        let list = format!(
            "cd {} 2>/dev/null && find . -type f | sort | xargs -r grep -H . || true",
            host.path(folder).display()
        );
        sh(&list)
    };
    // The address of a device for what a pod sends is random.
    let links = "ip -o link | sed 's/^[0-9]*: //; s/@if[0-9]*//; /^bwp/s/ether [^ ]*//' | grep -v '^lo' | sort";
    let ends =
        "for end in $(ls /sys/class/net | grep veth); do tc filter show dev $end ingress; done";
    [
        sh(links),
        sh("ip -o addr show scope global | sed 's/^[0-9]*: //' | grep -v '^lo' || true"),
        sh("ip route; ip -6 route | grep -v fe80 || true"),
        sh("ip neigh show nud permanent"),
        sh("tc qdisc show | grep -v noqueue || true"),
        sh(ends),
        sh("nft list ruleset"),
        files("run"),
        files("tuning"),
        host.reservations("net").join(" "),
        pod.sh("ip -o link | sed 's/^[0-9]*: //; s/@if[0-9]*//'; ip route; ip -6 route | grep -v fe80 || true"),
        pod.sh("ip -o addr show scope global | sed 's/^[0-9]*: //'; sysctl -a 2>/dev/null | grep log_martians"),
    ]
    .join("\n")
}

/// Nothing of any attachment, whatever may stay for others.
pub(crate) fn rest(host: &Host) -> String {
    let run = host.path("run").display().to_string();
    let tuning = host.path("tuning").display().to_string();
    let list = format!("ls {run} {tuning} 2>/dev/null | grep json || true");
    let rules = "nft list ruleset | grep 'comment \"net/' || true";
    let devices = "ip -o link show type ifb | grep -o 'bwp[^:]*' || true";
    format!(
        "{:?} {:?} {}{}{}{}{}",
        host.veths(),
        host.reservations("net"),
        sh(&list),
        sh(rules),
        sh(devices),
        sh("ip route show proto 86; ip -6 route show proto 86"),
        sh("ip neigh show nud permanent"),
    )
}

/// The plugins that an entry with `mode` bridge stands for, each as a runtime calls it.
fn chain(host: &Host, pod: &Pod) -> Vec<Call> {
    let base = full(host, "bridge");
    let with = |plugin: &str, keys: Value| {
        let mut conf = json!({"cniVersion": "1.1.0", "name": "net", "type": plugin});
        for key in ["stateDir", "runtimeConfig"] {
            conf[key] = base[key].clone();
        }
        for (key, value) in keys.as_object().unwrap() {
            conf[key] = value.clone();
        }
        host.call(plugin, conf, pod)
    };
    let mut ipam = host.ipam(&["10.244.1.0/24", "fc00:0:0:1::/64"]);
    ipam["routes"] = json!([{"dst": "10.244.0.0/16"}, {"dst": "fc00::/48"}]);
    vec![
        with(
            "bridge",
            json!({
                "isGateway": true, "isDefaultGateway": true, "hairpinMode": true, "mtu": 1450,
                "ipMasq": true, "ipam": ipam,
            }),
        ),
        with("portmap", json!({})),
        with("bandwidth", json!({})),
        with(
            "tuning",
            json!({"dataDir": base["dataDir"], "sysctl": base["sysctl"], "txQLen": 777}),
        ),
    ]
}

#[test]
fn one_entry_makes_what_the_chain_makes_and_either_removes_it() {
    on_host(|host| {
        let pod = Pod::new();
        let chain = chain(host, &pod);
        let add = || {
            let mut result = Value::Null;
            for call in &chain {
                result = call.set("prevResult", result).add();
            }
            result
        };
        let del = |result: &Value| {
            let calls = chain.iter().rev();
            calls.for_each(|call| call.after(result).ok("DEL"));
        };
        let plain = |result: &Value| {
            let mut result = result.clone();
            result["interfaces"][3]["mac"].take();
            result
        };
        let of_chain = add();
        let expected = state(host, &pod);
        let one = host.call("tweed", full(host, "bridge"), &pod);
        one.after(&of_chain).ok("CHECK");
        one.after(&of_chain).ok("DEL");
        let clean = rest(host);
        assert!(
            clean.starts_with("[] [] \n") || clean.starts_with("[] [] "),
            "{clean}"
        );
        assert!(!clean.contains("bwp") && !clean.contains("json") && !clean.contains("net/"));

        let of_one = one.add();
        assert_eq!(plain(&of_one), plain(&of_chain));
        assert_eq!(state(host, &pod), expected);
        for call in &chain {
            call.after(&of_one).ok("CHECK");
        }
        del(&of_one);
        assert_eq!(rest(host), clean);
    });
}

#[test]
fn a_pod_lives_through_all_verbs_in_every_version() {
    on_host(|host| {
        for version in VERSIONS {
            let pod = Pod::new();
            let mut conf = full(host, "bridge");
            conf["cniVersion"] = version.into();
            if version < "0.3.0" {
                // These have no capabilities, and `bandwidth` doesn't speak them.
                conf["capabilities"] = json!({});
                conf["runtimeConfig"] = json!({});
            }
            let call = host.call("tweed", conf, &pod);
            let result = call.add();
            assert_eq!(result["cniVersion"], version);
            assert_eq!(pod.addrs("eth0").len(), 2, "{version}");
            if version >= "0.4.0" {
                call.after(&result).ok("CHECK");
            }
            call.after(&result).ok("DEL");
            call.after(&result).ok("DEL");
            assert!(host.veths().is_empty() && host.reservations("net").is_empty());
        }
    });
}

#[test]
fn status_and_add_need_the_agents_file_only_where_the_subnets_are_its() {
    on_host(|host| {
        let pod = Pod::new();
        let call = host.call("tweed", full(host, "bridge"), &pod);
        call.ok("STATUS");
        fs::remove_file(host.path("subnet.env")).unwrap();
        assert_eq!(call.fails("STATUS").0, 50);
        let (_, text) = call.fails("ADD");
        assert!(
            text.contains("failed to load flannel 'subnet.env' file"),
            "{text}"
        );
        let own = call.set("ipam", host.ipam(&["10.244.1.0/24", "fc00:0:0:1::/64"]));
        own.ok("STATUS");
        let result = own.add();
        assert!(pod.sh("ip link show eth0").contains("mtu 1500"));
        own.after(&result).ok("CHECK");
        call.ok("DEL");
        assert!(host.veths().is_empty() && host.reservations("net").is_empty());
    });
}

#[test]
fn check_passes_after_the_agent_has_changed_who_masquerades() {
    on_host(|host| {
        let pod = Pod::new();
        let call = host.call("tweed", full(host, "bridge"), &pod);
        let result = call.add();
        let now = ENV.replace("IPMASQ=false", "IPMASQ=true");
        fs::write(host.path("subnet.env"), now).unwrap();
        call.after(&result).ok("CHECK");
        sh("nft delete table inet tweed-cni");
        assert_eq!(call.after(&result).fails("CHECK").0, 103);
    });
}

#[test]
fn an_add_that_fails_at_any_plugin_leaves_nothing() {
    on_host(|host| {
        let pod = Pod::new();
        let base = host.call("tweed", full(host, "bridge"), &pod);
        base.add();
        base.ok("DEL");
        let clean = rest(host);
        let bandwidth = json!({"bandwidth": {"ingressRate": 8000}});
        for (what, call, text) in [
            ("bridge", base.set("vlan", 5000), "invalid VLAN ID 5000"),
            ("bridge", base.set("mtu", 40), "failed to make veth pair"),
            ("portmap", base.set("markMasqBit", 99), "between 0 and 31"),
            (
                "bandwidth",
                base.set("runtimeConfig", bandwidth),
                "burst must also be set",
            ),
            (
                "tuning",
                base.set("sysctl", json!({"net.none": "1"})),
                "there is no sysctl net.none",
            ),
            ("mode", base.set("mode", "vxlan"), "mode is \"vxlan\""),
            (
                "delegate",
                base.set("delegate", json!({})),
                "delegate goes with no mode",
            ),
        ] {
            let (_, error) = call.fails("ADD");
            assert!(error.contains(text), "{what}: {error}");
            assert_eq!(rest(host), clean, "{what}");
            assert!(pod.links().is_empty(), "{what}");
        }
    });
}

#[test]
fn gc_removes_what_is_not_valid_and_keeps_the_rest() {
    on_host(|host| {
        let pods = [Pod::new(), Pod::new()];
        let mut conf = full(host, "bridge");
        conf["runtimeConfig"]["ips"] = json!([]);
        let calls = pods
            .each_ref()
            .map(|pod| host.call("tweed", conf.clone(), pod));
        let kept = calls[0].add();
        let mut other = conf["runtimeConfig"].clone();
        other["portMappings"][0]["hostPort"] = 8081.into();
        calls[1].set("runtimeConfig", other).add();
        calls[0].valid(&[(pods[0].name(), "eth0")]).ok("GC");
        assert!(pods[1].links().is_empty());
        assert_eq!((host.veths().len(), host.reservations("net").len()), (1, 2));
        assert!(!sh("nft list ruleset").contains(pods[1].name()));
        assert_eq!(sh("ip -o link show type ifb | grep -c bwp"), "1\n");
        calls[0].after(&kept).ok("CHECK");
        calls[0].valid(&[]).ok("GC");
        assert!(host.veths().is_empty() && host.reservations("net").is_empty());
    });
}

#[test]
fn del_needs_no_valid_entry() {
    on_host(|host| {
        let pod = Pod::new();
        let call = host.call("tweed", full(host, "bridge"), &pod);
        call.add();
        call.ok("DEL");
        let clean = rest(host);
        for (key, value) in [
            ("mode", json!(3)),
            ("subnetFile", json!([])),
            ("mac", json!(7)),
            ("runtimeConfig", json!("none")),
            ("vlan", json!("many")),
        ] {
            call.add();
            call.set(key, value).ok("DEL");
            assert_eq!(rest(host), clean, "{key}");
        }
    });
}

#[test]
fn every_error_and_kill_leaves_nothing_after_a_del() {
    on_host(|host| {
        let pod = Pod::new();
        let call = host.call("tweed", full(host, "bridge"), &pod);
        call.add();
        call.ok("DEL");
        survives_errors_and_kills(host, &call, &|| rest(host));
    });
}
