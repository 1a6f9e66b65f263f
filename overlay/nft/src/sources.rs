//! What a peer may be the source of, once its packet is unpacked: one look for outer and inner source together. A set is
//! asked for inner sources of one length, so that there is one for each that peers have: as a rule that of all subnets, and
//! single addresses, since a node may speak for itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use tweed_model::{Dual, Family};

use super::inner;
use super::input::{Mark, PolicyNetwork};
use super::rule::{Match, Rule, Verdict, dropped, rule};
use super::ruleset::{DataType, Ruleset, Set, addr_bytes};
use super::state::TableState;

const SETS: [(Family, &str); 2] = [(Family::V4, "sources4-"), (Family::V6, "sources6-")];

/// Adds the sets, and gives the rules that ask them.
pub(super) fn rules(
    ruleset: &mut Ruleset,
    networks: &Dual<PolicyNetwork>,
    sources: &BTreeSet<(IpAddr, IpNet)>,
) -> Vec<Rule> {
    let mut rules = Vec::new();
    for (family, policy) in networks.iter() {
        // These are there without a peer too, so that the first one changes an element and no rule.
        let usual = [policy.subnet.prefix_len(), family.bits()];
        let mut sets: BTreeMap<u8, Set> = usual.map(|bits| (bits, empty(family))).into();
        for (outer, net) in sources {
            if Family::of(outer) == family && Family::of_net(net) == family {
                let set = sets
                    .entry(net.prefix_len())
                    .or_insert_with(|| empty(family));
                let key = [addr_bytes(*outer), addr_bytes(net.network())].concat();
                set.elements.insert(key.into());
            }
        }
        // The usual length first.
        let mut lengths: Vec<u8> = sets.keys().copied().collect();
        lengths.sort_by_key(|bits| (*bits != usual[0], *bits));
        rules.extend(lengths.into_iter().map(|bits| in_place(family, bits)));
        let named = |(bits, set)| (name(family, bits), set);
        ruleset.sets.extend(sets.into_iter().map(named));
    }
    rules
}

/// What no rule of these has let in: neither IPv4 nor IPv6 of the outer family, or from elsewhere. Neighbours are written
/// down and never asked for.
pub(super) fn others(mark: &Mark) -> Rule {
    let comment = format!("{} from outside the sender's subnet", mark.name);
    dropped(vec![mark.matches()], &comment)
}

/// Keeps what is let in now, while nothing may be removed yet: sets of a length that nobody has any more, with their
/// rules. A table from before there were such sets knows peers, and not what is theirs: they are let in as before.
pub(super) fn keep(kept: &mut Ruleset, there: &TableState) {
    let checked = there.sets.keys().any(|name| parse(name).is_some());
    for chain in kept.chains.values_mut() {
        let asks = |rule: &Rule| matches!(rule.matches[..], [_, Match::InnerInSet { .. }]);
        let Some(first) = chain.rules.iter().position(asks) else {
            continue;
        };
        if checked {
            let gone = there
                .sets
                .keys()
                .filter(|name| !kept.sets.contains_key(*name));
            for (family, bits) in gone.filter_map(|name| parse(name)) {
                chain.rules.insert(first + 1, in_place(family, bits));
            }
        } else if !there.sets.is_empty() {
            let all = |rule: &Rule| matches!(rule.matches[..], [Match::Transport { .. }]);
            chain.rules.retain(|rule| !asks(rule) && !all(rule));
        }
    }
    if checked {
        let gone = there.sets.keys().filter_map(|name| parse(name));
        for (family, bits) in gone {
            let set = kept.sets.entry(name(family, bits));
            set.or_insert_with(|| empty(family));
        }
    } else if !there.sets.is_empty() {
        kept.sets.retain(|name, _| parse(name).is_none());
    }
}

/// The common case: a peer's packet from its own subnet. Nothing is left to be said of it.
fn in_place(family: Family, bits: u8) -> Rule {
    let kind = Match::Transport {
        offset: inner::ETHER_TYPE,
        bytes: inner::ether_type(family).to_vec(),
    };
    let source = Match::InnerInSet {
        family,
        bits,
        set: name(family, bits),
    };
    let comment = "peers from what is theirs";
    rule(vec![kind, source], Verdict::Accept, comment)
}

fn empty(family: Family) -> Set {
    Set {
        key: vec![DataType::addr(family), DataType::InnerSource(family)],
        ..Set::default()
    }
}

/// The set of outer sources with inner ones of this length.
fn name(family: Family, bits: u8) -> String {
    match family {
        Family::V4 => format!("{}{bits}", SETS[0].1),
        Family::V6 => format!("{}{bits}", SETS[1].1),
    }
}

fn parse(name: &str) -> Option<(Family, u8)> {
    SETS.into_iter().find_map(|(family, prefix)| {
        let bits = name.strip_prefix(prefix)?.parse().ok()?;
        (bits <= family.bits()).then_some((family, bits))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PolicyInput, Tunnels, agent_ruleset};

    fn vxlan() -> Mark {
        Mark {
            name: "VXLAN 1".to_owned(),
            offset: 12,
            bytes: vec![0, 0, 1],
        }
    }

    fn input(sources: Option<&[(&str, &str)]>) -> PolicyInput {
        let network = PolicyNetwork {
            network: "10.244.0.0/16".parse().unwrap(),
            subnet: "10.244.1.0/24".parse().unwrap(),
        };
        let read = |(outer, net): &(&str, &str)| (outer.parse().unwrap(), net.parse().unwrap());
        PolicyInput {
            networks: Dual::of_nets([network.network]).map(|_, _| network),
            tunnels: Some(Tunnels {
                ports: [(8472, Some(vxlan()))].into(),
                peers: Some(["192.0.2.2".parse().unwrap()].into()),
                sources: sources.map(|all| all.iter().map(read).collect()),
                ..Tunnels::default()
            }),
            ..PolicyInput::default()
        }
    }

    #[test]
    fn a_length_that_nobody_has_any_more_stays_while_nothing_may_be_removed() {
        let before = agent_ruleset(&input(Some(&[("192.0.2.2", "10.244.16.0/20")])));
        let kept = agent_ruleset(&input(Some(&[]))).keeping(&before.state());
        assert_eq!(kept.state(), before.state());
    }

    #[test]
    fn peers_of_a_table_without_the_check_are_let_in_while_nothing_may_be_removed() {
        let before = agent_ruleset(&input(None));
        let want = agent_ruleset(&input(Some(&[])));
        assert_eq!(want.keeping(&before.state()).state(), before.state());
        let nothing = TableState::default();
        assert_eq!(want.keeping(&nothing), want);
    }

    #[test]
    fn the_first_peer_changes_elements_and_no_rule() {
        let (none, one) = (
            input(Some(&[])),
            input(Some(&[("192.0.2.2", "10.244.2.0/24")])),
        );
        let (none, one) = (agent_ruleset(&none).state(), agent_ruleset(&one).state());
        assert_eq!(none.chains, one.chains);
        assert_eq!(one.sets["sources4-24"].elements.len(), 1);
    }
}
