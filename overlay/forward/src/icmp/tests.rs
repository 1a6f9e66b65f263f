//! Errors about packets, and packets about which there is none.

use proptest::prelude::*;

use super::*;
use crate::arbitrary::{Spec, fix_ipv4_checksum, hostile, slow_checksum, spec};
use crate::packet::word;

const ERRORS: [IcmpError; 4] = [
    IcmpError::NoRoute,
    IcmpError::AddressUnreachable,
    IcmpError::TooBig { mtu: 1400 },
    IcmpError::HopLimit,
];

fn ours(v6: bool) -> IpAddr {
    let addr = if v6 { "fd00:0:0:1::" } else { "10.42.1.0" };
    addr.parse().unwrap()
}

fn about(error: IcmpError, spec: &Spec) -> Vec<u8> {
    let bytes = spec.bytes();
    let packet = Packet::parse(&bytes).unwrap();
    let mut out = [0xaa; 2000];
    let len = write(error, &packet, &bytes, ours(spec.v6), &mut out).unwrap();
    out[..len].to_vec()
}

/// The message's checksum by the slow way: zero if it is right.
fn message_sum(packet: &Packet, bytes: &[u8]) -> u16 {
    let message = packet.payload(bytes);
    match (packet.source, packet.destination) {
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut sum = [source.octets(), destination.octets()].concat();
            sum.extend((message.len() as u32).to_be_bytes());
            sum.extend([0, 0, 0, 58]);
            sum.extend(message);
            slow_checksum(&sum)
        }
        _ => slow_checksum(message),
    }
}

proptest! {
    #[test]
    fn an_error_goes_to_the_sender_and_quotes_what_fits(
        spec in spec(),
        len in 0..3000usize,
        error in prop::sample::select(&ERRORS[..]),
    ) {
        let spec = Spec { payload: vec![9; len], ..spec };
        let bytes = about(error, &spec);
        let packet = Packet::parse(&bytes).unwrap();
        prop_assert_eq!((packet.source, packet.destination), (ours(spec.v6), spec.source()));
        prop_assert_eq!(packet.protocol, if spec.v6 { 58 } else { 1 });
        prop_assert_eq!(message_sum(&packet, &bytes), 0);
        let most = if spec.v6 { 1280 } else { 576 };
        let quoted = &packet.payload(&bytes)[8..];
        prop_assert_eq!(quoted, &spec.bytes()[..quoted.len()]);
        prop_assert_eq!(bytes.len(), most.min(usize::from(packet.header_len) + 8 + spec.bytes().len()));
        prop_assert!(!may_answer(&packet, &bytes), "an error about an error");
    }

    #[test]
    fn any_packet_is_answered_or_not(bytes in hostile(), room in 0..2000usize) {
        let Ok(packet) = Packet::parse(&bytes) else { return Ok(()) };
        let from = ours(packet.source.is_ipv6());
        let mut out = vec![0; room];
        if may_answer(&packet, &bytes)
            && let Some(len) = write(IcmpError::NoRoute, &packet, &bytes, from, &mut out)
        {
            prop_assert!(Packet::parse(&out[..len]).is_ok());
        }
    }
}

#[test]
fn types_and_codes_are_those_of_the_standards() {
    let head = |error, v6: bool| {
        let bytes = about(error, &Spec::udp(v6, 10));
        let at = if v6 { 40 } else { 20 };
        (
            bytes[at],
            bytes[at + 1],
            word(&bytes, at + 4),
            word(&bytes, at + 6),
        )
    };
    let [no_route, unreachable, too_big, hop_limit] = ERRORS;
    assert_eq!(head(no_route, false), (3, 0, 0, 0));
    assert_eq!(head(unreachable, false), (3, 1, 0, 0));
    assert_eq!(head(too_big, false), (3, 4, 0, 1400));
    assert_eq!(head(hop_limit, false), (11, 0, 0, 0));
    assert_eq!(head(no_route, true), (1, 0, 0, 0));
    assert_eq!(head(unreachable, true), (1, 3, 0, 0));
    assert_eq!(head(too_big, true), (2, 0, 0, 1400));
    assert_eq!(head(hop_limit, true), (3, 0, 0, 0));
}

fn answered(mut bytes: Vec<u8>, change: impl Fn(&mut Vec<u8>)) -> bool {
    change(&mut bytes);
    fix_ipv4_checksum(&mut bytes);
    let packet = Packet::parse(&bytes).unwrap();
    may_answer(&packet, &bytes)
}

#[test]
fn nothing_is_said_about_errors_groups_nor_later_fragments() {
    let v4 = || Spec::udp(false, 16).bytes();
    let icmp = |kind: u8| answered(v4(), |bytes| (bytes[9], bytes[20]) = (1, kind));
    assert!(answered(v4(), |_| {}));
    for question in [0, 8, 13, 14] {
        assert!(icmp(question), "{question}");
    }
    for error in [3, 4, 5, 11, 12, 1, 99] {
        assert!(!icmp(error), "{error}");
    }
    let cut_off = |bytes: &mut Vec<u8>| {
        bytes.truncate(20);
        (bytes[3], bytes[9]) = (20, 1);
    };
    assert!(!answered(v4(), cut_off));
    assert!(answered(v4(), |bytes| bytes[6] = 0x20), "a first fragment");
    assert!(
        !answered(v4(), |bytes| (bytes[6], bytes[7]) = (0, 1)),
        "a later fragment"
    );
    for group in [224, 255, 0, 127, 240] {
        assert!(!answered(v4(), |bytes| bytes[16] = group), "to {group}");
        assert!(!answered(v4(), |bytes| bytes[12] = group), "from {group}");
    }
}

#[test]
fn nothing_is_said_about_errors_and_redirects_of_ipv6() {
    let icmp = |kind: u8| {
        answered(Spec::udp(true, 16).bytes(), |bytes| {
            (bytes[6], bytes[40]) = (58, kind)
        })
    };
    assert!(icmp(128) && icmp(129) && icmp(135));
    assert!(!icmp(1) && !icmp(2) && !icmp(127) && !icmp(137));
    let to_group = |bytes: &mut Vec<u8>| bytes[24] = 0xff;
    assert!(!answered(Spec::udp(true, 16).bytes(), to_group));
}

#[test]
fn families_do_not_mix_and_a_short_buffer_is_left_alone() {
    let bytes = Spec::udp(false, 10).bytes();
    let packet = Packet::parse(&bytes).unwrap();
    let mut out = [0; MOST_V4];
    assert_eq!(
        write(IcmpError::NoRoute, &packet, &bytes, ours(true), &mut out),
        None
    );
    let short = &mut out[..MOST_V4 - 1];
    assert_eq!(
        write(IcmpError::NoRoute, &packet, &bytes, ours(false), short),
        None
    );
}
