//! The header before each packet on a TUN queue opened with `IFF_VNET_HDR`: `struct virtio_net_hdr` of
//! `linux/virtio_net.h`, virtio 1.2 §5.1.6. On a TUN device its fields are in the machine's byte order, unless
//! `TUNSETVNETLE` says otherwise.

/// Its length in bytes, which is what `TUNSETVNETHDRSZ` has as its default.
pub const LEN: usize = 10;

/// `VIRTIO_NET_HDR_F_NEEDS_CSUM`.
const NEEDS_CHECKSUM: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_NONE`.
const GSO_NONE: u8 = 0;
/// `VIRTIO_NET_HDR_GSO_TCPV4`.
const GSO_TCP4: u8 = 1;
/// `VIRTIO_NET_HDR_GSO_TCPV6`.
const GSO_TCP6: u8 = 4;
/// `VIRTIO_NET_HDR_GSO_UDP_L4`.
const GSO_UDP: u8 = 5;
/// `VIRTIO_NET_HDR_GSO_ECN`: a bit beside the types of TCP. The first segment keeps CWR either way.
const GSO_ECN: u8 = 0x80;

/// What is still to be done to a packet from the kernel, or by the kernel to a packet of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// Nothing.
    None,
    /// Only the checksum.
    Checksum(Checksum),
    /// To be cut into segments whose payload is `size` bytes, the last may be shorter.
    Segments {
        /// Which segments.
        kind: Super,
        /// Payload of each in bytes; at least 1.
        size: u16,
        /// The checksum, which each of them needs.
        checksum: Checksum,
        /// Length of all headers in bytes. A hint: the kernel sets something else on packets it forwards, so nothing
        /// here reads it.
        header_len: u16,
    },
}

/// A checksum to complete: from `start` to the packet's end. Its place holds the sum of the pseudo-header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checksum {
    /// Where what it covers begins, from the packet's beginning in bytes.
    pub start: u16,
    /// Where it stands, from `start` in bytes.
    pub offset: u16,
}

/// Kinds of super-packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Super {
    /// TCP over IPv4.
    Tcp4,
    /// TCP over IPv6.
    Tcp6,
    /// UDP over either.
    Udp,
}

/// Why bytes are no such header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHeader {
    /// Fewer than ten bytes.
    #[error("the virtio-net header is cut off")]
    CutOff,
    /// A kind of super-packet that we did not ask the kernel for, or a size of zero.
    #[error("a virtio-net header asks for segmentation of an unknown kind")]
    Segmentation,
}

impl Offload {
    /// Reads the header at the beginning of `bytes`.
    ///
    /// # Errors
    /// [`BadHeader`].
    pub fn parse(bytes: &[u8]) -> Result<Self, BadHeader> {
        let header = bytes.first_chunk::<LEN>().ok_or(BadHeader::CutOff)?;
        let word = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let [flags, gso, ..] = *header;
        let checksum = Checksum {
            start: word(6),
            offset: word(8),
        };
        let kind = match gso & !GSO_ECN {
            GSO_NONE if flags & NEEDS_CHECKSUM != 0 => return Ok(Self::Checksum(checksum)),
            GSO_NONE => return Ok(Self::None),
            GSO_TCP4 => Super::Tcp4,
            GSO_TCP6 => Super::Tcp6,
            GSO_UDP => Super::Udp,
            _ => return Err(BadHeader::Segmentation),
        };
        let size = word(4);
        if size == 0 {
            return Err(BadHeader::Segmentation);
        }
        Ok(Self::Segments {
            kind,
            size,
            checksum,
            header_len: word(2),
        })
    }

    /// The header as the kernel reads it.
    pub fn encode(&self) -> [u8; LEN] {
        let (flags, gso, header_len, size, checksum) = match *self {
            Self::None => return [0; LEN],
            Self::Checksum(checksum) => (NEEDS_CHECKSUM, GSO_NONE, 0, 0, checksum),
            Self::Segments {
                kind,
                size,
                checksum,
                header_len,
            } => (NEEDS_CHECKSUM, gso_type(kind), header_len, size, checksum),
        };
        let mut header = [0; LEN];
        header[0] = flags;
        header[1] = gso;
        let words = [header_len, size, checksum.start, checksum.offset];
        for (place, word) in header[2..].as_chunks_mut::<2>().0.iter_mut().zip(words) {
            *place = word.to_ne_bytes();
        }
        header
    }
}

fn gso_type(kind: Super) -> u8 {
    match kind {
        Super::Tcp4 => GSO_TCP4,
        Super::Tcp6 => GSO_TCP6,
        Super::Udp => GSO_UDP,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused_and_what_is_read_is_written_alike(
            bytes in prop::collection::vec(any::<u8>(), 0..14),
        ) {
            if let Ok(offload) = Offload::parse(&bytes) {
                prop_assert_eq!(Offload::parse(&offload.encode()), Ok(offload));
            }
        }
    }

    /// The fields at the places that the structure gives them, on a machine with the low byte first.
    #[test]
    #[cfg(target_endian = "little")]
    fn the_fields_are_where_the_structure_has_them() {
        let bytes = [1, 1, 0x42, 0, 0xa8, 0x05, 20, 0, 16, 0];
        let checksum = Checksum {
            start: 20,
            offset: 16,
        };
        let expected = Offload::Segments {
            kind: Super::Tcp4,
            size: 1448,
            checksum,
            header_len: 66,
        };
        assert_eq!(Offload::parse(&bytes), Ok(expected));
        assert_eq!(expected.encode(), bytes);
    }

    #[test]
    fn fragmentation_offload_is_refused_since_it_is_never_asked_for() {
        assert_eq!(
            Offload::parse(&[0, 3, 0, 0, 1, 0, 0, 0, 0, 0]),
            Err(BadHeader::Segmentation)
        );
    }
}
