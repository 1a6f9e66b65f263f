//! Go's plugins that make an interface (Debian's, 1.1.1) and ours: the same result, the same kernel, and either removes
//! and checks what the other has made.

use serde_json::{Value, json};

use super::lab::{Call, Host, Pod, on_host, sh};
use super::subjects::{Subject, prepare, state, subjects};

/// Those that Debian's package has too.
fn shared() -> Vec<Subject> {
    let mut all = subjects();
    all.retain(|subject| subject.plugin != "tap");
    all
}

fn call(host: &Host, subject: &Subject, pod: &Pod) -> Call {
    let mut ipam = host.ipam(&["10.1.2.0/24", "fd00:1::/64"]);
    ipam["routes"] = json!([
        {"dst": "10.0.0.0/8", "gw": "10.1.2.1"}, {"dst": "0.0.0.0/0", "gw": "10.1.2.1"},
    ]);
    subject
        .call(host, pod)
        .set("cniVersion", "1.0.0")
        .set("ipMasq", false)
        .set("ipam", ipam)
}

/// A result without what is chosen anew each time.
fn comparable(mut result: Value) -> Value {
    let empty = result["dns"]
        .as_object()
        .is_some_and(serde_json::Map::is_empty);
    if empty {
        result.as_object_mut().unwrap().remove("dns");
    }
    for interface in result["interfaces"].as_array_mut().unwrap() {
        interface["mac"].take();
        interface["sandbox"].take();
        if interface["name"].as_str().unwrap().starts_with("veth") {
            interface["name"].take();
        }
    }
    result
}

/// What a pod's interface has in the kernel: kind, MTU, addresses, routes.
fn kernel(pod: &Pod) -> Vec<String> {
    let read = |command: &str| -> Value { serde_json::from_str(&pod.sh(command)).unwrap() };
    let mut found = Vec::new();
    let link = read("ip -j -d link show eth0");
    // Not the queue: Go's `ptp` gives the pair none, which matters to traffic control alone.
    for key in ["mtu", "operstate"] {
        found.push(format!("{key} {}", link[0][key]));
    }
    found.push(link[0]["linkinfo"]["info_kind"].to_string());
    found.push(link[0]["linkinfo"]["info_data"]["mode"].to_string());
    let addrs = read("ip -j addr show eth0");
    for addr in addrs[0]["addr_info"].as_array().unwrap() {
        if addr["scope"] == "global" {
            let keys = ["family", "local", "prefixlen", "broadcast", "scope"];
            found.push(keys.map(|key| addr[key].to_string()).join(" "));
        }
    }
    for command in [
        "ip -j route show table all",
        "ip -j -6 route show table all",
    ] {
        for route in read(command).as_array().unwrap() {
            let dst = route["dst"].as_str().unwrap_or_default();
            let of_kernel =
                route["table"] == "local" || dst.starts_with("fe80") || dst.starts_with("ff00");
            if route["dev"] == "eth0" && !of_kernel {
                let keys = ["dst", "gateway", "scope", "prefsrc", "metric", "protocol"];
                found.push(keys.map(|key| route[key].to_string()).join(" "));
            }
        }
    }
    found.sort();
    found
}

/// The host's routes and addresses for pods, without the names of interfaces.
fn of_host() -> Vec<String> {
    let routes = sh("ip route; ip -6 route; ip -o addr | sed 's/^[0-9]*: //'");
    let lines = routes
        .lines()
        .filter(|line| line.contains("10.1.2.") || line.contains("fd00:1:"));
    let mut lines: Vec<String> = lines
        .map(|line| {
            let words = line.split_whitespace();
            // Go's looks for duplicates on a link that only the host is on.
            let differs = ["scope", "nodad", "tentative"];
            let words = words.filter(|word| !word.starts_with("veth") && !differs.contains(word));
            words.take(4).collect::<Vec<_>>().join(" ")
        })
        .collect();
    lines.sort();
    lines
}

#[test]
fn both_make_the_same_interface_and_give_the_same_result() {
    on_host(|host| {
        prepare();
        for subject in shared() {
            let pod = Pod::new();
            let ours = call(host, &subject, &pod)
                .set("runtimeConfig", json!({"ips": ["10.1.2.77", "fd00:1::77"]}));
            let [(our_result, our_kernel), (go_result, go_kernel)] = [ours.clone(), ours.of_go()]
                .map(|call| {
                    let result = call.add();
                    let kernel = (kernel(&pod), of_host());
                    call.after(&result).ok("DEL");
                    (comparable(result), kernel)
                });
            assert_eq!(our_result, go_result, "{}", subject.plugin);
            assert_eq!(our_kernel, go_kernel, "{}", subject.plugin);
        }
    });
}

#[test]
fn either_removes_and_checks_the_others_interfaces() {
    on_host(|host| {
        prepare();
        for subject in shared() {
            for ours_adds in [true, false] {
                let before = state(host);
                let pod = Pod::new();
                let ours = call(host, &subject, &pod);
                let go = ours.of_go();
                let (adds, removes) = match ours_adds {
                    true => (&ours, &go),
                    false => (&go, &ours),
                };
                let result = adds.add();
                removes.after(&result).ok("CHECK");
                adds.after(&result).ok("CHECK");
                removes.after(&result).ok("DEL");
                assert!(pod.links().is_empty(), "{} {ours_adds}", subject.plugin);
                assert!(host.reservations("net").is_empty(), "{}", subject.plugin);
                // Go's DEL leaves our record, and loses an alias that the device had.
                ours.ok("DEL");
                if subject.plugin == "host-device" {
                    sh("ip link set nic0 alias spare");
                }
                assert_eq!(state(host), before, "{} {ours_adds}", subject.plugin);
            }
        }
    });
}
