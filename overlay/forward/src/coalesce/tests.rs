//! Streams of several flows, with all that must not be joined in between: what comes out of [`split`] is what went in.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::arbitrary::{ACK, DONT_FRAGMENT, PSH, Spec, at_least, hostile};
use crate::split::{complete, split};

/// What one packet has that the one before it in its flow had not.
#[derive(Clone, Copy, Debug)]
enum Oddity {
    Gap,
    Flags(u8),
    Push,
    Tos,
    Ttl,
    DontFragment,
    Id,
    Window,
    Ack,
    TcpOptions,
    IpOptions,
    Checksum,
    Fragment,
    NoPayload,
    Longer,
}

const ODDITIES: [Oddity; 18] = [
    Oddity::Gap,
    Oddity::Flags(0x01), // FIN
    Oddity::Flags(0x02), // SYN
    Oddity::Flags(0x04), // RST
    Oddity::Flags(0x20), // URG
    Oddity::Flags(0x40), // ECE
    Oddity::Flags(0x80), // CWR
    Oddity::Tos,
    Oddity::Ttl,
    Oddity::DontFragment,
    Oddity::Id,
    Oddity::Window,
    Oddity::Ack,
    Oddity::TcpOptions,
    Oddity::IpOptions,
    Oddity::Checksum,
    Oddity::Fragment,
    Oddity::NoPayload,
];

/// A flow's packets as its sender makes them.
struct Sender {
    next: Spec,
}

impl Sender {
    /// The next packet. What is odd about it stays so where a sender would keep it.
    fn send(&mut self, payload: usize, oddity: Option<Oddity>) -> Spec {
        let spec = &mut self.next;
        let seed = spec.sequence as usize;
        let mut len = payload;
        match oddity {
            Some(Oddity::Gap) => spec.sequence = spec.sequence.wrapping_add(1000),
            Some(Oddity::Tos) => spec.tos ^= 1,
            Some(Oddity::Ttl) => spec.ttl ^= 1,
            Some(Oddity::DontFragment) => spec.fragment ^= DONT_FRAGMENT,
            Some(Oddity::Id) => spec.id = spec.id.wrapping_add(5),
            Some(Oddity::Window) => spec.window ^= 1,
            Some(Oddity::Ack) => spec.ack ^= 1,
            Some(Oddity::TcpOptions) => spec.tcp_options[11] ^= 1,
            Some(Oddity::NoPayload) => len = 0,
            Some(Oddity::Longer) => len += 1,
            _ => {}
        }
        spec.payload = (0..len).map(|n| (seed + n) as u8).collect();
        let mut sent = spec.clone();
        match oddity {
            Some(Oddity::Flags(flags)) => sent.flags |= flags,
            Some(Oddity::Push) => sent.flags |= PSH,
            Some(Oddity::IpOptions) => sent.ip_options = vec![1; 4],
            Some(Oddity::Checksum) => sent.checksum_error = 1,
            Some(Oddity::Fragment) if !sent.v6 => sent.fragment = 0x0001, // the last part
            _ => {}
        }
        spec.sequence = spec.sequence.wrapping_add(len as u32);
        spec.id = spec.id.wrapping_add(1);
        sent
    }
}

/// Joins packets and gives what the kernel would be given: what it is to do, and the bytes.
fn join(packets: &[Vec<u8>]) -> Vec<(Offload, Vec<u8>)> {
    let mut coalescer = Coalescer::new(packets.len(), 7);
    let mut buffer = vec![0xaa; 3];
    for bytes in packets {
        let start = buffer.len();
        buffer.extend(bytes);
        let packet = Packet::parse(bytes).unwrap();
        assert!(coalescer.push(&buffer, start, &packet));
    }
    coalescer.seal(&mut buffer);
    let packets = coalescer.packets();
    packets
        .map(|(offload, pieces)| {
            let parts: Vec<&[u8]> = pieces.map(|range| &buffer[range]).collect();
            (offload, parts.concat())
        })
        .collect()
}

/// Cuts what was joined, as the kernel does for a receiver that cannot take it whole.
fn cut(joined: &[(Offload, Vec<u8>)]) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (offload, bytes) in joined {
        let Offload::Segments { kind, size, .. } = *offload else {
            all.push(bytes.clone());
            continue;
        };
        let packet = Packet::parse(bytes).unwrap();
        let mut out = vec![0; 1 << 18];
        let packets = split(&packet, bytes, kind, size, &mut out).unwrap();
        all.extend(packets.iter().map(|range| out[range].to_vec()));
    }
    all
}

