//! What cuts packets, and what writes packets about packets.

use std::net::IpAddr;

use tweed_forward::fragment::fragment;
use tweed_forward::icmp::{self, IcmpError};
use tweed_forward::packet::Packet;
use tweed_forward::segment::{Kind, Segment};
use tweed_forward::split::{complete, split};
use tweed_forward::virtio::{Checksum, Super};

use crate::oracle::{ICMP, ICMPV6, TCP, UDP, checksum, fix_header, transport_checksum, word};
use crate::packets::{Draft, draft, packet, suffer, tcp, udp};
use tweed_fuzz::{Source, fuzz};

/// "More fragments" and the offset.
const MORE: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

/// A packet with a large payload, as the kernel gives it with TSO and USO; or any.
fn large(source: &mut Source) -> (Vec<u8>, Super) {
    let mut draft = draft(source);
    let len = 1 + source.below(6000);
    let kind = if source.once_in(2) {
        Super::Udp
    } else {
        [Super::Tcp4, Super::Tcp6][usize::from(draft.v6)]
    };
    let ports = [source.word(), 443];
    let mut transport = match kind {
        Super::Udp => udp(ports, len),
        Super::Tcp4 | Super::Tcp6 => {
            let (sequence, flags) = (source.bits() as u32, source.byte() | 0x10);
            tcp(source, ports, sequence, flags)
        }
    };
    transport.extend(source.bytes(len));
    draft = Draft {
        protocol: if kind == Super::Udp { UDP } else { TCP },
        transport,
        fragment: draft.fragment & 0x4000,
        ..draft
    };
    let mut bytes = draft.bytes();
    if source.once_in(3) {
        suffer(source, &mut bytes);
    }
    let kind = if source.once_in(20) {
        Super::Tcp4
    } else {
        kind
    };
    (bytes, kind)
}

#[test]
fn super_packets_are_cut_into_packets_that_are_right_and_carry_all_of_them() {
    fuzz("split", 40, |source| {
        let (bytes, kind) = large(source);
        let size = source.pick(&[1448, 1000, 500, 1, 0, 65_535, 37]);
        let mut out = vec![0xaa; source.pick(&[1 << 16, 1 << 16, 4000, 0])];
        let Ok(packet) = Packet::parse(&bytes) else {
            return false;
        };
        let Ok(packets) = split(&packet, &bytes, kind, size, &mut out) else {
            return false;
        };
        let whole = Segment::of(&packet, &bytes).unwrap();
        let mut rest = &bytes[whole.payload..whole.end];
        assert!(packets.len <= out.len());
        for (index, range) in packets.iter().enumerate() {
            let one = &out[range];
            let packet = Packet::parse(one).unwrap();
            assert_eq!(usize::from(packet.len), one.len());
            let segment = Segment::of(&packet, one).unwrap();
            assert_eq!(transport_checksum(one, segment.start, packet.protocol), 0);
            let (mine, others) = rest.split_at(rest.len().min(usize::from(size)));
            assert_eq!(&one[segment.payload..], mine);
            if segment.kind == Kind::Tcp {
                let sequence = |bytes: &[u8]| {
                    let at = segment.start + 4;
                    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
                };
                let done = (index * usize::from(size)) as u32;
                assert_eq!(sequence(one), sequence(&bytes).wrapping_add(done));
            }
            rest = others;
        }
        assert!(rest.is_empty());
        true
    });
}

