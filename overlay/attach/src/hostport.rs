//! Host ports: ports of the host that lead to a container. A port is an element of a map, so that a packet costs the
//! same look-up however many there are; the rules around the maps never change.
//!
//! Connections that the container would answer past the host get the host's address as source: those of its own
//! network, itself included. They are found by what they look like before the translation, marked, and masqueraded by
//! the mark. Without the mark the same port of a cluster's service, which leads to the same container, would look alike.
//! What comes from the host's loopback gets another source before all that.

mod base;
mod claim;
mod conditions;
mod loopback;
mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tweed_model::{Dual, Family};
use tweed_nft::render::Element;
use tweed_nft::ruleset::{L4Proto, addr_bytes};

use super::owner::Owner;

pub(super) use base::{add_base, masquerade_marked};
pub use claim::Claim;
use claim::{everything, keys, padded, service};
use conditions::pairs;
pub use conditions::{Condition, Part};
pub use names::MASQUERADE_MARK;
use names::{LOOPBACK_ADDR_MAP, LOOPBACK_MAP, addr_port_map, flow_map, flow_set, port_map};

/// A port of the host, as the operator asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMapping {
    /// The transport protocol.
    pub protocol: L4Proto,
    /// The host's address: none for every address of both families, unspecified for every address of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_addr: Option<IpAddr>,
    /// The port of the host.
    pub host_port: u16,
    /// The port of the container.
    pub container_port: u16,
}

/// Which connections through host ports get the host's address as source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortMasquerade {
    /// None: the container's own network and the host's loopback don't get through.
    Off,
    /// Those that would not come back otherwise.
    #[default]
    Needed,
    All,
}

/// The host ports of an attachment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Publication {
    /// The container's addresses, one a family, each with the length of its own network.
    pub addresses: Vec<IpNet>,
    pub ports: Vec<PortMapping>,
    /// Which connections are masqueraded.
    pub masquerade: PortMasquerade,
    /// The host's address towards the container, where its loopback leads there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_address: Option<Ipv4Addr>,
    /// Conditions that connections meet, a list a family.
    #[serde(default, skip_serializing_if = "has_none")]
    pub conditions: Dual<Vec<Condition>>,
}

fn has_none(conditions: &Dual<Vec<Condition>>) -> bool {
    conditions.values().next().is_none()
}

/// Two mappings of one container that lead the same port to different container ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("host port {claim} is mapped to both {} and {}", .targets[0], .targets[1])]
pub struct Ambiguous {
    /// What both take.
    pub claim: Claim,
    /// The container's ports.
    pub targets: [u16; 2],
}

impl Publication {
    /// What is taken, and the container's address and port that it leads to. What another mapping covers is left out.
    ///
    /// # Errors
    /// When two mappings contradict each other.
    pub fn claims(&self) -> Result<BTreeMap<Claim, (IpNet, u16)>, Ambiguous> {
        // For each port the widest comes first, and covers the rest.
        let mut wanted: Vec<(Claim, IpNet, u16)> = self
            .addresses
            .iter()
            .flat_map(|address| self.ports.iter().filter_map(|port| claim(*address, port)))
            .collect();
        wanted.sort_unstable_by_key(|(claim, ..)| *claim);
        let mut claims: BTreeMap<Claim, (IpNet, u16)> = BTreeMap::new();
        for (claim, address, target) in wanted {
            let mut all = claim;
            all.host_addr = None;
            let there = claims.get(&all).or_else(|| claims.get(&claim));
            match there {
                None => drop(claims.insert(claim, (address, target))),
                Some((_, other)) if *other == target => {}
                Some((_, other)) => {
                    let targets = [*other, target];
                    return Err(Ambiguous { claim, targets });
                }
            }
        }
        Ok(claims)
    }

    /// The elements that make it work: set name and element.
    ///
    /// # Errors
    /// When two mappings contradict each other.
    pub fn elements(&self, owner: &Owner) -> Result<Vec<(&'static str, Element)>, Ambiguous> {
        let claims = self.claims()?;
        let comment = Some(owner.to_string());
        let mut elements = Vec::new();
        for (claim, (address, port)) in &claims {
            let value = Some([addr_bytes(address.addr()), padded(*port)].concat());
            let to = |key, key_end| Element {
                key,
                key_end,
                value: value.clone(),
                comment: comment.clone(),
            };
            let Some(conditions) = self.conditions.get(claim.family) else {
                elements.push((claim.map(), to(claim.key(), None)));
                continue;
            };
            let service = service(claim.protocol, claim.host_port);
            for pair in pairs(conditions, claim.protocol, claim.family, claim.host_addr) {
                let [first, last] = keys(pair, &service, &service);
                elements.push((flow_map(claim.family), to(first, Some(last))));
            }
        }
        if let Some(source) = self.host_address.filter(|_| self.leads_from_loopback()) {
            let conditions = self.conditions.get(Family::V4);
            let from_loopback = loopback::elements(source, conditions, &claims, &comment);
            elements.extend(from_loopback);
        }
        for (flow, first, last) in ranges(&claims) {
            let address = claims[&first].0;
            for source in self.masqueraded_sources(address) {
                elements.push((
                    flow_set(flow.family),
                    flow_element(&flow, source, first.host_port, last, &comment),
                ));
            }
        }
        Ok(elements)
    }

