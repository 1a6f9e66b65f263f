//! ADD. The record goes before the elements, so that an attachment without a record has nothing in the packet filter.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use tweed_attach::live::{PublishError, forget_flows_past, publish, publish_new, unpublish};
use tweed_attach::record::leaving;
use tweed_attach::{Owner, PortRecord, Publication};
use tweed_netlink::{Netfilter, Netlink};

use super::config::PortmapConfig;
use super::record_file::{RecordFile, is_gone};
use super::wanted::wanted;
use super::{flows, localnet, tunnel};
use crate::net::{link, packet_filter};
use crate::runtime::log;
use crate::runtime::plugin::Request;
use crate::runtime::undo::Undo;
use crate::spec::{CniError, CniResult, Context, Kind};
use crate::state::{file, records};

/// Makes the host ports that the runtime wants for this container lead to the addresses of its interface. Those that
/// it had before and are not wanted any more are removed.
///
/// # Errors
/// When a port is another container's, or the kernel refuses.
pub(super) fn attach(
    request: &Request<'_>,
    config: PortmapConfig,
    result: &CniResult,
    undo: &mut Undo,
) -> Result<(), CniError> {
    let Request { call, conf, .. } = request;
    let file = RecordFile::of(&config.state_dir, &conf.name, &call.attachment);
    let Some(mut publication) = wanted(call, config, result)? else {
        let ifname = &call.attachment.ifname;
        log::line(format_args!(
            "portmap: {ifname} has no address, so that its host ports lead nowhere"
        ));
        return Ok(());
    };
    let mut netlink = link::socket()?;
    tunnel::refuse(&mut netlink, &publication)?;
    publication.host_address = localnet::host_address(&mut netlink, &publication)?;
    let netns = call.netns.as_deref().unwrap_or(Path::new(""));
    let record = PortRecord {
        network: conf.name.clone(),
        container_id: call.attachment.container_id.clone(),
        ifname: call.attachment.ifname.clone(),
        netns: netns.to_string_lossy().into_owned(),
        publication,
    };
    let (owner, path) = (file.owner.clone(), file.path.clone());
    undo.push(move || take_back(&owner, &path));
    // A record of an earlier ADD stays until its ports are gone.
    records::leave(&file.path)?;
    records::write(&file.path, &record.render())?;
    let mut socket = packet_filter::socket()?;
    put(&mut socket, &mut netlink, &file, &record.publication)?;
    file::remove(&leaving(&file.path))
}

fn take_back(owner: &Owner, record: &Path) -> Result<(), CniError> {
    records::leave(record)?;
    unpublish(&mut packet_filter::socket()?, owner).context(|| "remove host ports")?;
    file::forget(record)?;
    file::remove(&leaving(record))
}

fn put(
    socket: &mut Netfilter,
    netlink: &mut Netlink,
    file: &RecordFile,
    publication: &Publication,
) -> Result<(), CniError> {
    let dead = RefCell::new(BTreeSet::new());
    let is_dead = |holder: &Owner| {
        let path = file.of_other(holder);
        let is_dead = is_gone(&path);
        if is_dead {
            dead.borrow_mut().insert(path);
        }
        is_dead
    };
    let published = match file.is_whole() {
        true => publish_new(socket, &file.owner, publication, is_dead),
        false => publish(socket, &file.owner, publication, is_dead),
    };
    published.map_err(refused)?;
    // The agent must not give back what has just been taken.
    dead.into_inner().iter().try_for_each(|path| {
        file::forget(path)?;
        file::remove(&leaving(path))
    })?;
    let local = netlink.addrs(None)?.into_iter();
    let local = local.map(|addr| addr.net.addr()).collect();
    flows::log_failure(forget_flows_past(socket, publication, &local));
    Ok(())
}

/// The packet filter's refusal as an error of the verb.
pub(super) fn refused(error: PublishError) -> CniError {
    match error {
        PublishError::Taken { .. } => CniError::new(Kind::Conflict, error)
            .details("the holder is network/container/interface; remove that container, or choose another host port"),
        PublishError::Ambiguous(_) => CniError::config(error),
        PublishError::Kernel(error) => {
            CniError::from(error).context("failed to set up host ports")
        }
    }
}
