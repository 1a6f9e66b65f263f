//! The backend that a node announces, and those whose peers it reaches beside it (`Backend.Accept`). While a network
//! moves from one to the other, each packet goes by what its receiver's lease says, and is taken by whichever it comes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;
use tweed_forward::forwarding::Forwarding;
use tweed_model::json::Object;
use tweed_model::nearest::unknown_key;
use tweed_model::{
    Admission, ConfigError, Dual, Family, Identity, LeaseAttrs, LocalNode, Mac, NetworkConfig,
};
use tweed_state::{KernelState, NextHop, ROUTE_PROTOCOL, Route, RouteKey};

use super::{Backend, TxChecksum, options};

const ACCEPT: &str = "Accept";
/// Those whose packets can be told apart by device and port, so that one node can run them together.
const TOGETHER: [&str; 2] = ["vxlan", "udp"];

/// A network configuration's `Backend` object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backends {
    own: Backend,
    accepted: Vec<Backend>,
}

impl Backends {
    /// Reads the `Backend` object of a network configuration. The second value lists keys that no backend knows.
    ///
    /// # Errors
    /// When the type is unknown, a key's value is not allowed, or the backends don't go together.
    pub fn parse(config: &NetworkConfig) -> Result<(Self, Vec<String>), ConfigError> {
        let kind = config.backend_type.as_str();
        let options = Object::from(&config.backend);
        let (own, known) = Backend::parse(kind, &options, config)?;
        let mut unknown = unknown_keys("Backend", &options, &[known, &[ACCEPT]].concat());
        let mut backends = Self {
            own,
            accepted: Vec::new(),
        };
        let entries = options.list(ACCEPT).map_err(options::in_backend)?;
        for (index, entry) in entries.unwrap_or_default().iter().enumerate() {
            let place = format!("Backend.{ACCEPT}[{index}]");
            unknown.extend(backends.accept(&place, entry, config)?);
        }
        Ok((backends, unknown))
    }

    /// Adds one entry of the list. Gives the keys that mean nothing.
    fn accept(
        &mut self,
        place: &str,
        entry: &Value,
        config: &NetworkConfig,
    ) -> Result<Vec<String>, ConfigError> {
        let own = self.own.name();
        if !TOGETHER.contains(&own) {
            return Err(ConfigError(format!(
                "Backend.{ACCEPT} is set, and Backend.Type is {own:?}; {ACCEPT} goes with {}",
                TOGETHER.join(" and ")
            )));
        }
        let options = entry.as_object().map(Object::from).ok_or_else(|| {
            ConfigError(format!(
                "{place} is {entry}; it must be an object such as {{\"Type\": \"vxlan\"}}"
            ))
        })?;
        let within = |error: ConfigError| match error.0.strip_prefix("Backend.") {
            Some(rest) => ConfigError(format!("{place}.{rest}")),
            None => error,
        };
        let kind = options.string("Type").map_err(options::in_backend);
        let kind = kind.map_err(within)?.unwrap_or_default().to_lowercase();
        let taken = self.all().any(|backend| backend.name() == kind);
        if taken || !TOGETHER.contains(&kind.as_str()) {
            let free: Vec<&str> = TOGETHER.into_iter().filter(|name| *name != own).collect();
            let free = free.join(" or ");
            return Err(ConfigError(format!(
                "{place}.Type is {kind:?}; beside {own} it must be {free}, once"
            )));
        }
        if let Some(inner) = options.get(ACCEPT) {
            return Err(ConfigError(format!(
                "{place}.{ACCEPT} is {inner}; a backend of the list must have none of its own"
            )));
        }
        let (backend, known) = Backend::parse(&kind, &options, config).map_err(within)?;
        let port = backend.port();
        if self.all().any(|other| other.port() == port) {
            let port = port.unwrap_or_default();
            return Err(ConfigError(format!(
                "{place}.Port is {port}, which is {own}'s; the two must differ"
            )));
        }
        self.accepted.push(backend);
        Ok(unknown_keys(place, &options, known))
    }

