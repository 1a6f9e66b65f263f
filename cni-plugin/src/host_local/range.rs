//! Address ranges: which addresses a network hands out. Pure; the rules and messages are those of Go's `host-local`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::Deserialize;

use crate::spec::result::maybe_addr;

/// A range as it is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct RangeConf {
    /// The network that the addresses belong to.
    pub(crate) subnet: Option<IpNet>,
    /// The first address to hand out.
    #[serde(deserialize_with = "maybe_addr")]
    pub(crate) range_start: Option<IpAddr>,
    /// The last address to hand out.
    #[serde(deserialize_with = "maybe_addr")]
    pub(crate) range_end: Option<IpAddr>,
    /// The gateway, which is never handed out.
    #[serde(deserialize_with = "maybe_addr")]
    pub(crate) gateway: Option<IpAddr>,
}

/// A valid range. Both ends are in the subnet and may be handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    subnet: IpNet,
    start: IpAddr,
    end: IpAddr,
    gateway: IpAddr,
}

/// Ranges of one family, out of which an attachment gets one address. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RangeSet {
    ranges: Vec<Range>,
}

/// Why ranges can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RangeError {
    /// No subnet.
    #[error("range without subnet")]
    NoSubnet,
    /// Fewer than two usable addresses.
    #[error("Network {0} too small to allocate from")]
    TooSmall(IpNet),
    /// Not a network address.
    #[error(
        "Network has host bits set. For a subnet mask of length {len} the network address is {network}"
    )]
    HostBits {
        /// The prefix length.
        len: u8,
        /// What the subnet should have been.
        network: IpAddr,
    },
    /// An end of the range is elsewhere.
    #[error("{key} {addr} not in network {subnet}")]
    Outside {
        /// `RangeStart` or `RangeEnd`.
        key: &'static str,
        /// The address.
        addr: IpAddr,
        /// The network.
        subnet: IpNet,
    },
    /// A set without ranges.
    #[error("empty range set")]
    Empty,
    /// IPv4 and IPv6 in one set.
    #[error("mixed address families")]
    Mixed,
    /// Two ranges share addresses.
    #[error("subnets {0} and {1} overlap")]
    Overlap(String, String),
}

impl Range {
    /// Checks a range and fills in what is not given: gateway and start are the network plus one, the end is the last
    /// address (before the broadcast address of IPv4).
    ///
    /// # Errors
    /// See [`RangeError`].
    pub(crate) fn new(conf: &RangeConf) -> Result<Self, RangeError> {
        let subnet = conf.subnet.ok_or(RangeError::NoSubnet)?;
        if subnet.prefix_len() > subnet.max_prefix_len() - 2 {
            return Err(RangeError::TooSmall(subnet));
        }
        if subnet.addr() != subnet.network() {
            return Err(RangeError::HostBits {
                len: subnet.prefix_len(),
                network: subnet.network(),
            });
        }
        let outside = |key, addr| RangeError::Outside { key, addr, subnet };
        let (first, last) = usable(&subnet);
        let start = conf.range_start.map_or(first, |addr| addr.to_canonical());
        if !subnet.contains(&start) {
            return Err(outside("RangeStart", start));
        }
        let end = conf.range_end.map_or(last, |addr| addr.to_canonical());
        if !subnet.contains(&end) || end < start {
            return Err(outside("RangeEnd", end));
        }
        let (start, end) = if subnet.addr().is_ipv4() {
            (start.max(first), end.min(last))
        } else {
            (start, end)
        };
        Ok(Self {
            subnet,
            start,
            end,
            gateway: conf
                .gateway
                .map_or_else(|| step(subnet.addr(), 1), |addr| addr.to_canonical()),
        })
    }

    /// An address of the range with the length of its subnet.
    pub(crate) fn with_prefix(&self, addr: IpAddr) -> IpNet {
        IpNet::new(addr, self.subnet.prefix_len()).expect("the address is of the subnet's family")
    }

    /// The gateway.
    pub(crate) fn gateway(&self) -> IpAddr {
        self.gateway
    }

    /// The first address.
    pub(crate) fn start(&self) -> IpAddr {
        self.start
    }

    /// The last address.
    pub(crate) fn end(&self) -> IpAddr {
        self.end
    }

    /// Whether the address is one of the range's.
    pub(crate) fn contains(&self, addr: &IpAddr) -> bool {
        addr.is_ipv4() == self.start.is_ipv4() && (self.start..=self.end).contains(addr)
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.start.is_ipv4() == other.start.is_ipv4()
            && self.start <= other.end
            && other.start <= self.end
    }
}

