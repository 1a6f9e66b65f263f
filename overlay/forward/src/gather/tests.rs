//! What is sent against what was added: everything once, each flow in its order, each message as the kernel takes it.

use std::net::{IpAddr, SocketAddr};

use proptest::prelude::*;

use super::*;
use crate::arbitrary::{Spec, at_least, hostile};
use crate::table::{Peer, Table};
use tweed_model::Dual;

/// Room for what the tests add.
const ROOM: usize = 1 << 20;

/// Packets that are added at once.
#[derive(Clone, Debug)]
struct Added {
    peer: usize,
    /// None for what belongs to no flow, as fragments do.
    flow: Option<u8>,
    size: usize,
    count: usize,
    /// Bytes of the last.
    last: usize,
}

impl Added {
    fn one(peer: usize, flow: u8, size: usize) -> Self {
        Self {
            peer,
            flow: Some(flow),
            size,
            count: 1,
            last: size,
        }
    }

    fn flows(&self) -> Flows {
        self.flow.map_or(Flows::ANY, |flow| Flows(1 << flow))
    }
}

/// A message as it was sent: the peer, the size, and the packets, each by its number and length.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    peer: usize,
    size: usize,
    packets: Vec<(usize, usize)>,
}

fn peers() -> Vec<PeerId> {
    let peers = [2, 3].map(|node: u8| {
        let addr = IpAddr::from([192, 0, 2, node]);
        Peer {
            endpoint: SocketAddr::new(addr, 8285),
            addresses: Dual::of_addrs([addr]),
            subnets: Dual::of_nets([format!("10.42.{node}.0/24").parse().unwrap()]),
            mtu: 1472,
        }
    });
    let table = Table::new(Dual::default(), peers.to_vec());
    let hosts = [2, 3].map(|node: u8| IpAddr::from([10, 42, node, 1]));
    hosts.map(|addr| table.lookup(addr).unwrap()).to_vec()
}

/// Adds packets, each with its number in its first bytes, and sends whenever it is time.
fn send(all: &[Added]) -> Vec<Seen> {
    let peers = peers();
    let mut gather = Gather::new(ROOM);
    let mut seen = Vec::new();
    let mut number = 0u32;
    for added in all {
        let Some(room) = gather.room(1 << 17) else {
            panic!("no room");
        };
        let len = added.size * (added.count - 1) + added.last;
        let (size, packets) = (added.size, room[..len].chunks_mut(added.size));
        for packet in packets {
            packet[..4].copy_from_slice(&number.to_be_bytes());
            number += 1;
        }
        let packets = Packets { size, len };
        if gather.add(peers[added.peer], added.flows(), packets) {
            drain(&mut gather, &peers, &mut seen);
        }
    }
    drain(&mut gather, &peers, &mut seen);
    seen
}

fn drain(gather: &mut Gather, peers: &[PeerId], seen: &mut Vec<Seen>) {
    gather.drain(|message| {
        let packets = message
            .parts
            .iter()
            .flat_map(|part| part.chunks(message.size));
        let read = |packet: &[u8]| {
            let number = u32::from_be_bytes(packet[..4].try_into().unwrap());
            (number as usize, packet.len())
        };
        let packets: Vec<_> = packets.map(read).collect();
        assert_eq!(message.count, packets.len());
        let bytes: usize = packets.iter().map(|packet| packet.1).sum();
        assert_eq!((message.len(), message.is_empty()), (bytes, false));
        seen.push(Seen {
            peer: peers.iter().position(|peer| *peer == message.peer).unwrap(),
            size: message.size,
            packets,
        });
    });
    assert!(gather.runs.is_empty());
}

fn added() -> impl Strategy<Value = Added> {
    let sizes = prop_oneof![
        Just(64usize),
        Just(65),
        Just(576),
        Just(1400),
        20..1500usize
    ];
    let flow = prop_oneof![30 => (0..6u8).prop_map(Some), 1 => Just(None)];
    let count = prop_oneof![6 => Just(1usize), 1 => 2..80usize];
    let last = prop_oneof![3 => Just(None), 1 => (20..1500usize).prop_map(Some)];
    (0..2usize, flow, sizes, count, last).prop_map(|(peer, flow, size, count, last)| Added {
        peer,
        flow,
        size,
        count,
        last: last.map_or(size, |last| last.min(size)),
    })
}

