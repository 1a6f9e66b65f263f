//! `host-local` as a program. The choice of addresses itself is tested where it is made.

use std::fs;
use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::lab::{Call, Host, Pod, VERSIONS, on_host};

fn conf(host: &Host, version: &str, subnets: &[&str]) -> Value {
    json!({"cniVersion": version, "name": "net", "type": "ipvlan", "ipam": host.ipam(subnets)})
}

fn call(host: &Host, subnets: &[&str]) -> Call {
    host.call("host-local", conf(host, "1.0.0", subnets), &Pod::new())
}

fn address(result: &Value) -> &str {
    result["ips"][0]["address"].as_str().unwrap()
}

#[test]
fn addresses_routes_and_name_servers_are_handed_out_in_every_version() {
    on_host(|host| {
        fs::write(
            host.path("resolv.conf"),
            "nameserver 192.0.2.3\nsearch a.example\n",
        )
        .unwrap();
        for version in VERSIONS {
            let pod = Pod::new();
            let mut conf = conf(host, version, &["10.1.2.0/24", "2001:db8:1::/64"]);
            conf["name"] = format!("net-{version}").into();
            conf["ipam"]["routes"] =
                json!([{"dst": "0.0.0.0/0"}, {"dst": "2001:db8::/32", "gw": "2001:db8:1::9"}]);
            conf["ipam"]["resolvConf"] = json!(host.path("resolv.conf"));
            let call = host.call("host-local", conf, &pod);
            let answer = call.run("ADD");
            assert_eq!(answer.stderr, "", "nothing to say on first use");
            let result: Value = serde_json::from_str(&answer.stdout).unwrap();
            assert_eq!(result["dns"]["nameservers"], json!(["192.0.2.3"]));
            if version < "0.3.0" {
                assert_eq!(result["ip4"]["ip"], "10.1.2.2/24");
                assert_eq!(result["ip4"]["routes"], json!([{"dst": "0.0.0.0/0"}]));
                assert_eq!(result["ip6"]["gateway"], "2001:db8:1::1");
            } else {
                assert_eq!(result["ips"][0]["address"], "10.1.2.2/24");
                assert_eq!(result["ips"][1]["address"], "2001:db8:1::2/64");
                assert_eq!(result["routes"][1]["gw"], "2001:db8:1::9");
                assert!(result.get("interfaces").is_none());
            }
            let dir = host.path("data").join(format!("net-{version}"));
            let file = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
            assert_eq!(file("10.1.2.2"), format!("{}\r\neth0", pod.name()));
            assert_eq!(file("last_reserved_ip.0"), "10.1.2.2");
            assert_eq!(file("last_reserved_ip.1"), "2001:db8:1::2");
            call.ok("DEL");
            call.ok("DEL");
            assert!(host.reservations(&format!("net-{version}")).is_empty());
            assert_eq!(file("last_reserved_ip.0"), "10.1.2.2", "the cursor stays");
            let index = fs::metadata(dir.join(".index")).unwrap();
            assert_eq!(index.len(), 32, "a header and no address");
        }
    });
}

#[test]
fn several_sets_of_a_family_need_a_version_that_can_say_so() {
    on_host(|host| {
        let call = call(host, &["10.1.2.0/24", "10.1.3.0/24"]);
        assert_eq!(call.add()["ips"][1]["address"], "10.1.3.2/24");
        let (code, text) = call.set("cniVersion", "0.2.0").fails("ADD");
        assert_eq!(code, 7);
        assert!(text.contains("CNI version 0.2.0 does not support more than 1 address per family"));
    });
}

#[test]
fn interfaces_of_one_container_have_addresses_of_their_own() {
    on_host(|host| {
        let eth0 = call(host, &["10.1.2.0/24"]);
        let net1 = eth0.ifname("net1");
        assert_eq!(address(&eth0.add()), "10.1.2.2/24");
        assert_eq!(address(&net1.add()), "10.1.2.3/24");
        let (code, text) = eth0.fails("ADD");
        assert_eq!(code, 101);
        assert!(text.contains("10.1.2.2 has been allocated to"), "{text}");
        assert!(
            text.contains("duplicate allocation is not allowed"),
            "{text}"
        );
        eth0.ok("DEL");
        assert_eq!(host.reservations("net"), ["10.1.2.3"]);
    });
}

