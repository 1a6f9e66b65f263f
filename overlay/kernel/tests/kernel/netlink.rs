//! The verbs of the netlink client, checked against what iproute2 sees.

use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use tweed_model::{Family, Mac};
use tweed_netlink::netns::{Netns, isolated};
use tweed_netlink::{
    AddrSpec, BridgeSpec, LinkChange, LinkInfo, Netlink, OperState, PortChange, RouteFilter,
    RouteKind, RouteSpec, TABLE_MAIN, VethEnd, VethSpec,
};

use crate::shell::{json, run};

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn link(netlink: &mut Netlink, name: &str) -> LinkInfo {
    netlink
        .link(name)
        .unwrap()
        .unwrap_or_else(|| panic!("no {name}"))
}

fn pair(netlink: &mut Netlink, name: &str, peer: &str) {
    let end = |name| VethEnd {
        name,
        mac: None,
        netns: None,
    };
    let spec = VethSpec {
        mtu: None,
        end: end(name),
        peer: end(peer),
    };
    netlink.add_veth(&spec).unwrap();
}

const UP: LinkChange<'static> = LinkChange {
    name: None,
    mac: None,
    mtu: None,
    txqlen: None,
    master: None,
    alias: None,
    addr_gen_mode: None,
    promisc: None,
    allmulti: None,
    hairpin: None,
    isolated: None,
    up: Some(true),
    netns: None,
};

#[test]
fn a_veth_pair_is_made_with_its_peer_in_another_namespace() {
    let pod = isolated(|| Netns::current().unwrap());
    isolated(|| {
        let mut netlink = Netlink::open().unwrap();
        let host_mac: Mac = "02:00:00:00:00:01".parse().unwrap();
        let pod_mac: Mac = "02:00:00:00:00:02".parse().unwrap();
        let spec = VethSpec {
            mtu: Some(1400),
            end: VethEnd {
                name: "veth1",
                mac: Some(host_mac),
                netns: None,
            },
            peer: VethEnd {
                name: "eth0",
                mac: Some(pod_mac),
                netns: Some(pod.as_fd()),
            },
        };
        netlink.add_veth(&spec).unwrap();
        assert!(netlink.add_veth(&spec).unwrap_err().is_exists());

        let host = link(&mut netlink, "veth1");
        let mut inside = pod.netlink().unwrap();
        let eth0 = link(&mut inside, "eth0");
        assert_eq!((host.mac, host.mtu), (Some(host_mac), 1400));
        assert_eq!((eth0.mac, eth0.mtu), (Some(pod_mac), 1400));
        assert_eq!(host.peer_index(), Some(eth0.index));
        assert_eq!(eth0.peer_index(), Some(host.index));
        assert!(host.link_netnsid.is_some());
        assert_eq!(host.operstate, OperState::Down);
        netlink.set_link(host.dev(), &UP).unwrap();
        inside.set_link(eth0.dev(), &UP).unwrap();
        // The kernel may notice the carrier a moment later.
        let since = Instant::now();
        while link(&mut netlink, "veth1").operstate != OperState::Up {
            assert!(since.elapsed() < Duration::from_secs(20));
            thread::sleep(Duration::from_millis(5));
        }

        netlink.del_link(host.dev()).unwrap();
        assert_eq!(inside.link("eth0").unwrap(), None);
        assert!(netlink.del_link(host.dev()).unwrap_err().is_not_found());
    });
}

#[test]
fn a_name_is_taken_in_the_namespace_of_the_peer() {
    let pod = isolated(|| Netns::current().unwrap());
    isolated(|| {
        let mut netlink = Netlink::open().unwrap();
        let mut add = |host| {
            let end = |name, netns| VethEnd {
                name,
                mac: None,
                netns,
            };
            netlink.add_veth(&VethSpec {
                mtu: None,
                end: end(host, None),
                peer: end("eth0", Some(pod.as_fd())),
            })
        };
        add("veth1").unwrap();
        let error = add("veth2").unwrap_err();
        assert!(error.is_exists());
        assert_eq!(error.to_string(), "add veth pair veth2 eth0: file exists");
    });
}

#[test]
fn a_bridge_and_its_ports_are_as_wanted() {
    isolated(|| {
        let mut netlink = Netlink::open().unwrap();
        let mac: Mac = "02:00:00:00:00:03".parse().unwrap();
        let spec = BridgeSpec {
            mtu: Some(1450),
            mac: Some(mac),
            ..BridgeSpec::default()
        };
        netlink.add_bridge("cni0", &spec).unwrap();
        pair(&mut netlink, "veth1", "veth2");
        let bridge = link(&mut netlink, "cni0");
        let port = link(&mut netlink, "veth1");
        assert_eq!(bridge.kind, "bridge");
        assert_eq!((bridge.mac, bridge.mtu), (Some(mac), 1450));
        assert!(!bridge.bridge.unwrap().vlan_filtering);

        let join = LinkChange {
            master: Some(bridge.index),
            ..UP
        };
        netlink.set_link(port.dev(), &join).unwrap();
        let change = PortChange {
            hairpin: Some(true),
            isolated: Some(true),
        };
        netlink.set_bridge_port(port.dev(), &change).unwrap();
        let seen = link(&mut netlink, "veth1");
        assert_eq!(seen.master, Some(bridge.index));
        let attributes = seen.port.unwrap();
        assert!(attributes.hairpin && attributes.isolated);
        let leave = LinkChange {
            master: Some(0),
            ..UP
        };
        netlink.set_link(port.dev(), &leave).unwrap();
        assert_eq!(link(&mut netlink, "veth1").master, None);
    });
}

