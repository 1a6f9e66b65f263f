//! The data plane on the real kernel: two nodes in namespaces, a device and a worker on each. Needs root.
#![allow(clippy::unwrap_used, reason = "a test fails where it fails")]

mod busy;
mod damaged;
mod lab;
mod options;
mod refused;
mod stale;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tweed_forward::packet::Malformed;
use tweed_forward::reason::Reason;

use crate::lab::{DEVICE, Node, PORT, Underlay, nodes, transfer};

/// Drops that are not those of a healthy node: the kernel joins multicast groups on every link with IPv6.
fn unexpected(node: &Node) -> Vec<(Reason, u64)> {
    let expected = [Reason::Multicast, Reason::MartianSource];
    let counters = node.worker().counters();
    counters
        .drops()
        .filter(|(reason, _)| !expected.contains(reason))
        .collect()
}

fn pods_talk(underlay: Underlay) {
    let nodes = nodes(underlay);
    let [one, two] = &nodes;
    for v6 in [false, true] {
        for (from, to) in [(one, two), (two, one)] {
            let addr = to.pod(v6);
            for size in [0, 56, 1300, 4000, 20_000] {
                from.sh(&format!("ping -n -c 3 -i 0.01 -W 5 -s {size} {addr}"));
            }
            transfer(from, to, v6, 5000, 8 << 20);
        }
    }
    for node in &nodes {
        let counters = node.worker().counters();
        assert_eq!(unexpected(node), []);
        assert_eq!(
            (counters.send_errors, counters.write_errors),
            (0, 0),
            "{counters:?}"
        );
        assert_eq!(counters.sent_singly, 0, "{counters:?}");
        let (sent, delivered) = (counters.sent, counters.delivered);
        assert!(sent.packets > 3 * sent.calls, "cut in one call: {sent:?}");
        assert!(
            delivered.packets > 2 * delivered.calls,
            "joined: {delivered:?}"
        );
    }
}

#[test]
fn pods_of_two_nodes_talk_in_both_families() {
    pods_talk(Underlay::V4);
}

#[test]
fn pods_of_two_nodes_talk_over_an_ipv6_underlay() {
    pods_talk(Underlay::V6);
}

#[test]
fn datagrams_of_every_size_come_as_they_were_sent_in_their_order() {
    let [one, two] = &nodes(Underlay::V4);
    for v6 in [false, true] {
        let receiver = two.udp((two.pod(v6), 9000));
        let sender = one.udp((one.pod(v6), 9000));
        let mut buffer = [0; 9000];
        for round in 0..20 {
            let sizes = [64, 64, 64, 1, 1400, 1400, 700, 0, 8000, 64];
            for (index, size) in sizes.into_iter().enumerate() {
                let bytes = vec![(round * 10 + index) as u8; size];
                sender.send_to(&bytes, (two.pod(v6), 9000)).unwrap();
            }
            // Fragments are put together later than what follows them may come.
            let mut came: Vec<Vec<u8>> = Vec::new();
            for _ in sizes {
                let len = receiver.recv(&mut buffer).unwrap();
                came.push(buffer[..len].to_vec());
            }
            let small = came
                .iter()
                .filter(|bytes| (1..=1400).contains(&bytes.len()));
            let order: Vec<u8> = small.map(|bytes| bytes[0] - (round * 10) as u8).collect();
            assert_eq!(order, [0, 1, 2, 3, 4, 5, 6, 9], "round {round}");
            assert!(came.iter().any(|bytes| bytes.len() == 8000));
        }
    }
}

