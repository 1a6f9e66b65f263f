//! The keys of `bridge`. Pure.

use std::path::PathBuf;

use serde::Deserialize;
use tweed_model::Mac;

use crate::net::container::Behaviour;
use crate::net::options;
use crate::spec::args::Args;
use crate::spec::{CniError, Dns, NetConf};
use crate::state::records::state_dir_of;

/// The default, which is flannel's.
const BRIDGE: &str = "cni0";

/// The largest VLAN number.
const VLAN_MAX: i64 = 4094;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BridgeConfig {
    /// The bridge's name.
    pub(crate) bridge: String,
    /// The bridge has the gateway's address.
    pub(crate) gateway: bool,
    /// The container's default route leads there.
    pub(crate) default_gateway: bool,
    /// An address of the bridge that is in the way is replaced.
    pub(crate) force_address: bool,
    /// What leaves the container's subnet gets the host's address.
    pub(crate) ip_masq: bool,
    /// MTU of the pair, and of the bridge when it is created, in bytes.
    pub(crate) mtu: Option<u32>,
    /// Frames may go back to the container they came from.
    pub(crate) hairpin: bool,
    /// The bridge is in promiscuous mode.
    pub(crate) promisc: bool,
    /// VLANs of the port; none when the bridge doesn't filter by VLAN.
    pub(crate) vlans: Option<Vlans>,
    /// Look for duplicates of IPv6 addresses.
    pub(crate) dad: bool,
    /// Bring the container's end up.
    pub(crate) container_up: bool,
    /// Containers of isolated ports can't talk to each other.
    pub(crate) isolated: bool,
    /// Frames of the container must have its interface's address as their source.
    pub(crate) checks_source: bool,
    /// Let the container take routes and addresses from router advertisements.
    pub(crate) accept_ra: bool,
    /// Hardware address of the container's end.
    pub(crate) mac: Option<Mac>,
    /// Name servers, in place of those of the IPAM plugin.
    pub(crate) dns: Option<Dns>,
    /// Folder of the records of attachments.
    pub(crate) state_dir: PathBuf,
}

/// VLANs of a bridge port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Vlans {
    /// The VLAN of untagged frames.
    pub(crate) native: Option<u16>,
    /// VLANs that pass with their tag, in order, each once.
    pub(crate) trunk: Vec<u16>,
    /// Keep the VLAN that the bridge gives every port.
    pub(crate) keep_default: bool,
}

/// All keys. Their defaults are unset, off, none or 0, as in the reference.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    bridge: String,
    is_gateway: bool,
    is_default_gateway: bool,
    force_address: bool,
    ip_masq: bool,
    ip_masq_backend: String,
    mtu: i64,
    hairpin_mode: bool,
    promisc_mode: bool,
    vlan: i64,
    vlan_trunk: Vec<Trunk>,
    preserve_default_vlan: bool,
    macspoofchk: bool,
    enabledad: bool,
    disable_container_interface: bool,
    port_isolation: bool,
    #[serde(rename = "acceptRA")]
    accept_ra: bool,
    state_dir: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Trunk {
    #[serde(rename = "minID")]
    min: Option<i64>,
    #[serde(rename = "maxID")]
    max: Option<i64>,
    id: Option<i64>,
}

impl BridgeConfig {
    /// Reads and checks the keys, and what the runtime wants for this container.
    ///
    /// # Errors
    /// Names the key, and what is allowed.
    pub(crate) fn parse(conf: &NetConf, args: &Args, has_ipam: bool) -> Result<Self, CniError> {
        let keys: Keys = conf.read()?;
        refuse(&keys, has_ipam)?;
        let dynamic = conf.dynamic()?;
        Ok(Self {
            bridge: bridge_name(&keys.bridge)?,
            gateway: keys.is_gateway || keys.is_default_gateway,
            default_gateway: keys.is_default_gateway,
            force_address: keys.force_address,
            ip_masq: keys.ip_masq,
            mtu: options::mtu(keys.mtu)?,
            hairpin: keys.hairpin_mode,
            promisc: keys.promisc_mode,
            vlans: vlans(&keys)?,
            dad: keys.enabledad,
            container_up: !keys.disable_container_interface,
            isolated: keys.port_isolation,
            checks_source: keys.macspoofchk,
            accept_ra: keys.accept_ra,
            mac: options::mac(&[
                dynamic.runtime.mac.as_deref(),
                dynamic.args.mac.as_deref(),
                args.get("MAC"),
            ])?,
            dns: options::dns(conf)?,
            state_dir: state_dir_of(keys.state_dir),
        })
    }

    /// How the container's end behaves.
    pub(super) fn behaviour(&self) -> Behaviour {
        Behaviour {
            accept_ra: self.accept_ra,
            dad: self.dad,
        }
    }
}

/// What can't be, alone or together.
fn refuse(keys: &Keys, has_ipam: bool) -> Result<(), CniError> {
    if keys.hairpin_mode && keys.promisc_mode {
        let msg = "cannot set hairpin mode and promiscuous mode at the same time";
        return Err(CniError::config(msg));
    }
    if keys.disable_container_interface && has_ipam {
        let msg = "cannot use IPAM when DisableContainerInterface flag is set";
        return Err(CniError::config(msg));
    }
    options::check_masquerade_backend(&keys.ip_masq_backend)
}

fn bridge_name(given: &str) -> Result<String, CniError> {
    let name = if given.is_empty() { BRIDGE } else { given };
    options::check_interface("bridge", name)?;
    Ok(name.to_owned())
}

fn vlans(keys: &Keys) -> Result<Option<Vlans>, CniError> {
    if !(0..=VLAN_MAX).contains(&keys.vlan) {
        let vlan = keys.vlan;
        let msg = format!("invalid VLAN ID {vlan} (must be between 0 and {VLAN_MAX})");
        return Err(CniError::config(msg));
    }
    let native = u16::try_from(keys.vlan).ok().filter(|vlan| *vlan != 0);
    let mut trunk = Vec::new();
    for range in &keys.vlan_trunk {
        trunk.extend(expand(range)?);
    }
    trunk.sort_unstable();
    trunk.dedup();
    let used = native.is_some() || !trunk.is_empty();
    Ok(used.then_some(Vlans {
        native,
        trunk,
        keep_default: keys.preserve_default_vlan,
    }))
}

fn expand(range: &Trunk) -> Result<Vec<u16>, CniError> {
    let vlan = |number: i64, what: &str| {
        let vlan = u16::try_from(number).ok();
        vlan.filter(|_| (1..=VLAN_MAX).contains(&number))
            .ok_or_else(|| {
                CniError::config(format!("incorrect trunk {what} parameter"))
                    .details(format!("{number} is not between 1 and {VLAN_MAX}"))
            })
    };
    let mut vlans = Vec::new();
    match (range.min, range.max) {
        (Some(min), Some(max)) => {
            let (min, max) = (vlan(min, "minID")?, vlan(max, "maxID")?);
            if min > max {
                let msg = "minID is greater than maxID in trunk parameter";
                return Err(CniError::config(msg));
            }
            vlans.extend(min..=max);
        }
        (None, None) => {}
        (min, _) => {
            let missing = if min.is_some() { "maxID" } else { "minID" };
            return Err(CniError::config(format!(
                "minID and maxID should be configured simultaneously, {missing} is missing"
            )));
        }
    }
    if let Some(id) = range.id {
        vlans.push(vlan(id, "id")?);
    }
    Ok(vlans)
}

#[cfg(test)]
mod tests;