/// Packets by the hosts between which they travel: each flow of these tests has hosts of its own.
fn by_hosts(packets: &[Vec<u8>]) -> BTreeMap<(IpAddr, IpAddr), Vec<&Vec<u8>>> {
    let mut flows = BTreeMap::new();
    for bytes in packets {
        let packet = Packet::parse(bytes).unwrap();
        let key = (packet.source, packet.destination);
        flows.entry(key).or_insert_with(Vec::new).push(bytes);
    }
    flows
}

fn stream() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let len = prop_oneof![6 => Just(100usize), 1 => 1..100usize];
    let odd = prop_oneof![
        4 => Just(None),
        1 => prop::sample::select(&ODDITIES[..]).prop_map(Some),
        1 => prop::sample::select(&[Oddity::Push, Oddity::Longer][..]).prop_map(Some),
    ];
    let steps = prop::collection::vec((0..6usize, len, odd), 0..150);
    steps.prop_map(|steps| {
        let sender = |flow: u8| {
            let spec = match flow {
                0..3 => Spec::tcp(flow == 2, 0),
                _ => Spec::udp(flow == 5, 0),
            };
            Sender {
                next: Spec {
                    host: 10 + flow,
                    ..spec
                },
            }
        };
        let mut senders: Vec<Sender> = (0..6).map(sender).collect();
        let sent = steps
            .into_iter()
            .map(|(flow, len, odd)| senders[flow].send(len, odd));
        sent.map(|spec| spec.bytes()).collect()
    })
}

proptest! {
    #![proptest_config(at_least(1024))]

    #[test]
    fn what_is_joined_and_cut_again_is_what_was_sent_in_each_flows_order(packets in stream()) {
        let joined = join(&packets);
        let came = cut(&joined);
        prop_assert_eq!(by_hosts(&came), by_hosts(&packets));
    }

    #[test]
    fn a_joined_packet_is_valid_once_its_checksum_is_completed(packets in stream()) {
        for (offload, mut bytes) in join(&packets) {
            if let Offload::Segments { checksum, .. } = offload {
                let packet = Packet::parse(&bytes).unwrap();
                complete(&packet, &mut bytes, checksum).unwrap();
                let segment = crate::segment::Segment::of(&packet, &bytes).unwrap();
                prop_assert!(segment.has_valid_checksum(&packet, &bytes));
                prop_assert_eq!(usize::from(packet.len), bytes.len());
            }
        }
    }

    #[test]
    fn any_packets_come_out_with_all_their_bytes(all in prop::collection::vec(hostile(), 0..40)) {
        let valid = |bytes: &Vec<u8>| {
            let packet = Packet::parse(bytes).ok()?;
            Some(packet.trim(bytes).to_vec())
        };
        let packets: Vec<Vec<u8>> = all.iter().filter_map(valid).collect();
        let mut sent = packets.clone();
        let mut came = cut(&join(&packets));
        sent.sort();
        came.sort();
        prop_assert_eq!(came, sent);
    }
}

fn run(mut first: Spec, oddity: Option<Oddity>) -> Vec<(Offload, Vec<u8>)> {
    first.payload.clear();
    let mut sender = Sender { next: first };
    let packets = [None, None, oddity, None, None].map(|odd| sender.send(1000, odd).bytes());
    join(&packets)
}

const ALL: [fn() -> Spec; 4] = [
    || Spec::tcp(false, 0),
    || Spec::tcp(true, 0),
    || Spec::udp(false, 0),
    || Spec::udp(true, 0),
];

#[test]
fn consecutive_packets_of_a_flow_become_one() {
    for spec in ALL {
        let joined = run(spec(), None);
        assert_eq!(joined.len(), 1);
        let Offload::Segments { size, .. } = joined[0].0 else {
            panic!("{:?}", joined[0].0);
        };
        assert_eq!(size, 1000);
        assert_eq!(joined[0].1.len(), spec().headers() + 5000);
    }
}

