//! Addresses of a container's interface.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tweed_model::Family;
use tweed_netlink::{AddrSpec, LinkChange, LinkInfo, Netlink};

use crate::spec::{CniError, CniResult, Context};

/// How long looking for duplicates of addresses may take. The kernel takes one to two seconds.
const DAD_DEADLINE: Duration = Duration::from_secs(5);

/// The families of a result's addresses.
pub(crate) fn families(result: &CniResult) -> BTreeSet<Family> {
    let nets = result.ips.iter().map(|ip| ip.address);
    nets.map(|net| Family::of_net(&net)).collect()
}

/// Gives the link the addresses of a result.
pub(crate) fn add(
    netlink: &mut Netlink,
    link: &LinkInfo,
    result: &CniResult,
    dad: bool,
) -> Result<(), CniError> {
    for ip in &result.ips {
        let spec = AddrSpec {
            net: ip.address,
            broadcast: true,
            nodad: !dad,
        };
        netlink
            .add_addr(link.dev(), &spec)
            .context(|| format!("failed to add IP addr {} to {:?}", ip.address, link.name))?;
    }
    Ok(())
}

/// Waits until no address is being looked for on the network any more. Without a carrier none is.
///
/// # Errors
/// When another interface has it, or the kernel takes too long.
pub(crate) fn wait_for_dad(netlink: &mut Netlink, link: &LinkInfo) -> Result<(), CniError> {
    let since = Instant::now();
    loop {
        let addrs = netlink.addrs(Some(link.index))?;
        if let Some(taken) = addrs.iter().find(|addr| addr.dad_failed) {
            let net = taken.net;
            let msg = format!("link {:?} has address {net} in DADFAILED state", link.name);
            return Err(CniError::failed(msg).details("another interface on the network has it"));
        }
        if !addrs.iter().any(|addr| addr.tentative) || !has_carrier(netlink, link)? {
            return Ok(());
        }
        if since.elapsed() > DAD_DEADLINE {
            let seconds = DAD_DEADLINE.as_secs();
            let msg = format!(
                "link {:?} still has tentative addresses after {seconds} seconds",
                link.name
            );
            return Err(CniError::failed(msg));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn has_carrier(netlink: &mut Netlink, link: &LinkInfo) -> Result<bool, CniError> {
    let link = netlink.link_by_index(link.index)?;
    Ok(link.is_some_and(|link| link.carrier))
}

/// Announces the addresses to the neighbours, so that none sends to an earlier holder. With `arp_notify` and
/// `ndisc_notify`, the kernel does it when the hardware address is set, even to what it is.
pub(crate) fn announce(
    netlink: &mut Netlink,
    link: &LinkInfo,
    result: &CniResult,
) -> Result<(), CniError> {
    if result.ips.is_empty() {
        return Ok(());
    }
    let same = LinkChange {
        mac: link.mac,
        ..LinkChange::default()
    };
    netlink
        .set_link(link.dev(), &same)
        .context(|| "failed to announce addresses")
}

/// Checks that the link has the addresses that the previous result gives it.
pub(crate) fn check(
    netlink: &mut Netlink,
    link: &LinkInfo,
    prev: &CniResult,
) -> Result<(), CniError> {
    let present: BTreeSet<IpNet> = netlink
        .addrs(Some(link.index))?
        .into_iter()
        .map(|addr| addr.net)
        .collect();
    for ip in prev.addresses_of(&link.name) {
        if !present.contains(&ip.address) {
            let (name, net) = (&link.name, ip.address);
            let msg = format!("Failed to match addr {net} on interface {name}");
            return Err(CniError::drift(msg));
        }
    }
    Ok(())
}
