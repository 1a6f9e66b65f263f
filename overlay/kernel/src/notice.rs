//! What a notification of the kernel means to us: nothing, that something of ours may have changed, that the uplink
//! has. Pure, given the books.

use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::{LinkAttribute, LinkEvent, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use tweed_attach::CNI_TABLE;
use tweed_attach::live::forwarding;
use tweed_model::LinkName;
use tweed_netlink::{
    DEL_NEIGH, DEL_NEXTHOP, DEL_ROUTE, NEW_NEIGH, NEW_NEXTHOP, NEW_ROUTE, RouteInfo, TABLE_MAIN,
    addr_info, attribute, fdb_info, is_forwarding, link_info_of, neigh_info, nexthop_info,
    route_info,
};

use super::connected::route_key;
use super::event::Event;
use super::ledger::{Books, Uplink};
use super::{kinds, ownership, readings};

/// `RTM_NEWNETCONF`.
const NEW_NETCONF: u16 = 80;

/// The kinds that are read from their bytes: what a busy host tells of most, and what the library has no types for.
pub(super) const READ_RAW: [u16; 7] = [
    NEW_ROUTE,
    DEL_ROUTE,
    NEW_NEIGH,
    DEL_NEIGH,
    NEW_NEXTHOP,
    DEL_NEXTHOP,
    NEW_NETCONF,
];

/// Judges an rtnetlink notification of such a kind.
pub(super) fn judge_raw(books: &Books, kind: u16, payload: &[u8]) -> Option<Event> {
    let dirty = match kind {
        NEW_ROUTE | DEL_ROUTE => return route(books, payload, kind == NEW_ROUTE),
        NEW_NEIGH | DEL_NEIGH => neighbour(books, payload, kind == NEW_NEIGH),
        NEW_NEXTHOP | DEL_NEXTHOP => concerns_nexthops(books, payload, kind == NEW_NEXTHOP),
        NEW_NETCONF => stops_forwarding(books, payload),
        _ => false,
    };
    dirty.then_some(Event::Dirty)
}

/// Judges another one, and keeps the books' list of our interfaces up to date.
/// `echo` says that the change was asked for over our own socket.
pub(super) fn judge(books: &mut Books, echo: bool, message: Message) -> Option<Event> {
    match message {
        Message::NewLink(message) => new_link(books, echo, message),
        Message::DelLink(message) => del_link(books, &message),
        Message::NewAddress(message) => address(books, &message, true),
        Message::DelAddress(message) => address(books, &message, false),
        _ => None,
    }
}

fn new_link(books: &mut Books, echo: bool, message: LinkMessage) -> Option<Event> {
    // Bridges tell about their ports in messages of their own family, which say nothing of the device.
    if message.header.interface_family != AddressFamily::Unspec
        || books.removed_links.contains(&message.header.index)
    {
        return None;
    }
    let event = LinkAttribute::Event(LinkEvent::Features);
    let features = message.attributes.contains(&event);
    let info = link_info_of(&message)?;
    let was_uplink = is_uplink(books, info.index);
    if info.name == books.scope.uplink {
        let now = Some(Uplink::of(&info));
        let news = books.uplink != now;
        let idle = Uplink::is_idle(&info);
        let carrier = std::mem::replace(&mut books.uplink_idle, idle) != idle;
        books.uplink = now;
        return match news {
            true => Some(Event::Uplink),
            false => carrier.then_some(Event::Dirty),
        };
    }
    if was_uplink {
        // It has another name now.
        books.uplink = None;
        books.uplink_addrs.clear();
        return Some(Event::Uplink);
    }
    let underlay = kinds::underlay(&info);
    let link = readings::as_link(&info, books.name_of(underlay));
    let renamed = books
        .links
        .get(&info.index)
        .is_some_and(|name| *name != info.name);
    if ownership::owns_link(&books.scope, &info.name, &link) {
        books.links.insert(info.index, info.name.clone());
        let features = features && books.features_are_news(&info.name);
        let news = renamed || features || !books.agrees_on_link(&info.name, &link);
        return (news && !echo).then_some(Event::Dirty);
    }
    if renamed {
        books.links.remove(&info.index);
    }
    renamed.then_some(Event::Dirty)
}

fn del_link(books: &mut Books, message: &LinkMessage) -> Option<Event> {
    let index = message.header.index;
    if message.header.interface_family != AddressFamily::Unspec {
        return None;
    }
    if is_uplink(books, index) {
        books.uplink = None;
        books.uplink_addrs.clear();
        return Some(Event::Uplink);
    }
    if books.removed_links.remove(&index) {
        return None;
    }
    let name = books.links.remove(&index)?;
    books
        .noted
        .links
        .contains_key(&name)
        .then_some(Event::Dirty)
}

fn address(books: &mut Books, message: &AddressMessage, new: bool) -> Option<Event> {
    let addr = addr_info(message)?;
    if books.scope.announced.contains(&addr.net.addr()) && !is_uplink(books, addr.index) {
        return Some(Event::Uplink);
    }
    if addr.scope != 0 {
        return None;
    }
    if is_uplink(books, addr.index) {
        // A router's advertisement renews the lifetime of an address every few seconds: only the first is news.
        let news = if new {
            books.uplink_addrs.insert(addr.net)
        } else {
            books.uplink_addrs.remove(&addr.net);
            true
        };
        return news.then_some(Event::Uplink);
    }
    let Some(name) = books.links.get(&addr.index) else {
        return Some(Event::Host);
    };
    (books.has_addr(name, addr.net) != new).then_some(Event::Dirty)
}

fn is_uplink(books: &Books, index: u32) -> bool {
    books.uplink.is_some_and(|uplink| uplink.index == index)
}

fn neighbour(books: &Books, payload: &[u8], new: bool) -> bool {
    // An entry that is gone, or no longer permanent, is none.
    if is_forwarding(payload) {
        fdb_info(payload).is_some_and(|entry| {
            let link = books.links.get(&entry.index);
            let now = readings::as_fdb(&entry).filter(|_| new);
            link.is_some_and(|link| books.fdb(link, entry.mac) != now)
        })
    } else {
        neigh_info(payload).is_some_and(|entry| {
            let link = books.links.get(&entry.index);
            let now = entry.mac.filter(|_| new && entry.permanent);
            link.is_some_and(|link| books.neigh(link, entry.addr) != now)
        })
    }
}

fn route(books: &Books, payload: &[u8], new: bool) -> Option<Event> {
    let info = route_info(payload).filter(|route| route.table == TABLE_MAIN)?;
    if info.dst.prefix_len() == 0 {
        // The default route decides which interface is the uplink, and after a new address it is the last to come.
        return Some(Event::Uplink);
    }
    concerns_us(books, &info, new).then_some(Event::Dirty)
}

/// Whether a change of a nexthop object concerns us, and is no echo of our own.
fn concerns_nexthops(books: &Books, payload: &[u8], new: bool) -> bool {
    let is_own = |oif| books.links.contains_key(&oif);
    nexthop_info(payload).is_some_and(|info| {
        books
            .nexthops
            .is_news(&books.scope.table, is_own, &info, new)
    })
}

fn concerns_us(books: &Books, info: &RouteInfo, new: bool) -> bool {
    let dev = info
        .oif
        .map(|index| LinkName::from(books.name_of(index).as_str()));
    let object = books.nexthops.reference(info);
    let noted = &books.noted.routes;
    let Some((key, route)) = readings::as_route(info, dev, object) else {
        // Several next hops, or another type: it may have taken the place of ours.
        return new && info.tos == 0 && noted.contains_key(&route_key(info));
    };
    let noted = noted.get(&key);
    let same = noted == Some(&route);
    if !new {
        return same;
    }
    let own = |dev: &str| books.links.values().any(|name| name == dev);
    !same && (noted.is_some() || ownership::owns_route(&books.scope, own, &key, &route))
}

impl Books {
    /// The name of one of our interfaces or of the uplink; empty for others, which no route or device of ours uses.
    fn name_of(&self, index: u32) -> String {
        match self.links.get(&index) {
            Some(name) => name.clone(),
            None if is_uplink(self, index) => self.scope.uplink.clone(),
            None => String::new(),
        }
    }
}

/// `AF_INET` and `NFPROTO_IPV4`, `AF_INET6` and `NFPROTO_IPV6`.
const IPV4: u8 = 2;
const IPV6: u8 = 10;
/// `NETCONFA_IFINDEX` and its value for "all interfaces", `NETCONFA_FORWARDING`.
const INTERFACE: u16 = 1;
const ALL_INTERFACES: i32 = -1;
const FORWARDING: u16 = 2;

const FORWARDING_V4: &str = "net/ipv4/ip_forward";
const FORWARDING_V6: &str = "net/ipv6/conf/all/forwarding";

/// Whether a change of a sysctl is an event of the monitor. Those of most have to be looked for.
pub fn is_reported(sysctl: &str) -> bool {
    [FORWARDING_V4, FORWARDING_V6].contains(&sysctl)
}

/// Whether a change of interface settings (`RTM_NEWNETCONF`) switches off forwarding that we look after.
fn stops_forwarding(books: &Books, payload: &[u8]) -> bool {
    let (Some(family), Some(attributes)) = (payload.first(), payload.get(4..)) else {
        return false;
    };
    let key = match *family {
        IPV4 => FORWARDING_V4,
        IPV6 => FORWARDING_V6,
        _ => return false,
    };
    let number = |kind| {
        let value = attribute(attributes, kind)?.try_into().ok()?;
        Some(i32::from_ne_bytes(value))
    };
    books.scope.sysctls.contains(key)
        && number(INTERFACE) == Some(ALL_INTERFACES)
        && number(FORWARDING) == Some(0)
}

/// `NFNLGRP_NFTABLES` carries messages of subsystem 10 in the upper byte of the type.
const SUBSYSTEM_NFTABLES: u16 = 10;
/// `NFPROTO_INET`, `NFPROTO_BRIDGE`.
const INET: u8 = 1;
const BRIDGE: u8 = 7;
/// `NFT_MSG_NEWTABLE`, `NFT_MSG_DELTABLE`, `NFT_MSG_NEWCHAIN`, `NFT_MSG_DELCHAIN`, `NFT_MSG_NEWRULE`,
/// `NFT_MSG_DELRULE`.
const TABLES: [u16; 2] = [0, 2];
const CHAINS: [u16; 2] = [3, 5];
const RULES: [u16; 2] = [6, 8];
/// Attribute 1 names the table in messages about any object (`NFTA_TABLE_NAME`, `NFTA_RULE_TABLE`, …).
const TABLE: u16 = 1;
/// `NFTA_RULE_CHAIN`, `NFTA_CHAIN_NAME`.
const RULE_CHAIN: u16 = 2;
const CHAIN_NAME: u16 = 3;

/// Whether an nftables notification concerns our table, or a FORWARD chain in which accept rules of ours may stand.
pub(super) fn concerns_firewall(books: &Books, kind: u16, payload: &[u8]) -> bool {
    let (Some(family), Some(attributes)) = (payload.first(), payload.get(4..)) else {
        return false;
    };
    if kind >> 8 != SUBSYSTEM_NFTABLES {
        return false;
    }
    let Some(table) = text(attributes, TABLE) else {
        return false;
    };
    let kind = kind & 0xff;
    match *family {
        INET => table == books.scope.table.as_bytes(),
        IPV4 | IPV6 if table == b"filter" => {
            let chain = match kind {
                _ if TABLES.contains(&kind) => return true,
                _ if CHAINS.contains(&kind) => text(attributes, CHAIN_NAME),
                _ if RULES.contains(&kind) => text(attributes, RULE_CHAIN),
                _ => None,
            };
            chain == Some(b"FORWARD")
        }
        _ => false,
    }
}

/// `NFT_MSG_NEWSETELEM`.
const NEW_ELEMENT: u16 = 12;
/// `NFT_MSG_DELTABLE`, `NFT_MSG_DELRULE`.
const DEL_TABLE: u16 = 2;
const DEL_RULE: u16 = 8;

/// Whether an nftables notification says that a table may lack something of the plugins'. Most that a plugin does is to add
/// elements, which takes nothing from others.
pub(super) fn concerns_attachments(kind: u16, payload: &[u8]) -> bool {
    let (Some(family), Some(attributes)) = (payload.first(), payload.get(4..)) else {
        return false;
    };
    if kind >> 8 != SUBSYSTEM_NFTABLES {
        return false;
    }
    let (kind, table) = (kind & 0xff, text(attributes, TABLE));
    match *family {
        INET | BRIDGE => kind != NEW_ELEMENT && table == Some(CNI_TABLE.as_bytes()),
        _ if table == Some(forwarding::TABLE.as_bytes()) => match kind {
            DEL_TABLE => true,
            // kube-proxy replaces rules of chains of its own all the time.
            DEL_RULE => text(attributes, RULE_CHAIN).is_some_and(is_forwarding_chain),
            _ => false,
        },
        _ => false,
    }
}

/// Of iptables-nft's chains: where forwarding for containers begins, and those of `firewall`.
fn is_forwarding_chain(name: &[u8]) -> bool {
    name == b"FORWARD" || name.starts_with(b"CNI-")
}

fn text(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    let value = attribute(attributes, kind)?;
    Some(value.strip_suffix(&[0]).unwrap_or(value))
}
