//! `bandwidth`: limits what a container receives and sends.
//!
//! What it receives leaves the host by the host's end of its veth pair: a token bucket there. What it sends comes in
//! there, where nothing can wait; it is led to a device of kind `ifb`, which has a token bucket at its way out.

mod config;
mod host_end;
mod ifb;
mod limits;

use std::fmt::Debug;

use config::BandwidthConfig;
use tweed_attach::Owner;
use tweed_attach::live::discarded::is_discarded;
use tweed_netlink::LinkInfo;

use crate::net::{identity, link};
use crate::runtime::plugin::{Plugin, Request};
use crate::runtime::removal::Removal;
use crate::runtime::undo::Undo;
use crate::spec::{CniError, CniResult};

pub(crate) struct Bandwidth;

impl Plugin for Bandwidth {
    fn configuration(&self, request: &Request<'_>) -> Result<Box<dyn Debug>, CniError> {
        Ok(Box::new(BandwidthConfig::parse(request.conf)?))
    }

    fn add(&self, request: &Request<'_>, undo: &mut Undo) -> Result<CniResult, CniError> {
        let config = BandwidthConfig::parse(request.conf)?;
        let chained = || CniError::config("must be called as chained plugin");
        let prev = request.conf.prev_result()?.ok_or_else(chained)?;
        match config.is_unlimited() {
            true => limits::clear(request, &prev).map(|()| prev),
            false => limits::attach(request, &config, prev, undo),
        }
    }

    fn del(&self, request: &Request<'_>, removal: &mut Removal) -> Result<(), CniError> {
        limits::detach(request, removal)
    }

    fn check(&self, request: &Request<'_>) -> Result<(), CniError> {
        let config = BandwidthConfig::parse(request.conf)?;
        let prev = request.conf.required_prev_result()?;
        match config.is_unlimited() {
            true => Ok(()),
            false => limits::check(request, &config, &prev),
        }
    }

    /// What was on the host's end went with it. Devices that Go's plugin has made tell nobody whose they are, and stay.
    fn gc(&self, request: &Request<'_>, _removal: &mut Removal) -> Result<(), CniError> {
        let conf = request.conf;
        let valid = identity::valid_owners(conf)?;
        let mut netlink = link::socket()?;
        let is_stale = |device: &LinkInfo| {
            let owner = Owner::parse(&device.alias).filter(|owner| owner.is_in(&conf.name));
            owner.is_some_and(|owner| !valid.contains(&owner))
        };
        let mut stale = ifb::all(&mut netlink)?;
        stale.retain(|device| is_discarded(device) || is_stale(device));
        Ok(netlink.del_links(&stale)?)
    }

    fn status(&self, request: &Request<'_>) -> Result<(), CniError> {
        BandwidthConfig::parse(request.conf)?;
        link::socket().map(drop)
    }
}
