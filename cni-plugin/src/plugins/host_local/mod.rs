//! `host-local`: hands out addresses of configured ranges, remembered in files on this host.
//! Same configuration, same layout on disk and same lock as Go's plugin; a whole verb is one transaction.

mod allocate;
mod boot;
mod config;
mod index;
mod notes;
mod range;
mod resolv_conf;
mod store;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use serde_json::Value;
use tweed_overlay::bounded_file::{self, Links, MIB};

use allocate::AllocError;
use config::{Config, network_dir};
use range::{Range, RangeSet};
use store::{Owner, Store};

use crate::runtime::plugin::Plugin;
use crate::spec::{
    AttachmentKey, Call, CniError, CniResult, Context, Dns, IpConfig, Kind, NetConf, json,
};

/// The plugin.
pub(crate) struct HostLocal;

impl Plugin for HostLocal {
    fn configuration(&self, call: &Call, conf: &NetConf) -> Result<Box<dyn Debug>, CniError> {
        Ok(Box::new(Config::parse(conf, &call.args)?))
    }

    fn add(&self, call: &Call, conf: &NetConf) -> Result<CniResult, CniError> {
        let config = Config::parse(conf, &call.args)?;
        let dns = config
            .resolv_conf
            .as_deref()
            .map_or(Ok(Dns::default()), read_dns)?;
        let store = Store::create(&config.network_dir)?;
        let owner = Owner::from(&call.attachment);
        let picked = pick(&store, &conf.name, &config, &owner)?;
        for (set, (addr, _)) in picked.iter().enumerate() {
            let netns = call.netns.as_deref();
            if let Err(error) = store.reserve(*addr, &owner, netns, set) {
                let released = store.release(&owner).map(|_| ());
                return CniError::join(
                    [Err(error), released]
                        .into_iter()
                        .filter_map(Result::err)
                        .collect(),
                )
                .map(|()| CniResult::default());
            }
        }
        Ok(CniResult {
            ips: picked
                .into_iter()
                .map(|(addr, range)| IpConfig {
                    interface: None,
                    address: range.with_prefix(addr),
                    gateway: Some(range.gateway()),
                })
                .collect(),
            routes: config.routes,
            dns,
            interfaces: Vec::new(),
        })
    }

    fn del(&self, call: &Call, conf: &NetConf) -> Result<(), CniError> {
        if let Some(store) = Store::open(&network_dir(conf))? {
            store.release(&Owner::from(&call.attachment))?;
        }
        Ok(())
    }

    fn check(&self, call: &Call, conf: &NetConf) -> Result<(), CniError> {
        let config = Config::parse(conf, &call.args)?;
        let missing = || {
            let id = &call.attachment.container_id;
            CniError::drift(format!(
                "host-local: Failed to find address added by container {id}"
            ))
        };
        let store = Store::open(&network_dir(conf))?.ok_or_else(missing)?;
        let owner = Owner::from(&call.attachment);
        let expected = expected_addresses(call, conf, &config)?;
        for addr in &expected {
            match store.holder(*addr) {
                Some(holder) if holder.is_or_was(&owner) => {}
                Some(holder) => {
                    let msg = format!("host-local: {addr} is reserved for {}", holder.container_id);
                    return Err(CniError::drift(msg));
                }
                None => return Err(missing().details(format!("{addr} is not reserved"))),
            }
        }
        if expected.is_empty() && store.held_by(&owner, &store.reserved()?)?.is_empty() {
            return Err(missing());
        }
        Ok(())
    }

    fn gc(&self, _call: &Call, conf: &NetConf) -> Result<(), CniError> {
        let valid = conf.valid_attachments()?;
        if let Some(store) = Store::open(&network_dir(conf))? {
            store.retain(|owner, addr| {
                valid.iter().any(|key| owner.is_held_by(key))
                    && !store.is_orphan(&conf.name, owner, addr)
            })?;
        }
        Ok(())
    }

    fn status(&self, call: &Call, conf: &NetConf) -> Result<(), CniError> {
        let config = Config::parse(conf, &call.args)?;
        let Some(store) = Store::open(&network_dir(conf))? else {
            return Ok(());
        };
        let mut reserved = store.reserved()?;
        if config
            .sets
            .iter()
            .any(|set| allocate::next(set, None, &reserved).is_err())
        {
            // The next ADD would free them.
            reserved = &reserved - &store.orphans(&conf.name)?;
        }
        for set in &config.sets {
            allocate::next(set, None, &reserved).map_err(|error| {
                CniError::new(Kind::NotAvailable, error).details(
                    "remove pods, run the runtime's CNI garbage collection, or use a larger subnet",
                )
            })?;
        }
        Ok(())
    }
}

