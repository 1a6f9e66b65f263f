//! The host's ends of pairs to which routes lead, followed by notifications: what is taken from them is damage. Pure.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use ipnet::IpNet;
use tweed_attach::Owner;
use tweed_model::Mac;
use tweed_netlink::{
    DEL_NEIGH, DEL_ROUTE, LinkInfo, NEW_NEIGH, NEW_ROUTE, RouteInfo, TABLE_MAIN, is_forwarding,
    neigh_info, route_info,
};

/// Ends by index, and what has been seen of them.
#[derive(Debug, Default)]
pub(super) struct Routed {
    /// Ends that are up, in no bridge, and named after an attachment.
    ends: HashSet<u32>,
    /// Routes to single addresses by them.
    routes: HashMap<IpNet, u32>,
    /// Permanent neighbours on them.
    neighs: HashMap<(u32, IpAddr), Mac>,
}

impl Routed {
    /// Takes what is known of a link. Returns whether an end was set down or put into a bridge.
    pub(super) fn link(&mut self, info: &LinkInfo) -> bool {
        let is_end = info.kind == "veth"
            && info.up
            && info.master.is_none()
            && Owner::parse(&info.alias).is_some();
        match is_end {
            true => {
                self.ends.insert(info.index);
                false
            }
            false => self.forget(info.index),
        }
    }

    /// Forgets a link. Returns whether it was an end.
    pub(super) fn forget(&mut self, index: u32) -> bool {
        self.routes.retain(|_, oif| *oif != index);
        self.neighs.retain(|(on, _), _| *on != index);
        self.ends.remove(&index)
    }

    /// Forgets what links have that are not there any more.
    pub(super) fn retain(&mut self, there: &HashSet<u32>) {
        self.ends.retain(|index| there.contains(index));
        self.routes.retain(|_, oif| there.contains(oif));
        self.neighs.retain(|(on, _), _| there.contains(on));
    }

    /// Takes a notification about a route or a neighbour. Returns whether one of an end was removed or replaced.
    pub(super) fn judge(&mut self, kind: u16, payload: &[u8]) -> bool {
        if self.ends.is_empty() {
            return false;
        }
        match kind {
            NEW_ROUTE | DEL_ROUTE => {
                let of_main = |route: &RouteInfo| {
                    route.table == TABLE_MAIN
                        && route.dst.prefix_len() == route.dst.max_prefix_len()
                };
                let route = route_info(payload).filter(of_main);
                route.is_some_and(|route| self.route(&route, kind == NEW_ROUTE))
            }
            NEW_NEIGH | DEL_NEIGH if !is_forwarding(payload) => {
                let neigh = neigh_info(payload).filter(|it| self.ends.contains(&it.index));
                neigh.is_some_and(|it| {
                    let now = it.mac.filter(|_| it.permanent && kind == NEW_NEIGH);
                    self.neigh((it.index, it.addr), now)
                })
            }
            _ => false,
        }
    }

    fn route(&mut self, route: &RouteInfo, new: bool) -> bool {
        let end = route.oif.filter(|oif| self.ends.contains(oif));
        match (new, end) {
            (true, Some(end)) => {
                let before = self.routes.insert(route.dst, end);
                before.is_some_and(|before| before != end)
            }
            (true, None) => self.routes.remove(&route.dst).is_some(),
            (false, Some(_)) => self.routes.remove(&route.dst).is_some(),
            (false, None) => false,
        }
    }

    fn neigh(&mut self, key: (u32, IpAddr), now: Option<Mac>) -> bool {
        match now {
            Some(mac) => {
                let before = self.neighs.insert(key, mac);
                before.is_some_and(|before| before != mac)
            }
            None => self.neighs.remove(&key).is_some(),
        }
    }

    /// What a look at the kernel has found: the maps are then complete.
    pub(super) fn know(&mut self, routes: Vec<(IpNet, u32)>, neighs: Vec<((u32, IpAddr), Mac)>) {
        self.routes.extend(routes);
        self.neighs.extend(neighs);
    }
}
