//! The packet inside a VXLAN packet, as the packet filter sees it before it is unpacked: outer and inner source stand in
//! one packet then, and the sender is forgotten behind it. The kernel that joins packets of a flow (GRO) leaves one inner
//! header, and joins none that differ in it.

use tweed_model::Family;

use super::ruleset::DataType;

/// Bytes from the start of the UDP header to the inner packet: 8 of UDP, 8 of VXLAN, 14 of Ethernet.
const PACKET: u8 = 30;
/// The last two of them.
pub(super) const ETHER_TYPE: u8 = 28;

/// Bytes from the start of the UDP header to the inner source.
pub(super) fn inner_source(family: Family) -> u8 {
    PACKET
        + match family {
            Family::V4 => 12,
            Family::V6 => 8,
        }
}

/// What the Ethernet header says of a packet.
pub(super) fn ether_type(family: Family) -> [u8; 2] {
    match family {
        Family::V4 => [0x08, 0x00],
        Family::V6 => [0x86, 0xdd],
    }
}

/// This many bits, then zeroes.
pub(super) fn prefix_mask(family: Family, bits: u8) -> Vec<u8> {
    let bytes = 0..family.bits() / 8;
    bytes
        .map(|byte| match bits.saturating_sub(8 * byte) {
            0 => 0,
            left => !(0xff_u16 >> left.min(8)) as u8,
        })
        .collect()
}

/// An inner source in nft's words.
pub(super) fn words(family: Family) -> String {
    let (start, bits) = (u32::from(inner_source(family)) * 8, family.bits());
    format!("@th,{start},{bits}")
}

/// What nft keeps beside a set of outer and inner sources, so as to know what its numbers mean (read off what nft 1.0.6
/// stores for `typeof ip saddr . @th,336,32`, and for IPv6). Without it, it can't list the set.
pub(super) fn userdata(key: &[DataType]) -> Option<&'static [u8]> {
    match key {
        [DataType::Ipv4Addr, DataType::InnerSource(Family::V4)] => Some(&TYPE_V4),
        [DataType::Ipv6Addr, DataType::InnerSource(Family::V6)] => Some(&TYPE_V6),
        _ => None,
    }
}

const TYPE_V4: [u8; 78] = type_of([0x0c, 0x0b], 0x50, 0x20);
const TYPE_V6: [u8; 78] = type_of([0x0d, 0x08], 0x30, 0x80);

/// Header and field of the outer source, and place and length of the inner one in bits.
const fn type_of([header, field]: [u8; 2], low: u8, len: u8) -> [u8; 78] {
    [
        0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x03, 0x46, 0x00, 0x04, 0x0d, 0x00, 0x00, 0x00, 0x01,
        0x3e, 0x00, 0x14, 0x00, 0x04, 0x07, 0x00, 0x00, 0x00, 0x01, 0x0c, 0x00, 0x04, header, 0x00,
        0x00, 0x00, 0x01, 0x04, field, 0x00, 0x00, 0x00, 0x01, 0x26, 0x00, 0x04, 0x07, 0x00, 0x00,
        0x00, 0x01, 0x1e, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x01, 0x04, 0x00, 0x00, 0x00, 0x00,
        0x02, 0x04, 0x03, 0x00, 0x00, 0x00, 0x03, 0x04, low, 0x01, 0x00, 0x00, 0x04, 0x04, len,
        0x00, 0x00, 0x00,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_of_every_length_keep_their_bits() {
        assert_eq!(prefix_mask(Family::V4, 0), [0; 4]);
        assert_eq!(prefix_mask(Family::V4, 20), [255, 255, 240, 0]);
        assert_eq!(prefix_mask(Family::V4, 32), [255; 4]);
        let v6 = prefix_mask(Family::V6, 65);
        assert_eq!(v6[..10], [255, 255, 255, 255, 255, 255, 255, 255, 128, 0]);
    }

    #[test]
    fn places_are_those_of_the_headers() {
        assert_eq!(words(Family::V4), "@th,336,32");
        assert_eq!(words(Family::V6), "@th,304,128");
    }
}
