//! Rules that say which table routes a packet, and routes that are taken whole from one table to another.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::route::RouteMessage;
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use rtnetlink::LinkVrf;
use tweed_model::Family;

use super::Netlink;
use super::addr::address_family;
use super::attributes::{attributes, number};
use super::error::{NetlinkError, Object};
use super::raw::Raw;
use super::route::{RouteFilter, RouteSpec, set_table};
use super::route_info::{DEL_ROUTE, NEW_ROUTE, RouteInfo, RouteKind, route_info};

/// `RTM_NEWRULE`.
const NEW_RULE: u16 = 32;

/// A rule that looks at the source, or at anything else: then `source` is unset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceRule {
    pub family: Family,
    /// Where the packets come from that it is for.
    pub source: Option<IpNet>,
    /// The table that routes them; none of a rule that does something else.
    pub table: Option<u32>,
    /// The lowest goes first; the kernel's choice if none.
    pub priority: Option<u32>,
}

/// A route with all that the kernel says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WholeRoute {
    pub info: RouteInfo,
    /// The message as the kernel sent it, a whole `struct rtmsg` at least.
    payload: Vec<u8>,
}

impl SourceRule {
    /// A rule by which a table routes what comes from an address.
    pub fn of(source: IpAddr, table: u32) -> Self {
        Self {
            family: Family::of(&source),
            source: Some(source.into()),
            table: Some(table),
            priority: None,
        }
    }

    fn message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = address_family(self.family);
        message.header.action = RuleAction::ToTable;
        if let Some(source) = self.source {
            message.header.src_len = source.prefix_len();
            message
                .attributes
                .push(RuleAttribute::Source(source.addr()));
        }
        if let Some(table) = self.table {
            message.header.table = u8::try_from(table).unwrap_or(0);
            message.attributes.push(RuleAttribute::Table(table));
        }
        let priority = self.priority.map(RuleAttribute::Priority);
        message.attributes.extend(priority);
        message
    }

    fn read(family: Family, message: &RuleMessage) -> Option<Self> {
        if message.header.family != address_family(family) {
            return None;
        }
        let (mut source, mut table, mut priority) = (None, message.header.table.into(), 0);
        for attribute in &message.attributes {
            match attribute {
                RuleAttribute::Source(addr) => {
                    source = IpNet::new(*addr, message.header.src_len).ok();
                }
                RuleAttribute::Table(number) => table = *number,
                RuleAttribute::Priority(number) => priority = *number,
                _ => {}
            }
        }
        let routes = message.header.action == RuleAction::ToTable;
        Some(Self {
            family,
            source,
            table: routes.then_some(table),
            priority: Some(priority),
        })
    }
}

