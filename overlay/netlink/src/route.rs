//! Routes: dump, put, delete, look up.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteProtocol, RouteScope, RouteType,
    RouteVia,
};
use tweed_model::Family;

use super::addr::address_family;
use super::error::{NetlinkError, Object};
use super::route_info::{NEW_ROUTE, RouteInfo, RouteKind, route_info};
use super::{Dev, Netlink};

/// The table that ordinary routes are in.
pub const TABLE_MAIN: u32 = 254;

/// A route to put, add or delete. In a delete, what is unset matches anything.
#[derive(Clone, Debug)]
pub struct RouteSpec<'a> {
    /// Destination.
    pub dst: IpNet,
    /// Unicast or blackhole.
    pub kind: RouteKind,
    /// Gateway, of the same family.
    pub gateway: Option<IpAddr>,
    /// Interface.
    pub dev: Option<Dev<'a>>,
    /// The gateway counts as reachable though no address on the interface says so.
    pub onlink: bool,
    /// Number of the nexthop object by which it leads: then gateway, interface and `onlink` are the object's, and unset
    /// here.
    pub nexthop: Option<u32>,
    /// Metric; the family's default (0, and 1024 for IPv6) if none.
    pub metric: Option<u32>,
    /// Routing table.
    pub table: u32,
    /// Routing protocol number; 3 (boot) is what `ip route` writes.
    pub protocol: u8,
    /// Scope: 0 global, 253 link, 254 host. IPv6 ignores it.
    pub scope: u8,
    /// Preferred source address.
    pub src: Option<IpAddr>,
    /// Path MTU in bytes.
    pub mtu: Option<u32>,
    /// TCP maximum segment size to announce, bytes.
    pub advmss: Option<u32>,
}

/// Which routes to dump. The kernel does the sorting out where it can.
#[derive(Clone, Copy, Debug)]
pub struct RouteFilter {
    /// Address family.
    pub family: Family,
    /// Routing table; all if none.
    pub table: Option<u32>,
}

impl<'a> RouteSpec<'a> {
    /// A unicast route in the main table, protocol boot, nothing else set.
    pub fn to(dst: IpNet) -> Self {
        Self {
            dst,
            kind: RouteKind::Unicast,
            gateway: None,
            dev: None,
            onlink: false,
            nexthop: None,
            metric: None,
            table: TABLE_MAIN,
            protocol: 3,
            scope: 0,
            src: None,
            mtu: None,
            advmss: None,
        }
    }

    /// Through this interface.
    pub fn dev(mut self, dev: Dev<'a>) -> Self {
        self.dev = Some(dev);
        self
    }

    /// By way of this gateway.
    pub fn via(mut self, gateway: IpAddr) -> Self {
        self.gateway = Some(gateway);
        self
    }
}