#[test]
fn who_cannot_reach_a_pod_is_told_why() {
    let [one, two] = &nodes(Underlay::V4);
    let says = |command: &str, words: &str| {
        let (good, text) = one.tries(command);
        assert!(!good && text.contains(words), "{command}: {text}");
    };
    says(
        "ping -n -c 1 -W 5 10.42.99.1",
        "Destination Net Unreachable",
    );
    says(
        "ping -n -c 1 -W 5 10.42.1.77",
        "Destination Host Unreachable",
    );
    says("ping -n -c 1 -W 5 -t 1 10.42.2.5", "Time to live exceeded");
    says("ping -n -c 1 -W 5 fd00:42:0:99::1", "No route");
    says("ping -n -c 1 -W 5 -t 1 fd00:42:0:2::5", "Hop limit");
    let counters = one.worker().counters();
    assert_eq!(counters.answers, 5, "{counters:?}");
    assert_eq!(counters.dropped(Reason::HopLimit), 2);
    assert_eq!(two.worker().counters().delivered.packets, 0);
}

#[test]
fn a_narrower_path_is_told_to_those_who_may_not_be_fragmented_and_others_are_fragmented() {
    let [one, two] = &nodes(Underlay::V4);
    one.worker().forward_by(Arc::new(one.table(1300)));
    one.sh("ping -n -c 1 -W 5 -s 1200 10.42.2.5");
    let (_, text) = one.tries("ping -n -c 1 -W 5 -M do -s 1400 10.42.2.5");
    assert!(
        text.contains("mtu = 1300") || text.contains("mtu=1300"),
        "{text}"
    );
    one.sh("ip route flush cache; ping -n -c 1 -W 5 -M dont -s 1400 10.42.2.5");
    assert_eq!(one.worker().counters().dropped(Reason::TooBig), 1);
    transfer(one, two, false, 5000, 4 << 20);
    transfer(one, two, true, 5000, 4 << 20);
    assert!(one.worker().counters().sent_singly == 0);
}

#[test]
fn an_underlay_narrower_than_was_told_is_learned_and_costs_no_packet() {
    let [one, two] = &nodes(Underlay::V4);
    for node in [one, two] {
        node.sh("ip link set eth0 mtu 1300");
    }
    one.sh("ping -n -c 1 -W 5 -s 1400 -M do 10.42.2.5");
    transfer(one, two, false, 5000, 4 << 20);
    transfer(two, one, true, 5000, 4 << 20);
    let counters = one.worker().counters();
    assert!(
        (1..50).contains(&counters.sent_singly) && counters.send_errors == 0,
        "it learns: {counters:?}"
    );
    assert!(counters.dropped(Reason::TooBig) > 0, "senders are told");
    for (node, size) in [(one, 1272), (two, 1272)] {
        assert_eq!(node.worker().report().table.peers()[0].mtu, size);
    }
}

#[test]
fn an_interface_without_offloads_costs_no_packet() {
    let [one, two] = &nodes(Underlay::V4);
    for node in [one, two] {
        node.sh("ethtool -K eth0 tx off gso off gro off");
        let features = node.sh("ethtool -k eth0");
        for name in ["tx-checksumming", "generic-segmentation-offload"] {
            assert!(features.contains(&format!("{name}: off")), "{features}");
        }
    }
    transfer(one, two, false, 5000, 4 << 20);
    transfer(two, one, true, 5000, 4 << 20);
    for node in [one, two] {
        let report = node.worker().report();
        let counters = report.counters;
        assert_eq!(unexpected(node), []);
        assert_eq!((counters.send_errors, counters.write_errors), (0, 0));
        let sent = counters.sent;
        if report.offloads.send {
            // Linux 6.18 cuts several datagrams itself.
            assert!(sent.packets > 3 * sent.calls, "{sent:?}");
            assert_eq!(counters.sent_singly, 0);
        } else {
            // Linux 6.1 refuses them.
            assert_eq!(sent.packets, sent.calls);
            assert!(counters.sent_singly > 0);
        }
    }
}

/// An IPv4 packet without payload.
fn packet(from: [u8; 4], to: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![0x45, 0, 0, 20, 0, 1, 0x40, 0, 64, 253, 0, 0];
    bytes.extend(from);
    bytes.extend(to);
    let words = bytes
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum: u32 = words.sum();
    let sum = (sum >> 16) + (sum & 0xffff);
    bytes[10..12].copy_from_slice(&(!((sum >> 16) + sum) as u16).to_be_bytes());
    bytes
}

