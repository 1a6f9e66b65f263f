//! What is right, told without the code under test: checksums a word at a time, fields by their places.

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ICMPV6: u8 = 58;

pub(crate) use tweed_forward::slow::{checksum, fix_header};

/// The checksum of a packet's transport, pseudo-header included, which begins at `start`.
pub(crate) fn transport_checksum(packet: &[u8], start: usize, protocol: u8) -> u16 {
    let transport = &packet[start..];
    let mut sum = Vec::with_capacity(transport.len() + 40);
    if protocol != ICMP {
        let v6 = packet[0] >> 4 == 6;
        sum.extend(if v6 { &packet[8..40] } else { &packet[12..20] });
        sum.extend([0, protocol]);
        sum.extend((transport.len() as u16).to_be_bytes());
    }
    sum.extend(transport);
    checksum(&sum)
}

pub(crate) fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Makes the transport's checksum right, where header and checksum are at the places that a plain packet has.
pub(crate) fn fix_transport(bytes: &mut [u8]) {
    let (start, protocol) = match bytes.first().map(|first| first >> 4) {
        Some(4) if bytes.len() >= 20 => (usize::from(bytes[0] & 15) * 4, bytes[9]),
        Some(6) if bytes.len() >= 40 => (40, bytes[6]),
        _ => return,
    };
    write_transport(bytes, start, protocol);
}

/// Writes the transport's checksum, if there is room for one.
pub(crate) fn write_transport(bytes: &mut [u8], start: usize, protocol: u8) {
    let at = start
        + match protocol {
            TCP => 16,
            UDP => 6,
            ICMP | ICMPV6 => 2,
            _ => return,
        };
    if at + 2 > bytes.len() {
        return;
    }
    bytes[at..at + 2].fill(0);
    let sum = match transport_checksum(bytes, start, protocol) {
        0 if protocol == UDP => 0xffff,
        sum => sum,
    };
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}
