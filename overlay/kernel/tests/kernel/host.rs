//! A host to test on: an uplink with addresses in a namespace of its own, and what an overlay on it looks like.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use tweed_kernel::{Kernel, Linux};
use tweed_model::{Family, Mac, SharedSet};
use tweed_netlink::netns::isolated;
use tweed_state::{
    KernelState, Link, LinkKind, NextHop, Op, ROUTE_PROTOCOL, Route, RouteKey, Scope, Vxlan,
};

use crate::shell::run;

pub(crate) const ALIAS: &str = "tweed network test";
pub(crate) const VTEP: &str = "flannel.1";
pub(crate) const VTEP_V6: &str = "flannel-v6.1";

/// Runs a test on a fresh host: `eth0` has 192.168.0.1/24 and fd00:a::1/64, and a neighbour at the other end.
pub(crate) fn on_host<T: Send>(test: impl FnOnce(&mut Linux) -> T + Send) -> T {
    isolated(|| {
        run("ip link add eth0 type veth peer name wire");
        run("ip link set wire up");
        run("ip link set eth0 up");
        run("ip addr add 192.168.0.1/24 dev eth0");
        run("ip addr add fd00:a::1/64 dev eth0 nodad");
        test(&mut Linux::open().unwrap())
    })
}

pub(crate) fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn mac(number: u32) -> Mac {
    let [a, b, c, d] = number.to_be_bytes();
    Mac([2, 0, a, b, c, d])
}

pub(crate) fn scope() -> Scope {
    Scope {
        link_names: BTreeSet::from([VTEP.to_owned(), VTEP_V6.to_owned()]),
        alias: ALIAS.to_owned(),
        uplink: "eth0".to_owned(),
        announced: BTreeSet::from([ip("10.255.0.1")]),
        networks: vec![net("10.244.0.0/16"), net("fd00:10:244::/48")],
        former: BTreeSet::new(),
        subnet_lens: BTreeMap::from([(Family::V4, 24), (Family::V6, 64)]),
        node_addrs: SharedSet::from([ip("192.168.0.2"), ip("fd00:a::2")]),
        own_subnets: vec![net("10.244.1.0/24")],
        table: "tweed".to_owned(),
        sysctls: BTreeSet::from(["net/ipv4/ip_forward".to_owned()]),
        ..Scope::default()
    }
}

/// The VTEP of one family, as the plan wants it. MTUs are what fits the uplink's 1500.
pub(crate) fn vtep(family: Family) -> (String, Link) {
    let (name, local, mtu) = match family {
        Family::V4 => (VTEP, "192.168.0.1", 1450),
        Family::V6 => (VTEP_V6, "fd00:a::1", 1430),
    };
    let vxlan = Vxlan {
        vni: 1,
        port: 8472,
        local: ip(local),
        underlay: "eth0".to_owned(),
        learning: false,
        gbp: false,
    };
    let link = Link {
        kind: LinkKind::Vxlan(vxlan),
        mtu,
        mac: mac(u32::from(family.bits())),
        up: true,
        alias: ALIAS.to_owned(),
    };
    (name.to_owned(), link)
}

pub(crate) fn add_vtep(linux: &mut Linux, family: Family) -> String {
    let (name, link) = vtep(family);
    linux.apply(&Op::AddLink(name.clone(), link)).unwrap();
    name
}

/// A route as the overlay has it: by way of the peer's first address.
pub(crate) fn overlay_route(dev: &str, dst: &str) -> (RouteKey, Route) {
    let dst = net(dst);
    let route = Route {
        next_hop: NextHop::via(Some(dst.network()), dev.into(), true),
        protocol: ROUTE_PROTOCOL,
    };
    (RouteKey::of(dst), route)
}

/// The three objects of a peer.
pub(crate) fn peer_ops(dev: &str, dst: &str, vtep: Mac, public: &str) -> [Op; 3] {
    let (key, route) = overlay_route(dev, dst);
    [
        Op::PutNeigh((dev.into(), net(dst).network()), vtep),
        Op::PutFdb((dev.into(), vtep), ip(public)),
        Op::PutRoute(key, route),
    ]
}

pub(crate) fn apply_all<'a>(linux: &mut Linux, ops: impl IntoIterator<Item = &'a Op>) {
    for op in ops {
        linux.apply(op).unwrap_or_else(|error| panic!("{error}"));
    }
}

pub(crate) fn observe(linux: &mut Linux) -> KernelState {
    linux.observe(&scope()).unwrap()
}
