//! `sbr`: what a container sends from an address of its interface goes by that interface: a rule for each address, and a
//! table in which the interface's routes are.
//!
//! All of it is in the container's namespace and ends with it.

mod config;
mod lock;
mod sources;
mod tables;

use std::fmt::Debug;

use config::SbrConfig;

use crate::net::identity;
use crate::runtime::plugin::{Plugin, Request};
use crate::runtime::removal::Removal;
use crate::runtime::undo::Undo;
use crate::spec::{CniError, CniResult};

pub(crate) struct SourceRouting;

impl Plugin for SourceRouting {
    fn configuration(&self, request: &Request<'_>) -> Result<Box<dyn Debug>, CniError> {
        Ok(Box::new(SbrConfig::parse(request.conf)?))
    }

    fn add(&self, request: &Request<'_>, undo: &mut Undo) -> Result<CniResult, CniError> {
        let config = SbrConfig::parse(request.conf)?;
        let chained = || CniError::config("This plugin must be called as chained plugin");
        let prev = request.conf.prev_result()?.ok_or_else(chained)?;
        sources::attach(request, &config, &prev, undo)?;
        Ok(prev)
    }

    fn del(&self, request: &Request<'_>, removal: &mut Removal) -> Result<(), CniError> {
        let addrs = sources::named(request);
        sources::detach(request.call, &addrs, config::table(request.conf), removal)
    }

    fn check(&self, request: &Request<'_>) -> Result<(), CniError> {
        let config = SbrConfig::parse(request.conf)?;
        let prev = request.conf.required_prev_result()?;
        sources::check(request, &config, &prev)
    }

    /// Nothing of it is on the host.
    fn gc(&self, request: &Request<'_>, _removal: &mut Removal) -> Result<(), CniError> {
        identity::valid_owners(request.conf).map(drop)
    }

    fn status(&self, request: &Request<'_>) -> Result<(), CniError> {
        SbrConfig::parse(request.conf).map(drop)
    }
}
