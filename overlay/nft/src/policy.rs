//! The agent's rules: which pod traffic is masqueraded. Which packets may enter a tunnel is in `tunnel` and `guard`.
//!
//! There is no forward chain. An `accept` in our table could not overrule the `drop` of another's, so where forwarded
//! packets are dropped by policy the accepts go there ([`super::ForeignForward`]); a chain of ours would only cost
//! every packet 2 or 3 % of the rate of small ones.

use tweed_model::{Dual, Family};

use super::guard::add_guard;
use super::input::{Masquerade, PolicyInput, PolicyNetwork};
use super::rule::{Match, Rule, Verdict, from, multicast, not_from, not_to, rule, to};
use super::ruleset::{ChainKind, Hook, HookPoint, Ruleset};
use super::tunnel::add_input;

/// The bit by which kube-proxy marks packets that it wants to masquerade itself.
const KUBE_MASQUERADE_MARK: u32 = 0x4000;

/// nft's `srcnat` priority.
const SOURCE_NAT: i32 = 100;

/// The agent's ruleset. Families that aren't enabled and chains without rules are left out.
pub fn agent_ruleset(input: &PolicyInput) -> Ruleset {
    let mut ruleset = Ruleset {
        table: input.table.clone(),
        ..Ruleset::default()
    };
    if let Some(masquerade) = input.masquerade {
        let rules = masquerade_rules(&input.networks, masquerade);
        let hook = Hook::new(ChainKind::Nat, HookPoint::Postrouting, SOURCE_NAT);
        ruleset.add_base_chain("postrouting", hook, rules);
    }
    if let Some(tunnels) = &input.tunnels {
        add_input(&mut ruleset, &input.networks, tunnels);
        add_guard(&mut ruleset, &input.networks, tunnels);
    }
    ruleset
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::dual_stack;

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
