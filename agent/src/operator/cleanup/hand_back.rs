//! `tweedd cleanup --hand-back`: what flannel takes over stays (VXLAN device, addresses, entries, routes), and what it
//! would trip over goes: our packet filter, the TUN device, blackholes, our mark on a device that stays.

use std::collections::BTreeSet;

use tweed_state::{Desired, KernelState, LinkKind, NextHop, Scope};

/// The names of the devices that flannel would make for this network: those of the announced backend.
pub(super) fn devices(had: &Desired) -> BTreeSet<String> {
    let names = had.state.links.keys();
    let own = names.filter(|name| !had.spare_links.contains(*name));
    own.cloned().collect()
}

/// What is left of what is there. `devices` are those that flannel takes over; where they aren't known it is each VXLAN
/// device. A TUN device is never one: flannel makes a second one beside it, and routes stay on the first.
pub(super) fn wanted(
    there: KernelState,
    devices: Option<&BTreeSet<String>>,
    scope: Scope,
) -> Desired {
    let mut state = KernelState {
        firewall: None,
        foreign_forward: Default::default(),
        others: Default::default(),
        ..there
    };
    let all: BTreeSet<String> = state.links.keys().cloned().collect();
    state.links.retain(|name, link| {
        let known = devices.is_none_or(|devices| devices.contains(name));
        matches!(link.kind, LinkKind::Vxlan(_)) && known
    });
    let links = &mut state.links;
    links.values_mut().for_each(|link| link.alias.clear());
    let goes = |name: &str| all.contains(name) && !links.contains_key(name);
    state.addrs.retain(|(name, _)| !goes(name));
    state.neighs.retain(|(name, _), _| !goes(name));
    state.fdb.retain(|(name, _), _| !goes(name));
    state.routes.retain(|_, route| match &route.next_hop {
        NextHop::Via { dev, .. } => !goes(dev),
        NextHop::Blackhole => false,
    });
    // flannel's `host-gw` can't delete a route that leads by an object.
    state.leave_nexthops();
    Desired {
        state,
        ..Desired::nothing(scope)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tweed_model::{Mac, SharedMap};
    use tweed_nft::TableState;
    use tweed_state::{Link, Op, ROUTE_PROTOCOL, Route, RouteKey, Vxlan, plan};

    use super::*;

    fn link(kind: LinkKind) -> Link {
        Link {
            kind,
            mtu: 1450,
            mac: Mac([2; 6]),
            up: true,
            alias: "tweed network tweed".to_owned(),
        }
    }

    fn vxlan(vni: u32) -> Link {
        link(LinkKind::Vxlan(Vxlan {
            vni,
            port: 8472,
            local: "192.0.2.1".parse().expect("an address"),
            underlay: "eth0".to_owned(),
            learning: false,
            gbp: false,
        }))
    }

    fn route(dst: &str, next_hop: NextHop) -> (RouteKey, Route) {
        let route = Route {
            next_hop,
            protocol: ROUTE_PROTOCOL,
        };
        (RouteKey::of(dst.parse().expect("a network")), route)
    }

    fn via(dev: &str) -> NextHop {
        NextHop::via(None, dev.into(), false)
    }

    fn there() -> KernelState {
        KernelState {
            links: BTreeMap::from([
                ("flannel.1".to_owned(), vxlan(1)),
                ("flannel.7".to_owned(), vxlan(7)),
                ("flannel0".to_owned(), link(LinkKind::Tun { queues: false })),
            ]),
            routes: SharedMap::from([
                route("10.244.2.0/24", via("flannel.1")),
                route("10.244.3.0/24", via("eth0")),
                route("10.244.0.0/16", via("flannel0")),
                route("10.244.1.0/24", NextHop::Blackhole),
            ]),
            firewall: Some(TableState::default()),
            ..KernelState::default()
        }
    }

    fn changes(devices: Option<&[&str]>) -> Vec<String> {
        let devices = devices.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        let want = wanted(there(), devices.as_ref(), Scope::default());
        plan(&want, &there()).ops().map(Op::to_string).collect()
    }

    #[test]
    fn what_flannel_takes_over_stays_and_the_rest_goes() {
        let done = changes(Some(&["flannel.1"])).join("\n");
        for gone in [
            "delete link flannel0",
            "delete link flannel.7",
            "nftables",
            "blackhole",
        ] {
            assert!(done.contains(gone), "{gone} is not in\n{done}");
        }
        for stays in ["delete link flannel.1", "10.244.2.0/24", "10.244.3.0/24"] {
            assert!(!done.contains(stays), "{stays} is in\n{done}");
        }
        let mark = done.lines().find(|op| op.starts_with("set link flannel.1"));
        assert!(
            mark.is_some_and(|op| op.ends_with("alias \"\"")),
            "the mark stays:\n{done}"
        );
    }

    #[test]
    fn where_the_network_is_not_known_a_tunnel_stays_and_the_tun_device_goes() {
        let done = changes(None).join("\n");
        assert!(!done.contains("delete link flannel.7"), "{done}");
        assert!(done.contains("delete link flannel0"), "{done}");
    }

    #[test]
    fn routes_by_nexthop_objects_become_plain_ones_before_the_objects_go() {
        let mut there = there();
        let hop = NextHop::via(Some([10, 244, 2, 0].into()), "flannel.1".into(), true);
        there.routes.extend([route("10.244.2.0/24", hop)]);
        there.use_nexthops();
        let want = wanted(there.clone(), None, Scope::default());
        let done: Vec<String> = plan(&want, &there).ops().map(Op::to_string).collect();
        let place = |words: &str| done.iter().position(|op| op == words);
        let plain = place("put route 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink");
        let gone = place("delete nexthop via 10.244.2.0 dev flannel.1 onlink");
        assert!(plain.is_some() && plain < gone, "{done:?}");
    }
}
