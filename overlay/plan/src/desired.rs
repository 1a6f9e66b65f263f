//! From configuration, node and leases to the wanted kernel state: a total, pure function.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use tweed_backend::{Backends, Intent};
use tweed_model::{
    Admission, ClusterSnapshot, Dual, Family, LocalNode, NetworkConfig, PeerSide, Seniority,
    SubnetKey, admit,
};
use tweed_nft::{
    ForeignForward, Masquerade, POD_BRIDGE, PolicyInput, PolicyNetwork, Tunnels, agent_ruleset,
};
use tweed_state::nexthop::NextHop;
use tweed_state::state::{
    BRIDGE_FILTER, KernelState, ROUTE_PROTOCOL, Route, RouteKey, Scope, alias_of,
};
use tweed_state::wanted::Desired;

/// Choices of the operator that shape the desired state, beside the network configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choices {
    /// Names this overlay network on this host: the nftables table, and part of our devices' alias.
    pub table: String,
    /// Masquerade what pods send to the outside; with fully random ports or not.
    pub masquerade: Option<Masquerade>,
    /// Accept forwarded packets from and to the pod networks.
    pub forward_accept: bool,
    /// Accept tunnel packets only from the peers' public addresses.
    pub allow_list: bool,
    /// Accept from each peer what comes from its own subnet, or from its public address.
    pub check_sources: bool,
    /// Whether the kernel's packet filter can ask for the way back of a packet to this host.
    pub way_back: bool,
    /// Whether the kernel has nexthop objects, by which IPv4 routes to peers lead then.
    pub nexthops: bool,
    /// Blackhole route for the own subnet, so that packets to pods that don't exist die here.
    pub blackhole: bool,
    /// Let packets between pods of one node pass the packet filter, where the kernel can: Services need that.
    pub bridge_filter: bool,
    /// Pod networks of earlier configurations whose routes have yet to be swept.
    pub former: BTreeSet<IpNet>,
}

impl Choices {
    /// What a device of this network carries as `IFLA_IFALIAS`.
    pub fn alias(&self) -> String {
        alias_of(&self.table)
    }
}

/// The wanted state.
pub fn desired(
    config: &NetworkConfig,
    backends: &Backends,
    node: &LocalNode,
    choices: &Choices,
    snapshot: &ClusterSnapshot,
    seniority: &Seniority,
) -> Desired {
    let mut desired = without_firewall(config, backends, node, choices, snapshot, seniority);
    let ruleset = &desired.ruleset;
    desired.state.firewall = (!ruleset.is_empty()).then(|| ruleset.state());
    desired
}

/// The same but for the short form of the ruleset, which takes longer than all else where leases are few.
pub(super) fn without_firewall(
    config: &NetworkConfig,
    backends: &Backends,
    node: &LocalNode,
    choices: &Choices,
    snapshot: &ClusterSnapshot,
    seniority: &Seniority,
) -> Desired {
    let mut admission = admit::admit(&config.pools, node, &backends.spoken(), snapshot);
    admission.rank(seniority);
    let Intent {
        mut state,
        forwarding,
        refused,
    } = backends.intent(node, &admission);
    admission.refuse(refused);
    if choices.nexthops {
        state.use_nexthops();
    }
    let alias = choices.alias();
    for link in state.links.values_mut() {
        link.alias.clone_from(&alias);
    }
    let addrs = public_addrs(&admission);
    let sources = choices.check_sources.then(|| peer_sources(&admission));
    add_sysctls(&mut state, node, &config.pools);
    if choices.bridge_filter {
        add_bridge_filter(&mut state, &config.pools);
    }
    if choices.blackhole {
        add_blackholes(&mut state, node);
    }
    state.foreign_forward = foreign_forward(config, choices);
    let ruleset = agent_ruleset(&policy_input(
        config, backends, node, choices, &addrs, sources,
    ));
    let announced = announced(node, snapshot);
    let scope = Scope {
        announced,
        ..scope(config, backends, node, choices, &state, addrs)
    };
    Desired {
        state,
        ruleset,
        forwarding: forwarding.map(Arc::new),
        spare_links: spare_links(backends),
        scope,
        prune: snapshot.in_sync,
        listings: snapshot.listings,
        own_listed: snapshot.leases.contains_key(&SubnetKey(node.subnets)),
        peers: admission.peers.len(),
        refused: admission.refused,
        reserved: admission.reserved,
    }
}

/// The accepted backends' devices carry no node's own packets.
fn spare_links(backends: &Backends) -> BTreeSet<String> {
    let accepted = backends.accepted();
    accepted.flat_map(|backend| backend.links.clone()).collect()
}

