//! `macvlan`: an interface with a hardware address of its own on one of the host's.

use serde::Deserialize;
use tweed_netlink::{MacVlanMode, Stacked};

use crate::net::layer::{Addresses, Layer, Layered};
use crate::net::options;
use crate::runtime::plugin::Request;
use crate::spec::CniError;

pub(crate) const PLUGIN: Layered = Layered {
    kind: "macvlan",
    addresses: Addresses::IpamIfAny,
    read: layer,
};

/// All keys. Their defaults are unset, off, none or 0, as in the reference.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    master: String,
    mode: String,
    mtu: i64,
    mac: String,
    link_in_container: bool,
    bcqueuelen: u32,
}

fn layer(request: &Request<'_>) -> Result<Layer, CniError> {
    let Request { call, conf, .. } = request;
    let keys: Keys = conf.read()?;
    let dynamic = conf.dynamic()?;
    let mac = options::mac(&[
        dynamic.runtime.mac.as_deref(),
        call.args.get("MAC"),
        Some(keys.mac.as_str()),
    ])?;
    Ok(Layer {
        kind: Stacked::MacVlan {
            mode: mode(&keys.mode)?,
            queue: (keys.bcqueuelen != 0).then_some(keys.bcqueuelen),
        },
        master: keys.master,
        in_container: keys.link_in_container,
        mac,
        mtu: options::mtu(keys.mtu)?,
        dns: options::dns(conf)?,
    })
}

fn mode(name: &str) -> Result<MacVlanMode, CniError> {
    Ok(match name {
        "" | "bridge" => MacVlanMode::Bridge,
        "private" => MacVlanMode::Private,
        "vepa" => MacVlanMode::Vepa,
        "passthru" => MacVlanMode::Passthrough,
        _ => {
            let error = CniError::config(format!("unknown macvlan mode: {name:?}"));
            return Err(error.details("want bridge, private, vepa or passthru"));
        }
    })
}
