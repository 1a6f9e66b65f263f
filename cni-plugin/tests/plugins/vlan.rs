//! VLANs of bridge ports. The kernel must have CONFIG_BRIDGE_VLAN_FILTERING.

use serde_json::{Value, json};

use super::lab::{Pod, addrs, on_host, sh};

#[test]
fn vlans_of_a_port_are_as_configured() {
    on_host(|host| {
        let vlans = |name: &str| -> Vec<(u64, bool)> {
            let shown: Value =
                serde_json::from_str(&sh(&format!("bridge -j vlan show dev {name}"))).unwrap();
            let vlans = shown[0]["vlans"].as_array().unwrap();
            let pvid = |vlan: &Value| {
                vlan["flags"]
                    .as_array()
                    .is_some_and(|f| f.iter().any(|f| f == "PVID"))
            };
            let mut list = Vec::new();
            for vlan in vlans {
                let from = vlan["vlan"].as_u64().unwrap();
                let to = vlan["vlanEnd"].as_u64().unwrap_or(from);
                list.extend((from..=to).map(|vid| (vid, pvid(vlan))));
            }
            list
        };
        let trunk = json!([{"id": 101}, {"minID": 200, "maxID": 202}]);
        let tagged = [(101, false), (200, false), (201, false), (202, false)];
        let with = |first: &[(u64, bool)]| [first, &tagged[..]].concat();
        for (keys, expected) in [
            (json!({"vlan": 100}), vec![(1, false), (100, true)]),
            (
                json!({"vlan": 100, "preserveDefaultVlan": false}),
                vec![(100, true)],
            ),
            (json!({"vlanTrunk": trunk}), with(&[(1, true)])),
            (json!({"vlan": 100, "vlanTrunk": trunk}), {
                let mut all = with(&[(1, false), (100, true)]);
                all.sort_unstable();
                all
            }),
        ] {
            let pod = Pod::new();
            let mut conf =
                json!({"cniVersion": "1.0.0", "name": "l2", "type": "bridge", "bridge": "br0"});
            for (key, value) in keys.as_object().unwrap() {
                conf[key] = value.clone();
            }
            let call = host.call("bridge", conf, &pod);
            let result = call.add();
            let host_end = result["interfaces"][1]["name"].as_str().unwrap();
            assert_eq!(vlans(host_end), expected, "{keys}");
            call.after(&result).ok("CHECK");
            sh(&format!(
                "bridge vlan del dev {host_end} vid {}",
                expected[expected.len() - 1].0
            ));
            assert!(
                call.after(&result)
                    .fails("CHECK")
                    .1
                    .contains("is not in VLAN")
            );
            call.ok("DEL");
        }
    });
}

#[test]
fn the_gateway_of_a_vlan_is_an_interface_of_its_own() {
    on_host(|host| {
        for keep in [true, false] {
            let pods = [Pod::new(), Pod::new()];
            for (pod, vlan) in pods.iter().zip([100, 200]) {
                let mut conf = host.bridge_conf(
                    "1.0.0",
                    &[&format!("10.{vlan}.0.0/24"), &format!("fd00:{vlan}::/64")],
                );
                conf["name"] = json!(format!("net-{vlan}"));
                conf["vlan"] = json!(vlan);
                conf["preserveDefaultVlan"] = json!(keep);
                let call = host.call("bridge", conf, pod);
                let result = call.add();
                assert_eq!(result["interfaces"][3]["name"], format!("cni0.{vlan}"));
                assert!(pod.reaches(&format!("10.{vlan}.0.1")));
                assert!(pod.reaches(&format!("fd00:{vlan}::1")));
                call.after(&result).ok("CHECK");
            }
            assert!(addrs("cni0").is_empty());
            assert_eq!(addrs("cni0.100")[0], "10.100.0.1/24");
        }
    });
}

#[test]
fn a_bridge_that_does_not_look_at_vlans_is_not_used_for_them() {
    on_host(|host| {
        let (first, second) = (Pod::new(), Pod::new());
        let conf = |vlan: u64| json!({"cniVersion": "1.0.0", "name": "l2", "type": "bridge", "vlan": vlan});
        host.call("bridge", conf(0), &first).add();
        let call = host.call("bridge", conf(100), &second);
        let (code, text) = call.fails("ADD");
        assert_eq!(code, 104);
        assert!(
            text.contains("ip link set cni0 type bridge vlan_filtering 1"),
            "{text}"
        );
        host.call("bridge", conf(0), &first).ok("DEL");
        call.add();
        assert!(sh("ip -d link show cni0").contains("vlan_filtering 1"));
    });
}
