//! The agent's rules: which pod traffic is masqueraded; `tunnel` and `guard` say who may
//! send into a tunnel.
//!
//! There is no forward chain. An `accept` in our table could not overrule the `drop` of another's, so where forwarded
//! packets are dropped by policy the accepts go there ([`super::ForeignForward`]); a chain of ours would only cost
//! every packet 2 or 3 % of the rate of small ones.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tweed_model::{Dual, Family};

use super::guard::add_guard;
use super::ruleset::{Chain, ChainKind, Hook, HookPoint, Match, Rule, Ruleset, Side, Verdict};
use super::tunnel::{Tunnels, add_input};

/// The bit by which kube-proxy marks packets that it wants to masquerade itself.
const KUBE_MASQUERADE_MARK: u32 = 0x4000;

/// nft's `srcnat` priority.
const SOURCE_NAT: i32 = 100;

/// What the agent's rules follow from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyInput {
    /// Name of the nftables table.
    pub table: String,
    /// The networks of each enabled family.
    pub networks: Dual<PolicyNetwork>,
    /// Masquerade pod traffic that leaves the pod network; none where the option is off.
    pub masquerade: Option<Masquerade>,
    /// The tunnels that pods and strangers are kept away from; none where the backend has no such tunnel.
    pub tunnels: Option<Tunnels>,
}

/// One family's networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyNetwork {
    /// The pod network of all nodes.
    pub network: IpNet,
    /// This node's part of it.
    pub subnet: IpNet,
}

/// How to masquerade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Masquerade {
    /// Choose source ports at random.
    pub fully_random: bool,
}

/// The agent's ruleset. Families that aren't enabled and chains without rules are left out.
pub fn agent_ruleset(input: &PolicyInput) -> Ruleset {
    let mut ruleset = Ruleset {
        table: input.table.clone(),
        ..Ruleset::default()
    };
    if let Some(masquerade) = input.masquerade {
        let rules = masquerade_rules(&input.networks, masquerade);
        let hook = hook(ChainKind::Nat, HookPoint::Postrouting, SOURCE_NAT);
        add_chain(&mut ruleset, "postrouting", hook, rules);
    }
    if let Some(tunnels) = &input.tunnels {
        add_input(&mut ruleset, input, tunnels);
        add_guard(&mut ruleset, input, tunnels);
    }
    ruleset
}

pub fn hook(kind: ChainKind, point: HookPoint, priority: i32) -> Hook {
    Hook {
        kind,
        point,
        priority,
        drop: false,
    }
}

pub(crate) fn add_chain(ruleset: &mut Ruleset, name: &str, hook: Hook, rules: Vec<Rule>) {
    if !rules.is_empty() {
        let hook = Some(hook);
        ruleset
            .chains
            .insert(name.to_owned(), Chain { hook, rules });
    }
}

/// flannel's masquerade rules in the order of its iptables mode. Its nftables mode negates the subnet instead of the
/// network in the third exception, which makes the last rule unreachable.
fn masquerade_rules(networks: &Dual<PolicyNetwork>, masquerade: Masquerade) -> Vec<Rule> {
    if networks.is_empty() {
        return Vec::new();
    }
    let mark = Match::Mark {
        value: KUBE_MASQUERADE_MARK,
        mask: KUBE_MASQUERADE_MARK,
    };
    let mut rules = vec![rule(
        vec![mark],
        Verdict::Return,
        "left to kube-proxy's masquerade",
    )];
    for (family, policy) in networks.iter() {
        rules.extend(family_masquerade_rules(family, policy, masquerade));
    }
    rules
}

fn family_masquerade_rules(
    family: Family,
    &PolicyNetwork { network, subnet }: &PolicyNetwork,
    Masquerade { fully_random }: Masquerade,
) -> [Rule; 5] {
    let masquerade = || Verdict::Masquerade { fully_random };
    [
        rule(
            vec![from(subnet), to(network)],
            Verdict::Return,
            "our pods to pods",
        ),
        rule(
            vec![from(network), to(subnet)],
            Verdict::Return,
            "pods to our pods",
        ),
        rule(
            vec![not_from(network), to(subnet)],
            Verdict::Return,
            "others to our pods, who see the true source",
        ),
        rule(
            vec![from(network), not_to(multicast(family))],
            masquerade(),
            "pods to the outside",
        ),
        rule(
            vec![not_from(network), to(network)],
            masquerade(),
            "others to pods of other nodes, which answer through us",
        ),
    ]
}

