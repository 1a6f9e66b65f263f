//! Which packets may become one: as the kernel's `inet_gro_receive`, `tcp_gro_receive` and `udp_gro_receive` have it,
//! and stricter where the virtio-net header cannot say what would be lost.

use tweed_model::Family;

use crate::checksum::Sum;
use crate::packet::{Packet, protocol, word};
use crate::segment::{Kind, Segment, pseudo_header};
use crate::virtio::{Checksum, Offload, Super};

/// TCP's flags ACK and PSH.
const ACK: u8 = 0x10;
const PSH: u8 = 0x08;
/// "Don't fragment", in the first byte of an IPv4 packet's flags.
const DONT_FRAGMENT: u8 = 0x40;

/// A packet as joining sees it.
pub(super) enum Form {
    /// A TCP segment or UDP datagram.
    Member(Member),
    /// Of no flow that is joined.
    Other,
    /// Of a flow that cannot be named, such as a fragment: nothing may be moved past it.
    Unknown,
}

/// A TCP segment or UDP datagram in the buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    packet: Packet,
    segment: Segment,
    /// Where its packet begins in the buffer.
    at: usize,
    /// Whether anything about it lets it join or be joined at all.
    joins: bool,
    /// Whether TCP's PSH is set, which ends a super-packet.
    pub(super) push: bool,
}

impl Form {
    pub(super) fn of(packet: &Packet, buffer: &[u8], at: usize) -> Self {
        let bytes = &buffer[at..at + usize::from(packet.len)];
        let Some(segment) = Segment::of(packet, bytes) else {
            let joined = [protocol::TCP, protocol::UDP].contains(&packet.protocol);
            return if joined { Self::Unknown } else { Self::Other };
        };
        let flags = match segment.kind {
            Kind::Tcp => bytes[segment.start + 13],
            Kind::Udp => ACK,
        };
        let reserved = segment.kind == Kind::Tcp && bytes[segment.start + 12] & 0x0f != 0;
        let joins = has_plain_header(packet)
            && segment.payload_len() > 0
            && flags & !PSH == ACK
            && !reserved
            && segment.has_valid_checksum(packet, bytes);
        Self::Member(Member {
            packet: *packet,
            segment,
            at,
            joins,
            push: flags & PSH != 0,
        })
    }
}

/// Neither options nor extension headers.
fn has_plain_header(packet: &Packet) -> bool {
    let plain = match packet.family() {
        Family::V4 => 20,
        Family::V6 => 40,
    };
    packet.header_len == plain
}

impl Member {
    pub(super) fn kind(&self) -> Kind {
        self.segment.kind
    }

    /// Length of all headers in bytes.
    pub(super) fn headers(&self) -> usize {
        self.segment.payload
    }

    pub(super) fn payload_len(&self) -> usize {
        self.segment.payload_len()
    }

    /// Where its payload begins in the buffer.
    pub(super) fn payload_at(&self) -> usize {
        self.at + self.headers()
    }

    /// Whether another may follow it.
    pub(super) fn is_open(&self) -> bool {
        self.joins && !self.push
    }

    /// A number that packets of one flow and direction share.
    pub(super) fn hash(&self, buffer: &[u8], seed: u64) -> u64 {
        // An odd constant with its bits all over: the golden ratio, as in Fibonacci hashing.
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut hash = seed ^ u64::from(self.packet.protocol);
        for part in self.flow(buffer) {
            for word in part.as_chunks::<4>().0 {
                let mixed = (hash ^ u64::from(u32::from_ne_bytes(*word))).wrapping_mul(SPREAD);
                hash = mixed ^ (mixed >> 29);
            }
        }
        hash
    }

    /// Whether both are of one flow and direction.
    pub(super) fn is_same_flow(&self, other: &Self, buffer: &[u8]) -> bool {
        self.segment.kind == other.segment.kind
            && self.packet.family() == other.packet.family()
            && self.flow(buffer) == other.flow(buffer)
    }

