//! Backend `udp`: one TUN device takes all packets to other nodes, and the agent carries them in UDP datagrams. Device,
//! port and datagrams are flannel's, whose proxy speaks IPv4 alone; ours carries IPv6 over IPv6 the same way.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use tweed_forward::decide::Trust;
use tweed_forward::forwarding::Forwarding;
use tweed_forward::options::{BusyPoll, ForwardOptions};
use tweed_forward::table::Peer as Endpoint;
use tweed_model::json::Object;
use tweed_model::{
    Admission, ConfigError, Dual, Family, LinkName, LocalNode, Mac, NetworkConfig, Peer, PeerSide,
    Refusal, SubnetKey,
};
use tweed_state::{KernelState, Link, LinkKind, NextHop, ROUTE_PROTOCOL, Route, RouteKey};

use super::intent::Intent;
use super::options;
use super::outline::{Outline, Tunnel};

pub(super) const NAME: &str = "udp";
/// What a lease announces: flannel's announces nothing.
const WIRE_TYPE: &str = "";
/// flannel's port; nodes don't announce theirs, so that all of them need the same.
const DEFAULT_PORT: u16 = 8285;
/// UDP 8, IPv4 20 bytes or IPv6 40.
const OVERHEAD: Dual<u32> = Dual {
    v4: Some(28),
    v6: Some(48),
};

/// Before what pods run, as the kernel's own work for a packet is: many who send more than the host can carry would take
/// the time that carrying needs. Not the first of all: a worker gives way after each turn, for as long as its weight says,
/// and with -20 too few packets come meanwhile to send them together.
const NICE: i8 = -17;
/// Threads at most: one for each queue that a TUN device can have is no use.
const MOST_WORKERS: u64 = 64;
/// Microseconds at most.
const MOST_BUSY_POLL: u64 = 10_000;
/// Seconds at most.
const MOST_KEEP_ALIVE: u64 = 3_600;
/// What `Trust` may be, the default first.
const TRUST: [(&str, Trust); 3] = [
    ("subnets", Trust::Subnets),
    ("peers", Trust::Peers),
    ("anyone", Trust::Anyone),
];

/// The options of the backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Udp {
    /// UDP port of all nodes.
    pub port: u16,
    /// Threads that carry packets.
    pub workers: u8,
    /// Whether the device outlives the agent.
    pub persist: bool,
    /// What else the operator chose.
    pub options: ForwardOptions,
    /// The pod networks, which the device is the way to.
    pub networks: Dual<IpNet>,
}

impl Udp {
    pub(super) const KEYS: &[&str] = &[
        "Type",
        "Port",
        "Workers",
        "Persist",
        "Trust",
        "BusyPoll",
        "KeepAlive",
        "Nice",
    ];

    pub(super) fn parse(options: &Object, config: &NetworkConfig) -> Result<Self, ConfigError> {
        let port = options::number(options, "Port", 0, 0, u16::MAX.into())?;
        let port = u16::try_from(port).ok().filter(|port| *port != 0);
        let trust = options::choice(options, "Trust", &TRUST)?;
        let busy_poll = options::optional(options, "BusyPoll", 0, MOST_BUSY_POLL)?;
        let always = |micros| BusyPoll::Always(Duration::from_micros(micros));
        let keep_alive = options::number(options, "KeepAlive", 0, 0, MOST_KEEP_ALIVE)?;
        let workers = options::number(options, "Workers", 1, 1, MOST_WORKERS)?;
        Ok(Self {
            port: port.unwrap_or(DEFAULT_PORT),
            workers: u8::try_from(workers).unwrap_or(1),
            persist: options::switch(options, "Persist", true)?,
            options: ForwardOptions {
                trust,
                busy_poll: busy_poll.map_or_else(BusyPoll::default, always),
                keep_alive: (keep_alive > 0).then_some(Duration::from_secs(keep_alive)),
                nice: options::priority(options, "Nice", NICE)?,
            },
            networks: config.pools.map(|_, pool| pool.network),
        })
    }

    /// flannel announces nothing. That a node takes IPv6 too must be said: flannel's never does.
    pub(super) fn outline(&self) -> Outline {
        Outline {
            name: NAME,
            wire_type: WIRE_TYPE,
            data: Dual {
                v4: None,
                v6: Some(serde_json::json!({ "Port": self.port })),
            },
            links: BTreeSet::from([self.link_name()]),
            overhead: OVERHEAD,
            tunnel: Some(Tunnel {
                port: self.port,
                mark: None,
            }),
            data_plane: true,
            ..Outline::default()
        }
    }

