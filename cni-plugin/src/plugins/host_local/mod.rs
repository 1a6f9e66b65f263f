//! `host-local`: hands out addresses of configured ranges, remembered in files on this host.
//! Same configuration, same layout on disk and same lock as Go's plugin; a whole verb is one transaction.

mod allocate;
mod boot;
mod config;
mod holder;
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
use tweed_host::bounded_file::{self, Links, MIB};

use allocate::AllocError;
use config::{HostLocalConfig, network_dir};
use holder::Holder;
use range::{Range, RangeSet};
use store::Store;

use crate::runtime::plugin::{Plugin, Request};
use crate::runtime::removal::Removal;
use crate::runtime::undo::Undo;
use crate::spec::{Attachment, CniError, CniResult, Context, Dns, IpConfig, Kind};

pub(crate) struct HostLocal;

impl Plugin for HostLocal {
    fn configuration(&self, request: &Request<'_>) -> Result<Box<dyn Debug>, CniError> {
        Ok(Box::new(HostLocalConfig::parse(
            request.conf,
            &request.call.args,
        )?))
    }

    fn add(&self, request: &Request<'_>, undo: &mut Undo) -> Result<CniResult, CniError> {
        let Request { call, conf, .. } = request;
        let config = HostLocalConfig::parse(conf, &call.args)?;
        let dns = config
            .resolv_conf
            .as_deref()
            .map_or(Ok(Dns::default()), read_dns)?;
        let store = Store::create(&config.network_dir)?;
        let holder = Holder::from(&call.attachment);
        let picked = pick(&store, &conf.name, &config, &holder)?;
        let (dir, to_release) = (config.network_dir.clone(), holder.clone());
        undo.push(move || release(&dir, &to_release));
        for (set, (addr, _)) in picked.iter().enumerate() {
            store.reserve(*addr, &holder, call.netns.as_deref(), set)?;
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

    fn del(&self, request: &Request<'_>, _removal: &mut Removal) -> Result<(), CniError> {
        let holder = Holder::from(&request.call.attachment);
        release(&network_dir(request.conf), &holder)
    }

    fn check(&self, request: &Request<'_>) -> Result<(), CniError> {
        let Request { call, conf, .. } = request;
        let config = HostLocalConfig::parse(conf, &call.args)?;
        let missing = || {
            let id = &call.attachment.container_id;
            CniError::drift(format!(
                "host-local: Failed to find address added by container {id}"
            ))
        };
        let store = Store::open(&network_dir(conf))?.ok_or_else(missing)?;
        let own = Holder::from(&call.attachment);
        let expected = expected_addresses(request, &config)?;
        for addr in &expected {
            match store.holder(*addr) {
                Some(holder) if holder.is_or_was(&own) => {}
                Some(holder) => {
                    let msg = format!("host-local: {addr} is reserved for {}", holder.container_id);
                    return Err(CniError::drift(msg));
                }
                None => return Err(missing().details(format!("{addr} is not reserved"))),
            }
        }
        if expected.is_empty() && store.held_by(&own)?.is_empty() {
            return Err(missing());
        }
        Ok(())
    }

    fn gc(&self, request: &Request<'_>, _removal: &mut Removal) -> Result<(), CniError> {
        let conf = request.conf;
        let valid = conf.valid_attachments()?;
        let Some(store) = Store::open(&network_dir(conf))? else {
            return Ok(());
        };
        store.retain(|holder, addr| {
            valid.iter().any(|attachment| holder.is_of(attachment))
                && !store.is_orphan(&conf.name, holder, addr)
        })
    }

    fn status(&self, request: &Request<'_>) -> Result<(), CniError> {
        let conf = request.conf;
        let config = HostLocalConfig::parse(conf, &request.call.args)?;
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

    /// By reservations, those of all networks, since several may share one bridge. If nothing can be read, any may.
    fn may_hold(&self, request: &Request<'_>, net: &IpNet) -> bool {
        let dir = network_dir(request.conf);
        let networks = dir.parent().and_then(|parent| fs::read_dir(parent).ok());
        let Some(networks) = networks else {
            return true;
        };
        networks.flatten().any(|network| {
            let files = fs::read_dir(network.path()).into_iter().flatten().flatten();
            let mut addrs =
                files.filter_map(|file| file.file_name().to_str()?.parse::<IpAddr>().ok());
            addrs.any(|addr| net.contains(&addr))
        })
    }

    fn holders(&self, request: &Request<'_>) -> Vec<Attachment> {
        let store = Store::open(&network_dir(request.conf)).ok().flatten();
        let holders = store.and_then(|store| store.holders().ok());
        let holders = holders.into_iter().flatten();
        holders.filter_map(Holder::into_attachment).collect()
    }
}

fn release(network_dir: &Path, holder: &Holder) -> Result<(), CniError> {
    match Store::open(network_dir)? {
        Some(store) => store.release(holder).map(drop),
        None => Ok(()),
    }
}

/// One free address a set. Nothing is written yet.
fn pick<'c>(
    store: &Store,
    network: &str,
    config: &'c HostLocalConfig,
    holder: &Holder,
) -> Result<Vec<(IpAddr, &'c Range)>, CniError> {
    let mut reserved = store.reserved()?;
    let held = store.held_by(holder)?;
    let mut requested = config.requested.clone();
    let mut picked = Vec::new();
    for (index, set) in config.sets.iter().enumerate() {
        let what = || format!("failed to allocate for range {index}");
        if let Some(addr) = held.iter().find(|addr| set.range_of(addr).is_some()) {
            let msg = format!(
                "{addr} has been allocated to {}, duplicate allocation is not allowed",
                holder.container_id
            );
            return Err(CniError::new(Kind::Duplicate, msg).context(what()));
        }
        let wanted = requested
            .iter()
            .position(|addr| set.range_of(addr).is_some());
        let wanted = wanted.map(|position| requested.remove(position));
        let choice = choose(set, wanted, store.cursor(index), &reserved);
        let choice = match choice {
            // Files that a crash has left, and those of containers that died without DEL, keep addresses taken. They
            // are looked for only when no address is left, or another program has taken the one that is chosen.
            Ok((addr, _)) if store.is_taken(addr) => {
                reserved = store.reclaim(network)?;
                choose(set, wanted, store.cursor(index), &reserved)
            }
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
    request: &Request<'_>,
    config: &HostLocalConfig,
) -> Result<Vec<IpAddr>, CniError> {
    let Some(prev) = request.conf.prev_result()? else {
        return Ok(Vec::new());
    };
    let addrs = prev.addresses_of(&request.call.attachment.ifname);
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
