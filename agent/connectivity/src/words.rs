//! Faults in words: where, what, and what to look at. Pure.

use super::judge::{Fault, What};
use super::plan::Side;

/// The part of the guide on what to do.
const GUIDE: &str = "docs/KUBERNETES.md#what-the-connectivity-test-finds";

/// One end of a way, for people. Several nodes are said in one word.
pub fn place(side: Side, node: &str) -> String {
    match side {
        Side::Pod => format!("pods of {node}"),
        Side::Node => node.to_owned(),
    }
}

/// Where a fault lies.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// From where.
    pub from: Side,
    /// To where.
    pub to: Side,
    /// Whether both ends are on one node.
    pub same_node: bool,
    /// Whether the nodes themselves reach each other, where that was tried.
    pub below: Option<bool>,
    /// Whether it is in IPv6 alone.
    pub v6: bool,
}

/// A fault in one or two words, for a table.
pub fn short(fault: &Fault) -> &'static str {
    match fault {
        Fault::Silent { .. } => "nothing",
        Fault::NoTcp { .. } => "no TCP",
        Fault::NoUdp { .. } => "no UDP",
        Fault::Mistaken { .. } => "wrong pod",
        Fault::Big { .. } => "large lost",
        Fault::Transfer { .. } => "stalls",
        Fault::Source { .. } => "rewritten",
    }
}

/// What is wrong.
pub fn what(fault: &Fault) -> String {
    match fault {
        Fault::Silent { reason, .. } if has_no_way(reason) => {
            format!("nothing is sent ({reason})")
        }
        Fault::Silent { arrived, reason } => match arrived {
            Some(false) => format!("nothing arrives ({reason})"),
            Some(true) => "packets arrive, but no answer comes back".to_owned(),
            None => format!("no answer ({reason})"),
        },
        Fault::NoTcp { reason } => {
            format!("datagrams are answered, connections are not ({reason})")
        }
        Fault::NoUdp { arrived } => match arrived {
            Some(false) => "connections work, datagrams don't arrive".to_owned(),
            Some(true) => {
                "connections work, datagrams arrive, but their answers are lost".to_owned()
            }
            None => "connections work, datagrams are not answered".to_owned(),
        },
        Fault::Mistaken { name } => format!("{name} answers instead: two have one address"),
        Fault::Big {
            size,
            passed,
            told,
            transfer,
        } => {
            let told = told.map_or(String::new(), |told| {
                format!(", and a router on the way says {told}")
            });
            let connections = match transfer {
                Some(true) => "; connections adapt",
                Some(false) => "; connections that send much hang",
                None => "",
            };
            format!(
                "small packets pass, packets of {size} bytes don't: the largest that pass have {passed}{told}{connections}"
            )
        }
        Fault::Transfer { reason } => {
            format!(
                "single packets of every size pass, but 1 MiB over a connection doesn't ({reason})"
            )
        }
        Fault::Source { seen } => {
            format!("packets arrive with the address {seen} instead of the pod's own")
        }
    }
}

/// What to look at. `from` and `to` are the nodes, as they are said in the fault.
pub fn hint(fault: &Fault, scope: Scope, from: &str, to: &str) -> String {
    let advice = match fault {
        Fault::Silent {
            arrived: Some(true),
            ..
        } => format!(
            "what drops the answers on the way from {to} to {from}: firewalls there, and the routes of {to}"
        ),
        Fault::Silent { reason, .. } if has_no_way(reason) => no_way(scope, from),
        Fault::Silent { .. } => silent(scope, from, to),
        Fault::NoTcp { .. } | Fault::NoUdp { .. } => format!(
            "a firewall on {from}, on {to} or between them that tells TCP from UDP; for TCP also checksum offloading (ethtool -k)"
        ),
        Fault::Mistaken { .. } => format!(
            "`tweedd status` on both nodes: do their subnets overlap? On {to}: reservations below /var/lib/cni"
        ),
        Fault::Big { passed, .. } => big(scope, *passed),
        Fault::Transfer { .. } => format!(
            "loss on the uplinks of {from} and {to} (ip -s link), and checksum or segmentation offloading that a network card gets wrong (ethtool -k; for VXLAN set \"TxChecksum\" to \"off\" in Backend and try again)"
        ),
        Fault::Source { .. } => format!(
            "does the agent of {from} run with --ip-masq (without it the bridge plugin masquerades between pods)? Else rules of others masquerade, such as flannel's own (chain FLANNEL-POSTRTG, table flannel-ipv4 or flannel-ipv6), which its last run has left: `nft list ruleset`, `iptables-save -t nat`"
        ),
    };
    format!("{advice} ({GUIDE})")
}

