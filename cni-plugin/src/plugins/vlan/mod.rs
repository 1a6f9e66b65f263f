//! `vlan`: an interface for one VLAN of one of the host's.

use std::fmt::Debug;

use serde::Deserialize;
use tweed_netlink::Stacked;

use crate::net::layer::Layer;
use crate::net::{attachment, inner, options};
use crate::runtime::plugin::{Plugin, Request};
use crate::runtime::removal::Removal;
use crate::runtime::undo::Undo;
use crate::spec::{CniError, CniResult};

const KIND: &str = "vlan";

/// The largest VLAN number.
const VLAN_MAX: u16 = 4094;

pub(crate) struct Vlan;

/// All keys. Their defaults are unset, off or 0, as in the reference.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Keys {
    master: String,
    vlan_id: i64,
    mtu: i64,
    link_in_container: bool,
}

impl Plugin for Vlan {
    fn configuration(&self, request: &Request<'_>) -> Result<Box<dyn Debug>, CniError> {
        let layer = layer(request)?;
        attachment::required_ipam(request)?.configuration(request)?;
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