impl Netlink {
    /// Routes, in the kernel's order: of several with the same destination and metric the first is the one in use.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn routes(&mut self, filter: &RouteFilter) -> Result<Vec<RouteInfo>, NetlinkError> {
        // `RTPROT_UNSPEC`: of any.
        self.routes_by(filter, 0)
    }

    /// The same of one routing protocol.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn routes_by(
        &mut self,
        filter: &RouteFilter,
        protocol: u8,
    ) -> Result<Vec<RouteInfo>, NetlinkError> {
        let mut request = RouteMessage::default();
        request.header.protocol = RouteProtocol::from(protocol);
        request.header.address_family = address_family(filter.family);
        if let Some(table) = filter.table {
            set_table(&mut request, table);
        }
        let what = format_args!("list {} routes", filter.family);
        let request = Message::GetRoute(request);
        let dump = self.dump_raw(Object::Route, what, request, NEW_ROUTE, route_info);
        let mut routes = match dump {
            // A table comes into being with its first route: before that, Linux 6.18 says that there is no such table.
            Err(error) if error.errno == libc::ENOENT => Vec::new(),
            other => other?,
        };
        // Kernels without strict checking don't filter, and one without IPv6 answers with the routes of IPv4.
        routes.retain(|route| {
            Family::of_net(&route.dst) == filter.family
                && filter.table.is_none_or(|table| table == route.table)
                && (protocol == 0 || protocol == route.protocol)
        });
        Ok(routes)
    }

    /// The route that a packet to `addr` would take; `None` if none leads there.
    ///
    /// # Errors
    /// The kernel's refusal for another reason, such as a route that prohibits.
    pub fn route_to(&mut self, addr: IpAddr) -> Result<Option<RouteInfo>, NetlinkError> {
        let mut request = RouteMessage::default();
        request.header.address_family = address_family(Family::of(&addr));
        request.header.destination_prefix_length = Family::of(&addr).bits();
        request.attributes = vec![RouteAttribute::Destination(addr.into())];
        let what = format_args!("look up the route to {addr}");
        let request = Message::GetRoute(request);
        let read = |_: &_, payload: &[u8]| Ok(route_info(payload));
        match self.transport.get_raw(Object::Route, what, request, read) {
            Ok(route) => Ok(route),
            Err(error) if error.is_not_found() || error.errno == libc::EHOSTUNREACH => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Adds a route.
    ///
    /// # Errors
    /// `EEXIST` when one with the same destination, metric and table is there.
    pub fn add_route(&mut self, route: &RouteSpec<'_>) -> Result<(), NetlinkError> {
        self.new_route(route, NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Adds a route, or replaces the first with the same destination, metric and table, whatever its protocol.
    ///
    /// # Errors
    /// `EEXIST` when exactly this route is there already, but behind another one with the same key (IPv4).
    pub fn put_route(&mut self, route: &RouteSpec<'_>) -> Result<(), NetlinkError> {
        self.new_route(route, NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Adds a route behind those with the same destination, metric and table; of IPv6 they become one with several
    /// gateways.
    ///
    /// # Errors
    /// `EEXIST` when exactly this route is there already.
    pub fn append_route(&mut self, route: &RouteSpec<'_>) -> Result<(), NetlinkError> {
        self.new_route(route, NLM_F_CREATE | NLM_F_APPEND)
    }

    /// Deletes a route.
    ///
    /// # Errors
    /// [`NetlinkError::is_not_found`] when none matches.
    pub fn del_route(&mut self, route: &RouteSpec<'_>) -> Result<(), NetlinkError> {
        let mut message = route.message();
        // IPv4 matches the scope; "nowhere" matches any.
        message.header.scope = RouteScope::NoWhere;
        let what = format_args!("delete route {route}");
        self.change(Object::Route, what, Message::DelRoute(message), 0)
    }

    fn new_route(&mut self, route: &RouteSpec<'_>, flags: u16) -> Result<(), NetlinkError> {
        let what = format_args!("add route {route}");
        self.change(
            Object::Route,
            what,
            Message::NewRoute(route.message()),
            flags,
        )
    }
}

impl RouteSpec<'_> {
    fn message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        let header = &mut message.header;
        header.address_family = address_family(Family::of_net(&self.dst));
        header.destination_prefix_length = self.dst.prefix_len();
        header.protocol = RouteProtocol::from(self.protocol);
        header.scope = RouteScope::from(self.scope);
        header.kind = self.kind.into();
        header.flags.set(RouteFlags::Onlink, self.onlink);
        set_table(&mut message, self.table);
        let dst = RouteAttribute::Destination(self.dst.network().into());
        message.attributes.push(dst);
        if let Some(gateway) = self.gateway {
            message.attributes.push(match (self.dst, gateway) {
                (IpNet::V4(_), IpAddr::V6(gateway)) => {
                    RouteAttribute::Via(RouteVia::Inet6(gateway))
                }
                _ => RouteAttribute::Gateway(gateway.into()),
            });
        }
        let metrics: Vec<RouteMetric> = self
            .mtu
            .map(RouteMetric::Mtu)
            .into_iter()
            .chain(self.advmss.map(RouteMetric::Advmss))
            .collect();
        message.attributes.extend(
            self.dev
                .map(|dev| RouteAttribute::Oif(dev.index))
                .into_iter()
                .chain(self.nexthop.map(RouteAttribute::NhId))
                .chain(self.metric.map(RouteAttribute::Priority))
                .chain(self.src.map(|src| RouteAttribute::PrefSource(src.into())))
                .chain((!metrics.is_empty()).then_some(RouteAttribute::Metrics(metrics))),
        );
        message
    }
}

/// Numbers above 255 don't fit the header; the attribute alone serves for all.
pub(super) fn set_table(message: &mut RouteMessage, table: u32) {
    message.header.table = u8::try_from(table).unwrap_or(0);
    message.attributes.push(RouteAttribute::Table(table));
}

impl From<RouteKind> for RouteType {
    fn from(kind: RouteKind) -> Self {
        match kind {
            RouteKind::Unicast => Self::Unicast,
            RouteKind::Blackhole => Self::BlackHole,
            RouteKind::Other(number) => number.into(),
        }
    }
}

impl fmt::Display for RouteSpec<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind == RouteKind::Blackhole {
            f.write_str("blackhole ")?;
        }
        write!(f, "{}", self.dst)?;
        if let Some(gateway) = self.gateway {
            write!(f, " via {gateway}")?;
        }
        if let Some(dev) = self.dev {
            write!(f, " dev {}", dev.name)?;
        }
        if let Some(id) = self.nexthop {
            write!(f, " nhid {id}")?;
        }
        if self.table != TABLE_MAIN {
            write!(f, " table {}", self.table)?;
        }
        Ok(())
    }
}
