//! `tuning`: switches of the container's network namespace, and attributes of its interface.
//!
//! What is changed is written down before it is: DEL gives back what was there. The file has the form of Go's plugin,
//! so that either restores what the other has changed, and more keys, which that one passes over.

mod allowlist;
mod change;
mod config;
mod saved;
mod switch;

use std::fmt::Debug;

use config::TuningConfig;
use saved::SavedFile;

use crate::net::identity;
use crate::runtime::plugin::{Plugin, Request};
use crate::runtime::removal::Removal;
use crate::runtime::undo::Undo;
use crate::spec::{CniError, CniResult};

pub(crate) struct Tuning;

impl Plugin for Tuning {
    fn configuration(&self, request: &Request<'_>) -> Result<Box<dyn Debug>, CniError> {
        Ok(Box::new(TuningConfig::parse(request.conf, request.call)?))
    }

    fn add(&self, request: &Request<'_>, undo: &mut Undo) -> Result<CniResult, CniError> {
        let config = TuningConfig::parse(request.conf, request.call)?;
        allowlist::check(&config.sysctls)?;
        let mut result = request.conf.required_prev_result()?;
        change::make(request, &config, undo)?;
        let ifname = &request.call.attachment.ifname;
        let entries = result.interfaces.iter_mut();
        for entry in entries.filter(|entry| entry.name == *ifname && !entry.sandbox.is_empty()) {
            if let Some(mac) = config.link.mac {
                entry.mac = mac.to_string();
            }
            // Before version 1.1.0 no result has one.
            if let Some(mtu) = config.link.mtu.filter(|_| entry.mtu != 0) {
                entry.mtu = mtu;
            }
        }
        Ok(result)
    }

    fn del(&self, request: &Request<'_>, removal: &mut Removal) -> Result<(), CniError> {
        let file = SavedFile::of(&config::data_dir(request.conf), &request.call.attachment);
        change::take_back(request.call, &file, removal)
    }

    fn check(&self, request: &Request<'_>) -> Result<(), CniError> {
        let config = TuningConfig::parse(request.conf, request.call)?;
        request.conf.required_prev_result()?;
        change::check(request.call, &config)
    }

    /// The containers are gone, and what was changed in them with them: only files are left. Those of Go's plugin don't
    /// say of which network they are, and stay.
    fn gc(&self, request: &Request<'_>, removal: &mut Removal) -> Result<(), CniError> {
        let conf = request.conf;
        let valid = identity::valid_owners(conf)?;
        for (file, owner) in saved::all(&config::data_dir(conf)) {
            if owner.is_in(&conf.name) && !valid.contains(&owner) {
                removal.step(file.forget());
            }
        }
        Ok(())
    }

    fn status(&self, request: &Request<'_>) -> Result<(), CniError> {
        let config = TuningConfig::parse(request.conf, request.call)?;
        allowlist::check(&config.sysctls)
    }
}
