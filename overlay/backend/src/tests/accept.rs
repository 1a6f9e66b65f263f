use proptest::prelude::*;
use serde_json::{Value, json};
use tweed_nft::Mark;

use std::collections::BTreeSet;

use super::udp::udp_peer;
use super::*;

const TO_UDP: &str = r#"{"Type":"udp","Accept":[{"Type":"vxlan"}]}"#;
const TO_VXLAN: &str = r#"{"Type":"vxlan","Accept":[{"Type":"udp"}]}"#;

fn vxlan_peer(number: u16) -> Lease {
    let mac = format!("aa:00:00:00:01:{number:02x}");
    peer(
        number,
        &format!("192.168.9.{number}"),
        &mac,
        1000 + u64::from(number),
    )
}

fn refusal(backend: &str) -> String {
    parse(backend).expect_err(backend).to_string()
}

#[test]
fn either_may_be_announced_and_the_other_one_accepted() {
    for (backend, announced, words) in [
        (TO_UDP, "", "udp, accepts vxlan"),
        (TO_VXLAN, "vxlan", "vxlan, accepts udp"),
    ] {
        let backends = parse(backend).unwrap();
        assert_eq!(backends.own().wire_type, announced);
        assert_eq!(backends.to_string(), words);
        assert_eq!(
            backends.spoken(),
            BTreeMap::from([("", "udp"), ("vxlan", "vxlan")])
        );
        let data = backends
            .own()
            .announce(&dual_node().identity, &dual_node().subnets);
        assert_eq!(data.v4.is_some(), announced == "vxlan", "{data:?}");
    }
}

