//! Lending a device to a container, and taking it back.

use std::os::fd::AsFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use tweed_host::pauses::Pauses;
use tweed_netlink::netns::Netns;
use tweed_netlink::{LinkChange, LinkInfo, Netlink};

use super::saved::{self, Saved};
use crate::net::{link, namespace};
use crate::spec::{CniError, Context, Kind};
use crate::state::file;

/// How long the kernel may take to bring hardware back from a namespace that is gone: it does so in the background.
const RETURN_DEADLINE: Duration = Duration::from_secs(2);

/// Checks that the container has no interface of this name.
///
/// # Errors
/// When it has.
pub(super) fn check_free(netns: &Netns, ifname: &str) -> Result<(), CniError> {
    match netns.netlink()?.link(ifname)? {
        Some(_) => Err(link::taken(ifname, netns)),
        None => Ok(()),
    }
}

/// Moves a device into the container, under its name there, with its name on the host as alias.
///
/// # Errors
/// When the kernel moves no such device.
pub(super) fn lend(device: &LinkInfo, netns: &Netns, ifname: &str) -> Result<LinkInfo, CniError> {
    let change = LinkChange {
        netns: Some(netns.as_fd()),
        name: Some(ifname),
        alias: Some(&device.name),
        ..LinkChange::default()
    };
    link::socket()?
        .set_link(device.dev(), &change)
        .context(|| "failed to move link")?;
    link::existing(&mut netns.netlink()?, ifname)
}

/// Gives the device back to the host as it was, but down, and forgets what was written down of it. A device that is gone
/// is gone. Without `ifname`, which is for a namespace that the runtime names, the device must bear a mark: another
/// container may have the namespace's path by now.
///
/// # Errors
/// When it is there, and can't be had back.
pub(super) fn take_back(
    netns: Option<&Path>,
    ifname: Option<&str>,
    record: &Path,
) -> Result<(), CniError> {
    let saved = saved::read(record);
    match namespace::socket_at(netns.filter(|path| !is_home(path)))? {
        Some(mut inside) => {
            if let Some((device, saved)) = find(&mut inside, ifname, saved)? {
                give_back(&mut inside, &device, &saved)?;
            }
        }
        None => {
            if let Some(saved) = saved {
                name_again(&saved)?;
            }
        }
    }
    file::forget(record)
}

/// The same for an ADD that has failed: the device is up again if it was.
///
/// # Errors
/// As [`take_back`].
pub(super) fn undo(
    netns: Option<&Path>,
    ifname: &str,
    record: &Path,
    was_up: bool,
) -> Result<(), CniError> {
    let saved = saved::read(record);
    take_back(netns, Some(ifname), record)?;
    let mut host = link::socket()?;
    let device = match saved.filter(|_| was_up) {
        Some(saved) => host.link(&saved.device)?,
        None => None,
    };
    match device {
        Some(device) if !device.up => link::bring_up(&mut host, &device),
        _ => Ok(()),
    }
}

/// Whether the namespace of a path is the host's own: a process of the host may have the number of a container's.
fn is_home(path: &Path) -> bool {
    let home = Netns::current().ok();
    let there = Netns::open(path).ok();
    home.zip(there)
        .is_some_and(|(home, there)| home.is_same(&there))
}

/// The device in the container, which may have changed much of it: the one whose alias is its name on the host, or that
/// has the interface's name, or its hardware address. What Go's plugin has lent has no record.
fn find(
    inside: &mut Netlink,
    ifname: Option<&str>,
    saved: Option<Saved>,
) -> Result<Option<(LinkInfo, Saved)>, CniError> {
    let links = inside.links()?;
    let Some(saved) = saved else {
        let mut links = links.into_iter();
        let device = links.find(|link| ifname == Some(link.name.as_str()));
        return Ok(device.and_then(|device| {
            let saved = Saved::of_alias(&device)?;
            Some((device, saved))
        }));
    };
    let of_kind = |link: &&LinkInfo| link.kind == saved.kind && !link.loopback;
    let is_marked = |link: &&LinkInfo| of_kind(link) && link.alias == saved.device;
    let is_named = |link: &&LinkInfo| of_kind(link) && ifname == Some(link.name.as_str());
    let is_same = |link: &&LinkInfo| of_kind(link) && link.mac.is_some() && saved.mac == link.mac;
    let all = links.iter();
    let marked = all.clone().find(is_marked);
    let named = marked.or_else(|| all.clone().find(is_named));
    let found = named.or_else(|| all.clone().find(is_same)).cloned();
    Ok(found.map(|device| (device, saved)))
}

fn give_back(inside: &mut Netlink, device: &LinkInfo, saved: &Saved) -> Result<(), CniError> {
    let (name, now) = (&saved.device, &device.name);
    if link::socket()?.link(name)?.is_some() {
        let msg = format!("{now} can't be given back: the host has another interface {name}");
        let remedy = format!("rename that one: ip link set {name} down name other");
        return Err(CniError::new(Kind::Conflict, msg).details(remedy));
    }
    let home = Netns::current()?;
    let change = LinkChange {
        netns: Some(home.as_fd()),
        name: Some(name),
        alias: Some(&saved.alias),
        ..LinkChange::default()
    };
    match inside.set_link(device.dev(), &change) {
        Err(error) if error.is_not_found() => Ok(()),
        moved => moved.context(|| format!("failed to move {now} back to the host")),
    }
}

/// The container's namespace is gone. Hardware has come back by itself, under the name that it had there; other devices
/// have gone with it.
fn name_again(saved: &Saved) -> Result<(), CniError> {
    let since = Instant::now();
    let mut pauses = Pauses::new(Duration::from_millis(1), Duration::from_millis(50));
    let mut host = link::socket()?;
    let device = loop {
        let mut links = host.links()?.into_iter();
        let is_ours = |link: &LinkInfo| link.alias == saved.device && link.kind == saved.kind;
        let found = links.find(is_ours);
        let may_come = saved.kind.is_empty() && since.elapsed() < RETURN_DEADLINE;
        if found.is_some() || !may_come || host.link(&saved.device)?.is_some() {
            break found;
        }
        thread::sleep(pauses.next_pause());
    };
    let Some(device) = device else {
        return Ok(());
    };
    let change = LinkChange {
        name: Some(&saved.device),
        alias: Some(&saved.alias),
        ..LinkChange::default()
    };
    host.set_link(device.dev(), &change)
        .context(|| format!("failed to rename {} to {}", device.name, saved.device))
}