    /// All of them, the own one first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Backend> {
        std::iter::once(&self.own).chain(&self.accepted)
    }

    /// The names of those that are accepted beside the own one.
    pub fn accepted(&self) -> impl Iterator<Item = &'static str> {
        self.accepted.iter().map(Backend::name)
    }

    /// The name to announce in the lease; empty where flannel announces none.
    pub fn wire_type(&self) -> &'static str {
        self.own.wire_type()
    }

    /// What peers may announce in their leases, with the name of the backend that it means.
    pub fn spoken(&self) -> BTreeMap<&'static str, &'static str> {
        self.all()
            .map(|backend| (backend.wire_type(), backend.name()))
            .collect()
    }

    /// What to announce in the lease, for each family that has a subnet.
    pub fn announce<T>(&self, identity: &Identity, families: &Dual<T>) -> Dual<Value> {
        self.own.announce(identity, families)
    }

    /// What this node would announce if one of those that it accepts were its own, as it may have done before.
    pub fn announced_else<T>(&self, identity: &Identity, families: &Dual<T>) -> Vec<Dual<Value>> {
        let accepted = self.accepted.iter();
        accepted
            .map(|backend| backend.announce(identity, families))
            .collect()
    }

    /// The MAC of a family's VTEP that one of these backends announced earlier, if it did.
    pub fn announced_mac(&self, attrs: &LeaseAttrs, family: Family) -> Option<Mac> {
        self.all()
            .find_map(|backend| backend.announced_mac(attrs, family))
    }

    /// The MTU of the pods' interfaces in bytes, given the uplink's: it fits every enabled family, whichever way a
    /// packet goes.
    ///
    /// # Errors
    /// When what is left would be below what IP needs (576 bytes, with IPv6 1280).
    pub fn mtu<T>(&self, uplink_mtu: u32, families: &Dual<T>) -> Result<u32, ConfigError> {
        let mut mtu = self.own.mtu(uplink_mtu, families)?;
        for backend in &self.accepted {
            mtu = mtu.min(backend.mtu(uplink_mtu, families)?);
        }
        Ok(mtu)
    }

    /// Names of the interfaces that are ours with these backends, whichever families are enabled.
    pub fn link_names(&self) -> BTreeSet<String> {
        self.all().flat_map(Backend::link_names).collect()
    }

    /// Names of the interfaces by which no node's own packets come: those of the accepted backends.
    pub fn accepted_links(&self) -> BTreeSet<String> {
        self.accepted.iter().flat_map(Backend::link_names).collect()
    }

    /// Whether all packets go through the data plane of ours, not just those of an accepted backend.
    pub fn rely_on_data_plane(&self) -> bool {
        matches!(self.own, Backend::Udp(_))
    }

    /// The name of one family's VTEP, where there is one.
    pub fn vtep_name(&self, family: Family) -> Option<String> {
        self.all().find_map(|backend| backend.vtep_name(family))
    }

    /// The names of the VTEPs, whichever families are enabled.
    pub fn vtep_names(&self) -> BTreeSet<String> {
        let names = Family::BOTH.map(|family| self.vtep_name(family));
        names.into_iter().flatten().collect()
    }

    /// UDP ports of the tunnels, with the network identifier of VXLAN.
    pub fn tunnel_ports(&self) -> BTreeMap<u16, Option<u32>> {
        let ports = self.all().map(|backend| (backend.port(), backend.vni()));
        ports.filter_map(|(port, vni)| Some((port?, vni))).collect()
    }

    /// Who makes the checksums of what a VXLAN device carries, where there is one.
    pub fn tx_checksum(&self) -> Option<TxChecksum> {
        self.all().find_map(Backend::tx_checksum)
    }

    /// Whether packets go through the data plane of ours.
    pub fn have_data_plane(&self) -> bool {
        self.all().any(|backend| matches!(backend, Backend::Udp(_)))
    }

    /// What the data plane of ours forwards by, where packets go through it. Peers of other backends are in it too:
    /// their packets come by it.
    pub fn forwarding(&self, node: &LocalNode, peers: &Admission) -> Option<Forwarding> {
        self.all()
            .find_map(|backend| backend.forwarding(node, peers))
    }

    /// Adds what these backends want from the kernel; peers whose data can't be used move to the refused.
    pub fn program(&self, node: &LocalNode, alias: &str, peers: &mut Admission) -> KernelState {
        let mut state = self.own.program(node, alias, peers);
        for backend in &self.accepted {
            let beside = backend.program(node, alias, peers);
            state.links.extend(beside.links);
            state.addrs.extend(beside.addrs);
            state.neighs.extend(beside.neighs);
            state.fdb.extend(beside.fdb);
            state.routes.extend(beside.routes);
            state.sysctls.extend(beside.sysctls);
            state.tx_checksum.extend(beside.tx_checksum);
        }
        if !self.accepted.is_empty() {
            add_gateways(&mut state);
            self.allow_detours(node, &mut state);
        }
        refuse_advertisements(&mut state);
        state
    }

    /// A peer's packets come by the backend of our lease and ours go by that of the peer's. A strict reverse path
    /// filter would drop them; it is the larger of the device's value and `all`'s that counts, and 2 is loose.
    fn allow_detours(&self, node: &LocalNode, state: &mut KernelState) {
        let is_v4 = |net: &IpNet| Family::of_net(net) == Family::V4;
        let devices = state.addrs.iter().filter(|(_, net)| is_v4(net));
        let mut devices: BTreeSet<&str> = devices.map(|(name, _)| name.as_str()).collect();
        if !devices.is_empty() && self.all().any(Backend::routes_directly) {
            devices.insert(&node.uplink.name);
        }
        let switch = |name: &str| (format!("net/ipv4/conf/{name}/rp_filter"), "2".to_owned());
        let switches: Vec<_> = devices.into_iter().map(switch).collect();
        state.sysctls.extend(switches);
    }
}