impl RangeSet {
    /// Checks the ranges of a set, one by one and against each other.
    ///
    /// # Errors
    /// See [`RangeError`].
    pub(crate) fn new(confs: &[RangeConf]) -> Result<Self, RangeError> {
        let ranges: Vec<Range> = confs.iter().map(Range::new).collect::<Result<_, _>>()?;
        let first = ranges.first().ok_or(RangeError::Empty)?;
        if ranges
            .iter()
            .any(|range| range.start.is_ipv4() != first.start.is_ipv4())
        {
            return Err(RangeError::Mixed);
        }
        for (index, range) in ranges.iter().enumerate() {
            if let Some(other) = ranges[..index].iter().find(|other| other.overlaps(range)) {
                return Err(RangeError::Overlap(other.to_string(), range.to_string()));
            }
        }
        Ok(Self { ranges })
    }

    /// The ranges, in the configured order.
    pub(crate) fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// Whether the set's addresses are IPv4.
    pub(crate) fn is_ipv4(&self) -> bool {
        self.ranges
            .first()
            .is_some_and(|range| range.start.is_ipv4())
    }

    /// The range that has the address.
    pub(crate) fn range_of(&self, addr: &IpAddr) -> Option<&Range> {
        self.ranges.iter().find(|range| range.contains(addr))
    }

    /// Whether any address belongs to both.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.ranges
            .iter()
            .any(|a| other.ranges.iter().any(|b| a.overlaps(b)))
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.end)
    }
}

impl fmt::Display for RangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges: Vec<String> = self.ranges.iter().map(ToString::to_string).collect();
        f.write_str(&ranges.join(","))
    }
}

/// The address `by` further on; wraps within the family.
pub(crate) fn step(addr: IpAddr, by: u32) -> IpAddr {
    match addr {
        IpAddr::V4(v4) => Ipv4Addr::from(u32::from(v4).wrapping_add(by)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6).wrapping_add(by.into())).into(),
    }
}

