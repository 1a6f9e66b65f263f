//! Echo requests and replies of ICMP (RFC 792) and ICMPv6 (RFC 4443). Each carries a random number, so that nobody off the
//! path can forge an answer.

use tweed_model::Family;

const HEADER: usize = 8;
const NUMBER: usize = 8;

/// Bytes of an IP header without options.
const fn ip_header(family: Family) -> usize {
    match family {
        Family::V4 => 20,
        Family::V6 => 40,
    }
}

/// Bytes of the smallest packet, with its IP header.
pub const fn smallest(family: Family) -> u16 {
    (ip_header(family) + HEADER + NUMBER) as u16
}

/// A request whose packet has `length` bytes with its IP header, or as few as can be. The kernel makes the checksum of
/// ICMPv6.
pub fn request(family: Family, number: u64, length: u16) -> Vec<u8> {
    let size = usize::from(length.max(smallest(family))) - ip_header(family);
    let mut packet = vec![0; size];
    packet[0] = match family {
        Family::V4 => 8,
        Family::V6 => 128,
    };
    // Identifier and sequence number: some firewalls tell flows apart by them.
    packet[4..HEADER].copy_from_slice(&number.to_be_bytes()[..4]);
    packet[HEADER..HEADER + NUMBER].copy_from_slice(&number.to_be_bytes());
    if family == Family::V4 {
        let sum = checksum(&packet);
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    packet
}

/// What follows the header of an IPv4 packet.
pub fn without_header(packet: &[u8]) -> Option<&[u8]> {
    packet.get(usize::from(packet.first()? & 0xf) * 4..)
}

/// The number in a reply.
pub fn number(family: Family, icmp: &[u8]) -> Option<u64> {
    let reply = match family {
        Family::V4 => 0,
        Family::V6 => 129,
    };
    let &[kind, 0, ..] = icmp else { return None };
    let number = icmp.get(HEADER..HEADER + NUMBER)?.try_into().ok()?;
    (kind == reply).then(|| u64::from_be_bytes(number))
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|word| {
        let low = word.get(1).copied().unwrap_or_default();
        u32::from(u16::from_be_bytes([word[0], low]))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reply(family: Family, number: u64, length: u16) -> Vec<u8> {
        let mut icmp = request(family, number, length);
        icmp[0] = match family {
            Family::V4 => 0,
            Family::V6 => 129,
        };
        icmp
    }

    #[test]
    fn a_packet_has_the_length_that_was_asked_for_and_a_right_checksum() {
        for (family, header) in [(Family::V4, 20), (Family::V6, 40)] {
            let packet = request(family, 7, 1450);
            assert_eq!(packet.len() + header, 1450);
            assert_eq!(
                request(family, 7, 0).len() + header,
                usize::from(smallest(family))
            );
        }
        assert_eq!(checksum(&request(Family::V4, u64::MAX - 5, 61)), 0);
    }

    #[test]
    fn a_header_is_as_long_as_it_says() {
        let packet = [&[0x46][..], &[0; 23], &[7]].concat();
        assert_eq!(without_header(&packet), Some(&[7][..]));
        assert_eq!(without_header(&packet[..20]), None);
    }

    proptest! {
        #[test]
        fn what_is_sent_is_what_comes_back(number: u64, length in 0_u16..2000, v6: bool) {
            let family = if v6 { Family::V6 } else { Family::V4 };
            let reply = reply(family, number, length);
            prop_assert_eq!(super::number(family, &reply), Some(number));
        }

        #[test]
        fn any_bytes_are_a_number_or_nothing(bytes: Vec<u8>, v6: bool) {
            let family = if v6 { Family::V6 } else { Family::V4 };
            let _ = number(family, &bytes);
            let _ = without_header(&bytes);
        }

        #[test]
        fn a_request_is_no_reply(number: u64) {
            prop_assert_eq!(super::number(Family::V6, &request(Family::V6, number, 0)), None);
        }
    }
}
