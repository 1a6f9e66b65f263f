//! Pods that sit on an earlier subnet of this node: their bridge has an address outside the current subnet, so that no
//! route leads to them, and the plugin refuses to attach another pod.

use std::time::{Duration, Instant};

use ipnet::IpNet;
use tweed_model::Dual;
use tweed_netlink::{AddrInfo, LinkInfo, Netlink, NetlinkError};

use super::{Keeper, News};
use crate::daemon::facts::Facts;
use crate::daemon::readings::{Reader, Reading};

/// How often it is looked at; two dumps of the kernel.
const EVERY: Duration = Duration::from_secs(10);
/// How often while something is wrong.
const SOON: Duration = Duration::from_secs(2);
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
    dumps: Reading<Result<Dumps, String>>,
    due: Instant,
}

type Dumps = (Vec<LinkInfo>, Vec<AddrInfo>);

impl Bridge {
    /// A keeper for these subnets and networks.
    pub fn new(
        own: Dual<IpNet>,
        (networks, former): (Vec<IpNet>, Vec<IpNet>),
        usual: bool,
        reader: Reader,
        now: Instant,
    ) -> Self {
        Self {
            own,
            networks,
            former,
            usual,
            dumps: Reading::new(reader),
            due: now,
        }
    }

    /// From now on the networks of earlier configurations belong to no agent, or to another one.
    pub fn forget_former(&mut self) {
        self.former.clear();
    }

    /// What is wrong, if that can be told.
    fn found(&self, dumps: Result<Dumps, String>) -> Option<Option<String>> {
        match dumps {
            Ok((links, addrs)) => {
                let networks = [&self.networks[..], &self.former].concat();
                Some(earlier(&links, &addrs, &self.own, (&networks, self.usual)))
            }
            Err(error) => {
                tracing::debug!(%error, "bridges can't be looked at now");
                None
            }
        }
    }
}

impl Keeper for Bridge {
    fn look(&mut self, facts: &mut Facts, now: Instant) -> Option<News> {
        if now >= self.due {
            self.due = now + EVERY;
            self.dumps.ask(|_| false, read);
        }
        let dumps = self.dumps.take()?;
        let found = self.found(dumps)?;
        if found.is_some() {
            self.due = now + SOON;
        }
        if let Some(reason) = found.as_ref().filter(|_| facts.earlier_subnet != found) {
            tracing::warn!(reason, "new pods can't start");
        }
        facts.earlier_subnet = found;
        None
    }
}

fn read() -> Result<Dumps, String> {
    let told = |error: NetlinkError| error.to_string();
    let mut netlink = Netlink::open().map_err(|error| error.to_string())?;
    Ok((
        netlink.links().map_err(told)?,
        netlink.addrs(None).map_err(told)?,
    ))
}

fn earlier(
    links: &[LinkInfo],
    addrs: &[AddrInfo],
    own: &Dual<IpNet>,
    (networks, usual): (&[IpNet], bool),
) -> Option<String> {
    links.iter().filter(|link| link.kind == "bridge").find_map(|bridge| {
        let ports = links.iter().filter(|link| link.master == Some(bridge.index));
        let pods = ports.count();
        if pods == 0 {
            // The plugin gives it another address with the next pod.
            return None;
        }
        let mine: Vec<IpNet> = addrs
            .iter()
            .filter(|addr| addr.index == bridge.index && !is_link_local(&addr.net))
            .map(|addr| addr.net)
            .collect();
        let within = |nets: &[IpNet], addr: &IpNet| nets.iter().any(|net| net.contains(&addr.addr()));
        let subnets: Vec<IpNet> = own.values().copied().collect();
        if mine.iter().any(|addr| within(&subnets, addr)) {
            return None;
        }
        let old = mine
            .iter()
            .find(|addr| usual && bridge.name == USUAL || within(networks, addr))?;
        let subnets: Vec<String> = subnets.iter().map(ToString::to_string).collect();
        let old_subnet = old.trunc();
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
    use tweed_netlink::lab::ip;
    use tweed_netlink::netns::isolated;

    use super::*;

    fn found(own: &str, usual: bool) -> Option<String> {
        let own = Dual {
            v4: Some(own.parse().expect("a subnet")),
            v6: None,
        };
        let networks = vec!["10.244.0.0/16".parse().expect("a network")];
        let reader = Reader::new(std::sync::mpsc::channel().0);
        let bridge = Bridge::new(own, (networks, Vec::new()), usual, reader, Instant::now());
        bridge.found(read()).expect("looked")
    }

    #[test]
    fn pods_on_an_earlier_subnet_are_found_by_their_bridge() {
        isolated(|| {
            ip("link add cni0 type bridge");
            ip("addr add 10.244.5.1/24 dev cni0");
            // Nobody is attached: the plugin gives it the right address with the next pod.
            assert_eq!(found("10.244.9.0/24", false), None);
            ip("link add veth1 master cni0 type veth peer name pod");
            assert_eq!(found("10.244.5.0/24", true), None);
            let said = found("10.244.9.0/24", false).expect("said");
            for part in ["cni0 has 10.244.5.1/24", "10.244.9.0/24", "1 pods", "drain"] {
                assert!(said.contains(part), "{said}");
            }
            // Another network's: only where the bridge is surely ours.
            ip("addr del 10.244.5.1/24 dev cni0");
            ip("addr add 10.99.5.1/24 dev cni0");
            assert_eq!(found("10.244.9.0/24", false), None);
            assert!(found("10.244.9.0/24", true).is_some());
        });
    }
}
