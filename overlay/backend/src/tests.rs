use std::collections::BTreeMap;
use std::net::IpAddr;

mod accept;
mod mtu;
mod owners;
mod tx_checksum;
mod types;
mod udp;

use super::*;
use crate::backend::Kind;
use tweed_forward::forwarding::Forwarding;
use tweed_model::json::Object;
use tweed_model::lease::Term;
use tweed_model::{
    Admission, ClusterSnapshot, ConfigError, Dual, Family, Host, Identity, Lease, LeaseAttrs,
    LocalNode, Mac, NetworkConfig, Refusal, Seniority, SubnetKey, Uplink, admit,
};
use tweed_state::{KernelState, LinkKind, NextHop, RouteKey};

fn config(backend: &str) -> NetworkConfig {
    let text = format!(
        r#"{{"Network":"10.244.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:10:244::/48","Backend":{backend}}}"#
    );
    NetworkConfig::parse(&text).unwrap().0
}

fn parse(backend: &str) -> Result<Backends, ConfigError> {
    Backends::parse(&config(backend)).map(|(backends, _)| backends)
}

fn own(backend: &str) -> Backend {
    let config = config(backend);
    let options = Object::from(&config.backend);
    let kind = Kind::named(&config.backend_type).unwrap();
    kind.parse(&options, &config).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn dual_node() -> LocalNode {
    let addrs = Dual::of_addrs([ip("192.168.0.1"), ip("fd00:a::1")]);
    let onlink = vec![
        "192.168.0.0/24".parse().unwrap(),
        "fd00:a::/64".parse().unwrap(),
    ];
    LocalNode {
        uplink: Uplink {
            name: "eth0".into(),
            index: 2,
            mtu: 1500,
            addrs,
            onlink,
            learned_default: false,
        },
        public: addrs,
        identity: Identity {
            vtep_mac: "aa:00:00:00:00:01".parse().unwrap(),
            vtep_mac_v6: "aa:00:00:00:00:06".parse().unwrap(),
        },
        subnets: Dual::of_nets([
            "10.244.1.0/24".parse().unwrap(),
            "fd00:10:244:1::/64".parse().unwrap(),
        ]),
        host: Host::default(),
    }
}

fn peer(number: u16, public: &str, mac: &str, created: u64) -> Lease {
    let data = serde_json::json!({"VNI": 1, "VtepMAC": mac});
    let public = ip(public);
    let nets: [ipnet::IpNet; 2] = [
        format!("10.244.{number}.0/24").parse().unwrap(),
        format!("fd00:10:244:{number}::/64").parse().unwrap(),
    ];
    let v6 = ip(&format!("fd00:b::{number}"));
    Lease {
        key: SubnetKey(Dual::of_nets(nets)),
        attrs: LeaseAttrs {
            public: Dual {
                v4: Some(public),
                v6: Some(v6),
            },
            backend_type: "vxlan".into(),
            data: Dual {
                v4: Some(data.clone().into()),
                v6: Some(data.into()),
            },
        },
        node: None,
        created,
        term: Term::Leased,
    }
}

fn program(backend: &str, leases: Vec<Lease>) -> (KernelState, Admission) {
    program_after(&mut Seniority::default(), backend, leases)
}

fn program_after(
    seniority: &mut Seniority,
    backend: &str,
    leases: Vec<Lease>,
) -> (KernelState, Admission) {
    let config = config(backend);
    let backends = parse(backend).unwrap();
    let node = dual_node();
    let leases = leases
        .into_iter()
        .map(|lease| (lease.key, lease.into()))
        .collect();
    let snapshot = ClusterSnapshot {
        leases,
        ..ClusterSnapshot::default()
    };
    let mut admission = admit::admit(&config.pools, &node, &backends.spoken(), &snapshot);
    seniority.follow(&snapshot);
    admission.rank(seniority);
    let intent = backends.intent(&node, &admission);
    admission.refuse(intent.refused);
    (intent.state, admission)
}

/// What the data plane forwards by.
fn forwarding(backend: &str, node: &LocalNode, peers: &Admission) -> Forwarding {
    let intent = parse(backend).unwrap().intent(node, peers);
    intent.forwarding.unwrap()
}

#[test]
fn vxlan_defaults_are_flannels() {
    let Backend::Vxlan(vxlan) = own(r#"{"Type":"vxlan"}"#) else {
        panic!()
    };
    assert_eq!((vxlan.vni, vxlan.port, vxlan.mtu), (1, 8472, None));
    assert!(!vxlan.gbp && !vxlan.learning && !vxlan.direct_routing);
}

#[test]
fn a_backend_that_is_not_there_is_refused_with_those_that_are() {
    let error = parse(r#"{"Type":"wireguard"}"#).unwrap_err().to_string();
    assert!(
        error.contains("wireguard") && error.contains("vxlan, udp, host-gw, alloc"),
        "{error}"
    );
}

#[test]
fn wrong_options_are_named_with_what_is_allowed() {
    for (options, parts) in [
        (r#""VNI":0"#, ["Backend.VNI", "16777215"]),
        (r#""VNI":16777216"#, ["16777216", "1 to 16777215"]),
        (r#""vni":"1""#, ["Backend.", "\"1\""]),
        (r#""Port":65536"#, ["Backend.Port", "65535"]),
        (r#""MTU":-1"#, ["Backend.MTU", "-1"]),
        (
            r#""DirectRouting":"yes""#,
            ["Backend.DirectRouting", "true or false"],
        ),
    ] {
        let error = parse(&format!(r#"{{"Type":"vxlan",{options}}}"#))
            .unwrap_err()
            .to_string();
        assert!(
            parts.iter().all(|part| error.contains(part)),
            "{options}: {error}"
        );
    }
}

#[test]
fn unknown_options_are_reported() {
    let config = config(r#"{"Type":"vxlan","Prot":1}"#);
    assert_eq!(
        Backends::parse(&config).unwrap().1,
        ["Backend.Prot (Port?)"]
    );
}

#[test]
fn the_announced_data_is_flannels_byte_for_byte() {
    let announced = parse(r#"{"Type":"vxlan"}"#).unwrap().own().announce(
        &dual_node().identity,
        &Dual {
            v4: Some(()),
            v6: None::<()>,
        },
    );
    let text = announced.v4.unwrap().to_string();
    assert_eq!(text, r#"{"VNI":1,"VtepMAC":"aa:00:00:00:00:01"}"#);
    assert!(announced.v6.is_none());
}

#[test]
fn a_peer_is_a_neighbour_an_fdb_entry_and_an_onlink_route_in_each_family() {
    let mac = "aa:bb:cc:00:00:02";
    let (state, admission) = program(r#"{"Type":"vxlan"}"#, vec![peer(2, "192.168.0.2", mac, 1)]);
    assert!(admission.refused.is_empty(), "{:?}", admission.refused);
    let mac: Mac = mac.parse().unwrap();
    for (dev, gateway, public, subnet) in [
        ("flannel.1", "10.244.2.0", "192.168.0.2", "10.244.2.0/24"),
        (
            "flannel-v6.1",
            "fd00:10:244:2::",
            "fd00:b::2",
            "fd00:10:244:2::/64",
        ),
    ] {
        assert_eq!(state.neighs[&(dev.into(), ip(gateway))], mac);
        assert_eq!(state.fdb[&(dev.into(), mac)], ip(public));
        let route = &state.routes[&RouteKey::of(subnet.parse().unwrap())];
        let expected = NextHop::via(Some(ip(gateway)), dev.into(), true);
        assert_eq!(route.next_hop, expected);
    }
    assert_eq!(state.routes.len(), 2);
}

#[test]
fn each_family_has_its_vtep_with_the_address_of_the_subnets_base() {
    let (state, _) = program(r#"{"Type":"vxlan","VNI":7,"Port":4789}"#, vec![]);
    let v4 = &state.links["flannel.7"];
    let LinkKind::Vxlan(vxlan) = &v4.kind else {
        panic!()
    };
    assert_eq!(
        (vxlan.vni, vxlan.port, vxlan.local),
        (7, 4789, ip("192.168.0.1"))
    );
    assert_eq!((v4.mtu, v4.up), (1450, true));
    assert_eq!(state.links["flannel-v6.7"].mtu, 1430);
    let addrs: Vec<String> = state
        .addrs
        .iter()
        .map(|(dev, net)| format!("{dev} {net}"))
        .collect();
    assert_eq!(
        addrs,
        [
            "flannel-v6.7 fd00:10:244:1::/128",
            "flannel.7 10.244.1.0/32"
        ]
    );
}

#[test]
fn with_direct_routing_a_neighbour_on_the_link_needs_no_tunnel() {
    let backend = r#"{"Type":"vxlan","DirectRouting":true}"#;
    let near = peer(2, "192.168.0.2", "aa:bb:cc:00:00:02", 1);
    let far = peer(3, "192.168.9.3", "aa:bb:cc:00:00:03", 2);
    let (state, _) = program(backend, vec![near, far]);
    let route = &state.routes[&RouteKey::of("10.244.2.0/24".parse().unwrap())];
    let direct = NextHop::via(Some(ip("192.168.0.2")), "eth0".into(), false);
    assert_eq!(route.next_hop, direct);
    assert!(
        !state
            .neighs
            .contains_key(&("flannel.1".into(), ip("10.244.2.0")))
    );
    assert!(
        state
            .neighs
            .contains_key(&("flannel.1".into(), ip("10.244.3.0")))
    );
}

#[test]
fn a_peer_with_bad_data_is_refused_and_the_others_stay() {
    let good = peer(9, "192.168.0.9", "aa:bb:cc:00:00:09", 1);
    for (mac, part) in [
        ("nonsense", "nonsense"),
        ("01:00:5e:00:00:01", "unicast"),
        ("00:00:00:00:00:00", "unicast"),
        ("aa:00:00:00:00:01", "this node's own"),
        ("aa:bb:cc:00:00:09", "had it first"),
    ] {
        let bad = peer(2, "192.168.0.2", mac, 2);
        let (state, admission) = program(r#"{"Type":"vxlan"}"#, vec![good.clone(), bad.clone()]);
        let refusal = admission.refused[&bad.key].to_string();
        assert!(refusal.contains(part), "{mac}: {refusal}");
        assert_eq!(admission.peers.len(), 1);
        assert_eq!(state.fdb.len(), 2, "the sound peer's entries, one a family");
    }
    let mut none = peer(2, "192.168.0.2", "x", 2);
    none.attrs.data = Dual::default();
    let (_, admission) = program(r#"{"Type":"vxlan"}"#, vec![good, none.clone()]);
    assert!(matches!(admission.refused[&none.key], Refusal::BadData(_)));
}

#[test]
fn a_lease_that_a_node_left_behind_does_not_keep_others_from_its_new_one() {
    let old = peer(2, "192.168.0.2", "aa:bb:cc:00:00:02", 1);
    let mut new = peer(3, "192.168.0.2", "aa:bb:cc:00:00:02", 2);
    new.attrs.public = old.attrs.public;
    let (state, admission) = program(r#"{"Type":"vxlan"}"#, vec![old, new]);
    assert_eq!(admission.refused, BTreeMap::new());
    assert_eq!((state.routes.len(), state.neighs.len()), (4, 4));
    assert_eq!(state.fdb.len(), 2, "one node, one entry a family");
}

#[test]
fn host_gw_refuses_a_peer_behind_a_router() {
    let mut far = peer(3, "192.168.9.3", "x", 1);
    far.attrs.backend_type = "host-gw".into();
    far.attrs.public.v6 = Some(ip("fd00:a::3"));
    let (state, admission) = program(r#"{"Type":"host-gw"}"#, vec![far.clone()]);
    assert!(state.routes.is_empty());
    let refusal = admission.refused[&far.key].to_string();
    assert!(
        refusal.contains("192.168.9.3") && refusal.contains("DirectRouting"),
        "{refusal}"
    );
}
