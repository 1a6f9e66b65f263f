//! What the checks judge: everything that was read, or why it could not be.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use tweed_kernel::firewall::Hindrance;
use tweed_model::subnet_env::SubnetEnv;
use tweed_netlink::{AddrInfo, LinkInfo, NeighInfo, RouteInfo};

use super::surroundings::Surroundings;
use crate::daemon::answers::Preview;
use crate::daemon::status::Status;

/// What was read, or why it could not be.
pub type Read<T> = Result<T, String>;

/// Everything that was read.
#[derive(Debug)]
pub struct Facts {
    /// Name of the network on this host.
    pub network_name: String,
    /// Whether leases come from Kubernetes, so that a runtime and Services are expected.
    pub kubernetes: bool,
    /// The file for the CNI plugin.
    pub subnet_file: PathBuf,
    /// What the agent says; without one, what is known of it.
    pub status: Status,
    /// What a pass would do.
    pub due: Read<Preview>,
    /// The pod networks, once they are known.
    pub networks: Vec<IpNet>,
    /// The host's interfaces, addresses and routes.
    pub net: Read<Net>,
    /// What is in the way in the packet filter.
    pub hindrances: Read<Vec<Hindrance>>,
    /// Switches below `/proc/sys`; `None` where there is no such switch.
    pub switches: BTreeMap<&'static str, Read<Option<String>>>,
    /// Counters of the kernel, and the same a second later.
    pub counters: [Counters; 2],
    /// Names of the kernel's modules that are there or can be loaded; `None` where that isn't known.
    pub modules: Option<Vec<String>>,
    /// `subnet.env`, if it is there.
    pub subnet_env: Read<Option<SubnetEnv>>,
    /// The container runtime's folders.
    pub runtime: Runtime,
    /// Local ports of UDP sockets.
    pub udp_ports: Vec<u16>,
    /// Addresses of containers, by network.
    pub pools: Vec<Pool>,
    /// What the host has around the agent.
    pub surroundings: Surroundings,
}

/// Interfaces, addresses and routes.
#[derive(Debug, Default)]
pub struct Net {
    pub links: Vec<LinkInfo>,
    pub addrs: Vec<AddrInfo>,
    /// Of all tables and both families.
    pub routes: Vec<RouteInfo>,
    /// The route to the first address of each peer's subnet.
    pub paths: Vec<(IpNet, Option<RouteInfo>)>,
    /// The route to each address that a peer announces.
    pub underlay: Vec<(IpAddr, Option<RouteInfo>)>,
    /// The kernel's neighbours.
    pub neighs: Vec<NeighInfo>,
}

impl Net {
    pub fn link(&self, name: &str) -> Option<&LinkInfo> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The name of an interface.
    pub fn name(&self, index: u32) -> &str {
        let link = self.links.iter().find(|link| link.index == index);
        link.map_or("?", |link| &link.name)
    }

    /// The addresses of an interface.
    pub fn addrs_of(&self, index: u32) -> impl Iterator<Item = &AddrInfo> {
        self.addrs.iter().filter(move |addr| addr.index == index)
    }

    pub fn has_addr(&self, addr: &IpAddr) -> bool {
        self.addrs.iter().any(|one| one.net.addr() == *addr)
    }
}

/// Counters by name, as far as the kernel has them.
pub type Counters = BTreeMap<&'static str, u64>;

/// The container runtime's folders.
#[derive(Debug)]
pub struct Runtime {
    /// The first network configuration in the order of names, and the plugins that it names.
    pub list: Read<Option<List>>,
    /// Folder of configurations.
    pub conf_dir: PathBuf,
    /// Folder of plugins.
    pub bin_dir: PathBuf,
}

/// A network configuration of the runtime.
#[derive(Debug)]
pub struct List {
    pub file: PathBuf,
    /// Whether our plugin or flannel's comes first.
    pub ours: bool,
    /// A list of ours that comes later by name, where this one isn't.
    pub shadowed: Option<PathBuf>,
    /// Plugins that it names and the folder of plugins lacks.
    pub missing: Vec<String>,
    /// Why it can't be used.
    pub error: Option<String>,
}

/// Addresses that host-local has reserved in one network.
#[derive(Debug)]
pub struct Pool {
    pub network: String,
    /// How many are reserved.
    pub used: usize,
    /// How many the node's subnet has, where it is that subnet's network.
    pub size: Option<u64>,
}

impl Facts {
    /// How much a counter has grown between the two looks; `None` where the kernel has none of that name.
    pub fn grown(&self, name: &str) -> Option<u64> {
        let [before, after] = &self.counters;
        Some(after.get(name)?.saturating_sub(*before.get(name)?))
    }

    /// The value of a switch.
    pub fn switch(&self, key: &str) -> Read<Option<&str>> {
        match self.switches.get(key) {
            Some(Ok(value)) => Ok(value.as_deref()),
            Some(Err(error)) => Err(error.clone()),
            None => Ok(None),
        }
    }

    /// Whether the agent answers.
    pub fn answers(&self) -> bool {
        self.status.pid.is_some() && !self.status.silent
    }
}