impl Netlink {
    /// All rules of a family, in no order.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn rules(&mut self, family: Family) -> Result<Vec<SourceRule>, NetlinkError> {
        let mut request = RuleMessage::default();
        request.header.family = address_family(family);
        let what = format_args!("list {family} rules");
        let request = Message::GetRule(request);
        self.list(Object::Rule, what, request, NEW_RULE, |message| {
            SourceRule::read(family, &message)
        })
    }

    /// Adds a rule.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn add_rule(&mut self, rule: &SourceRule) -> Result<(), NetlinkError> {
        let message = Message::NewRule(rule.message());
        let flags = NLM_F_CREATE | NLM_F_EXCL;
        self.change(
            Object::Rule,
            format_args!("add rule {rule}"),
            message,
            flags,
        )
    }

    /// Deletes a rule.
    ///
    /// # Errors
    /// [`NetlinkError::is_not_found`] when there is none like it.
    pub fn del_rule(&mut self, rule: &SourceRule) -> Result<(), NetlinkError> {
        let message = Message::DelRule(rule.message());
        self.change(Object::Rule, format_args!("delete rule {rule}"), message, 0)
    }

    /// Creates a VRF, up: what comes in by its ports, and what sockets bound to it send, is routed by its table.
    ///
    /// # Errors
    /// `EEXIST` when the name is taken.
    pub fn add_vrf(&mut self, name: &str, table: u32) -> Result<(), NetlinkError> {
        let device = LinkVrf::new(name, table).up();
        self.add_link(format_args!("add VRF {name}"), device.build())
    }

    /// Routes with all that the kernel says of them.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn whole_routes(&mut self, filter: &RouteFilter) -> Result<Vec<WholeRoute>, NetlinkError> {
        let mut request = RouteMessage::default();
        request.header.address_family = address_family(filter.family);
        if let Some(table) = filter.table {
            set_table(&mut request, table);
        }
        let what = format_args!("list {} routes", filter.family);
        let request = Message::GetRoute(request);
        let dump = self.dump_raw(Object::Route, what, request, NEW_ROUTE, WholeRoute::read);
        let mut routes = match dump {
            // A table comes into being with its first route: before that, Linux 6.18 says that there is no such table.
            Err(error) if error.errno == libc::ENOENT => Vec::new(),
            other => other?,
        };
        // Kernels without strict checking don't filter, and one without IPv6 answers with the routes of IPv4.
        routes.retain(|route: &WholeRoute| {
            let RouteInfo { dst, table, .. } = &route.info;
            Family::of_net(dst) == filter.family
                && filter.table.is_none_or(|wanted| wanted == *table)
        });
        Ok(routes)
    }

    /// Puts a route into a table, in place of the one with the same destination and metric.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn put_in_table(&mut self, route: &WholeRoute, table: u32) -> Result<(), NetlinkError> {
        self.new_in_table(route, table, NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Adds a route to a table.
    ///
    /// # Errors
    /// `EEXIST` when one with the same destination and metric is there.
    pub fn add_to_table(&mut self, route: &WholeRoute, table: u32) -> Result<(), NetlinkError> {
        self.new_in_table(route, table, NLM_F_CREATE | NLM_F_EXCL)
    }

    fn new_in_table(
        &mut self,
        route: &WholeRoute,
        table: u32,
        flags: u16,
    ) -> Result<(), NetlinkError> {
        let what = format_args!("put route {route} into table {table}");
        let message = route.in_table(table);
        self.transport.change(Object::Route, what, message, flags)
    }

    /// Deletes exactly this route.
    ///
    /// # Errors
    /// [`NetlinkError::is_not_found`] when it is gone.
    pub fn del_whole_route(&mut self, route: &WholeRoute) -> Result<(), NetlinkError> {
        let what = format_args!("delete route {route} of table {}", route.info.table);
        let message = Raw::of(DEL_ROUTE, &route.payload);
        self.transport.change(Object::Route, what, message, 0)
    }
}

impl WholeRoute {
    fn read(payload: &[u8]) -> Option<Self> {
        Some(Self {
            info: route_info(payload)?,
            payload: payload.to_vec(),
        })
    }

    /// The request for the same route in a table.
    fn in_table(&self, table: u32) -> Raw {
        /// `struct rtmsg`, with the table's number as a byte, and flags at the end; `RTNH_F_ONLINK`.
        const HEADER: usize = 12;
        const TABLE_BYTE: usize = 4;
        const FLAGS: usize = 8;
        const ONLINK: u32 = 4;
        /// `RTA_CACHEINFO`, `RTA_TABLE`.
        const CACHE_INFO: u16 = 12;
        const TABLE: u16 = 15;
        let (header, rest) = self.payload.split_at(HEADER.min(self.payload.len()));
        let mut header = header.to_vec();
        header[TABLE_BYTE] = u8::try_from(table).unwrap_or(0);
        // What the kernel has found out, such as that the link is down, can't be asked for.
        let flags = number(&header[FLAGS..]).unwrap_or(0) & ONLINK;
        header[FLAGS..].copy_from_slice(&flags.to_ne_bytes());
        let mut request = Raw::of(NEW_ROUTE, &header);
        for (kind, value) in attributes(rest) {
            if !matches!(kind, CACHE_INFO | TABLE) {
                request.put(kind, value);
            }
        }
        request.put(TABLE, &table.to_ne_bytes());
        request
    }
}

impl fmt::Display for SourceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = self.source {
            write!(f, "from {source} ")?;
        }
        match self.table {
            Some(table) => write!(f, "lookup {table}"),
            None => f.write_str("of another kind"),
        }
    }
}

impl fmt::Display for WholeRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RouteInfo { dst, gateway, .. } = &self.info;
        let spec = RouteSpec {
            gateway: *gateway,
            kind: RouteKind::Unicast,
            ..RouteSpec::to(*dst)
        };
        spec.fmt(f)
    }
}
