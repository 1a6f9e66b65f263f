//! The VRF, and how an interface gets into it and out of it.

use std::collections::BTreeSet;

use ipnet::IpNet;
use tweed_model::Family;
use tweed_netlink::{AddrSpec, LinkChange, LinkInfo, Netlink, RouteFilter, WholeRoute};

use super::config::VrfConfig;
use crate::net::link;
use crate::spec::{CniError, Context, Kind};

const KIND: &str = "vrf";

/// Tables of the kernel's own: default, main, local.
const KERNELS: [u32; 3] = [253, 254, 255];

/// `RTPROT_KERNEL`: routes that come by themselves with an address.
const BY_ITSELF: u8 = 2;

/// The VRF of a name; `None` if there is none.
///
/// # Errors
/// When something else has the name.
pub(super) fn find(netlink: &mut Netlink, name: &str) -> Result<Option<LinkInfo>, CniError> {
    match netlink.link(name)? {
        Some(link) if link.kind != KIND => Err(CniError::new(
            Kind::Taken,
            format!("Netlink {name} is not a VRF"),
        )),
        found => Ok(found),
    }
}

/// Refuses what can't be, before anything is changed.
///
/// # Errors
/// When the VRF is there with another table.
pub(super) fn refuse(netlink: &mut Netlink, config: &VrfConfig) -> Result<(), CniError> {
    let VrfConfig { name, table } = config;
    let vrf = find(netlink, name)?;
    let has = vrf.and_then(|vrf| vrf.vrf_table);
    match (has, table) {
        (Some(has), Some(table)) if has != *table => {
            let msg = format!("VRF {name} already exist with different routing table {has}");
            Err(CniError::new(Kind::Conflict, msg))
        }
        _ => Ok(()),
    }
}

/// The VRF that is wanted, made if need be and up, and its table.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn ensure(
    netlink: &mut Netlink,
    config: &VrfConfig,
) -> Result<(LinkInfo, u32), CniError> {
    let VrfConfig { name, table } = config;
    let vrf = match find(netlink, name)? {
        Some(vrf) => vrf,
        None => {
            let table = match table {
                Some(table) => *table,
                None => free_table(netlink)?,
            };
            netlink
                .add_vrf(name, table)
                .context(|| format!("could not add VRF {name}"))?;
            link::existing(netlink, name)?
        }
    };
    if !vrf.up {
        link::bring_up(netlink, &vrf)?;
    }
    let table = vrf.vrf_table.unwrap_or_default();
    Ok((vrf, table))
}

/// The first table that no VRF has.
fn free_table(netlink: &mut Netlink) -> Result<u32, CniError> {
    let links = netlink.links()?;
    let taken: BTreeSet<u32> = links.iter().filter_map(|link| link.vrf_table).collect();
    let is_free = |table: &u32| !taken.contains(table) && !KERNELS.contains(table);
    Ok((1..).find(is_free).unwrap_or(1))
}

/// An interface's way into a VRF or out of it. The kernel sets it down and up again on the way, and it loses routes and
/// perhaps addresses of IPv6.
pub(super) struct Move {
    /// The tables that its routes are in, before and after.
    pub(super) from: u32,
    pub(super) to: u32,
    /// Index of the VRF; 0 for none.
    pub(super) master: u32,
}

impl Move {
    /// Moves it with its addresses and routes, or leaves it where it was.
    pub(super) fn make(&self, netlink: &mut Netlink, container: &LinkInfo) -> Result<(), CniError> {
        let addrs = global_v6(netlink, container)?;
        let routes = self.routes(netlink, container)?;
        let moved = self.with(netlink, container, &addrs, &routes);
        if moved.is_err() {
            let back = Self {
                from: self.to,
                to: self.from,
                master: container.master.unwrap_or_default(),
            };
            // What is reported is why it had to go back.
            let _ = back.with(netlink, container, &addrs, &routes);
        }
        moved
    }

    fn with(
        &self,
        netlink: &mut Netlink,
        container: &LinkInfo,
        addrs: &BTreeSet<IpNet>,
        routes: &[WholeRoute],
    ) -> Result<(), CniError> {
        let change = LinkChange {
            master: Some(self.master),
            ..LinkChange::default()
        };
        netlink
            .set_link(container.dev(), &change)
            .context(|| format!("could not set the master of {}", container.name))?;
        let kept = global_v6(netlink, container)?;
        for net in addrs.difference(&kept) {
            netlink
                .put_addr(container.dev(), &AddrSpec::plain(*net))
                .context(|| format!("could not restore address {net}"))?;
        }
        for route in routes {
            // Another interface's route to the same destination stays: it was first.
            match netlink.add_to_table(route, self.to) {
                Err(error) if error.is_exists() => {}
                other => other.context(|| format!("could not add route {route}"))?,
            }
        }
        Ok(())
    }

    /// The routes that don't come by themselves, those without a gateway first: the others rest on them.
    fn routes(
        &self,
        netlink: &mut Netlink,
        container: &LinkInfo,
    ) -> Result<Vec<WholeRoute>, CniError> {
        let mut routes = Vec::new();
        for family in Family::BOTH {
            let table = Some(self.from);
            routes.extend(netlink.whole_routes(&RouteFilter { family, table })?);
        }
        let index = Some(container.index);
        routes.retain(|route| route.info.oif == index && route.info.protocol != BY_ITSELF);
        routes.sort_by_key(|route| route.info.gateway.is_some());
        Ok(routes)
    }
}

fn global_v6(netlink: &mut Netlink, container: &LinkInfo) -> Result<BTreeSet<IpNet>, CniError> {
    let addrs = netlink.addrs(Some(container.index))?;
    let global = addrs.into_iter().filter(|addr| addr.scope == 0);
    Ok(global
        .map(|addr| addr.net)
        .filter(|net| Family::of_net(net) == Family::V6)
        .collect())
}