fn usable(subnet: &IpNet) -> (IpAddr, IpAddr) {
    let first = step(subnet.network(), 1);
    match subnet.broadcast() {
        IpAddr::V4(v4) => (first, Ipv4Addr::from(u32::from(v4).wrapping_sub(1)).into()),
        last @ IpAddr::V6(_) => (first, last),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A range in one line: `subnet`, then `start` and `end` where given.
    pub(crate) fn conf(subnet: &str, start: &str, end: &str) -> RangeConf {
        RangeConf {
            subnet: Some(subnet.parse().unwrap()),
            range_start: start.parse().ok(),
            range_end: end.parse().ok(),
            gateway: None,
        }
    }

    fn plain(subnet: &str) -> Result<Range, String> {
        Range::new(&conf(subnet, "", "")).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_given_follows_from_the_subnet() {
        for (subnet, gateway, range) in [
            ("192.0.2.0/24", "192.0.2.1", "192.0.2.1-192.0.2.254"),
            ("192.0.2.0/25", "192.0.2.1", "192.0.2.1-192.0.2.126"),
            (
                "2001:db8:1::/64",
                "2001:db8:1::1",
                "2001:db8:1::1-2001:db8:1:0:ffff:ffff:ffff:ffff",
            ),
        ] {
            let found = plain(subnet).unwrap();
            assert_eq!(found.gateway().to_string(), gateway);
            assert_eq!(found.to_string(), range);
        }
    }

    #[test]
    fn subnets_that_cannot_be_used_are_refused_with_the_words_of_the_reference() {
        let host_bits = "Network has host bits set. For a subnet mask of length";
        for (subnet, expected) in [
            (
                "192.0.2.0/31",
                "Network 192.0.2.0/31 too small to allocate from".to_owned(),
            ),
            (
                "2001:db8::/127",
                "Network 2001:db8::/127 too small to allocate from".to_owned(),
            ),
            (
                "192.0.2.12/24",
                format!("{host_bits} 24 the network address is 192.0.2.0"),
            ),
            (
                "2001:db8:1::1/64",
                format!("{host_bits} 64 the network address is 2001:db8:1::"),
            ),
        ] {
            assert_eq!(plain(subnet), Err(expected));
        }
        assert_eq!(Range::new(&RangeConf::default()), Err(RangeError::NoSubnet));
    }

    #[test]
    fn ends_outside_the_subnet_are_refused() {
        for (start, end, expected) in [
            (
                "192.0.3.0",
                "",
                "RangeStart 192.0.3.0 not in network 192.0.2.0/24",
            ),
            (
                "",
                "192.0.4.0",
                "RangeEnd 192.0.4.0 not in network 192.0.2.0/24",
            ),
            (
                "192.0.2.50",
                "192.0.2.40",
                "RangeEnd 192.0.2.40 not in network 192.0.2.0/24",
            ),
            (
                "2001:db8::1",
                "",
                "RangeStart 2001:db8::1 not in network 192.0.2.0/24",
            ),
        ] {
            let error = Range::new(&conf("192.0.2.0/24", start, end)).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn network_and_broadcast_address_are_never_in_a_range_of_ipv4() {
        let range = Range::new(&conf("192.0.2.0/24", "192.0.2.0", "192.0.2.255")).unwrap();
        assert_eq!(range.to_string(), "192.0.2.1-192.0.2.254");
    }

    #[test]
    fn membership_needs_the_family_and_both_ends() {
        let v4 = Range::new(&conf("192.0.2.0/24", "192.0.2.40", "192.0.2.50")).unwrap();
        let v6 = Range::new(&conf("2001:db8:1::/64", "2001:db8:1::40", "2001:db8:1::50")).unwrap();
        for (range, addr, inside) in [
            (v4, "192.0.2.39", false),
            (v4, "192.0.2.40", true),
            (v4, "192.0.2.50", true),
            (v4, "192.0.2.51", false),
            (v4, "2001:db8:1::45", false),
            (v6, "2001:db8:1::3f", false),
            (v6, "2001:db8:1::40", true),
            (v6, "2001:db8:1::50", true),
            (v6, "2001:db8:1::51", false),
        ] {
            assert_eq!(range.contains(&addr.parse().unwrap()), inside, "{addr}");
        }
    }

    #[test]
    fn ranges_overlap_when_they_share_an_address() {
        for (a, b, overlap) in [
            (
                conf("192.0.2.0/24", "", ""),
                conf("192.0.3.0/24", "", ""),
                false,
            ),
            (
                conf("192.0.2.0/24", "", ""),
                conf("2001:db8::/64", "", ""),
                false,
            ),
            (
                conf("192.0.2.0/24", "", ""),
                conf("192.0.2.0/24", "", ""),
                true,
            ),
            (
                conf("192.0.2.0/20", "", "").masked(),
                conf("192.0.2.0/24", "", ""),
                true,
            ),
            (
                conf("192.0.2.0/24", "192.0.2.50", "192.0.2.100"),
                conf("192.0.2.0/24", "192.0.2.101", ""),
                false,
            ),
            (
                conf("192.0.2.0/24", "192.0.2.50", "192.0.2.100"),
                conf("192.0.2.0/24", "192.0.2.100", ""),
                true,
            ),
        ] {
            let (a, b) = (Range::new(&a).unwrap(), Range::new(&b).unwrap());
            assert_eq!(a.overlaps(&b), overlap, "{a} {b}");
            assert_eq!(b.overlaps(&a), overlap, "{b} {a}");
        }
    }

    #[test]
    fn a_set_is_of_one_family_and_without_overlap() {
        let of = |confs: &[RangeConf]| RangeSet::new(confs).map_err(|error| error.to_string());
        assert_eq!(of(&[]), Err("empty range set".to_owned()));
        assert_eq!(
            of(&[conf("192.0.2.0/24", "", ""), conf("2001:db8::/64", "", "")]),
            Err("mixed address families".to_owned())
        );
        assert_eq!(
            of(&[
                conf("192.0.2.0/20", "", "").masked(),
                conf("192.0.2.0/24", "", "")
            ]),
            Err("subnets 192.0.0.1-192.0.15.254 and 192.0.2.1-192.0.2.254 overlap".to_owned())
        );
        let set = of(&[conf("10.0.0.0/29", "", ""), conf("10.0.1.0/29", "", "")]).unwrap();
        assert_eq!(set.to_string(), "10.0.0.1-10.0.0.6,10.0.1.1-10.0.1.6");
        assert!(set.range_of(&"10.0.1.3".parse().unwrap()).is_some());
        assert!(set.range_of(&"10.0.2.3".parse().unwrap()).is_none());
    }

    impl RangeConf {
        fn masked(mut self) -> Self {
            self.subnet = self.subnet.map(|net| net.trunc());
            self
        }
    }
}
