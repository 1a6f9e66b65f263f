//! `tap`: the device that a program in the container opens.

use std::io::Read;

use serde_json::json;
use tweed_netlink::open_tap;

use super::lab::{Call, Host, Pod, on_host};
use super::traffic::At;

fn call(host: &Host, pod: &Pod) -> Call {
    let conf = json!({
        "cniVersion": "1.1.0", "name": "vm", "type": "tap", "ipam": host.ipam(&["10.1.2.0/24"]),
        "stateDir": host.path("run"),
    });
    host.call("tap", conf, pod)
}

#[test]
fn what_a_pod_sends_to_its_tap_device_comes_out_at_the_program() {
    on_host(|host| {
        let pod = Pod::new();
        let call = call(host, &pod);
        let result = call.add();
        call.after(&result).ok("CHECK");
        let mut program = At::Pod(&pod).open(|| open_tap("eth0", false).unwrap());
        assert!(!pod.reaches("10.1.2.77"), "nobody answers");
        let mut frame = [0; 2000];
        let mut asked = false;
        // All frames are in the queue by now.
        while let Ok(length) = program.read(&mut frame) {
            let is_arp = length >= 42 && frame[12..14] == [8, 6];
            asked |= is_arp && frame[38..42] == [10, 1, 2, 77];
        }
        assert!(asked, "the ARP request for the address has come out");
        drop(program);
        assert_eq!(pod.links(), ["eth0"], "it stays without the program");
        call.ok("DEL");
        assert!(pod.links().is_empty());
    });
}

#[test]
fn queues_owner_address_mtu_and_bridge_are_as_configured() {
    on_host(|host| {
        let pod = Pod::new();
        pod.sh("ip link add br0 type bridge");
        let call = call(host, &pod)
            .set("multiQueue", true)
            .set("owner", 1000)
            .set("group", 1001)
            .set("mac", "02:00:00:00:00:0a")
            .set("mtu", 1400)
            .set("bridge", "br0")
            .set("ipam", json!({}));
        let result = call.add();
        let shown = pod.sh("ip tuntap show");
        for word in ["eth0: tap", "multi_queue", "user 1000", "group 1001"] {
            assert!(shown.contains(word), "{shown}");
        }
        let shown = pod.sh("ip link show eth0");
        for word in ["mtu 1400", "02:00:00:00:00:0a", "master br0", ",UP"] {
            assert!(shown.contains(word), "{shown}");
        }
        call.after(&result).ok("CHECK");
        for (key, value, text) in [
            (
                "multiQueue",
                json!(false),
                "multiQueue is true, configured is false",
            ),
            (
                "bridge",
                json!("br1"),
                "eth0 is not connected to bridge br1",
            ),
        ] {
            let (_, error) = call.set(key, value).after(&result).fails("CHECK");
            assert!(error.contains(text), "{error}");
        }
        let runtime = json!({"mac": "02:00:00:00:00:0b"});
        let result = call.set("runtimeConfig", runtime).add();
        assert_eq!(result["interfaces"][0]["mac"], "02:00:00:00:00:0b");
        call.ok("DEL");
        assert_eq!(pod.links(), ["br0"]);
    });
}

#[test]
fn a_label_that_cannot_be_given_is_refused_by_name() {
    on_host(|host| {
        let pod = Pod::new();
        let call = call(host, &pod).set("selinuxContext", "system_u:system_r:container_t:s0");
        let (code, text) = call.fails("ADD");
        assert_eq!(code, 2);
        assert!(text.contains("selinuxContext"), "{text}");
        assert!(pod.links().is_empty() && host.reservations("vm").is_empty());
        call.ok("DEL");
    });
}
