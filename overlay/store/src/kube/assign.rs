//! Which subnets Kubernetes has assigned to a node, and why there are none, as well as can be told from outside.

use ipnet::IpNet;
use tweed_model::{Dual, Family, Pool, SubnetKey};

use super::node::NodeRecord;

const MISSING: &str = "PodCIDRMissing";

/// Why a node can't have a lease yet: a word for an Event, and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    /// The Event's reason.
    pub(super) word: &'static str,
    /// What is wrong and who can repair it.
    pub(super) text: String,
}

/// The node's subnets of the families that the network uses.
pub(super) fn assigned(node: &NodeRecord, pools: &Dual<Pool>) -> Result<SubnetKey, Missing> {
    let name = node.name();
    let subnets = node.subnets().map_err(|why| Missing {
        word: "PodCIDRUnusable",
        text: format!("node {name}: {why}"),
    })?;
    let mut own = Dual::default();
    for (family, pool) in pools.iter() {
        let Some(subnet) = subnets.get(family) else {
            return Err(absent(node, family));
        };
        if !pool.network.contains(subnet) {
            return Err(outside(&name, subnet, pool));
        }
        own.set(family, Some(*subnet));
    }
    Ok(SubnetKey(own))
}

/// The node has no subnet at all.
pub(super) fn none(node: &NodeRecord) -> Missing {
    Missing {
        word: MISSING,
        text: format!("node {} has no podCIDR yet", node.name()),
    }
}

fn absent(node: &NodeRecord, family: Family) -> Missing {
    if node.pod_cidrs.is_empty() {
        return none(node);
    }
    let name = node.name();
    Missing {
        word: "PodCIDRFamilyMissing",
        text: format!(
            "node {name} has no {family} podCIDR, only {}: the controller manager's --cluster-cidr has no {family} \
             range, or the node was registered before it had one",
            node.pod_cidrs.join(", ")
        ),
    }
}

fn outside(name: &str, subnet: &IpNet, pool: &Pool) -> Missing {
    Missing {
        word: "PodCIDROutsideNetwork",
        text: format!(
            "podCIDR {subnet} of node {name} is outside the network {}: the network configuration and the \
             controller manager's --cluster-cidr (kubeadm: podSubnet) must agree",
            pool.network
        ),
    }
}

/// Says more about a podCIDR that doesn't come, from a look at the other nodes. `more` is how many nodes there are
/// beside those.
pub(super) fn explain(missing: Missing, own: &str, others: &[NodeRecord], more: i64) -> Missing {
    if missing.word != MISSING {
        return missing;
    }
    let others: Vec<_> = others.iter().filter(|node| node.name() != own).collect();
    let with = others.iter().filter(|node| !node.pod_cidrs.is_empty());
    let with = with.count();
    let (word, why) = if with > 0 {
        let at_least = if more > 0 { "at least " } else { "" };
        (
            "PodCIDRRangeExhausted",
            format!(
                "{at_least}{with} other nodes have one, so the range is probably used up: widen the controller \
                 manager's --cluster-cidr, or remove Nodes that are gone (it says CIDRNotAvailable then)"
            ),
        )
    } else {
        (
            "PodCIDRAllocationOff",
            "no other node has one either: start the controller manager with --allocate-node-cidrs=true and \
             --cluster-cidr (kubeadm: podSubnet), or set spec.podCIDR on the Nodes"
                .to_owned(),
        )
    };
    Missing {
        word,
        text: format!("{}; {why}", missing.text),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use tweed_model::{NetworkConfig, Subnets};

    fn node(name: &str, cidrs: &[&str]) -> NodeRecord {
        serde_json::from_value(json!({"metadata": {"name": name}, "spec": {"podCIDRs": cidrs}}))
            .unwrap()
    }

    fn pools(v6: bool) -> Dual<Pool> {
        let text = format!(
            r#"{{"Network":"10.244.0.0/16","EnableIPv6":{v6},"IPv6Network":"fd00:10:244::/48"}}"#
        );
        pools_of(&text)
    }

    fn pools_of(text: &str) -> Dual<Pool> {
        let parsed = NetworkConfig::parse_for(Subnets::Assigned, text);
        parsed.unwrap().0.pools
    }

    fn refused(cidrs: &[&str], v6: bool) -> Missing {
        assigned(&node("n1", cidrs), &pools(v6)).unwrap_err()
    }

    #[test]
    fn subnets_come_in_any_order_and_the_first_of_the_network_counts_too() {
        let both = assigned(
            &node("n1", &["fd00:10:244:7::/64", "10.244.0.0/24"]),
            &pools(true),
        );
        assert_eq!(
            both.unwrap().to_string(),
            "10.244.0.0-24&fd00:10:244:7::-64"
        );
        let v4 = assigned(
            &node("n1", &["fd00:1::/64", "10.244.3.0/25"]),
            &pools(false),
        );
        assert_eq!(v4.unwrap().to_string(), "10.244.3.0-25");
    }

    #[test]
    fn what_kubernetes_assigns_is_taken_whatever_the_keys_for_subnets_say() {
        for (config, cidr) in [
            (r#"{"Network":"10.244.1.0/29"}"#, "10.244.1.0/29"),
            (r#"{"Network":"10.244.1.0/29"}"#, "10.244.1.4/30"),
            (
                r#"{"Network":"10.244.0.0/16","SubnetLen":31}"#,
                "10.244.3.0/24",
            ),
            (
                r#"{"Network":"10.244.0.0/16","SubnetMin":"10.9.0.0"}"#,
                "10.244.3.0/24",
            ),
        ] {
            let key = assigned(&node("n1", &[cidr]), &pools_of(config)).unwrap();
            assert_eq!(key.0.v4, cidr.parse().ok(), "{config}");
        }
    }

    #[test]
    fn a_subnet_outside_the_network_and_a_missing_family_are_named() {
        let outside = refused(&["10.42.1.0/24"], false);
        assert_eq!(outside.word, "PodCIDROutsideNetwork");
        assert!(
            outside.text.contains("10.42.1.0/24") && outside.text.contains("10.244.0.0/16"),
            "{}",
            outside.text
        );
        let half = refused(&["10.244.1.0/24"], true);
        assert!(half.text.contains("no IPv6 podCIDR"), "{}", half.text);
    }

    #[test]
    fn a_missing_subnet_is_explained_by_the_other_nodes() {
        let missing = refused(&[], false);
        let own = node("n1", &[]);
        let off = explain(missing.clone(), "n1", &[own.clone(), node("n2", &[])], 0);
        assert_eq!(off.word, "PodCIDRAllocationOff");
        let full = explain(missing, "n1", &[own, node("n2", &["10.244.1.0/24"])], 0);
        assert_eq!(full.word, "PodCIDRRangeExhausted");
        assert!(full.text.contains("1 other nodes"), "{}", full.text);
    }
}
