//! Plugins that work with files, or with none: killed at each of their system calls, and each of those failing.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::chained::{CALLS, FILES, behind_bridge, survives_errors_at, survives_kills_at};
use super::dhcp_lab::{Link, alone, daemon, eventually, given, kept};
use super::lab::{Host, Pod, on_host, sh};
use super::traffic::{attached, mapping};

/// Not of one attachment: what is kept for the next call.
const OF_ALL: [&str; 2] = ["lock", ".index"];

/// All files below a folder with their texts, those of no attachment aside.
fn below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            found.extend(below(&path));
        } else if !OF_ALL.contains(&name.as_str()) && !name.starts_with("last_reserved") {
            let text = fs::read(&path).unwrap();
            found.push(format!("{}: {}", path.display(), text.escape_ascii()));
        }
    }
    found.sort();
    found
}

/// The same without the notes of `host-local`: a killed ADD leaves one of an address that nobody has. The next holder of the
/// address has its own, and GC removes it.
fn but_notes(folder: &Path) -> Vec<String> {
    let mut found = below(folder);
    found.retain(|file| !file.contains("/.netns/"));
    found
}

fn ports(host: &Host) -> String {
    let rules = sh("nft list ruleset");
    let owned = rules.lines().filter(|line| line.contains("comment \"net/"));
    let owned: Vec<&str> = owned.collect();
    format!("{owned:?} {:?}", below(&host.path("run")))
}

#[test]
fn portmap_leaves_nothing_where_others_have_ports_and_where_none_has() {
    on_host(|host| {
        let mappings = json!([
            mapping("tcp", "", 8080, 80),
            mapping("udp", "192.0.2.1", 53, 53)
        ]);
        let pod = attached(host, &mappings);
        let from_nothing = || {
            let left = ports(host);
            sh("nft delete table inet tweed-cni 2>/dev/null || true");
            left
        };
        from_nothing();
        survives_errors_at(host, &pod.call, &CALLS, &from_nothing);
        survives_kills_at(host, &pod.call, &CALLS, &from_nothing);
        let other = attached(host, &json!([mapping("tcp", "", 9090, 90)]));
        other.call.add();
        survives_errors_at(host, &pod.call, &CALLS, &|| ports(host));
        survives_kills_at(host, &pod.call, &CALLS, &|| ports(host));
        other.call.ok("CHECK");
    });
}

#[test]
fn host_local_leaves_no_reservation_and_no_other_file() {
    on_host(|host| {
        let (other, pod) = (Pod::new(), Pod::new());
        let ipam = host.ipam(&["10.1.2.0/24", "fd00:1:2::/64"]);
        let conf =
            json!({"cniVersion": "1.0.0", "name": "net", "type": "host-local", "ipam": ipam});
        host.call("host-local", conf.clone(), &other).add();
        let call = host.call("host-local", conf, &pod);
        let data = host.path("data");
        let before = below(&data);
        survives_errors_at(host, &call, &FILES, &|| below(&data).concat());
        survives_kills_at(host, &call, &FILES, &|| but_notes(&data).concat());
        let call = call.set("cniVersion", "1.1.0");
        call.valid(&[(other.name(), "eth0")]).ok("GC");
        assert_eq!(below(&data), before);
        assert_eq!(host.reservations("net").len(), 2, "the other's");
    });
}

#[test]
fn flannel_leaves_neither_its_file_nor_anything_of_its_delegate() {
    on_host(|host| {
        let env = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
        fs::write(host.path("subnet.env"), env).unwrap();
        let conf = json!({
            "cniVersion": "1.0.0", "name": "net", "type": "flannel", "subnetFile": host.path("subnet.env"),
            "dataDir": host.path("flannel"), "ipam": {"dataDir": host.path("data")},
            "delegate": {"isDefaultGateway": true, "stateDir": host.path("run")},
        });
        // The bridge stays, and so does its table.
        let first = Pod::new();
        host.call("flannel", conf.clone(), &first).add();
        host.call("flannel", conf.clone(), &first).ok("DEL");
        let pod = Pod::new();
        let call = host.call("flannel", conf, &pod);
        let state = |files: fn(&Path) -> Vec<String>| {
            let folders = ["flannel", "data", "run"].map(|name| files(&host.path(name)).concat());
            let links = (host.links(), pod.links());
            format!("{folders:?} {links:?} {}", ports(host))
        };
        survives_errors_at(host, &call, &FILES, &|| state(below));
        survives_kills_at(host, &call, &FILES, &|| state(but_notes));
    });
}

/// A pair has its owner as alias from the request after the one that makes it.
#[test]
fn gc_finds_a_pair_whose_add_was_killed_before_it_had_its_owner() {
    on_host(|host| {
        let (lost, kept) = (Pod::new(), Pod::new());
        let bridge = host.bridge_conf("1.1.0", &["10.1.2.0/24"]);
        let mut ptp = bridge.clone();
        ptp["type"] = "ptp".into();
        for (plugin, conf) in [("bridge", bridge), ("ptp", ptp)] {
            let calls = [&lost, &kept].map(|pod| host.call(plugin, conf.clone(), pod));
            for call in &calls {
                call.add();
            }
            for end in host.veths() {
                sh(&format!("ip link set {end} alias ''"));
            }
            calls[0].valid(&[(kept.name(), "eth0")]).ok("GC");
            assert_eq!((lost.links().len(), kept.links().len()), (0, 1), "{plugin}");
            calls[1].ok("DEL");
        }
    });
}

#[test]
fn an_add_that_is_repeated_with_another_address_leaves_no_rule_of_the_first() {
    on_host(|host| {
        let first = behind_bridge(host, "firewall", &json!({}));
        first.call.add();
        first.bridge.ok("DEL");
        let second = first.call.after(&first.bridge.add());
        second.add();
        second.ok("CHECK");
        let rules = sh("iptables-nft-save -t filter");
        assert!(
            !rules.contains("10.1.2.2/32") && rules.contains("10.1.2.3/32"),
            "{rules}"
        );
        second.ok("DEL");
    });
}

/// What it has is kept by the daemon, which goes on.
#[test]
fn dhcp_leaves_no_lease() {
    on_host(|host| {
        let link = Link::new();
        let _server = link.dnsmasq(host, "");
        let _daemon = daemon(host, "");
        let pod = Pod::new();
        let call = alone(host, &pod);
        let state = || {
            // The daemon notices in the background that a caller is gone.
            eventually("no lease is kept", || {
                kept(host) == 0 && given(host).is_empty()
            });
            host.links().concat()
        };
        let names = ["connect", "sendto", "write"];
        survives_errors_at(host, &call, &names, &state);
        survives_kills_at(host, &call, &names, &state);
    });
}

/// These keep nothing on the host: what is left is the runtime's to see.
#[test]
fn static_and_sample_leave_nothing() {
    on_host(|host| {
        let pod = Pod::new();
        let addresses = json!({"type": "static", "addresses": [{"address": "10.1.2.9/24"}]});
        let conf =
            json!({"cniVersion": "1.0.0", "name": "net", "type": "static", "ipam": addresses});
        let of_static = host.call("static", conf, &pod);
        let chained = behind_bridge(host, "sample", &Value::Object(Default::default()));
        for call in [of_static, chained.call] {
            let state = || format!("{:?} {:?}", host.links(), host.reservations("net"));
            survives_errors_at(host, &call, &["write"], &state);
            survives_kills_at(host, &call, &["write"], &state);
        }
    });
}
