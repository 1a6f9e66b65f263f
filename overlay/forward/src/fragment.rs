//! IPv4 packets cut into fragments (RFC 791 §3.2), where the path to a peer is narrower than the device and the sender
//! allows it.

#[cfg(test)]
mod tests;

use tweed_model::Family;

use super::checksum::Sum;
use super::packet::{Packet, word};
use super::split::Packets;

/// Flag "more fragments", in the word of flags and offset.
const MORE: u16 = 0x2000;
/// The offset, in units of eight bytes.
const OFFSET: u16 = 0x1fff;

/// Why a packet is not fragmented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FragmentError {
    /// IPv6, or an IPv4 packet that says "don't fragment".
    #[error("only its sender may fragment the packet")]
    Forbidden,
    /// The MTU has no room for a header and eight bytes.
    #[error("the MTU has no room for a fragment")]
    Mtu,
    /// The result does not fit the buffer.
    #[error("the fragments do not fit the buffer")]
    Room,
}

/// Cuts a packet into `out`, as fragments of at most `mtu` bytes; one that fits stays as it is. A fragment may be cut
/// further. The transport's checksum must be complete, since nobody can complete it in the fragments.
///
/// # Errors
/// [`FragmentError`]; `out` may then hold anything.
pub fn fragment(
    packet: &Packet,
    bytes: &[u8],
    mtu: u16,
    out: &mut [u8],
) -> Result<Packets, FragmentError> {
    if packet.family() == Family::V6 || packet.dont_fragment {
        return Err(FragmentError::Forbidden);
    }
    let header = &bytes[..usize::from(packet.header_len)];
    let payload = packet.payload(bytes);
    let whole = payload.len().next_multiple_of(8).max(8);
    let part = if packet.len <= mtu {
        whole
    } else {
        usize::from(mtu).saturating_sub(header.len()) & !7
    };
    if part == 0 {
        return Err(FragmentError::Mtu);
    }
    let count = payload.len().div_ceil(part).max(1);
    let packets = Packets {
        size: header.len() + part,
        len: payload.len() + header.len() * count,
    };
    let out = out.get_mut(..packets.len).ok_or(FragmentError::Room)?;
    for (index, place) in out.chunks_mut(packets.size).enumerate() {
        let begin = index * part;
        let (front, back) = place.split_at_mut(header.len());
        front.copy_from_slice(header);
        back.copy_from_slice(&payload[begin..begin + back.len()]);
        patch(front, back.len(), begin, index + 1 == count);
    }
    Ok(packets)
}

fn patch(header: &mut [u8], payload: usize, begin: usize, last: bool) {
    let len = (header.len() + payload) as u16;
    header[2..4].copy_from_slice(&len.to_be_bytes());
    let old = word(header, 6);
    let more = if last { old & MORE } else { MORE };
    // A packet of at most 65,535 bytes: the sum of both offsets has 13 bits.
    let flags = (old & !(MORE | OFFSET)) | more | ((old & OFFSET) + (begin / 8) as u16);
    header[6..8].copy_from_slice(&flags.to_be_bytes());
    if begin > 0 {
        keep_copied_options(&mut header[20..]);
    }
    header[10..12].fill(0);
    let checksum = Sum::default().bytes(header).checksum();
    header[10..12].copy_from_slice(&checksum);
}

/// Later fragments keep the options whose first bit says "copied" (RFC 791 §3.1). The others become "no operation", as
/// in Linux, so that all headers have one length.
fn keep_copied_options(options: &mut [u8]) {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const COPIED: u8 = 0x80;
    let mut at = 0;
    while at < options.len() {
        let kind = options[at];
        let len = match kind {
            END => return,
            NO_OPERATION => 1,
            _ => options.get(at + 1).map_or(0, |len| usize::from(*len)),
        };
        if len == 0 || (len == 1 && kind != NO_OPERATION) || at + len > options.len() {
            return options[at..].fill(NO_OPERATION); // Not readable: nobody after us is misled by it.
        }
        if kind & COPIED == 0 {
            options[at..at + len].fill(NO_OPERATION);
        }
        at += len;
    }
}
