//! Every rule by a case of its own, and all of them over packets of any kind.

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;
use crate::arbitrary::{DONT_FRAGMENT, Spec, at_least, fix_ipv4_checksum, hostile};
use crate::packet::Malformed;
use crate::virtio::{Checksum, Super};
use tweed_model::Dual;

/// Node 1 is ours. Nodes 2 and 3 are peers at 192.0.2.2 and 2001:db8::3; the path to 3 is narrow.
fn table() -> Table {
    let nets = |node: u16| -> Dual<IpNet> {
        let v4 = format!("10.42.{node}.0/24").parse().unwrap();
        let v6 = format!("fd00:0:0:{node}::/64").parse().unwrap();
        Dual::of_nets([v4, v6])
    };
    let peer = |node: u16, endpoint: &str, mtu: u16| {
        let endpoint: std::net::SocketAddr = endpoint.parse().unwrap();
        let addresses = Dual::of_addrs([endpoint.ip()]);
        let subnets = nets(node);
        Peer {
            endpoint,
            addresses,
            subnets,
            mtu,
        }
    };
    let peers = vec![
        peer(2, "192.0.2.2:8285", 1472),
        peer(3, "[2001:db8::3]:8285", 1000),
    ];
    Table::new(nets(1), peers)
}

/// A packet whose addresses are changed: the third byte of IPv4's, the eighth of IPv6's is the node's number.
fn between(spec: Spec, from: u8, to: u8) -> Vec<u8> {
    let mut bytes = spec.bytes();
    let (source, destination) = if spec.v6 { (15, 31) } else { (14, 18) };
    (bytes[source], bytes[destination]) = (from, to);
    fix_ipv4_checksum(&mut bytes);
    bytes
}

fn out(bytes: &[u8]) -> Outbound {
    outbound(&table(), &Offload::None, bytes)
}

fn reason(outbound: Outbound) -> Option<Reason> {
    match outbound {
        Outbound::Drop(reason) | Outbound::Answer(_, _, reason) => Some(reason),
        Outbound::Send(..) | Outbound::Fragment(..) => None,
    }
}

fn to_v4(addr: [u8; 4]) -> Vec<u8> {
    let mut bytes = Spec::udp(false, 10).bytes();
    bytes[16..20].copy_from_slice(&addr);
    fix_ipv4_checksum(&mut bytes);
    bytes
}

proptest! {
    #![proptest_config(at_least(2048))]

    #[test]
    fn every_input_from_the_device_is_decided(bytes in hostile(), header in any::<[u8; 10]>(), kind in 0..6u8) {
        let header = [[header[0], kind], [header[2], header[3]]].concat();
        let header = [&header[..], &[0, 100, 0, 0, 0, 0]].concat();
        let offload = Offload::parse(&header).unwrap_or(Offload::None);
        let table = table();
        match outbound(&table, &offload, &bytes) {
            Outbound::Send(packet, peer) | Outbound::Fragment(packet, peer) => {
                let subnets = table.peer(peer).subnets;
                prop_assert!(subnets.values().any(|net| net.contains(&packet.destination)));
                prop_assert!(packet.hop_limit > 1);
            }
            Outbound::Answer(packet, _, reason) => {
                prop_assert!(icmp::may_answer(&packet, &bytes));
                prop_assert!(reason.answer(0).is_some());
            }
            Outbound::Drop(reason) => prop_assert!(Reason::ALL.contains(&reason)),
        }
    }

    #[test]
    fn what_is_delivered_is_from_the_senders_subnet_to_ours(
        bytes in hostile(),
        nodes in any::<[u8; 2]>(),
        sender in 0..4usize,
    ) {
        let mut bytes = bytes;
        if let [_, _, .., _] = bytes[..] && bytes.len() >= 20 && bytes[0] == 0x45 {
            (bytes[14], bytes[18]) = (nodes[0] % 5, nodes[1] % 5);
            fix_ipv4_checksum(&mut bytes);
        }
        let senders = ["192.0.2.2", "2001:db8::3", "::ffff:192.0.2.2", "198.51.100.1"];
        let sender: IpAddr = senders[sender].parse().unwrap();
        let table = table();
        if let Inbound::Deliver(packet, _) = inbound(&table, Trust::Subnets, sender, &bytes) {
            let peer = table.peer(table.lookup(packet.source).unwrap());
            prop_assert!(peer.addresses.values().any(|addr| *addr == sender.to_canonical()));
            prop_assert!(table.is_own(packet.destination));
        }
    }
}

