//! Values of a backend that follow from its options alone.

use std::collections::BTreeSet;

use serde_json::Value;
use tweed_model::{BackendData, ConfigError, Dual, Family, Identity, LeaseAttrs, Mac};
use tweed_nft::Mark;

use super::tx_checksum::TxChecksum;

/// The key of a VTEP's MAC in what a lease announces.
const VTEP_MAC: &str = "VtepMAC";

/// One backend without its peers. Values that it doesn't have stay at their default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// What `Backend.Type` calls it.
    pub name: &'static str,
    /// The name to announce in the lease; empty where flannel announces none.
    pub wire_type: &'static str,
    /// What to announce in the lease beside it, but for the MACs of the VTEPs.
    pub data: Dual<Value>,
    /// Names of its interfaces, whichever families are enabled.
    pub links: BTreeSet<String>,
    /// Those of them that have a MAC which peers must know, one for each family.
    pub vteps: Dual<String>,
    /// Bytes that a packet grows by, for each family that carries it.
    pub overhead: Dual<u32>,
    /// What the underlay is said to carry in bytes, where it is less than the uplink's MTU.
    pub underlay_mtu: Option<u32>,
    /// The tunnel that its packets come by.
    pub tunnel: Option<Tunnel>,
    /// Packets of pods may go over the uplink as they are.
    pub direct: bool,
    /// Packets go through the data plane of ours.
    pub data_plane: bool,
    /// What makes the checksums of what its devices carry, where the kernel encapsulates.
    pub tx_checksum: Option<TxChecksum>,
}

/// Where a tunnel's packets arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// UDP port.
    pub port: u16,
    /// How the packet filter knows them. None where the receiver itself checks what it takes.
    pub mark: Option<Mark>,
}

impl Outline {
    /// What to announce in the lease, for each family that has a subnet.
    pub fn announce<T>(&self, identity: &Identity, families: &Dual<T>) -> Dual<BackendData> {
        families.filter_map(|family, _| {
            let mut data = self.data.get(family).cloned();
            if self.vteps.has(family) {
                let mac = identity.mac(family).to_string();
                data.get_or_insert_with(|| Value::Object(serde_json::Map::new()))[VTEP_MAC] =
                    mac.into();
            }
            data.map(BackendData::from)
        })
    }

    /// The MAC of a family's VTEP that this backend announced earlier, if it did.
    pub(super) fn announced_mac(&self, attrs: &LeaseAttrs, family: Family) -> Option<Mac> {
        let data = attrs.data.get(family)?;
        let mac: Mac = data.string(VTEP_MAC).ok()??.parse().ok()?;
        (attrs.backend_type == self.wire_type && mac.is_unicast()).then_some(mac)
    }

    /// The MTU of the pods' interfaces in bytes, given the uplink's. It fits every enabled family: the underlay's IPv6
    /// header takes 20 bytes more than IPv4's.
    pub(super) fn mtu<T>(&self, uplink_mtu: u32, families: &Dual<T>) -> Result<u32, ConfigError> {
        let underlay = self.underlay(uplink_mtu);
        let overheads = families.iter();
        let overheads = overheads.filter_map(|(family, _)| self.overhead.get(family));
        let mtu = underlay.saturating_sub(overheads.max().copied().unwrap_or(0));
        let least = if families.v6.is_some() { 1280 } else { 576 };
        if mtu < least {
            let needed = least + underlay.saturating_sub(mtu);
            let advice = self.mtu_advice(uplink_mtu, needed, families);
            return Err(ConfigError(format!(
                "an MTU of {mtu} bytes would be left for pods (the uplink has {uplink_mtu}), {least} are needed; {advice}"
            )));
        }
        Ok(mtu)
    }

    /// What the underlay is taken to carry.
    fn underlay(&self, uplink_mtu: u32) -> u32 {
        self.underlay_mtu
            .map_or(uplink_mtu, |mtu| mtu.min(uplink_mtu))
    }

    /// Advice that names only the values that are too small.
    fn mtu_advice<T>(&self, uplink_mtu: u32, needed: u32, families: &Dual<T>) -> String {
        let underlay = self.underlay(uplink_mtu);
        let mut ways = Vec::new();
        if uplink_mtu < needed {
            ways.push(format!("raise the uplink's MTU to {needed}"));
        }
        if underlay < needed && underlay < uplink_mtu {
            ways.push(format!("raise Backend.MTU to {needed}, or leave it out"));
        }
        let mut advice = ways.join(", and ");
        if families.v4.is_some() && families.v6.is_some() {
            advice.push_str(", or set EnableIPv6 to false: IPv4 needs less");
        }
        advice
    }
}
