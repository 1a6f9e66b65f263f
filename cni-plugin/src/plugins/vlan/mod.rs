//! `vlan`: an interface for one VLAN of one of the host's.

use serde::Deserialize;
use tweed_netlink::Stacked;

use crate::net::layer::{Addresses, Layer, Layered};
use crate::net::options;
use crate::runtime::plugin::Request;
use crate::spec::CniError;

pub(crate) const PLUGIN: Layered = Layered {
    kind: "vlan",
    addresses: Addresses::Ipam,
    read: layer,
};

/// The largest VLAN number.
const VLAN_MAX: u16 = 4094;

/// All keys. Their defaults are unset, off or 0, as in the reference.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    master: String,
    vlan_id: i64,
    mtu: i64,
    link_in_container: bool,
}

fn layer(request: &Request<'_>) -> Result<Layer, CniError> {
    let conf = request.conf;
    let keys: Keys = conf.read()?;
    if keys.master.is_empty() {
        let msg = "\"master\" is missing: name the host's interface on which the VLAN is";
        return Err(CniError::config(msg));
    }
    let id = u16::try_from(keys.vlan_id).ok();
    let id = id.filter(|id| *id <= VLAN_MAX).ok_or_else(|| {
        let id = keys.vlan_id;
        CniError::config(format!(
            "invalid VLAN ID {id} (vlanId must be between 0 and {VLAN_MAX})"
        ))
    })?;
    Ok(Layer {
        kind: Stacked::Vlan(id),
        master: keys.master,
        in_container: keys.link_in_container,
        mac: None,
        mtu: options::mtu(keys.mtu)?,
        dns: options::dns(conf)?,
    })
}
