//! Pods that sit on an earlier subnet of this node: their bridge has an address outside the current subnet, so that no
//! route leads to them, and the plugin refuses to attach another pod.

use std::time::{Duration, Instant};

use ipnet::IpNet;
use tweed_model::Dual;
use tweed_state::attached::UsedBridge;

use super::{Keeper, News};
use crate::daemon::facts::Facts;

/// How often the kernel thread is asked for a look while something is wrong.
const AGAIN: Duration = Duration::from_secs(2);
/// The plugin's bridge, where the network configuration list names no other.
const USUAL: &str = "cni0";

/// Keeper that reports such a bridge.
pub struct Bridge {
    /// Subnets of this node.
    own: Dual<IpNet>,
    /// The networks that pods are in.
    networks: Vec<IpNet>,
    /// Networks of earlier configurations.
    former: Vec<IpNet>,
    /// The plugin's usual bridge is ours, whatever address it has.
    usual: bool,
    /// When to look again, while something is wrong.
    due: Option<Instant>,
}

impl Bridge {
    /// A keeper for these subnets and networks.
    pub fn new(
        own: Dual<IpNet>,
        (networks, former): (Vec<IpNet>, Vec<IpNet>),
        usual: bool,
    ) -> Self {
        Self {
            own,
            networks,
            former,
            usual,
            due: None,
        }
    }

    /// From now on the networks of earlier configurations belong to no agent, or to another one.
    pub fn forget_former(&mut self) {
        self.former.clear();
    }

    /// What is wrong.
    fn found(&self, bridges: &[UsedBridge]) -> Option<String> {
        let networks = [&self.networks[..], &self.former].concat();
        earlier(bridges, &self.own, (&networks, self.usual))
    }
}

impl Keeper for Bridge {
    fn look(&mut self, facts: &mut Facts, now: Instant) -> Option<News> {
        let found = self.found(&facts.bridges);
        if let Some(reason) = found.as_ref().filter(|_| facts.earlier_subnet != found) {
            tracing::warn!(reason, "new pods can't start");
        }
        facts.earlier_subnet = found;
        let due = facts
            .earlier_subnet
            .as_ref()
            .map(|_| self.due.unwrap_or(now + AGAIN));
        let again = due.is_some_and(|due| now >= due);
        self.due = if again { Some(now + AGAIN) } else { due };
        again.then_some(News::Attached)
    }

    fn due(&self) -> Option<Instant> {
        self.due
    }
}

fn earlier(
    bridges: &[UsedBridge],
    own: &Dual<IpNet>,
    (networks, usual): (&[IpNet], bool),
) -> Option<String> {
    bridges.iter().find_map(|bridge| {
        let mine = bridge.addrs.iter().filter(|addr| !is_link_local(addr));
        let mine: Vec<IpNet> = mine.copied().collect();
        let within = |nets: &[IpNet], addr: &IpNet| nets.iter().any(|net| net.contains(&addr.addr()));
        let subnets: Vec<IpNet> = own.values().copied().collect();
        if mine.iter().any(|addr| within(&subnets, addr)) {
            return None;
        }
        let old = mine
            .iter()
            .find(|addr| usual && bridge.name == USUAL || within(networks, addr))?;
        let subnets: Vec<String> = subnets.iter().map(ToString::to_string).collect();
        let (old_subnet, pods) = (old.trunc(), bridge.ports);
        Some(format!(
            "pods sit on an earlier subnet: bridge {} has {old} and {pods} pods, and this node's subnet is {}. Nobody finds \
             those pods, and no other can start (code 104): drain the node, and the bridge gets its new address with the \
             next pod; if another network configuration was written by mistake, write the earlier one again; if another node's \
             lease took that subnet by mistake, release it (tweedd leases release {old_subnet}), and this node goes back to it",
            bridge.name,
            subnets.join(" and ")
        ))
    })
}

fn is_link_local(net: &IpNet) -> bool {
    match net {
        IpNet::V4(net) => net.addr().is_link_local(),
        IpNet::V6(net) => net.addr().is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(addr: &str, own: &str, usual: bool) -> Option<String> {
        let own = Dual::of_nets([own.parse().expect("a subnet")]);
        let networks = vec!["10.244.0.0/16".parse().expect("a network")];
        let bridge = UsedBridge {
            name: "cni0".to_owned(),
            addrs: ["fe80::1/64", addr]
                .map(|net| net.parse().expect("an address"))
                .into(),
            ports: 1,
        };
        Bridge::new(own, (networks, Vec::new()), usual).found(&[bridge])
    }

    #[test]
    fn pods_on_an_earlier_subnet_are_found_by_their_bridge() {
        assert_eq!(found("10.244.5.1/24", "10.244.5.0/24", true), None);
        let said = found("10.244.5.1/24", "10.244.9.0/24", false).expect("said");
        for part in ["cni0 has 10.244.5.1/24", "10.244.9.0/24", "1 pods", "drain"] {
            assert!(said.contains(part), "{said}");
        }
        // Another network's: only where the bridge is surely ours.
        assert_eq!(found("10.99.5.1/24", "10.244.9.0/24", false), None);
        assert!(found("10.99.5.1/24", "10.244.9.0/24", true).is_some());
    }

    #[test]
    fn the_kernel_is_looked_at_again_as_long_as_something_is_wrong() {
        let own = Dual::of_nets(["10.244.9.0/24".parse().expect("a subnet")]);
        let mut keeper = Bridge::new(own, (Vec::new(), Vec::new()), true);
        let mut facts = Facts::default();
        let start = Instant::now();
        assert_eq!((keeper.look(&mut facts, start), keeper.due()), (None, None));
        facts.bridges = vec![UsedBridge {
            name: "cni0".to_owned(),
            addrs: vec!["10.244.5.1/24".parse().expect("an address")],
            ports: 1,
        }];
        assert_eq!(keeper.look(&mut facts, start), None);
        assert_eq!(keeper.due(), Some(start + AGAIN));
        let news = keeper.look(&mut facts, start + AGAIN);
        assert_eq!(news, Some(News::Attached));
        facts.bridges.clear();
        keeper.look(&mut facts, start + AGAIN);
        assert_eq!((keeper.due(), facts.earlier_subnet), (None, None));
    }
}
