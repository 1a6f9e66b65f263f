//! Headers that are right, headers that are not, and bytes that are no headers.

use proptest::prelude::*;

use super::*;
use crate::arbitrary::{Spec, at_least, fix_ipv4_checksum, hostile, slow_checksum, spec};

proptest! {
    #![proptest_config(at_least(2048))]

    #[test]
    fn any_bytes_are_a_packet_within_their_bounds_or_have_a_reason(bytes in hostile()) {
        if let Ok(packet) = Packet::parse(&bytes) {
            prop_assert!(usize::from(packet.len) <= bytes.len());
            prop_assert!(packet.header_len <= packet.len);
            prop_assert_eq!(packet.trim(&bytes).len(), usize::from(packet.len));
            let payload = packet.payload(&bytes).len();
            prop_assert_eq!(payload, usize::from(packet.len - packet.header_len));
            prop_assert_eq!(Packet::parse(packet.trim(&bytes)), Ok(packet));
        }
    }

    #[test]
    fn what_was_written_is_read(spec in spec()) {
        let bytes = spec.bytes();
        let packet = Packet::parse(&bytes).unwrap();
        prop_assert_eq!(packet.source, spec.source());
        prop_assert_eq!(packet.destination, spec.destination());
        prop_assert_eq!(usize::from(packet.len), bytes.len());
        prop_assert_eq!(packet.hop_limit, spec.ttl);
        prop_assert_eq!(packet.protocol, if spec.udp { 17 } else { 6 });
        prop_assert_eq!(packet.dont_fragment, spec.v6 || spec.fragment != 0);
        prop_assert_eq!(packet.fragment, Fragment::No);
    }

    #[test]
    fn no_packet_is_read_from_a_part_of_itself(spec in spec(), cut in any::<prop::sample::Index>()) {
        let bytes = spec.bytes();
        let cut = cut.index(bytes.len());
        prop_assert!(Packet::parse(&bytes[..cut]).is_err());
    }

    #[test]
    fn padding_does_not_count(spec in spec(), padding in prop::collection::vec(any::<u8>(), 0..30)) {
        let bytes = spec.bytes();
        let padded = [&bytes[..], &padding].concat();
        let packet = Packet::parse(&padded).unwrap();
        prop_assert_eq!(packet.trim(&padded), &bytes[..]);
    }

    #[test]
    fn a_hop_taken_leaves_the_packet_that_was_sent_with_one_less(spec in spec()) {
        let mut bytes = spec.bytes();
        let mut packet = Packet::parse(&bytes).unwrap();
        packet.decrement_hop_limit(&mut bytes);
        let expected = Spec { ttl: spec.ttl - 1, ..spec };
        prop_assert_eq!(&bytes, &expected.bytes());
        prop_assert_eq!(Packet::parse(&bytes), Ok(packet));
    }
}

/// An IPv4 packet with bytes changed, and its checksum right again.
fn changed(changes: &[(usize, u8)]) -> Result<Packet, Malformed> {
    let mut bytes = Spec::udp(false, 24).bytes();
    for (at, byte) in changes {
        bytes[*at] = *byte;
    }
    fix_ipv4_checksum(&mut bytes);
    Packet::parse(&bytes)
}

#[test]
fn every_fault_of_an_ipv4_header_has_its_reason() {
    let mut bytes = Spec::udp(false, 24).bytes();
    assert!(Packet::parse(&bytes).is_ok());
    bytes[8] -= 1;
    assert_eq!(Packet::parse(&bytes), Err(Malformed::Checksum));
    assert_eq!(Packet::parse(&[]), Err(Malformed::Empty));
    assert_eq!(Packet::parse(&[0x45; 19]), Err(Malformed::HeaderCutOff));
    assert_eq!(Packet::parse(&[0x4f; 59]), Err(Malformed::HeaderCutOff));
    assert_eq!(changed(&[(0, 0x55)]), Err(Malformed::Version));
    assert_eq!(changed(&[(0, 0x44)]), Err(Malformed::HeaderLength));
    assert_eq!(changed(&[(3, 19)]), Err(Malformed::Length));
    assert_eq!(changed(&[(3, 53)]), Err(Malformed::Length));
    let more = 0x20;
    assert_eq!(changed(&[(6, more)]).unwrap().fragment, Fragment::First);
    assert_eq!(
        changed(&[(6, 0), (7, 2)]).unwrap().fragment,
        Fragment::Later
    );
    let uneven = [(6, more), (3, 51)];
    assert_eq!(changed(&uneven), Err(Malformed::Fragment));
    let nothing = [(6, more), (3, 20)];
    assert_eq!(changed(&nothing), Err(Malformed::Fragment));
    let ping_of_death = [(6, 0x1f), (7, 0xff)];
    assert_eq!(changed(&ping_of_death), Err(Malformed::Fragment));
}

/// An IPv6 packet whose first next header is `first`, with these bytes as its payload.
fn chained(first: u8, payload: &[u8]) -> Result<Packet, Malformed> {
    let mut bytes = Spec::udp(true, 0).bytes();
    bytes.truncate(40);
    bytes[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
    bytes[6] = first;
    bytes.extend(payload);
    Packet::parse(&bytes)
}

#[test]
fn extension_headers_are_walked_to_what_they_carry() {
    let options = [43, 0, 1, 4, 0, 0, 0, 0]; // then a routing header
    let routing = [51, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]; // then authentication
    let authentication = [17, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]; // then UDP
    let udp = [0; 8];
    let payload = [&options[..], &routing, &authentication, &udp].concat();
    let packet = chained(0, &payload).unwrap();
    assert_eq!((packet.protocol, packet.header_len), (17, 40 + 8 + 16 + 12));
    assert_eq!(packet.payload(&[0; 84]).len(), 8);
}

#[test]
fn a_chain_that_does_not_end_is_refused() {
    let cut = Err(Malformed::ExtensionHeaders);
    assert_eq!(chained(0, &[17]), cut);
    assert_eq!(chained(0, &[17, 1, 0, 0, 0, 0, 0, 0]), cut);
    assert_eq!(chained(44, &[17, 0, 0]), cut);
    assert_eq!(chained(60, &[60, 0, 1, 4, 0, 0, 0, 0].repeat(50)), cut);
}

#[test]
fn a_fragment_of_ipv6_says_which_part_it_is() {
    let fragment = |word: u16, payload: usize| {
        let [high, low] = word.to_be_bytes();
        let header = [17, 0, high, low, 0, 0, 0, 1];
        chained(44, &[&header[..], &vec![0; payload]].concat())
    };
    assert_eq!(fragment(1, 16).unwrap().fragment, Fragment::First);
    assert_eq!(fragment(0, 5).unwrap().fragment, Fragment::First);
    assert_eq!(fragment(8, 5).unwrap().fragment, Fragment::Later);
    assert_eq!(fragment(9, 5), Err(Malformed::Fragment));
    assert_eq!(fragment(0xfff8, 100), Err(Malformed::Fragment));
    assert_eq!(fragment(8, 5).unwrap().header_len, 48);
}

#[test]
fn a_hop_limit_of_zero_stays() {
    let mut bytes = Spec {
        ttl: 0,
        ..Spec::tcp(false, 3)
    }
    .bytes();
    let before = bytes.clone();
    Packet::parse(&bytes)
        .unwrap()
        .decrement_hop_limit(&mut bytes);
    assert_eq!(bytes, before);
    assert_eq!(slow_checksum(&bytes[..20]), 0);
}