    fn leads_from_loopback(&self) -> bool {
        self.masquerade != PortMasquerade::Off
    }

    fn masqueraded_sources(&self, address: IpNet) -> Vec<IpNet> {
        match (self.masquerade, address) {
            (PortMasquerade::Off, _) => Vec::new(),
            (PortMasquerade::All, _) => vec![everything(Family::of_net(&address))],
            (PortMasquerade::Needed, address) => vec![address.trunc()],
        }
    }

    /// The IPv4 address that the host's loopback leads to, if one does.
    pub fn loopback_target(&self) -> Option<IpAddr> {
        let claims = self.claims().unwrap_or_default();
        let loopback = |claim: &Claim| {
            claim.family == Family::V4
                && claim.host_addr.is_none_or(|addr| addr.is_loopback())
                && self.leads_from_loopback()
        };
        let mut found = claims.iter().filter(|(claim, _)| loopback(claim));
        found.next().map(|(_, (address, _))| address.addr())
    }
}

fn claim(address: IpNet, mapping: &PortMapping) -> Option<(Claim, IpNet, u16)> {
    let family = Family::of_net(&address);
    let host_addr = match mapping.host_addr {
        Some(addr) if Family::of(&addr) != family => return None,
        Some(addr) if addr.is_unspecified() => None,
        host_addr => host_addr,
    };
    let claim = Claim {
        family,
        host_addr,
        protocol: mapping.protocol,
        host_port: mapping.host_port,
    };
    Some((claim, address, mapping.container_port))
}

/// Claims whose ports follow each other, as one range: what it has in common, its first claim and its last port.
fn ranges(claims: &BTreeMap<Claim, (IpNet, u16)>) -> Vec<(Claim, Claim, u16)> {
    let mut ranges: Vec<(Claim, Claim, u16)> = Vec::new();
    for claim in claims.keys() {
        let common = Claim {
            host_port: 0,
            ..*claim
        };
        match ranges.last_mut() {
            Some((same, _, last))
                if *same == common && last.checked_add(1) == Some(claim.host_port) =>
            {
                *last = claim.host_port;
            }
            _ => ranges.push((common, *claim, claim.host_port)),
        }
    }
    ranges
}

/// Connections from a network to a range of ports.
fn flow_element(
    flow: &Claim,
    source: IpNet,
    first: u16,
    last: u16,
    comment: &Option<String>,
) -> Element {
    let dest = match flow.host_addr {
        Some(addr) => IpNet::from(addr),
        None => everything(flow.family),
    };
    let ends = |net: IpNet| [net.network(), net.broadcast()];
    let [first, last] = [first, last].map(|port| service(flow.protocol, port));
    let [key, key_end] = keys((ends(source), ends(dest)), &first, &last);
    Element {
        key,
        key_end: Some(key_end),
        value: None,
        comment: comment.clone(),
    }
}

/// Whether a set of the plugins' table holds host ports.
pub(crate) fn is_port_set(name: &str) -> bool {
    let loopback = [LOOPBACK_MAP, LOOPBACK_ADDR_MAP];
    loopback.contains(&name)
        || Family::BOTH.iter().any(|family| {
            [port_map, addr_port_map, flow_map, flow_set]
                .map(|of| of(*family))
                .contains(&name)
        })
}

/// Whether a set holds ports of single addresses or under conditions. One of them clashes with elements of another key,
/// which only a look at all of them finds; there are few.
pub(crate) fn is_of_addresses(name: &str) -> bool {
    Family::BOTH.iter().any(|family| {
        [addr_port_map, flow_map]
            .map(|of| of(*family))
            .contains(&name)
    })
}

/// The claims of a table's elements, and whose they are.
pub(crate) fn claims_of<'a>(
    map: &str,
    elements: impl IntoIterator<Item = &'a Element>,
) -> BTreeSet<(Claim, Owner)> {
    let read = |element: &Element| {
        let owner = Owner::parse(element.comment.as_deref()?)?;
        Some((Claim::of_element(map, &element.key)?, owner))
    };
    elements.into_iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests;
