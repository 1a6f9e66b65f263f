//! Interfaces that are never the uplink, whatever leads over them: those of the pod network itself. A DHCP client that
//! takes every interface for its own gives them addresses and default routes like any other. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use tweed_backend::Backends;
use tweed_model::{Dual, Family, NetworkConfig};
use tweed_state::instance_of;

use super::host::{Facts, Interface};

/// The CNI plugins' default name of the pods' bridge.
const BRIDGE: &str = "cni0";

/// The pod network, as far as it tells what is no uplink.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    /// The pod networks, one for each enabled family.
    pub networks: Dual<IpNet>,
    /// The names of the agent's own devices.
    pub links: BTreeSet<String>,
}

impl Overlay {
    /// The pod network of a configuration.
    pub fn of(config: &NetworkConfig, backends: &Backends) -> Self {
        Self {
            networks: config.pools.map(|_, pool| pool.network),
            links: backends.link_names(),
        }
    }

    /// The enabled families.
    pub fn families(&self) -> Vec<Family> {
        self.networks.iter().map(|(family, _)| family).collect()
    }

    /// The pod network that an address lies in, if one does.
    pub fn network_of(&self, addr: &IpAddr) -> Option<&IpNet> {
        self.networks
            .get(Family::of(addr))
            .filter(|net| net.contains(addr))
    }

    /// The interfaces that can't be the uplink, by index, with the reason.
    pub fn unfit(&self, facts: &Facts) -> BTreeMap<u32, String> {
        let mut unfit = BTreeMap::new();
        for interface in &facts.interfaces {
            if let Some(reason) = self.by_itself(facts, interface) {
                unfit.insert(interface.index, reason);
            }
        }
        // What belongs to one of them, or stands upon one: a port of the bridge, a VLAN of the port.
        loop {
            let before = unfit.len();
            for interface in &facts.interfaces {
                if let Some(reason) = by_another(facts, interface, &unfit) {
                    unfit.entry(interface.index).or_insert(reason);
                }
            }
            if unfit.len() == before {
                return unfit;
            }
        }
    }

    fn by_itself(&self, facts: &Facts, interface: &Interface) -> Option<String> {
        if self.links.contains(&interface.name) || instance_of(&interface.alias).is_some() {
            return Some("it is a device of a pod network itself".to_owned());
        }
        match interface.kind.as_str() {
            "bridge" if interface.name == BRIDGE => Some("it is the pods' bridge".to_owned()),
            "bridge" => self.gateway(interface),
            "veth" => self.gateway(interface).or_else(|| {
                let pod = self.pod(facts, interface)?;
                Some(format!("it leads to a pod, by {pod}"))
            }),
            _ => None,
        }
    }

    /// A lasting address inside the pod network, as a gateway of pods has. One by DHCP or router advertisement proves
    /// nothing: a stranger on the link could give the true uplink such a one. The host's own network looks the same
    /// where it lies inside the pod network, which then is the mistake.
    fn gateway(&self, interface: &Interface) -> Option<String> {
        let addrs = interface.addrs.iter().filter(|own| own.permanent);
        let mut addrs = addrs.map(|own| own.addr);
        let (addr, network) = addrs.find_map(|addr| Some((addr, self.network_of(&addr)?)))?;
        Some(format!(
            "it has {addr} inside the pod network {network}, as an interface towards pods has; if that is the host's own, \
             choose a network that nothing else uses"
        ))
    }

    /// A route to a single address of the pod network without a gateway.
    fn pod(&self, facts: &Facts, interface: &Interface) -> Option<IpNet> {
        let mut routes = facts.onlink.iter();
        let found = routes.find(|(index, dst)| {
            *index == interface.index
                && dst.prefix_len() == dst.max_prefix_len()
                && self.network_of(&dst.addr()).is_some()
        })?;
        Some(found.1)
    }
}

fn by_another(
    facts: &Facts,
    interface: &Interface,
    unfit: &BTreeMap<u32, String>,
) -> Option<String> {
    let named = |index: u32| facts.by_index(index).map(|other| other.name.as_str());
    let of = |index: Option<u32>| index.filter(|index| unfit.contains_key(index));
    if let Some(master) = of(interface.master) {
        return Some(format!("it is a port of {}", named(master).ok()?));
    }
    let parent = of(interface.parent)?;
    Some(format!("it is made upon {}", named(parent).ok()?))
}
