//! What keeps pods away from the tunnels of other nodes. A packet that a pod writes to a tunnel's port there would be
//! unpacked like a node's, since pods are masqueraded, and come from any source that the pod makes up.
//!
//! The first packet of a flow is enough: NAT chains see no other. One that is dropped leaves nothing behind, so that the
//! next is a first one again. They stand before all other programs' chains: where a NAT chain has decided about a packet,
//! later ones are skipped.
//!
//! The answers of a flow are no first packets either, even when the pod makes them up. So no flow of a pod begins at a tunnel's port:
//! its answers would go to one, once the node at the other end has forgotten the flow.

use tweed_model::Dual;

use super::input::{PolicyNetwork, Tunnels};
use super::rule::{Match, Rule, dropped, from, not_to};
use super::ruleset::{ChainKind, Hook, HookPoint, Ruleset};
use super::tunnel::{KINDS, from_port, to_port};

/// Before any destination is translated (-100), and after packets have found their flow (-200).
const BEFORE_DESTINATION_NAT: i32 = -150;
/// Before any source is translated (100).
const BEFORE_SOURCE_NAT: i32 = 50;

/// Adds the chains.
pub(super) fn add_guard(ruleset: &mut Ruleset, networks: &Dual<PolicyNetwork>, tunnels: &Tunnels) {
    let nat = |point, priority| Hook::new(ChainKind::Nat, point, priority);
    let chains: [(&str, Hook, Vec<Rule>); 2] = [
        (
            "guard-prerouting",
            nat(HookPoint::Prerouting, BEFORE_DESTINATION_NAT),
            forged(tunnels),
        ),
        (
            "guard-postrouting",
            nat(HookPoint::Postrouting, BEFORE_SOURCE_NAT),
            [sent(networks, tunnels), translated(networks, tunnels)].concat(),
        ),
    ];
    for (name, hook, rules) in chains {
        ruleset.add_base_chain(name, hook, rules);
    }
    ruleset.fresh.extend(tunnels.ports.keys());
}

/// A container writes a peer's address as its own. No other check sees that: the packet leaves as it is.
fn forged(tunnels: &Tunnels) -> Vec<Rule> {
    let ports = tunnels.ports.keys();
    let ends = ports.flat_map(|port| [to_port(*port), from_port(*port)]);
    let each = ends.flat_map(|end| {
        KINDS.map(|kind| {
            vec![
                end.clone(),
                tunnels.not_by_uplink(),
                Match::InKind(kind.to_owned()),
                Match::NoWayBack,
            ]
        })
    });
    each.map(|matches| dropped(matches, "a forged source"))
        .collect()
}

/// Pods may have tunnels of their own between each other: what goes to a pod is none of ours. What goes to a node by an
/// address inside the network is dropped there.
fn sent(networks: &Dual<PolicyNetwork>, tunnels: &Tunnels) -> Vec<Rule> {
    let mut rules = Vec::new();
    for port in tunnels.ports.keys() {
        for policy in networks.values() {
            let network = policy.network;
            let out = |end| vec![from(network), not_to(network), end];
            rules.push(dropped(out(to_port(*port)), "pods to a tunnel's port"));
            rules.push(dropped(out(from_port(*port)), "answers to a tunnel's port"));
        }
    }
    rules
}

/// The same by way of a Service or a host port that leads there, whatever the source.
fn translated(networks: &Dual<PolicyNetwork>, tunnels: &Tunnels) -> Vec<Rule> {
    let mut rules = Vec::new();
    for port in tunnels.ports.keys() {
        for policy in networks.values() {
            rules.extend(KINDS.map(|kind| {
                let matches = vec![
                    not_to(policy.network),
                    to_port(*port),
                    Match::Translated,
                    tunnels.not_by_uplink(),
                    Match::InKind(kind.to_owned()),
                ];
                dropped(matches, "translated to a tunnel's port")
            }));
        }
    }
    rules
}
