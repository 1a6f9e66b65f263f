//! Which kernel objects are ours: how a restarted agent without memory knows its own, and leaves others' alone.
//!
//! Links by name, or by alias for leftovers of an earlier configuration. Entries by the link they are on. Routes by the
//! link they lead over, or by our protocol number within our networks. All pure.

use ipnet::IpNet;
use tweed_model::{Family, Mac};
use tweed_state::{Link, NextHop, OBJECT_ROUTE_PROTOCOL, ROUTE_PROTOCOL, Route, RouteKey, Scope};

/// `RTPROT_REDIRECT`, `RTPROT_KERNEL`, `RTPROT_RA`: routes that the kernel made by itself.
pub(super) const MADE_BY_KERNEL: [u8; 3] = [1, 2, 9];

/// Whether an interface is ours: it has one of our names, whatever it is, or it is a tunnel with our alias.
pub(crate) fn owns_link(scope: &Scope, name: &str, link: &Link) -> bool {
    let marked = !scope.alias.is_empty() && link.alias == scope.alias;
    scope.link_names.contains(name) || (marked && link.kind.is_ours())
}

/// Whether a permanent forwarding entry on a link of ours is a peer's. Group addresses and the all-zero one, which
/// stands for "everybody else", aren't.
pub(crate) fn owns_fdb(mac: &Mac) -> bool {
    mac.is_unicast()
}

/// Whether a route in the main table is ours. `on_own_link` says whether an interface is.
pub(crate) fn owns_route(
    scope: &Scope,
    on_own_link: impl FnOnce(&str) -> bool,
    key: &RouteKey,
    route: &Route,
) -> bool {
    let known = within(&scope.networks, &key.dst) || within(&scope.former, &key.dst);
    let ours = [ROUTE_PROTOCOL, OBJECT_ROUTE_PROTOCOL].contains(&route.protocol);
    let marked = ours && known;
    match &route.next_hop {
        NextHop::Blackhole => marked || scope.own_subnets.contains(&key.dst),
        NextHop::Via { dev, gateway, .. } => {
            if on_own_link(dev) {
                return !MADE_BY_KERNEL.contains(&route.protocol);
            }
            let adopted = **dev == *scope.uplink
                && is_subnet(scope, &key.dst)
                && gateway.is_some_and(|gateway| scope.node_addrs.contains(&gateway));
            marked || adopted
        }
    }
}

fn within<'a>(networks: impl IntoIterator<Item = &'a IpNet>, dst: &IpNet) -> bool {
    networks.into_iter().any(|network| network.contains(dst))
}

