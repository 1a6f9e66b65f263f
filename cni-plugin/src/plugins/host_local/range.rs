//! Address ranges: which addresses a network hands out. Pure; the rules and messages are those of Go's `host-local`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use serde::Deserialize;

use crate::spec::result::maybe_addr;

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
        len: u8,
        /// What the subnet should have been.
        network: IpAddr,
    },
    /// An end of the range is elsewhere.
    #[error("{key} {addr} not in network {subnet}")]
    Outside {
        /// `RangeStart` or `RangeEnd`.
        key: &'static str,
        addr: IpAddr,
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

    pub(crate) fn gateway(&self) -> IpAddr {
        self.gateway
    }

    pub(crate) fn start(&self) -> IpAddr {
        self.start
    }

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
pub(crate) mod tests;
