//! `macspoofchk`: what a container sends with another source address than its interface's is dropped.

use serde_json::Value;
use tweed_attach::Owner;
use tweed_attach::live::{
    bind_source, free_source, is_source_bound, remove_migrated_source, source_owners,
};
use tweed_attach::record::{Record, file_name};
use tweed_model::Mac;

use crate::net::packet_filter;
use crate::runtime::undo::Undo;
use crate::spec::{Attachment, CniError, Context, NetConf, json};
use crate::state::records::{self, state_dir};

/// The check of an attachment's frames, in a configuration that may otherwise be broken.
pub(super) struct SourceCheck<'a> {
    attachment: &'a Attachment,
    owner: &'a Owner,
    is_wanted: bool,
    /// Whether the attachment's record says that there is one; none without a record.
    recorded: Option<bool>,
}

impl<'a> SourceCheck<'a> {
    /// To be called before the record goes.
    pub(super) fn of(conf: &NetConf, attachment: &'a Attachment, owner: &'a Owner) -> Self {
        let text = records::read(&state_dir(conf).join(file_name(owner)));
        let record = text.as_deref().and_then(Record::parse);
        Self {
            attachment,
            owner,
            is_wanted: is_wanted(conf),
            recorded: record.as_ref().map(is_recorded),
        }
    }

    /// Ends the check, if there may be one, be it that Go's plugin has set it up.
    pub(super) fn remove(&self) -> Result<(), CniError> {
        if !self.recorded.unwrap_or(self.is_wanted) {
            return Ok(());
        }
        let what = || "failed to end the check of source addresses";
        let mut socket = packet_filter::socket()?;
        free_source(&mut socket, self.owner).context(what)?;
        if self.recorded.is_none() {
            let Attachment {
                container_id,
                ifname,
            } = self.attachment;
            remove_migrated_source(&mut socket, container_id, ifname).context(what)?;
        }
        Ok(())
    }
}

/// Drops frames that come in by this port from another address.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn bind(owner: &Owner, port: &str, mac: Mac, undo: &mut Undo) -> Result<(), CniError> {
    let mut socket = packet_filter::socket()?;
    let of = owner.clone();
    undo.push(move || Ok(free_source(&mut packet_filter::socket()?, &of)?));
    bind_source(&mut socket, owner, port, mac).context(
        || "failed to set up macspoofchk (needs nf_tables for bridges, CONFIG_NF_TABLES_BRIDGE)",
    )
}

/// Checks that frames by this port must come from this address.
///
/// # Errors
/// When they need not.
pub(super) fn check(owner: &Owner, port: &str, mac: Option<Mac>) -> Result<(), CniError> {
    let mut socket = packet_filter::socket()?;
    let bound = mac.map(|mac| is_source_bound(&mut socket, owner, port, mac));
    match bound.transpose()? {
        Some(true) => Ok(()),
        _ => Err(
            CniError::drift(format!("frames by {port} may have any source address")).details(
                "another program has flushed the ruleset; tweedd restores it, or a new ADD",
            ),
        ),
    }
}

/// Whether any attachment of the network may be checked. To be called before records go.
pub(super) fn checks_any(conf: &NetConf) -> bool {
    let records: Vec<(_, Record)> = records::all(&state_dir(conf), Record::parse);
    is_wanted(conf) || records.iter().any(|(_, record)| is_recorded(record))
}

/// Ends the checks of attachments of a network that are not valid any more.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn retain(conf: &NetConf, valid: &[Owner]) -> Result<(), CniError> {
    let mut socket = packet_filter::socket()?;
    let stale = |owner: &&Owner| owner.is_in(&conf.name) && !valid.contains(owner);
    for owner in source_owners(&mut socket)?.iter().filter(stale) {
        free_source(&mut socket, owner)?;
    }
    Ok(())
}

fn is_recorded(record: &Record) -> bool {
    let ports = record.bridged.iter().flat_map(|bridged| &bridged.ports);
    ports.into_iter().any(|port| port.only_source.is_some())
}

fn is_wanted(conf: &NetConf) -> bool {
    let wanted = json::get(&conf.raw, "macspoofchk").and_then(Value::as_bool);
    wanted.unwrap_or(false)
}
