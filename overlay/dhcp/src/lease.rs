//! What a server's answer gives: address, times, routes, name servers. All of it is checked: the answer may be anybody's on
//! the link. Pure.

use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::message::{Message, code};

/// Time since the host's boot.
pub type Time = Duration;

/// A lease without end.
const FOREVER: u32 = u32::MAX;
/// The shortest lease that is taken, in seconds. A shorter one would be renewed without a pause.
const SHORTEST: u32 = 4;

/// An address for some time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// The address, with the length of its subnet.
    pub address: Ipv4Net,
    /// The server that gave it.
    pub server: Ipv4Addr,
    /// The first router of option 3.
    pub gateway: Option<Ipv4Addr>,
    pub routes: Vec<Route>,
    pub name_servers: Vec<Ipv4Addr>,
    /// Empty if there is none.
    pub domain: String,
    /// When it was asked for.
    pub since: Time,
    /// Seconds from then until it is renewed (T1), rebound (T2), and over.
    pub renew: u32,
    pub rebind: u32,
    pub expire: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub dst: Ipv4Net,
    /// None: it is on the link.
    pub gateway: Option<Ipv4Addr>,
}

/// Why an answer is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("it names no server (option 54)")]
    NoServer,
    #[error("{0} can be no host's address")]
    Address(Ipv4Addr),
    #[error("it has no subnet mask (option 1)")]
    NoMask,
    #[error("{0} is no subnet mask")]
    Mask(Ipv4Addr),
    #[error("it has no lease time (option 51)")]
    NoTime,
    #[error("a lease of {0} s is shorter than {SHORTEST} s")]
    Short(u32),
}

impl Lease {
    /// Reads an OFFER or ACK that was asked for at that time.
    ///
    /// # Errors
    /// When what every lease needs is missing or can't be. What it could do without is left out then.
    pub fn read(message: &Message, since: Time) -> Result<Self, Unusable> {
        let expire = message.number(code::LEASE_TIME).ok_or(Unusable::NoTime)?;
        if expire < SHORTEST {
            return Err(Unusable::Short(expire));
        }
        let (renew, rebind) = times(message, expire);
        let gateway = addresses(message, code::ROUTER).into_iter().next();
        Ok(Self {
            address: address(message)?,
            server: message.address(code::SERVER).ok_or(Unusable::NoServer)?,
            gateway,
            routes: routes(message, gateway),
            name_servers: addresses(message, code::NAME_SERVER),
            domain: domain(message),
            since,
            renew,
            rebind,
            expire,
        })
    }

    /// When it is to be renewed; `None` for one without end.
    pub fn renewal(&self) -> Option<Time> {
        self.after(self.renew)
    }

    pub fn rebinding(&self) -> Option<Time> {
        self.after(self.rebind)
    }

    /// When the address is no longer the client's.
    pub fn end(&self) -> Option<Time> {
        self.after(self.expire)
    }

    fn after(&self, seconds: u32) -> Option<Time> {
        let end = self.since + Duration::from_secs(seconds.into());
        (self.expire != FOREVER).then_some(end)
    }
}

/// Whether an address can be one host's.
fn is_host(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    first != 0 && first < 224 && !address.is_loopback()
}

fn address(message: &Message) -> Result<Ipv4Net, Unusable> {
    let address = message.yiaddr;
    if !is_host(address) {
        return Err(Unusable::Address(address));
    }
    let mask = message.address(code::SUBNET_MASK).ok_or(Unusable::NoMask)?;
    let net = Ipv4Net::with_netmask(address, mask).map_err(|_| Unusable::Mask(mask))?;
    match net.prefix_len() {
        0 => Err(Unusable::Mask(mask)),
        ..=30 if address == net.network() || address == net.broadcast() => {
            Err(Unusable::Address(address))
        }
        _ => Ok(net),
    }
}

