//! `portmap`: ports of the host that lead to the container, as elements of the plugins' nftables maps.
//!
//! Chained behind the plugin that made the interface, or by way of `tweed` and `flannel` when these are given the
//! capability `portMappings`. The record goes before the elements and is removed after them, so that whoever has no
//! record has nothing in the packet filter either.

mod config;
mod localnet;
mod tunnel;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use config::Config;
use ipnet::IpNet;
use tweed_overlay::firewall::record::port_file_name;
use tweed_overlay::firewall::{Owner, PortRecord, Publication};
use tweed_overlay::kernel::KernelError;
use tweed_overlay::kernel::firewall::{
    PublishError, forget_flows_past, forget_flows_to, publish, published, publishers,
    remove_migrated_ports, unpublish,
};
use tweed_overlay::model::Dual;
use tweed_overlay::netlink::{Netfilter, Netlink};
use tweed_overlay::netns::Netns;

use crate::net::identity;
use crate::runtime::log;
use crate::runtime::plugin::Plugin;
use crate::spec::{Attachment, AttachmentKey, Call, CniError, CniResult, Context, Kind, NetConf};
use crate::state::file;
use crate::state::records::{self, packet_filter, packet_filter_answers, state_dir};

/// The plugin.
pub(crate) struct PortMap;

impl Plugin for PortMap {
    fn configuration(&self, _: &Call, conf: &NetConf) -> Result<Box<dyn Debug>, CniError> {
        Ok(Box::new(Config::parse(conf)?))
    }

    fn add(&self, call: &Call, conf: &NetConf) -> Result<CniResult, CniError> {
        let chained = || CniError::config("must be called as chained plugin");
        let result = conf.prev_result()?.ok_or_else(chained)?;
        attach(call, conf, &result)?;
        Ok(result)
    }

    fn del(&self, call: &Call, conf: &NetConf) -> Result<(), CniError> {
        detach(call, conf)
    }

    fn check(&self, call: &Call, conf: &NetConf) -> Result<(), CniError> {
        conf.required_prev_result()?;
        verify(call, conf)
    }

    fn gc(&self, _: &Call, conf: &NetConf) -> Result<(), CniError> {
        retain(conf, &conf.valid_attachments()?)
    }

    fn status(&self, _: &Call, conf: &NetConf) -> Result<(), CniError> {
        Config::parse(conf)?;
        packet_filter_answers()
    }
}

/// Makes the host ports that the runtime wants for this container lead to the addresses of its interface. Those that
/// it had before and are not wanted any more are removed.
///
/// # Errors
/// Nothing is left behind.
pub(crate) fn attach(call: &Call, conf: &NetConf, result: &CniResult) -> Result<(), CniError> {
    if !config::has_ports(conf) {
        return Ok(());
    }
    let Some(publication) = wanted(call, Config::parse(conf)?, result)? else {
        let ifname = &call.attachment.ifname;
        log::line(format_args!(
            "portmap: {ifname} has no address, so that its host ports lead nowhere"
        ));
        return Ok(());
    };
    let mut netlink = Netlink::open().context(|| "open a netlink socket")?;
    tunnel::refuse(&mut netlink, &publication)?;
    let file = RecordFile::of(conf, &call.attachment);
    let netns = call.netns.as_deref().unwrap_or(Path::new(""));
    let record = PortRecord {
        network: conf.name.clone(),
        container_id: call.attachment.container_id.clone(),
        ifname: call.attachment.ifname.clone(),
        netns: netns.to_string_lossy().into_owned(),
        publication,
    };
    records::write(&file.path, &record.render())?;
    let mut socket = packet_filter()?;
    steps(&mut socket, &mut netlink, &file, &record.publication).map_err(|error| {
        let undone = unpublish(&mut socket, &file.owner).context(|| "remove host ports");
        match undone.and_then(|()| file::forget(&file.path)) {
            Ok(()) => error,
            Err(undo) => {
                let details = format!("{}; not undone: {undo}", error.details);
                error.details(details.trim_start_matches("; "))
            }
        }
    })
}

fn steps(
    socket: &mut Netfilter,
    netlink: &mut Netlink,
    file: &RecordFile,
    publication: &Publication,
) -> Result<(), CniError> {
    let dead = RefCell::new(BTreeSet::new());
    let is_dead = |holder: &Owner| {
        let path = file.of_other(holder);
        let is_dead = is_gone(&path);
        if is_dead {
            dead.borrow_mut().insert(path);
        }
        is_dead
    };
    publish(socket, &file.owner, publication, is_dead).map_err(refused)?;
    // The agent must not give back what has just been taken.
    dead.into_inner()
        .iter()
        .try_for_each(|path| file::forget(path))?;
    // After the table, which has the rule that keeps others from 127.0.0.1.
    localnet::enable(netlink, publication, &file.path)?;
    let local = netlink.addrs(None)?.into_iter();
    let local = local.map(|addr| addr.net.addr()).collect();
    tell(forget_flows_past(socket, publication, &local));
    Ok(())
}

/// Whether a record says that its container's namespace is gone. Without a record nothing says so.
fn is_gone(path: &Path) -> bool {
    let text = records::read(path).unwrap_or_default();
    let record = PortRecord::parse(&text).filter(|record| !record.netns.is_empty());
    let netns = record.map(|record| Netns::open(record.netns));
    netns.is_some_and(|netns| netns.is_err_and(|error| error.is_gone()))
}

