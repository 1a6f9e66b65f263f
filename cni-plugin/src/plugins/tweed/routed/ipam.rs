//! Where a routed pod's addresses come from.

use crate::net::attachment;
use crate::runtime::delegate::Delegate;
use crate::runtime::plugin::Request;
use crate::spec::CniError;

/// The IPAM plugin.
///
/// # Errors
/// When there is none, or it works through the interface: nobody is behind that.
pub(super) fn of(request: &Request<'_>) -> Result<Delegate, CniError> {
    let ipam = attachment::required_ipam(request)?;
    if ipam.needs_interface() {
        let msg = format!(
            "ipam.type is {}, which works in mode bridge alone",
            ipam.name()
        );
        return Err(CniError::config(msg)
            .details("a routed pod is on no network with a server: want host-local, or static"));
    }
    Ok(ipam)
}
