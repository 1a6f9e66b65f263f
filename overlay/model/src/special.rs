//! Addresses that are nobody's in particular: no node can be reached at them, and no pod network may hold them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::subnet::overlap;

/// A block of such addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Special {
    /// The block.
    pub net: IpNet,
    /// What its addresses are.
    pub word: &'static str,
    /// They mean something on one link only.
    pub of_one_link: bool,
}

const fn v4(a: u8, b: u8, len: u8, word: &'static str) -> Special {
    let net = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), len));
    Special {
        net,
        word,
        of_one_link: false,
    }
}

const fn v6(first: u16, seventh: u16, last: u16, len: u8, word: &'static str) -> Special {
    let addr = match seventh {
        0 => Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, last),
        mark => Ipv6Addr::new(first, 0, 0, 0, 0, mark, 0, last),
    };
    Special {
        net: IpNet::V6(Ipv6Net::new_assert(addr, len)),
        word,
        of_one_link: false,
    }
}

const fn of_one_link(special: Special) -> Special {
    Special {
        of_one_link: true,
        ..special
    }
}

const BROADCAST: Special = Special {
    net: IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::BROADCAST, 32)),
    word: "the broadcast address",
    of_one_link: false,
};

const BLOCKS: [Special; 11] = [
    v4(0, 0, 8, "of no host"),
    v4(127, 0, 8, "loopback"),
    of_one_link(v4(169, 254, 16, "link-local")),
    v4(224, 0, 4, "multicast"),
    BROADCAST,
    v4(240, 0, 4, "reserved"),
    v6(0, 0, 0, 128, "of no host"),
    v6(0, 0, 1, 128, "loopback"),
    v6(0, 0xffff, 0, 96, "an IPv4 address in disguise"),
    of_one_link(v6(0xfe80, 0, 0, 10, "link-local")),
    v6(0xff00, 0, 0, 8, "multicast"),
];

/// The block that an address is in, if it is in one.
pub(crate) fn block_of(addr: &IpAddr) -> Option<&'static Special> {
    BLOCKS.iter().find(|block| block.net.contains(addr))
}

/// The first block that shares an address with a network.
pub(crate) fn block_within(net: &IpNet) -> Option<&'static Special> {
    BLOCKS.iter().find(|block| overlap(&block.net, net))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_host_s_is_named_and_what_can_be_one_s_is_not() {
        for (addr, word) in [
            ("0.0.0.0", "of no host"),
            ("0.1.2.3", "of no host"),
            ("127.0.0.1", "loopback"),
            ("127.255.0.9", "loopback"),
            ("169.254.169.254", "link-local"),
            ("224.0.0.1", "multicast"),
            ("239.1.2.3", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "the broadcast address"),
            ("::", "of no host"),
            ("::1", "loopback"),
            ("::ffff:10.0.0.1", "an IPv4 address in disguise"),
            ("fe80::1", "link-local"),
            ("febf::1", "link-local"),
            ("ff02::1", "multicast"),
        ] {
            let found = block_of(&addr.parse().unwrap()).map(|block| block.word);
            assert_eq!(found, Some(word), "{addr}");
        }
        for addr in [
            "1.0.0.1",
            "10.0.0.1",
            "100.64.0.1",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.0.1",
            "198.18.0.1",
            "223.255.255.255",
            "::2",
            "64:ff9b::1",
            "2001:db8::1",
            "fd00::1",
            "fec0::1",
        ] {
            assert_eq!(block_of(&addr.parse().unwrap()), None, "{addr}");
        }
    }

    #[test]
    fn a_network_around_a_block_or_inside_it_is_found() {
        let word = |net: &str| block_within(&net.parse().unwrap()).map(|block| block.word);
        assert_eq!(word("224.0.0.0/8"), Some("multicast"));
        assert_eq!(word("128.0.0.0/1"), Some("link-local"));
        assert_eq!(word("127.4.0.0/16"), Some("loopback"));
        assert_eq!(word("fe80:1::/48"), Some("link-local"));
        assert_eq!(word("::/64"), Some("of no host"));
        for net in ["10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "fc00::/7"] {
            assert_eq!(word(net), None, "{net}");
        }
    }
}
