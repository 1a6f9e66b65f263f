//! The real plugins, given configurations of which little has been changed: each call ends in time with one document that a
//! runtime can read, and none is a defect.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};
use tweed_fuzz::{Source, changed, fuzz_one_in};

use super::lab::{Answer, Call, Host, Pod, answer, on_host, sh};

/// One process of these inputs.
const ONE_IN: u64 = 25;
const LIMIT: Duration = Duration::from_secs(20);
const VERBS: [&str; 6] = ["ADD", "ADD", "DEL", "CHECK", "GC", "STATUS"];

/// Keeps whatever a configuration may name from being written: all but the host's own folder, `/run` and the switches of
/// the network is read-only.
fn only_writable(folder: &Path) {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let folder = folder.display();
    sh(&format!(
        "mount --make-rprivate / && mount --bind {folder} {folder} && mount -t tmpfs run /run \
         && mount --bind /proc/sys /proc/sys && mount --bind /proc/sys/net /proc/sys/net \
         && mount -o remount,bind,ro /proc/sys && mount -o remount,bind,ro /"
    ));
}

/// A configuration of each plugin that works on this host.
fn configurations(host: &Host) -> Vec<(&'static str, Value)> {
    let env = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
    std::fs::write(host.path("subnet.env"), env).unwrap();
    let ipam = || host.ipam(&["10.1.2.0/24", "fd00:1:2::/64"]);
    let flannel = json!({
        "subnetFile": host.path("subnet.env"), "dataDir": host.path("flannel"),
        "ipam": {"dataDir": host.path("data")}, "delegate": {"isDefaultGateway": true, "bridge": "cni1"},
    });
    let fixed = json!({"type": "static", "addresses": [{"address": "10.1.2.9/24", "gateway": "10.1.2.1"}],
        "routes": [{"dst": "0.0.0.0/0"}], "dns": {"nameservers": ["10.0.0.1"]}});
    let ports =
        json!({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]});
    let limits = json!({"ingressRate": 8_000_000, "ingressBurst": 800_000, "egressRate": 8_000_000, "egressBurst": 800_000});
    vec![
        (
            "bridge",
            json!({"isDefaultGateway": true, "ipMasq": true, "hairpinMode": true, "mtu": 1400, "vlan": 0, "ipam": ipam()}),
        ),
        ("ptp", json!({"ipMasq": true, "mtu": 1400, "ipam": ipam()})),
        (
            "macvlan",
            json!({"master": "up0", "mode": "bridge", "ipam": ipam()}),
        ),
        (
            "tap",
            json!({"multiQueue": true, "owner": 0, "ipam": fixed}),
        ),
        ("host-device", json!({"device": "nic0", "ipam": ipam()})),
        ("loopback", json!({})),
        ("host-local", json!({"ipam": ipam()})),
        ("static", json!({"ipam": fixed})),
        ("flannel", flannel.clone()),
        ("tweed", flannel),
        (
            "portmap",
            json!({"snat": true, "masqAll": false, "runtimeConfig": ports}),
        ),
        ("bandwidth", json!({"runtimeConfig": {"bandwidth": limits}})),
        (
            "tuning",
            json!({"sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}, "mtu": 1400, "promisc": true,
            "dataDir": host.path("tuning")}),
        ),
        ("sbr", json!({"table": 100})),
        ("firewall", json!({"ingressPolicy": "same-bridge"})),
        ("sample", json!({})),
    ]
}

/// The call that an input makes: which verb, and a text for stdin.
fn input(source: &mut Source, call: &Call) -> (&'static str, String) {
    let verb = source.pick(&VERBS);
    let whole = call.valid(&[("other", "eth0")]).conf().to_string();
    let text = match source.once_in(4) {
        true => whole,
        false => changed(source, &[&whole]),
    };
    (verb, text)
}

/// Whether it succeeded.
fn is_right(verb: &str, answer: &Answer, what: &str) -> bool {
    let text = &answer.stdout;
    assert!(!text.contains("defect in tweed"), "{what}: {text}");
    let object = || {
        serde_json::from_str::<Value>(text).unwrap_or_else(|e| panic!("{e}: {what}: {answer:?}"))
    };
    match (answer.code, verb) {
        (0, "ADD") => assert!(object()["cniVersion"].is_string(), "{what}: {text}"),
        (0, _) => assert_eq!(text, "", "{what}"),
        (1, _) => {
            let error = object();
            let has_words = error["msg"].as_str().is_some_and(|msg| !msg.is_empty());
            assert!(
                has_words && error["code"].as_u64() > Some(0),
                "{what}: {text}"
            );
        }
        _ => panic!("{what}: {answer:?}"),
    }
    answer.code == 0
}

#[test]
fn every_process_ends_in_time_with_one_document() {
    on_host(|host| {
        only_writable(&host.path(""));
        sh(
            "ip link set lo up; ip link add up0 type veth peer name wire0; ip link set up0 up; ip link set wire0 up",
        );
        let confs = configurations(host);
        let pods = [Pod::new(), Pod::new(), Pod::new()];
        fuzz_one_in(ONE_IN, "CNI process", 20, |source| {
            let pod = &pods[source.below(pods.len())];
            sh(
                "ip link show nic0 2>/dev/null >&2 || ip link add nic0 type veth peer name nic1 2>/dev/null || true",
            );
            let (plugin, mut conf) = source.pick(&confs);
            conf["cniVersion"] = source.pick(&["1.1.0", "1.0.0", "0.4.0", "0.3.1"]).into();
            conf["name"] = "net".into();
            conf["type"] = plugin.into();
            conf["stateDir"] = json!(host.path("run"));
            let version = conf["cniVersion"].clone();
            let call = host.call(plugin, conf, pod).after(&json!({
                "cniVersion": version,
                "interfaces": [{"name": "cni0"}, {"name": "veth1"}, {"name": "eth0", "sandbox": pod.path()}],
                "ips": [{"version": "4", "interface": 2, "address": "10.1.2.9/24"}],
            }));
            let (verb, text) = input(source, &call);
            let what = format!("{verb} of {plugin}: {text}");
            let begin = Instant::now();
            let answer = answer(call.command(verb), &text);
            assert!(begin.elapsed() < LIMIT, "{what}");
            let is_done = is_right(verb, &answer, &what);
            if verb == "ADD" {
                // With what is right again, since the runtime has that.
                let again = call.run("DEL");
                is_right("DEL", &again, &what);
            }
            is_done
        });
    });
}
