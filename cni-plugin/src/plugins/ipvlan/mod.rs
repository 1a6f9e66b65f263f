//! `ipvlan`: an interface with the hardware address of the host's on which it lies. Behind another plugin it takes that
//! one's addresses, and its interface for the master.

use serde::Deserialize;
use tweed_netlink::{IpVlanMode, Stacked};

use crate::net::layer::{Addresses, Layer, Layered};
use crate::net::options;
use crate::runtime::plugin::Request;
use crate::spec::CniError;

pub(crate) const PLUGIN: Layered = Layered {
    kind: "ipvlan",
    addresses: Addresses::IpamOrPrevious,
    read: layer,
};

/// All keys. Their defaults are unset, off, none or 0, as in the reference.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    master: String,
    mode: String,
    mtu: i64,
    link_in_container: bool,
}

fn layer(request: &Request<'_>) -> Result<Layer, CniError> {
    let conf = request.conf;
    let keys: Keys = conf.read()?;
    let mode = match keys.mode.as_str() {
        "" | "l2" => IpVlanMode::L2,
        "l3" => IpVlanMode::L3,
        "l3s" => IpVlanMode::L3S,
        other => {
            let error = CniError::config(format!("unknown ipvlan mode: {other:?}"));
            return Err(error.details("want l2, l3 or l3s"));
        }
    };
    Ok(Layer {
        kind: Stacked::IpVlan(mode),
        master: keys.master,
        in_container: keys.link_in_container,
        mac: None,
        mtu: options::mtu(keys.mtu)?,
        dns: options::dns(conf)?,
    })
}
