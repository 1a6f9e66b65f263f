//! Which packets a tunnel takes. A chain for each port, which nothing but its packets enters: the packet of a peer, the
//! common case, is done with after a comparison of names and a look into a set.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use tweed_model::{Dual, Family};

use super::input::{Mark, PolicyNetwork, Tunnels};
use super::rule::{L4Proto, Match, Rule, Side, Verdict, dropped, from, rule};
use super::ruleset::{ChainKind, Hook, HookPoint, Ruleset, Set};
use super::sources;

/// nft's `filter` priority.
const FILTER: i32 = 0;

/// Where packets for this host enter.
pub const INPUT_CHAIN: &str = "input";
/// What doesn't come by the uplink.
const ELSEWHERE: &str = "elsewhere";
/// Errors about packets of a tunnel, or of the host's own to the same places.
const TOO_BIG: &str = "too-big";

/// The bridge of pods, as plugins call it unless told otherwise.
pub const POD_BRIDGE: &str = "cni0";

/// Kinds of interfaces behind which containers are. Other nodes may be behind one too: virtual machines, say.
pub(super) const KINDS: [&str; 2] = ["bridge", "veth"];

/// The set of the peers' addresses.
pub fn peer_set(family: Family) -> &'static str {
    match family {
        Family::V4 => "peers4",
        Family::V6 => "peers6",
    }
}

/// The chain that packets to a tunnel's port go through.
pub fn tunnel_chain(port: u16) -> String {
    format!("port-{port}")
}

/// Packets to a UDP port.
pub(super) fn to_port(port: u16) -> Match {
    Match::DestPort {
        proto: L4Proto::Udp,
        port,
    }
}

/// Packets from a UDP port.
pub(super) fn from_port(port: u16) -> Match {
    Match::SourcePort {
        proto: L4Proto::Udp,
        port,
    }
}

/// Adds the chains, and the sets that they look into.
pub(super) fn add_input(ruleset: &mut Ruleset, networks: &Dual<PolicyNetwork>, tunnels: &Tunnels) {
    let mut entries = Vec::new();
    for (&port, mark) in &tunnels.ports {
        let name = tunnel_chain(port);
        let goto = Verdict::Goto(name.clone());
        entries.push(rule(vec![to_port(port)], goto, "tunnel packets"));
        let mut rules = vec![rule(
            vec![tunnels.not_by_uplink()],
            Verdict::Jump(ELSEWHERE.to_owned()),
            "not by the uplink",
        )];
        match (mark, &tunnels.peers) {
            (Some(mark), Some(peers)) => {
                ruleset.sets.extend(peer_sets(networks, peers));
                if let Some(all) = &tunnels.sources {
                    rules.extend(sources::rules(ruleset, networks, all));
                }
                rules.extend(strangers(networks, mark));
                rules.extend(tunnels.sources.as_ref().map(|_| sources::others(mark)));
            }
            _ => rules.extend(pods(networks)),
        }
        ruleset.add_chain(&name, rules);
    }
    entries.extend(networks.values().map(|policy| {
        let outside = policy.network;
        let goto = Verdict::Goto(TOO_BIG.to_owned());
        rule(vec![Match::TooBig { outside }], goto, "a smaller MTU")
    }));
    ruleset.add_chain(TOO_BIG, too_big(networks, tunnels));
    let input = Hook::new(ChainKind::Filter, HookPoint::Input, FILTER);
    ruleset.add_base_chain(INPUT_CHAIN, input, entries);
    ruleset.add_chain(ELSEWHERE, elsewhere(tunnels));
}

/// The kernel applies a smaller MTU of the path to a peer whatever the error's source. Those from pods are dropped.
fn too_big(networks: &Dual<PolicyNetwork>, tunnels: &Tunnels) -> Vec<Rule> {
    let elsewhere = Verdict::Jump(ELSEWHERE.to_owned());
    let mut rules = vec![rule(
        vec![tunnels.not_by_uplink()],
        elsewhere,
        "not by the uplink",
    )];
    rules.extend(pods(networks));
    rules
}

/// A pod can write a peer's address as its own. What this host sends to itself comes in by `lo` and may pass.
fn elsewhere(tunnels: &Tunnels) -> Vec<Rule> {
    let by = |name: &str| Match::InInterface {
        not: false,
        name: name.to_owned(),
    };
    let mut rules = vec![rule(vec![by("lo")], Verdict::Accept, "this host to itself")];
    let inner = tunnels.inner.iter().filter(|name| **name != tunnels.uplink);
    rules.extend(inner.map(|name| dropped(vec![by(name)], "from pods")));
    if tunnels.way_back {
        rules.extend(KINDS.map(|kind| {
            let matches = vec![Match::InKind(kind.to_owned()), Match::NoWayBack];
            dropped(matches, "a forged source")
        }));
    }
    rules
}

fn peer_sets(networks: &Dual<PolicyNetwork>, peers: &BTreeSet<IpAddr>) -> BTreeMap<String, Set> {
    networks
        .iter()
        .map(|(family, _)| {
            let set = Set::of_addrs(family, peers.iter().copied());
            (peer_set(family).to_owned(), set)
        })
        .collect()
}

/// The tunnel of a family runs over the same family.
fn strangers(networks: &Dual<PolicyNetwork>, mark: &Mark) -> Vec<Rule> {
    let drop_strangers = |(family, _)| {
        let matches = vec![
            Match::InSet {
                side: Side::Source,
                family,
                not: true,
                set: peer_set(family).to_owned(),
            },
            mark.matches(),
        ];
        dropped(matches, &format!("{} from others than peers", mark.name))
    };
    networks.iter().map(drop_strangers).collect()
}

/// Where no list of peers tells pods from nodes.
fn pods(networks: &Dual<PolicyNetwork>) -> Vec<Rule> {
    let networks = networks.values();
    let drop_pods = |policy: &PolicyNetwork| dropped(vec![from(policy.network)], "from pods");
    networks.map(drop_pods).collect()
}
