//! The ways from pod to pod that are compared, each between two hosts of its own.

use std::env;
use std::process::{Child, Command};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tweed_model::Family;

use super::iperf::Server;
use super::naive;
use crate::agent::peer;
use crate::gateway;
use tweed_lab::agent::Agent;
use tweed_lab::cni::Pod;
use tweed_lab::etcd::{Etcd, PREFIX};
use tweed_lab::flannel::Node;
use tweed_lab::launch::{Launch, NETWORK, config};
use tweed_lab::topology::{Host, Lab, Topology};
use tweed_lab::traffic;

/// A way from pod to pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Our agents with backend `udp`.
    Udp,
    /// Our agents with backend `vxlan`.
    Vxlan,
    /// A VXLAN device with entries written by hand.
    ByHand,
    /// A poll loop with one packet a call; see [`naive`].
    Naive,
    /// Routes, no tunnel.
    Bare,
    /// Our agents with backend `udp` that sleep as soon as there is nothing.
    Sleeping,
    /// Our agents with backend `udp` that spin for a while before they sleep, always.
    Spinning,
    /// Our agents with backend `udp` among a thousand others.
    Crowd,
}

/// All of them.
pub const ALL: [Mode; 8] = [
    Mode::Udp,
    Mode::Vxlan,
    Mode::ByHand,
    Mode::Naive,
    Mode::Bare,
    Mode::Sleeping,
    Mode::Spinning,
    Mode::Crowd,
];

/// What is always compared.
pub const MODES: [Mode; 5] = [
    Mode::Udp,
    Mode::Vxlan,
    Mode::ByHand,
    Mode::Naive,
    Mode::Bare,
];

/// Where pods are, whatever the way: a network with room for a thousand nodes.
const WIDE: &str = "10.0.0.0/8";
/// Microseconds that [`Mode::Spinning`] spins.
const SPIN: u32 = 50;

impl Mode {
    /// What to call it in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Vxlan => "vxlan",
            Self::ByHand => "VXLAN by hand",
            Self::Naive => "naive loop",
            Self::Bare => "no overlay",
            Self::Sleeping => "udp, BusyPoll 0",
            Self::Spinning => "udp, BusyPoll 50",
            Self::Crowd => "udp, 1,000 peers",
        }
    }

    /// The tunnel's device.
    pub fn device(self) -> &'static str {
        match self {
            Self::Vxlan | Self::ByHand => "flannel.1",
            Self::Bare => "eth0",
            _ => "flannel0",
        }
    }

    /// UDP port of the tunnel's packets.
    pub fn port(self) -> Option<u16> {
        match self {
            Self::Vxlan | Self::ByHand => Some(8472),
            Self::Bare => None,
            _ => Some(naive::PORT),
        }
    }

    fn pod_mtu(self) -> u32 {
        match self {
            Self::Vxlan | Self::ByHand => 1450,
            Self::Bare => 1500,
            _ => 1472,
        }
    }

    fn backend(self) -> Option<Value> {
        match self {
            Self::Udp | Self::Crowd => Some(json!({ "Type": "udp" })),
            Self::Sleeping => Some(json!({ "Type": "udp", "BusyPoll": 0 })),
            Self::Spinning => Some(json!({ "Type": "udp", "BusyPoll": SPIN })),
            Self::Vxlan => Some(json!({ "Type": "vxlan" })),
            Self::ByHand | Self::Naive | Self::Bare => None,
        }
    }

    /// Nodes in the store beside the two hosts.
    fn others(self) -> usize {
        match self {
            Self::Udp => 2,
            Self::Crowd => 999,
            _ => 0,
        }
    }

    /// Two hosts for it.
    ///
    /// # Errors
    /// When namespaces cannot be made.
    pub fn lab(self) -> Result<Lab> {
        Topology::hosts(2).build()
    }
}

/// A process that ends when this is dropped.
#[derive(Debug)]
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A way that carries packets, and a pod at each end.
#[derive(Debug)]
pub struct Path<'lab> {
    /// What it is.
    pub mode: Mode,
    /// The hosts.
    pub lab: &'lab Lab,
    /// A pod on each host.
    pub pods: Vec<Pod<'lab>>,
    /// Our agents, if they make it.
    pub agents: Vec<Agent<'lab>>,
    /// The agents' store.
    pub etcd: Option<Etcd<'lab>>,
    loops: Vec<Running>,
    _servers: Vec<Server>,
}

