//! Masquerading: elements in the plugins' nftables table, and the record from which the agent restores them.
//!
//! The record also keeps DEL quick: without one, and without `ipMasq` in the configuration, the packet filter need not
//! be asked at all.

use std::path::{Path, PathBuf};

use ipnet::IpNet;
use tweed_overlay::firewall::Owner;
use tweed_overlay::firewall::record::{Record, file_name};
use tweed_overlay::kernel::firewall::{
    masquerade, masqueraded, owners, remove_migrated, remove_owner,
};

use super::config::wants_masquerade;
use crate::spec::{Attachment, CniError, Context, NetConf};
use crate::state::file;
use crate::state::records::{self, packet_filter, state_dir};

/// Masquerades what an attachment's addresses send outside their own networks.
///
/// # Errors
/// When the record can't be written or the kernel refuses.
pub(super) fn add(
    dir: &Path,
    network: &str,
    attachment: &Attachment,
    addrs: Vec<IpNet>,
) -> Result<(), CniError> {
    let record = Record {
        network: network.to_owned(),
        container_id: attachment.container_id.clone(),
        ifname: attachment.ifname.clone(),
        masquerade: addrs,
    };
    let owner = record.owner();
    let path = dir.join(file_name(&owner));
    records::write(&path, &record.render())?;
    let mut socket = packet_filter()?;
    masquerade(&mut socket, &owner, &record.masquerade).context(|| "failed to set up masquerading")
}

/// Removes the masquerading of an attachment, if it may have any, be it that Go's plugin has set it up.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn remove(
    conf: &NetConf,
    attachment: &Attachment,
    owner: &Owner,
) -> Result<(), CniError> {
    let path = state_dir(conf).join(file_name(owner));
    let recorded = path.exists();
    let what = || "failed to remove masquerading";
    if recorded || wants_masquerade(conf) {
        remove_owner(&mut packet_filter()?, owner).context(what)?;
    }
    if !recorded && wants_masquerade(conf) {
        let Attachment {
            container_id,
            ifname,
        } = attachment;
        remove_migrated(&mut packet_filter()?, &conf.name, container_id, ifname).context(what)?;
    }
    file::forget(&path)
}

/// Removes what attachments of a network have that are not valid any more.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn retain(conf: &NetConf, valid: &[Owner]) -> Result<(), CniError> {
    let dir = state_dir(conf);
    let records: Vec<(PathBuf, Record)> = records::all(&dir, Record::parse);
    if !wants_masquerade(conf) && records.is_empty() {
        return Ok(());
    }
    let mut socket = packet_filter()?;
    let stale = |owner: &Owner| owner.is_in(&conf.name) && !valid.contains(owner);
    for owner in owners(&mut socket)?.iter().filter(|owner| stale(owner)) {
        remove_owner(&mut socket, owner)?;
    }
    let mut gone = records.iter().filter(|(_, record)| stale(&record.owner()));
    gone.try_for_each(|(path, _)| file::forget(path))
}

/// Whether all of these addresses are masqueraded.
///
/// # Errors
/// When one is not.
pub(super) fn check(owner: &Owner, addrs: &[IpNet]) -> Result<(), CniError> {
    let there = masqueraded(&mut packet_filter()?, owner)?;
    match addrs.iter().find(|addr| !there.contains(*addr)) {
        None => Ok(()),
        Some(addr) => Err(CniError::drift(format!("{addr} is not masqueraded"))
            .details("another program has flushed the ruleset; tweedd restores it, or a new ADD")),
    }
}
