//! `ipvlan`: an interface with the hardware address of the host's on which it lies. Behind another plugin it takes that
//! one's addresses, and its interface for the master.

use std::fmt::Debug;

use serde::Deserialize;
use tweed_netlink::{IpVlanMode, Stacked};

use crate::net::layer::Layer;
use crate::net::{inner, options};
use crate::runtime::delegate::Delegate;
use crate::runtime::plugin::{Plugin, Request};
use crate::runtime::removal::Removal;
use crate::runtime::undo::Undo;
use crate::spec::{CniError, CniResult};

const KIND: &str = "ipvlan";

pub(crate) struct IpVlan;

/// All keys. Their defaults are unset, off, none or 0, as in the reference.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    master: String,
    mode: String,
    mtu: i64,
    link_in_container: bool,
}

impl Plugin for IpVlan {
    fn configuration(&self, request: &Request<'_>) -> Result<Box<dyn Debug>, CniError> {
        let layer = layer(request)?;
        let ipam = Delegate::of_ipam(request)?;
        ipam.map(|ipam| ipam.configuration(request)).transpose()?;
        Ok(Box::new(layer))
    }

    fn add(&self, request: &Request<'_>, undo: &mut Undo) -> Result<CniResult, CniError> {
        let mut layer = layer(request)?;
        let prev = request.conf.prev_result()?;
        if let Some(prev) = prev.as_ref().filter(|_| layer.master.is_empty()) {
            layer.master = only_interface(prev)?;
        }
        let given = prev.unwrap_or_default();
        if given.ips.is_empty() && Delegate::of_ipam(request)?.is_none() {
            let msg = "ipam.type is missing, and no plugin before this one gives an address";
            return Err(CniError::config(msg).details("want host-local, static, dhcp or another"));
        }
        layer.add(request, given, undo)
    }

    fn del(&self, request: &Request<'_>, removal: &mut Removal) -> Result<(), CniError> {
        inner::del(request, removal, KIND)
    }

    fn check(&self, request: &Request<'_>) -> Result<(), CniError> {
        layer(request)?.check(request)
    }

    fn gc(&self, request: &Request<'_>, removal: &mut Removal) -> Result<(), CniError> {
        inner::gc(request, removal, KIND)
    }

    fn status(&self, request: &Request<'_>) -> Result<(), CniError> {
        let layer = layer(request)?;
        // The master is known only behind the other plugin.
        if layer.master.is_empty() && Delegate::of_ipam(request)?.is_none() {
            return Ok(());
        }
        layer.status(request)
    }
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

/// The master that another plugin has made.
fn only_interface(prev: &CniResult) -> Result<String, CniError> {
    match prev.interfaces.as_slice() {
        [only] if !only.name.is_empty() => Ok(only.name.clone()),
        _ => Err(CniError::config(
            "chained master failure. PrevResult lacks a single named interface",
        )
        .details("name the interface in the configuration: \"master\"")),
    }
}