#[test]
fn a_packet_goes_to_the_peer_that_has_its_destination() {
    for v6 in [false, true] {
        for (node, endpoint) in [(2, "192.0.2.2:8285"), (3, "[2001:db8::3]:8285")] {
            let Outbound::Send(packet, peer) = out(&between(Spec::udp(v6, 10), 1, node)) else {
                panic!("not sent");
            };
            assert_eq!(table().peer(peer).endpoint, endpoint.parse().unwrap());
            assert_eq!(packet.hop_limit, 64, "the decision changes nothing");
        }
    }
}

#[test]
fn what_is_never_forwarded_is_dropped_without_an_answer() {
    let cases = [
        ([224, 0, 0, 251], Reason::Multicast),
        ([255; 4], Reason::Broadcast),
        ([10, 42, 2, 255], Reason::Broadcast),
        ([127, 0, 0, 1], Reason::MartianDestination),
        ([169, 254, 1, 1], Reason::MartianDestination),
    ];
    for (addr, reason) in cases {
        assert_eq!(out(&to_v4(addr)), Outbound::Drop(reason), "{addr:?}");
    }
    let mut from_group = Spec::udp(false, 10).bytes();
    from_group[12] = 224;
    fix_ipv4_checksum(&mut from_group);
    assert_eq!(out(&from_group), Outbound::Drop(Reason::MartianSource));
}

#[test]
fn who_sends_to_nobody_is_told() {
    for v6 in [false, true] {
        let answer = |to: u8| match out(&between(Spec::tcp(v6, 10), 1, to)) {
            Outbound::Answer(_, error, reason) => (error, reason),
            other => panic!("{other:?}"),
        };
        assert_eq!(answer(99), (IcmpError::NoRoute, Reason::NoRoute));
        assert_eq!(
            answer(1),
            (IcmpError::AddressUnreachable, Reason::OwnSubnet)
        );
    }
    let mut error = between(Spec::udp(false, 10), 1, 99);
    (error[9], error[20]) = (1, 3);
    fix_ipv4_checksum(&mut error);
    assert_eq!(
        out(&error),
        Outbound::Drop(Reason::NoRoute),
        "an error about an error"
    );
}

#[test]
fn the_last_hop_is_used_up_here() {
    for ttl in [0, 1] {
        let bytes = between(
            Spec {
                ttl,
                ..Spec::udp(false, 10)
            },
            1,
            2,
        );
        assert_eq!(reason(out(&bytes)), Some(Reason::HopLimit));
    }
    let bytes = between(
        Spec {
            ttl: 2,
            ..Spec::udp(false, 10)
        },
        1,
        2,
    );
    assert_eq!(reason(out(&bytes)), None);
}

#[test]
fn what_is_too_big_is_fragmented_or_its_sender_is_told_the_mtu() {
    let of = |v6: bool, len: usize, fragment: u16| {
        let spec = Spec {
            fragment,
            ..Spec::udp(v6, 0)
        };
        let payload = vec![0; len - spec.headers()];
        out(&between(Spec { payload, ..spec }, 1, 3))
    };
    let told = |outbound| match outbound {
        Outbound::Answer(_, error, Reason::TooBig) => Some(error),
        _ => None,
    };
    assert!(matches!(of(false, 1000, DONT_FRAGMENT), Outbound::Send(..)));
    let too_big = told(of(false, 1001, DONT_FRAGMENT));
    assert_eq!(too_big, Some(IcmpError::TooBig { mtu: 1000 }));
    assert!(matches!(of(false, 1001, 0), Outbound::Fragment(..)));
    // IPv6 must get 1,280 bytes through, whatever the underlay does with them.
    assert!(matches!(of(true, 1280, 0), Outbound::Send(..)));
    let too_big = told(of(true, 1281, 0));
    assert_eq!(too_big, Some(IcmpError::TooBig { mtu: 1280 }));
}