/// T1 and T2, in the order in which they must be: by default half and seven eighths of the whole.
fn times(message: &Message, expire: u32) -> (u32, u32) {
    let part = |eighths: u64| u32::try_from(u64::from(expire) * eighths / 8).unwrap_or(expire);
    let rebind = message.number(code::REBINDING_TIME);
    let rebind = rebind.filter(|time| (2..expire).contains(time));
    let rebind = rebind.unwrap_or_else(|| part(7));
    let renew = message.number(code::RENEWAL_TIME);
    let renew = renew.filter(|time| (1..rebind).contains(time));
    (renew.unwrap_or_else(|| part(4).min(rebind)), rebind)
}

fn addresses(message: &Message, code: u8) -> Vec<Ipv4Addr> {
    let value = message.options.get(&code).map(Vec::as_slice);
    let all = value.unwrap_or_default().chunks_exact(4);
    all.map(|bytes| Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]))
        .filter(|address| is_host(*address))
        .collect()
}

/// It goes into a container's `resolv.conf`, where a line break would begin another setting.
fn domain(message: &Message) -> String {
    let bytes = message.options.get(&code::DOMAIN_NAME);
    let text = bytes.and_then(|bytes| std::str::from_utf8(bytes).ok());
    let text = text.unwrap_or_default().trim_end_matches('\0');
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    match text.len() <= 253 && text.chars().all(is_name) {
        true => text.to_owned(),
        false => String::new(),
    }
}

/// Classless routes replace the others (RFC 3442).
fn routes(message: &Message, gateway: Option<Ipv4Addr>) -> Vec<Route> {
    let classless = message.options.get(&code::CLASSLESS_ROUTE);
    let classless = classless.and_then(|bytes| classless_routes(bytes));
    if let Some(routes) = classless.filter(|routes| !routes.is_empty()) {
        return routes;
    }
    let by_class = message.options.get(&code::STATIC_ROUTE);
    let mut routes = classful_routes(by_class.map(Vec::as_slice).unwrap_or_default());
    routes.extend(gateway.map(|gateway| Route {
        dst: Ipv4Net::default(),
        gateway: Some(gateway),
    }));
    routes
}

/// `None` when it is malformed: half of the routes may be worse than none.
fn classless_routes(mut bytes: &[u8]) -> Option<Vec<Route>> {
    let mut routes = Vec::new();
    while let Some((length, rest)) = bytes.split_first() {
        let significant = usize::from(length.div_ceil(8));
        let (dst, rest) = rest.split_at_checked(significant)?;
        let (gateway, rest) = rest.split_at_checked(4)?;
        let mut octets = [0; 4];
        octets.get_mut(..significant)?.copy_from_slice(dst);
        let gateway = Ipv4Addr::new(gateway[0], gateway[1], gateway[2], gateway[3]);
        let route = Route {
            dst: Ipv4Net::new(octets.into(), *length).ok()?.trunc(),
            gateway: (!gateway.is_unspecified()).then_some(gateway),
        };
        if gateway.is_unspecified() || is_host(gateway) {
            routes.push(route);
        }
        bytes = rest;
    }
    Some(routes)
}

/// Destinations of classes A, B and C, each with a router. A default route is not allowed among them.
fn classful_routes(bytes: &[u8]) -> Vec<Route> {
    let pairs = bytes.chunks_exact(8).map(|pair| {
        let (dst, gateway) = pair.split_at(4);
        let address = |b: &[u8]| Ipv4Addr::new(b[0], b[1], b[2], b[3]);
        (address(dst), address(gateway))
    });
    let pairs = pairs.filter(|(dst, gateway)| is_host(*dst) && is_host(*gateway));
    pairs
        .filter_map(|(dst, gateway)| {
            let length = match dst.octets()[0] {
                0..128 => 8,
                128..192 => 16,
                _ => 24,
            };
            Some(Route {
                dst: Ipv4Net::new(dst, length).ok()?.trunc(),
                gateway: Some(gateway),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests;
