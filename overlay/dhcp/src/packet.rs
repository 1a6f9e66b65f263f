//! IPv4 and UDP around a DHCP message, for a link where the client has no address yet. Pure.

use std::net::Ipv4Addr;

/// Where servers and relays listen.
pub const SERVER_PORT: u16 = 67;
/// Where clients listen.
pub const CLIENT_PORT: u16 = 68;

const IP: usize = 20;
const UDP: usize = 8;
const UDP_PROTOCOL: u8 = 17;
const HOPS: u8 = 64;

/// Whether a packet's UDP checksum has been worked out. A server on this very host leaves it to hardware that is not
/// there, and the kernel says so beside the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// It is to be verified.
    Whole,
    /// It holds the pseudo-header alone.
    Unfinished,
}

/// A UDP datagram from a client to a server as an IPv4 packet. An IPv4 packet of a DHCP message always fits 16 bits.
pub fn wrap(from: Ipv4Addr, to: Ipv4Addr, message: &[u8]) -> Vec<u8> {
    wrap_ports((from, CLIENT_PORT), (to, SERVER_PORT), message)
}

/// The same between any ports.
pub fn wrap_ports(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), message: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; IP + UDP];
    let length = (IP + UDP + message.len()) as u16;
    bytes[0] = 0x45;
    bytes[2..4].copy_from_slice(&length.to_be_bytes());
    bytes[8] = HOPS;
    bytes[9] = UDP_PROTOCOL;
    bytes[12..16].copy_from_slice(&from.0.octets());
    bytes[16..20].copy_from_slice(&to.0.octets());
    let header = fold(sum(&bytes[..IP], 0));
    bytes[10..12].copy_from_slice(&header.to_be_bytes());
    bytes[20..22].copy_from_slice(&from.1.to_be_bytes());
    bytes[22..24].copy_from_slice(&to.1.to_be_bytes());
    bytes[24..26].copy_from_slice(&(length - IP as u16).to_be_bytes());
    bytes.extend(message);
    // Zero would say that there is no checksum.
    let checksum = match udp_checksum(&bytes, IP) {
        0 => 0xffff,
        sum => sum,
    };
    bytes[26..28].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

/// The UDP payload of an IPv4 packet to [`CLIENT_PORT`]. `None` for everything else: another protocol or port, a
/// fragment, lengths beyond the packet, a wrong checksum.
pub fn unwrap(packet: &[u8], checksum: Checksum) -> Option<&[u8]> {
    let header = usize::from(packet.first()? & 0xf) * 4;
    let half = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let length = usize::from(half(2)?);
    // A short packet has the padding of its frame behind it.
    let packet = packet.get(..length)?;
    let is_fragment = half(6)? & 0x3fff != 0;
    if packet[0] >> 4 != 4 || header < IP || length < header + UDP || is_fragment {
        return None;
    }
    if packet[9] != UDP_PROTOCOL || fold(sum(&packet[..header], 0)) != 0 {
        return None;
    }
    let datagram = usize::from(half(header + 4)?);
    if half(header + 2)? != CLIENT_PORT || datagram < UDP || header + datagram > length {
        return None;
    }
    let packet = &packet[..header + datagram];
    let has_checksum = half(header + 6)? != 0;
    if checksum == Checksum::Whole && has_checksum && udp_checksum(packet, header) != 0 {
        return None;
    }
    Some(&packet[header + UDP..])
}

/// The checksum over datagram and pseudo-header; 0 where the one that is there is right.
fn udp_checksum(packet: &[u8], header: usize) -> u16 {
    let length = (packet.len() - header) as u32;
    let pseudo = sum(&packet[12..20], u32::from(UDP_PROTOCOL) + length);
    fold(sum(&packet[header..], pseudo))
}

/// At most 32,768 words, so that nothing overflows.
fn sum(bytes: &[u8], begin: u32) -> u32 {
    let words = bytes.chunks(2).map(|pair| {
        let low = pair.get(1).copied().unwrap_or_default();
        u32::from(u16::from_be_bytes([pair[0], low]))
    });
    words.sum::<u32>() + begin
}

fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    !(((once & 0xffff) + (once >> 16)) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(message: &[u8]) -> Vec<u8> {
        let server = ([10, 0, 0, 1].into(), SERVER_PORT);
        wrap_ports(server, (Ipv4Addr::BROADCAST, CLIENT_PORT), message)
    }

    #[test]
    fn a_packet_is_read_with_the_padding_of_its_frame_behind_it() {
        for message in [&b"odd"[..], b"even", b""] {
            let mut packet = reply(message);
            packet.extend([1, 2, 3]);
            assert_eq!(unwrap(&packet, Checksum::Whole), Some(message));
        }
    }

    #[test]
    fn every_changed_bit_of_header_and_message_is_noticed() {
        let packet = reply(b"message");
        for bit in 0..packet.len() * 8 {
            let mut changed = packet.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unwrap(&changed, Checksum::Whole), None, "bit {bit}");
        }
    }

    #[test]
    fn a_checksum_that_was_left_to_hardware_is_not_looked_at() {
        let mut packet = reply(b"message");
        packet[26] ^= 0xff;
        assert_eq!(unwrap(&packet, Checksum::Whole), None);
        assert_eq!(unwrap(&packet, Checksum::Unfinished), Some(&b"message"[..]));
        packet[26..28].fill(0);
        assert_eq!(unwrap(&packet, Checksum::Whole), Some(&b"message"[..]));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(0_u8.., 0..80)) {
            let _ = unwrap(&bytes, Checksum::Unfinished);
        }
    }
}
