//! What an operator wants beyond cnitool: an ADD that fails leaves nothing, a container that was started again is
//! attached anew, and one that is gone is detached by what is kept of it.

use std::path::Path;

use serde_json::Value;
use tweed_netlink::Netlink;
use tweed_netlink::netns::Netns;

use super::cache::{Cache, Kept};
use super::container::{Life, life};
use super::endpoint::{Endpoint, Given};
use super::failure::{Failure, Reason};
use super::found::{Container, State};
use super::network::Network;
use crate::net::namespace::is_same;
use crate::runtime::log;
use crate::spec::Attachment;

/// What is asked for, less the network.
pub(crate) struct Wanted {
    pub(crate) container: Container,
    /// The interface, if one is named.
    pub(crate) ifname: Option<String>,
    pub(crate) given: Given,
    /// Whether the container's namespace may be the host's own.
    pub(crate) own_netns_allowed: bool,
}

/// Attaches the container.
///
/// # Errors
/// Why not. Nothing is left then.
pub(crate) fn add(network: &Network<'_>, wanted: &Wanted) -> Result<Value, Failure> {
    let (id, path) = match (&wanted.container.state, &wanted.container.id) {
        (State::Runs(path), Some(id)) => (id, path),
        (State::Unknown(failure), _) => return Err(failure.clone()),
        (State::Stopped(why), _) => return Err(Failure::container(why)),
        (State::Runs(_), None) => return Err(Failure::container("the container has no ID")),
    };
    let mut inside = enter(path, wanted.own_netns_allowed)?;
    for old in kept(network, &wanted.container)? {
        let key = &old.endpoint.key;
        let is_here = key.container_id == *id && is_same(path, Path::new(&old.endpoint.netns));
        if !is_here || !has(&mut inside, &key.ifname)? {
            network.del(&without_lost_namespace(&old))?;
            log::line(format_args!(
                "{key} was left of an earlier container, and is removed"
            ));
        } else if wanted
            .ifname
            .as_ref()
            .is_none_or(|ifname| *ifname == key.ifname)
        {
            let msg = format!(
                "{} is attached already, as {}: detach it with del, or name another interface with --ifname",
                network.list.name, key.ifname
            );
            return Err(Failure::new(Reason::Other, msg));
        }
    }
    let ifname = match &wanted.ifname {
        Some(ifname) => ifname.clone(),
        None => free(&mut inside)?,
    };
    // Plugins that only bring `lo` up find it there.
    if ifname != "lo" && has(&mut inside, &ifname)? {
        let msg = format!("it has an interface {ifname} already: name another one with --ifname");
        return Err(Failure::container(msg));
    }
    let endpoint = Endpoint {
        key: Attachment {
            container_id: id.clone(),
            ifname,
        },
        netns: path.to_string_lossy().into_owned(),
        given: wanted.given.clone(),
        container: wanted.container.label.clone(),
    };
    network
        .add(&endpoint)
        .map_err(|failure| match network.del(&endpoint) {
            Ok(()) => failure,
            Err(also) => {
                let text = format!("{failure}; taking it back failed too: {also}");
                Failure::new(failure.reason, text)
            }
        })
}

/// Detaches the container: all of its interfaces in the network, or the one that is named. One that is not attached is
/// no error.
///
/// # Errors
/// The first that can't be detached.
pub(crate) fn del(network: &Network<'_>, wanted: &Wanted) -> Result<(), Failure> {
    let kept = chosen(network, wanted)?;
    for one in &kept {
        let mut endpoint = without_lost_namespace(one);
        endpoint.given = wanted.given.or(&one.endpoint.given);
        network.del(&endpoint)?;
    }
    let (container, id) = (&wanted.container, &wanted.container.id);
    match (id, &wanted.ifname, &container.state) {
        _ if !kept.is_empty() => Ok(()),
        // An ADD that was killed keeps nothing.
        (Some(id), Some(ifname), state) => network.del(&Endpoint {
            key: Attachment {
                container_id: id.clone(),
                ifname: ifname.clone(),
            },
            netns: match state {
                State::Runs(path) if Netns::open(path.as_path()).is_ok() => {
                    path.to_string_lossy().into_owned()
                }
                _ => String::new(),
            },
            given: wanted.given.clone(),
            container: None,
        }),
        (_, _, State::Unknown(failure)) => Err(failure.clone()),
        _ => {
            log::line(format_args!(
                "nothing of {} is attached to it",
                network.list.name
            ));
            Ok(())
        }
    }
}

