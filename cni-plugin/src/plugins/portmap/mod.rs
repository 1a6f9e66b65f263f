//! `portmap`: ports of the host that lead to the container, as elements of the plugins' nftables maps.
//!
//! Chained behind the plugin that made the interface, be it by the runtime or by `tweed` and `flannel`, when these are
//! given the capability `portMappings`. The record goes before the elements; DEL renames it before it removes them, and
//! removes it after them. So an attachment without either has nothing in the packet filter.

mod add;
mod conditions;
mod config;
mod flows;
mod localnet;
mod record_file;
mod tunnel;
mod wanted;

use std::collections::BTreeSet;
use std::fmt::Debug;

use config::PortmapConfig;
use record_file::RecordFile;
use tweed_attach::live::{
    forget_flows_to, published, publishers, remove_migrated_ports, unpublish, unpublish_recorded,
};
use tweed_attach::record::leaving;
use tweed_attach::{Owner, PortRecord};
use wanted::wanted;

use crate::net::{identity, link, packet_filter};
use crate::runtime::plugin::{Plugin, Request};
use crate::runtime::removal::Removal;
use crate::runtime::undo::Undo;
use crate::spec::{CniError, CniResult, Context};
use crate::state::file;
use crate::state::records::{self, state_dir};

pub(crate) struct PortMap;

impl Plugin for PortMap {
    fn configuration(&self, request: &Request<'_>) -> Result<Box<dyn Debug>, CniError> {
        Ok(Box::new(PortmapConfig::parse(request.conf)?))
    }

    fn add(&self, request: &Request<'_>, undo: &mut Undo) -> Result<CniResult, CniError> {
        let chained = || CniError::config("must be called as chained plugin");
        let result = request.conf.prev_result()?.ok_or_else(chained)?;
        if config::has_ports(request.conf) {
            add::attach(request, PortmapConfig::parse(request.conf)?, &result, undo)?;
        }
        Ok(result)
    }

    /// Removes host ports if there may be any, be it that Go's plugin has made them.
    fn del(&self, request: &Request<'_>, _removal: &mut Removal) -> Result<(), CniError> {
        let Request { call, conf, .. } = request;
        let file = RecordFile::of(&state_dir(conf), &conf.name, &call.attachment);
        let text = records::read(&file.path);
        if text.is_none() && !config::has_ports(conf) {
            return Ok(());
        }
        let record = text.as_deref().and_then(PortRecord::parse);
        let recorded = record.as_ref().filter(|_| file.is_whole());
        records::leave(&file.path)?;
        let mut socket = packet_filter::socket()?;
        let removed = match recorded {
            Some(record) => unpublish_recorded(&mut socket, &file.owner, &record.publication),
            None => unpublish(&mut socket, &file.owner),
        };
        removed.context(|| "failed to remove host ports")?;
        let publication = match record {
            Some(record) => Some(record.publication),
            None => {
                let container = &call.attachment.container_id;
                remove_migrated_ports(&mut socket, &conf.name, container)
                    .context(|| "failed to remove host ports")?;
                let result = conf.prev_result().ok().flatten();
                let wanted = result.map(|result| wanted(call, config::readable(conf), &result));
                wanted.and_then(|wanted| wanted.ok().flatten())
            }
        };
        if let Some(publication) = publication {
            flows::log_failure(forget_flows_to(&mut socket, &publication));
        }
        file::forget(&file.path)?;
        file::remove(&leaving(&file.path))
    }

    fn check(&self, request: &Request<'_>) -> Result<(), CniError> {
        let Request { call, conf, .. } = request;
        let prev = conf.required_prev_result()?;
        if !config::has_ports(conf) {
            return Ok(());
        }
        let Some(mut publication) = wanted(call, PortmapConfig::parse(conf)?, &prev)? else {
            return Ok(());
        };
        publication.host_address = localnet::host_address(&mut link::socket()?, &publication)?;
        let owner = identity::owner(&conf.name, &call.attachment);
        let missing = published(&mut packet_filter::socket()?, &owner, &publication);
        if let Some(missing) = missing.map_err(add::refused)? {
            return Err(CniError::drift(missing).details(
                "another program has changed the ruleset; tweedd restores it, or a new ADD",
            ));
        }
        Ok(())
    }

    fn gc(&self, request: &Request<'_>, removal: &mut Removal) -> Result<(), CniError> {
        let conf = request.conf;
        let valid = identity::valid_owners(conf)?;
        let stale = |owner: &Owner| owner.is_in(&conf.name) && !valid.contains(owner);
        let records = records::all(&state_dir(conf), PortRecord::parse);
        for (path, _) in records.iter().filter(|(_, record)| stale(&record.owner())) {
            records::leave(path)?;
        }
        let mut socket = packet_filter::socket()?;
        let mut stuck = BTreeSet::new();
        for owner in publishers(&mut socket)?.into_iter().filter(stale) {
            if !removal.step(unpublish(&mut socket, &owner).map_err(CniError::from)) {
                stuck.insert(owner);
            }
        }
        for (path, record) in records {
            let owner = record.owner();
            if stale(&owner) && !stuck.contains(&owner) {
                flows::log_failure(forget_flows_to(&mut socket, &record.publication));
                removal.step(file::forget(&path).and_then(|()| file::remove(&leaving(&path))));
            }
        }
        Ok(())
    }

    fn status(&self, request: &Request<'_>) -> Result<(), CniError> {
        PortmapConfig::parse(request.conf)?;
        packet_filter::status()
    }
}
