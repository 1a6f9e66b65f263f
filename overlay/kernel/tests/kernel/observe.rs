//! What is observed, against what was laid out by hand with iproute2.

use std::collections::{BTreeMap, BTreeSet};

use tweed_kernel::Kernel;
use tweed_model::{Family, Mac, SharedMap};
use tweed_state::{KernelState, LinkKind, NextHop, Route, RouteKey};

use crate::host::{
    ALIAS, VTEP, VTEP_V6, add_vtep, ip, mac, net, observe, on_host, overlay_route, scope, vtep,
};
use crate::shell::{json, run, run_args};

/// As flannel makes it: see the netlink attributes in its vxlan backend.
fn flannel_device(name: &str, local: &str, mac: &str, mtu: u32) {
    run(&format!(
        "ip link add {name} mtu {mtu} txqueuelen 0 address {mac} type vxlan id 1 dev eth0 local {local} \
         dstport 8472 nolearning noproxy norsc nol2miss nol3miss"
    ));
    run(&format!("ip link set {name} up"));
}

#[test]
fn what_flannel_leaves_behind_is_observed_exactly() {
    on_host(|linux| {
        flannel_device(VTEP, "192.168.0.1", "02:00:00:00:00:20", 1450);
        flannel_device(VTEP_V6, "fd00:a::1", "02:00:00:00:00:80", 1430);
        run("ip addr add 10.244.1.0/32 dev flannel.1");
        run("ip addr add fd00:10:244:1::/128 dev flannel-v6.1 nodad");
        run("ip neigh add 10.244.2.0 lladdr 02:00:00:00:00:01 nud permanent dev flannel.1");
        run("ip neigh add fd00:10:244:2:: lladdr 02:00:00:00:00:02 nud permanent dev flannel-v6.1");
        run("bridge fdb add 02:00:00:00:00:01 dst 192.168.0.2 dev flannel.1 self permanent");
        run("bridge fdb add 02:00:00:00:00:02 dst fd00:a::2 dev flannel-v6.1 self permanent");
        run("ip route add 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink");
        run("ip route add fd00:10:244:2::/64 via fd00:10:244:2:: dev flannel-v6.1 onlink");
        run("ip route add 10.244.3.0/24 via 192.168.0.2");
        run("ip route add blackhole 10.244.1.0/24");

        let device = |family| {
            let (name, mut link) = vtep(family);
            link.alias = String::new();
            (name, link)
        };
        let route = |dev, dst| {
            let (key, route) = overlay_route(dev, dst);
            (
                key,
                Route {
                    protocol: 3,
                    ..route
                },
            )
        };
        let direct = Route {
            next_hop: NextHop::via(Some(ip("192.168.0.2")), "eth0".into(), false),
            protocol: 3,
        };
        let blackhole = Route {
            next_hop: NextHop::Blackhole,
            protocol: 3,
        };
        let expected = KernelState {
            links: Family::BOTH.map(device).into(),
            addrs: BTreeSet::from([
                (VTEP.to_owned(), net("10.244.1.0/32")),
                (VTEP_V6.to_owned(), net("fd00:10:244:1::/128")),
            ]),
            neighs: SharedMap::from([
                ((VTEP.into(), ip("10.244.2.0")), mac(1)),
                ((VTEP_V6.into(), ip("fd00:10:244:2::")), mac(2)),
            ]),
            fdb: SharedMap::from([
                ((VTEP.into(), mac(1)), ip("192.168.0.2")),
                ((VTEP_V6.into(), mac(2)), ip("fd00:a::2")),
            ]),
            routes: SharedMap::from([
                route(VTEP, "10.244.2.0/24"),
                route(VTEP_V6, "fd00:10:244:2::/64"),
                (RouteKey::of(net("10.244.3.0/24")), direct),
                (RouteKey::of(net("10.244.1.0/24")), blackhole),
            ]),
            sysctls: BTreeMap::from([("net/ipv4/ip_forward".to_owned(), "0".to_owned())]),
            ..KernelState::default()
        };
        assert_eq!(observe(linux), expected);
    });
}

#[test]
fn our_device_is_the_one_that_flannel_makes() {
    on_host(|linux| {
        // The golden line: vxlan id 1 local <ip> dev <if> srcport 0 0 dstport 8472 nolearning ttl auto ageing 300
        // udpcsum noudp6zerocsumtx noudp6zerocsumrx, mtu 1450, no qlen.
        for family in Family::BOTH {
            let name = add_vtep(linux, family);
            let ours = &json(&format!("ip -d -j link show {name}"))[0];
            let data = &ours["linkinfo"]["info_data"];
            assert_eq!(ours["linkinfo"]["info_kind"], "vxlan");
            assert_eq!(data["id"], 1);
            assert_eq!(data["link"], "eth0");
            assert_eq!(data["port"], 8472);
            assert_eq!(data["learning"], false);
            assert_eq!(data["ageing"], 300);
            assert_eq!(data["udp_csum"], true);
            assert_eq!(data["udp_zero_csum6_tx"], false);
            assert_eq!(data["udp_zero_csum6_rx"], false);
            assert_eq!(ours["qdisc"], "noqueue");
            assert_eq!(ours["txqlen"], serde_json::Value::Null, "no queue");
            assert_eq!(ours["ifalias"], ALIAS);

            // And attribute for attribute what iproute2 makes of flannel's list.
            run(&format!("ip link del {name}"));
            let (_, link) = vtep(family);
            let LinkKind::Vxlan(vxlan) = &link.kind else {
                panic!("a vtep")
            };
            let local = vxlan.local.to_string();
            flannel_device(&name, &local, &link.mac.to_string(), link.mtu);
            let theirs = &json(&format!("ip -d -j link show {name}"))[0];
            assert_eq!(ours["linkinfo"], theirs["linkinfo"]);
            for field in [
                "mtu",
                "address",
                "qdisc",
                "flags",
                "operstate",
                "txqlen",
                "group",
            ] {
                assert_eq!(ours[field], theirs[field], "{field}");
            }
        }
    });
}