/// Whether any container may hold an address of a network, as far as reservations tell: those of all networks, since
/// several may share one bridge. When another plugin hands out the addresses, or nothing can be read, anyone may.
pub(crate) fn may_have_reserved(net: IpNet, conf: &NetConf) -> bool {
    let ipam = json::get(&conf.raw, "ipam").and_then(Value::as_object);
    let ours = ipam
        .and_then(|ipam| json::get(ipam, "type"))
        .is_some_and(|name| name == "host-local");
    let dir = network_dir(conf);
    let networks = dir.parent().and_then(|parent| fs::read_dir(parent).ok());
    let (true, Some(networks)) = (ours, networks) else {
        return true;
    };
    networks.flatten().any(|network| {
        let files = fs::read_dir(network.path()).into_iter().flatten().flatten();
        let mut addrs = files.filter_map(|file| file.file_name().to_str()?.parse::<IpAddr>().ok());
        addrs.any(|addr| net.contains(&addr))
    })
}

/// The first address of a network: its gateway, unless somebody says otherwise.
pub(crate) fn first_address(net: &IpNet) -> IpAddr {
    range::step(net.network(), 1)
}

impl Owner {
    /// Whether the file is this attachment's, perhaps written by a plugin that knew no interfaces.
    fn is_or_was(&self, owner: &Self) -> bool {
        self.container_id == owner.container_id
            && (self.ifname.is_none() || self.ifname == owner.ifname)
    }

    fn is_held_by(&self, key: &AttachmentKey) -> bool {
        self.container_id == key.container_id
            && self
                .ifname
                .as_ref()
                .is_none_or(|ifname| *ifname == key.ifname)
    }
}

/// One free address a set. Nothing is written yet.
fn pick<'c>(
    store: &Store,
    network: &str,
    config: &'c Config,
    owner: &Owner,
) -> Result<Vec<(IpAddr, &'c Range)>, CniError> {
    let mut reserved = store.reserved()?;
    let held = store.held_by(owner, &reserved)?;
    let mut requested = config.requested.clone();
    let mut picked = Vec::new();
    for (index, set) in config.sets.iter().enumerate() {
        let what = || format!("failed to allocate for range {index}");
        if let Some(addr) = held.iter().find(|addr| set.range_of(addr).is_some()) {
            let msg = format!(
                "{addr} has been allocated to {}, duplicate allocation is not allowed",
                owner.container_id
            );
            return Err(CniError::new(Kind::Duplicate, msg).context(what()));
        }
        let wanted = requested
            .iter()
            .position(|addr| set.range_of(addr).is_some());
        let wanted = wanted.map(|position| requested.remove(position));
        let choice = choose(set, wanted, store.cursor(index), &reserved);
        let choice = match choice {
            // Files that a crash has left hold addresses for nobody, and so do those of containers that died without
            // DEL. They are looked for only when it matters.
            Err(AllocError::Exhausted(_) | AllocError::Unavailable { .. }) => {
                reserved = store.reclaim(network)?;
                choose(set, wanted, store.cursor(index), &reserved)
            }
            other => other,
        };
        let (addr, range) = choice.map_err(|error| alloc_error(&error)).context(what)?;
        reserved.insert(addr);
        picked.push((addr, range));
    }
    if requested.is_empty() {
        return Ok(picked);
    }
    let rest: Vec<String> = requested.iter().map(ToString::to_string).collect();
    let msg = format!("failed to allocate all requested IPs: {}", rest.join(","));
    Err(CniError::config(msg).details("they are in none of the configured ranges"))
}

fn choose<'s>(
    set: &'s RangeSet,
    wanted: Option<IpAddr>,
    cursor: Option<IpAddr>,
    reserved: &BTreeSet<IpAddr>,
) -> Result<(IpAddr, &'s Range), AllocError> {
    let found = wanted.map_or(Ok(None), |addr| allocate::requested(set, addr, reserved))?;
    found.map_or_else(|| allocate::next(set, cursor, reserved), Ok)
}

fn alloc_error(error: &AllocError) -> CniError {
    let kind = match error {
        AllocError::Exhausted(_) => Kind::Exhausted,
        AllocError::Unavailable { .. } => Kind::Conflict,
        AllocError::Gateway(_) => Kind::Config,
    };
    CniError::new(kind, error)
}

/// The addresses that the previous result gives this attachment, as far as they are ours to give.
fn expected_addresses(
    call: &Call,
    conf: &NetConf,
    config: &Config,
) -> Result<Vec<IpAddr>, CniError> {
    let Some(prev) = conf.prev_result()? else {
        return Ok(Vec::new());
    };
    let addrs = prev.addresses_of(&call.attachment.ifname);
    Ok(addrs
        .map(|ip| ip.address.addr())
        .filter(|addr| config.sets.iter().any(|set| set.range_of(addr).is_some()))
        .collect())
}

fn read_dns(path: &Path) -> Result<Dns, CniError> {
    let bytes = bounded_file::read(path, Links::Followed, MIB)
        .context(|| format!("read resolvConf {}", path.display()))?;
    Ok(resolv_conf::parse(&String::from_utf8_lossy(&bytes)))
}
