//! The limits in the kernel: set, changed, compared, removed.

use tweed_netlink::{Incoming, LinkInfo, Netlink};

use super::config::{BandwidthConfig, Limit};
use super::host_end;
use super::ifb::Names;
use crate::net::{identity, link, unlink};
use crate::runtime::plugin::Request;
use crate::runtime::removal::Removal;
use crate::runtime::undo::Undo;
use crate::spec::{CniError, CniResult, Context, Kind};

/// Sets the limits of an attachment, or changes those that it has. The result then names the device for what the
/// container sends.
///
/// # Errors
/// When the container isn't behind a veth pair, or the kernel refuses.
pub(super) fn attach(
    request: &Request<'_>,
    config: &BandwidthConfig,
    prev: CniResult,
    undo: &mut Undo,
) -> Result<CniResult, CniError> {
    let mut netlink = link::socket()?;
    let host_end = host_end::of(&mut netlink, request, &prev)?;
    let names = names(request);
    let taken_back = (names.clone(), host_end.clone());
    undo.push(move || {
        let (names, host_end) = taken_back;
        Removal::of(|removal| remove(&mut link::socket()?, &names, Some(&host_end), removal))
    });
    match config.ingress {
        Some(limit) => put(&mut netlink, &host_end, limit)?,
        None => netlink.del_token_bucket(host_end.dev())?,
    }
    let mut result = prev;
    match config.egress {
        Some(limit) => {
            let device = shape(&mut netlink, &names, &host_end, limit)?;
            // A runtime may hand over the result of the ADD before.
            result.interfaces.retain(|entry| entry.name != device.name);
            result.interfaces.push(link::entry(&device, ""));
        }
        None => Removal::of(|removal| unshape(&mut netlink, &names, Some(&host_end), removal))?,
    }
    Ok(result)
}

/// Removes what an earlier ADD of the attachment has set. Nothing is looked at but the previous result's interfaces, so
/// that a container without limits costs three requests.
pub(super) fn clear(request: &Request<'_>, prev: &CniResult) -> Result<(), CniError> {
    let mut netlink = link::socket()?;
    let names = names(request);
    for entry in prev
        .interfaces
        .iter()
        .filter(|entry| entry.sandbox.is_empty())
    {
        let end = netlink.link(&entry.name)?.filter(|end| end.kind == "veth");
        if let Some(end) = end {
            Removal::of(|removal| remove(&mut netlink, &names, Some(&end), removal))?;
        }
    }
    Ok(())
}

/// Removes the limits of an attachment, be they Go's.
pub(super) fn detach(request: &Request<'_>, removal: &mut Removal) -> Result<(), CniError> {
    let mut netlink = link::socket()?;
    let host_end = host_end::if_there(&mut netlink, request)?;
    let names = names(request);
    unlimit(&mut netlink, host_end.as_ref(), removal);
    if let Some(device) = unlead(&mut netlink, &names, host_end.as_ref(), removal)? {
        unlink::remove(request, &mut netlink, &device, names.owner())?;
    }
    unlink::remove_discarded(request, &mut netlink, names.owner())
}

/// Compares the limits with what they should be.
///
/// # Errors
/// The first difference.
pub(super) fn check(
    request: &Request<'_>,
    config: &BandwidthConfig,
    prev: &CniResult,
) -> Result<(), CniError> {
    let mut netlink = link::socket()?;
    let host_end = host_end::of(&mut netlink, request, prev)?;
    if let Some(limit) = config.ingress {
        compare(&mut netlink, &host_end, limit)?;
    }
    let Some(limit) = config.egress else {
        return Ok(());
    };
    let ifname = &request.call.attachment.ifname;
    let device = names(request).find(&mut netlink)?.ok_or_else(|| {
        CniError::drift(format!("there is no ifb device for what {ifname} sends"))
    })?;
    if !device.up {
        return Err(CniError::drift(format!("{} is down", device.name)));
    }
    compare(&mut netlink, &device, limit)?;
    match netlink.incoming(host_end.dev())? {
        Incoming::LedTo(index) if index == device.index => Ok(()),
        _ => {
            let (from, to) = (&host_end.name, &device.name);
            let msg = format!("what comes in by {from} is not led to {to}");
            Err(CniError::drift(msg))
        }
    }
}