fn refused(error: PublishError) -> CniError {
    match error {
        PublishError::Taken { .. } => CniError::new(Kind::Conflict, error)
            .details("the holder is network/container/interface; remove that container, or choose another host port"),
        PublishError::Ambiguous(_) => CniError::config(error),
        PublishError::Kernel(error) => {
            CniError::from(error).context("failed to set up host ports")
        }
    }
}

/// Flows that can't be forgotten end by themselves, later: no reason to refuse a container.
fn tell(forgotten: Result<usize, KernelError>) {
    if let Err(error) = forgotten {
        log::line(format_args!(
            "portmap: old UDP flows go on until they time out: {error}"
        ));
    }
}

/// The mappings, and the first address of each family; `None` without any.
fn wanted(
    call: &Call,
    config: Config,
    result: &CniResult,
) -> Result<Option<Publication>, CniError> {
    let ifname = &call.attachment.ifname;
    let mut first: Dual<IpNet> = Dual::default();
    for ip in result.addresses_of(ifname) {
        let slot = match ip.address {
            IpNet::V4(_) => &mut first.v4,
            IpNet::V6(_) => &mut first.v6,
        };
        slot.get_or_insert(ip.address);
    }
    let addresses: Vec<IpNet> = first.values().copied().collect();
    if addresses.is_empty() {
        return Ok(None);
    }
    if let Some(wrong) = addresses.iter().find(|net| !is_of_one_host(net.addr())) {
        let msg = format!("prevResult gives {ifname} the address {wrong}, which no host can have");
        return Err(CniError::config(msg).details("host ports can't lead there"));
    }
    let publication = Publication {
        addresses,
        ports: config.ports,
        masquerade: config.masquerade,
    };
    publication.claims().map_err(CniError::config)?;
    Ok(Some(publication))
}

fn is_of_one_host(addr: IpAddr) -> bool {
    !addr.is_unspecified()
        && !addr.is_multicast()
        && !addr.is_loopback()
        && addr != IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// Removes the host ports of an attachment, if it may have any, be it that Go's plugin has made them.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn detach(call: &Call, conf: &NetConf) -> Result<(), CniError> {
    let file = RecordFile::of(conf, &call.attachment);
    let text = records::read(&file.path);
    if text.is_none() && !config::has_ports(conf) {
        return Ok(());
    }
    let mut socket = packet_filter()?;
    unpublish(&mut socket, &file.owner).context(|| "failed to remove host ports")?;
    let record = text.as_deref().and_then(PortRecord::parse);
    let publication = match record {
        Some(record) => Some(record.publication),
        None => {
            let container = &call.attachment.container_id;
            remove_migrated_ports(&mut socket, &conf.name, container)
                .context(|| "failed to remove host ports")?;
            let result = conf.prev_result().ok().flatten();
            result.and_then(|result| wanted(call, config::readable(conf), &result).ok().flatten())
        }
    };
    if let Some(publication) = publication {
        tell(forget_flows_to(&mut socket, &publication));
    }
    file::forget(&file.path)
}

/// Checks that all host ports lead to the container.
///
/// # Errors
/// The first that doesn't.
pub(crate) fn verify(call: &Call, conf: &NetConf) -> Result<(), CniError> {
    if !config::has_ports(conf) {
        return Ok(());
    }
    let config = Config::parse(conf)?;
    let Some(publication) = wanted(call, config, &conf.required_prev_result()?)? else {
        return Ok(());
    };
    let owner = identity::owner(&conf.name, &call.attachment);
    let missing = published(&mut packet_filter()?, &owner, &publication).map_err(refused)?;
    if let Some(missing) = missing {
        return Err(CniError::drift(missing)
            .details("another program has changed the ruleset; tweedd restores it, or a new ADD"));
    }
    let mut netlink = Netlink::open().context(|| "open a netlink socket")?;
    localnet::check(&mut netlink, &publication)
}

/// Removes the host ports of a network's attachments that are not valid any more.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn retain(conf: &NetConf, valid: &[AttachmentKey]) -> Result<(), CniError> {
    let valid: BTreeSet<Owner> = valid
        .iter()
        .map(|key| Owner::new(&conf.name, &key.container_id, &key.ifname))
        .collect();
    let stale = |owner: &Owner| owner.is_in(&conf.name) && !valid.contains(owner);
    let mut socket = packet_filter()?;
    for owner in publishers(&mut socket)?.iter().filter(|owner| stale(owner)) {
        unpublish(&mut socket, owner)?;
    }
    for (path, record) in records::all(&state_dir(conf), PortRecord::parse) {
        if stale(&record.owner()) {
            tell(forget_flows_to(&mut socket, &record.publication));
            file::forget(&path)?;
        }
    }
    Ok(())
}

/// Where an attachment's record is.
struct RecordFile {
    owner: Owner,
    path: PathBuf,
}

impl RecordFile {
    fn of(conf: &NetConf, attachment: &Attachment) -> Self {
        let owner = identity::owner(&conf.name, attachment);
        let path = state_dir(conf).join(port_file_name(&owner));
        Self { owner, path }
    }

    fn of_other(&self, owner: &Owner) -> PathBuf {
        self.path.with_file_name(port_file_name(owner))
    }
}
