//! CHECK compares the kernel with the previous result.

use ipnet::IpNet;

use super::config::PtpConfig;
use super::routes;
use crate::net::masquerade::Masquerade;
use crate::net::{attachment, container, link, namespace};
use crate::runtime::plugin::Request;
use crate::spec::CniError;

/// Checks an attachment.
///
/// # Errors
/// The first thing that is not as it was, or that the previous result lacks.
pub(super) fn check(request: &Request<'_>) -> Result<(), CniError> {
    let Request { call, conf, .. } = request;
    let config = PtpConfig::parse(conf)?;
    attachment::required_ipam(request)?.check(request)?;
    let prev = conf.required_prev_result()?;
    let netns = namespace::open(call)?;
    let mut host = link::socket()?;
    let mut inside = netns.netlink()?;

    let entry = attachment::interface(&prev, call)?;
    let end = link::check(&mut inside, entry, "veth")?;
    let host_end = match end.peer_index() {
        Some(index) => host.link_by_index(index)?,
        None => None,
    };
    let not_found = || {
        let msg = format!("the host's end of {} was not found", end.name);
        CniError::drift(msg)
    };
    let host_end = host_end.ok_or_else(not_found)?;
    let entry = prev.interface(&host_end.name, "").ok_or_else(not_found)?;
    link::check_mac(&host_end, entry)?;
    if !host_end.up {
        return Err(CniError::drift(format!("{} is down", host_end.name)));
    }
    let ifname = &call.attachment.ifname;
    let hops = routes::hops(prev.addresses_of(ifname))?;
    routes::check_host_end(&mut host, &host_end, &hops)?;
    container::check(&mut inside, &end, &prev)?;
    if config.ip_masq {
        let addrs: Vec<IpNet> = hops.iter().map(|hop| hop.address).collect();
        Masquerade::of(conf, &call.attachment).check(&addrs)?;
    }
    Ok(())
}
