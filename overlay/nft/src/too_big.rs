//! ICMP errors for packets that are too big for their path. Such an error quotes the packet's beginning; here are the
//! places of what the packet filter compares.

use ipnet::IpNet;
use tweed_model::Family;

/// Places are bytes from the start of the ICMP header.
pub(super) struct TooBig {
    /// The number of ICMP.
    pub(super) protocol: u8,
    /// Type, and code where it matters.
    pub(super) kind: &'static [u8],
    /// The place of the quoted packet's protocol.
    pub(super) quoted: u8,
    /// What that is, or (true) is not. Before UDP, IPv6 may have headers more.
    pub(super) protocols: &'static [(bool, u8)],
    /// The place of the quoted packet's destination. It is the same whatever options there are.
    pub(super) destination: u8,
}

const ICMP: u8 = 8;

impl TooBig {
    /// The errors of a family about packets of UDP (RFC 1191, RFC 4443).
    pub(super) fn of(family: Family) -> Self {
        match family {
            Family::V4 => Self {
                protocol: 1,
                kind: &[3, 4],
                quoted: ICMP + 9,
                protocols: &[(false, 17)],
                destination: ICMP + 16,
            },
            Family::V6 => Self {
                protocol: 58,
                kind: &[2],
                quoted: ICMP + 6,
                protocols: &[(true, 6), (true, 58)],
                destination: ICMP + 24,
            },
        }
    }
}

/// A network as whole bytes, and their mask where the last one counts in part.
pub(super) fn whole_bytes(net: &IpNet) -> (Vec<u8>, Option<Vec<u8>>) {
    let len = usize::from(net.prefix_len().div_ceil(8));
    let cut = |addr| crate::ruleset::addr_bytes(addr)[..len].to_vec();
    let mask = !net.prefix_len().is_multiple_of(8);
    (cut(net.network()), mask.then(|| cut(net.netmask())))
}

/// The condition in nft's words.
pub(super) fn words(outside: &IpNet) -> String {
    let family = Family::of_net(outside);
    let error = TooBig::of(family);
    let mut words = match family {
        Family::V4 => "icmp type destination-unreachable icmp code frag-needed".to_owned(),
        Family::V6 => "icmpv6 type packet-too-big".to_owned(),
    };
    for (not, protocol) in error.protocols {
        let (place, not) = (8 * u32::from(error.quoted), if *not { "!= " } else { "" });
        words += &format!(" @th,{place},8 {not}{protocol:#x}");
    }
    let (network, mask) = whole_bytes(outside);
    let (place, bits) = (8 * u32::from(error.destination), 8 * network.len());
    let mask = mask.map_or_else(String::new, |mask| format!(" & {:#x}", number(&mask)));
    words + &format!(" @th,{place},{bits}{mask} != {:#x}", number(&network))
}

fn number(bytes: &[u8]) -> u128 {
    let bytes = bytes.iter();
    bytes.fold(0, |number, byte| number << 8 | u128::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_ends_within_a_byte_is_masked() {
        let words = |net: &str| words(&net.parse().unwrap());
        assert!(words("10.244.0.0/16").ends_with(" @th,192,16 != 0xaf4"));
        assert!(words("10.244.16.0/20").ends_with(" @th,192,24 & 0xfffff0 != 0xaf410"));
        assert!(words("fd00::/12").ends_with(" @th,256,16 & 0xfff0 != 0xfd00"));
    }
}
