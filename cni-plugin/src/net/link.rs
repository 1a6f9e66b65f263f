//! Links: looked up, set up, deleted, and as results name them.

use tweed_netlink::netns::Netns;
use tweed_netlink::{LinkChange, LinkInfo, Netlink};

use crate::spec::{CniError, Context, Interface, Kind};

/// A client of the host's links.
///
/// # Errors
/// When the kernel gives no socket.
pub(crate) fn socket() -> Result<Netlink, CniError> {
    Netlink::open().context(|| "open a netlink socket")
}

/// A link that this ADD has just made.
///
/// # Errors
/// When it is gone again.
pub(crate) fn existing(netlink: &mut Netlink, name: &str) -> Result<LinkInfo, CniError> {
    let link = netlink.link(name)?;
    link.ok_or_else(|| CniError::failed(format!("interface {name} has vanished during ADD")))
}

pub(crate) fn bring_up(netlink: &mut Netlink, link: &LinkInfo) -> Result<(), CniError> {
    let up = LinkChange {
        up: Some(true),
        ..LinkChange::default()
    };
    netlink
        .set_link(link.dev(), &up)
        .context(|| format!("failed to set {:?} UP", link.name))
}

/// Deletes a link that may be gone.
///
/// # Errors
/// When it is there and can't be deleted.
pub(crate) fn delete(netlink: &mut Netlink, link: &LinkInfo) -> Result<(), CniError> {
    match netlink.del_link(link.dev()) {
        Err(error) if !error.is_not_found() => Err(error.into()),
        _ => Ok(()),
    }
}

/// The refusal of an ADD whose interface's name belongs to another one in the container.
pub(crate) fn taken(ifname: &str, netns: &Netns) -> CniError {
    let path = netns.path().display();
    let msg = format!("interface name {ifname:?} already exists in {path}");
    CniError::new(Kind::Taken, msg)
        .details("another plugin, or an earlier one of it, made it; DEL that attachment first")
}

/// A link as a result names it; `sandbox` is the path of its container's namespace, empty for the host's.
pub(crate) fn entry(link: &LinkInfo, sandbox: &str) -> Interface {
    Interface {
        name: link.name.clone(),
        mac: link.mac.map(|mac| mac.to_string()).unwrap_or_default(),
        sandbox: sandbox.to_owned(),
        ..Interface::default()
    }
}

/// Checks the container's link against its entry in the previous result.
///
/// # Errors
/// When it is gone, of another kind, or has another hardware address.
pub(crate) fn check(
    netlink: &mut Netlink,
    entry: &Interface,
    kind: &str,
) -> Result<LinkInfo, CniError> {
    let link = check_any(netlink, entry)?;
    if link.kind != kind {
        let (name, found) = (&link.name, &link.kind);
        return Err(CniError::drift(format!(
            "container interface {name} is a {found}, not a {kind}"
        )));
    }
    Ok(link)
}

/// The same for a link of any kind.
///
/// # Errors
/// When it is gone, or has another hardware address.
pub(crate) fn check_any(netlink: &mut Netlink, entry: &Interface) -> Result<LinkInfo, CniError> {
    let name = &entry.name;
    let link = netlink
        .link(name)?
        .ok_or_else(|| CniError::drift(format!("container interface {name} not found")))?;
    check_mac(&link, entry)?;
    Ok(link)
}

/// Checks that a link has the hardware address that the previous result gives it, if it does.
pub(crate) fn check_mac(link: &LinkInfo, entry: &Interface) -> Result<(), CniError> {
    let is = link.mac.map(|mac| mac.to_string()).unwrap_or_default();
    if entry.mac.is_empty() || entry.mac.eq_ignore_ascii_case(&is) {
        return Ok(());
    }
    let (name, was) = (&link.name, &entry.mac);
    Err(CniError::drift(format!(
        "interface {name} has MAC {is}, prevResult says {was}"
    )))
}
