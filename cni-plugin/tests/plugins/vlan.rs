//! VLANs of bridge ports. Those marked `ignore` need a kernel whose bridges filter by VLAN
//! (CONFIG_BRIDGE_VLAN_FILTERING); the first runs everywhere.

use serde_json::{Value, json};

use super::lab::{Call, Host, Pod, addrs, on_host, sh};

/// The VLANs of a port, and whether frames without a tag belong to it.
fn vlans(name: &str) -> Vec<(u64, bool)> {
    let shown: Value =
        serde_json::from_str(&sh(&format!("bridge -j vlan show dev {name}"))).unwrap();
    let pvid = |vlan: &Value| {
        let flags = vlan["flags"].as_array();
        flags.is_some_and(|flags| flags.iter().any(|flag| flag == "PVID"))
    };
    let mut list = Vec::new();
    for vlan in shown[0]["vlans"].as_array().unwrap() {
        let from = vlan["vlan"].as_u64().unwrap();
        let to = vlan["vlanEnd"].as_u64().unwrap_or(from);
        list.extend((from..=to).map(|vid| (vid, pvid(vlan))));
    }
    list
}

fn host_end(result: &Value) -> &str {
    result["interfaces"][1]["name"].as_str().unwrap()
}

/// A call with these keys and no addresses.
fn plain(host: &Host, keys: &Value, pod: &Pod) -> Call {
    let conf = json!({"cniVersion": "1.0.0", "name": "net", "type": "bridge", "bridge": "br0"});
    let call = host.call("bridge", conf, pod);
    let keys = keys.as_object().unwrap().iter();
    keys.fold(call, |call, (key, value)| call.set(key, value.clone()))
}

/// A pod with these keys and an address of 10.1.2.0/24.
fn pod_with(keys: &Value, host: &Host, addr: &str) -> Pod {
    let pod = Pod::new();
    plain(host, keys, &pod).add();
    pod.sh(&format!("ip addr add {addr}/24 dev eth0"));
    pod
}

#[test]
fn a_pod_with_a_vlan_is_in_it_alone_or_refused_by_name() {
    on_host(|host| {
        let pod = Pod::new();
        let call = plain(host, &json!({"vlan": 100}), &pod);
        let answer = call.run("ADD");
        if answer.code == 0 {
            let result: Value = serde_json::from_str(&answer.stdout).unwrap();
            assert_eq!(vlans(host_end(&result)), [(100, true)]);
        } else {
            let (_, text) = answer.error();
            assert!(text.contains("CONFIG_BRIDGE_VLAN_FILTERING"), "{text}");
            assert!(pod.links().is_empty() && host.veths().is_empty());
        }
        call.ok("DEL");
    });
}

#[test]
#[ignore = "needs a kernel with VLAN filtering: the guest tier runs it"]
fn vlans_of_a_port_are_as_configured_and_checked() {
    on_host(|host| {
        let trunk = json!([{"id": 101}, {"minID": 200, "maxID": 202}]);
        let tagged = [(101, false), (200, false), (201, false), (202, false)];
        let with = |first: &[(u64, bool)]| [first, &tagged[..]].concat();
        for (keys, expected) in [
            (json!({"vlan": 100}), vec![(100, true)]),
            (
                json!({"vlan": 100, "preserveDefaultVlan": false}),
                vec![(100, true)],
            ),
            (
                json!({"vlan": 100, "preserveDefaultVlan": true}),
                vec![(1, false), (100, true)],
            ),
            (json!({"vlanTrunk": trunk}), with(&[(1, true)])),
            (
                json!({"vlan": 100, "vlanTrunk": trunk}),
                with(&[(100, true)]),
            ),
        ] {
            let pod = Pod::new();
            let call = plain(host, &keys, &pod);
            let result = call.add();
            let host_end = host_end(&result);
            assert_eq!(vlans(host_end), expected, "{keys}");
            call.after(&result).ok("CHECK");
            let last = expected[expected.len() - 1].0;
            sh(&format!("bridge vlan del dev {host_end} vid {last}"));
            let (_, text) = call.after(&result).fails("CHECK");
            assert!(text.contains("is not in VLAN"), "{text}");
            call.ok("DEL");
        }
    });
}

#[test]
#[ignore = "needs a kernel with VLAN filtering: the guest tier runs it"]
fn pods_of_one_vlan_reach_each_other_and_nobody_else() {
    on_host(|host| {
        let hundred = json!({"vlan": 100});
        let one = pod_with(&hundred, host, "10.1.2.1");
        let _two = pod_with(&hundred, host, "10.1.2.2");
        let _other = pod_with(&json!({"vlan": 200}), host, "10.1.2.3");
        // In the VLAN that a bridge gives every port.
        let untagged = pod_with(&json!({"vlanTrunk": [{"id": 300}]}), host, "10.1.2.4");
        assert!(one.reaches("10.1.2.2"));
        assert!(!one.reaches("10.1.2.3") && !one.reaches("10.1.2.4"));
        assert!(!untagged.reaches("10.1.2.2"));
        // With the default VLAN kept, its frames leave by this port too.
        let keys = json!({"vlan": 100, "preserveDefaultVlan": true});
        let both = pod_with(&keys, host, "10.1.2.5");
        assert!(both.reaches("10.1.2.1"));
    });
}