#[test]
fn what_differs_in_anything_that_matters_is_not_joined() {
    for oddity in ODDITIES {
        for spec in ALL {
            let spec = spec();
            let tcp_only = matches!(
                oddity,
                Oddity::Gap | Oddity::Flags(_) | Oddity::Window | Oddity::Ack | Oddity::TcpOptions
            );
            let v4_only = matches!(
                oddity,
                Oddity::DontFragment | Oddity::Id | Oddity::IpOptions | Oddity::Fragment
            );
            if (tcp_only && spec.udp) || (v4_only && spec.v6) {
                continue;
            }
            let name = format!("{oddity:?} v6 {} udp {}", spec.v6, spec.udp);
            assert!(run(spec, Some(oddity)).len() >= 2, "{name}");
        }
    }
}

#[test]
fn push_and_a_shorter_packet_end_a_super_packet() {
    let mut sender = Sender {
        next: Spec::tcp(false, 0),
    };
    let steps = [
        (100, None),
        (100, Some(Oddity::Push)),
        (100, None),
        (50, None),
        (50, None),
    ];
    let packets = steps.map(|(len, odd)| sender.send(len, odd).bytes());
    let joined = join(&packets);
    let lens: Vec<usize> = joined.iter().map(|(_, bytes)| bytes.len() - 52).collect();
    assert_eq!(lens, [200, 150, 50]);
    assert_eq!(joined[0].1[20 + 13], ACK | PSH);
    assert_eq!(joined[1].1[20 + 13], ACK);
}

#[test]
fn a_datagram_without_checksum_is_left_alone() {
    let mut packets = [
        Spec::udp(false, 100).bytes(),
        Spec {
            id: 8,
            ..Spec::udp(false, 100)
        }
        .bytes(),
    ];
    for bytes in &mut packets {
        bytes[26..28].fill(0);
    }
    assert_eq!(cut(&join(&packets)), packets);
    assert_eq!(join(&packets).len(), 2);
}

#[test]
fn an_identification_that_stays_the_same_is_joined_only_where_it_means_nothing() {
    let packets = |fragment: u16| {
        let spec = Spec {
            fragment,
            ..Spec::udp(false, 100)
        };
        [spec.bytes(), spec.bytes()]
    };
    assert_eq!(join(&packets(DONT_FRAGMENT)).len(), 1);
    assert_eq!(join(&packets(0)).len(), 2);
}

#[test]
fn a_super_packet_stays_within_its_bounds() {
    let mut sender = Sender {
        next: Spec::tcp(true, 0),
    };
    let large: Vec<Vec<u8>> = (0..100).map(|_| sender.send(1400, None).bytes()).collect();
    let joined = join(&large);
    assert!(joined.iter().all(|(_, bytes)| bytes.len() <= 65_535));
    assert_eq!(joined.len(), 3); // 46 at most in each
    let small: Vec<Vec<u8>> = (0..130).map(|_| sender.send(10, None).bytes()).collect();
    assert_eq!(join(&small).len(), 3); // 64 at most
    assert_eq!(cut(&join(&small)), small);
}

#[test]
fn datagrams_are_left_alone_where_the_kernel_does_not_take_them_joined() {
    let mut coalescer = Coalescer::new(4, 0);
    coalescer.leave_alone(Kind::Udp);
    let (udp, tcp) = (Spec::udp(false, 10), Spec::tcp(false, 10));
    let next = Spec {
        sequence: tcp.sequence.wrapping_add(10),
        id: tcp.id + 1,
        ..tcp.clone()
    };
    let specs = [
        udp.clone(),
        Spec {
            id: udp.id + 1,
            ..udp
        },
        tcp,
        next,
    ];
    let mut buffer = Vec::new();
    for spec in specs {
        let (start, bytes) = (buffer.len(), spec.bytes());
        buffer.extend(&bytes);
        let packet = Packet::parse(&bytes).unwrap();
        assert!(coalescer.push(&buffer, start, &packet));
    }
    assert_eq!(coalescer.len(), 3);
}

#[test]
fn a_full_batch_takes_nothing_until_it_is_cleared() {
    let bytes = Spec::tcp(false, 10).bytes();
    let packet = Packet::parse(&bytes).unwrap();
    let mut coalescer = Coalescer::new(1, 0);
    assert!(coalescer.push(&bytes, 0, &packet));
    assert!(!coalescer.has_room());
    assert!(!coalescer.push(&bytes, 0, &packet));
    assert_eq!(coalescer.len(), 1);
    coalescer.clear();
    assert!(coalescer.is_empty());
    assert!(coalescer.push(&bytes, 0, &packet));
    assert_eq!(coalescer.packets().len(), 1);
}
