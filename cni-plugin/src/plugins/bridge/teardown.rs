//! DEL and GC, in the order record, link, rules, address, so that the agent puts nothing back, and an address is not handed
//! out again while its old holder lives. They need no previous result, no namespace, no bridge and no valid configuration.

use crate::net::masquerade::{self, Masquerade};
use crate::net::{identity, veth};
use crate::runtime::delegate::Delegate;
use crate::runtime::plugin::Request;
use crate::runtime::removal::Removal;
use crate::spec::CniError;

/// Removes an attachment.
///
/// # Errors
/// What the IPAM plugin could not release; the rest is noted.
pub(super) fn del(request: &Request<'_>, removal: &mut Removal) -> Result<(), CniError> {
    let Request { call, conf, .. } = request;
    let owner = identity::owner(&conf.name, &call.attachment);
    let masquerade = Masquerade::of(conf, &call.attachment);
    removal.step(masquerade.leave());
    let link_is_gone = removal.step(veth::remove_attachment(call, &owner));
    removal.step(masquerade.remove());
    // A container that still has the address must not see it given to another.
    match Delegate::of_ipam_if_any(request).filter(|_| link_is_gone) {
        Some(ipam) => ipam.del(request),
        None => Ok(()),
    }
}

/// Removes what this network has of attachments that are not valid any more.
///
/// # Errors
/// When the configuration has no list of valid attachments, or links can't be listed; the rest is noted.
pub(super) fn gc(request: &Request<'_>, removal: &mut Removal) -> Result<(), CniError> {
    let valid = identity::valid_owners(request.conf)?;
    veth::retain(&request.conf.name, &valid, removal)?;
    removal.step(masquerade::retain(request.conf, &valid));
    match Delegate::of_ipam_if_any(request) {
        Some(ipam) => ipam.gc(request),
        None => Ok(()),
    }
}