#[test]
fn hostile_datagrams_are_dropped_by_reason_and_nothing_else_suffers() {
    let [one, two] = &nodes(Underlay::V4);
    two.sh("ip addr add 192.0.2.66/24 dev eth0");
    let target: IpAddr = [192, 0, 2, 1].into();
    let from = |addr: [u8; 4]| two.udp((IpAddr::from(addr), 0));
    let (peer, stranger) = (from([192, 0, 2, 2]), from([192, 0, 2, 66]));
    let (theirs, ours) = ([10, 42, 2, 9], [10, 42, 1, 5]);
    let mut truncated = packet(theirs, ours);
    truncated.pop();
    let mut broken = packet(theirs, ours);
    broken[8] = 3;
    let cases = [
        (&stranger, packet(theirs, ours), Reason::UnknownSender),
        (&peer, packet([10, 42, 3, 9], ours), Reason::SpoofedSource),
        (&peer, packet(ours, ours), Reason::SpoofedSource),
        (&peer, packet(theirs, [10, 42, 2, 5]), Reason::Looped),
        (&peer, packet(theirs, [192, 0, 2, 1]), Reason::NotForUs),
        (&peer, packet(theirs, [10, 42, 1, 255]), Reason::Broadcast),
        (&peer, packet(theirs, [224, 0, 0, 1]), Reason::Multicast),
        (&peer, truncated, Malformed::HeaderCutOff.into()),
        (&peer, broken, Malformed::Checksum.into()),
        (&stranger, Vec::new(), Malformed::Empty.into()),
        (&peer, vec![0; 60_000], Malformed::Version.into()),
    ];
    for (socket, bytes, reason) in cases {
        let before = one.worker().counters();
        socket.send_to(&bytes, (target, PORT)).unwrap();
        let counted = before.dropped(reason) + 1;
        one.counts(reason.label(), |counters| {
            counters.dropped(reason) == counted
        });
        assert_eq!(
            one.worker().counters().delivered,
            before.delivered,
            "{reason}"
        );
    }
    one.sh("ping -n -c 1 -W 5 10.42.2.5");
    peer.send_to(&packet(theirs, ours), (target, PORT)).unwrap();
    one.counts("a good one", |counters| counters.delivered.packets == 2);
    // What metrics and status name: these, and nothing else.
    let dropped = unexpected(one).into_iter();
    let dropped: Vec<(&str, u64)> = dropped.map(|(why, count)| (why.label(), count)).collect();
    assert_eq!(
        dropped,
        [
            ("empty", 1),
            ("version", 1),
            ("header_cut_off", 1),
            ("checksum", 1),
            ("broadcast", 1),
            ("unknown_sender", 1),
            ("spoofed_source", 2),
            ("looped", 1),
            ("not_for_us", 1),
        ]
    );
}

#[test]
fn a_device_that_was_down_carries_on() {
    let [one, two] = &nodes(Underlay::V4);
    one.sh(&format!("ip link set {DEVICE} down"));
    assert!(!two.tries("ping -n -c 1 -W 1 10.42.1.5").0);
    one.counts("refused by the device", |counters| {
        counters.write_errors > 0
    });
    one.sh(&format!(
        "ip link set {DEVICE} up; ip route add 10.42.0.0/16 dev {DEVICE} src 10.42.1.5"
    ));
    two.sh("ping -n -c 1 -W 5 10.42.1.5");
}

#[test]
fn a_worker_stops_at_once_and_ends_when_its_device_is_gone() {
    let [mut one, mut two] = nodes(Underlay::V4);
    let start = Instant::now();
    one.workers.remove(0).stop().ended.unwrap();
    assert!(start.elapsed() < Duration::from_secs(1));
    one.stop();
    two.sh(&format!("ip link del {DEVICE}"));
    let start = Instant::now();
    while !two.worker().has_ended() {
        assert!(start.elapsed() < Duration::from_secs(5));
        std::thread::sleep(Duration::from_millis(5));
    }
    let error = two.workers.remove(0).stop().ended.unwrap_err();
    assert!(error.raw_os_error().is_some(), "{error}");
}
