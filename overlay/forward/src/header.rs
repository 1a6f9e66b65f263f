//! Headers of the packets that we send ourselves, which are all of ICMP.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::checksum::Sum;
use super::packet::protocol;

/// Hop limit of what we send.
const HOPS: u8 = 64;

/// Of a packet of `len` bytes, with its checksum.
pub(super) fn v4(header: &mut [u8; 20], tos: u8, len: u16, from: Ipv4Addr, to: Ipv4Addr) {
    const DONT_FRAGMENT: u8 = 0x40;
    let [high, low] = len.to_be_bytes();
    header.fill(0);
    header[..4].copy_from_slice(&[0x45, tos, high, low]);
    header[6] = DONT_FRAGMENT; // With it the identification means nothing (RFC 6864 §4.1).
    header[8..10].copy_from_slice(&[HOPS, protocol::ICMP]);
    header[12..16].copy_from_slice(&from.octets());
    header[16..20].copy_from_slice(&to.octets());
    let checksum = Sum::default().bytes(header).checksum();
    header[10..12].copy_from_slice(&checksum);
}

/// Of a packet with so many bytes after the header.
pub(super) fn v6(header: &mut [u8; 40], payload: u16, from: Ipv6Addr, to: Ipv6Addr) {
    let [high, low] = payload.to_be_bytes();
    header[..8].copy_from_slice(&[0x60, 0, 0, 0, high, low, protocol::ICMPV6, HOPS]);
    header[8..24].copy_from_slice(&from.octets());
    header[24..40].copy_from_slice(&to.octets());
}
