//! 127.0.0.1 as a way to a host port. The kernel lets a packet from there leave by another interface than `lo` only if
//! that interface has `route_localnet`; the plugins' table then keeps others' packets to 127.0.0.0/8 out.

use std::path::Path;

use tweed_attach::Publication;
use tweed_attach::record::LOOPBACK_OPEN;
use tweed_host::sysctl;
use tweed_model::Family;
use tweed_netlink::Netlink;

use crate::net::sysctl::of_interface;
use crate::spec::{CniError, Context};
use crate::state::records;

/// Lets the host's loopback through to the container, where a mapping leads there. To be called once the table stands.
/// The sysctl stays on: the next container behind the same interface needs it too. A file beside the container's record
/// stays as well; by it the agent keeps the table's rule in place as long as the sysctl may be on.
///
/// # Errors
/// When the file can't be written; or the sysctl is off and can't be set.
pub(super) fn enable(
    netlink: &mut Netlink,
    publication: &Publication,
    record: &Path,
) -> Result<(), CniError> {
    let Some(key) = switch(netlink, publication)? else {
        return Ok(());
    };
    let word = record.with_file_name(LOOPBACK_OPEN);
    if !word.exists() {
        records::write(&word, "")?;
    }
    if is_on(&key) {
        return Ok(());
    }
    sysctl::set(&key, "1").context(|| format!("unable to enable route_localnet: {key}"))
}

/// Checks that it still is let through.
///
/// # Errors
/// When the switch is off.
pub(super) fn check(netlink: &mut Netlink, publication: &Publication) -> Result<(), CniError> {
    match switch(netlink, publication)? {
        Some(key) if !is_on(&key) => {
            let msg = format!("{key} is 0");
            Err(CniError::drift(msg).details("127.0.0.1 does not lead to the container"))
        }
        _ => Ok(()),
    }
}

/// The switch of the interface behind which the container is.
fn switch(netlink: &mut Netlink, publication: &Publication) -> Result<Option<String>, CniError> {
    let Some(target) = publication.loopback_target() else {
        return Ok(None);
    };
    let route = netlink.route_to(target)?;
    let Some(index) = route.and_then(|route| route.oif) else {
        return Ok(None);
    };
    let link = netlink.link_by_index(index)?.filter(|link| !link.loopback);
    Ok(link.map(|link| of_interface(Family::V4, &link.name, "route_localnet")))
}

fn is_on(key: &str) -> bool {
    matches!(sysctl::read(key), Ok(Some(value)) if value == "1")
}
