//! How DEL removes the host's links of an attachment. They are cut first, so that the container is off the network, and
//! removed at the end of the call, all in one request. With `fastDel` they are only set aside, and the agent removes
//! them, with others, or a process of ours where no agent runs.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tweed_attach::Owner;
use tweed_attach::live::discarded::{cut, discarded, is_discarded, names, set_aside};
use tweed_model::presence::FOLDER;
use tweed_netlink::netns::Netns;
use tweed_netlink::{LinkInfo, Netlink, NetlinkError};

use super::{link, namespace};
use crate::runtime::plugin::Request;
use crate::spec::cut_links::Cut;
use crate::spec::{Call, CniError, NetConf, json};
use crate::state::records::state_dir;
use crate::state::{agents, lock};

/// The argument by which a process of ours is one that removes links.
pub(crate) const REMOVER: &str = "remove-links";

/// How long it waits for more of them.
const GATHER: Duration = Duration::from_millis(100);

/// Cuts a link of an attachment, and has it removed. That it is gone is no error.
///
/// # Errors
/// When it can't be cut.
pub(crate) fn remove(
    request: &Request<'_>,
    netlink: &mut Netlink,
    link: &LinkInfo,
    owner: &Owner,
) -> Result<(), CniError> {
    let Request { call, conf, .. } = request;
    match cut(netlink, link) {
        Err(error) if error.is_not_found() => return Ok(()),
        cut => cut?,
    }
    let is_aside = is_fast(conf) && both_ends_aside(call, netlink, link, owner).is_ok();
    match is_aside {
        true => call.cut_links.remove_later(state_dir(conf)),
        // Also where the kernel or the container is in the way.
        false => call.cut_links.remove_now(link.clone()),
    }
    Ok(())
}

/// The same for links of the attachment that an earlier DEL has set aside: it may have been killed before it told anybody.
///
/// # Errors
/// When the kernel doesn't answer.
pub(crate) fn remove_discarded(
    request: &Request<'_>,
    netlink: &mut Netlink,
    owner: &Owner,
) -> Result<(), CniError> {
    let Request { call, conf, .. } = request;
    for name in names(owner) {
        match netlink.link(&name)? {
            None => break,
            Some(link) if !is_discarded(&link) => {}
            Some(_) if is_fast(conf) => call.cut_links.remove_later(state_dir(conf)),
            Some(link) => call.cut_links.remove_now(link),
        }
    }
    Ok(())
}

/// Removes what the plugins of a call have cut.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn finish(call: &Call) -> Result<(), CniError> {
    let Cut { now, later } = call.cut_links.take();
    if !now.is_empty() {
        link::socket()?.del_links(&now)?;
    }
    match later {
        Some(records) if !agent_removes() => start_remover(&records).or_else(|_| remove_all()),
        _ => Ok(()),
    }
}

/// Removes all that was set aside on this host, once more has had time to come. The lock on stdin ends before: what
/// comes later is another process's.
///
/// # Errors
/// When links can't be listed or the kernel refuses.
pub(crate) fn run_remover() -> Result<(), CniError> {
    thread::sleep(GATHER);
    let lock = fs::File::from(io::stdin().as_fd().try_clone_to_owned()?);
    // Started by hand there is none.
    let _ = lock.unlock();
    remove_all()
}

/// Whether a configuration, which may otherwise be broken, leaves the removal of links to others.
pub(crate) fn is_fast(conf: &NetConf) -> bool {
    let value = json::get(&conf.raw, "fastDel").and_then(Value::as_bool);
    value.unwrap_or(false)
}

fn remove_all() -> Result<(), CniError> {
    let mut netlink = link::socket()?;
    let links = discarded(&mut netlink)?;
    Ok(netlink.del_links(&links)?)
}

/// The host's end goes last: until then a DEL that is repeated finds it by its name.
fn both_ends_aside(
    call: &Call,
    netlink: &mut Netlink,
    link: &LinkInfo,
    owner: &Owner,
) -> Result<(), CniError> {
    if let Some(index) = link.peer_index()
        && let Some(mut inside) = namespace::socket_at(call.netns.as_deref())?
    {
        let end = inside.link_by_index(index)?;
        let end = end.filter(|end| end.peer_index() == Some(link.index));
        if let Some(end) = end {
            let aside = cut(&mut inside, &end).and_then(|()| set_aside(&mut inside, &end, owner));
            unless_gone(aside)?;
        }
    }
    Ok(unless_gone(set_aside(netlink, link, owner))?)
}

fn unless_gone(result: Result<(), NetlinkError>) -> Result<(), NetlinkError> {
    match result {
        Err(error) if error.is_not_found() => Ok(()),
        other => other,
    }
}

/// Whether an agent runs that looks after the links of this namespace.
fn agent_removes() -> bool {
    let here = Netns::id_of_caller().ok();
    let mut agents = agents::all(Path::new(FOLDER)).map(|(_, presence)| presence);
    agents.any(|agent| here.is_some() && agent.removes_links_of == here && agents::answers(&agent))
}

/// Starts a process that outlives this one, unless one waits already: it has the lock until it looks for links.
fn start_remover(records: &Path) -> io::Result<()> {
    fs::create_dir_all(records)?;
    let here = fs::metadata("/proc/thread-self/ns/net")?.ino();
    let Some(lock) = lock::attempt(&records.join(format!(".remover-{here}.lock")))? else {
        return Ok(());
    };
    // The runtime waits until nobody has its pipes any more.
    Command::new("/proc/self/exe")
        .arg(REMOVER)
        .env_clear()
        .current_dir("/")
        .process_group(0)
        .stdin(lock)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map(drop)
}
