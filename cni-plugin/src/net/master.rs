//! The interface that a container's interface lies on.

use tweed_model::Family;
use tweed_netlink::{LinkInfo, Netlink, RouteFilter, RouteKind, TABLE_MAIN};

use crate::spec::{CniError, Context};

/// The interface of this name, be it an alternative one, or without a name that of the default route.
///
/// # Errors
/// When there is none.
pub(crate) fn find(netlink: &mut Netlink, name: &str) -> Result<LinkInfo, CniError> {
    if name.is_empty() {
        return of_default_route(netlink)?.ok_or_else(|| {
            CniError::failed("no default route interface found")
                .details("name the interface in the configuration: \"master\"")
        });
    }
    named(netlink, name)?.ok_or_else(|| {
        CniError::failed(format!(
            "failed to lookup master {name:?}: no such interface"
        ))
    })
}

/// The interface of this name, be it an alternative one.
///
/// # Errors
/// When the kernel doesn't answer.
pub(crate) fn named(netlink: &mut Netlink, name: &str) -> Result<Option<LinkInfo>, CniError> {
    match netlink.link(name).context(|| "failed to look up master")? {
        Some(link) => Ok(Some(link)),
        None => Ok(netlink.link_by_altname(name)?),
    }
}

/// Checks that frames of an interface fit the one that it lies on.
///
/// # Errors
/// Names both MTUs.
pub(crate) fn check_mtu(master: &LinkInfo, mtu: Option<u32>) -> Result<(), CniError> {
    match mtu.filter(|mtu| *mtu > master.mtu) {
        None => Ok(()),
        Some(mtu) => {
            let (name, most) = (&master.name, master.mtu);
            let msg = format!("invalid MTU {mtu}, must be [0, master MTU({most})]");
            Err(CniError::config(msg).details(format!("the master is {name}")))
        }
    }
}

fn of_default_route(netlink: &mut Netlink) -> Result<Option<LinkInfo>, CniError> {
    for family in Family::BOTH {
        let filter = RouteFilter {
            family,
            table: Some(TABLE_MAIN),
        };
        let routes = netlink.routes(&filter)?;
        let mut defaults = routes
            .iter()
            .filter(|route| route.dst.prefix_len() == 0 && route.kind == RouteKind::Unicast);
        let index = defaults.find_map(|route| route.oif.or(route.hops.first().copied()));
        if let Some(index) = index
            && let Some(link) = netlink.link_by_index(index)?
        {
            return Ok(Some(link));
        }
    }
    Ok(None)
}
