//! Super-packets against the segments that a sender without offload would have sent.

use proptest::prelude::*;

use super::*;
use crate::arbitrary::{ACK, PSH, Spec, hostile, spec};
use crate::virtio::Offload;

fn kind(spec: &Spec) -> Super {
    match spec {
        Spec { udp: true, .. } => Super::Udp,
        Spec { v6: true, .. } => Super::Tcp6,
        Spec { .. } => Super::Tcp4,
    }
}

/// What the sender would have sent by itself.
fn segments(whole: &Spec, size: usize) -> Vec<Vec<u8>> {
    let parts: Vec<&[u8]> = whole.payload.chunks(size).collect();
    let last = parts.len() - 1;
    let one = |(index, part): (usize, &&[u8])| {
        let mut one = Spec {
            payload: part.to_vec(),
            id: whole.id.wrapping_add(index as u16),
            sequence: whole.sequence.wrapping_add((index * size) as u32),
            ..whole.clone()
        };
        one.flags &= if index == last { 0xff } else { !FIN_PSH };
        one.flags &= if index == 0 { 0xff } else { !CWR };
        one.bytes()
    };
    parts.iter().enumerate().map(one).collect()
}

fn cut(whole: &Spec, size: u16) -> Result<Vec<Vec<u8>>, SplitError> {
    let bytes = whole.bytes();
    let packet = Packet::parse(&bytes).unwrap();
    let mut out = vec![0xaa; 1 << 17];
    let packets = split(&packet, &bytes, kind(whole), size, &mut out)?;
    assert_eq!(packets.iter().count(), packets.count());
    Ok(packets.iter().map(|range| out[range].to_vec()).collect())
}

proptest! {
    #[test]
    fn a_super_packet_becomes_what_its_sender_would_have_sent(
        whole in spec(),
        len in 1..9000usize,
        size in 1..3000u16,
        flags in any::<u8>(),
    ) {
        let payload: Vec<u8> = (0..len).map(|n| (n % 253) as u8).collect();
        let whole = Spec { payload, flags: flags | ACK, ..whole };
        let size = size.max(len as u16 / 60 + 1);
        prop_assert_eq!(cut(&whole, size).unwrap(), segments(&whole, usize::from(size)));
    }

    #[test]
    fn any_bytes_under_any_header_are_cut_or_refused(
        bytes in hostile(),
        header in any::<[u8; 10]>(),
        sure in 0..4u8,
        room in 0..2000usize,
    ) {
        let Ok(packet) = Packet::parse(&bytes) else { return Ok(()) };
        let mut header = header;
        header[1] = [1, 4, 5, header[1]][usize::from(sure)];
        let mut out = vec![0; room];
        match Offload::parse(&header) {
            Ok(Offload::Segments { kind, size, .. }) => {
                if let Ok(packets) = split(&packet, &bytes, kind, size, &mut out) {
                    for range in packets.iter() {
                        prop_assert!(Packet::parse(&out[range]).is_ok());
                    }
                }
            }
            Ok(Offload::Checksum(checksum)) => {
                let mut bytes = bytes;
                let _ = complete(&packet, &mut bytes, checksum);
            }
            Ok(Offload::None) | Err(_) => {}
        }
    }

    #[test]
    fn a_checksum_left_open_is_completed(spec in spec()) {
        let expected = spec.bytes();
        let mut bytes = expected.clone();
        let packet = Packet::parse(&bytes).unwrap();
        let segment = Segment::of(&packet, &bytes).unwrap();
        let at = segment.start + segment.kind.checksum_offset();
        let sum = pseudo_header(segment.kind, &packet, segment.end - segment.start);
        bytes[at..at + 2].copy_from_slice(&sum.folded());
        let checksum = Checksum {
            start: segment.start as u16,
            offset: segment.kind.checksum_offset() as u16,
        };
        complete(&packet, &mut bytes, checksum).unwrap();
        // A sum of zero is written as its other form, which TCP may have either way.
        if expected[at..at + 2] != [0, 0] {
            prop_assert_eq!(bytes, expected);
        }
    }
}

#[test]
fn all_segments_but_the_last_have_one_length() {
    let whole = Spec::tcp(false, 64_000);
    let bytes = whole.bytes();
    let packet = Packet::parse(&bytes).unwrap();
    let mut out = vec![0; 1 << 17];
    let packets = split(&packet, &bytes, Super::Tcp4, 1420, &mut out).unwrap();
    assert_eq!((packets.size, packets.count()), (1472, 46));
    assert_eq!(packets.len, 64_000 + 46 * 52);
}

#[test]
fn the_flags_that_belong_to_the_ends_stay_there() {
    let flags = ACK | PSH | 0x01 | CWR;
    let parts = cut(
        &Spec {
            flags,
            ..Spec::tcp(true, 30)
        },
        10,
    )
    .unwrap();
    let flags: Vec<u8> = parts.iter().map(|part| part[40 + 13]).collect();
    assert_eq!(flags, [ACK | CWR, ACK, ACK | PSH | 0x01]);
}

#[test]
fn a_header_that_contradicts_its_packet_is_refused() {
    let spec = Spec::tcp(false, 100);
    let bytes = spec.bytes();
    let packet = Packet::parse(&bytes).unwrap();
    let mut out = [0; 4096];
    for kind in [Super::Tcp6, Super::Udp] {
        let refused = split(&packet, &bytes, kind, 10, &mut out);
        assert_eq!(refused, Err(SplitError::Contradiction));
    }
    let room = split(&packet, &bytes, Super::Tcp4, 10, &mut out[..619]);
    assert_eq!(room, Err(SplitError::Room));
    assert!(split(&packet, &bytes, Super::Tcp4, 10, &mut out[..620]).is_ok());
    assert_eq!(
        cut(&Spec::tcp(false, 0), 10),
        Err(SplitError::Contradiction)
    );
}

#[test]
fn a_checksum_outside_of_the_payload_is_refused() {
    let mut bytes = Spec::tcp(false, 10).bytes();
    let packet = Packet::parse(&bytes).unwrap();
    let last = bytes.len() as u16 - 22;
    for (start, offset) in [(0, 16), (20, u16::MAX), (u16::MAX, 16), (20, last + 1)] {
        let refused = complete(&packet, &mut bytes, Checksum { start, offset });
        assert_eq!(refused, Err(SplitError::Contradiction), "{start} {offset}");
    }
    let checksum = Checksum {
        start: 20,
        offset: last,
    };
    assert_eq!(complete(&packet, &mut bytes, checksum), Ok(()));
}
