//! Fragments put together again.

use proptest::prelude::*;

use super::*;
use crate::arbitrary::{DONT_FRAGMENT, Spec, hostile, spec};
use crate::packet::Fragment;

fn cut(bytes: &[u8], mtu: u16) -> Result<Vec<Vec<u8>>, FragmentError> {
    let packet = Packet::parse(bytes).unwrap();
    let mut out = vec![0xaa; 1 << 18];
    let packets = fragment(&packet, bytes, mtu, &mut out)?;
    Ok(packets.iter().map(|range| out[range].to_vec()).collect())
}

/// The payload that fragments make up, from the offset of the first one; they must follow each other.
fn assemble(fragments: &[Vec<u8>]) -> Vec<u8> {
    let mut payload = Vec::new();
    let start = offset(&fragments[0]);
    for fragment in fragments {
        let packet = Packet::parse(fragment).unwrap();
        assert_eq!(offset(fragment), start + payload.len());
        payload.extend(packet.payload(fragment));
    }
    payload
}

fn offset(bytes: &[u8]) -> usize {
    usize::from(word(bytes, 6) & OFFSET) * 8
}

proptest! {
    #[test]
    fn fragments_fit_the_mtu_and_make_up_the_packet(
        spec in spec(),
        len in 0..6000usize,
        mtu in 68..1500u16,
        narrower in 68..600u16,
    ) {
        let spec = Spec { v6: false, fragment: 0, payload: vec![7; len], ..spec };
        let bytes = spec.bytes();
        let fragments = cut(&bytes, mtu).unwrap();
        prop_assert_eq!(assemble(&fragments), &bytes[20..]);
        let again: Vec<Vec<u8>> = fragments
            .iter()
            .flat_map(|fragment| cut(fragment, narrower.min(mtu)).unwrap())
            .collect();
        prop_assert_eq!(assemble(&again), &bytes[20..]);
        for (all, mtu) in [(&fragments, mtu), (&again, narrower.min(mtu))] {
            for (index, fragment) in all.iter().enumerate() {
                prop_assert!(fragment.len() <= usize::from(mtu));
                let last = index + 1 == all.len();
                prop_assert_eq!(word(fragment, 6) & MORE == 0, last);
                prop_assert_eq!(&fragment[4..6], &bytes[4..6]);
                prop_assert_eq!(&fragment[12..20], &bytes[12..20]);
            }
        }
    }

    #[test]
    fn any_packet_is_fragmented_or_refused(bytes in hostile(), mtu in 0..200u16, room in 0..2000usize) {
        let Ok(packet) = Packet::parse(&bytes) else { return Ok(()) };
        let mut out = vec![0; room];
        if let Ok(packets) = fragment(&packet, &bytes, mtu, &mut out) {
            for range in packets.iter() {
                prop_assert!(Packet::parse(&out[range]).is_ok());
            }
        }
    }
}

#[test]
fn a_packet_that_fits_stays_as_it_is() {
    let bytes = Spec {
        fragment: 0,
        ..Spec::udp(false, 100)
    }
    .bytes();
    assert_eq!(cut(&bytes, 128), Ok(vec![bytes.clone()]));
    assert_eq!(cut(&bytes, 127).unwrap().len(), 2);
}

#[test]
fn only_the_sender_may_fragment_ipv6_and_what_says_so() {
    let refused = Err(FragmentError::Forbidden);
    assert_eq!(cut(&Spec::udp(true, 2000).bytes(), 1280), refused);
    let spec = Spec {
        fragment: DONT_FRAGMENT,
        ..Spec::udp(false, 2000)
    };
    assert_eq!(cut(&spec.bytes(), 1280), refused);
}

#[test]
fn later_fragments_keep_the_options_that_are_to_be_copied() {
    let record_route = [7, 4, 4, 0]; // not copied
    let router_alert = [148, 4, 0, 0]; // copied
    let spec = Spec {
        fragment: 0,
        ip_options: [record_route, router_alert].concat(),
        ..Spec::udp(false, 100)
    };
    let fragments = cut(&spec.bytes(), 76).unwrap();
    assert_eq!(fragments.len(), 3);
    assert_eq!(fragments[0][20..28], [7, 4, 4, 0, 148, 4, 0, 0]);
    for later in &fragments[1..] {
        assert_eq!(later[20..28], [1, 1, 1, 1, 148, 4, 0, 0]);
        assert_eq!(Packet::parse(later).unwrap().fragment, Fragment::Later);
    }
}

#[test]
fn options_that_cannot_be_read_are_not_passed_on() {
    for options in [[7, 0, 0, 0], [7, 9, 0, 0], [7, 1, 0, 0], [1, 1, 1, 7]] {
        let ip_options = options.to_vec();
        let spec = Spec {
            fragment: 0,
            ip_options,
            ..Spec::udp(false, 100)
        };
        let fragments = cut(&spec.bytes(), 76).unwrap();
        assert_eq!(fragments[1][20..24], [1; 4], "{options:?}");
    }
}
