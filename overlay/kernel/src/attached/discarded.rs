//! Links that the plugins' DEL has set aside, since the kernel removes many as fast as one.

use std::collections::BTreeSet;

use tweed_attach::Owner;
use tweed_attach::live::Recorded;
use tweed_attach::live::discarded::{discarded, is_discarded};
use tweed_host::KernelError;
use tweed_netlink::{LinkInfo, Netlink};
use tweed_state::Attached;

/// Their names.
pub(super) fn names(links: &[LinkInfo]) -> BTreeSet<String> {
    let discarded = links.iter().filter(|link| is_discarded(link));
    discarded.map(|link| link.name.clone()).collect()
}

/// Leaves ports that a DEL has just cut. Our record of the attachment is gone by then; that of the runtime goes later, and
/// it alone looks as if the port were damaged.
pub(super) fn leave_cut(links: &[LinkInfo], recorded: &Recorded, want: &mut Attached) {
    let is_cut = |link: &&LinkInfo| !link.up && link.master.is_none();
    for link in links.iter().filter(is_cut) {
        let owner = Owner::parse(&link.alias);
        let attachment = owner.and_then(|owner| recorded.attachments.get(&owner));
        if attachment.is_some_and(|attachment| attachment.files.is_empty()) {
            want.ports.remove(&link.name);
            want.owners.remove(&link.name);
        }
    }
}

/// Deletes those of these names.
pub(super) fn remove(netlink: &mut Netlink, names: &BTreeSet<String>) -> Result<(), KernelError> {
    let mut links = discarded(netlink)?;
    links.retain(|link| names.contains(&link.name));
    Ok(netlink.del_links(&links)?)
}
