//! Which addresses a router forwards to and from: RFC 1812 §5.3.7 and RFC 2644 for IPv4, RFC 4291 §2.4 and §2.5 for
//! IPv6, with the link-local ones of RFC 3927 §2.6.2.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// What an address is to a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One host, anywhere: the only kind that is forwarded.
    Unicast,
    /// A group.
    Multicast,
    /// All hosts of a link.
    Broadcast,
    /// Nothing that may be on the wire: unspecified, loopback, link-local, reserved, or IPv4 in disguise.
    Martian,
}

impl Scope {
    /// The scope of an address by itself.
    pub fn of(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(addr) => of_ipv4(addr),
            IpAddr::V6(addr) => of_ipv6(addr),
        }
    }
}

fn of_ipv4(addr: Ipv4Addr) -> Scope {
    match addr.octets() {
        [224..=239, ..] => Scope::Multicast,
        [255, 255, 255, 255] => Scope::Broadcast,
        [0 | 127 | 240..=255, ..] | [169, 254, ..] => Scope::Martian,
        _ => Scope::Unicast,
    }
}

fn of_ipv6(addr: Ipv6Addr) -> Scope {
    let link_local = addr.segments()[0] & 0xffc0 == 0xfe80;
    if addr.is_multicast() {
        Scope::Multicast
    } else if addr.is_unspecified()
        || addr.is_loopback()
        || link_local
        || addr.to_ipv4_mapped().is_some()
    {
        Scope::Martian
    } else {
        Scope::Unicast
    }
}

/// Whether an address means all hosts of a subnet. Subnets of one or two addresses have none such (RFC 3021), nor has
/// IPv6.
pub(crate) fn is_broadcast_of(net: &IpNet, addr: IpAddr) -> bool {
    matches!(net, IpNet::V4(net) if net.prefix_len() <= 30 && IpAddr::V4(net.broadcast()) == addr)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_single_hosts_that_can_be_anywhere_are_forwarded_to() {
        let cases = [
            ("10.42.1.2", Scope::Unicast),
            ("223.255.255.255", Scope::Unicast),
            ("224.0.0.1", Scope::Multicast),
            ("239.255.255.255", Scope::Multicast),
            ("255.255.255.255", Scope::Broadcast),
            ("240.0.0.1", Scope::Martian),
            ("0.0.0.0", Scope::Martian),
            ("127.0.0.1", Scope::Martian),
            ("169.254.169.254", Scope::Martian),
            ("fd00::1", Scope::Unicast),
            ("2001:db8::1", Scope::Unicast),
            ("ff02::1", Scope::Multicast),
            ("fe80::1", Scope::Martian),
            ("febf::1", Scope::Martian),
            ("fec0::1", Scope::Unicast),
            ("::", Scope::Martian),
            ("::1", Scope::Martian),
            ("::ffff:10.42.1.2", Scope::Martian),
        ];
        for (addr, scope) in cases {
            assert_eq!(Scope::of(addr.parse().unwrap()), scope, "{addr}");
        }
    }

    #[test]
    fn a_subnet_has_one_broadcast_address_unless_it_is_tiny() {
        let is =
            |net: &str, addr: &str| is_broadcast_of(&net.parse().unwrap(), addr.parse().unwrap());
        assert!(is("10.42.1.0/24", "10.42.1.255"));
        assert!(!is("10.42.1.0/24", "10.42.1.0"));
        assert!(!is("10.42.1.0/31", "10.42.1.1"));
        assert!(!is("fd00::/120", "fd00::ff"));
    }
}