#[test]
fn files_of_old_plugins_and_files_with_white_space_are_understood() {
    on_host(|host| {
        let call = call(host, &["10.1.2.0/24"]).container_id("old");
        call.add();
        let dir = host.path("data/net");
        for text in ["old", "old\n", "  old \r\n eth0 \n"] {
            fs::write(dir.join("10.1.2.2"), text).unwrap();
            call.ok("DEL");
            assert!(host.reservations("net").is_empty(), "{text:?}");
        }
        fs::write(dir.join("10.1.2.2"), "older").unwrap();
        call.ok("DEL");
        assert_eq!(host.reservations("net"), ["10.1.2.2"], "somebody else's");
    });
}

#[test]
fn requested_addresses_are_given_or_refused_with_the_reason() {
    on_host(|host| {
        let call = call(host, &["10.1.2.0/24", "2001:db8::/64"]);
        let result = call
            .args("IP=10.1.2.88")
            .set("runtimeConfig", json!({"ips": ["2001:db8::99/64"]}))
            .add();
        assert_eq!(result["ips"][0]["address"], "10.1.2.88/24");
        assert_eq!(result["ips"][1]["address"], "2001:db8::99/64");
        let other = call.container_id("other");
        for (ip, code, text) in [
            (
                "10.1.2.88",
                104,
                "requested IP address 10.1.2.88 is not available in range set",
            ),
            ("10.1.2.1", 7, "requested ip 10.1.2.1 is subnet's gateway"),
            (
                "10.9.9.9",
                7,
                "failed to allocate all requested IPs: 10.9.9.9",
            ),
            ("pear", 7, "requested IP \"pear\" is not an address"),
        ] {
            let (is, error) = other.args(&format!("IP={ip}")).fails("ADD");
            assert!(error.contains(text), "{error}");
            assert_eq!(is, code);
        }
        assert_eq!(
            host.reservations("net").len(),
            2,
            "nothing was left allocated"
        );
    });
}

#[test]
fn exhaustion_is_reported_and_what_a_crash_left_is_reclaimed_first() {
    on_host(|host| {
        let call = call(host, &["10.1.2.0/29"]);
        let held: Vec<Call> = (0..5)
            .map(|n| call.container_id(&format!("c{n}")))
            .collect();
        held.iter().for_each(|call| drop(call.add()));
        let (code, text) = call.fails("ADD");
        assert_eq!(code, 102);
        assert!(text.starts_with(
            "failed to allocate for range 0: no IP addresses available in range set: 10.1.2.1-10.1.2.6"
        ));
        let status = call.set("cniVersion", "1.1.0");
        assert_eq!(status.fails("STATUS").0, 50);
        // Go's plugin, killed at the wrong moment, leaves such files; their addresses would be lost for ever.
        for garbage in ["", "\u{0}\u{0}\u{0}", "not a container!"] {
            fs::write(host.path("data/net/10.1.2.4"), garbage).unwrap();
            assert_eq!(address(&call.add()), "10.1.2.4/29", "{garbage:?}");
            call.ok("DEL");
            held[2].add();
        }
        held[0].ok("DEL");
        status.ok("STATUS");
    });
}

#[test]
fn a_wrong_file_in_the_way_of_a_requested_address_is_reclaimed() {
    on_host(|host| {
        let call = call(host, &["10.1.2.0/24"]);
        fs::create_dir_all(host.path("data/net")).unwrap();
        fs::write(host.path("data/net/10.1.2.7"), "").unwrap();
        assert_eq!(address(&call.args("IP=10.1.2.7").add()), "10.1.2.7/24");
    });
}

