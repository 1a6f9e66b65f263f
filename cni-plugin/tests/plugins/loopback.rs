//! `loopback`.

use serde_json::json;

use super::lab::{Pod, VERSIONS, on_host};

#[test]
fn lo_is_up_after_add_and_down_after_del_in_every_version() {
    on_host(|host| {
        for version in VERSIONS {
            let pod = Pod::new();
            let conf = json!({"cniVersion": version, "name": "lo", "type": "loopback"});
            let call = host.call("loopback", conf, &pod);
            let result = call.add();
            assert_eq!(result["cniVersion"], version);
            assert!(pod.sh("ip link show lo").contains("LOOPBACK,UP"));
            if version >= "0.3.0" {
                assert_eq!(result["interfaces"][0]["name"], "lo");
                assert_eq!(result["interfaces"][0]["mac"], "00:00:00:00:00:00");
                assert_eq!(result["ips"][0]["address"], "127.0.0.1/8");
                assert_eq!(result["ips"][1]["address"], "::1/128");
            } else {
                assert_eq!(result["ip4"]["ip"], "127.0.0.1/8");
            }
            if version >= "0.4.0" {
                call.after(&result).ok("CHECK");
            }
            call.ok("DEL");
            assert!(pod.sh("ip link show lo").contains("state DOWN"));
            if version >= "0.4.0" {
                let (_, text) = call.after(&result).fails("CHECK");
                assert!(text.contains("loopback interface is down"));
            }
        }
    });
}

#[test]
fn del_succeeds_whatever_is_left_of_the_namespace() {
    on_host(|host| {
        let pod = Pod::new();
        let conf = json!({"cniVersion": "1.1.0", "name": "lo", "type": "loopback"});
        let call = host.call("loopback", conf, &pod);
        std::fs::write(host.path("file"), "").unwrap();
        call.netns("").ok("DEL");
        call.netns("/run/netns/there-is-none").ok("DEL");
        call.netns(host.path("file").to_str().unwrap()).ok("DEL");
        call.ok("STATUS");
        call.valid(&[]).ok("GC");
    });
}

#[test]
fn an_earlier_result_is_passed_on() {
    on_host(|host| {
        let pod = Pod::new();
        let prev = json!({"cniVersion": "1.0.0", "ips": [{"address": "10.0.0.2/24"}]});
        let conf =
            json!({"cniVersion": "1.0.0", "name": "lo", "type": "loopback", "prevResult": prev});
        assert_eq!(host.call("loopback", conf, &pod).add(), prev);
    });
}

#[test]
fn an_add_that_fails_sets_lo_down_again() {
    on_host(|host| {
        let pod = Pod::new();
        pod.sh("ip addr add fd00::1/128 dev lo");
        let conf = json!({"cniVersion": "1.0.0", "name": "lo", "type": "loopback"});
        let (_, text) = host.call("loopback", conf, &pod).fails("ADD");
        let words = "loopback interface found with non-loopback address fd00::1/128";
        assert!(text.contains(words), "{text}");
        assert!(pod.sh("ip link show lo").contains("state DOWN"));
    });
}
