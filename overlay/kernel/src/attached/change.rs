//! Makes the repairs of an attachment.

use std::sync::Arc;

use tweed_attach::Owner;
use tweed_attach::forwarding::forward_file_name;
use tweed_attach::live::{
    PublishError, Recorded, bind_source, forwarding, free_source, masquerade, publish, put_base,
    remove_owner, unpublish,
};
use tweed_attach::record::{file_name, port_file_name};
use tweed_host::{KernelError, sysctl};
use tweed_state::attached::Repair;

use super::discarded;
use super::gone::{own_addresses, sweep};
use crate::kinds::{bridge, gateway, pair, pod_route, port};
use crate::linux::Linux;

/// Makes one change.
pub(crate) fn apply(linux: &mut Linux, repair: &Repair) -> Result<(), KernelError> {
    match repair {
        Repair::AddBridge(name, wanted) => bridge::make(linux, name, wanted),
        Repair::SetBridge(name, wanted) => bridge::put(linux, name, wanted),
        Repair::PutPair(name, wanted, port) => pair::put(linux, name, wanted, port),
        Repair::SetPort(name, wanted, _) => port::put(linux, name, wanted),
        Repair::AddAddr(name, net) => gateway::put(linux, name, *net),
        Repair::AddRoute(dst, name) => pod_route::put(linux, *dst, name),
        Repair::PutNeigh(name, addr, mac) => pod_route::put_neigh(linux, name, *addr, *mac),
        Repair::SetSysctl(key, value) => {
            let done = sysctl::write(key, value).map(drop);
            done.map_err(|error| refused(repair, error.to_string()))
        }
        Repair::Rules => put_base(linux.firewall.socket()),
        Repair::Masquerade(owner, addrs) => {
            let owner = parsed(repair, owner)?;
            masquerade(linux.firewall.socket(), &owner, addrs)?;
            match is_recorded(linux, &owner, &file_name(&owner)) {
                true => Ok(()),
                false => remove_owner(linux.firewall.socket(), &owner),
            }
        }
        Repair::Source(owner, port, mac) => {
            let owner = parsed(repair, owner)?;
            bind_source(linux.firewall.socket(), &owner, port, *mac)?;
            match is_recorded(linux, &owner, &file_name(&owner)) {
                true => Ok(()),
                false => free_source(linux.firewall.socket(), &owner),
            }
        }
        Repair::Sweep(owner) => {
            let owner = parsed(repair, owner)?;
            let recorded = recorded(linux);
            match recorded.attachments.get(&owner) {
                Some(attachment) => sweep(linux.firewall.socket(), attachment, &recorded),
                None => Ok(()),
            }
        }
        Repair::RemoveLinks(names) => discarded::remove(&mut linux.netlink, names),
        Repair::HostPorts(owner, _) => {
            let owner = parsed(repair, owner)?;
            publish_again(linux, repair, &owner)
        }
        Repair::Forward(owner, _) => {
            let owner = parsed(repair, owner)?;
            forward_again(linux, &owner)
        }
    }
}

fn publish_again(linux: &mut Linux, repair: &Repair, owner: &Owner) -> Result<(), KernelError> {
    let recorded = recorded(linux);
    let attachment = recorded.attachments.get(owner);
    let Some(publication) = attachment.and_then(|attachment| attachment.publication.as_ref())
    else {
        return Ok(());
    };
    match publish(linux.firewall.socket(), owner, publication, |_| false) {
        Ok(()) => {}
        Err(PublishError::Kernel(error)) => return Err(error),
        Err(error) => return Err(refused(repair, format!("{error}: remove one of the two"))),
    }
    match is_recorded(linux, owner, &port_file_name(owner)) {
        true => Ok(()),
        false => unpublish(linux.firewall.socket(), owner),
    }
}

fn forward_again(linux: &mut Linux, owner: &Owner) -> Result<(), KernelError> {
    let recorded = recorded(linux);
    let Some(attachment) = recorded.attachments.get(owner) else {
        return Ok(());
    };
    if let Some(record) = &attachment.forwarded {
        forwarding::forward(linux.firewall.socket(), record)?;
    }
    match is_recorded(linux, owner, &forward_file_name(owner)) {
        true => Ok(()),
        false => forwarding::unaccept(
            linux.firewall.socket(),
            &own_addresses(attachment, &recorded),
        ),
    }
}

/// The records as they were at the last look.
fn recorded(linux: &Linux) -> Arc<Recorded> {
    let state = linux.attachment_state.as_ref();
    state.map_or_else(Arc::default, |state| Arc::clone(&state.recorded))
}

/// Whether an attachment still has its record after a repair. A plugin withdraws the record first: either it is gone
/// here, or the plugin finds the repaired object.
fn is_recorded(linux: &Linux, owner: &Owner, file: &str) -> bool {
    let recorded = recorded(linux);
    let attachment = recorded.attachments.get(owner).into_iter();
    let mut files = attachment.flat_map(|attachment| &attachment.files);
    files.any(|path| path.ends_with(file) && path.exists())
}

fn parsed(repair: &Repair, owner: &str) -> Result<Owner, KernelError> {
    Owner::parse(owner).ok_or_else(|| refused(repair, format!("{owner:?} is no attachment")))
}

fn refused(repair: &Repair, why: String) -> KernelError {
    KernelError {
        what: repair.to_string(),
        source: std::io::Error::other(why),
    }
}