/// With forwarding on, the kernel forgets default routes learned by router advertisement, and learns no new ones, unless
/// the interface accepts them even so (seen on Linux 6.18). The plan sets that first.
fn add_sysctls<T>(state: &mut KernelState, node: &LocalNode, families: &Dual<T>) {
    let uplink = &node.uplink;
    if uplink.learned_default && families.get(Family::V6).is_some() {
        let key = format!("net/ipv6/conf/{}/accept_ra", uplink.name);
        state.sysctls.insert(key, "2".to_owned());
    }
    for (family, _) in families.iter() {
        let key = match family {
            Family::V4 => "net/ipv4/ip_forward",
            Family::V6 => "net/ipv6/conf/all/forwarding",
        };
        state.sysctls.insert(key.to_owned(), "1".to_owned());
    }
}

fn add_bridge_filter<T>(state: &mut KernelState, families: &Dual<T>) {
    for (family, _) in families.iter() {
        let key = match family {
            Family::V4 => "bridge-nf-call-iptables",
            Family::V6 => "bridge-nf-call-ip6tables",
        };
        let key = format!("{BRIDGE_FILTER}{key}");
        state.sysctls.insert(key, "1".to_owned());
    }
}

/// A blackhole has the worst metric there is: the connected route of the pod bridge, once it is there, goes first.
fn add_blackholes(state: &mut KernelState, node: &LocalNode) {
    for subnet in node.subnets.values() {
        let key = RouteKey {
            dst: subnet.trunc(),
            metric: u32::MAX,
        };
        let route = Route {
            next_hop: NextHop::Blackhole,
            protocol: ROUTE_PROTOCOL,
        };
        state.routes.insert(key, route);
    }
}

fn foreign_forward(config: &NetworkConfig, choices: &Choices) -> BTreeMap<Family, ForeignForward> {
    if !choices.forward_accept {
        return BTreeMap::new();
    }
    let pools = config.pools.iter();
    pools
        .map(|(family, pool)| {
            (
                family,
                ForeignForward {
                    accept: BTreeSet::from([pool.network]),
                },
            )
        })
        .collect()
}

fn policy_input(
    config: &NetworkConfig,
    backends: &Backends,
    node: &LocalNode,
    choices: &Choices,
    peers: &BTreeSet<IpAddr>,
    sources: Option<BTreeSet<(IpAddr, IpNet)>>,
) -> PolicyInput {
    let networks = config.pools.filter_map(|family, pool| {
        let subnet = *node.subnets.get(family)?;
        Some(PolicyNetwork {
            network: pool.network,
            subnet,
        })
    });
    let ports = backends.tunnels();
    let tunnels = (!ports.is_empty()).then(|| Tunnels {
        ports,
        uplink: node.uplink.name.clone(),
        inner: &backends.link_names() | &BTreeSet::from([POD_BRIDGE.to_owned()]),
        way_back: choices.way_back,
        peers: choices.allow_list.then(|| peers.clone()),
        sources,
    });
    PolicyInput {
        table: choices.table.clone(),
        networks,
        masquerade: choices.masquerade,
        tunnels,
    }
}

fn public_addrs(admission: &Admission) -> BTreeSet<IpAddr> {
    let sides = admission.peers.iter().flat_map(|peer| peer.sides.values());
    sides.map(|side| side.public).collect()
}

/// The addresses announced for this node: its own, or what the store has instead.
pub(super) fn announced(node: &LocalNode, snapshot: &ClusterSnapshot) -> BTreeSet<IpAddr> {
    let own = snapshot.leases.get(&SubnetKey(node.subnets));
    let own = own.into_iter().flat_map(|own| own.attrs.public.values());
    own.chain(node.public.values()).copied().collect()
}

/// A node may also speak for itself: where nothing is masqueraded, its answers to pods come from its public address.
fn peer_sources(admission: &Admission) -> BTreeSet<(IpAddr, IpNet)> {
    let sides = admission.peers.iter().flat_map(|peer| peer.sides.values());
    let own = |side: &PeerSide| [side.subnet.trunc(), side.public.into()];
    sides
        .flat_map(|side| own(side).map(|net| (side.public, net)))
        .collect()
}

fn scope(
    config: &NetworkConfig,
    backends: &Backends,
    node: &LocalNode,
    choices: &Choices,
    state: &KernelState,
    node_addrs: BTreeSet<IpAddr>,
) -> Scope {
    Scope {
        link_names: backends.link_names(),
        alias: choices.alias(),
        uplink: node.uplink.name.clone(),
        announced: BTreeSet::new(),
        networks: config.pools.values().map(|pool| pool.network).collect(),
        former: choices.former.clone(),
        // The own one's, since a store that assigns subnets has lengths of its own.
        subnet_lens: node
            .subnets
            .iter()
            .map(|(family, subnet)| (family, subnet.prefix_len()))
            .collect(),
        node_addrs: node_addrs.into_iter().collect(),
        own_subnets: node.subnets.values().copied().collect(),
        table: choices.table.clone(),
        sysctls: state.sysctls.keys().cloned().collect(),
        tx_checksum: state.tx_checksum.keys().cloned().collect(),
        tunnels: backends.tunnels(),
        sweep: true,
    }
}
