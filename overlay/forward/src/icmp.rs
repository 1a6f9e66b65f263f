//! ICMP errors about packets that are not forwarded: RFC 792, RFC 1191 §4 and RFC 1812 §4.3.2 for IPv4, RFC 4443 §2.4
//! and §3 for IPv6. When none may be sent, and the bytes of those that may.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checksum::Sum;
use super::header;
use super::packet::{Fragment, Packet, protocol};
use super::scope::Scope;

/// What a sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// There is no way to the destination.
    NoRoute,
    /// The destination's subnet is here, the destination is not.
    AddressUnreachable,
    /// The packet is larger than `mtu` bytes, which is what the path takes.
    TooBig {
        /// Largest packet in bytes.
        mtu: u16,
    },
    /// Its hop limit is used up.
    HopLimit,
}

/// The longest error about an IPv4 packet (RFC 1812 §4.3.2.3).
pub const MOST_V4: usize = 576;
/// The longest error about an IPv6 packet (RFC 4443 §2.4(c)).
pub const MOST_V6: usize = 1280;

/// Length of ICMP's header in bytes.
const ICMP: usize = 8;

impl IcmpError {
    /// Type, code and the last half of the header for IPv4: "fragmentation needed" has the MTU there (RFC 1191 §4).
    fn v4(self) -> (u8, u8, u32) {
        match self {
            Self::NoRoute => (3, 0, 0),
            Self::AddressUnreachable => (3, 1, 0),
            Self::TooBig { mtu } => (3, 4, u32::from(mtu)),
            Self::HopLimit => (11, 0, 0),
        }
    }

    /// Type, code and the last half of the header for IPv6 (RFC 4443 §3.1 to §3.3).
    fn v6(self) -> (u8, u8, u32) {
        match self {
            Self::NoRoute => (1, 0, 0),
            Self::AddressUnreachable => (1, 3, 0),
            Self::TooBig { mtu } => (2, 0, u32::from(mtu)),
            Self::HopLimit => (3, 0, 0),
        }
    }
}

/// Whether an error about a packet may be sent at all (RFC 1812 §4.3.2.7, RFC 4443 §2.4(e)): not about an error, nor
/// about later fragments, nor about what came from or goes to anything but a single host.
pub fn may_answer(packet: &Packet, bytes: &[u8]) -> bool {
    let single = |addr| Scope::of(addr) == Scope::Unicast;
    single(packet.source)
        && single(packet.destination)
        && packet.fragment != Fragment::Later
        && !is_error(packet, bytes)
}

/// Whether it carries an ICMP message that is not a question or an answer. One whose type is cut off, or unknown,
/// counts as an error: silence cannot loop.
fn is_error(packet: &Packet, bytes: &[u8]) -> bool {
    let kind = packet.payload(bytes).first();
    match packet.protocol {
        protocol::ICMP => !matches!(kind, Some(0 | 8 | 9 | 10 | 13..=18)),
        protocol::ICMPV6 => !matches!(kind, Some(128..=136 | 138..)), // 137 is a redirect
        _ => false,
    }
}

/// Writes the error about a packet, as its whole packet, to the beginning of `out`; gives its length in bytes. `from`
/// is the address of ours that it comes from. The kernel takes an IPv4 packet with such a source from a device only if
/// the device's `accept_local` is set, and drops it silently otherwise (seen with Linux 6.18).
///
/// None if the families differ or `out` is shorter than [`MOST_V4`] or [`MOST_V6`], whichever applies.
pub fn write(
    error: IcmpError,
    packet: &Packet,
    bytes: &[u8],
    from: IpAddr,
    out: &mut [u8],
) -> Option<usize> {
    let quoted = packet.trim(bytes);
    match (from, packet.source) {
        (IpAddr::V4(from), IpAddr::V4(to)) => write_v4(error, quoted, from, to, out),
        (IpAddr::V6(from), IpAddr::V6(to)) => write_v6(error, quoted, from, to, out),
        _ => None,
    }
}

fn write_v4(
    error: IcmpError,
    quoted: &[u8],
    from: Ipv4Addr,
    to: Ipv4Addr,
    out: &mut [u8],
) -> Option<usize> {
    const INTERNETWORK_CONTROL: u8 = 0xc0; // RFC 1812 §4.3.2.5: precedence 6
    let (header, rest) = out.get_mut(..MOST_V4)?.split_first_chunk_mut::<20>()?;
    let quoted = &quoted[..quoted.len().min(rest.len() - ICMP)];
    let len = header.len() + ICMP + quoted.len();
    header::v4(header, INTERNETWORK_CONTROL, len as u16, from, to);
    let rest = &mut rest[..ICMP + quoted.len()];
    write_message(error.v4(), quoted, Sum::default(), rest);
    Some(len)
}

fn write_v6(
    error: IcmpError,
    quoted: &[u8],
    from: Ipv6Addr,
    to: Ipv6Addr,
    out: &mut [u8],
) -> Option<usize> {
    let (header, rest) = out.get_mut(..MOST_V6)?.split_first_chunk_mut::<40>()?;
    let quoted = &quoted[..quoted.len().min(rest.len() - ICMP)];
    let payload = ICMP + quoted.len();
    header::v6(header, payload as u16, from, to);
    let sum = Sum::pseudo_header(from.into(), to.into(), protocol::ICMPV6, payload as u16);
    write_message(error.v6(), quoted, sum, &mut rest[..payload]);
    Some(header.len() + payload)
}

fn write_message(
    (kind, code, last): (u8, u8, u32),
    quoted: &[u8],
    pseudo_header: Sum,
    out: &mut [u8],
) {
    out[..4].copy_from_slice(&[kind, code, 0, 0]);
    out[4..8].copy_from_slice(&last.to_be_bytes());
    out[8..].copy_from_slice(quoted);
    let checksum = pseudo_header.bytes(out).checksum();
    out[2..4].copy_from_slice(&checksum);
}