/// Behind the devices of ours are peers and their pods, and no router of the host's. A device without an IPv6 address of
/// ours would believe one that says it is, as long as the host itself forwards no IPv6.
fn refuse_advertisements(state: &mut KernelState) {
    let switch = |name: &String| (format!("net/ipv6/conf/{name}/accept_ra"), "0".to_owned());
    let switches: Vec<_> = state.links.keys().map(switch).collect();
    state.sysctls.extend(switches);
}

/// IPv6 refuses an onlink route whose gateway is also within another device's route, as it is within the network's over
/// the TUN device, unless the gateway has a route of its own (seen on Linux 6.18: "Nexthop has invalid gateway or device
/// mismatch").
fn add_gateways(state: &mut KernelState) {
    let gateway = |route: &Route| match &route.next_hop {
        NextHop::Via {
            gateway: Some(gateway @ IpAddr::V6(_)),
            dev,
            onlink: true,
        } => Some((*gateway, dev.clone())),
        _ => None,
    };
    let gateways: Vec<_> = state.routes.values().filter_map(gateway).collect();
    state
        .routes
        .extend(gateways.into_iter().map(|(gateway, dev)| {
            let next_hop = NextHop::Via {
                gateway: None,
                dev,
                onlink: false,
            };
            let protocol = ROUTE_PROTOCOL;
            (RouteKey::of(gateway.into()), Route { next_hop, protocol })
        }));
}

fn unknown_keys(place: &str, options: &Object, known: &[&str]) -> Vec<String> {
    let keys = options.unknown_keys(known).into_iter();
    keys.map(|key| format!("{place}.{}", unknown_key(key, known)))
        .collect()
}

impl fmt::Display for Backends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.own.name())?;
        match &self.accepted().collect::<Vec<_>>()[..] {
            [] => Ok(()),
            accepted => write!(f, ", accepts {}", accepted.join(", ")),
        }
    }
}
