//! CHECK compares the kernel with the previous result.

use std::net::IpAddr;

use ipnet::IpNet;
use tweed_attach::record::{Record, file_name};

use super::config::RoutedConfig;
use super::{host_end, inside, ipam};
use crate::net::masquerade::Masquerade;
use crate::net::{attachment, identity, link, namespace};
use crate::runtime::plugin::Request;
use crate::spec::CniError;
use crate::state::records;

/// Checks an attachment.
///
/// # Errors
/// The first thing that is not as it was, or that the previous result lacks.
pub(super) fn check(request: &Request<'_>) -> Result<(), CniError> {
    let Request { call, conf, .. } = request;
    let config = RoutedConfig::parse(conf)?;
    let ipam = ipam::of(request)?;
    // `static` keeps nothing, and would compare the result with subnets and gateways that a routed pod has not.
    if ipam.name() != "static" {
        ipam.check(request)?;
    }
    let prev = conf.required_prev_result()?;
    let netns = namespace::open(call)?;
    let mut host = link::socket()?;
    let mut container = netns.netlink()?;

    let entry = attachment::interface(&prev, call)?;
    let end = link::check(&mut container, entry, "veth")?;
    let there = match end.peer_index() {
        Some(index) => host.link_by_index(index)?,
        None => None,
    };
    let not_found = || {
        let msg = format!("the host's end of {} was not found", end.name);
        CniError::drift(msg)
    };
    let there = there.ok_or_else(not_found)?;
    let entry = prev.interface(&there.name, "").ok_or_else(not_found)?;
    link::check_mac(&there, entry)?;
    if !there.up {
        return Err(CniError::drift(format!("{} is down", there.name)));
    }
    if there.master.is_some() {
        return Err(CniError::drift(format!("{} is in a bridge", there.name)));
    }
    let ifname = &call.attachment.ifname;
    let addrs: Vec<IpAddr> = prev
        .addresses_of(ifname)
        .map(|ip| ip.address.addr())
        .collect();
    host_end::check(&mut host, &there, &end, &addrs)?;
    inside::check(&mut container, &end, &prev, &there)?;
    match config.ip_masq {
        true => check_masquerade(request, &config, &addrs),
        false => Ok(()),
    }
}

/// An address is masqueraded to all but its own network, whose length the record has.
fn check_masquerade(
    request: &Request<'_>,
    config: &RoutedConfig,
    addrs: &[IpAddr],
) -> Result<(), CniError> {
    let Request { call, conf, .. } = request;
    let owner = identity::owner(&conf.name, &call.attachment);
    let text = records::read(&config.state_dir.join(file_name(&owner)));
    let record = text.as_deref().and_then(Record::parse);
    let own_networks = record.map_or_else(Vec::new, |record| record.masquerade);
    let of = |addr: &IpAddr| {
        let of_record = own_networks.iter().find(|net| net.addr() == *addr);
        of_record.copied().unwrap_or(IpNet::from(*addr))
    };
    let addrs: Vec<IpNet> = addrs.iter().map(of).collect();
    Masquerade::of(conf, &call.attachment).check(&addrs)
}