proptest! {
    #![proptest_config(at_least(512))]
    #[test]
    fn everything_is_sent_once_and_each_flow_in_its_order(
        all in prop::collection::vec(added(), 0..40),
    ) {
        let seen = send(&all);
        let packets: Vec<(&Added, usize)> = all
            .iter()
            .flat_map(|added| {
                let sizes = (1..=added.count).map(|n| if n == added.count { added.last } else { added.size });
                sizes.map(move |size| (added, size))
            })
            .collect();
        let mut order: Vec<usize> = Vec::new();
        for message in &seen {
            let [whole @ .., last] = message.packets.as_slice() else {
                return Err(TestCaseError::fail("an empty message"));
            };
            prop_assert!(whole.iter().all(|packet| packet.1 == message.size));
            prop_assert!(last.1 <= message.size);
            prop_assert!(message.packets.len() <= 64);
            prop_assert!(message.packets.iter().map(|packet| packet.1).sum::<usize>() <= 65_507);
            for &(number, len) in &message.packets {
                prop_assert_eq!((packets[number].0.peer, packets[number].1), (message.peer, len));
                order.push(number);
            }
        }
        let mut sorted = order.clone();
        sorted.sort_unstable();
        prop_assert_eq!(sorted, (0..packets.len()).collect::<Vec<_>>());
        for flow in 0..6 {
            let mine = |number: &&usize| packets[**number].0.flow.is_none_or(|of| of == flow);
            let mine: Vec<_> = order.iter().filter(mine).collect();
            prop_assert!(mine.is_sorted(), "flow {} in the order {:?}", flow, mine);
        }
    }

    #[test]
    fn a_flow_is_one_bit_and_fragments_meet_everyone(bytes in hostile()) {
        let Ok(packet) = Packet::parse(&bytes) else { return Ok(()) };
        let flows = Flows::of(&packet, &bytes);
        let bits = if packet.fragment == Fragment::No { 1 } else { 64 };
        prop_assert_eq!(flows.0.count_ones(), bits);
    }
}

#[test]
fn mixed_sizes_of_several_flows_are_sorted() {
    // Each flow sends 64, 1400, 64 bytes.
    let all: Vec<Added> = (0..4)
        .flat_map(|flow| [64, 1400, 64].map(|size| Added::one(0, flow, size)))
        .collect();
    let seen = send(&all);
    let sizes = seen
        .iter()
        .map(|message| (message.size, message.packets.len()));
    // The four first, the four large ones with one small one as the last, the others.
    assert_eq!(sizes.collect::<Vec<_>>(), [(64, 4), (1400, 5), (64, 3)]);
}

#[test]
fn one_flow_of_mixed_sizes_keeps_its_order() {
    let all = [64, 1400, 128, 700].map(|size| Added::one(0, 0, size));
    let order: Vec<_> = send(&all)
        .iter()
        .flat_map(|message| message.packets.clone())
        .collect();
    assert_eq!(order, [(0, 64), (1, 1400), (2, 128), (3, 700)]);
}

#[test]
fn what_nothing_can_join_is_sent_at_once() {
    let peer = peers()[0];
    let mut gather = Gather::new(ROOM);
    let flow = Flows(1);
    let packets = |size, len| Packets { size, len };
    assert!(!gather.add(peer, flow, packets(1000, 30_000)));
    assert!(!gather.add(peer, flow, packets(1000, 10_000)));
    let shorter = gather.add(peer, flow, packets(500, 500));
    assert!(shorter, "a shorter one is the last");
    let mut count = 0;
    gather.drain(|_| count += 1);
    assert_eq!(count, 1);
    assert!(!gather.add(peer, flow, packets(1000, 1500)), "small");
    gather.drain(|_| count += 1);
    let full = gather.add(peer, flow, packets(2000, 64_000));
    assert!(full, "no room for more of them");
    assert!(
        gather.add(peer, flow, packets(1500, 1500)),
        "but for a shorter one"
    );
    gather.drain(|_| count += 1);
    let full = gather.add(peer, flow, packets(100, 6400));
    assert!(full, "64 packets");
    gather.drain(|_| count += 1);
    assert_eq!(count, 4);
}

#[test]
fn there_is_no_room_when_bytes_or_runs_run_out() {
    let peer = peers()[0];
    let mut gather = Gather::new(1000);
    assert!(gather.room(1001).is_none());
    assert_eq!(gather.room(1000).unwrap().len(), 1000);
    gather.add(peer, Flows(1), Packets { size: 1, len: 1 });
    assert!(gather.room(1000).is_none());
    let mut gather = Gather::new(ROOM);
    let capacity = gather.runs.capacity();
    let mut size = 20;
    while gather.room(1).is_some() {
        gather.add(peer, Flows(1), Packets { size, len: size });
        size += 1;
    }
    assert_eq!(gather.runs.capacity(), capacity, "it has not grown");
    gather.drain(|_| ());
    assert!(gather.room(ROOM).is_some());
}

#[test]
fn ports_and_addresses_make_the_flow() {
    let of = |spec: &Spec| {
        let bytes = spec.bytes();
        Flows::of(&Packet::parse(&bytes).unwrap(), &bytes)
    };
    for v6 in [false, true] {
        for spec in [Spec::tcp(v6, 10), Spec::udp(v6, 10)] {
            let other = |change: fn(&mut Spec, u8), n: u8| {
                let mut other = spec.clone();
                change(&mut other, n);
                of(&other)
            };
            // Of sixty flows some share a bit, but not nearly all.
            for change in [
                |spec: &mut Spec, n| spec.port = u16::from(n),
                |spec: &mut Spec, n| spec.host = n,
            ] {
                let bits = (1..=60).fold(Flows(0), |bits, n| bits.with(other(change, n)));
                assert!(bits.0.count_ones() > 20, "{bits:?}");
            }
            assert_eq!(other(|spec, n| spec.payload = vec![n; 99], 1), of(&spec));
        }
    }
}
