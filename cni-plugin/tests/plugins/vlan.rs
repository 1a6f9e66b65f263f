//! VLANs of bridge ports. On a kernel whose bridges can't filter VLANs (no CONFIG_BRIDGE_VLAN_FILTERING) the same tests see
//! that a configuration with VLANs is refused, by name, and leaves nothing: it must never attach a pod to all of them.

use serde_json::{Value, json};

use super::lab::{Call, Host, Pod, addrs, on_host, sh};

/// Whether the kernel of this run has what the configuration asks for.
fn bridges_filter_vlans() -> bool {
    let tried = "ip link add try type bridge vlan_filtering 1 2>/dev/null && ip link del try && echo yes || true";
    sh(tried).contains("yes")
}

/// The result of ADD; none where the kernel can't, and ADD has said so.
fn add(host: &Host, pod: &Pod, call: &Call) -> Option<Value> {
    if bridges_filter_vlans() {
        return Some(call.add());
    }
    let (_, text) = call.fails("ADD");
    assert!(text.contains("CONFIG_BRIDGE_VLAN_FILTERING"), "{text}");
    assert!(pod.links().is_empty() && host.veths().is_empty());
    assert!(host.reservations("net").is_empty());
    call.ok("DEL");
    None
}

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

#[test]
fn vlans_of_a_port_are_as_configured_or_the_pod_is_refused() {
    on_host(|host| {
        let trunk = json!([{"id": 101}, {"minID": 200, "maxID": 202}]);
        let tagged = [(101, false), (200, false), (201, false), (202, false)];
        let with = |first: &[(u64, bool)]| [first, &tagged[..]].concat();
        for (keys, expected) in [
            (json!({"vlan": 100}), vec![(100, true)]),
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
            let mut conf =
                json!({"cniVersion": "1.0.0", "name": "net", "type": "bridge", "bridge": "br0"});
            for (key, value) in keys.as_object().unwrap() {
                conf[key] = value.clone();
            }
            let call = host.call("bridge", conf, &pod);
            let Some(result) = add(host, &pod, &call) else {
                continue;
            };
            let host_end = result["interfaces"][1]["name"].as_str().unwrap();
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
fn pods_of_two_vlans_do_not_reach_each_other_and_each_has_its_gateway() {
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
                let Some(result) = add(host, pod, &call) else {
                    continue;
                };
                assert_eq!(result["interfaces"][3]["name"], format!("cni0.{vlan}"));
                assert!(pod.reaches(&format!("10.{vlan}.0.1")));
                assert!(pod.reaches(&format!("fd00:{vlan}::1")));
                let host_end = result["interfaces"][1]["name"].as_str().unwrap();
                let in_default = vlans(host_end).iter().any(|(vid, _)| *vid == 1);
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
fn a_bridge_that_does_not_look_at_vlans_is_not_used_for_them() {
    on_host(|host| {
        let (first, second) = (Pod::new(), Pod::new());
        let conf = |vlan: u64| json!({"cniVersion": "1.0.0", "name": "net", "type": "bridge", "vlan": vlan});
        host.call("bridge", conf(0), &first).add();
        let call = host.call("bridge", conf(100), &second);
        let (code, text) = call.fails("ADD");
        assert_eq!(code, 104);
        assert!(
            text.contains("ip link set cni0 type bridge vlan_filtering 1"),
            "{text}"
        );
        host.call("bridge", conf(0), &first).ok("DEL");
        if add(host, &second, &call).is_some() {
            assert!(sh("ip -d link show cni0").contains("vlan_filtering 1"));
        }
    });
}