#[test]
fn a_veth_end_can_be_a_port_of_a_bridge_from_the_start_and_take_all_changes_at_once() {
    isolated(|| {
        let mut netlink = Netlink::open().unwrap();
        netlink.add_bridge("cni0", &BridgeSpec::default()).unwrap();
        let bridge = link(&mut netlink, "cni0");
        let end = |name| VethEnd {
            name,
            mac: None,
            netns: None,
        };
        let spec = VethSpec {
            mtu: None,
            end: end("veth1"),
            peer: end("veth2"),
        };
        netlink.add_veth_port(&spec, bridge.dev()).unwrap();
        let port = link(&mut netlink, "veth1");
        assert_eq!((port.master, port.up), (Some(bridge.index), true));
        assert!(!link(&mut netlink, "veth2").up);
        let change = LinkChange {
            alias: Some("net/pod/eth0"),
            hairpin: Some(true),
            isolated: Some(true),
            ..LinkChange::default()
        };
        netlink.set_link(port.dev(), &change).unwrap();
        let seen = link(&mut netlink, "veth1");
        assert_eq!((seen.alias.as_str(), seen.up), ("net/pod/eth0", true));
        let attributes = seen.port.unwrap();
        assert!(attributes.hairpin && attributes.isolated);
    });
}

#[test]
fn every_part_of_a_link_change_arrives() {
    use tweed_netlink::route_messages::link::In6AddrGenMode;
    isolated(|| {
        let mut netlink = Netlink::open().unwrap();
        pair(&mut netlink, "veth1", "veth2");
        let change = LinkChange {
            name: Some("new"),
            mac: Some("02:00:00:00:00:04".parse().unwrap()),
            mtu: Some(1300),
            txqlen: Some(17),
            alias: Some("tweed test"),
            addr_gen_mode: Some(In6AddrGenMode::None),
            promisc: Some(true),
            allmulti: Some(true),
            ..UP
        };
        let dev = link(&mut netlink, "veth1");
        netlink.set_link(dev.dev(), &change).unwrap();
        let seen = link(&mut netlink, "new");
        assert_eq!((seen.mac, seen.mtu, seen.txqlen), (change.mac, 1300, 17));
        assert_eq!(seen.alias, "tweed test");
        assert!(seen.up && seen.promisc);
        let shown = json("ip -d -j link show new");
        assert_eq!(shown[0]["inet6_addr_gen_mode"], "none");
        assert_eq!(shown[0]["ifalias"], "tweed test");
        assert_eq!(shown[0]["allmulti"], 1);
        assert_eq!(
            format!("set link x{change}"),
            "set link x name new address 02:00:00:00:00:04 mtu 1300 txqueuelen 17 alias \
             \"tweed test\" addrgenmode None promisc on allmulticast on up"
        );
    });
}

#[test]
fn addresses_come_with_broadcast_and_without_duplicate_detection() {
    isolated(|| {
        let mut netlink = Netlink::open().unwrap();
        pair(&mut netlink, "veth1", "veth2");
        let dev = link(&mut netlink, "veth1");
        netlink.set_link(dev.dev(), &UP).unwrap();
        let v4 = AddrSpec {
            broadcast: true,
            ..AddrSpec::plain(net("10.1.2.3/24"))
        };
        let v6 = AddrSpec::plain(net("fd00::3/64"));
        for spec in [&v4, &v6] {
            netlink.add_addr(dev.dev(), spec).unwrap();
            assert!(netlink.add_addr(dev.dev(), spec).unwrap_err().is_exists());
            netlink.put_addr(dev.dev(), spec).unwrap();
        }
        let shown = json("ip -j addr show veth1 to 10.1.2.3");
        assert_eq!(shown[0]["addr_info"][0]["broadcast"], "10.1.2.255");
        let addrs = netlink.addrs(Some(dev.index)).unwrap();
        for spec in [&v4, &v6] {
            let addr = addrs.iter().find(|addr| addr.net == spec.net).unwrap();
            assert!(addr.permanent && !addr.tentative && addr.scope == 0);
            netlink.del_addr(dev.dev(), spec.net).unwrap();
            let gone = netlink.del_addr(dev.dev(), spec.net).unwrap_err();
            assert!(gone.is_not_found(), "{gone}");
        }
        let none = netlink.addrs(Some(999)).unwrap_err();
        assert!(none.is_not_found(), "{none}");
    });
}

