//! `firewall`: has the host forward what a container sends, and keeps bridges apart.
//!
//! The rules are those of Go's plugin, in the tables of iptables-nft, written by nfnetlink. They don't say whose they are;
//! a record of each attachment does.

mod config;
mod record;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::net::IpAddr;
use std::path::Path;

use config::FirewallConfig;
use record::RecordFile;
use tweed_attach::live::{dropping, forwarding};
use tweed_attach::{ForwardRecord, Isolation, Owner};
use tweed_model::Family;
use tweed_netlink::Netfilter;

use crate::net::{identity, packet_filter};
use crate::runtime::log;
use crate::runtime::plugin::{Plugin, Request};
use crate::runtime::removal::Removal;
use crate::runtime::undo::Undo;
use crate::spec::{CniError, CniResult, Context};
use crate::state::records::state_dir;

pub(crate) struct Firewall;

impl Plugin for Firewall {
    fn configuration(&self, request: &Request<'_>) -> Result<Box<dyn Debug>, CniError> {
        Ok(Box::new(FirewallConfig::parse(request.conf)?))
    }

    fn add(&self, request: &Request<'_>, undo: &mut Undo) -> Result<CniResult, CniError> {
        let config = FirewallConfig::parse(request.conf)?;
        let missing = || CniError::config("missing prevResult from earlier plugin");
        let prev = request.conf.prev_result()?.ok_or_else(missing)?;
        let bridge = config.bridge(&prev)?;
        let addrs = addresses(&prev);
        let file = RecordFile::of(
            &config.state_dir,
            &request.conf.name,
            &request.call.attachment,
        );
        let taken_back = file.clone();
        undo.push(move || remove(&mut packet_filter::socket()?, &taken_back, &BTreeSet::new()));
        let mut socket = packet_filter::socket()?;
        // Of an ADD that is repeated: by now another container may have the address of the first.
        if file
            .read()
            .is_some_and(|earlier| earlier.forwarded != addrs)
        {
            remove(&mut socket, &file, &BTreeSet::new())?;
        }
        let record = record_of(request, config.admin_chain, &addrs, bridge);
        file.write(&record)?;
        forwarding::forward(&mut socket, &record)
            .context(|| "failed to accept what the container sends")?;
        tell_what_drops(&mut socket, &addrs);
        Ok(prev)
    }

    /// Removes the rules of the record's addresses, or without one, as where Go's plugin made them, of the previous
    /// result's.
    fn del(&self, request: &Request<'_>, _removal: &mut Removal) -> Result<(), CniError> {
        let conf = request.conf;
        let file = RecordFile::of(&state_dir(conf), &conf.name, &request.call.attachment);
        let prev = conf.prev_result().ok().flatten().unwrap_or_default();
        let named = addresses(&prev);
        if named.is_empty() && !file.is_there() {
            return file.forget();
        }
        remove(&mut packet_filter::socket()?, &file, &named)
    }

    fn check(&self, request: &Request<'_>) -> Result<(), CniError> {
        let config = FirewallConfig::parse(request.conf)?;
        let prev = request.conf.required_prev_result()?;
        let addrs = addresses(&prev);
        let mut socket = packet_filter::socket()?;
        if let Some(addr) = forwarding::unaccepted(&mut socket, &addrs)? {
            let msg = format!("chain CNI-FORWARD does not accept what {addr} sends, and answers");
            return Err(CniError::drift(msg).details("another program has changed the ruleset"));
        }
        if let Some((bridge, isolation)) = config.bridge(&prev)?
            && !forwarding::is_isolated(&mut socket, &families(&addrs), &bridge, isolation)?
        {
            let msg = format!("bridge {bridge} is not isolated");
            return Err(CniError::drift(msg).details("another program has changed the ruleset"));
        }
        tell_what_drops(&mut socket, &addrs);
        Ok(())
    }

    fn gc(&self, request: &Request<'_>, removal: &mut Removal) -> Result<(), CniError> {
        let conf = request.conf;
        let valid = identity::valid_owners(conf)?;
        let mut socket = packet_filter::socket()?;
        let stale = |owner: &Owner| owner.is_in(&conf.name) && !valid.contains(owner);
        for (file, record) in record::all(&state_dir(conf)) {
            if stale(&record.owner()) {
                removal.step(remove(&mut socket, &file, &BTreeSet::new()));
            }
        }
        Ok(())
    }

    fn status(&self, request: &Request<'_>) -> Result<(), CniError> {
        FirewallConfig::parse(request.conf)?;
        packet_filter::status()
    }
}

/// Removes the rules of a record's addresses, or of these where there is none, and then the record. An address that
/// another container has by now keeps its rules.
fn remove(
    socket: &mut Netfilter,
    file: &RecordFile,
    named: &BTreeSet<IpAddr>,
) -> Result<(), CniError> {
    let own = file.read().map(|record| record.forwarded);
    file.leave()?;
    let mut addrs = own.unwrap_or_else(|| named.clone());
    let others = file.others();
    addrs.retain(|addr| !others.contains(addr));
    forwarding::unaccept(socket, &addrs)
        .context(|| "failed to remove the rules that accept what the container sends")?;
    file.forget()
}

fn record_of(
    request: &Request<'_>,
    admin_chain: String,
    addrs: &BTreeSet<IpAddr>,
    isolated: Option<(String, Isolation)>,
) -> ForwardRecord {
    let Request { call, conf, .. } = request;
    let netns = call.netns.as_deref().unwrap_or(Path::new(""));
    ForwardRecord {
        network: conf.name.clone(),
        container_id: call.attachment.container_id.clone(),
        ifname: call.attachment.ifname.clone(),
        netns: netns.to_string_lossy().into_owned(),
        forwarded: addrs.clone(),
        admin_chain,
        isolated,
    }
}

fn addresses(result: &CniResult) -> BTreeSet<IpAddr> {
    result.ips.iter().map(|ip| ip.address.addr()).collect()
}

fn families(addrs: &BTreeSet<IpAddr>) -> BTreeSet<Family> {
    addrs.iter().map(Family::of).collect()
}

/// An accept is for its own chain alone. Where another one drops the packets, only its owner can change that.
fn tell_what_drops(socket: &mut Netfilter, addrs: &BTreeSet<IpAddr>) {
    for what in dropping(socket, addrs).unwrap_or_default() {
        log::line(format_args!(
            "firewall: {what}, whatever this plugin accepts; accept it there (with firewalld: firewall-cmd --zone=trusted --add-source=<subnet>)"
        ));
    }
}
