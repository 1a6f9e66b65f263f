//! How leases become intent: one pure function a backend, from the admitted peers to the kernel's objects.

mod backends;
mod host_gw;
mod options;
mod tx_checksum;
mod udp;
mod vxlan;

use std::collections::BTreeSet;

use serde_json::Value;

pub use backends::Backends;
pub use tx_checksum::TxChecksum;
pub use udp::Udp;
pub use vxlan::Vxlan;

use tweed_forward::forwarding::Forwarding;
use tweed_model::json::Object;
use tweed_model::{
    Admission, ConfigError, Dual, Family, Identity, LeaseAttrs, LocalNode, Mac, NetworkConfig,
};
use tweed_state::KernelState;

/// How packets get to the other nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Kernel VXLAN: a VTEP, and a neighbour entry, an FDB entry and a route a peer.
    Vxlan(Vxlan),
    /// A TUN device, and the agent itself carries packets in UDP.
    Udp(Udp),
    /// Routes by way of the peers themselves; they must be neighbours on the uplink.
    HostGw,
    /// A lease and nothing else.
    Alloc,
}

impl Backend {
    /// The backends there are, by the names that `Backend.Type` takes.
    pub const NAMES: [&'static str; 4] = ["vxlan", "udp", "host-gw", "alloc"];

    /// Reads the options of a backend. The second value lists the keys that it knows.
    fn parse(
        kind: &str,
        options: &Object,
        config: &NetworkConfig,
    ) -> Result<(Self, &'static [&'static str]), ConfigError> {
        Ok(match kind {
            "vxlan" => (Self::Vxlan(Vxlan::parse(options)?), Vxlan::KEYS),
            "udp" => (Self::Udp(Udp::parse(options, config)?), Udp::KEYS),
            "host-gw" => (Self::HostGw, &["Type"]),
            "alloc" => (Self::Alloc, &["Type"]),
            other => {
                return Err(ConfigError(format!(
                    "Backend.Type {other:?} is not supported; this version has {}",
                    Self::NAMES.join(", ")
                )));
            }
        })
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Vxlan(_) => "vxlan",
            Self::Udp(_) => "udp",
            Self::HostGw => "host-gw",
            Self::Alloc => "alloc",
        }
    }

    /// The name to announce in the lease; empty where flannel announces none.
    fn wire_type(&self) -> &'static str {
        match self {
            Self::Vxlan(_) => vxlan::WIRE_TYPE,
            Self::Udp(_) => udp::WIRE_TYPE,
            Self::HostGw => host_gw::WIRE_TYPE,
            Self::Alloc => "",
        }
    }

    /// What to announce in the lease, for each family that has a subnet.
    fn announce<T>(&self, identity: &Identity, families: &Dual<T>) -> Dual<Value> {
        match self {
            Self::Vxlan(vxlan) => families.map(|family, _| vxlan.announce(identity.mac(family))),
            Self::Udp(udp) => udp.announce(families),
            Self::HostGw | Self::Alloc => Dual::default(),
        }
    }

    /// The MAC of a family's VTEP that this backend announced earlier, if it did.
    fn announced_mac(&self, attrs: &LeaseAttrs, family: Family) -> Option<Mac> {
        let data = attrs.data.get(family)?.as_object()?;
        let text = Object::from(data).string("VtepMAC").ok()??;
        let mac: Mac = text.parse().ok()?;
        (attrs.backend_type == self.wire_type() && mac.is_unicast()).then_some(mac)
    }

    /// The MTU of the pods' interfaces in bytes, given the uplink's. It fits every enabled family: the underlay's IPv6
    /// header takes 20 bytes more than IPv4's.
    fn mtu<T>(&self, uplink_mtu: u32, families: &Dual<T>) -> Result<u32, ConfigError> {
        let mtu = match self {
            Self::Vxlan(vxlan) => vxlan.pod_mtu(uplink_mtu, families),
            Self::Udp(_) => Udp::pod_mtu(uplink_mtu, families),
            Self::HostGw | Self::Alloc => uplink_mtu,
        };
        let least = if families.v6.is_some() { 1280 } else { 576 };
        if mtu < least {
            let needed = least
                + uplink_mtu
                    .min(self.underlay_mtu(uplink_mtu))
                    .saturating_sub(mtu);
            let advice = self.mtu_advice(uplink_mtu, needed, families);
            return Err(ConfigError(format!(
                "an MTU of {mtu} bytes would be left for pods (the uplink has {uplink_mtu}), {least} are needed; {advice}"
            )));
        }
        Ok(mtu)
    }

    /// What the underlay is taken to carry.
    fn underlay_mtu(&self, uplink_mtu: u32) -> u32 {
        match self {
            Self::Vxlan(Vxlan { mtu: Some(mtu), .. }) => *mtu.min(&uplink_mtu),
            _ => uplink_mtu,
        }
    }

    /// What helps: nothing but what is too small now.
    fn mtu_advice<T>(&self, uplink_mtu: u32, needed: u32, families: &Dual<T>) -> String {
        let limited =
            self.underlay_mtu(uplink_mtu) < needed && self.underlay_mtu(uplink_mtu) < uplink_mtu;
        let mut ways = Vec::new();
        if uplink_mtu < needed {
            ways.push(format!("raise the uplink's MTU to {needed}"));
        }
        if limited {
            ways.push(format!("raise Backend.MTU to {needed}, or leave it out"));
        }
        let mut advice = ways.join(", and ");
        if families.v4.is_some() && families.v6.is_some() {
            advice.push_str(", or set EnableIPv6 to false: IPv4 needs less");
        }
        advice
    }

    /// Names of the interfaces that are ours with this backend, whichever families are enabled.
    fn link_names(&self) -> BTreeSet<String> {
        match self {
            Self::Vxlan(vxlan) => vxlan.link_names(),
            Self::Udp(udp) => BTreeSet::from([udp.link_name()]),
            Self::HostGw | Self::Alloc => BTreeSet::new(),
        }
    }

    /// The name of one family's VTEP, where the backend has one.
    fn vtep_name(&self, family: Family) -> Option<String> {
        match self {
            Self::Vxlan(vxlan) => Some(vxlan.link_name(family)),
            Self::Udp(_) | Self::HostGw | Self::Alloc => None,
        }
    }

    /// The UDP port that it receives at.
    fn port(&self) -> Option<u16> {
        match self {
            Self::Vxlan(vxlan) => Some(vxlan.port),
            Self::Udp(udp) => Some(udp.port),
            Self::HostGw | Self::Alloc => None,
        }
    }

    /// Whether packets of pods may go over the uplink as they are.
    fn routes_directly(&self) -> bool {
        match self {
            Self::Vxlan(vxlan) => vxlan.direct_routing,
            Self::HostGw => true,
            Self::Udp(_) | Self::Alloc => false,
        }
    }

    /// The VXLAN network identifier, where it has one.
    fn vni(&self) -> Option<u32> {
        match self {
            Self::Vxlan(vxlan) => Some(vxlan.vni),
            Self::Udp(_) | Self::HostGw | Self::Alloc => None,
        }
    }

    /// Who makes the checksums of what its device carries, where the kernel encapsulates.
    fn tx_checksum(&self) -> Option<TxChecksum> {
        match self {
            Self::Vxlan(vxlan) => Some(vxlan.tx_checksum),
            Self::Udp(_) | Self::HostGw | Self::Alloc => None,
        }
    }

    /// What the data plane of ours forwards by, where packets go through it.
    fn forwarding(&self, node: &LocalNode, peers: &Admission) -> Option<Forwarding> {
        match self {
            Self::Udp(udp) => Some(udp.forwarding(node, peers)),
            Self::Vxlan(_) | Self::HostGw | Self::Alloc => None,
        }
    }

    /// Adds what this backend wants from the kernel; peers whose data can't be used move to the refused.
    fn program(&self, node: &LocalNode, alias: &str, peers: &mut Admission) -> KernelState {
        match self {
            Self::Vxlan(vxlan) => vxlan.program(node, alias, peers),
            Self::Udp(udp) => udp.program(node, alias, peers),
            Self::HostGw => host_gw::program(node, peers),
            Self::Alloc => KernelState::default(),
        }
    }
}

#[cfg(test)]
mod tests;
