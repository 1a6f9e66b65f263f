//! Bridges with ports, whatever made them.

use tweed_host::KernelError;
use tweed_netlink::{LinkInfo, Netlink, NetlinkError};
use tweed_state::attached::UsedBridge;

use crate::linux::or_none;

/// Those of the calling thread's network namespace, in the order of their making.
///
/// # Errors
/// When a dump fails.
pub fn used_bridges() -> Result<Vec<UsedBridge>, KernelError> {
    let opened = Netlink::open().map_err(|source| KernelError {
        what: "open a netlink socket".to_owned(),
        source,
    });
    let mut netlink = opened?;
    let links = netlink.links()?;
    Ok(used(&mut netlink, &links)?)
}

/// Those among these interfaces.
pub(super) fn used(
    netlink: &mut Netlink,
    links: &[LinkInfo],
) -> Result<Vec<UsedBridge>, NetlinkError> {
    let mut used = Vec::new();
    for bridge in links.iter().filter(|link| link.kind == "bridge") {
        let ports = links.iter();
        let ports = ports
            .filter(|link| link.master == Some(bridge.index))
            .count();
        if ports > 0 {
            let addrs = or_none(netlink.addrs(Some(bridge.index)))?;
            used.push(UsedBridge {
                name: bridge.name.clone(),
                addrs: addrs.iter().map(|addr| addr.net).collect(),
                ports,
            });
        }
    }
    Ok(used)
}
