//! The IPv4 header: RFC 791 §3.1.

use std::net::Ipv4Addr;

use super::header::{Fragment, Malformed, Packet, word};
use crate::checksum::Sum;

/// Length of a header without options.
const HEADER: usize = 20;
/// Flag "don't fragment", in the word of flags and offset.
const DONT_FRAGMENT: u16 = 0x4000;
/// Flag "more fragments".
const MORE_FRAGMENTS: u16 = 0x2000;
/// The offset, in units of eight bytes.
const OFFSET: u16 = 0x1fff;

pub(super) fn parse(bytes: &[u8]) -> Result<Packet, Malformed> {
    if bytes.len() < HEADER {
        return Err(Malformed::HeaderCutOff);
    }
    let header_len = usize::from(bytes[0] & 0x0f) * 4;
    if header_len < HEADER {
        return Err(Malformed::HeaderLength);
    }
    if bytes.len() < header_len {
        return Err(Malformed::HeaderCutOff);
    }
    let len = word(bytes, 2);
    if usize::from(len) < header_len || usize::from(len) > bytes.len() {
        return Err(Malformed::Length);
    }
    if !Sum::default().bytes(&bytes[..header_len]).is_valid() {
        return Err(Malformed::Checksum);
    }
    let flags = word(bytes, 6);
    Ok(Packet {
        source: address(bytes, 12).into(),
        destination: address(bytes, 16).into(),
        len,
        header_len: header_len as u16,
        protocol: bytes[9],
        hop_limit: bytes[8],
        dont_fragment: flags & DONT_FRAGMENT != 0,
        fragment: fragment(flags, usize::from(len) - header_len)?,
    })
}

/// All parts but the last are multiples of eight bytes long, and none ends beyond 65,535 bytes (RFC 791 §3.2; the
/// "ping of death" did).
fn fragment(flags: u16, payload: usize) -> Result<Fragment, Malformed> {
    let offset = usize::from(flags & OFFSET) * 8;
    let more = flags & MORE_FRAGMENTS != 0;
    if offset == 0 && !more {
        return Ok(Fragment::No);
    }
    if payload == 0
        || (more && !payload.is_multiple_of(8))
        || offset + payload > usize::from(u16::MAX)
    {
        return Err(Malformed::Fragment);
    }
    Ok(if offset == 0 {
        Fragment::First
    } else {
        Fragment::Later
    })
}

fn address(bytes: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3])
}