/// Multicast is never masqueraded.
pub fn multicast(family: Family) -> IpNet {
    match family {
        Family::V4 => Ipv4Net::new_assert([224, 0, 0, 0].into(), 4).into(),
        Family::V6 => Ipv6Net::new_assert([0xff00, 0, 0, 0, 0, 0, 0, 0].into(), 8).into(),
    }
}

pub fn rule(matches: Vec<Match>, verdict: Verdict, comment: &str) -> Rule {
    Rule {
        matches,
        counter: false,
        verdict,
        comment: comment.to_owned(),
    }
}

pub fn from(net: IpNet) -> Match {
    net_match(Side::Source, false, net)
}

fn not_from(net: IpNet) -> Match {
    net_match(Side::Source, true, net)
}

pub fn to(net: IpNet) -> Match {
    net_match(Side::Destination, false, net)
}

pub(crate) fn not_to(net: IpNet) -> Match {
    net_match(Side::Destination, true, net)
}

fn net_match(side: Side, not: bool, net: IpNet) -> Match {
    Match::Net { side, not, net }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Mark;

    fn dual_stack() -> PolicyInput {
        let policy = |network: &str, subnet: &str| PolicyNetwork {
            network: network.parse().unwrap(),
            subnet: subnet.parse().unwrap(),
        };
        let vxlan = Mark {
            name: "VXLAN 1".to_owned(),
            offset: 12,
            bytes: vec![0, 0, 1],
        };
        PolicyInput {
            table: "tweed".to_owned(),
            networks: Dual {
                v4: Some(policy("10.244.0.0/16", "10.244.1.0/24")),
                v6: Some(policy("fd00:10:244::/48", "fd00:10:244:1::/64")),
            },
            masquerade: Some(Masquerade { fully_random: true }),
            tunnels: Some(Tunnels {
                ports: [(8285, None), (8472, Some(vxlan))].into(),
                uplink: "eth0".to_owned(),
                inner: ["cni0", "flannel.1", "flannel-v6.1", "flannel0"]
                    .map(str::to_owned)
                    .into(),
                way_back: true,
                peers: Some(
                    ["192.168.0.2", "192.168.0.3", "fd01::2"]
                        .map(|addr| addr.parse().unwrap())
                        .into(),
                ),
                sources: Some(
                    [
                        ("192.168.0.2", "10.244.2.0/24"),
                        ("192.168.0.2", "192.168.0.2/32"),
                        ("192.168.0.3", "10.244.48.0/20"),
                        ("fd01::2", "fd00:10:244:2::/64"),
                    ]
                    .map(|(outer, inner)| (outer.parse().unwrap(), inner.parse().unwrap()))
                    .into(),
                ),
            }),
        }
    }

    #[test]
    fn the_whole_ruleset_reads_like_this() {
        let text = agent_ruleset(&dual_stack()).to_string();
        assert_eq!(text, include_str!("testdata/dual-stack.nft"));
    }

    #[test]
    fn a_disabled_family_leaves_no_trace() {
        let mut input = dual_stack();
        input.networks.v6 = None;
        let text = agent_ruleset(&input).to_string();
        assert!(!text.contains("ip6") && !text.contains("peers6"), "{text}");
        assert!(text.contains("peers4"), "{text}");
    }

    #[test]
    fn what_is_switched_off_leaves_no_chain() {
        let mut input = dual_stack();
        input.masquerade = None;
        input.tunnels = None;
        let ruleset = agent_ruleset(&input);
        assert!(ruleset.chains.is_empty() && ruleset.sets.is_empty());
    }

    #[test]
    fn a_new_peer_changes_one_element_and_no_rule() {
        let mut input = dual_stack();
        let before = agent_ruleset(&input).state();
        let tunnels = input.tunnels.as_mut().unwrap();
        let peers = tunnels.peers.as_mut().unwrap();
        peers.insert("192.168.0.9".parse().unwrap());
        let after = agent_ruleset(&input).state();
        assert_eq!(before.chains, after.chains);
        assert_eq!(before.sets["peers6"], after.sets["peers6"]);
        assert_eq!(after.sets["peers4"].elements.len(), 3);
    }
}
