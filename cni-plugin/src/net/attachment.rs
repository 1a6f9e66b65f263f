//! What is the same for all plugins that make an interface: its addresses, what is written down of it, and its removal.
//!
//! DEL and GC go in the order record, link, rules, address, so that the agent puts nothing back, and an address is not
//! handed out again while its old holder lives. They need no previous result, no namespace and no valid configuration.

use std::path::Path;

use tweed_attach::Owner;
use tweed_netlink::netns::Netns;

use super::identity;
use super::masquerade::{self, Masquerade, OnHost};
use crate::runtime::delegate::Delegate;
use crate::runtime::plugin::Request;
use crate::runtime::removal::Removal;
use crate::runtime::undo::Undo;
use crate::spec::{Call, CniError, CniResult, Interface, Kind};

/// The IPAM plugin, for an interface that is of no use without an address.
///
/// # Errors
/// When the configuration names none.
pub(crate) fn required_ipam(request: &Request<'_>) -> Result<Delegate, CniError> {
    Delegate::of_ipam(request)?.ok_or_else(|| {
        let plugin = &request.conf.plugin_type;
        CniError::config(format!("{plugin} interface requires an IPAM configuration"))
            .details("ipam.type is missing: want host-local, static, dhcp or another")
    })
}

/// What the IPAM plugin gives.
///
/// # Errors
/// Its own, or that it gives no address.
pub(crate) fn addresses(
    request: &Request<'_>,
    ipam: &Delegate,
    undo: &mut Undo,
) -> Result<CniResult, CniError> {
    let result = ipam.add(request, undo)?;
    if result.ips.is_empty() {
        let msg = "IPAM plugin returned missing IP config";
        return Err(CniError::failed(msg).details(format!("ipam.type is {}", ipam.name())));
    }
    Ok(result)
}

/// Writes down where an attachment is that has no rules, so that GC finds it.
///
/// # Errors
/// As [`Masquerade::add`].
pub(crate) fn write_down(
    request: &Request<'_>,
    netns: &Netns,
    undo: &mut Undo,
) -> Result<(), CniError> {
    let Request { call, conf, .. } = request;
    let record = Masquerade::of(conf, &call.attachment);
    record.add(Vec::new(), (OnHost::Elsewhere, netns.path()), undo)
}

/// Removes what an ADD of this very attachment has left, and answers whether that may have been in the way. The link's
/// removal answers whether there was one of ours.
///
/// # Errors
/// What can't be removed.
pub(crate) fn clear_leftovers(
    request: &Request<'_>,
    ipam: Option<&Delegate>,
    error: &CniError,
    remove_link: impl FnOnce() -> Result<bool, CniError>,
) -> Result<bool, CniError> {
    let may_be_in_the_way = match error.kind {
        Kind::Taken => remove_link()?,
        Kind::Duplicate => remove_link().map(|_| true)?,
        _ => false,
    };
    if may_be_in_the_way {
        ipam.map_or(Ok(()), |ipam| ipam.del(request))?;
    }
    Ok(may_be_in_the_way)
}

/// Removes an attachment; `remove_link` removes its interface.
///
/// # Errors
/// What the IPAM plugin could not release; the rest is noted.
pub(crate) fn del(
    request: &Request<'_>,
    removal: &mut Removal,
    remove_link: impl FnOnce(&Owner) -> Result<(), CniError>,
) -> Result<(), CniError> {
    let Request { call, conf, .. } = request;
    let owner = identity::owner(&conf.name, &call.attachment);
    let masquerade = Masquerade::of(conf, &call.attachment);
    removal.step(masquerade.leave());
    let mut ipam = Delegate::of_ipam_if_any(request);
    if let Some(ipam) = ipam.take_if(|ipam| ipam.needs_interface()) {
        removal.step(ipam.del(request));
    }
    let link_is_gone = removal.step(remove_link(&owner));
    removal.step(masquerade.remove());
    // A container that still has the address must not see it given to another.
    match ipam.filter(|_| link_is_gone) {
        Some(ipam) => ipam.del(request),
        None => Ok(()),
    }
}

/// Removes what this network has of attachments that are not valid; `remove_links` removes the interfaces of owners that
/// are not in its list.
///
/// # Errors
/// When the configuration has no list of valid attachments, or links can't be listed; the rest is noted.
pub(crate) fn gc(
    request: &Request<'_>,
    removal: &mut Removal,
    remove_links: impl FnOnce(&[Owner], &mut Removal) -> Result<(), CniError>,
) -> Result<(), CniError> {
    let valid = identity::valid_owners(request.conf)?;
    let mut ipam = Delegate::of_ipam_if_any(request);
    if let Some(ipam) = ipam.take_if(|ipam| ipam.needs_interface()) {
        removal.step(ipam.gc(request));
    }
    remove_links(&valid, removal)?;
    removal.step(masquerade::retain(request.conf, &valid));
    match ipam {
        Some(ipam) => ipam.gc(request),
        None => Ok(()),
    }
}

/// The container's interface in the previous result.
///
/// # Errors
/// When it isn't there.
pub(crate) fn interface<'p>(prev: &'p CniResult, call: &Call) -> Result<&'p Interface, CniError> {
    let ifname = &call.attachment.ifname;
    let sandbox = call.netns.as_deref().unwrap_or(Path::new(""));
    let sandbox = sandbox.to_string_lossy();
    prev.interface(ifname, &sandbox).ok_or_else(|| {
        let msg = format!("interface {ifname} of {sandbox} is not in prevResult");
        CniError::drift(msg)
    })
}
