//! The host's end of the container's veth pair.

use tweed_netlink::{LinkInfo, Netlink};

use crate::net::namespace;
use crate::runtime::plugin::Request;
use crate::spec::{CniError, CniResult};

/// The host's end, which the previous result must name.
///
/// # Errors
/// When the container's interface is no veth end, or the other end is elsewhere.
pub(super) fn of(
    netlink: &mut Netlink,
    request: &Request<'_>,
    prev: &CniResult,
) -> Result<LinkInfo, CniError> {
    if prev.interfaces.is_empty() {
        return Err(CniError::config("no interfaces provided"));
    }
    let ifname = &request.call.attachment.ifname;
    let container = namespace::open(request.call)?.netlink()?.link(ifname)?;
    let Some(index) = container.and_then(|end| end.peer_index()) else {
        let msg = format!("container interface {ifname} has no veth peer");
        return Err(CniError::failed(msg).details("only what is behind a veth pair can be limited"));
    };
    let Some(end) = netlink.link_by_index(index)? else {
        let msg = format!("veth peer with index {index} is not in host ns");
        return Err(CniError::failed(msg));
    };
    match prev.interface(&end.name, "") {
        Some(_) => Ok(end),
        None => {
            let msg = "no veth peer of container interface found in host ns";
            let details = format!("prevResult names no interface {:?} of the host", end.name);
            Err(CniError::failed(msg).details(details))
        }
    }
}

/// The host's end, if container and interface are still there: it goes with them.
pub(super) fn if_there(
    netlink: &mut Netlink,
    request: &Request<'_>,
) -> Result<Option<LinkInfo>, CniError> {
    let Some(netns) = namespace::open_if_there(request.call)? else {
        return Ok(None);
    };
    let mut inside = match netns.netlink() {
        Err(error) if error.is_gone() => return Ok(None),
        other => other?,
    };
    let container = inside.link(&request.call.attachment.ifname)?;
    match container.and_then(|end| end.peer_index()) {
        Some(index) => Ok(netlink
            .link_by_index(index)?
            .filter(|end| end.kind == "veth")),
        None => Ok(None),
    }
}