/// Compares what is attached with what ADD has made.
///
/// # Errors
/// The first difference; or nothing is attached.
pub(crate) fn check(network: &Network<'_>, wanted: &Wanted) -> Result<(), Failure> {
    match &wanted.container.state {
        State::Runs(_) => {}
        State::Stopped(why) => return Err(Failure::container(why)),
        State::Unknown(failure) => return Err(failure.clone()),
    }
    let kept = chosen(network, wanted)?;
    if kept.is_empty() {
        let (name, folder) = (&network.list.name, network.cache.folder());
        let msg = format!("{name} is not attached to it, by what {folder} has: attach it with add");
        return Err(Failure::container(msg));
    }
    for one in &kept {
        let mut endpoint = without_lost_namespace(one);
        if endpoint.netns.is_empty() {
            let msg = "it was started again since it was attached: attach it again with add";
            return Err(Failure::container(msg));
        }
        endpoint.given = wanted.given.or(&one.endpoint.given);
        network.check(&endpoint)?;
    }
    Ok(())
}

/// Removes what is left of containers that are gone, in the network alone. Attachments in `keep` stay whatever is known
/// of them; with `all` no others do.
///
/// # Errors
/// All that failed; or nothing at all is known, by which everything would go.
pub(crate) fn gc(network: &Network<'_>, keep: &[Attachment], all: bool) -> Result<(), Failure> {
    let kept = network.cache.of_network(&network.list.name)?;
    if kept.is_empty() && keep.is_empty() && !all {
        let (name, folder) = (&network.list.name, network.cache.folder());
        let msg = format!(
            "{folder} has no attachment of {name}, so that all of it would go: if it shall, say --all"
        );
        return Err(Failure::new(Reason::Other, msg));
    }
    let stays = |one: &Kept| keep.contains(&one.endpoint.key) || !all && life(one) != Life::Dead;
    let (valid, stale): (Vec<Kept>, Vec<Kept>) = kept.into_iter().partition(stays);
    let mut valid: Vec<Attachment> = valid.into_iter().map(|one| one.endpoint.key).collect();
    let more = keep.iter().filter(|key| !valid.contains(key)).cloned();
    let more: Vec<Attachment> = more.collect();
    valid.extend(more);
    let stale: Vec<Endpoint> = stale.iter().map(without_lost_namespace).collect();
    network.gc(&stale, Some(&valid))
}

/// What is kept of a container in a network: by its ID, and of earlier containers of its name that are gone.
pub(crate) fn kept_of(
    cache: &Cache,
    network: &str,
    container: &Container,
) -> Result<Vec<Kept>, Failure> {
    let mut kept = cache.of_network(network)?;
    let id = container.id.as_deref();
    kept.retain(|one| {
        let endpoint = &one.endpoint;
        let is_named = container.label.is_some() && endpoint.container == container.label;
        id == Some(endpoint.key.container_id.as_str()) || is_named && life(one) != Life::Alive
    });
    Ok(kept)
}

fn kept(network: &Network<'_>, container: &Container) -> Result<Vec<Kept>, Failure> {
    kept_of(network.cache, &network.list.name, container)
}

/// What is kept of the interface that is named, or of all.
fn chosen(network: &Network<'_>, wanted: &Wanted) -> Result<Vec<Kept>, Failure> {
    let mut kept = kept(network, &wanted.container)?;
    if let Some(ifname) = &wanted.ifname {
        kept.retain(|one| one.endpoint.key.ifname == *ifname);
    }
    Ok(kept)
}

/// The endpoint with its namespace, unless that is gone or may be another container's by now.
fn without_lost_namespace(kept: &Kept) -> Endpoint {
    let mut endpoint = kept.endpoint.clone();
    let stays = match life(kept) {
        Life::Alive => true,
        Life::Dead => false,
        Life::Unknown => {
            !endpoint.netns.starts_with("/proc/") && Netns::open(endpoint.netns.as_str()).is_ok()
        }
    };
    if !stays {
        endpoint.netns.clear();
    }
    endpoint
}

/// A socket in the container's namespace.
fn enter(path: &Path, own_allowed: bool) -> Result<Netlink, Failure> {
    let netns = Netns::open(path).map_err(|error| {
        let hint =
            "for a container say docker://NAME, podman://NAME, containerd://ID or pid:NUMBER";
        Failure::container(format!("{error}; {hint}"))
    })?;
    let own = Netns::current().map_err(Failure::container)?;
    if netns.is_same(&own) && !own_allowed {
        let msg = format!(
            "{} is the host's own network: a container with it needs no attachment (CNI_NETNS_OVERRIDE=1 allows it)",
            path.display()
        );
        return Err(Failure::container(msg));
    }
    netns.netlink().map_err(Failure::container)
}

fn has(inside: &mut Netlink, ifname: &str) -> Result<bool, Failure> {
    let link = inside.link(ifname);
    Ok(link
        .map_err(|error| Failure::new(Reason::Other, error))?
        .is_some())
}

/// The first of `net1`, `net2`, … that is free: engines number `eth0`, `eth1`, … without looking.
fn free(inside: &mut Netlink) -> Result<String, Failure> {
    let links = inside
        .links()
        .map_err(|error| Failure::new(Reason::Other, error))?;
    let mut names = (1..=links.len() + 1).map(|number| format!("net{number}"));
    let name = names.find(|name| links.iter().all(|link| link.name != *name));
    name.ok_or_else(|| Failure::new(Reason::Other, "no name of an interface is free"))
}