#[test]
fn check_compares_reservations_with_the_result() {
    on_host(|host| {
        let call = call(host, &["10.1.2.0/24"]);
        assert!(
            call.fails("CHECK")
                .1
                .contains("Failed to find address added by container")
        );
        let result = call.add();
        call.ok("CHECK");
        call.after(&result).ok("CHECK");
        let file = host.path("data/net/10.1.2.2");
        fs::write(&file, "another\r\neth0").unwrap();
        let (code, text) = call.after(&result).fails("CHECK");
        assert_eq!(code, 103);
        assert!(text.contains("10.1.2.2 is reserved for another"), "{text}");
        fs::remove_file(&file).unwrap();
        assert!(
            call.after(&result)
                .fails("CHECK")
                .1
                .contains("10.1.2.2 is not reserved")
        );
    });
}

#[test]
fn garbage_collection_keeps_valid_attachments_and_refuses_to_guess() {
    on_host(|host| {
        let call = call(host, &["10.1.2.0/24"]).set("cniVersion", "1.1.0");
        for (id, ifname) in [("a", "eth0"), ("a", "net1"), ("b", "eth0")] {
            call.container_id(id).ifname(ifname).add();
        }
        fs::write(host.path("data/net/10.1.2.99"), "").unwrap();
        fs::write(host.path("data/net/10.1.2.98"), "b").unwrap();
        let (code, text) = call.fails("GC");
        assert_eq!(code, 7);
        assert!(text.contains("nothing was removed"), "{text}");
        assert_eq!(host.reservations("net").len(), 5);
        call.valid(&[("a", "eth0"), ("b", "eth0")]).ok("GC");
        assert_eq!(
            host.reservations("net"),
            ["10.1.2.2", "10.1.2.4", "10.1.2.98"]
        );
        call.valid(&[]).ok("GC");
        assert!(host.reservations("net").is_empty());
    });
}

#[test]
fn a_hundred_containers_at_once_get_a_hundred_addresses() {
    on_host(|host| {
        let call = call(host, &["10.1.2.0/24", "fd00::/64"]);
        let start = |n: usize, verb: &str| call.container_id(&format!("c{n}")).start(verb);
        let adds: Vec<Child> = (0..100).map(|n| start(n, "ADD")).collect();
        let outputs = adds
            .into_iter()
            .map(|child| child.wait_with_output().unwrap());
        let mut addresses: Vec<String> = outputs
            .map(|output| serde_json::from_slice::<Value>(&output.stdout).unwrap())
            .map(|result| address(&result).to_owned())
            .collect();
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), 100);
        assert_eq!(host.reservations("net").len(), 200);
        let dels: Vec<Child> = (0..100).map(|n| start(n, "DEL")).collect();
        for child in dels {
            assert!(child.wait_with_output().unwrap().status.success());
        }
        assert!(host.reservations("net").is_empty());
    });
}

#[test]
fn a_plugin_killed_at_any_moment_leaves_nothing_that_del_does_not_remove() {
    on_host(|host| {
        let call = call(host, &["10.1.2.0/24", "fd00::/64"]);
        for n in 0..60_u64 {
            let call = call.container_id(&format!("c{n}"));
            call.kill_after("ADD", Duration::from_micros(n * 60));
            for name in host.reservations("net") {
                let text = fs::read_to_string(host.path("data/net").join(&name)).unwrap();
                assert_eq!(
                    text,
                    format!("c{n}\r\neth0"),
                    "a file has its whole text from the start"
                );
            }
            call.ok("DEL");
            assert!(host.reservations("net").is_empty());
        }
    });
}

