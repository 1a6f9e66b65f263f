//! The veth pair: the host's end is a port of the bridge, the container's end carries the interface's name.

use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use tweed_overlay::firewall::Owner;
use tweed_overlay::netlink::{Dev, LinkChange, LinkInfo, Netlink, OperState, VethEnd, VethSpec};
use tweed_overlay::netns::Netns;

use super::config::Config;
use super::vlan;
use crate::net::identity;
use crate::spec::{CniError, Context, Kind};

/// How many names are tried for the host's end.
const NAMES: u8 = 10;

/// How long a port may take until frames pass. It takes none at all; a machine under load may need some.
const PORT_DEADLINE: Duration = Duration::from_secs(2);

/// Makes the pair, the host's end up and in the bridge, the container's end down, and answers the host's end's name.
///
/// # Errors
/// [`Kind::Taken`] when the container has an interface of that name already.
pub(super) fn create(
    netlink: &mut Netlink,
    bridge: &LinkInfo,
    netns: &Netns,
    ifname: &str,
    owner: &Owner,
    config: &Config,
) -> Result<String, CniError> {
    for attempt in 0..NAMES {
        let name = identity::host_veth(owner, attempt);
        let spec = VethSpec {
            mtu: config.mtu,
            end: VethEnd {
                name: &name,
                mac: Some(identity::host_mac(owner)),
                netns: None,
            },
            peer: VethEnd {
                name: ifname,
                mac: config.mac,
                netns: Some(netns.as_fd()),
            },
        };
        match netlink.add_veth_port(&spec, bridge.dev()) {
            Ok(()) => return Ok(name),
            Err(error) if error.is_exists() => {}
            Err(error) => return Err(CniError::from(error).context("failed to make veth pair")),
        }
        // Which of the two names was taken?
        let leftover = match netlink.link(&name)? {
            Some(link) if !is_ours(&link, owner) => continue,
            host_end => host_end.is_some(),
        };
        let path = netns.path().display();
        let msg = format!("container veth name ({ifname:?}) already exists in {path}");
        let who = if leftover {
            "this plugin"
        } else {
            "another plugin, or an earlier one of it,"
        };
        return Err(CniError::new(Kind::Taken, msg)
            .details(format!("{who} made it; DEL that attachment first")));
    }
    let msg = format!("the {NAMES} names for the host's end of {ifname} are all taken");
    Err(CniError::new(Kind::Taken, msg))
}

/// Names the owner on the host's end, and sets the flags and VLANs of the port.
///
/// # Errors
/// The kernel's refusal.
pub(super) fn configure(
    netlink: &mut Netlink,
    port: Dev<'_>,
    owner: &Owner,
    bridge: &LinkInfo,
    config: &Config,
) -> Result<(), CniError> {
    let alias = owner.to_string();
    let change = LinkChange {
        alias: Some(&alias),
        hairpin: config.hairpin.then_some(true),
        isolated: config.isolated.then_some(true),
        ..LinkChange::default()
    };
    netlink.set_link(port, &change)?;
    match &config.vlans {
        Some(vlans) => vlan::set(netlink, port, bridge, vlans)
            .context(|| format!("failed to set up VLANs of {}", port.name)),
        None => Ok(()),
    }
}

/// Waits until frames pass. The kernel tells carrier changes within the call that makes them, so that the first look
/// mostly suffices.
///
/// # Errors
/// When they don't in time.
pub(super) fn wait_until_up(netlink: &mut Netlink, name: &str) -> Result<(), CniError> {
    let since = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        let port = netlink.link(name)?;
        let state = port.as_ref().map(|port| port.operstate);
        if state == Some(OperState::Up) {
            return Ok(());
        }
        if state.is_none() || since.elapsed() > PORT_DEADLINE {
            let state = state.map_or("gone".to_owned(), |state| {
                format!("{state:?}").to_lowercase()
            });
            let msg = format!("bridge port in error state: {state}");
            return Err(CniError::failed(msg).details(format!("{name}: is the bridge up?")));
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Removes the host's end of an attachment, and with it the container's. `false` when there is none of ours.
///
/// # Errors
/// When it is there and can't be removed.
pub(super) fn remove(netlink: &mut Netlink, owner: &Owner) -> Result<bool, CniError> {
    let mut found = false;
    for attempt in 0..NAMES {
        let Some(link) = netlink.link(&identity::host_veth(owner, attempt))? else {
            break;
        };
        if is_ours(&link, owner) {
            delete(netlink, &link)?;
            found = true;
        }
    }
    Ok(found)
}

/// An ADD that was killed right after the pair was made has not named the owner yet.
fn is_ours(link: &LinkInfo, owner: &Owner) -> bool {
    link.alias == owner.to_string()
        || (link.alias.is_empty() && link.mac == Some(identity::host_mac(owner)))
}

/// Deletes an interface that may be gone.
///
/// # Errors
/// When it is there and can't be deleted.
pub(super) fn delete(netlink: &mut Netlink, link: &LinkInfo) -> Result<(), CniError> {
    match netlink.del_link(link.dev()) {
        Err(error) if !error.is_not_found() => Err(error.into()),
        _ => Ok(()),
    }
}
