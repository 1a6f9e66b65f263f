//! TCP and UDP headers inside of a packet (RFC 9293 §3.1, RFC 768), as far as cutting and joining need them.

use super::checksum::Sum;
use super::packet::{Fragment, Packet, protocol, word};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Tcp,
    Udp,
}

impl Kind {
    /// Where the checksum is, from the header's beginning in bytes.
    pub(crate) fn checksum_offset(self) -> usize {
        match self {
            Self::Tcp => 16,
            Self::Udp => 6,
        }
    }

    fn protocol(self) -> u8 {
        match self {
            Self::Tcp => protocol::TCP,
            Self::Udp => protocol::UDP,
        }
    }
}

/// A whole TCP segment or UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Which of the two.
    pub kind: Kind,
    /// Where its header begins, from the packet's beginning in bytes.
    pub start: usize,
    /// Where its payload begins.
    pub payload: usize,
    /// Where it ends, which is the packet's end.
    pub end: usize,
}

impl Segment {
    /// The segment in a packet. None for fragments, for other protocols, and where the header contradicts the packet.
    pub fn of(packet: &Packet, bytes: &[u8]) -> Option<Self> {
        if packet.fragment != Fragment::No {
            return None;
        }
        let start = usize::from(packet.header_len);
        let end = usize::from(packet.len);
        let transport = bytes.get(start..end)?;
        let (kind, header_len) = match packet.protocol {
            protocol::TCP => (Kind::Tcp, tcp_header_len(transport)?),
            protocol::UDP => (Kind::Udp, udp_header_len(transport)?),
            _ => return None,
        };
        Some(Self {
            kind,
            start,
            payload: start + header_len,
            end,
        })
    }

    /// Length of the payload in bytes.
    pub(crate) fn payload_len(&self) -> usize {
        self.end - self.payload
    }

    /// Whether the checksum is right. A UDP datagram without one is not right, just unprotected.
    pub fn has_valid_checksum(&self, packet: &Packet, bytes: &[u8]) -> bool {
        let at = self.start + self.kind.checksum_offset();
        let absent = self.kind == Kind::Udp && bytes[at..at + 2] == [0, 0];
        let sum = pseudo_header(self.kind, packet, self.end - self.start);
        !absent && sum.bytes(&bytes[self.start..self.end]).is_valid()
    }
}

/// The sum of the pseudo-header for a segment of `len` bytes between the packet's addresses.
pub(super) fn pseudo_header(kind: Kind, packet: &Packet, len: usize) -> Sum {
    let len = len as u16; // a part of a packet, whose length has 16 bits
    Sum::pseudo_header(packet.source, packet.destination, kind.protocol(), len)
}

fn tcp_header_len(transport: &[u8]) -> Option<usize> {
    let len = usize::from(transport.get(12)? >> 4) * 4;
    (len >= 20 && len <= transport.len()).then_some(len)
}

/// The datagram's own length must be the packet's. In a super-packet it is that of the whole, as the kernel sets it.
fn udp_header_len(transport: &[u8]) -> Option<usize> {
    (transport.len() >= 8 && usize::from(word(transport, 4)) == transport.len()).then_some(8)
}
