//! What is written down of an attachment, and its masquerading: elements in the plugins' nftables table. The agent puts
//! back what stands in the record.
//!
//! The record also keeps DEL quick: without masquerading in it, and without `ipMasq` in the configuration, the packet filter
//! need not be asked at all.

use std::path::{Path, PathBuf};

use ipnet::IpNet;
use serde_json::Value;
use tweed_attach::Owner;
use tweed_attach::live::{
    masquerade, masqueraded, owners, remove_migrated, remove_owner, unmasquerade,
};
use tweed_attach::record::{Record, file_name, leaving};
use tweed_model::{Bridged, Routed};

use super::{identity, packet_filter};
use crate::runtime::log;
use crate::runtime::undo::Undo;
use crate::spec::{Attachment, CniError, Context, NetConf, json};
use crate::state::file;
use crate::state::records::{self, state_dir};

/// Where an attachment is on the host.
pub(crate) enum OnHost {
    /// Nowhere that the agent could put back.
    Elsewhere,
    Bridged(Bridged),
    Routed(Routed),
}

/// The masquerading of one attachment.
pub(crate) struct Masquerade<'a> {
    network: &'a str,
    attachment: &'a Attachment,
    owner: Owner,
    record: PathBuf,
    /// Whether the configuration asks for it.
    is_wanted: bool,
}

impl<'a> Masquerade<'a> {
    /// That of an attachment, in a configuration that may otherwise be broken.
    pub(crate) fn of(conf: &'a NetConf, attachment: &'a Attachment) -> Self {
        Self::with_records_in(&state_dir(conf), conf, attachment)
    }

    /// The same with a folder of records that has been read already.
    pub(crate) fn with_records_in(
        folder: &Path,
        conf: &'a NetConf,
        attachment: &'a Attachment,
    ) -> Self {
        let owner = identity::owner(&conf.name, attachment);
        Self {
            network: &conf.name,
            attachment,
            record: folder.join(file_name(&owner)),
            owner,
            is_wanted: is_wanted(conf),
        }
    }

    /// Writes down where the attachment is, and masquerades what its addresses send outside their own networks. To be called
    /// when all else has been set up: from here on the agent looks after it.
    ///
    /// # Errors
    /// When the kernel refuses, or the record can't be written without which no masquerading may be.
    pub(crate) fn add(
        &self,
        addrs: Vec<IpNet>,
        (place, netns): (OnHost, &Path),
        undo: &mut Undo,
    ) -> Result<(), CniError> {
        let (bridged, routed) = match place {
            OnHost::Elsewhere => (None, None),
            OnHost::Bridged(bridged) => (Some(bridged), None),
            OnHost::Routed(routed) => (None, Some(routed)),
        };
        let record = Record {
            network: self.network.to_owned(),
            container_id: self.attachment.container_id.clone(),
            ifname: self.attachment.ifname.clone(),
            masquerade: addrs,
            bridged,
            routed,
            netns: netns.to_string_lossy().into_owned(),
        };
        let masqueraded = !record.masquerade.is_empty();
        let (owner, path) = (self.owner.clone(), self.record.clone());
        undo.push(move || {
            records::leave(&path)?;
            take_back(&owner, &path, masqueraded)
        });
        match records::write(&self.record, &record.render()) {
            Err(error) if masqueraded => return Err(error),
            Err(error) => log::line(format_args!(
                "tweed: the agent will not put back what another program removes of this attachment: {error}"
            )),
            Ok(()) if masqueraded => {}
            Ok(()) => return Ok(()),
        }
        if !masqueraded {
            return Ok(());
        }
        masquerade(
            &mut packet_filter::socket()?,
            &self.owner,
            &record.masquerade,
        )
        .context(|| "failed to set up masquerading")
    }

    /// Takes the record back, before anything of the attachment goes: from here on the agent puts nothing back.
    pub(crate) fn leave(&self) -> Result<(), CniError> {
        records::leave(&self.record)
    }

    /// Removes the masquerading, if there may be any, be it that Go's plugin has set it up, and what is left of the record.
    pub(crate) fn remove(&self) -> Result<(), CniError> {
        let text = records::read(&self.record);
        let is_recorded = text.is_some();
        let record = text.as_deref().and_then(Record::parse);
        let is_empty = record.is_some_and(|record| record.masquerade.is_empty());
        take_back(
            &self.owner,
            &self.record,
            self.is_wanted || is_recorded && !is_empty,
        )?;
        if self.is_wanted && !is_recorded {
            let Attachment {
                container_id,
                ifname,
            } = self.attachment;
            let mut socket = packet_filter::socket()?;
            remove_migrated(&mut socket, self.network, container_id, ifname)
                .context(|| "failed to remove masquerading")?;
        }
        Ok(())
    }

    /// Checks that all of these addresses are masqueraded.
    pub(crate) fn check(&self, addrs: &[IpNet]) -> Result<(), CniError> {
        let there = masqueraded(&mut packet_filter::socket()?, &self.owner)?;
        match addrs.iter().find(|addr| !there.contains(*addr)) {
            None => Ok(()),
            Some(addr) => Err(
                CniError::drift(format!("{addr} is not masqueraded")).details(
                    "another program has flushed the ruleset; tweedd restores it, or a new ADD",
                ),
            ),
        }
    }
}

fn take_back(owner: &Owner, record: &Path, masqueraded: bool) -> Result<(), CniError> {
    if masqueraded {
        unmasquerade(&mut packet_filter::socket()?, owner)
            .context(|| "failed to remove masquerading")?;
    }
    file::forget(record)?;
    file::remove(&leaving(record))
}

/// Removes what attachments of a network have that are not valid any more.
pub(crate) fn retain(conf: &NetConf, valid: &[Owner]) -> Result<(), CniError> {
    let records: Vec<(PathBuf, Record)> = records::all(&state_dir(conf), Record::parse);
    let stale = |owner: &Owner| owner.is_in(&conf.name) && !valid.contains(owner);
    for (path, _) in records.iter().filter(|(_, record)| stale(&record.owner())) {
        records::leave(path)?;
    }
    if is_wanted(conf)
        || records
            .iter()
            .any(|(_, record)| !record.masquerade.is_empty())
    {
        let mut socket = packet_filter::socket()?;
        for owner in owners(&mut socket)?.iter().filter(|owner| stale(owner)) {
            remove_owner(&mut socket, owner)?;
        }
    }
    let mut gone = records.iter().filter(|(_, record)| stale(&record.owner()));
    gone.try_for_each(|(path, _)| {
        file::forget(path)?;
        file::remove(&leaving(path))
    })
}

fn is_wanted(conf: &NetConf) -> bool {
    json::get(&conf.raw, "ipMasq")
        .and_then(Value::as_bool)
        .unwrap_or(false)
}