#[test]
fn a_checksum_left_open_is_completed_or_refused() {
    fuzz("complete", 25, |source| {
        let mut bytes = packet(source);
        let Ok(packet) = Packet::parse(&bytes) else {
            return false;
        };
        let start = if source.once_in(4) {
            source.word()
        } else {
            packet.header_len
        };
        let offset = source.pick(&[16, 6, 2, 0, 1400, u16::MAX, 7]);
        let before = bytes.clone();
        if complete(&packet, &mut bytes, Checksum { start, offset }).is_err() {
            assert_eq!(bytes, before);
            return false;
        }
        let (start, at) = (usize::from(start), usize::from(start) + usize::from(offset));
        assert_eq!(bytes[..at], before[..at]);
        assert_eq!(bytes[at + 2..], before[at + 2..]);
        // What stood there was the sum of the pseudo-header: without it the sum is the same, and the checksum its end.
        let open = packet.trim(&before)[start..].to_vec();
        let sum = checksum(&open);
        let sum = if sum == 0 { 0xffff } else { sum };
        assert_eq!(word(&bytes, at), sum);
        true
    });
}

#[test]
fn fragments_fit_and_make_up_what_was_cut() {
    fuzz("fragment", 20, |source| {
        let bytes = match source.below(3) {
            0 => packet(source),
            _ => {
                let (mut bytes, _) = large(source);
                if bytes.len() >= 20 && bytes[0] >> 4 == 4 {
                    bytes[6..8].fill(0);
                    fix_header(&mut bytes);
                }
                bytes
            }
        };
        let mtu = source.pick(&[1472, 1300, 576, 68, 84, 60, 20, 0, 65_535]);
        let mut out = vec![0xaa; source.pick(&[1 << 18, 1 << 16, 2000])];
        let Ok(packet) = Packet::parse(&bytes) else {
            return false;
        };
        let Ok(packets) = fragment(&packet, &bytes, mtu, &mut out) else {
            return false;
        };
        let begin = usize::from(word(&bytes, 6) & OFFSET) * 8;
        let mut payload: Vec<u8> = Vec::new();
        let count = packets.count();
        for (index, range) in packets.iter().enumerate() {
            let one = &out[range];
            let part = Packet::parse(one).unwrap();
            assert_eq!(usize::from(part.len), one.len());
            assert!(part.len <= mtu);
            assert_eq!(
                usize::from(word(one, 6) & OFFSET) * 8,
                begin + payload.len()
            );
            let more = word(one, 6) & MORE != 0;
            assert_eq!(more, index + 1 < count || word(&bytes, 6) & MORE != 0);
            assert_eq!(
                (part.source, part.destination),
                (packet.source, packet.destination)
            );
            assert_eq!(one[4..6], bytes[4..6]);
            payload.extend(part.payload(one));
        }
        assert_eq!(payload, packet.payload(&bytes));
        true
    });
}

#[test]
fn errors_about_any_packet_are_right_and_never_about_errors() {
    fuzz("icmp", 30, |source| {
        let bytes = packet(source);
        let Ok(packet) = Packet::parse(&bytes) else {
            return false;
        };
        if !icmp::may_answer(&packet, &bytes) {
            return false;
        }
        let v6 = packet.source.is_ipv6();
        let from: IpAddr = if v6 { "fd00:0:0:1::" } else { "10.42.1.0" }
            .parse()
            .unwrap();
        let error = source.pick(&[
            IcmpError::NoRoute,
            IcmpError::AddressUnreachable,
            IcmpError::HopLimit,
            IcmpError::TooBig { mtu: 1272 },
        ]);
        let mut out = vec![0xaa; source.pick(&[1280, 1280, 576, 575, 0])];
        let most = if v6 { icmp::MOST_V6 } else { icmp::MOST_V4 };
        let Some(len) = icmp::write(error, &packet, &bytes, from, &mut out) else {
            assert!(out.len() < most);
            return false;
        };
        let answer = &out[..len];
        let told = Packet::parse(answer).unwrap();
        assert!(len <= most && usize::from(told.len) == len);
        assert_eq!((told.source, told.destination), (from, packet.source));
        let protocol = if v6 { ICMPV6 } else { ICMP };
        assert_eq!(told.protocol, protocol);
        assert_eq!(
            transport_checksum(answer, usize::from(told.header_len), protocol),
            0
        );
        assert!(packet.trim(&bytes).starts_with(&told.payload(answer)[8..]));
        assert!(!icmp::may_answer(&told, answer));
        true
    });
}
