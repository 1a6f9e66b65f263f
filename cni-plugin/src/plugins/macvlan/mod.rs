//! `macvlan`: an interface with a hardware address of its own on one of the host's.

use std::fmt::Debug;

use serde::Deserialize;
use tweed_netlink::{MacVlanMode, Stacked};

use crate::net::layer::Layer;
use crate::net::{inner, options};
use crate::runtime::delegate::Delegate;
use crate::runtime::plugin::{Plugin, Request};
use crate::runtime::removal::Removal;
use crate::runtime::undo::Undo;
use crate::spec::{CniError, CniResult};

const KIND: &str = "macvlan";

pub(crate) struct MacVlan;

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

impl Plugin for MacVlan {
    fn configuration(&self, request: &Request<'_>) -> Result<Box<dyn Debug>, CniError> {
        let layer = layer(request)?;
        let ipam = Delegate::of_ipam(request)?;
        ipam.map(|ipam| ipam.configuration(request)).transpose()?;
        Ok(Box::new(layer))
    }

    fn add(&self, request: &Request<'_>, undo: &mut Undo) -> Result<CniResult, CniError> {
        layer(request)?.add(request, CniResult::default(), undo)
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
        layer(request)?.status(request)
    }
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
