//! `fastDel`: DEL ends at once, the links go together, and nothing of it stands in the way of the next ADD or stays.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::chained::{Chained, behind_bridge};
use super::lab::{Answer, Call, Host, Pod, addrs, answer, on_host, sh};

const SUBNETS: [&str; 2] = ["10.1.2.0/24", "fd00:1:2::/64"];

/// Links that were set aside go within two seconds on a machine that does nothing else, as `bench cni` measures it. All
/// tests together occupy this one.
const SOON: Duration = Duration::from_secs(30);

/// The system calls by which DEL changes something, or asks.
const CALLS: [&str; 11] = [
    "sendto",
    "setns",
    "socket",
    "rename",
    "unlink",
    "openat",
    "mkdir",
    "flock",
    "clone3",
    "execve",
    "exit_group",
];

fn bridge(host: &Host, pod: &Pod) -> Call {
    let call = host.call("bridge", host.bridge_conf("1.1.0", &SUBNETS), pod);
    call.set("fastDel", true).set("ipMasq", true)
}

fn ptp(host: &Host, pod: &Pod) -> Call {
    let conf = json!({
        "cniVersion": "1.1.0", "name": "net", "type": "ptp", "fastDel": true,
        "ipam": host.ipam(&SUBNETS), "stateDir": host.path("run"),
    });
    host.call("ptp", conf, pod)
}

/// Interfaces of the host that a DEL has set aside.
fn waiting(host: &Host) -> Vec<String> {
    let links = host.links().into_iter();
    links.filter(|name| name.starts_with("gone")).collect()
}

fn without_waiting(links: Vec<String>) -> Vec<String> {
    let links = links.into_iter();
    links.filter(|name| !name.starts_with("gone")).collect()
}