    /// flannel's name, for its port. A second network on a host has another port, and another device.
    pub(super) fn link_name(&self) -> String {
        match self.port {
            DEFAULT_PORT => "flannel0".to_owned(),
            port => format!("flannel-u{port}"),
        }
    }

    pub(super) fn intent(&self, node: &LocalNode, peers: &Admission) -> Intent {
        let refused: BTreeMap<SubnetKey, Refusal> = peers
            .announcing(WIRE_TYPE)
            .filter(|peer| peer.sides.has(Family::V6) && peer.lease.attrs.data.v6.is_none())
            .map(|peer| {
                let why = "it does not say that it takes IPv6; flannel's udp does not";
                (peer.lease.key, Refusal::BadData(why.to_owned()))
            })
            .collect();
        let sound = |peer: &&Peer| !refused.contains_key(&peer.lease.key);
        let sides = peers.peers.iter().filter(sound);
        let sides = sides.flat_map(|peer| peer.sides.iter());
        Intent {
            state: self.state(node),
            forwarding: Some(self.forwarding(node, sides)),
            refused,
        }
    }

    fn state(&self, node: &LocalNode) -> KernelState {
        let name = self.link_name();
        let link = Link {
            kind: LinkKind::Tun {
                queues: self.workers > 1,
            },
            mtu: self.link_mtu(node.uplink.mtu),
            mac: Mac([0; 6]),
            up: true,
            alias: String::new(),
        };
        let addrs = node.subnets.values();
        let addrs = addrs.map(|subnet| (name.clone(), IpNet::from(subnet.network())));
        let routes = self.networks.values().map(|network| {
            let route = Route {
                next_hop: NextHop::via(None, LinkName::from(name.as_str()), false),
                protocol: ROUTE_PROTOCOL,
            };
            (RouteKey::of(*network), route)
        });
        // Our ICMP errors to pods come from the device's own address, and by the device: the kernel would drop them
        // (IPv4 alone; seen on Linux 6.18).
        let sysctl = format!("net/ipv4/conf/{name}/accept_local");
        KernelState {
            sysctls: BTreeMap::from([(sysctl, "1".to_owned())]),
            addrs: addrs.collect(),
            routes: routes.collect(),
            links: BTreeMap::from([(name.clone(), link)]),
            ..KernelState::default()
        }
    }

    fn link_mtu(&self, uplink_mtu: u32) -> u32 {
        let overheads = self.networks.iter().map(|(family, _)| overhead(family));
        uplink_mtu.saturating_sub(overheads.max().unwrap_or(0))
    }

    /// What the data plane forwards by. Peers of other backends are in it too: their packets come by it. A peer of both
    /// families is two: its IPv6 goes over IPv6.
    fn forwarding<'a>(
        &self,
        node: &LocalNode,
        sides: impl Iterator<Item = (Family, &'a PeerSide)>,
    ) -> Forwarding {
        let mtu = |family| {
            let mtu = node.uplink.mtu.saturating_sub(overhead(family));
            u16::try_from(mtu).unwrap_or(u16::MAX)
        };
        let peer = |(family, side): (Family, &PeerSide)| Endpoint {
            endpoint: SocketAddr::new(side.public, self.port),
            addresses: Dual::of_addrs([side.public]),
            subnets: Dual::of_nets([side.subnet]),
            mtu: mtu(family),
        };
        let peers = sides.map(|side| (side.1.subnet, peer(side)));
        Forwarding {
            device: self.link_name(),
            port: self.port,
            workers: self.workers,
            persist: self.persist,
            options: self.options,
            locals: node
                .uplink
                .addrs
                .filter_map(|family, addr| self.networks.get(family).map(|_| *addr))
                .filter_map(|_, addr| (!is_link_local(addr)).then_some(*addr)),
            own: node.subnets,
            peers: peers.collect(),
        }
    }
}

/// Addresses that mean nothing without an interface.
fn is_link_local(addr: &IpAddr) -> bool {
    matches!(addr, IpAddr::V6(addr) if addr.is_unicast_link_local())
}

fn overhead(family: Family) -> u32 {
    OVERHEAD.get(family).copied().unwrap_or(0)
}
