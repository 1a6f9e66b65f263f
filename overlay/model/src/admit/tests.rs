use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::{Host, Identity, LeaseAttrs, Mac, NetworkConfig, OnLink, Uplink};

fn pools() -> Dual<Pool> {
    let text = r#"{"Network":"10.244.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:10:244::/48"}"#;
    NetworkConfig::parse(text).unwrap().0.pools
}

fn node() -> LocalNode {
    let addr: IpAddr = "198.18.0.1".parse().unwrap();
    LocalNode {
        uplink: Uplink {
            name: "eth0".into(),
            index: 2,
            mtu: 1500,
            addrs: Dual {
                v4: Some(addr),
                v6: None,
            },
            onlink: vec![],
            learned_default: false,
        },
        public: Dual {
            v4: Some(addr),
            v6: None,
        },
        identity: Identity {
            vtep_mac: Mac([2; 6]),
            vtep_mac_v6: Mac([2; 6]),
        },
        subnets: Dual {
            v4: Some("10.244.1.0/24".parse().unwrap()),
            v6: None,
        },
        host: Host {
            addrs: ["172.17.0.1", "198.18.0.1"]
                .map(|a| a.parse().unwrap())
                .into(),
            onlink: [OnLink {
                net: "10.244.77.0/24".parse().unwrap(),
                dev: "br0".into(),
            }]
            .into(),
            needed: [("10.244.80.1".parse().unwrap(), "its gateway".into())].into(),
        },
    }
}

fn lease(subnet: &str, public: &str, created: u64) -> Lease {
    Lease {
        key: SubnetKey(Dual::of_nets([subnet.parse().unwrap()])),
        attrs: LeaseAttrs {
            public: Dual::of_addrs([public.parse().unwrap()]),
            backend_type: "vxlan".into(),
            data: Dual::default(),
        },
        node: None,
        created,
        term: Term::Leased,
    }
}

fn vxlan() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([("vxlan", "vxlan")])
}

fn admitted(leases: Vec<Lease>) -> Admission {
    let leases = leases
        .into_iter()
        .map(|lease| (lease.key, lease.into()))
        .collect();
    let snapshot = ClusterSnapshot {
        leases,
        ..ClusterSnapshot::default()
    };
    admit(&pools(), &node(), &vxlan(), &snapshot)
}

fn keys(admission: &Admission) -> Vec<SubnetKey> {
    admission.peers.iter().map(|peer| peer.lease.key).collect()
}

fn only_refusal(bad: Lease) -> Refusal {
    let key = bad.key;
    let mut admission = admitted(vec![bad, lease("10.244.9.0/24", "198.18.0.9", 1)]);
    assert_eq!(
        admission.peers.len(),
        1,
        "the sound lease beside it stays a peer"
    );
    admission.refused.remove(&key).expect("refused")
}

#[test]
fn the_own_lease_is_neither_peer_nor_refused() {
    let admission = admitted(vec![lease("10.244.1.0/24", "198.18.0.1", 1)]);
    assert_eq!(admission, Admission::default());
}

#[test]
fn a_subnet_outside_the_network_is_refused() {
    let refusal = only_refusal(lease("10.245.1.0/24", "198.18.0.2", 2));
    assert_eq!(
        refusal.to_string(),
        "subnet 10.245.1.0/24 is outside the network 10.244.0.0/16"
    );
}

#[test]
fn a_subnet_that_overlaps_ours_is_refused() {
    for subnet in ["10.244.1.128/25", "10.244.0.0/23"] {
        let refusal = only_refusal(lease(subnet, "198.18.0.2", 2));
        assert!(matches!(refusal, Refusal::OverlapsOwn { .. }), "{refusal}");
    }
}

#[test]
fn of_two_overlapping_leases_the_older_one_stays() {
    for subnet in ["10.244.8.0/23", "10.244.9.64/26"] {
        let refusal = only_refusal(lease(subnet, "198.18.0.2", 2));
        assert!(matches!(refusal, Refusal::Overlaps { .. }), "{refusal}");
    }
    let old = lease("10.244.8.0/23", "198.18.0.2", 0);
    let admission = admitted(vec![old.clone(), lease("10.244.9.0/24", "198.18.0.9", 1)]);
    assert_eq!(keys(&admission), [old.key]);
}

