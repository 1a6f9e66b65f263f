//! Which interface is the uplink: flannel's rules over a list of interfaces and routes. Pure.

mod default_route;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use regex::Regex;
use tweed_model::{Dual, Family, Uplink};

use super::address::ranked;
use super::host::{DefaultRoute, Facts, Interface};
use super::wanted::Wanted;

use crate::config::options::UplinkOptions;

/// The decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    pub uplink: Uplink,
    /// The addresses to announce.
    pub public: Dual<IpAddr>,
    /// The addresses that this node is known by from now on, where nobody named one: they stay as long as the host has
    /// them.
    pub settled: Dual<IpAddr>,
    /// Why this interface.
    pub reason: String,
    /// Wishes that came first and could not be met, and routes that lead into the pod network itself.
    pub passed_over: Vec<String>,
    /// Warnings about wishes that were met and may not have the effect that was meant.
    pub doubts: Vec<String>,
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
pub fn select(wanted: &Wanted, facts: &Facts) -> Result<Choice, NoUplink> {
    let families = wanted.overlay.families();
    let search = Search {
        wanted,
        options: &wanted.options,
        families: &families,
        facts,
        unfit: wanted.overlay.unfit(facts),
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
    wanted: &'a Wanted,
    options: &'a UplinkOptions,
    families: &'a [Family],
    facts: &'a Facts,
    /// Interfaces that can't be it, and why.
    unfit: BTreeMap<u32, String>,
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
        let mut interfaces = self.facts.interfaces.iter();
        let found = interfaces.find(|interface| interface.is_called(text));
        let interface = found.ok_or_else(|| format!("there is no interface {text}"))?;
        self.fits(interface)?;
        Ok(Hit {
            interface,
            pinned: Dual::default(),
            reason: "named by --iface".to_owned(),
        })
    }

    /// First by addresses, where both families must match on one interface if both are enabled; then by names.
    fn pattern(&self, regex: &Regex) -> Result<(Hit<'a>, Dual<IpAddr>), String> {
        let interfaces = self.facts.interfaces.iter();
        for interface in interfaces.clone().filter(|i| self.fits(i).is_ok()) {
            let matching = |family: &Family| {
                let mut addrs = self.candidates(interface, *family).into_iter();
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
        let named = |i: &&Interface| i.names().any(|name| regex.is_match(name));
        for interface in interfaces.filter(named) {
            if let Err(reason) = self.fits(interface) {
                failures.push(reason);
                continue;
            }
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
        let interface = self.facts.by_index(reach.interface)?;
        self.fits(interface)?;
        let mut pinned = Dual::default();
        if let Some(source) = reach.source {
            self.outside(&source)?;
            pinned.set(Family::of(&source), Some(source));
        }
        Ok(Hit {
            interface,
            pinned,
            reason: format!("{target} is reached over it"),
        })
    }

    fn public(&self, addr: &IpAddr) -> Result<Hit<'a>, String> {
        // Nothing leaves by the loopback. What has such an address is the host, whichever way its packets go.
        if self.facts.owner(addr).is_some_and(|owner| owner.loopback) {
            self.outside(addr)?;
            return self.default_route();
        }
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
        let interface = self.facts.owner(&addr).ok_or(missing)?;
        self.outside(&addr)?;
        self.fits(interface)?;
        // With both families enabled, flannel wants the public IPv6 address on the same interface.
        if let (2, Some(v6)) = (self.families.len(), &self.options.public.v6) {
            let other = self.facts.owner(v6).map(|other| other.name.as_str());
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

    /// Finds the address of each enabled family.
    fn complete(&self, hit: Hit<'a>) -> Result<(Hit<'a>, Dual<IpAddr>), String> {
        let interface = hit.interface;
        if interface.mtu == 0 {
            return Err(format!("interface {} has MTU 0", interface.name));
        }
        let mut addrs = Dual::default();
        for family in self.families {
            let pinned = hit.pinned.get(*family).copied();
            let addr = pinned.or_else(|| self.candidates(interface, *family).first().copied());
            let missing = || match self.inside(interface, *family) {
                Some(inside) => format!("interface {}: {inside}", interface.name),
                None => format!(
                    "interface {} has no usable {family} address",
                    interface.name
                ),
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
        let settled = |family, addr: &IpAddr| {
            let named = hit.pinned.has(family) || self.options.public.has(family);
            let before = || self.wanted.known.before.get(family).copied();
            if named { before() } else { Some(*addr) }
        };
        Choice {
            public: addrs.map(|family, addr| *self.options.public.get(family).unwrap_or(addr)),
            settled: addrs.filter_map(settled),
            doubts: self.doubts(hit.interface),
            uplink: Uplink {
                name: name.clone(),
                index: *index,
                mtu: *mtu,
                addrs: addrs.map(|family, addr| self.source(family).unwrap_or(*addr)),
                onlink,
                learned_default: self.facts.defaults.iter().any(learned),
            },
            reason: hit.reason,
            passed_over: self.passed_over(passed_over),
        }
    }

    /// The source address of packets: the announced one, if the host has it, since peers take packets from no other. Behind
    /// a NAT the host doesn't have it.
    fn source(&self, family: Family) -> Option<IpAddr> {
        let announced = self.wanted.overwrites.get(family);
        let announced = announced.or_else(|| self.options.public.get(family))?;
        self.facts.owner(announced)?;
        self.outside(announced).is_ok().then_some(*announced)
    }

    fn doubts(&self, interface: &Interface) -> Vec<String> {
        let lo = interface.loopback.then(|| {
            format!(
                "{} is the loopback, which reaches no other node; name the interface towards them with --iface, and the \
                 address with --public-ip",
                interface.name
            )
        });
        lo.into_iter().collect()
    }

    fn candidates(&self, interface: &Interface, family: Family) -> Vec<IpAddr> {
        ranked(interface, family, &self.wanted.overlay, &self.wanted.known)
    }

    /// Refuses what belongs to the pod network.
    fn fits(&self, interface: &Interface) -> Result<(), String> {
        match self.unfit.get(&interface.index) {
            None => Ok(()),
            Some(reason) => Err(format!(
                "interface {} can't be the uplink: {reason}",
                interface.name
            )),
        }
    }

    /// Refuses an address that lies inside the pod network.
    fn outside(&self, addr: &IpAddr) -> Result<(), String> {
        match self.wanted.overlay.network_of(addr) {
            None => Ok(()),
            Some(network) => Err(format!(
                "the address {addr} lies inside the pod network {network}, which no node's may"
            )),
        }
    }

    /// Why an address of an interface doesn't count, if it has one at all.
    fn inside(&self, interface: &Interface, family: Family) -> Option<String> {
        let mut addrs = interface.addrs.iter().map(|own| &own.addr);
        let found = addrs.find(|addr| Family::of(addr) == family && self.outside(addr).is_err())?;
        self.outside(found).err()
    }
}

#[cfg(test)]
mod tests;
