//! What reads headers: the device's, IP's, and those of TCP and UDP.

use tweed_forward::packet::{Fragment, Packet};
use tweed_forward::segment::{Kind, Segment};
use tweed_forward::trial::echo;
use tweed_forward::virtio::{self, Offload};

use crate::oracle::{TCP, UDP, checksum, transport_checksum, word};
use crate::packets::packet;
use tweed_fuzz::fuzz;

#[test]
fn virtio_headers_are_read_or_refused_and_written_as_they_were_read() {
    fuzz("virtio", 35, |source| {
        let len = source.pick(&[10, 10, 10, 12, 9, 0]);
        let mut bytes = source.bytes(len);
        if len >= 2 && !source.once_in(4) {
            bytes[1] = source.pick(&[0, 1, 4, 5, 0x81, 3]);
        }
        let Ok(offload) = Offload::parse(&bytes) else {
            return false;
        };
        assert!(bytes.len() >= virtio::LEN);
        assert_eq!(Offload::parse(&offload.encode()), Ok(offload));
        if let Offload::Segments { size, .. } = offload {
            assert!(size > 0);
        }
        true
    });
}

#[test]
fn ip_headers_are_read_within_the_bytes_that_are_there() {
    fuzz("packet", 40, |source| {
        let bytes = packet(source);
        let Ok(mut packet) = Packet::parse(&bytes) else {
            return false;
        };
        let (len, header) = (usize::from(packet.len), usize::from(packet.header_len));
        let v6 = bytes[0] >> 4 == 6;
        assert!(header >= if v6 { 40 } else { 20 } && header <= len && len <= bytes.len());
        let told = if v6 {
            40 + word(&bytes, 4)
        } else {
            word(&bytes, 2)
        };
        assert_eq!(packet.len, told);
        assert_eq!(packet.payload(&bytes).len(), len - header);
        // A trial's answer has ICMP's header and a number of 64 bits.
        assert!(echo::answered(&packet, &bytes).is_none() || len - header >= 16);
        assert_eq!(Packet::parse(packet.trim(&bytes)), Ok(packet));
        assert_eq!(packet.hop_limit, bytes[if v6 { 7 } else { 8 }]);
        assert!(v6 || checksum(&bytes[..header]) == 0);
        let mut next = bytes;
        packet.decrement_hop_limit(&mut next);
        assert_eq!(Packet::parse(&next), Ok(packet), "one hop further");
        true
    });
}

#[test]
fn transport_headers_are_read_within_their_packet() {
    fuzz("segment", 25, |source| {
        let bytes = packet(source);
        let Ok(packet) = Packet::parse(&bytes) else {
            return false;
        };
        let Some(segment) = Segment::of(&packet, &bytes) else {
            return false;
        };
        assert_eq!(packet.fragment, Fragment::No);
        assert_eq!(segment.start, usize::from(packet.header_len));
        assert_eq!(segment.end, usize::from(packet.len));
        let (protocol, least, at) = match segment.kind {
            Kind::Tcp => (TCP, 20, 16),
            Kind::Udp => (UDP, 8, 6),
        };
        assert_eq!(packet.protocol, protocol);
        assert!(segment.payload >= segment.start + least && segment.payload <= segment.end);
        let bytes = packet.trim(&bytes);
        let absent = protocol == UDP && word(bytes, segment.start + at) == 0;
        let right = transport_checksum(bytes, segment.start, protocol) == 0;
        let valid = segment.has_valid_checksum(&packet, bytes);
        assert_eq!(valid, right && !absent);
        true
    });
}
