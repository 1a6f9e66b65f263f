//! Routes as the kernel tells of them. A large cluster's come by the ten thousand: they are read from the bytes.

use std::net::IpAddr;

use ipnet::IpNet;

use super::attributes::{attributes, ip_addr, number};

/// `RTM_NEWROUTE`, `RTM_DELROUTE`.
pub const NEW_ROUTE: u16 = 24;
pub const DEL_ROUTE: u16 = 25;
/// `struct rtmsg`: family, lengths of destination and source, type of service, table, protocol, scope, type, flags.
const HEADER: usize = 12;
/// `AF_INET`, `AF_INET6`.
const IPV4: u8 = 2;
const IPV6: u8 = 10;
/// `RTN_UNICAST`, `RTN_BLACKHOLE`; `RTNH_F_ONLINK`.
const UNICAST: u8 = 1;
const BLACKHOLE: u8 = 6;
const ONLINK: u32 = 4;
/// `RTA_DST` and the further attributes that matter.
const DESTINATION: u16 = 1;
const INTERFACE: u16 = 4;
const GATEWAY: u16 = 5;
const PRIORITY: u16 = 6;
const SOURCE: u16 = 7;
const MULTIPATH: u16 = 9;
const TABLE: u16 = 15;
const VIA: u16 = 18;
const NEXTHOP: u16 = 30;

/// What a route does with packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// Sends them on.
    Unicast,
    /// Drops them silently.
    Blackhole,
    /// Anything else: the kernel's number.
    Other(u8),
}

/// A route that the kernel has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteInfo {
    /// Destination.
    pub dst: IpNet,
    /// What it does.
    pub kind: RouteKind,
    /// Gateway. IPv4 routes may have an IPv6 one.
    pub gateway: Option<IpAddr>,
    /// Index of the interface.
    pub oif: Option<u32>,
    /// The gateway counts as reachable.
    pub onlink: bool,
    /// Number of the nexthop object by which it leads. With `net.ipv4.nexthop_compat_mode=0` the kernel says nothing of
    /// gateway and interface then.
    pub nexthop: Option<u32>,
    /// Priority; the lowest goes first.
    pub metric: u32,
    /// Routing table.
    pub table: u32,
    /// Routing protocol number.
    pub protocol: u8,
    /// `RT_SCOPE_…`, as the kernel has it.
    pub scope: u8,
    /// Type of service; such a route only serves packets that have it.
    pub tos: u8,
    /// Preferred source address.
    pub src: Option<IpAddr>,
    /// More than one next hop (`gateway` and `oif` are unset then).
    pub multipath: bool,
    /// The interfaces of those next hops.
    pub hops: Vec<u32>,
}

/// Reads the payload of a route message: an answer, or a notification. `None` for other families than IPv4 and IPv6.
pub fn route_info(payload: &[u8]) -> Option<RouteInfo> {
    let (header, rest) = payload.split_at_checked(HEADER)?;
    let [family, length, _, tos, table, protocol, scope, kind] = *header.first_chunk()?;
    let mut dst: IpAddr = match family {
        IPV4 => [0; 4].into(),
        IPV6 => [0; 16].into(),
        _ => return None,
    };
    let mut info = RouteInfo {
        dst: IpNet::from(dst),
        kind: match kind {
            UNICAST => RouteKind::Unicast,
            BLACKHOLE => RouteKind::Blackhole,
            other => RouteKind::Other(other),
        },
        gateway: None,
        oif: None,
        onlink: number(&header[8..])? & ONLINK != 0,
        nexthop: None,
        metric: 0,
        table: table.into(),
        protocol,
        scope,
        tos,
        src: None,
        multipath: false,
        hops: Vec::new(),
    };
    for (kind, value) in attributes(rest) {
        match kind {
            DESTINATION => dst = ip_addr(value)?,
            GATEWAY => info.gateway = ip_addr(value),
            VIA => info.gateway = via(value).or(info.gateway),
            INTERFACE => info.oif = number(value),
            NEXTHOP => info.nexthop = number(value),
            PRIORITY => info.metric = number(value)?,
            TABLE => info.table = number(value)?,
            SOURCE => info.src = ip_addr(value),
            MULTIPATH => {
                info.multipath = true;
                info.hops = hops(value);
            }
            _ => {}
        }
    }
    info.dst = IpNet::new(dst, length).ok()?;
    Some(info)
}

/// A gateway of another family than the route, which stands before the address.
fn via(value: &[u8]) -> Option<IpAddr> {
    let (family, addr) = value.split_first_chunk()?;
    let family = u16::from_ne_bytes(*family) & 0xff;
    [IPV4, IPV6]
        .map(u16::from)
        .contains(&family)
        .then(|| ip_addr(addr))?
}

/// The interfaces of a list of `struct rtnexthop`: length, flags, a count, the interface, then attributes.
fn hops(mut list: &[u8]) -> Vec<u32> {
    let mut hops = Vec::new();
    while let Some([a, b, _, _, index @ ..]) = list.first_chunk::<8>() {
        hops.push(u32::from_ne_bytes(*index));
        let length = usize::from(u16::from_ne_bytes([*a, *b])).max(8);
        list = list.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    hops
}
