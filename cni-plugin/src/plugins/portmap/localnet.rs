//! 127.0.0.1 as a way to a host port: by which address the container sees this host.

use std::net::{IpAddr, Ipv4Addr};

use tweed_attach::Publication;
use tweed_netlink::Netlink;

use crate::spec::CniError;

/// The host's address as the source of what goes to the container, where a mapping leads there from the loopback.
///
/// # Errors
/// When the kernel doesn't answer.
pub(super) fn host_address(
    netlink: &mut Netlink,
    publication: &Publication,
) -> Result<Option<Ipv4Addr>, CniError> {
    let Some(target) = publication.loopback_target() else {
        return Ok(None);
    };
    let route = netlink.route_to(target)?;
    Ok(match route.and_then(|route| route.src) {
        Some(IpAddr::V4(source)) => Some(source),
        _ => None,
    })
}
