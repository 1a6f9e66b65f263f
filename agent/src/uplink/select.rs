//! Which interface is the uplink: flannel's rules over a list of interfaces and routes. Pure.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use regex::Regex;
use tweed_overlay::model::{Dual, Family, Uplink};

use crate::options::UplinkOptions;

/// What the host looks like.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// All interfaces, in the kernel's order.
    pub interfaces: Vec<Interface>,
    /// The default routes of the main table, in the kernel's order.
    pub defaults: Vec<DefaultRoute>,
    /// Routes of the main table without a gateway: interface index and destination.
    pub onlink: Vec<(u32, IpNet)>,
    /// How the kernel would reach the address of `--iface-can-reach`, or why it can't. Present exactly when it is set.
    pub reach: Option<Result<Reach, String>>,
}

/// An interface.
#[derive(Clone, Debug, Default)]
pub struct Interface {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// MTU in bytes.
    pub mtu: u32,
    /// Its addresses, in the kernel's order.
    pub addrs: Vec<InterfaceAddr>,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug)]
pub struct InterfaceAddr {
    /// The address.
    pub addr: IpAddr,
    /// It has no end (`IFA_F_PERMANENT`): not from DHCP or router advertisement.
    pub permanent: bool,
    /// A privacy address (`IFA_F_TEMPORARY`), or a secondary one of IPv4, which is the same bit.
    pub temporary: bool,
    /// No longer to be used for new connections (`IFA_F_DEPRECATED`).
    pub deprecated: bool,
}

/// A default route.
#[derive(Clone, Copy, Debug)]
pub struct DefaultRoute {
    /// Its family.
    pub family: Family,
    /// Its metric; the lowest wins.
    pub metric: u32,
    /// Index of its interface; none if it has several next hops.
    pub interface: Option<u32>,
    /// The kernel learned it from a router advertisement, and may go on learning.
    pub learned: bool,
}

/// A route look-up's answer.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// Index of the interface.
    pub interface: u32,
    /// The source address that the kernel would use.
    pub source: Option<IpAddr>,
}

/// The decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The uplink.
    pub uplink: Uplink,
    /// The addresses to announce.
    pub public: Dual<IpAddr>,
    /// Why this interface.
    pub reason: String,
    /// Wishes that came first and could not be met.
    pub passed_over: Vec<String>,
}

/// Why there is no uplink: everything that was tried, with what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct NoUplink {
    /// Each attempt and why it failed. Never empty.
    pub tried: Vec<String>,
}

impl fmt::Display for NoUplink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no uplink: {}", self.tried.join("; "))
    }
}

/// An interface that was hit, and the addresses that the hit already settles.
struct Hit<'a> {
    interface: &'a Interface,
    pinned: Dual<IpAddr>,
    reason: String,
}

/// Chooses the uplink for the enabled families (never none).
///
/// # Errors
/// If no wish can be met; without wishes, if there is no usable default route.
pub fn select(
    options: &UplinkOptions,
    families: &[Family],
    facts: &Facts,
) -> Result<Choice, NoUplink> {
    let search = Search {
        options,
        families,
        facts,
    };
    let mut tried = Vec::new();
    for attempt in search.attempts() {
        match search.attempt(&attempt) {
            Ok((hit, addrs)) => return Ok(search.choice(hit, addrs, tried)),
            Err(reason) => tried.push(reason),
        }
    }
    Err(NoUplink { tried })
}

/// One wish, or what stands for it.
enum Attempt<'a> {
    Named(&'a str),
    Pattern(&'a Regex),
    CanReach(IpAddr),
    Public(IpAddr),
    DefaultRoute,
}

struct Search<'a> {
    options: &'a UplinkOptions,
    families: &'a [Family],
    facts: &'a Facts,
}

