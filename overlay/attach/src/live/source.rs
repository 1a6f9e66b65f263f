//! Ports whose frames must have one source address, in the kernel: put, checked, and removed by the owner in the comment.

use std::collections::BTreeSet;

use tweed_host::KernelError;
use tweed_model::Mac;
use tweed_netlink::Netfilter;
use tweed_nft::Element;
use tweed_nft::live::read::{self, BRIDGE};
use tweed_nft::live::table::persist;
use tweed_nft::render::{add_elements, del_elements, for_bridges};

use super::attachment::prepare;
use super::table::Table;
use crate::source::{port_of, source_base, source_elements};
use crate::{CNI_TABLE, Owner};

/// Drops frames that come in by this port with another source address. Creates or mends the table where needed.
///
/// # Errors
/// When the kernel refuses, or other programs change the packet filter without pause.
pub fn bind_source(
    socket: &mut Netfilter,
    owner: &Owner,
    port: &str,
    mac: Mac,
) -> Result<(), KernelError> {
    let base = source_base();
    let wanted = source_elements(owner, port, mac);
    persist(socket, |socket| {
        let (generation, there) = read::table_of(socket, BRIDGE, CNI_TABLE)?;
        let (mut messages, sets) = prepare(&base, there);
        let mut replaces = !messages.is_empty();
        for (set, element) in &wanted {
            let there = sets.get(*set).map_or(&[][..], |set| &set.elements);
            if there.contains(element) {
                continue;
            }
            let same_port = there.iter().filter(|old| port_of(old) == port_of(element));
            let stale: Vec<Element> = same_port.cloned().collect();
            replaces |= !stale.is_empty();
            messages.extend(del_elements(CNI_TABLE, set, &stale));
            messages.extend(add_elements(CNI_TABLE, set, std::slice::from_ref(element)));
        }
        let generation = replaces.then_some(generation);
        Ok((!messages.is_empty()).then_some((for_bridges(messages), generation)))
    })
    .map_err(KernelError::from)
}

/// Lets an owner's ports send with any source address again. Without the table there is nothing to do.
///
/// # Errors
/// When the kernel refuses, or other programs change the packet filter without pause.
pub fn free_source(socket: &mut Netfilter, owner: &Owner) -> Result<(), KernelError> {
    let comment = Some(owner.to_string());
    persist(socket, |socket| {
        let (_, Some(there)) = read::table_of(socket, BRIDGE, CNI_TABLE)? else {
            return Ok(None);
        };
        let mut messages = Vec::new();
        for (name, mut set) in there.sets {
            set.elements.retain(|element| element.comment == comment);
            messages.extend(del_elements(CNI_TABLE, &name, &set.elements));
        }
        Ok((!messages.is_empty()).then_some((for_bridges(messages), None)))
    })
    .map_err(KernelError::from)
}

/// Whether frames that come in by this port must have this source address: rules and elements are there.
///
/// # Errors
/// When the kernel refuses to say.
pub fn is_source_bound(
    socket: &mut Netfilter,
    owner: &Owner,
    port: &str,
    mac: Mac,
) -> Result<bool, KernelError> {
    let mut table = Table::of_bridges();
    table.look(socket)?;
    Ok(table.binds_source(owner, port, mac))
}

/// All owners of ports in the table.
///
/// # Errors
/// When the kernel refuses to say.
pub fn source_owners(socket: &mut Netfilter) -> Result<BTreeSet<Owner>, KernelError> {
    let (_, there) = read::table_of(socket, BRIDGE, CNI_TABLE)?;
    let sets = there.map(|there| there.sets).unwrap_or_default();
    let elements = sets.values().flat_map(|set| &set.elements);
    let owner = |element: &Element| Owner::parse(element.comment.as_deref()?);
    Ok(elements.filter_map(owner).collect())
}
