//! Super-packets cut into packets of the wire's size: TSO and USO, as the kernel does it without them
//! (`tcp_gso_segment`, `__udp_gso_segment`). All but the last have one length, so that they can be sent as one message
//! with `UDP_SEGMENT`. The payload is copied once, into the caller's buffer.

#[cfg(test)]
mod tests;

use std::ops::Range;

use tweed_model::Family;

use super::checksum::Sum;
use super::packet::{Packet, word};
use super::segment::{Kind, Segment, pseudo_header};
use super::virtio::{Checksum, Super};

/// TCP's flags FIN and PSH: only the last segment keeps them.
const FIN_PSH: u8 = 0x09;
/// TCP's flag CWR (RFC 3168 §6.1.2): only the first segment keeps it.
const CWR: u8 = 0x80;

/// Packets that lie one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packets {
    /// Length of each but the last in bytes.
    pub size: usize,
    /// Bytes in all.
    pub len: usize,
}

impl Packets {
    /// Where each of them is.
    pub fn iter(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let Self { size, len } = *self;
        let starts = (0..len).step_by(size.max(1));
        starts.map(move |start| start..(start + size).min(len))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.len.div_ceil(self.size.max(1))
    }
}

/// Why a packet cannot be cut, or its checksum not be completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// It is not what its virtio-net header says.
    #[error("the packet is not what its virtio-net header says")]
    Contradiction,
    /// The result does not fit the buffer.
    #[error("the segments do not fit the buffer")]
    Room,
}

/// Completes the checksum of a packet that the kernel left open, as `skb_checksum_help` does: zero becomes its other
/// form, which UDP needs and nobody minds.
///
/// # Errors
/// [`SplitError::Contradiction`] when its place is outside of the packet's payload.
pub fn complete(packet: &Packet, bytes: &mut [u8], checksum: Checksum) -> Result<(), SplitError> {
    let start = usize::from(checksum.start);
    let at = start + usize::from(checksum.offset);
    let len = usize::from(packet.len);
    if start < usize::from(packet.header_len) || at + 2 > len {
        return Err(SplitError::Contradiction);
    }
    let sum = Sum::default().bytes(&bytes[start..len]).checksum();
    bytes[at..at + 2].copy_from_slice(&not_zero(sum));
    Ok(())
}

/// Cuts a super-packet into `out`.
///
/// # Errors
/// [`SplitError`]; `out` may then hold anything.
pub fn split(
    packet: &Packet,
    bytes: &[u8],
    kind: Super,
    size: u16,
    out: &mut [u8],
) -> Result<Packets, SplitError> {
    let segment = Segment::of(packet, bytes).ok_or(SplitError::Contradiction)?;
    if !matches(packet, &segment, kind) || segment.payload_len() == 0 || size == 0 {
        return Err(SplitError::Contradiction);
    }
    let header = &bytes[..segment.payload];
    let payload = &bytes[segment.payload..segment.end];
    let size = usize::from(size).min(payload.len());
    let packets = Packets {
        size: header.len() + size,
        len: payload.len() + header.len() * payload.len().div_ceil(size),
    };
    let out = out.get_mut(..packets.len).ok_or(SplitError::Room)?;
    let places = out.chunks_mut(packets.size);
    for (index, (place, part)) in places.zip(payload.chunks(size)).enumerate() {
        let (front, back) = place.split_at_mut(header.len());
        front.copy_from_slice(header);
        back.copy_from_slice(part);
        let last = (index + 1) * size >= payload.len();
        patch(packet, &segment, place, index, index * size, last);
    }
    Ok(packets)
}

fn matches(packet: &Packet, segment: &Segment, kind: Super) -> bool {
    match kind {
        Super::Tcp4 => segment.kind == Kind::Tcp && packet.family() == Family::V4,
        Super::Tcp6 => segment.kind == Kind::Tcp && packet.family() == Family::V6,
        Super::Udp => segment.kind == Kind::Udp,
    }
}

/// Makes the copied headers those of the segment that begins `done` bytes into the payload.
fn patch(
    packet: &Packet,
    segment: &Segment,
    place: &mut [u8],
    index: usize,
    done: usize,
    last: bool,
) {
    match packet.family() {
        Family::V4 => patch_ipv4(place, segment.start, index),
        Family::V6 => {
            let len = (place.len() - 40) as u16;
            place[4..6].copy_from_slice(&len.to_be_bytes());
        }
    }
    let transport = &mut place[segment.start..];
    match segment.kind {
        Kind::Tcp => patch_tcp(transport, index == 0, done as u32, last),
        Kind::Udp => {
            let len = transport.len() as u16;
            transport[4..6].copy_from_slice(&len.to_be_bytes());
        }
    }
    let at = segment.kind.checksum_offset();
    transport[at..at + 2].fill(0);
    let sum = pseudo_header(segment.kind, packet, transport.len()).bytes(transport);
    let checksum = match segment.kind {
        Kind::Tcp => sum.checksum(),
        Kind::Udp => not_zero(sum.checksum()),
    };
    transport[at..at + 2].copy_from_slice(&checksum);
}

/// Length, identification (one more for each, as the kernel counts) and checksum.
fn patch_ipv4(place: &mut [u8], header_len: usize, index: usize) {
    let len = place.len() as u16;
    let id = word(place, 4).wrapping_add(index as u16);
    place[2..4].copy_from_slice(&len.to_be_bytes());
    place[4..6].copy_from_slice(&id.to_be_bytes());
    place[10..12].fill(0);
    let checksum = Sum::default().bytes(&place[..header_len]).checksum();
    place[10..12].copy_from_slice(&checksum);
}

fn patch_tcp(transport: &mut [u8], first: bool, done: u32, last: bool) {
    let sequence = u32::from_be_bytes([transport[4], transport[5], transport[6], transport[7]]);
    transport[4..8].copy_from_slice(&sequence.wrapping_add(done).to_be_bytes());
    if !last {
        transport[13] &= !FIN_PSH;
    }
    if !first {
        transport[13] &= !CWR;
    }
}

/// A UDP checksum of zero would say that there is none (RFC 768).
fn not_zero(checksum: [u8; 2]) -> [u8; 2] {
    if checksum == [0, 0] {
        [0xff, 0xff]
    } else {
        checksum
    }
}
