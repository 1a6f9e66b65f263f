//! The responders that take part, and which of them probe which. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Serialize;
use tweed_model::Family;

use super::protocol::{Round, Target};

/// Where a responder runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// In a pod with a network of its own.
    Pod,
    /// In the network of its node.
    Node,
}

/// A responder that takes part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// The node on which it runs.
    pub node: String,
    /// Where there.
    pub side: Side,
    /// The name by which it answers, where that is known.
    pub name: Option<String>,
    /// Its addresses, one a family.
    pub addrs: Vec<IpAddr>,
}

/// All that takes part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    /// The responders.
    pub endpoints: Vec<Endpoint>,
    /// Nodes whose responder isn't ready, with the reason; those can't be tested.
    pub missing: Vec<(String, Side, String)>,
    /// Addresses of the service in front of the responders in pods.
    pub services: Vec<IpAddr>,
    /// Its name, `service.namespace`.
    pub name: Option<String>,
}

impl Endpoint {
    /// Its address of a family.
    pub fn addr(&self, family: Family) -> Option<IpAddr> {
        let mut addrs = self.addrs.iter().copied();
        addrs.find(|addr| Family::of(addr) == family)
    }
}

impl Cluster {
    /// The names of the nodes, in order.
    pub fn nodes(&self) -> Vec<&str> {
        let names = self.endpoints.iter().map(|end| end.node.as_str());
        names.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The responder on the same node, on the other side.
    pub fn sibling(&self, index: usize) -> Option<usize> {
        let own = &self.endpoints[index];
        self.endpoints
            .iter()
            .position(|other| other.node == own.node && other.side != own.side)
    }

    /// What each responder is to probe, in the order of the responders: its own node, and at most `peers` others.
    pub fn rounds(&self, run: u64, peers: usize) -> Vec<Round> {
        let nodes = self.nodes();
        let places: BTreeMap<_, _> = nodes.iter().zip(0..).collect();
        let chosen = choose(nodes.len(), peers);
        let round = |(from, own): (usize, &Endpoint)| {
            let place = places[&own.node.as_str()];
            let others = self.endpoints.iter().enumerate();
            let targets = others.filter(|(to, other)| {
                let there: usize = places[&other.node.as_str()];
                *to != from && (there == place || chosen[place].contains(&there))
            });
            Round {
                run,
                from: number(from),
                targets: targets
                    .flat_map(|(to, other)| targets_of(own, to, other))
                    .collect(),
                services: self
                    .services
                    .iter()
                    .copied()
                    .filter(|addr| own.addr(Family::of(addr)).is_some())
                    .collect(),
                name: self.name.clone(),
            }
        };
        self.endpoints.iter().enumerate().map(round).collect()
    }
}

/// The addresses of one responder that another can probe. Only pods send much: what is between pods is what this is for.
fn targets_of(own: &Endpoint, to: usize, other: &Endpoint) -> Vec<Target> {
    let transfer = own.side == Side::Pod && other.side == Side::Pod;
    Family::BOTH
        .into_iter()
        .filter(|family| own.addr(*family).is_some())
        .filter_map(|family| other.addr(family))
        .map(|addr| Target {
            to: number(to),
            addr,
            transfer,
        })
        .collect()
}

/// The number of a responder. There are never more: `run` refuses.
fn number(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(u16::MAX)
}

/// For each of `nodes` nodes the others that it probes: all, or `peers` of them at even distances on a ring, so that each
/// node is probed as often as it probes.
fn choose(nodes: usize, peers: usize) -> Vec<BTreeSet<usize>> {
    let others = nodes.saturating_sub(1);
    let peers = peers.min(others);
    let steps: Vec<_> = (0..peers).map(|peer| 1 + peer * others / peers).collect();
    (0..nodes)
        .map(|node| steps.iter().map(|step| (node + step) % nodes).collect())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn endpoint(node: &str, side: Side, addrs: &[&str]) -> Endpoint {
        Endpoint {
            node: node.to_owned(),
            side,
            name: None,
            addrs: addrs.iter().map(|addr| addr.parse().unwrap()).collect(),
        }
    }

    #[test]
    fn everybody_probes_everybody_but_itself_in_the_families_that_both_have() {
        let cluster = Cluster {
            endpoints: vec![
                endpoint("a", Side::Pod, &["10.0.1.1", "fd00::1:1"]),
                endpoint("a", Side::Node, &["192.0.2.1"]),
                endpoint("b", Side::Pod, &["10.0.2.1", "fd00::2:1"]),
            ],
            services: vec!["10.96.0.1".parse().unwrap(), "fd00:96::1".parse().unwrap()],
            ..Cluster::default()
        };
        let rounds = cluster.rounds(9, 100);
        let words = |round: &Round| -> Vec<String> {
            let targets = round.targets.iter();
            targets
                .map(|t| format!("{} {} {}", t.to, t.addr, t.transfer))
                .collect()
        };
        assert_eq!(
            words(&rounds[0]),
            ["1 192.0.2.1 false", "2 10.0.2.1 true", "2 fd00::2:1 true"]
        );
        assert_eq!(words(&rounds[1]), ["0 10.0.1.1 false", "2 10.0.2.1 false"]);
        assert_eq!(rounds[1].services.len(), 1);
        assert_eq!(rounds[2].services.len(), 2);
        assert_eq!(cluster.sibling(0), Some(1));
        assert_eq!(cluster.sibling(2), None);
    }

    proptest! {
        #[test]
        fn a_sample_is_even(nodes in 0_usize..60, peers in 0_usize..70) {
            let chosen = choose(nodes, peers);
            let wanted = peers.min(nodes.saturating_sub(1));
            let mut probed = vec![0; nodes];
            for (node, others) in chosen.iter().enumerate() {
                prop_assert_eq!(others.len(), wanted);
                prop_assert!(!others.contains(&node));
                for other in others {
                    probed[*other] += 1;
                }
            }
            prop_assert!(probed.iter().all(|count| *count == wanted));
        }
    }
}
