//! `host-device`: lent, and given back as it was.

use serde_json::{Value, json};

use super::lab::{Call, Host, Pod, on_host, sh};
use super::subjects::prepare;

fn call(host: &Host, pod: &Pod) -> Call {
    let conf = json!({
        "cniVersion": "1.1.0", "name": "net", "type": "host-device", "device": "nic0",
        "ipam": host.ipam(&["10.1.2.0/24"]), "stateDir": host.path("run"),
    });
    host.call("host-device", conf, pod)
}

/// Name, alias and hardware address of the device on the host.
fn device() -> (String, String) {
    let shown: Value = serde_json::from_str(&sh("ip -j -d link show nic0")).unwrap();
    let text = |key: &str| shown[0][key].as_str().unwrap_or_default().to_owned();
    (text("ifalias"), text("address"))
}

#[test]
fn a_device_is_the_containers_and_comes_back_as_it_was() {
    on_host(|host| {
        prepare();
        let (pod, other) = (Pod::new(), Pod::new());
        sh(&format!("ip link set nic1 netns {}", other.name()));
        other.sh("ip addr add 10.1.2.1/24 dev nic1 && ip link set nic1 up");
        let before = device();
        assert_eq!(before.0, "spare");
        let call = call(host, &pod);
        let result = call.add();
        assert!(pod.reaches("10.1.2.1"));
        assert_eq!(result["interfaces"][0]["mac"], before.1);
        assert_eq!(pod.addrs("eth0"), ["10.1.2.2/24"]);
        assert!(!host.links().contains(&"nic0".to_owned()));
        call.after(&result).ok("CHECK");
        call.ok("DEL");
        assert_eq!(device(), before);
        assert!(pod.links().is_empty());
        assert!(host.reservations("net").is_empty());
        let left = std::fs::read_dir(host.path("run")).unwrap().count();
        assert_eq!(left, 0);
    });
}

#[test]
fn a_device_is_found_by_its_hardware_address_and_needs_no_address() {
    on_host(|host| {
        prepare();
        let mac = device().1;
        let pod = Pod::new();
        let call = call(host, &pod)
            .set("device", "")
            .set("hwaddr", mac.to_uppercase())
            .set("ipam", json!({}))
            .ifname("net1");
        let result = call.add();
        assert_eq!(result["interfaces"][0]["mac"], mac);
        assert!(pod.sh("ip link show net1").contains(",UP"));
        call.after(&result).ok("CHECK");
        call.ok("DEL");
        assert_eq!(device().1, mac);
    });
}

#[test]
fn a_pod_that_renames_its_device_or_the_mark_has_it_given_back_under_the_old_name() {
    on_host(|host| {
        prepare();
        let before = device();
        for command in [
            "ip link set eth0 down && ip link set eth0 name mine",
            "ip link set eth0 alias lo",
            "ip link set eth0 alias ''",
            "ip link set eth0 down && ip link set eth0 name nic0",
            "ip link set eth0 down && ip link set eth0 name mine alias other",
        ] {
            let pod = Pod::new();
            call(host, &pod).add();
            pod.sh(command);
            call(host, &pod).ok("DEL");
            assert_eq!(device(), before, "{command}");
            assert!(pod.links().is_empty(), "{command}");
        }
    });
}

#[test]
fn a_device_whose_name_is_taken_meanwhile_stays_until_it_is_free() {
    on_host(|host| {
        prepare();
        let before = device();
        let pod = Pod::new();
        call(host, &pod).add();
        sh("ip link add nic0 type bridge");
        let (code, text) = call(host, &pod).fails("DEL");
        assert_eq!(code, 104);
        assert!(
            text.contains("the host has another interface nic0"),
            "{text}"
        );
        assert_eq!(pod.links(), ["eth0"]);
        assert_eq!(host.reservations("net").len(), 1, "its holder lives");
        sh("ip link del nic0");
        call(host, &pod).ok("DEL");
        assert_eq!(device(), before);
    });
}

#[test]
fn hardware_that_came_back_by_itself_gets_its_name_again() {
    on_host(|host| {
        prepare();
        let before = device();
        let pod = Pod::new();
        call(host, &pod).add();
        // As the kernel moves hardware when a namespace ends: under the name that it had there.
        let home = host.path("home").display().to_string();
        sh(&format!(
            "touch {home} && mount --bind /proc/self/ns/net {home}"
        ));
        pod.sh(&format!("ip link set eth0 netns {home} name dev7"));
        sh(&format!("umount {home}"));
        sh(&format!("ip netns del {}", pod.name()));
        call(host, &pod).ok("DEL");
        assert_eq!(device(), before);
        assert!(host.reservations("net").is_empty());
    });
}

#[test]
fn gc_takes_nothing_of_another_container_at_the_same_path() {
    on_host(|host| {
        prepare();
        let pod = Pod::new();
        call(host, &pod).add();
        let name = pod.name();
        sh(&format!("ip netns del {name} && ip netns add {name}"));
        pod.sh("ip link add eth0 type veth peer name eth9");
        call(host, &pod).valid(&[]).ok("GC");
        let mut left = pod.links();
        left.sort();
        assert_eq!(left, ["eth0", "eth9"]);
        let records = std::fs::read_dir(host.path("run")).unwrap().count();
        assert_eq!(records, 0);
    });
}