/// Waits until none is left.
fn none_waits(host: &Host, pods: &[&Pod], what: &str) {
    let begin = Instant::now();
    let left = || pods.iter().flat_map(|pod| pod.links()).collect::<Vec<_>>();
    while !waiting(host).is_empty() || !left().is_empty() {
        let links = (host.links(), left());
        assert!(begin.elapsed() < SOON, "{what}: {links:?} stay");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Keeps processes that remove links from being started, as if one had just been.
fn hold(host: &Host) -> File {
    let here = fs::metadata("/proc/thread-self/ns/net").unwrap().ino();
    fs::create_dir_all(host.path("run")).unwrap();
    let lock = host.path("run").join(format!(".remover-{here}.lock"));
    let file = File::create(lock).unwrap();
    file.lock().unwrap();
    file
}

#[test]
fn a_pod_is_off_the_network_when_del_returns_and_its_links_go_soon() {
    on_host(|host| {
        for make in [bridge, ptp] {
            let (held, pod) = (hold(host), Pod::new());
            let call = make(host, &pod);
            call.add();
            call.ok("DEL");
            let [name] = waiting(host).try_into().unwrap();
            assert!(host.veths().is_empty());
            let shown: Value =
                serde_json::from_str(&sh(&format!("ip -j link show {name}"))).unwrap();
            assert_eq!(shown[0]["operstate"], "DOWN", "{shown}");
            assert_eq!(shown[0].get("master"), None, "{shown}");
            assert_eq!(shown[0]["ifalias"], format!("net/{}/eth0", pod.name()));
            assert!(addrs(&name).is_empty(), "{:?}", addrs(&name));
            assert_eq!(pod.links(), [name.as_str()], "the pod's own end too");
            assert_eq!(
                pod.sh("ip -o addr show up | grep -v ' lo ' || true; ip route; ip -6 route"),
                ""
            );
            assert!(!sh("ip route").contains("10.1.2.2"));
            assert!(host.reservations("net").is_empty());
            assert!(!sh("nft list ruleset").contains("comment \"net/"));
            drop(held);
            // Nobody has come for it, so that the next one does.
            call.ok("DEL");
            none_waits(host, &[&pod], "after DEL");
        }
    });
}

#[test]
fn an_add_with_the_same_names_works_while_links_wait_and_outlives_them() {
    on_host(|host| {
        for make in [bridge, ptp] {
            let (held, pod) = (hold(host), Pod::new());
            let call = make(host, &pod);
            for _ in 0..3 {
                call.add();
                call.ok("DEL");
            }
            let result = call.add();
            assert_eq!(waiting(host).len(), 3);
            call.after(&result).ok("CHECK");
            assert!(pod.reaches("10.1.2.1") && pod.reaches("fd00:1:2::1"));
            drop(held);
            call.valid(&[(pod.name(), "eth0")]).ok("GC");
            assert!(waiting(host).is_empty(), "GC removes what waits");
            assert_eq!(pod.links(), ["eth0"]);
            call.after(&result).ok("CHECK");
            assert!(pod.reaches("10.1.2.1"));
            call.ok("DEL");
            none_waits(host, &[&pod], "after DEL");
        }
    });
}

#[test]
fn more_links_than_have_names_are_removed_in_place() {
    on_host(|host| {
        let (held, pod) = (hold(host), Pod::new());
        let call = bridge(host, &pod);
        for _ in 0..18 {
            call.add();
            call.ok("DEL");
        }
        assert_eq!(waiting(host).len(), 16);
        assert!(host.veths().is_empty() && without_waiting(pod.links()).is_empty());
        drop(held);
        call.set("fastDel", false).ok("DEL");
        assert!(waiting(host).is_empty(), "DEL in place removes them too");
    });
}

#[test]
fn the_namespace_may_go_before_del_or_right_after_it() {
    on_host(|host| {
        for make in [bridge, ptp] {
            let before = Pod::new();
            make(host, &before).add();
            let call = make(host, &before);
            drop(before);
            call.ok("DEL");
            let after = Pod::new();
            let call = make(host, &after);
            call.add();
            call.ok("DEL");
            drop(after);
            none_waits(host, &[], "without a namespace");
            let links = without_waiting(host.links());
            assert!(host.veths().is_empty() && links.iter().all(|name| name == "cni0"));
            assert!(host.reservations("net").is_empty());
        }
    });
}

#[test]
fn links_that_somebody_else_calls_so_stay() {
    on_host(|host| {
        sh("ip link add gone00000001 type veth peer name gone00000002
            ip link add gone00000003 type bridge
            ip link set gone00000001 alias mine");
        let pod = Pod::new();
        let call = bridge(host, &pod);
        call.add();
        call.ok("DEL");
        let begin = Instant::now();
        while waiting(host).len() > 3 {
            assert!(begin.elapsed() < SOON);
            std::thread::sleep(Duration::from_millis(20));
        }
        call.valid(&[]).ok("GC");
        assert_eq!(waiting(host).len(), 3);
    });
}

#[test]
fn the_device_of_a_limit_goes_with_the_pair() {
    on_host(|host| {
        let limits = json!({
            "egressRate": 16_000_000, "egressBurst": 1_600_000, "fastDel": true,
        });
        let Chained { pod, bridge, call } = behind_bridge(host, "bandwidth", &limits);
        let held = hold(host);
        let result = call.add();
        call.after(&result).ok("DEL");
        bridge.set("fastDel", true).ok("DEL");
        assert_eq!(waiting(host).len(), 2, "{:?}", host.links());
        drop(held);
        call.ok("DEL");
        none_waits(host, &[&pod], "after DEL");
        assert_eq!(host.links(), ["cni0"]);
    });
}

/// Runs DEL and kills it, or the process that it has started, at one system call. `None` if neither made so many.
fn del_killed(host: &Host, call: &Call, name: &str, number: usize) -> Option<Answer> {
    let trace = host.path("trace");
    let plain = call.command("DEL");
    let mut command = Command::new("strace");
    command.env_clear().args(["-f", "-qq", "-o"]).arg(&trace);
    command.args(["-e", &format!("trace={name}"), "-e"]);
    command.arg(format!("inject={name}:signal=KILL:when={number}"));
    command.arg(plain.get_program());
    let set = plain
        .get_envs()
        .filter_map(|(key, value)| Some((key, value?)));
    command.envs(set);
    let answer = answer(command, &call.conf().to_string());
    let seen = fs::read_to_string(&trace).unwrap();
    seen.contains("killed by SIGKILL").then_some(answer)
}

fn is_killed_anywhere(host: &Host, make: fn(&Host, &Pod) -> Call) {
    let mut tried = 0;
    for name in CALLS {
        for number in 1.. {
            let pod = Pod::new();
            let call = make(host, &pod);
            call.add();
            let what = format!("killed at {name} {number}");
            let killed = del_killed(host, &call, name, number);
            if number % 2 == 0 {
                let result = call.add();
                call.after(&result).ok("CHECK");
                assert_eq!(without_waiting(pod.links()), ["eth0"], "{what}");
                assert!(pod.reaches("10.1.2.1"), "{what}");
            }
            call.ok("DEL");
            none_waits(host, &[&pod], &what);
            assert!(host.veths().is_empty(), "{what}: {:?}", host.links());
            assert!(host.reservations("net").is_empty(), "{what}");
            let records = super::chained::files(&host.path("run"));
            assert!(
                records.iter().all(|name| name.ends_with(".lock")),
                "{what}: {records:?}"
            );
            if killed.is_none() {
                break;
            }
            tried += 1;
        }
    }
    assert!(tried > 20, "only {tried} points were tried");
}

#[test]
fn a_fast_del_of_a_bridged_pod_that_is_killed_anywhere_leaves_nothing_after_the_next_call() {
    on_host(|host| is_killed_anywhere(host, bridge));
}

#[test]
fn a_fast_del_of_a_routed_pod_that_is_killed_anywhere_leaves_nothing_after_the_next_call() {
    on_host(|host| is_killed_anywhere(host, ptp));
}

#[test]
fn of_250_pods_that_go_at_once_nothing_is_left() {
    on_host(|host| {
        let pods: Vec<Pod> = (0..250).map(|_| Pod::new()).collect();
        let calls: Vec<Call> = pods.iter().map(|pod| bridge(host, pod)).collect();
        for call in &calls {
            call.add();
        }
        let started: Vec<_> = calls.iter().map(|call| call.start("DEL")).collect();
        for mut del in started {
            assert!(del.wait().unwrap().success());
        }
        let pods: Vec<&Pod> = pods.iter().collect();
        none_waits(host, &pods[..1], "250 at once");
        assert_eq!(host.links(), ["cni0"]);
        assert!(host.reservations("net").is_empty());
        assert!(pods.iter().all(|pod| pod.links().is_empty()));
    });
}