impl<'lab> Path<'lab> {
    /// Lays it out, and waits until pods reach each other.
    ///
    /// # Errors
    /// When they don't.
    pub fn lay_out(mode: Mode, lab: &'lab Lab) -> Result<Self> {
        let mut nodes = lab.hosts.iter().map(Node::of).collect::<Result<Vec<_>>>()?;
        let (mut agents, mut loops, mut etcd) = (Vec::new(), Vec::new(), None);
        if let Some(backend) = mode.backend() {
            let store = Etcd::start(lab)?;
            let mut config = config(&[Family::V4], &backend);
            if mode.others() > 0 {
                config["Network"] = WIDE.into();
            }
            store.put_config(&config)?;
            agents = Agent::everywhere(lab, &Launch::etcd())?;
            announce(lab, &agents, mode.others())?;
            for (node, agent) in nodes.iter_mut().zip(&agents) {
                node.subnet = agent.subnet(Family::V4)?.to_string().parse()?;
            }
            etcd = Some(store);
        }
        for (index, host) in lab.hosts.iter().enumerate() {
            let (own, other) = (&nodes[index], &nodes[1 - index]);
            match mode {
                Mode::ByHand => own.lay_out(host, std::slice::from_ref(other))?,
                Mode::Naive => loops.push(naive_loop(host, own, other)?),
                Mode::Bare => {
                    let line = format!("ip route add {} via {}", other.subnet, other.public);
                    host.sh(&line)?;
                }
                // The agents do it.
                _ => {}
            }
        }
        let attach = |(host, node): (&'lab Host, &Node)| {
            let mut runtime = node.go_plugins();
            runtime.plugins[0]["mtu"] = mode.pod_mtu().into();
            runtime.plugins[0]["ipam"]["routes"][0]["dst"] = WIDE.into();
            runtime.pod(host)
        };
        let pods = lab.hosts.iter().zip(&nodes).map(attach);
        let pods = pods.collect::<Result<Vec<_>>>()?;
        traffic::all_reach_each_other(&pods, Family::V4)
            .with_context(|| format!("lay out {}", mode.name()))?;
        let servers = pods.iter().map(Server::start);
        Ok(Self {
            mode,
            lab,
            _servers: servers.collect::<Result<_>>()?,
            pods,
            agents,
            etcd,
            loops,
        })
    }

    /// The processes that carry packets, each with the place of its host.
    pub fn carriers(&self) -> Vec<(usize, u32)> {
        let agents = self.agents.iter().map(Agent::pid);
        let loops = self.loops.iter().map(|naive| naive.0.id());
        agents.enumerate().chain(loops.enumerate()).collect()
    }

    /// The pod that sends.
    pub fn from(&self) -> &Pod<'lab> {
        &self.pods[0]
    }

    /// The pod that receives.
    pub fn to(&self) -> &Pod<'lab> {
        &self.pods[1]
    }
}

/// Adds nodes with backend `udp`, and waits until the agents have them.
fn announce(lab: &Lab, agents: &[Agent<'_>], count: usize) -> Result<()> {
    if count == 0 {
        return Ok(());
    }
    let entry = |number| {
        let peer = peer(number)?;
        let value = json!({ "PublicIP": peer.public, "PublicIPv6": null });
        let key = format!("{PREFIX}/subnets/{}", peer.key());
        Ok((key, value.to_string()))
    };
    let entries = (0..count).map(entry).collect::<Result<Vec<_>>>()?;
    gateway::put(lab, &entries)?;
    agents.iter().try_for_each(|agent| agent.sees(count + 1))
}

/// Device and routes as flannel's, and a process of our own behind them.
fn naive_loop(host: &Host, own: &Node, other: &Node) -> Result<Running> {
    lay_tun(host, own)?;
    let mut command = Command::new(env::current_exe()?);
    command.args([naive::COMMAND, "flannel0", &own.public.to_string()]);
    command.args([other.subnet.to_string(), other.public.to_string()]);
    Ok(Running(host.place().spawn(&mut command)?))
}

/// The device that the naive loop attaches to.
///
/// # Errors
/// When `ip` refuses.
pub fn lay_tun(host: &Host, own: &Node) -> Result<()> {
    host.sh("ip tuntap add dev flannel0 mode tun")?;
    host.sh("ip link set dev flannel0 mtu 1472 up")?;
    let base = own.subnet.network();
    host.sh(&format!("ip addr add {base}/32 dev flannel0"))?;
    host.sh(&format!("ip route add {NETWORK} dev flannel0"))?;
    Ok(())
}