impl<'a> Search<'a> {
    fn attempts(&self) -> Vec<Attempt<'a>> {
        let options = self.options;
        let mut attempts: Vec<Attempt<'a>> = Vec::new();
        attempts.extend(options.ifaces.iter().map(|text| Attempt::Named(text)));
        attempts.extend(options.regexes.iter().map(Attempt::Pattern));
        attempts.extend(options.can_reach.map(Attempt::CanReach));
        if attempts.is_empty() {
            let mut enabled = self.families.iter().filter_map(|f| options.public.get(*f));
            attempts.push(match enabled.next() {
                Some(addr) => Attempt::Public(*addr),
                None => Attempt::DefaultRoute,
            });
        }
        attempts
    }

    fn attempt(&self, attempt: &Attempt<'a>) -> Result<(Hit<'a>, Dual<IpAddr>), String> {
        match attempt {
            Attempt::Named(text) => self.complete(self.named(text)?),
            Attempt::Pattern(regex) => self.pattern(regex),
            Attempt::CanReach(target) => self.complete(self.can_reach(target)?),
            Attempt::Public(addr) => self.complete(self.public(addr)?),
            Attempt::DefaultRoute => self.complete(self.default_route()?),
        }
    }

    fn named(&self, text: &str) -> Result<Hit<'a>, String> {
        if let Ok(addr) = text.parse() {
            let reason = format!("it has the address {addr}, as --iface asks");
            let missing = format!("no interface has the address {addr} of --iface");
            return self.owner(addr, reason, missing);
        }
        let found = self.facts.interfaces.iter().find(|i| i.name == text);
        let interface = found.ok_or_else(|| format!("there is no interface {text}"))?;
        Ok(Hit {
            interface,
            pinned: Dual::default(),
            reason: "named by --iface".to_owned(),
        })
    }

    /// First by addresses, where both families must match on one interface if both are enabled; then by names.
    fn pattern(&self, regex: &Regex) -> Result<(Hit<'a>, Dual<IpAddr>), String> {
        let interfaces = &self.facts.interfaces;
        for interface in interfaces {
            let matching = |family: &Family| {
                let mut addrs = candidates(interface, *family).into_iter();
                addrs.find(|addr| regex.is_match(&addr.to_string()))
            };
            let pinned: Vec<IpAddr> = self.families.iter().filter_map(matching).collect();
            if pinned.len() == self.families.len() {
                let hit = Hit {
                    interface,
                    reason: format!("--iface-regex {regex} matches its address"),
                    pinned: Dual::of_addrs(pinned),
                };
                return self.complete(hit);
            }
        }
        let mut failures = Vec::new();
        for interface in interfaces.iter().filter(|i| regex.is_match(&i.name)) {
            let hit = Hit {
                interface,
                pinned: Dual::default(),
                reason: format!("--iface-regex {regex} matches its name"),
            };
            match self.complete(hit) {
                Ok(complete) => return Ok(complete),
                Err(failure) => failures.push(failure),
            }
        }
        Err(match failures.is_empty() {
            true => format!("--iface-regex {regex} matches no address and no name"),
            false => format!("--iface-regex {regex}: {}", failures.join(", ")),
        })
    }

    fn can_reach(&self, target: &IpAddr) -> Result<Hit<'a>, String> {
        let reach = match &self.facts.reach {
            Some(Ok(reach)) => reach,
            Some(Err(reason)) => return Err(format!("no route to {target}: {reason}")),
            None => return Err(format!("no route to {target} was looked up")),
        };
        let mut pinned = Dual::default();
        if let Some(source) = reach.source {
            pinned.set(Family::of(&source), Some(source));
        }
        Ok(Hit {
            interface: self.by_index(reach.interface)?,
            pinned,
            reason: format!("{target} is reached over it"),
        })
    }

    fn public(&self, addr: &IpAddr) -> Result<Hit<'a>, String> {
        let reason = format!("it has the public address {addr}");
        let missing = format!(
            "no interface has the public address {addr}; behind NAT, name the interface with --iface too"
        );
        self.owner(*addr, reason, missing)
    }

    fn owner(&self, addr: IpAddr, reason: String, missing: String) -> Result<Hit<'a>, String> {
        let family = Family::of(&addr);
        if !self.families.contains(&family) {
            return Err(format!("{addr} is no use: {family} is not enabled"));
        }
        let interface = self.by_addr(&addr).ok_or(missing)?;
        // With both families enabled, flannel wants the public IPv6 address on the same interface.
        if let (2, Some(v6)) = (self.families.len(), &self.options.public.v6) {
            let other = self.by_addr(v6).map(|other| other.name.as_str());
            if other != Some(&interface.name) {
                return Err(format!(
                    "{addr} is on {}, but the public address {v6} is on {}; both must be on one interface, or name it with --iface",
                    interface.name,
                    other.unwrap_or("none"),
                ));
            }
        }
        let mut pinned = Dual::default();
        pinned.set(family, Some(addr));
        Ok(Hit {
            interface,
            pinned,
            reason,
        })
    }

    fn default_route(&self) -> Result<Hit<'a>, String> {
        let mut found: Option<(Family, &Interface, u32)> = None;
        for family in self.families {
            let routes = self.facts.defaults.iter().filter(|r| r.family == *family);
            let route = routes.min_by_key(|route| route.metric).ok_or_else(|| {
                format!("there is no {family} default route; name the interface with --iface")
            })?;
            let index = route.interface.ok_or_else(|| {
                format!("the {family} default route has several next hops; name the interface with --iface")
            })?;
            let interface = self.by_index(index)?;
            match found {
                Some((other, before, _)) if before.index != index => {
                    return Err(format!(
                        "the {other} default route is on {}, the {family} one on {}; name the interface with --iface",
                        before.name, interface.name
                    ));
                }
                Some(_) => {}
                None => found = Some((*family, interface, route.metric)),
            }
        }
        let (_, interface, metric) = found.ok_or("no address family is enabled")?;
        Ok(Hit {
            interface,
            pinned: Dual::default(),
            reason: format!("it has the default route, metric {metric}"),
        })
    }

    /// Finds the address of each enabled family.
    fn complete(&self, hit: Hit<'a>) -> Result<(Hit<'a>, Dual<IpAddr>), String> {
        let interface = hit.interface;
        if interface.mtu == 0 {
            return Err(format!("interface {} has MTU 0", interface.name));
        }
        let mut addrs = Dual::default();
        for family in self.families {
            let pinned = hit.pinned.get(*family).copied();
            let addr = pinned.or_else(|| candidates(interface, *family).first().copied());
            let missing = || {
                format!(
                    "interface {} has no usable {family} address",
                    interface.name
                )
            };
            addrs.set(*family, Some(addr.ok_or_else(missing)?));
        }
        Ok((hit, addrs))
    }

    fn choice(&self, hit: Hit<'_>, addrs: Dual<IpAddr>, passed_over: Vec<String>) -> Choice {
        let Interface {
            index, name, mtu, ..
        } = hit.interface;
        let mut onlink: Vec<IpNet> = self
            .facts
            .onlink
            .iter()
            .filter(|(interface, net)| interface == index && net.prefix_len() > 0)
            .filter(|(_, net)| self.families.contains(&Family::of_net(net)))
            .map(|(_, net)| net.trunc())
            .collect();
        onlink.sort();
        onlink.dedup();
        let learned = |route: &DefaultRoute| route.learned && route.interface == Some(*index);
        Choice {
            public: addrs.map(|family, addr| *self.options.public.get(family).unwrap_or(addr)),
            uplink: Uplink {
                name: name.clone(),
                index: *index,
                mtu: *mtu,
                addrs,
                onlink,
                learned_default: self.facts.defaults.iter().any(learned),
            },
            reason: hit.reason,
            passed_over,
        }
    }

    fn by_addr(&self, addr: &IpAddr) -> Option<&'a Interface> {
        let mut interfaces = self.facts.interfaces.iter();
        interfaces.find(|interface| interface.addrs.iter().any(|own| own.addr == *addr))
    }

    fn by_index(&self, index: u32) -> Result<&'a Interface, String> {
        let mut interfaces = self.facts.interfaces.iter();
        let found = interfaces.find(|interface| interface.index == index);
        found.ok_or_else(|| format!("interface {index} is gone"))
    }
}

/// The usable addresses of one family, best first: global before link-local, then permanent before dynamic, then stable
/// before temporary, then in the kernel's order.
fn candidates(interface: &Interface, family: Family) -> Vec<IpAddr> {
    let mut addrs: Vec<&InterfaceAddr> = interface
        .addrs
        .iter()
        .filter(|own| Family::of(&own.addr) == family)
        .filter(|own| !own.deprecated && !own.addr.is_loopback() && !own.addr.is_unspecified())
        .collect();
    addrs.sort_by_key(|own| (link_local(&own.addr), !own.permanent, own.temporary));
    addrs.into_iter().map(|own| own.addr).collect()
}

fn link_local(addr: &IpAddr) -> bool {
    match addr {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests;