#[test]
fn a_route_carries_all_its_attributes_and_is_found_by_look_up() {
    isolated(|| {
        let mut netlink = Netlink::open().unwrap();
        pair(&mut netlink, "veth1", "veth2");
        let dev = link(&mut netlink, "veth1");
        let peer = link(&mut netlink, "veth2");
        netlink.set_link(dev.dev(), &UP).unwrap();
        netlink.set_link(peer.dev(), &UP).unwrap();
        let addr = AddrSpec::plain(net("10.0.0.1/24"));
        netlink.put_addr(dev.dev(), &addr).unwrap();
        let route = RouteSpec {
            metric: Some(7),
            protocol: 84,
            mtu: Some(1300),
            advmss: Some(1200),
            src: Some("10.0.0.1".parse().unwrap()),
            ..RouteSpec::to(net("10.9.0.0/16"))
                .via("10.0.0.2".parse().unwrap())
                .dev(dev.dev())
        };
        netlink.add_route(&route).unwrap();
        assert!(netlink.add_route(&route).unwrap_err().is_exists());
        netlink.put_route(&route).unwrap();
        let shown = run("ip route show 10.9.0.0/16");
        assert_eq!(
            shown.trim(),
            "10.9.0.0/16 via 10.0.0.2 dev veth1 proto 84 src 10.0.0.1 metric 7 mtu 1300 advmss 1200"
        );

        let other = RouteSpec {
            table: 1000,
            scope: 253,
            ..RouteSpec::to(net("10.8.0.0/16")).dev(dev.dev())
        };
        netlink.add_route(&other).unwrap();
        assert_eq!(
            run("ip route show table 1000").trim(),
            "10.8.0.0/16 dev veth1 scope link"
        );
        let list = |netlink: &mut Netlink, table| {
            let family = Family::V4;
            let table = Some(table);
            netlink.routes(&RouteFilter { family, table }).unwrap()
        };
        let elsewhere = list(&mut netlink, 1000);
        assert_eq!(elsewhere.len(), 1);
        assert_eq!((elsewhere[0].dst, elsewhere[0].scope), (other.dst, 253));
        let main = list(&mut netlink, TABLE_MAIN);
        assert_eq!(main.len(), 2, "the connected one, and ours: {main:?}");

        let found = netlink.route_to("10.9.1.1".parse().unwrap()).unwrap();
        let found = found.unwrap();
        assert_eq!(found.gateway, route.gateway);
        assert_eq!((found.oif, found.src), (Some(dev.index), route.src));
        assert_eq!(netlink.route_to("8.8.8.8".parse().unwrap()).unwrap(), None);
        assert_eq!(netlink.route_to("fd99::1".parse().unwrap()).unwrap(), None);

        let second = route.clone().via("10.0.0.3".parse().unwrap());
        netlink.append_route(&second).unwrap();
        assert!(netlink.append_route(&second).unwrap_err().is_exists());
        let gateways: Vec<_> = list(&mut netlink, TABLE_MAIN)
            .iter()
            .filter(|seen| seen.dst == route.dst)
            .map(|seen| seen.gateway)
            .collect();
        assert_eq!(gateways, [route.gateway, second.gateway]);
        netlink.del_route(&second).unwrap();

        netlink.del_route(&route).unwrap();
        let gone = netlink.del_route(&route).unwrap_err();
        assert!(gone.is_not_found());
        assert_eq!(
            gone.to_string(),
            "delete route 10.9.0.0/16 via 10.0.0.2 dev veth1: no such process"
        );
    });
}

#[test]
fn an_error_names_the_operation_and_repeats_the_kernels_words() {
    isolated(|| {
        let mut netlink = Netlink::open().unwrap();
        pair(&mut netlink, "veth1", "veth2");
        let dev = link(&mut netlink, "veth1");
        netlink.set_link(dev.dev(), &UP).unwrap();
        let unreachable = RouteSpec::to(net("10.9.0.0/16"))
            .via("10.0.0.2".parse().unwrap())
            .dev(dev.dev());
        let error = netlink.add_route(&unreachable).unwrap_err();
        assert_eq!(
            error.to_string(),
            "add route 10.9.0.0/16 via 10.0.0.2 dev veth1: network is unreachable (Nexthop has \
             invalid gateway)"
        );
        let blackhole = RouteSpec {
            kind: RouteKind::Blackhole,
            ..RouteSpec::to(net("fd00:9::/64"))
        };
        netlink.add_route(&blackhole).unwrap();
        assert!(run("ip -6 route show type blackhole").starts_with("blackhole fd00:9::/64 dev lo"));
        netlink.del_route(&blackhole).unwrap();
        assert!(netlink.del_route(&blackhole).unwrap_err().is_not_found());
    });
}

#[test]
fn a_table_that_never_had_a_route_is_empty() {
    isolated(|| {
        let mut netlink = Netlink::open().unwrap();
        for family in Family::BOTH {
            let table = Some(4711);
            assert_eq!(
                netlink.routes(&RouteFilter { family, table }).unwrap(),
                Vec::new()
            );
        }
    });
}
