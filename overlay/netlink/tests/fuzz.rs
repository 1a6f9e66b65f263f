//! Datagrams of the kernel of which little has been changed: read or passed over, with nothing from beyond their end.
#![allow(clippy::unwrap_used, reason = "a test says what it expects")]

use tweed_fuzz::{Source, fuzz};
use tweed_netlink::{
    Answer, Frames, attributes, fdb_info, link_or_address, neigh_info, nexthop_info, route_info,
};

/// Types of messages: results, links, addresses, routes, neighbours, next hops.
const KINDS: [u16; 9] = [2, 3, 16, 20, 21, 24, 28, 29, 104];

fn attribute(source: &mut Source) -> Vec<u8> {
    let len = match source.once_in(2) {
        true => source.pick(&[1, 2, 4, 6, 8, 16]),
        false => source.len(60),
    };
    let mut bytes = u16::try_from(4 + len).unwrap().to_ne_bytes().to_vec();
    let kind = source.below(32) as u16;
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(source.bytes(len));
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A header of the family's own, and attributes.
fn payload(source: &mut Source) -> Vec<u8> {
    let header = source.pick(&[4, 8, 12, 16, 20, 0]);
    let mut bytes = source.bytes(header);
    if let Some(family) = bytes.first_mut() {
        *family = source.pick(&[2, 7, 10, 0]);
    }
    for _ in 0..source.below(6) {
        bytes.extend(attribute(source));
    }
    bytes
}

fn message(source: &mut Source) -> Vec<u8> {
    let (kind, payload) = (source.pick(&KINDS), payload(source));
    let mut bytes = u32::try_from(16 + payload.len())
        .unwrap()
        .to_ne_bytes()
        .to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(source.pick(&[0_u16, 2, 0x200, 0x300]).to_ne_bytes());
    bytes.extend(source.bytes(8));
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

#[test]
fn a_datagram_is_read_to_its_end_or_to_what_is_broken() {
    fuzz("netlink", 10, |source| {
        let mut datagram = Vec::new();
        for _ in 0..=source.below(3) {
            datagram.extend(message(source));
        }
        let is_changed = source.once_in(2);
        if is_changed {
            for _ in 0..=source.below(3) {
                let at = source.below(datagram.len());
                datagram[at] = source.byte();
            }
            let len = source.below(datagram.len() + 1);
            datagram.truncate(source.pick(&[usize::MAX, len]));
        }
        let (mut taken, mut read) = (0, 0);
        for frame in Frames::new(&datagram) {
            taken += 1;
            assert!(taken <= datagram.len() / 16 + 1, "it spins");
            let Ok((header, answer)) = frame else { break };
            let Answer::Message(payload) = answer else {
                continue;
            };
            let kind = header.message_type;
            let values = attributes(payload).map(|(_, value)| value.len() + 4);
            assert!(values.sum::<usize>() <= payload.len());
            let found = [
                route_info(payload).is_some(),
                neigh_info(payload).is_some(),
                fdb_info(payload).is_some(),
                nexthop_info(payload).is_some(),
                link_or_address(kind, payload).is_some(),
            ];
            read += found.iter().filter(|found| **found).count();
        }
        read > 0
    });
}