#[test]
fn twenty_thousand_reservations_do_not_slow_it_down() {
    on_host(|host| {
        // In memory: making the files on a disk would take longer than all else here.
        let memory = tempfile::tempdir_in("/dev/shm").unwrap();
        let mut ipam = host.ipam(&["10.1.0.0/16"]);
        ipam["dataDir"] = json!(memory.path());
        let call = call(host, &["10.1.0.0/16"]).set("ipam", ipam);
        call.add();
        let dir = memory.path().join("net");
        for n in 0..20_000_u32 {
            let addr = std::net::Ipv4Addr::from(0x0a01_0010 + n);
            fs::write(dir.join(addr.to_string()), format!("c{n}\r\neth0")).unwrap();
        }
        // The first ADD meets files without index, as when Go's plugin was here before.
        call.container_id("first").add();
        let quickest = |verb: &dyn Fn(&Call)| {
            let timed = (0..5).map(|n| {
                let call = call.container_id(&format!("d{n}"));
                let since = Instant::now();
                verb(&call);
                since.elapsed()
            });
            timed.min().unwrap()
        };
        let add = quickest(&|call| drop(call.add()));
        let del = quickest(&|call| call.ok("DEL"));
        // Go's plugin reads them all, ours none, and that shows even when ours is a debug build.
        let go_add = quickest(&|call| drop(call.of_go().add()));
        let go_del = quickest(&|call| call.of_go().ok("DEL"));
        println!("20,000 reservations: ADD {add:?} and DEL {del:?}, Go {go_add:?} and {go_del:?}");
        assert!(
            add < go_add && del < go_del,
            "{add:?} {go_add:?} {del:?} {go_del:?}"
        );
    });
}

#[test]
fn long_container_ids_work() {
    on_host(|host| {
        let call = call(host, &["10.1.2.0/24"]);
        for length in [1, 64, 128, 250] {
            let call = call.container_id(&"x".repeat(length));
            let result = call.add();
            call.after(&result).ok("CHECK");
            assert_eq!(call.fails("ADD").0, 101);
            call.ok("DEL");
            assert!(host.reservations("net").is_empty());
        }
    });
}

#[test]
fn keys_are_read_whatever_their_case() {
    on_host(|host| {
        let ipam = json!({"TYPE": "host-local", "DataDir": host.path("data"), "Subnet": "10.1.2.0/24", "RANGESTART": "10.1.2.50"});
        let conf = json!({"CNIVersion": "1.0.0", "Name": "net", "IPAM": ipam});
        let result = host.call("host-local", conf, &Pod::new()).add();
        assert_eq!(address(&result), "10.1.2.50/24");
        assert_eq!(host.reservations("net"), ["10.1.2.50"]);
    });
}

#[test]
fn reservations_of_an_earlier_boot_are_released_by_the_first_call_in_this_one() {
    on_host(|host| {
        let call = call(host, &["10.1.2.0/29"]);
        let before: Vec<Call> = (0..5)
            .map(|n| call.container_id(&format!("c{n}")))
            .collect();
        before.iter().for_each(|call| drop(call.add()));
        let dir = host.path("data/net");
        let aged = |name: &str| {
            let file = fs::File::options().write(true).open(dir.join(name));
            let old = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_500_000_000);
            file.unwrap().set_modified(old).unwrap();
        };
        // All but one are from before the boot, as far as their age tells.
        for name in host.reservations("net").iter().skip(1) {
            aged(name);
        }
        assert_eq!(call.fails("ADD").0, 102, "it is still the same boot");

        // Only Go's plugin was here: who knows whether the clock was right.
        fs::remove_file(dir.join(".boot-id")).unwrap();
        assert_eq!(
            call.fails("ADD").0,
            102,
            "nothing says that there was a boot"
        );

        fs::write(dir.join(".boot-id"), "another boot\n").unwrap();
        assert_eq!(address(&call.add()), "10.1.2.3/29");
        assert_eq!(host.reservations("net"), ["10.1.2.2", "10.1.2.3"]);
        // The container that a runtime starts again under its old name is welcome.
        assert_eq!(address(&before[4].add()), "10.1.2.4/29");
        // From now on this is the present boot, and age is no reason any more.
        aged("10.1.2.3");
        call.container_id("next").add();
        assert!(host.reservations("net").contains(&"10.1.2.3".to_owned()));
        before[0].of_go().ok("DEL");
        assert!(!host.reservations("net").contains(&"10.1.2.2".to_owned()));
    });
}