fn put(netlink: &mut Netlink, dev: &LinkInfo, limit: Limit) -> Result<(), CniError> {
    netlink
        .put_token_bucket(dev.dev(), &limit.bucket())
        .context(|| "create qdisc")
}

fn compare(netlink: &mut Netlink, dev: &LinkInfo, limit: Limit) -> Result<(), CniError> {
    let wanted = limit.bucket();
    let name = &dev.name;
    match netlink.token_bucket(dev.dev())? {
        Some(found) if found == wanted => Ok(()),
        Some(found) => {
            let msg = format!("{name} lets through {found}, wanted are {wanted}");
            Err(CniError::drift(msg).details(format!("{found:?}, wanted {wanted:?}")))
        }
        None => Err(CniError::drift(format!("{name} has no token bucket"))),
    }
}

/// Limits what comes in by the host's end. The bucket stands before anything is led to it.
fn shape(
    netlink: &mut Netlink,
    names: &Names,
    host_end: &LinkInfo,
    limit: Limit,
) -> Result<LinkInfo, CniError> {
    let device = names.ensure(netlink, host_end.mtu)?;
    put(netlink, &device, limit)?;
    let led = netlink.incoming(host_end.dev())?;
    if led == Incoming::LedTo(device.index) {
        return Ok(device);
    }
    let stale = match led {
        Incoming::LedTo(index) => index == 0 || netlink.link_by_index(index)?.is_none(),
        Incoming::Unfiltered => true,
        Incoming::Filtered => false,
    };
    if stale {
        netlink.del_redirect(host_end.dev())?;
    }
    match netlink.add_redirect(host_end.dev(), device.dev()) {
        Err(error) if error.is_exists() => {
            let name = &host_end.name;
            let msg = format!("another program looks at what comes in by {name}");
            Err(CniError::new(Kind::Conflict, msg).details(format!(
                "what the container sends can't be limited beside it; `tc filter show dev {name} ingress` lists it"
            )))
        }
        led => Ok(led.map(|()| device)?),
    }
}

fn unshape(
    netlink: &mut Netlink,
    names: &Names,
    host_end: Option<&LinkInfo>,
    removal: &mut Removal,
) -> Result<(), CniError> {
    match unlead(netlink, names, host_end, removal)? {
        Some(device) => link::delete(netlink, &device),
        None => Ok(()),
    }
}

/// Has nothing be led to the device, if there is one, and answers it: it goes last, since what is led to one that is gone
/// is lost.
fn unlead(
    netlink: &mut Netlink,
    names: &Names,
    host_end: Option<&LinkInfo>,
    removal: &mut Removal,
) -> Result<Option<LinkInfo>, CniError> {
    let Some(device) = names.find(netlink)? else {
        return Ok(None);
    };
    if let Some(end) = host_end {
        let led = netlink.incoming(end.dev())?;
        // An ADD that was killed has not led it yet.
        let is_unfinished = led == Incoming::Unfiltered;
        if is_unfinished || led == Incoming::LedTo(device.index) {
            removal.step(netlink.del_redirect(end.dev()).map_err(CniError::from));
        }
    }
    Ok(Some(device))
}

fn unlimit(netlink: &mut Netlink, host_end: Option<&LinkInfo>, removal: &mut Removal) {
    if let Some(end) = host_end {
        removal.step(netlink.del_token_bucket(end.dev()).map_err(CniError::from));
    }
}

fn remove(
    netlink: &mut Netlink,
    names: &Names,
    host_end: Option<&LinkInfo>,
    removal: &mut Removal,
) -> Result<(), CniError> {
    unlimit(netlink, host_end, removal);
    unshape(netlink, names, host_end, removal)
}

fn names(request: &Request<'_>) -> Names {
    let Request { call, conf, .. } = request;
    let owner = identity::owner(&conf.name, &call.attachment);
    Names::of(&conf.name, &call.attachment, &owner)
}
