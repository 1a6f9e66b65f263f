//! What the headers of a packet come to, whichever the family.

use std::net::IpAddr;

use tweed_model::Family;

use crate::checksum;

/// Why bytes are not a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Malformed {
    /// There are no bytes at all, which is what an empty keep-alive datagram carries.
    #[error("no bytes")]
    Empty,
    /// The first four bits are neither 4 nor 6.
    #[error("the version is neither 4 nor 6")]
    Version,
    /// Fewer bytes than the header takes.
    #[error("the header is cut off")]
    HeaderCutOff,
    /// An IPv4 header length below 20 bytes, or above the packet's.
    #[error("the header's length is impossible")]
    HeaderLength,
    /// A total length above the bytes that came, or below the header's.
    #[error("the packet's length is not that of its bytes")]
    Length,
    /// The IPv4 header's checksum is wrong.
    #[error("the header's checksum is wrong")]
    Checksum,
    /// A fragment that ends beyond the largest packet, or whose length cannot be continued.
    #[error("the fragment cannot be part of a packet")]
    Fragment,
    /// IPv6 extension headers that run over the end, or too many of them.
    #[error("the extension headers do not end")]
    ExtensionHeaders,
}

/// Where a packet stands among the fragments of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// It is whole.
    No,
    /// The first part: it has the transport's header.
    First,
    /// A later part.
    Later,
}

/// What the IP header of a packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Length of the packet in bytes, header included. Bytes beyond it are padding.
    pub len: u16,
    /// Length of all IP headers in bytes, options and extension headers included: where the transport begins.
    pub header_len: u16,
    /// Protocol of what follows the headers.
    pub protocol: u8,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// Whether nobody on the way may fragment it: always so with IPv6.
    pub dont_fragment: bool,
    /// Whether it is a fragment.
    pub fragment: Fragment,
}

impl Packet {
    /// The address family.
    pub fn family(&self) -> Family {
        Family::of(&self.source)
    }

    /// The packet's bytes without padding.
    pub fn trim<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[..usize::from(self.len)]
    }

    /// What follows the IP headers.
    pub fn payload<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[usize::from(self.header_len)..usize::from(self.len)]
    }

    /// Takes one from the hop limit, in the packet's bytes too, where the header's checksum follows. At zero it stays.
    pub fn decrement_hop_limit(&mut self, bytes: &mut [u8]) {
        let left = self.hop_limit.saturating_sub(1);
        match self.family() {
            Family::V4 => {
                let old = [bytes[8], bytes[9]];
                let sum = checksum::replace([bytes[10], bytes[11]], old, [left, old[1]]);
                bytes[8] = left;
                bytes[10..12].copy_from_slice(&sum);
            }
            Family::V6 => bytes[7] = left,
        }
        self.hop_limit = left;
    }
}

/// Two bytes at an offset, as a number. The caller has checked the length.
pub(crate) fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}
