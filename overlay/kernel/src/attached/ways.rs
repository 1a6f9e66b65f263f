//! What leads to containers without a bridge: read only where there are any.

use std::collections::BTreeMap;

use tweed_attach::ROUTE_PROTOCOL;
use tweed_host::KernelError;
use tweed_model::Family;
use tweed_netlink::{LinkInfo, RouteFilter, TABLE_MAIN};
use tweed_state::Attached;

use crate::linux::Linux;

/// Reads the routes and neighbours that are wanted, and tells the monitor of them.
pub(super) fn there(
    linux: &mut Linux,
    links: &[LinkInfo],
    want: &Attached,
    there: &mut Attached,
) -> Result<(), KernelError> {
    if want.routes.is_empty() {
        return Ok(());
    }
    let named = |link: &LinkInfo| (link.index, link.name.clone());
    let ends = links
        .iter()
        .filter(|link| there.ports.contains_key(&link.name));
    let ends: BTreeMap<u32, String> = ends.map(named).collect();
    let (mut routes, mut neighs) = (Vec::new(), Vec::new());
    for family in Family::BOTH {
        if !want
            .routes
            .iter()
            .any(|(dst, _)| Family::of_net(dst) == family)
        {
            continue;
        }
        let filter = RouteFilter {
            family,
            table: Some(TABLE_MAIN),
        };
        for route in linux.netlink.routes_by(&filter, ROUTE_PROTOCOL)? {
            if let Some((index, name)) = route.oif.and_then(|oif| ends.get_key_value(&oif)) {
                there.routes.insert((route.dst, name.clone()));
                routes.push((route.dst, *index));
            }
        }
        for neigh in linux.netlink.all_neighs(family)? {
            let end = ends.get(&neigh.index).filter(|_| neigh.permanent);
            if let Some((name, mac)) = end.zip(neigh.mac) {
                there.neighs.insert((name.clone(), neigh.addr), mac);
                neighs.push(((neigh.index, neigh.addr), mac));
            }
        }
    }
    linux.ledger.lock().places.know(routes, neighs);
    Ok(())
}
