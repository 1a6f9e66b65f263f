//! DEL and GC: best effort through all steps, in the order link, rules, address, so that an address is not handed out
//! again while its old holder lives. Needs no previous result, no namespace, no bridge and no valid configuration.

use tweed_overlay::firewall::Owner;
use tweed_overlay::netlink::Netlink;

use super::{masquerade, port};
use crate::net::identity;
use crate::net::namespace;
use crate::runtime::delegate::Delegate;
use crate::spec::{Attachment, Call, CniError, Context, NetConf, Verb};

/// Removes an attachment.
///
/// # Errors
/// What is there and can't be removed; everything else has been.
pub(super) fn del(call: &Call, conf: &NetConf) -> Result<(), CniError> {
    let owner = identity::owner(&conf.name, &call.attachment);
    let link = remove_link(call, &owner);
    let link_is_gone = link.is_ok();
    let mut errors: Vec<CniError> = link.err().into_iter().collect();
    errors.extend(masquerade::remove(conf, &call.attachment, &owner).err());
    // Somebody who still has the address must not see it given to another.
    if link_is_gone {
        errors.extend(release(call, conf).err());
    }
    CniError::join(errors)
}

fn release(call: &Call, conf: &NetConf) -> Result<(), CniError> {
    Delegate::of_ipam_if_any(conf).map_or(Ok(()), |ipam| ipam.call(call, Verb::Del))
}

/// One deletion removes both ends, and the kernel takes its time over each (20 ms seen on Linux 6.18). The host's end
/// of ours is known by name; of another plugin's pair only the container's end is.
fn remove_link(call: &Call, owner: &Owner) -> Result<(), CniError> {
    let mut host = Netlink::open().context(|| "open a netlink socket")?;
    if port::remove(&mut host, owner)? {
        return Ok(());
    }
    let Some(netns) = namespace::open_if_there(call)? else {
        return Ok(());
    };
    let mut inside = match netns.netlink() {
        // What can be opened but not entered is no network namespace.
        Err(error) if error.is_gone() => return Ok(()),
        other => other?,
    };
    match inside.link(&call.attachment.ifname)? {
        Some(link) if !link.loopback => port::delete(&mut inside, &link),
        _ => Ok(()),
    }
}

/// Removes what this network has of attachments that are not valid any more.
///
/// # Errors
/// As for [`del`]; or nothing says what is valid.
pub(super) fn gc(call: &Call, conf: &NetConf) -> Result<(), CniError> {
    let valid: Vec<Owner> = conf
        .valid_attachments()?
        .into_iter()
        .map(|key| Attachment {
            container_id: key.container_id,
            ifname: key.ifname,
        })
        .map(|attachment| identity::owner(&conf.name, &attachment))
        .collect();
    let mut netlink = Netlink::open().context(|| "open a netlink socket")?;
    let mut errors = Vec::new();
    for link in netlink.links()? {
        let owner = Owner::parse(&link.alias).filter(|owner| owner.is_in(&conf.name));
        let stale = owner.is_some_and(|owner| !valid.contains(&owner));
        if stale && link.kind == "veth" {
            errors.extend(port::delete(&mut netlink, &link).err());
        }
    }
    errors.extend(masquerade::retain(conf, &valid).err());
    if let Some(ipam) = Delegate::of_ipam_if_any(conf) {
        errors.extend(ipam.call(call, Verb::Gc).err());
    }
    CniError::join(errors)
}