/// A prefix that a node could lease.
fn is_subnet(scope: &Scope, dst: &IpNet) -> bool {
    let lens = &scope.subnet_lens;
    within(&scope.networks, dst) && lens.get(&Family::of_net(dst)) == Some(&dst.prefix_len())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use tweed_model::SharedSet;
    use tweed_state::{LinkKind, Vxlan};

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn scope() -> Scope {
        Scope {
            link_names: BTreeSet::from(["flannel.1".to_owned()]),
            alias: "tweed network tweed".to_owned(),
            uplink: "eth0".to_owned(),
            networks: vec![net("10.244.0.0/16")],
            subnet_lens: BTreeMap::from([(Family::V4, 24)]),
            node_addrs: SharedSet::from(["192.168.0.2".parse().unwrap()]),
            own_subnets: vec![net("10.244.1.0/24")],
            former: BTreeSet::from([net("10.98.0.0/16")]),
            ..Scope::default()
        }
    }

    fn link(vxlan: bool, alias: &str) -> Link {
        let vxlan = vxlan.then(|| Vxlan {
            vni: 7,
            port: 8472,
            local: "192.168.0.1".parse().unwrap(),
            underlay: "eth0".to_owned(),
            learning: false,
            gbp: false,
        });
        Link {
            kind: vxlan.map_or(LinkKind::Other("bridge".to_owned()), LinkKind::Vxlan),
            mtu: 1450,
            mac: Mac([2; 6]),
            up: true,
            alias: alias.to_owned(),
        }
    }

    fn owns(dst: &str, next_hop: NextHop, protocol: u8) -> bool {
        let key = RouteKey::of(net(dst));
        let route = Route { next_hop, protocol };
        owns_route(&scope(), |dev| dev == "flannel.1", &key, &route)
    }

    fn via(dev: &str, gateway: Option<&str>) -> NextHop {
        NextHop::via(
            gateway.map(|gateway| gateway.parse().unwrap()),
            dev.into(),
            false,
        )
    }

    #[test]
    fn a_link_is_ours_by_name_whatever_it_is_and_else_by_alias_if_it_is_a_vtep() {
        let scope = scope();
        assert!(owns_link(&scope, "flannel.1", &link(false, "")));
        assert!(owns_link(&scope, "flannel.7", &link(true, &scope.alias)));
        assert!(!owns_link(&scope, "flannel.7", &link(true, "")));
        assert!(!owns_link(&scope, "br0", &link(false, &scope.alias)));
        let nameless = Scope::default();
        assert!(!owns_link(&nameless, "vxlan9", &link(true, "")));
    }

    #[test]
    fn every_route_over_our_link_is_ours_unless_the_kernel_made_it() {
        assert!(owns("10.244.2.0/24", via("flannel.1", None), 3));
        assert!(owns("172.16.0.0/12", via("flannel.1", None), 4));
        assert!(!owns("10.244.1.0/24", via("flannel.1", None), 2));
        assert!(!owns("fd00::/64", via("flannel.1", None), 9));
    }

    #[test]
    fn a_marked_route_is_ours_within_the_networks_on_any_interface() {
        assert!(owns("10.244.2.0/24", via("eth0", Some("10.9.9.9")), 84));
        assert!(owns("10.244.2.0/25", via("eth1", None), 84));
        assert!(owns("10.244.2.0/24", via("eth1", Some("10.9.9.9")), 85));
        assert!(!owns("10.99.2.0/24", via("eth0", Some("192.168.0.2")), 84));
        assert!(owns("10.244.3.0/24", NextHop::Blackhole, 84));
    }

    #[test]
    fn within_a_former_network_only_marked_routes_are_ours() {
        let node = Some("192.168.0.2");
        assert!(owns("10.98.2.0/24", via("eth0", node), 84));
        assert!(!owns("10.98.2.0/24", via("eth0", node), 3));
        assert!(owns("10.98.1.0/24", NextHop::Blackhole, 84));
    }

    #[test]
    fn a_foreign_route_on_the_uplink_is_adopted_only_if_flannel_could_have_made_it() {
        let node = Some("192.168.0.2");
        assert!(owns("10.244.2.0/24", via("eth0", node), 3));
        assert!(!owns("10.244.2.0/25", via("eth0", node), 3), "length");
        assert!(!owns("10.99.2.0/24", via("eth0", node), 3), "network");
        assert!(!owns("10.244.2.0/24", via("eth1", node), 3), "interface");
        assert!(!owns("10.244.2.0/24", via("eth0", Some("192.168.0.9")), 3));
        assert!(!owns("10.244.2.0/24", via("eth0", None), 3));
    }

    #[test]
    fn a_blackhole_is_ours_for_exactly_our_own_subnet() {
        assert!(owns("10.244.1.0/24", NextHop::Blackhole, 3));
        assert!(!owns("10.244.3.0/24", NextHop::Blackhole, 3));
        assert!(!owns("10.244.0.0/16", NextHop::Blackhole, 3));
    }

    #[test]
    fn the_entry_for_all_other_addresses_is_not_ours() {
        assert!(owns_fdb(&Mac([2, 0, 0, 0, 0, 1])));
        assert!(!owns_fdb(&Mac([0; 6])));
        assert!(!owns_fdb(&Mac([0xff; 6])));
    }
}