#[test]
fn our_own_public_address_is_refused() {
    let refusal = only_refusal(lease("10.244.2.0/24", "198.18.0.1", 2));
    assert_eq!(
        refusal,
        Refusal::OwnPublicAddress("198.18.0.1".parse().unwrap())
    );
}

#[test]
fn addresses_that_no_node_can_have_are_refused() {
    for (addr, why) in [
        ("0.0.0.1", "of no host"),
        ("127.0.0.1", "loopback"),
        ("169.254.9.9", "link-local"),
        ("224.0.0.1", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "broadcast"),
        ("10.244.2.1", "inside the pod network 10.244.0.0/16"),
        ("10.244.1.7", "inside the pod network"),
        ("fd00:10:244::1", "inside the pod network fd00:10:244::/48"),
        ("::1", "loopback"),
        ("ff02::1", "multicast"),
        ("::ffff:192.0.2.1", "disguise"),
    ] {
        let refusal = only_refusal(lease("10.244.2.0/24", addr, 2));
        assert_eq!(refusal.label(), "bad_public_address", "{addr}");
        assert!(refusal.to_string().contains(why), "{addr}: {refusal}");
    }
    let refusal = only_refusal(lease("10.244.2.0/24", "172.17.0.1", 2));
    let own = Refusal::OwnPublicAddress("172.17.0.1".parse().unwrap());
    assert_eq!(refusal, own, "the address of another interface");
}

#[test]
fn a_link_local_address_reaches_neighbours_of_ipv4_and_of_ipv6_nobody() {
    let of = |lease: Lease, onlink: &[&str]| {
        let mut node = node();
        node.uplink.onlink = onlink.iter().map(|net| net.parse().unwrap()).collect();
        let snapshot = ClusterSnapshot {
            leases: [(lease.key, lease.into())].into(),
            ..ClusterSnapshot::default()
        };
        admit(&pools(), &node, &vxlan(), &snapshot)
    };
    let v4 = lease("10.244.2.0/24", "169.254.9.9", 2);
    assert_eq!(of(v4.clone(), &[]).refused.len(), 1);
    assert_eq!(of(v4, &["169.254.0.0/16"]).peers.len(), 1);
    let v6 = lease("fd00:10:244:2::/64", "fe80::9", 2);
    let refused = of(v6, &["fe80::/64"]).refused;
    let reason = refused.values().next().expect("refused").to_string();
    assert!(reason.contains("of which link"), "{reason}");
    // By IPv4 a node can be reached whose IPv6 address is of one link only, as while it waits for a router.
    let mut both = lease("10.244.2.0/24", "198.18.0.2", 2);
    both.key.0.v6 = Some("fd00:10:244:2::/64".parse().unwrap());
    both.attrs.public.v6 = Some("fe80::9".parse().unwrap());
    let admission = of(both, &[]);
    let sides = admission.peers[0].sides;
    assert!(sides.v4.is_some() && sides.v6.is_none());
}

#[test]
fn a_subnet_that_the_host_needs_otherwise_is_refused_by_name() {
    for (subnet, what) in [
        ("10.244.77.0/24", "10.244.77.0/24 of br0"),
        ("10.244.80.0/24", "10.244.80.1, its gateway"),
    ] {
        let refusal = only_refusal(lease(subnet, "198.18.0.2", 2));
        assert_eq!(refusal.label(), "takes_hosts_own");
        assert!(refusal.to_string().contains(what), "{refusal}");
    }
}

#[test]
fn a_lease_of_another_backend_is_passed_over() {
    let mut other = lease("10.244.2.0/24", "198.18.0.2", 2);
    other.attrs.backend_type = "wireguard".into();
    assert_eq!(only_refusal(other).label(), "other_backend");
}

#[test]
fn what_a_store_writer_calls_a_backend_is_cut_and_escaped() {
    let mut evil = lease("10.244.2.0/24", "198.18.0.2", 2);
    evil.attrs.backend_type = format!("vxlan\n\x1b[31m{}", "x".repeat(5_000));
    let text = only_refusal(evil).to_string();
    assert!(
        text.starts_with("it runs backend vxlan\\n\\u{1b}[31mxx"),
        "{text}"
    );
    assert!(
        text.len() < 300 && !text.contains(char::is_control),
        "{text}"
    );
}

#[test]
fn a_lease_that_names_a_backend_whose_leases_name_none_is_told_from_another_backend() {
    let refusal = Refusal::OtherBackend {
        theirs: "udp".to_owned(),
        ours: "vxlan and udp".to_owned(),
    };
    assert_eq!(
        refusal.to_string(),
        "its BackendType is udp, and leases of backend udp have none: remove that key"
    );
}

