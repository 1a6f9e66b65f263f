use std::time::Duration;

use super::*;
use tweed_forward::decide::Trust;
use tweed_forward::options::{BusyPoll, ForwardOptions};

fn udp(options: &str) -> Udp {
    match own(&format!(r#"{{"Type":"udp"{options}}}"#)) {
        Backend::Udp(udp) => udp,
        other => panic!("{other:?}"),
    }
}

pub(super) fn udp_peer(number: u16) -> Lease {
    let mut lease = peer(number, &format!("192.168.9.{number}"), "x", number.into());
    lease.attrs.backend_type = String::new();
    lease.attrs.data = Dual {
        v4: None,
        v6: Some(serde_json::json!({ "Port": 8285 }).into()),
    };
    lease
}

#[test]
fn port_and_device_are_flannels_and_those_of_a_second_network_differ() {
    assert_eq!(udp("").port, 8285);
    assert_eq!(udp("").link_name(), "flannel0");
    let other = udp(r#","Port":9000"#);
    assert_eq!(
        (other.port, other.link_name().as_str()),
        (9000, "flannel-u9000")
    );
    assert!(udp(r#","Port":65535"#).link_name().len() < 16);
}

#[test]
fn no_backend_at_all_means_udp_as_in_flannel() {
    let (config, _) = NetworkConfig::parse(r#"{"Network":"10.244.0.0/16"}"#).unwrap();
    let (backends, unknown) = Backends::parse(&config).unwrap();
    assert_eq!((backends.to_string().as_str(), unknown.len()), ("udp", 0));
}

#[test]
fn wrong_and_unknown_options_are_named() {
    let error = parse(r#"{"Type":"udp","Port":70000}"#).unwrap_err();
    assert!(
        error.to_string().contains("Backend.Port is 70000"),
        "{error}"
    );
    let wrong = [
        (r#""Workers":0"#, "Backend.Workers is 0"),
        (r#""Workers":65"#, "from 1 to 64"),
        (r#""BusyPoll":20000"#, "from 0 to 10000"),
        (r#""KeepAlive":-1"#, "Backend.KeepAlive"),
        (r#""Nice":-21"#, "from -20 to 19"),
        (r#""Persist":"yes""#, "Backend.Persist"),
        (
            r#""Trust":"all""#,
            r#"Backend.Trust is "all"; it must be one of subnets, peers, anyone"#,
        ),
    ];
    for (option, expected) in wrong {
        let error = parse(&format!(r#"{{"Type":"udp",{option}}}"#)).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let config = config(r#"{"Type":"udp","VNI":3}"#);
    assert_eq!(Backends::parse(&config).unwrap().1, ["Backend.VNI"]);
}

#[test]
fn options_are_careful_unless_the_operator_says_otherwise() {
    let default = udp("");
    assert_eq!((default.workers, default.persist), (1, true));
    let careful = ForwardOptions {
        nice: -17,
        ..ForwardOptions::default()
    };
    assert_eq!(default.options, careful);
    let chosen = udp(
        r#","Workers":4,"Persist":false,"Trust":"peers","BusyPoll":50,"KeepAlive":20,"Nice":5"#,
    );
    assert_eq!((chosen.workers, chosen.persist), (4, false));
    let expected = ForwardOptions {
        trust: Trust::Peers,
        busy_poll: BusyPoll::Always(Duration::from_micros(50)),
        keep_alive: Some(Duration::from_secs(20)),
        nice: 5,
    };
    assert_eq!(chosen.options, expected);
}

#[test]
fn pods_get_28_bytes_less_and_48_with_ipv6() {
    let backend = parse(r#"{"Type":"udp"}"#).unwrap();
    let v4 = Dual {
        v4: Some(()),
        v6: None,
    };
    let both = Dual {
        v4: Some(()),
        v6: Some(()),
    };
    assert_eq!(backend.mtu(1500, &v4), Ok(1472));
    assert_eq!(backend.mtu(1500, &both), Ok(1452));
}

#[test]
fn flannel_sees_nothing_of_ipv4_and_a_mark_for_ipv6() {
    let backend = parse(r#"{"Type":"udp"}"#).unwrap();
    assert_eq!(backend.own().wire_type, "");
    let data = backend
        .own()
        .announce(&dual_node().identity, &dual_node().subnets);
    assert_eq!(data.v4, None);
    assert_eq!(data.v6.unwrap().to_string(), r#"{"Port":8285}"#);
}

#[test]
fn one_device_is_the_way_to_the_whole_network() {
    let (state, _) = program(r#"{"Type":"udp"}"#, vec![udp_peer(2), udp_peer(3)]);
    let link = &state.links["flannel0"];
    assert_eq!(
        (&link.kind, link.mtu, link.up),
        (&LinkKind::Tun { queues: false }, 1452, true)
    );
    assert_eq!(state.addrs.len(), 2);
    assert_eq!(state.sysctls["net/ipv4/conf/flannel0/accept_local"], "1");
    assert_eq!(state.routes.len(), 2, "one a family, however many peers");
    for network in ["10.244.0.0/16", "fd00:10:244::/48"] {
        let route = &state.routes[&RouteKey::of(network.parse().unwrap())];
        let expected = NextHop::via(None, "flannel0".into(), false);
        assert_eq!(route.next_hop, expected);
    }
    assert!(state.neighs.is_empty() && state.fdb.is_empty());
}

#[test]
fn each_family_of_a_peer_is_sent_to_its_own_address_at_our_port() {
    let node = dual_node();
    let backend = r#"{"Type":"udp","Port":9000}"#;
    let (_, admission) = program(backend, vec![udp_peer(2)]);
    let forwarding = forwarding(backend, &node, &admission);
    assert_eq!((forwarding.port, forwarding.own), (9000, node.subnets));
    let seen: Vec<String> = forwarding
        .peers
        .values()
        .map(|peer| {
            let subnets: Vec<_> = peer.subnets.values().map(ToString::to_string).collect();
            format!("{} {} {}", peer.endpoint, subnets.join(","), peer.mtu)
        })
        .collect();
    assert_eq!(
        seen,
        [
            "192.168.9.2:9000 10.244.2.0/24 1472",
            "[fd00:b::2]:9000 fd00:10:244:2::/64 1452",
        ]
    );
}

#[test]
fn a_peer_with_ipv6_that_does_not_say_it_takes_it_is_refused() {
    let mut lease = udp_peer(2);
    lease.attrs.data = Dual::default();
    let (_, admission) = program(r#"{"Type":"udp"}"#, vec![lease.clone(), udp_peer(3)]);
    let refusal = admission.refused[&lease.key].to_string();
    assert!(refusal.contains("IPv6"), "{refusal}");
    assert_eq!(admission.peers.len(), 1);
}

#[test]
fn addresses_of_one_link_are_neither_received_at_nor_sent_to() {
    let mut node = dual_node();
    let link_local = "fe80::1".parse().unwrap();
    node.uplink.addrs.v6 = Some(link_local);
    let mut both = udp_peer(2);
    both.attrs.public.v6 = Some(link_local);
    let (_, admission) = program(r#"{"Type":"udp"}"#, vec![both]);
    let forwarding = forwarding(r#"{"Type":"udp"}"#, &node, &admission);
    assert_eq!(forwarding.locals.v6, None);
    assert!(forwarding.locals.v4.is_some());
    let sent_to: Vec<_> = forwarding
        .peers
        .values()
        .map(|peer| peer.endpoint)
        .collect();
    assert_eq!(
        sent_to,
        ["192.168.9.2:8285".parse().unwrap()],
        "by IPv4 all the same"
    );
}
