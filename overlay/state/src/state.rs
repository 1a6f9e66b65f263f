//! What the kernel holds, or should hold, of ours. Maps are keyed the way the kernel keys its objects, interfaces by
//! name. The same type describes the desired and the observed state, so that a plan is their difference. What there is one
//! of for each peer is in shared maps: a wanted state shares with the one before it all that has not changed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use tweed_model::{Family, LinkName, Mac, SharedMap, SharedSet};
use tweed_nft::{ForeignForward, Mark, TableState};

use super::link::Link;
use super::nexthop::{NextHop, NextHopObject, ObjectRef};

/// The routing protocol number of every route that Tweed installs: how a restarted agent knows its own.
/// Unused in iproute2's `rt_protos`; the letter T.
pub const ROUTE_PROTOCOL: u8 = 84;

/// The protocol number of routes that lead by nexthop objects. A version that knows no objects would take such a route of
/// protocol 84 for its own, and could not delete it. A route of 85 counts there as another program's, and is replaced by a
/// plain one.
pub const OBJECT_ROUTE_PROTOCOL: u8 = 85;

/// Sysctls below this are there only while the kernel's module `br_netfilter` is loaded.
pub const BRIDGE_FILTER: &str = "net/bridge/";

/// Whether a sysctl is set only if it is there: those of `br_netfilter`, and whether an interface takes router
/// advertisements, which one without IPv6 doesn't (it is off, or the MTU is below 1,280 bytes).
pub fn may_be_absent(sysctl: &str) -> bool {
    sysctl.starts_with(BRIDGE_FILTER) || sysctl.ends_with("/accept_ra")
}

/// A neighbour (ARP, NDP) entry's key.
pub type NeighKey = (LinkName, IpAddr);
/// A forwarding database entry's key.
pub type FdbKey = (LinkName, Mac);

/// The kernel's key of a route in the main table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey {
    /// Destination prefix, host bits zero.
    pub dst: IpNet,
    /// Metric; 0 is IPv4's default, 1024 IPv6's.
    pub metric: u32,
}

impl RouteKey {
    /// The key of a route with its family's default metric.
    pub fn of(dst: IpNet) -> Self {
        let metric = match Family::of_net(&dst) {
            Family::V4 => 0,
            Family::V6 => 1024,
        };
        Self {
            dst: dst.trunc(),
            metric,
        }
    }
}

/// A route's value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Route {
    /// Where it leads.
    pub next_hop: NextHop,
    /// Routing protocol number; ours are [`ROUTE_PROTOCOL`] and [`OBJECT_ROUTE_PROTOCOL`].
    pub protocol: u8,
}

/// The kernel objects that concern one overlay network on one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelState {
    /// Interfaces by name.
    pub links: BTreeMap<String, Link>,
    /// Global addresses on our interfaces.
    pub addrs: BTreeSet<(String, IpNet)>,
    /// Permanent neighbour entries on our interfaces.
    pub neighs: SharedMap<NeighKey, Mac>,
    /// Permanent forwarding database entries on our interfaces, to the peer that has the MAC.
    pub fdb: SharedMap<FdbKey, IpAddr>,
    /// By interface, whether the checksum of what it carries is left to the device below it (`tx-checksum-ip-generic`).
    /// Only those interfaces for which a choice is made.
    pub tx_checksum: BTreeMap<String, bool>,
    /// Nexthop objects by which our routes lead.
    pub nexthops: SharedSet<NextHopObject>,
    /// Routes in the main table.
    pub routes: SharedMap<RouteKey, Route>,
    /// Our nftables table; `None` when it isn't there.
    pub firewall: Option<TableState>,
    /// Base chains of other programs that drop forwarded packets, and our accept rules in them.
    pub foreign_forward: BTreeMap<Family, ForeignForward>,
    /// Sysctls by path below `/proc/sys`, such as `net/ipv4/ip_forward`.
    pub sysctls: BTreeMap<String, String>,
    /// What of other networks' agents is in the way. None is ever wanted.
    pub others: Others,
}