#[test]
#[ignore = "needs a kernel with VLAN filtering and VLAN interfaces: the guest tier runs it"]
fn a_trunk_carries_its_vlans_with_their_tags_and_no_others() {
    on_host(|host| {
        let keys = json!({"vlan": 100, "vlanTrunk": [{"id": 101}, {"minID": 200, "maxID": 201}]});
        let trunk = pod_with(&keys, host, "10.1.2.9");
        for vid in [101, 201, 300] {
            trunk.sh(&format!(
                "ip link add link eth0 name v{vid} type vlan id {vid} && ip link set v{vid} up && ip addr add 10.9.{}.9/24 dev v{vid}",
                vid % 256
            ));
            let access = pod_with(&json!({"vlan": vid}), host, "10.1.2.8");
            let third = vid % 256;
            access.sh(&format!("ip addr add 10.9.{third}.8/24 dev eth0"));
            let reached = trunk.reaches(&format!("10.9.{third}.8"));
            assert_eq!(reached, vid != 300, "VLAN {vid}");
        }
        let native = pod_with(&json!({"vlan": 100}), host, "10.1.2.7");
        assert!(native.reaches("10.1.2.9"), "without a tag");
    });
}

#[test]
#[ignore = "needs a kernel with VLAN filtering: the guest tier runs it"]
fn pods_of_two_vlans_have_each_its_gateway() {
    on_host(|host| {
        for keep in [None, Some(true), Some(false)] {
            let pods = [Pod::new(), Pod::new()];
            for (pod, vlan) in pods.iter().zip([100, 200]) {
                let mut conf = host.bridge_conf(
                    "1.0.0",
                    &[&format!("10.{vlan}.0.0/24"), &format!("fd00:{vlan}::/64")],
                );
                conf["vlan"] = json!(vlan);
                if let Some(keep) = keep {
                    conf["preserveDefaultVlan"] = json!(keep);
                }
                let call = host.call("bridge", conf, pod);
                let result = call.add();
                assert_eq!(result["interfaces"][3]["name"], format!("cni0.{vlan}"));
                assert!(pod.reaches(&format!("10.{vlan}.0.1")));
                assert!(pod.reaches(&format!("fd00:{vlan}::1")));
                let in_default = vlans(host_end(&result)).iter().any(|(vid, _)| *vid == 1);
                assert_eq!(in_default, keep == Some(true));
                call.after(&result).ok("CHECK");
                assert!(addrs("cni0").is_empty());
                let gateway = &addrs(&format!("cni0.{vlan}"))[0];
                assert_eq!(*gateway, format!("10.{vlan}.0.1/24"));
            }
        }
    });
}

#[test]
#[ignore = "needs a kernel with VLAN filtering: the guest tier runs it"]
fn gos_plugin_and_ours_put_a_port_into_the_same_vlan_and_remove_each_others() {
    on_host(|host| {
        // Debian's release 1.1.1 always keeps the default VLAN; release 1.9.1 keeps it when it is told to.
        let keys = json!({"vlan": 100, "preserveDefaultVlan": true});
        for ours_adds in [true, false] {
            let pod = Pod::new();
            let ours = plain(host, &keys, &pod).set("ipam", json!({}));
            let (adds, removes) = match ours_adds {
                true => (ours.clone(), ours.of_go()),
                false => (ours.of_go(), ours.clone()),
            };
            let result = adds.add();
            assert_eq!(vlans(host_end(&result)), [(1, false), (100, true)]);
            ours.after(&result).ok("CHECK");
            removes.after(&result).ok("DEL");
            assert!(pod.links().is_empty() && host.veths().is_empty());
        }
    });
}

#[test]
#[ignore = "needs a kernel with VLAN filtering: the guest tier runs it"]
fn a_bridge_that_does_not_look_at_vlans_is_not_used_for_them_until_it_has_no_ports() {
    on_host(|host| {
        let (first, second) = (Pod::new(), Pod::new());
        let without = plain(host, &json!({}), &first);
        without.add();
        let call = plain(host, &json!({"vlan": 100}), &second);
        let (code, text) = call.fails("ADD");
        assert_eq!(code, 104);
        assert!(
            text.contains("ip link set br0 type bridge vlan_filtering 1"),
            "{text}"
        );
        without.ok("DEL");
        call.add();
        assert!(sh("ip -d link show br0").contains("vlan_filtering 1"));
    });
}