#[test]
fn other_programs_objects_are_not_observed() {
    on_host(|linux| {
        let name = add_vtep(linux, Family::V4);
        let before = observe(linux);
        run("ip link add vxlan9 type vxlan id 9 dev eth0 local 192.168.0.1 dstport 4789");
        run("ip link set vxlan9 up");
        run("ip addr add 10.9.0.1/24 dev vxlan9");
        run("bridge fdb add 02:00:00:00:09:01 dst 192.168.0.9 dev vxlan9 self permanent");
        run("ip neigh add 192.168.0.77 lladdr 02:00:00:00:09:02 nud permanent dev eth0");
        run("ip route add 10.8.0.0/16 via 192.168.0.2");
        run("ip route add 10.244.9.0/24 via 192.168.0.9");
        run("ip route add 10.244.8.0/25 via 192.168.0.2");
        run("ip route add 10.244.7.0/24 via 192.168.0.2 table 100");
        run("ip route add 10.244.6.0/24 via 192.168.0.2 proto 84 tos 0x10");
        run("ip route add blackhole 10.244.5.0/24");
        // On our link, but not permanent, or the kernel's.
        run("bridge fdb append 00:00:00:00:00:00 dst 192.168.0.9 dev flannel.1 self permanent");
        run("bridge fdb add 02:00:00:00:09:03 dst 192.168.0.9 dev flannel.1 self dynamic");
        run("ip neigh add 10.244.2.9 lladdr 02:00:00:00:09:04 nud reachable dev flannel.1");
        run("ip neigh add proxy 10.244.2.8 dev flannel.1");
        assert_eq!(observe(linux), before);
        // The kernel's own route to a prefix of ours.
        run(&format!("ip addr add 10.244.1.1/24 dev {name}"));
        let state = observe(linux);
        assert_eq!(state.routes, before.routes);
        assert_eq!(state.addrs.len(), 1);
    });
}

#[test]
fn leftovers_are_known_by_alias_and_by_protocol() {
    on_host(|linux| {
        run("ip link add flannel.7 type vxlan id 7 dev eth0 local 192.168.0.1 dstport 8472");
        assert!(observe(linux).links.is_empty());
        run_args("ip", &["link", "set", "flannel.7", "up", "alias", ALIAS]);
        run("ip route add 10.244.2.0/24 dev flannel.7");
        run("ip link add eth1 type veth peer name wire1");
        run("ip link set eth1 up");
        run("ip route add 10.244.3.0/24 dev eth1 proto 84");
        let state = observe(linux);
        assert!(state.links.contains_key("flannel.7"));
        let routes: Vec<String> = state.routes.keys().map(|key| key.dst.to_string()).collect();
        assert_eq!(routes, ["10.244.2.0/24", "10.244.3.0/24"]);
    });
}

#[test]
fn what_stands_under_our_name_is_seen_whatever_it_is() {
    on_host(|linux| {
        run("ip link add flannel.1 type bridge");
        let state = observe(linux);
        assert_eq!(state.links[VTEP].kind, LinkKind::Other("bridge".to_owned()));
        run("ip link del flannel.1");
        // A VXLAN device that floods to a group is not a VTEP of ours.
        run("ip link add flannel.1 type vxlan id 1 dev eth0 group 239.1.1.1 dstport 8472");
        let state = observe(linux);
        assert_eq!(state.links[VTEP].kind, LinkKind::Other("vxlan".to_owned()));
        run("ip link del flannel.1");
        run("ip link add flannel.1 type vxlan external dstport 8472");
        let state = observe(linux);
        assert_eq!(state.links[VTEP].kind, LinkKind::Other("vxlan".to_owned()));
    });
}

#[test]
fn an_entry_that_leads_elsewhere_by_port_leads_nowhere() {
    on_host(|linux| {
        add_vtep(linux, Family::V4);
        run("bridge fdb add 02:00:00:00:00:01 dst 192.168.0.2 port 9 dev flannel.1 self permanent");
        let state = observe(linux);
        let key = (VTEP.into(), Mac([2, 0, 0, 0, 0, 1]));
        assert_eq!(state.fdb[&key], ip("0.0.0.0"));
    });
}

#[test]
fn of_several_routes_with_one_key_the_one_in_use_counts() {
    on_host(|linux| {
        add_vtep(linux, Family::V4);
        let (key, ours) = overlay_route(VTEP, "10.244.2.0/24");
        let route = "10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink proto 84";
        run(&format!("ip route add {route}"));
        run("ip route append 10.244.2.0/24 via 192.168.0.99");
        assert_eq!(observe(linux).routes.get(&key), Some(&ours));
        run("ip route flush 10.244.2.0/24");
        run("ip route add 10.244.2.0/24 via 192.168.0.99");
        run(&format!("ip route append {route}"));
        assert_eq!(observe(linux).routes.get(&key), None, "ours has no effect");
    });
}

#[test]
fn a_scope_without_uplink_or_links_is_served() {
    on_host(|linux| {
        let nothing = tweed_state::Scope::default();
        assert_eq!(linux.observe(&nothing).unwrap(), KernelState::default());
        let mut absent = scope();
        absent.uplink = "eth9".to_owned();
        absent.sysctls = BTreeSet::from(["net/ipv6/conf/flannel.1/accept_ra".to_owned()]);
        assert_eq!(linux.observe(&absent).unwrap(), KernelState::default());
    });
}
