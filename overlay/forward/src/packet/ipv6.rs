//! The IPv6 header (RFC 8200 §3) and the chain of extension headers behind it (§4).

use std::net::Ipv6Addr;

use super::header::{Fragment, Malformed, Packet, word};

/// Length of the fixed header.
const HEADER: usize = 40;
/// Extension headers whose length is in their second byte: options for each hop and for the destination, routing,
/// mobility, HIP and Shim6 (IANA, "IPv6 Extension Header Types").
const WITH_LENGTH: [u8; 6] = [0, 43, 60, 135, 139, 140];
/// The authentication header counts its length in other units (RFC 4302 §2.2).
const AUTHENTICATION: u8 = 51;
/// The fragment header has eight bytes (RFC 8200 §4.5).
const FRAGMENT: u8 = 44;
/// More headers than any sender has a use for. A longer chain is an attack on the reader.
const MOST_HEADERS: usize = 8;

pub(super) fn parse(bytes: &[u8]) -> Result<Packet, Malformed> {
    if bytes.len() < HEADER {
        return Err(Malformed::HeaderCutOff);
    }
    let len = HEADER + usize::from(word(bytes, 4));
    // A payload of zero with a jumbo option (RFC 2675) is no case: the device takes none above 65,535 bytes.
    let total = u16::try_from(len).map_err(|_| Malformed::Length)?;
    if len > bytes.len() {
        return Err(Malformed::Length);
    }
    let chain = walk(&bytes[..len], bytes[6])?;
    Ok(Packet {
        source: address(bytes, 8),
        destination: address(bytes, 24),
        len: total,
        header_len: chain.end as u16,
        protocol: chain.protocol,
        hop_limit: bytes[7],
        dont_fragment: true,
        fragment: chain.fragment,
    })
}

/// Where the extension headers end, and what follows.
struct Chain {
    end: usize,
    protocol: u8,
    fragment: Fragment,
}

fn walk(packet: &[u8], first: u8) -> Result<Chain, Malformed> {
    let mut chain = Chain {
        end: HEADER,
        protocol: first,
        fragment: Fragment::No,
    };
    for _ in 0..=MOST_HEADERS {
        let rest = &packet[chain.end..];
        let extension = match chain.protocol {
            FRAGMENT => 8,
            kind if WITH_LENGTH.contains(&kind) => (length_byte(rest)? + 1) * 8,
            AUTHENTICATION => (length_byte(rest)? + 2) * 4,
            _ => return Ok(chain),
        };
        if rest.len() < extension {
            return Err(Malformed::ExtensionHeaders);
        }
        if chain.protocol == FRAGMENT {
            chain.fragment = fragment(word(rest, 2), rest.len() - extension)?;
        }
        chain.protocol = rest[0];
        chain.end += extension;
        if chain.fragment == Fragment::Later {
            return Ok(chain); // What follows is the middle of something.
        }
    }
    Err(Malformed::ExtensionHeaders)
}

fn length_byte(header: &[u8]) -> Result<usize, Malformed> {
    let byte = header.get(1).ok_or(Malformed::ExtensionHeaders)?;
    Ok(usize::from(*byte))
}

/// The word of offset, two reserved bits and "more fragments". A whole packet may have the header too (RFC 6946); it
/// is treated as the first fragment, since what reads on must not mistake it for one without.
fn fragment(word: u16, payload: usize) -> Result<Fragment, Malformed> {
    let offset = usize::from(word & 0xfff8);
    let more = word & 1 != 0;
    if (more && !payload.is_multiple_of(8)) || offset + payload > usize::from(u16::MAX) {
        return Err(Malformed::Fragment);
    }
    Ok(if offset == 0 {
        Fragment::First
    } else {
        Fragment::Later
    })
}

fn address(bytes: &[u8], at: usize) -> std::net::IpAddr {
    let octets = bytes[at..at + 16].try_into().unwrap_or([0; 16]);
    Ipv6Addr::from(octets).into()
}