#[test]
fn no_list_and_an_empty_one_are_the_same() {
    let plain = parse(r#"{"Type":"host-gw"}"#).unwrap();
    for list in ["[]", "null"] {
        let text = format!(r#"{{"Type":"host-gw","Accept":{list}}}"#);
        assert_eq!(parse(&text).unwrap(), plain);
    }
}

#[test]
fn what_can_not_be_accepted_is_named_with_its_place_and_what_can() {
    for (backend, parts) in [
        (
            r#"{"Type":"udp","Accept":{"Type":"vxlan"}}"#,
            ["Backend.Accept is", "a list"],
        ),
        (
            r#"{"Type":"udp","Accept":[5]}"#,
            ["Backend.Accept[0] is 5", "an object"],
        ),
        (
            r#"{"Type":"udp","Accept":[{"Type":"host-gw"}]}"#,
            ["Backend.Accept[0].Type is \"host-gw\"", "must be vxlan"],
        ),
        (
            r#"{"Type":"udp","Accept":[{}]}"#,
            ["Backend.Accept[0].Type is \"\"", "must be vxlan"],
        ),
        (
            r#"{"Type":"vxlan","Accept":[{"Type":"VXLAN","VNI":2}]}"#,
            ["Backend.Accept[0].Type is \"vxlan\"", "must be udp"],
        ),
        (
            r#"{"Type":"vxlan","Accept":[{"Type":"udp"},{"Type":"udp"}]}"#,
            ["Backend.Accept[1].Type is \"udp\"", "once"],
        ),
        (
            r#"{"Type":"host-gw","Accept":[{"Type":"vxlan"}]}"#,
            ["Backend.Type is \"host-gw\"", "vxlan and udp"],
        ),
        (
            r#"{"Type":"udp","Accept":[{"Type":"vxlan","accept":[]}]}"#,
            ["Backend.Accept[0].Accept is []", "none of its own"],
        ),
        (
            r#"{"Type":"udp","Accept":[{"Type":"vxlan","VNI":0}]}"#,
            ["Backend.Accept[0].VNI is 0", "16777215"],
        ),
        (
            r#"{"Type":"udp","Port":8472,"Accept":[{"Type":"vxlan"}]}"#,
            ["Backend.Accept[0].Port is 8472", "must differ"],
        ),
    ] {
        let refusal = refusal(backend);
        for part in parts {
            assert!(refusal.contains(part), "{refusal}");
        }
    }
}

#[test]
fn keys_that_mean_nothing_are_named_with_their_place() {
    let config = config(r#"{"Type":"udp","VNI":3,"Accept":[{"Type":"vxlan","Prot":1}]}"#);
    let (_, unknown) = Backends::parse(&config).unwrap();
    assert_eq!(unknown, ["Backend.VNI", "Backend.Accept[0].Prot (Port?)"]);
}

#[test]
fn each_peer_is_sent_to_by_what_its_lease_says() {
    for backend in [TO_UDP, TO_VXLAN] {
        let (state, admission) = program(backend, vec![vxlan_peer(2), udp_peer(3)]);
        assert_eq!((admission.peers.len(), admission.refused.len()), (2, 0));
        assert_eq!(
            state.links.keys().map(String::as_str).collect::<Vec<_>>(),
            ["flannel-v6.1", "flannel.1", "flannel0"]
        );
        let dev = |net: &str| {
            let route = state.routes.get(&RouteKey::of(net.parse().unwrap()));
            route.map(|route| match &route.next_hop {
                NextHop::Via { dev, .. } => dev.to_string(),
                NextHop::Blackhole => panic!("a blackhole"),
            })
        };
        assert_eq!(dev("10.244.2.0/24").as_deref(), Some("flannel.1"));
        assert_eq!(dev("fd00:10:244:2::/64").as_deref(), Some("flannel-v6.1"));
        let gateway = dev("fd00:10:244:2::/128");
        assert_eq!(gateway.as_deref(), Some("flannel-v6.1"), "see add_gateways");
        assert_eq!(dev("10.244.3.0/24"), None, "the whole network's is enough");
        assert_eq!(dev("10.244.0.0/16").as_deref(), Some("flannel0"));
        assert_eq!(dev("fd00:10:244::/48").as_deref(), Some("flannel0"));
        assert_eq!((state.fdb.len(), state.neighs.len()), (2, 2));
    }
}

/// What changes when a node's own lease does: nothing, for as long as both are configured.
#[test]
fn the_kernel_holds_the_same_whichever_of_the_two_is_announced() {
    let leases = || vec![vxlan_peer(2), udp_peer(3)];
    assert_eq!(program(TO_UDP, leases()).0, program(TO_VXLAN, leases()).0);
    let node = dual_node();
    let carried = |backend| {
        let (_, admission) = program(backend, leases());
        forwarding(backend, &node, &admission)
    };
    assert_eq!(carried(TO_UDP), carried(TO_VXLAN));
}

#[test]
fn packets_of_all_peers_are_taken_by_the_data_plane() {
    let (_, admission) = program(TO_UDP, vec![vxlan_peer(2), udp_peer(3)]);
    let peers = forwarding(TO_UDP, &dual_node(), &admission).peers;
    let mut senders: Vec<String> = peers
        .values()
        .flat_map(|peer| peer.addresses.values().map(ToString::to_string))
        .collect();
    senders.sort();
    assert_eq!(
        senders,
        ["192.168.9.2", "192.168.9.3", "fd00:b::2", "fd00:b::3"]
    );
}

#[test]
fn a_detour_passes_a_strict_reverse_path_filter() {
    let key = |device: &str| format!("net/ipv4/conf/{device}/rp_filter");
    let value = |backend: &str, device: &str| {
        let (state, _) = program(backend, vec![]);
        state.sysctls.get(&key(device)).cloned()
    };
    for backend in [TO_UDP, TO_VXLAN] {
        assert_eq!(value(backend, "flannel0").as_deref(), Some("2"));
        assert_eq!(value(backend, "flannel.1").as_deref(), Some("2"));
        assert_eq!(value(backend, "eth0"), None);
    }
    let direct = r#"{"Type":"udp","Accept":[{"Type":"vxlan","DirectRouting":true}]}"#;
    assert_eq!(value(direct, "eth0").as_deref(), Some("2"));
    for backend in [
        r#"{"Type":"udp"}"#,
        r#"{"Type":"vxlan","DirectRouting":true}"#,
    ] {
        let (state, _) = program(backend, vec![]);
        assert!(!state.sysctls.keys().any(|key| key.contains("rp_filter")));
    }
}

#[test]
fn no_device_of_ours_takes_router_advertisements_whatever_it_carries() {
    for backend in [TO_UDP, TO_VXLAN, r#"{"Type":"udp"}"#, r#"{"Type":"vxlan"}"#] {
        let (state, _) = program(backend, vec![]);
        assert!(!state.links.is_empty());
        for name in state.links.keys() {
            let key = format!("net/ipv6/conf/{name}/accept_ra");
            assert_eq!(state.sysctls.get(&key).map(String::as_str), Some("0"));
        }
    }
}

#[test]
fn pods_get_the_least_mtu_of_all() {
    let v4 = Dual {
        v4: Some(()),
        v6: None,
    };
    for backend in [TO_UDP, TO_VXLAN] {
        assert_eq!(parse(backend).unwrap().mtu(1500, &v4), Ok(1450));
        assert!(parse(backend).unwrap().mtu(600, &v4).is_err());
    }
}

#[test]
fn devices_port_and_mac_are_those_of_both() {
    for backend in [TO_UDP, TO_VXLAN] {
        let backends = parse(backend).unwrap();
        let names = backends.link_names();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(names, ["flannel-v6.1", "flannel.1", "flannel0"]);
        let marks: Vec<_> = backends.tunnels().into_iter().collect();
        let vxlan = Mark {
            name: "VXLAN 1".to_owned(),
            offset: 12,
            bytes: vec![0, 0, 1],
        };
        assert_eq!(marks, [(8285, None), (8472, Some(vxlan))]);
        let mut vteps = backends.all().flat_map(|backend| backend.vteps.values());
        assert_eq!(vteps.next().map(String::as_str), Some("flannel.1"));
        let attrs = vxlan_peer(2).attrs;
        let mac = backends.announced_mac(&attrs, Family::V4);
        assert_eq!(mac, Some("aa:00:00:00:01:02".parse().unwrap()));
    }
}

/// flannel's own udp announces no IPv6 and gets none; a vxlan peer's data is the other backend's affair.
#[test]
fn only_the_backend_that_a_peer_announces_judges_its_data() {
    let mut v4_only = udp_peer(3);
    v4_only.attrs.data.v6 = None;
    let mut nameless = vxlan_peer(2);
    nameless.attrs.data = Dual::default();
    let (_, admission) = program(
        TO_UDP,
        vec![nameless.clone(), v4_only.clone(), vxlan_peer(4)],
    );
    assert_eq!(admission.peers.len(), 1);
    let reason = |lease: &Lease| admission.refused[&lease.key].to_string();
    assert!(
        reason(&nameless).contains("VtepMAC"),
        "{}",
        reason(&nameless)
    );
    assert!(reason(&v4_only).contains("IPv6"), "{}", reason(&v4_only));
}

/// Each backend judges by itself, and what one refuses is no peer of the other's either.
#[test]
fn what_one_backend_refuses_is_left_out_of_the_others_data_plane() {
    let mut nameless = vxlan_peer(2);
    nameless.attrs.data = Dual::default();
    let (_, mut all) = program(TO_UDP, vec![vxlan_peer(2), udp_peer(3)]);
    let lease = &mut all
        .peers
        .iter_mut()
        .find(|peer| peer.lease.key == nameless.key);
    lease.as_mut().unwrap().lease = nameless.clone().into();
    for backend in [TO_UDP, TO_VXLAN] {
        let intent = parse(backend).unwrap().intent(&dual_node(), &all);
        assert!(intent.refused.contains_key(&nameless.key));
        let peers = intent.forwarding.unwrap().peers;
        let senders = peers.values().flat_map(|peer| peer.addresses.values());
        let senders: BTreeSet<IpAddr> = senders.copied().collect();
        assert_eq!(senders, [ip("192.168.9.3"), ip("fd00:b::3")].into());
    }
}

#[test]
fn without_the_list_the_refusal_names_what_this_node_runs() {
    let (_, admission) = program(r#"{"Type":"udp"}"#, vec![vxlan_peer(2)]);
    let reason = admission.refused.values().next().unwrap().to_string();
    assert_eq!(reason, "it runs backend vxlan, this node runs udp");
    let mut far = vxlan_peer(2);
    far.attrs.backend_type = "wireguard".to_owned();
    let (_, admission) = program(TO_UDP, vec![far]);
    let reason = admission.refused.values().next().unwrap().to_string();
    assert_eq!(
        reason,
        "it runs backend wireguard, this node runs udp and vxlan"
    );
}

fn entry() -> impl Strategy<Value = Value> {
    let kind = prop_oneof![
        Just(json!("vxlan")),
        Just(json!("udp")),
        Just(json!("host-gw")),
        Just(json!(7)),
        Just(Value::Null),
    ];
    let number = prop_oneof![
        Just(json!(0)),
        Just(json!(8285)),
        Just(json!(1 << 24)),
        Just(json!("x"))
    ];
    let object = (kind, proptest::option::of(number)).prop_map(|(kind, port)| {
        let mut object = json!({ "Type": kind });
        object
            .as_object_mut()
            .unwrap()
            .extend(port.map(|port| ("Port".to_owned(), port)));
        object
    });
    prop_oneof![4 => object, 1 => Just(json!([])), 1 => Just(json!("udp"))]
}

proptest! {
    /// Whatever stands there, what is taken is the other of the two, once and with another port; what isn't is refused
    /// by its place.
    #[test]
    fn any_list_is_taken_or_refused_by_its_place(
        own in prop_oneof![Just("vxlan"), Just("udp"), Just("host-gw")],
        list in proptest::collection::vec(entry(), 0..4),
    ) {
        let text = json!({ "Type": own, "Accept": list }).to_string();
        match parse(&text) {
            Ok(backends) => {
                prop_assert_eq!(backends.accepted().count(), list.len());
                let ports: Vec<_> = backends.all().map(|backend| backend.tunnel.as_ref().map(|tunnel| tunnel.port)).collect();
                let names: BTreeSet<_> = backends.all().map(|backend| backend.name).collect();
                prop_assert_eq!(names.len(), ports.len());
                prop_assert!(ports.len() == 1 || ports[0] != ports[1]);
            }
            Err(error) => {
                prop_assert!(!list.is_empty());
                prop_assert!(error.to_string().contains("Backend.Accept"), "{}", error);
            }
        }
    }
}