    /// Whether `next` continues a super-packet that begins with this one and has `payload` bytes from `packets`.
    pub(super) fn is_followed_by(
        &self,
        next: &Self,
        buffer: &[u8],
        payload: usize,
        packets: u16,
    ) -> bool {
        let (head, next_head) = (self.bytes(buffer), next.bytes(buffer));
        self.joins
            && next.joins
            && next.headers() == self.headers()
            && next.payload_len() <= self.payload_len()
            && self.has_same_ip_header(head, next_head, packets)
            && self.has_same_transport(head, next_head, payload)
    }

    /// All but length, checksum, and IPv4's identification, which must count on. Where nobody may fragment it has no
    /// meaning (RFC 6864 §4.1), and some senders leave it at one number.
    fn has_same_ip_header(&self, head: &[u8], next: &[u8], packets: u16) -> bool {
        match self.packet.family() {
            Family::V4 => {
                let (id, next_id) = (word(head, 4), word(next, 4));
                let fixed = head[6] & DONT_FRAGMENT != 0 && id == next_id;
                head[..2] == next[..2]
                    && head[6..10] == next[6..10]
                    && head[12..20] == next[12..20]
                    && (fixed || next_id == id.wrapping_add(packets))
            }
            Family::V6 => head[..4] == next[..4] && head[6..40] == next[6..40],
        }
    }

    /// For UDP the ports. For TCP all but sequence number, PSH and checksum; and the sequence number must be the next.
    fn has_same_transport(&self, head: &[u8], next: &[u8], payload: usize) -> bool {
        let start = self.segment.start;
        let (head, next) = (&head[start..], &next[start..]);
        match self.segment.kind {
            Kind::Udp => head[..4] == next[..4],
            Kind::Tcp => {
                let options = self.headers() - start;
                head[..4] == next[..4]
                    && sequence(next) == sequence(head).wrapping_add(payload as u32)
                    && head[8..13] == next[8..13]
                    && head[14..16] == next[14..16]
                    && head[18..options] == next[18..options]
            }
        }
    }

    /// Addresses and ports.
    fn flow<'a>(&self, buffer: &'a [u8]) -> [&'a [u8]; 2] {
        let bytes = self.bytes(buffer);
        let addresses = match self.packet.family() {
            Family::V4 => &bytes[12..20],
            Family::V6 => &bytes[8..40],
        };
        [
            addresses,
            &bytes[self.segment.start..self.segment.start + 4],
        ]
    }

    fn bytes<'a>(&self, buffer: &'a [u8]) -> &'a [u8] {
        &buffer[self.at..self.at + self.segment.end]
    }

    /// Makes its headers those of a super-packet with `payload` bytes, whose checksum is the kernel's to complete.
    pub(super) fn seal(&self, buffer: &mut [u8], payload: usize, push: bool) -> Offload {
        let start = self.segment.start;
        let headers = &mut buffer[self.at..self.at + self.segment.payload];
        let len = headers.len() + payload;
        match self.packet.family() {
            Family::V4 => {
                headers[2..4].copy_from_slice(&(len as u16).to_be_bytes());
                headers[10..12].fill(0);
                let checksum = Sum::default().bytes(&headers[..start]).checksum();
                headers[10..12].copy_from_slice(&checksum);
            }
            Family::V6 => headers[4..6].copy_from_slice(&((len - start) as u16).to_be_bytes()),
        }
        let transport = &mut headers[start..];
        match self.segment.kind {
            Kind::Tcp if push => transport[13] |= PSH,
            Kind::Tcp => {}
            Kind::Udp => transport[4..6].copy_from_slice(&((len - start) as u16).to_be_bytes()),
        }
        let offset = self.segment.kind.checksum_offset();
        let sum = pseudo_header(self.segment.kind, &self.packet, len - start).folded();
        transport[offset..offset + 2].copy_from_slice(&sum);
        Offload::Segments {
            kind: self.super_kind(),
            size: self.payload_len() as u16,
            checksum: Checksum {
                start: start as u16,
                offset: offset as u16,
            },
            header_len: self.segment.payload as u16,
        }
    }

    fn super_kind(&self) -> Super {
        match (self.segment.kind, self.packet.family()) {
            (Kind::Tcp, Family::V4) => Super::Tcp4,
            (Kind::Tcp, Family::V6) => Super::Tcp6,
            (Kind::Udp, _) => Super::Udp,
        }
    }
}

fn sequence(tcp: &[u8]) -> u32 {
    u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]])
}