#[test]
fn a_reservation_that_waits_for_its_node_is_neither_peer_nor_fault() {
    let mut waiting = lease("10.244.2.0/24", "198.18.0.2", 2);
    waiting.attrs.backend_type = String::new();
    waiting.term = Term::Reserved;
    let of = |lease: Lease| {
        let leases = [(lease.key, lease.into())].into();
        let snapshot = ClusterSnapshot {
            leases,
            ..ClusterSnapshot::default()
        };
        admit(&pools(), &node(), &vxlan(), &snapshot)
    };
    let admission = of(waiting.clone());
    assert!(admission.peers.is_empty() && admission.refused.is_empty());
    assert_eq!(admission.reserved, [(waiting.key, false)].into());
    // One in the wrong place is a fault all the same, and so is a node that says nothing of its backend.
    let mut outside = waiting.clone();
    outside.key.0.v4 = Some("192.168.7.0/24".parse().unwrap());
    assert_eq!(of(outside).refused.len(), 1);
    waiting.term = Term::Leased;
    assert_eq!(of(waiting).refused.len(), 1);
}

#[test]
fn a_reservation_for_this_node_is_no_fault_wherever_it_lies() {
    let mut node = node();
    node.host.onlink.insert(OnLink {
        net: "10.244.2.0/24".parse().unwrap(),
        dev: "cni0".to_owned(),
    });
    let mut mine = lease("10.244.2.0/24", "198.18.0.1", 2);
    mine.attrs = LeaseAttrs {
        public: node.public,
        ..LeaseAttrs::default()
    };
    mine.term = Term::Reserved;
    let snapshot = ClusterSnapshot {
        leases: [(mine.key, mine.clone().into())].into(),
        ..ClusterSnapshot::default()
    };
    let admission = admit(&pools(), &node, &vxlan(), &snapshot);
    assert_eq!(admission.refused, [].into());
    assert_eq!(admission.reserved, [(mine.key, true)].into());
}

#[test]
fn a_family_that_is_off_here_is_ignored() {
    let mut dual = lease("10.244.2.0/24", "198.18.0.2", 2);
    dual.key.0.v6 = Some("2001:db8::/64".parse().unwrap());
    let v4_only = Dual {
        v6: None,
        ..pools()
    };
    let snapshot = ClusterSnapshot {
        leases: [(dual.key, dual.into())].into(),
        ..ClusterSnapshot::default()
    };
    let admission = admit(&v4_only, &node(), &vxlan(), &snapshot);
    assert!(admission.peers[0].sides.v6.is_none());
}

proptest! {
    /// Against the slow way: every pair compared.
    #[test]
    fn admitted_peers_never_overlap_and_none_is_refused_without_cause(
        entries in prop::collection::vec((0_u32..64, 20_u8..28, any::<u8>()), 0..40),
    ) {
        let leases: Vec<Lease> = entries.iter().enumerate().map(|(index, (n, len, created))| {
            let base = std::net::Ipv4Addr::from(0x0af4_0200 + n * 64);
            let subnet = ipnet::Ipv4Net::new(base, *len).unwrap().trunc();
            lease(&subnet.to_string(), &format!("198.18.1.{index}"), (*created).into())
        }).filter(|lease| lease.attrs.public.v4 != Some("198.18.1.0".parse().unwrap())).collect();
        let admission = admitted(leases);
        let nets: Vec<IpNet> = keys(&admission).iter().map(|key| key.0.v4.unwrap()).collect();
        let own: IpNet = "10.244.1.0/24".parse().unwrap();
        for (index, net) in nets.iter().enumerate() {
            prop_assert!(!net.contains(&own) && !own.contains(net));
            for other in &nets[index + 1..] {
                prop_assert!(!net.contains(other) && !other.contains(net), "{net} {other}");
            }
        }
        for (key, refusal) in &admission.refused {
            let net = key.0.v4.unwrap();
            let cause = match refusal {
                Refusal::Overlaps { older, .. } => older.0.v4.unwrap(),
                Refusal::OverlapsOwn { own, .. } => *own,
                other => panic!("{net}: {other}"),
            };
            prop_assert!(net.contains(&cause) || cause.contains(&net));
        }
    }
}
