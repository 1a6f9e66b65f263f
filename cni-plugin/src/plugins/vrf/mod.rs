//! `vrf`: puts a container's interface into a VRF, a device with a routing table of its own.
//!
//! All of it is in the container's namespace and ends with it. The VRF is made for the first interface, and goes with the
//! last one.

mod config;
mod device;

use std::fmt::Debug;

use config::VrfConfig;
use device::Move;
use tweed_netlink::{LinkInfo, Netlink, TABLE_MAIN};

use crate::net::{identity, link, namespace};
use crate::runtime::plugin::{Plugin, Request};
use crate::runtime::removal::Removal;
use crate::runtime::undo::Undo;
use crate::spec::{Call, CniError, CniResult};

pub(crate) struct Vrf;

impl Plugin for Vrf {
    fn configuration(&self, request: &Request<'_>) -> Result<Box<dyn Debug>, CniError> {
        Ok(Box::new(VrfConfig::parse(request.conf)?))
    }

    fn add(&self, request: &Request<'_>, undo: &mut Undo) -> Result<CniResult, CniError> {
        let config = VrfConfig::parse(request.conf)?;
        let missing = || CniError::config("missing prevResult from earlier plugin");
        let prev = request.conf.prev_result()?.ok_or_else(missing)?;
        let mut inside = namespace::open(request.call)?.netlink()?;
        let container = interface(&mut inside, request.call)?;
        device::refuse(&mut inside, &config)?;
        let (call, name) = (request.call.clone(), config.name.clone());
        undo.push(move || detach(&call, &name));
        let (vrf, table) = device::ensure(&mut inside, &config)?;
        match container.master {
            Some(master) if master == vrf.index => Ok(prev),
            None | Some(0) => {
                let into = Move {
                    from: TABLE_MAIN,
                    to: table,
                    master: vrf.index,
                };
                into.make(&mut inside, &container)?;
                Ok(prev)
            }
            Some(master) => {
                let of = inside.link_by_index(master)?.map(|link| link.name);
                let (ifname, of) = (&container.name, of.unwrap_or_default());
                let msg = format!("interface {ifname} has already a master set: {of}");
                Err(CniError::failed(msg))
            }
        }
    }

    fn del(&self, request: &Request<'_>, _removal: &mut Removal) -> Result<(), CniError> {
        match config::name(request.conf) {
            Some(name) => detach(request.call, &name),
            None => Ok(()),
        }
    }

    fn check(&self, request: &Request<'_>) -> Result<(), CniError> {
        let config = VrfConfig::parse(request.conf)?;
        request.conf.required_prev_result()?;
        let mut inside = namespace::open(request.call)?.netlink()?;
        let container = interface(&mut inside, request.call)?;
        let VrfConfig { name, table } = &config;
        let Some(vrf) = device::find(&mut inside, name)? else {
            return Err(CniError::drift(format!("there is no VRF {name}")));
        };
        if table.is_some() && vrf.vrf_table != *table {
            let msg = format!("VRF {name} has not the table of the configuration");
            return Err(CniError::drift(msg));
        }
        if container.master != Some(vrf.index) {
            let ifname = &container.name;
            let msg = format!("Failed to find {ifname} associated to vrf {name}");
            return Err(CniError::drift(msg));
        }
        Ok(())
    }

    /// Nothing of it is on the host.
    fn gc(&self, request: &Request<'_>, _removal: &mut Removal) -> Result<(), CniError> {
        identity::valid_owners(request.conf).map(drop)
    }

    fn status(&self, request: &Request<'_>) -> Result<(), CniError> {
        VrfConfig::parse(request.conf).map(drop)
    }
}

fn interface(netlink: &mut Netlink, call: &Call) -> Result<LinkInfo, CniError> {
    let ifname = &call.attachment.ifname;
    let link = netlink.link(ifname)?;
    link.ok_or_else(|| CniError::failed(format!("could not get link by name {ifname}")))
}

/// Takes the interface out of its VRF, and removes that if no other is in it.
fn detach(call: &Call, name: &str) -> Result<(), CniError> {
    let Some(netns) = namespace::open_if_there(call)? else {
        return Ok(());
    };
    let mut inside = match netns.netlink() {
        // What can be opened but not entered is no network namespace.
        Err(error) if error.is_gone() => return Ok(()),
        other => other?,
    };
    // Something else of that name is not ours.
    let Ok(Some(vrf)) = device::find(&mut inside, name) else {
        return Ok(());
    };
    let container = inside.link(&call.attachment.ifname)?;
    if let Some(container) = container.filter(|link| link.master == Some(vrf.index)) {
        let out = Move {
            from: vrf.vrf_table.unwrap_or(TABLE_MAIN),
            to: TABLE_MAIN,
            master: 0,
        };
        out.make(&mut inside, &container)?;
    }
    let links = inside.links()?;
    match links.iter().any(|link| link.master == Some(vrf.index)) {
        true => Ok(()),
        false => link::delete(&mut inside, &vrf),
    }
}
