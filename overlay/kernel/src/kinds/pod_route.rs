//! Routes and neighbour entries by which the host reaches a container without a bridge.

use std::net::IpAddr;

use ipnet::IpNet;
use tweed_attach::ROUTE_PROTOCOL;
use tweed_host::KernelError;
use tweed_model::Mac;
use tweed_netlink::{NetlinkError, RouteSpec};

use super::port::containers_end;
use super::refusal::refused;
use crate::linux::Linux;

/// `RT_SCOPE_LINK`.
const SCOPE_LINK: u8 = 253;

/// Has a route lead to a container's address, in place of one that leads elsewhere.
pub(crate) fn put(linux: &mut Linux, dst: IpNet, port: &str) -> Result<(), KernelError> {
    let Some(end) = containers_end(linux, port)? else {
        return Ok(());
    };
    let mut own = linux.netlink.addrs(None)?.into_iter();
    if dst.prefix_len() != dst.max_prefix_len() || own.any(|addr| addr.net.addr() == dst.addr()) {
        let why = format!("{dst} is no container's address: remove the record");
        return Err(refused(port, &why));
    }
    let route = RouteSpec {
        protocol: ROUTE_PROTOCOL,
        scope: SCOPE_LINK,
        ..RouteSpec::to(dst).dev(end.dev())
    };
    unless_gone(linux.netlink.put_route(&route))
}

/// Puts the neighbour entry of a container's address.
pub(crate) fn put_neigh(
    linux: &mut Linux,
    port: &str,
    addr: IpAddr,
    mac: Mac,
) -> Result<(), KernelError> {
    let Some(end) = containers_end(linux, port)? else {
        return Ok(());
    };
    unless_gone(linux.netlink.put_neigh(end.dev(), addr, mac))
}

/// An end that is gone has been removed with its container. `EEXIST`: exactly this route stands behind another.
fn unless_gone(result: Result<(), NetlinkError>) -> Result<(), KernelError> {
    match result {
        Err(error) if error.is_not_found() || error.is_exists() => Ok(()),
        result => result.map_err(Into::into),
    }
}