#[test]
fn a_super_packet_is_as_big_as_its_segments() {
    let offload = |size: u16| Offload::Segments {
        kind: Super::Tcp4,
        size,
        checksum: Checksum::default(),
        header_len: 0,
    };
    let bytes = between(Spec::tcp(false, 30_000), 1, 3);
    let decided = |size| outbound(&table(), &offload(size), &bytes);
    assert!(matches!(decided(948), Outbound::Send(..)));
    let Outbound::Answer(_, error, _) = decided(949) else {
        panic!("not refused");
    };
    assert_eq!(error, IcmpError::TooBig { mtu: 1000 });
    let mut fragment = between(
        Spec {
            fragment: 0x2000,
            ..Spec::tcp(false, 100)
        },
        1,
        3,
    );
    fragment.truncate(148);
    fragment[3] = 148;
    fix_ipv4_checksum(&mut fragment);
    let decided = outbound(&table(), &offload(10), &fragment);
    assert_eq!(decided, Outbound::Drop(Reason::Offload));
}

fn came(trust: Trust, sender: &str, from: u8, to: u8) -> Option<Reason> {
    let bytes = between(Spec::udp(false, 10), from, to);
    match inbound(&table(), trust, sender.parse().unwrap(), &bytes) {
        Inbound::Deliver(..) => None,
        Inbound::Drop(reason) => Some(reason),
    }
}

#[test]
fn only_packets_of_a_peer_are_taken_and_only_from_its_own_pods() {
    let strict = |sender, from| came(Trust::Subnets, sender, from, 1);
    assert_eq!(strict("192.0.2.2", 2), None);
    assert_eq!(strict("::ffff:192.0.2.2", 2), None);
    assert_eq!(strict("192.0.2.2", 3), Some(Reason::SpoofedSource));
    assert_eq!(strict("192.0.2.2", 1), Some(Reason::SpoofedSource));
    assert_eq!(strict("192.0.2.2", 99), Some(Reason::SpoofedSource));
    assert_eq!(strict("198.51.100.1", 2), Some(Reason::UnknownSender));
    assert_eq!(came(Trust::Peers, "192.0.2.2", 99, 1), None);
    assert_eq!(
        came(Trust::Peers, "198.51.100.1", 2, 1),
        Some(Reason::UnknownSender)
    );
    assert_eq!(came(Trust::Anyone, "198.51.100.1", 99, 1), None);
}

#[test]
fn only_what_is_for_our_pods_is_let_in_with_every_kind_of_trust() {
    for trust in [Trust::Subnets, Trust::Peers, Trust::Anyone] {
        assert_eq!(came(trust, "192.0.2.2", 2, 3), Some(Reason::Looped));
        assert_eq!(came(trust, "192.0.2.2", 2, 99), Some(Reason::NotForUs));
        let deliver = |bytes: &[u8]| inbound(&table(), trust, "192.0.2.2".parse().unwrap(), bytes);
        let mut bytes = between(Spec::udp(false, 10), 2, 1);
        bytes[19] = 255;
        fix_ipv4_checksum(&mut bytes);
        assert_eq!(deliver(&bytes), Inbound::Drop(Reason::Broadcast));
        let mut bytes = between(
            Spec {
                ttl: 0,
                ..Spec::udp(false, 10)
            },
            2,
            1,
        );
        assert_eq!(deliver(&bytes), Inbound::Drop(Reason::HopLimit));
        bytes.truncate(25);
        assert_eq!(deliver(&bytes), Inbound::Drop(Malformed::Length.into()));
        assert_eq!(deliver(&[]), Inbound::Drop(Malformed::Empty.into()));
    }
}