/// Whether the sender's own kernel knew no way: no firewall has seen a packet then.
fn has_no_way(reason: &str) -> bool {
    reason.contains("Network is unreachable") || reason.contains("Network unreachable")
}

fn no_way(scope: Scope, from: &str) -> String {
    match scope.from {
        Side::Pod => format!(
            "the routes in the pods of {from} (ip route): they have none that leads there. A default route comes from \"isDefaultGateway\": true in the CNI configuration list; pods that run keep what they have"
        ),
        Side::Node => format!("the routes of {from} (ip route): it has none that leads there"),
    }
}

fn silent(scope: Scope, from: &str, to: &str) -> String {
    if scope.same_node {
        return format!(
            "the firewall of {from} between its pods and itself (chains INPUT and FORWARD)"
        );
    }
    if scope.below == Some(false) && (scope.from, scope.to) != (Side::Node, Side::Node) {
        return format!(
            "the nodes themselves don't reach each other: repair the network between {from} and {to} first"
        );
    }
    match (scope.from, scope.to) {
        (Side::Node, Side::Node) => format!(
            "the network between {from} and {to}: addresses, routes and firewalls, below any overlay"
        ),
        (Side::Pod, Side::Node) => format!(
            "firewalls on {to} and between the nodes; whether {from} masquerades what its pods send to nodes (--ip-masq)"
        ),
        (_, Side::Pod) => {
            let nodes = match scope.below {
                Some(true) => "the nodes reach each other, so it is the overlay: ",
                _ => "",
            };
            format!(
                "{nodes}does a firewall drop its packets (VXLAN: UDP 8472) from {from} to {to}? Does `tweedd status` on both name the other as a peer?"
            )
        }
    }
}

fn big(scope: Scope, passed: u32) -> String {
    match (scope.from, scope.to) {
        (Side::Node, Side::Node) => {
            "the network between the nodes takes smaller packets than their uplinks say: correct the uplinks' MTU, or the path".to_owned()
        }
        _ if scope.same_node => "the MTUs of the pod's interface and of the bridge: ip link".to_owned(),
        _ => {
            let (family, overhead) = if scope.v6 { ("IPv6", 70) } else { ("IPv4", 50) };
            format!(
                "the path between the nodes takes smaller packets than their uplinks say, or something drops large ones: set \"MTU\" in Backend to what the path takes (with VXLAN over {family} {passed} + {overhead} = {})",
                passed + overhead
            )
        }
    }
}

/// What to look at where a service or a resolver doesn't answer; `ways` says that not all ways from there to pods work.
pub fn local_hint(what: &What, node: &str, ways: bool) -> String {
    let advice = match what {
        _ if ways => format!(
            "first what is broken between {node} and pods of other nodes, above: what should answer may be there"
        ),
        What::Service(_) => format!("kube-proxy on {node}: whether it runs, and its log"),
        What::Resolver(_) => format!(
            "do the DNS pods run (kubectl -n kube-system get pods -l k8s-app=kube-dns), and does {node} reach services at all?"
        ),
        What::Resolvers => format!("the kubelet's clusterDNS on {node}, and the pod's dnsPolicy"),
    };
    format!("{advice} ({GUIDE})")
}

/// What was asked, for people.
pub fn target(what: &What) -> String {
    match what {
        What::Service(addr) => format!("service {addr}"),
        What::Resolver(addr) => format!("DNS at {addr}"),
        What::Resolvers => "DNS".to_owned(),
    }
}
