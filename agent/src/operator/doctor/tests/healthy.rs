//! A node on which nothing is wrong.

use std::net::IpAddr;

use tweed_model::Dual;
use tweed_model::subnet_env::SubnetEnv;
use tweed_netlink::{AddrInfo, LinkInfo, RouteInfo, RouteKind, VxlanInfo, link_info};
use tweed_probe::health::State;

use crate::daemon::answers::Preview;
use crate::daemon::peers::{Peer, Standing as PeerStanding};
use crate::daemon::status::{Standing, Status};
use crate::operator::doctor::checks::host::SWITCHES;
use crate::operator::doctor::facts::{Counters, Facts, List, Net, Pool, Runtime};
use crate::operator::doctor::surroundings::{Folder, Limit, Proxy, Room, Surroundings};

pub(super) const UPLINK: u32 = 2;
pub(super) const TUNNEL: u32 = 3;
pub(super) const BRIDGE: u32 = 4;

pub(super) fn net(text: &str) -> ipnet::IpNet {
    text.parse().expect("a prefix")
}

pub(super) fn addr(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

pub(super) fn link(index: u32, name: &str, kind: &str) -> LinkInfo {
    LinkInfo {
        index,
        name: name.to_owned(),
        kind: kind.to_owned(),
        mtu: 1500,
        up: true,
        carrier: true,
        ..link_info(&[0; 16]).expect("a message without attributes")
    }
}

fn tunnel() -> LinkInfo {
    LinkInfo {
        alias: "tweed network tweed".to_owned(),
        mtu: 1450,
        vxlan: Some(VxlanInfo {
            vni: 1,
            port: 8472,
            local: Some(addr("192.0.2.11")),
            link: UPLINK,
            learning: false,
            gbp: false,
            foreign: false,
        }),
        ..link(TUNNEL, "flannel.1", "vxlan")
    }
}

pub(super) fn with_addr(index: u32, text: &str) -> AddrInfo {
    AddrInfo {
        index,
        net: net(text),
        scope: 0,
        peer: None,
        tentative: false,
        dad_failed: false,
        permanent: true,
        secondary: false,
        deprecated: false,
        protocol: 0,
        without_route: false,
    }
}

pub(super) fn route(dst: &str, oif: u32) -> RouteInfo {
    RouteInfo {
        dst: net(dst),
        kind: RouteKind::Unicast,
        gateway: None,
        oif: Some(oif),
        onlink: false,
        nexthop: None,
        metric: 0,
        table: 254,
        protocol: 4,
        scope: 0,
        tos: 0,
        src: None,
        multipath: false,
        hops: Vec::new(),
    }
}

fn peer(subnet: &str) -> Peer {
    Peer {
        lease: subnet.replace('/', "-"),
        node: None,
        public: Dual::of_addrs([addr("192.0.2.12")]),
        subnets: Dual::of_nets([net(subnet)]),
        backend: "vxlan".to_owned(),
        seen: None,
        created: 1,
        state: PeerStanding::Peer,
        reason: None,
        kind: None,
        traffic: Vec::new(),
        probe: None,
    }
}

fn counters() -> Counters {
    let names = [
        "udp_receive_buffer",
        "udp_checksum",
        "reverse_path",
        "neighbour_overflows",
        "conntrack_drop",
        "softnet_dropped",
    ];
    let mut counters: Counters = names.into_iter().map(|name| (name, 7)).collect();
    counters.extend([("neighbours", 10), ("neighbour_limit", 1024)]);
    counters.extend([("conntrack_count", 10), ("conntrack_max", 1000)]);
    counters
}

fn status() -> Status {
    let mut status = Status {
        version: tweed_model::VERSION.to_owned(),
        pid: Some(7),
        store: "kubernetes".to_owned(),
        in_sync: true,
        lease: Standing::Held,
        subnets: Dual::of_nets([net("10.244.1.0/24")]),
        public: Dual::of_addrs([addr("192.0.2.11")]),
        uplink: Some("eth0".to_owned()),
        backend: Some("vxlan".to_owned()),
        mtu: Some(1450),
        peers: 1,
        peer_states: [(State::Ok, 1)].into(),
        peer_list: Some(vec![peer("10.244.2.0/24")]),
        ready: true,
        ..Status::default()
    };
    status.kernel.programmed = true;
    status
}

fn host() -> Net {
    let bridge = link(BRIDGE, "cni0", "bridge");
    Net {
        links: vec![link(UPLINK, "eth0", ""), tunnel(), bridge],
        addrs: vec![
            with_addr(UPLINK, "192.0.2.11/24"),
            with_addr(TUNNEL, "10.244.1.0/32"),
            with_addr(BRIDGE, "10.244.1.1/24"),
        ],
        routes: vec![route("10.244.2.0/24", TUNNEL)],
        paths: vec![(net("10.244.2.0/24"), Some(route("10.244.2.0/24", TUNNEL)))],
        underlay: vec![(addr("192.0.2.12"), Some(route("192.0.2.0/24", UPLINK)))],
        neighs: Vec::new(),
    }
}

fn subnet_env() -> SubnetEnv {
    SubnetEnv {
        networks: Dual {
            v4: Some(vec![net("10.244.0.0/16")]),
            v6: None,
        },
        subnets: Dual::of_nets([net("10.244.1.1/24")]),
        mtu: 1450,
        ip_masq: true,
    }
}

fn runtime() -> Runtime {
    Runtime {
        list: Ok(Some(List {
            file: "/etc/cni/net.d/10-flannel.conflist".into(),
            ours: true,
            shadowed: None,
            missing: Vec::new(),
            error: None,
        })),
        conf_dir: "/etc/cni/net.d".into(),
        bin_dir: "/opt/cni/bin".into(),
    }
}

fn surroundings() -> Surroundings {
    let room = Room {
        bytes: 1 << 30,
        free: 50,
        read_only: false,
    };
    Surroundings {
        folders: vec![Folder {
            path: "/var/lib/tweed".into(),
            room: Ok(room),
        }],
        limits: vec![Limit {
            what: "open files",
            used: 30,
            most: 1024,
        }],
        proxy: Proxy {
            rules: true,
            answers: true,
        },
        ..Surroundings::default()
    }
}

/// A node of a healthy Kubernetes cluster.
pub(super) fn healthy() -> Facts {
    let on = |key: &&'static str| (*key, Ok(Some("1".to_owned())));
    let modules = ["vxlan", "tun", "bridge", "veth", "nf_tables"];
    let pool = Pool {
        network: "cbr0".to_owned(),
        used: 7,
        size: Some(253),
    };
    Facts {
        network_name: "tweed".to_owned(),
        kubernetes: true,
        subnet_file: "/run/flannel/subnet.env".into(),
        status: status(),
        due: Ok(Preview::default()),
        networks: vec![net("10.244.0.0/16")],
        net: Ok(host()),
        hindrances: Ok(Vec::new()),
        switches: SWITCHES.iter().map(on).collect(),
        counters: [counters(), counters()],
        modules: Some(modules.map(str::to_owned).to_vec()),
        subnet_env: Ok(Some(subnet_env())),
        runtime: runtime(),
        udp_ports: vec![8472],
        pools: vec![pool],
        surroundings: surroundings(),
    }
}