impl KernelState {
    /// Makes all IPv4 routes with a gateway lead by nexthop objects, which are wanted then too.
    pub fn use_nexthops(&mut self) {
        let mut objects = Vec::new();
        for route in self.routes.values_mut() {
            if let Some(object) = route.next_hop.as_object() {
                route.next_hop.refer(ObjectRef::Ours);
                route.protocol = OBJECT_ROUTE_PROTOCOL;
                objects.push(object);
            }
        }
        self.nexthops = objects.into_iter().collect();
    }

    /// A link that goes takes its addresses, entries and routes with it: they count as not there.
    pub fn forget_dependants(&mut self, link: &str) {
        self.addrs.retain(|(name, _)| name != link);
        self.tx_checksum.remove(link);
        self.neighs.retain(|(name, _), _| **name != *link);
        self.fdb.retain(|(name, _), _| **name != *link);
        self.nexthops.retain(|object| *object.dev != *link);
        self.routes.retain(|_, route| !route.next_hop.is_over(link));
        self.sysctls
            .retain(|key, _| !key.contains(&format!("/{link}/")));
    }

    /// Makes all routes plain, without objects.
    pub fn leave_nexthops(&mut self) {
        for route in self.routes.values_mut() {
            route.next_hop.refer(ObjectRef::Plain);
            if route.protocol == OBJECT_ROUTE_PROTOCOL {
                route.protocol = ROUTE_PROTOCOL;
            }
        }
        self.nexthops.clear();
    }
}

/// What the agents of other networks have on this host, as far as it concerns us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Others {
    /// Interfaces under our names that belong to an agent that runs, and how to call that one.
    pub taken: BTreeMap<String, String>,
    /// Tables of agents that run and drop our tunnel's packets, and how to call these agents.
    pub dropping: BTreeMap<String, String>,
    /// Instances whose agents run no more and that have no device left: their tables and accept rules are to go.
    pub left_behind: BTreeSet<String>,
}

/// Which kernel objects an observation returns: the ownership rules as a value. See `docs/OWNERSHIP.md`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Names that are ours whatever stands under them.
    pub link_names: BTreeSet<String>,
    /// VXLAN devices with exactly this alias are ours too: leftovers of an earlier configuration.
    pub alias: String,
    /// Interface on which host-gw and direct routes lie.
    pub uplink: String,
    /// What this node announces: whether the host has these addresses, on whichever interface, decides what its packets
    /// leave with.
    pub announced: BTreeSet<IpAddr>,
    /// Pod networks: routes on the uplink are looked at only inside them.
    pub networks: Vec<IpNet>,
    /// Networks of earlier configurations: inside them, routes with our protocol number are leftovers.
    pub former: BTreeSet<IpNet>,
    /// Lengths of node subnets, per family: a route of another protocol on the uplink is adopted only with this length.
    pub subnet_lens: BTreeMap<Family, u8>,
    /// Addresses of the nodes: and only with one of these as its gateway.
    pub node_addrs: SharedSet<IpAddr>,
    /// Own subnets: a blackhole route to exactly these is ours.
    pub own_subnets: Vec<IpNet>,
    /// Name of our nftables table (family inet).
    pub table: String,
    /// Sysctls to read.
    pub sysctls: BTreeSet<String>,
    /// Interfaces whose `tx-checksum-ip-generic` is to be read.
    pub tx_checksum: BTreeSet<String>,
    /// UDP ports of our tunnels, and how the packet filter knows what comes by them.
    pub tunnels: BTreeMap<u16, Option<Mark>>,
    /// Whether to look for what agents of other networks have left behind.
    pub sweep: bool,
}

/// What our devices' alias begins with; the instance's name follows.
const ALIAS: &str = "tweed network ";

/// What the devices of an instance carry as `IFLA_IFALIAS`.
pub fn alias_of(instance: &str) -> String {
    format!("{ALIAS}{instance}")
}

/// The instance that a device belongs to, by its alias.
pub fn instance_of(alias: &str) -> Option<&str> {
    alias.strip_prefix(ALIAS).filter(|name| !name.is_empty())
}
