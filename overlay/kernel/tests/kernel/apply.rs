//! Every operation: what iproute2 sees afterwards, and that doing it again changes nothing.

use tweed_kernel::Kernel;
use tweed_model::Family;
use tweed_state::{Link, LinkKind, NextHop, Op, Route, RouteKey};

use crate::host::{
    ALIAS, VTEP, VTEP_V6, add_vtep, apply_all, ip, mac, net, observe, on_host, overlay_route,
    peer_ops, vtep,
};
use crate::shell::{json, run};

#[test]
fn a_peer_shows_as_the_golden_lines() {
    on_host(|linux| {
        add_vtep(linux, Family::V4);
        let ops = peer_ops(VTEP, "10.244.2.0/24", mac(1), "192.168.0.2");
        for _ in 0..2 {
            apply_all(linux, &ops);
            assert_eq!(
                run("ip route show dev flannel.1").trim(),
                "10.244.2.0/24 via 10.244.2.0 proto 84 onlink"
            );
            assert_eq!(
                run("ip neigh show dev flannel.1").trim(),
                "10.244.2.0 lladdr 02:00:00:00:00:01 PERMANENT"
            );
            assert_eq!(
                run("bridge fdb show dev flannel.1").trim(),
                "02:00:00:00:00:01 dst 192.168.0.2 self permanent"
            );
        }
    });
}

#[test]
fn the_kernels_own_route_to_a_network_on_a_link_is_never_replaced_nor_gone_before() {
    on_host(|linux| {
        add_vtep(linux, Family::V4);
        run("ip link add lan type bridge");
        run("ip link set lan up");
        run("ip addr add 10.244.2.7/24 dev lan");
        run("ip addr add 10.244.3.7/24 dev lan noprefixroute");
        run("ip route add 10.244.3.0/24 dev lan proto kernel scope link src 10.244.3.7 metric 100");
        let before = run("ip route show dev lan");
        for seen in [false, true] {
            for dst in ["10.244.2.0/24", "10.244.3.0/24"] {
                let (key, route) = overlay_route(VTEP, dst);
                // Unseen, the one behind a larger metric is not noticed.
                if !seen && dst.starts_with("10.244.3") {
                    continue;
                }
                let error = linux.apply(&Op::PutRoute(key, route)).unwrap_err();
                assert!(error.to_string().contains("kernel's own route"), "{error}");
                assert_eq!(run("ip route show dev lan"), before);
            }
            observe(linux);
        }
        // What somebody else has put there is taken, as ever.
        run("ip route add 10.244.4.0/24 dev lan");
        let (key, route) = overlay_route(VTEP, "10.244.4.0/24");
        linux.apply(&Op::PutRoute(key, route)).unwrap();
        assert!(run("ip route show 10.244.4.0/24").contains("dev flannel.1"));
    });
}

#[test]
fn what_was_put_is_what_is_observed_in_both_families() {
    on_host(|linux| {
        let mut expected = tweed_state::KernelState::default();
        let (key, blackhole) = (
            RouteKey::of(net("10.244.1.0/24")),
            Route {
                next_hop: NextHop::Blackhole,
                protocol: 84,
            },
        );
        let mut ops = vec![Op::PutRoute(key, blackhole.clone())];
        expected.routes.insert(key, blackhole);
        for (family, own, dst, public) in [
            (Family::V4, "10.244.1.0/32", "10.244.2.0/24", "192.168.0.2"),
            (
                Family::V6,
                "fd00:10:244:1::/128",
                "fd00:10:244:2::/64",
                "fd00:a::2",
            ),
        ] {
            let (name, link) = vtep(family);
            ops.push(Op::AddLink(name.clone(), link.clone()));
            ops.push(Op::AddAddr(name.clone(), net(own)));
            ops.extend(peer_ops(&name, dst, mac(7), public));
            expected.addrs.insert((name.clone(), net(own)));
            expected
                .neighs
                .insert((name.as_str().into(), net(dst).network()), mac(7));
            expected
                .fdb
                .insert((name.as_str().into(), mac(7)), ip(public));
            expected.routes.extend([overlay_route(&name, dst)]);
            expected.links.insert(name, link);
        }
        ops.push(Op::SetSysctl(
            "net/ipv4/ip_forward".to_owned(),
            "1".to_owned(),
        ));
        expected
            .sysctls
            .insert("net/ipv4/ip_forward".to_owned(), "1".to_owned());
        for _ in 0..2 {
            apply_all(linux, &ops);
            assert_eq!(observe(linux), expected);
        }
        let shown = run("ip -6 addr show dev flannel-v6.1 scope global");
        assert!(shown.contains("fd00:10:244:1::/128") && !shown.contains("tentative"));
    });
}

#[test]
fn puts_replace_what_is_there() {
    on_host(|linux| {
        for family in Family::BOTH {
            let name = add_vtep(linux, family);
            let (dst, first, second) = match family {
                Family::V4 => ("10.244.2.0/24", "192.168.0.2", "192.168.0.3"),
                Family::V6 => ("fd00:10:244:2::/64", "fd00:a::2", "fd00:a::3"),
            };
            apply_all(linux, &peer_ops(&name, dst, mac(1), first));
            // The peer has moved, and has a new device.
            apply_all(linux, &peer_ops(&name, dst, mac(1), second));
            apply_all(linux, &peer_ops(&name, dst, mac(2), second));
            let state = observe(linux);
            assert_eq!(
                state.neighs[&(name.as_str().into(), net(dst).network())],
                mac(2)
            );
            assert_eq!(state.fdb[&(name.as_str().into(), mac(1))], ip(second));
            assert_eq!(state.fdb[&(name.as_str().into(), mac(2))], ip(second));
            // And can be reached directly.
            let direct = Route {
                next_hop: NextHop::via(Some(ip(first)), "eth0".into(), false),
                protocol: 84,
            };
            let key = RouteKey::of(net(dst));
            linux.apply(&Op::PutRoute(key, direct.clone())).unwrap();
            assert_eq!(observe(linux).routes[&key], direct);
            // And no longer.
            let (key, overlay) = overlay_route(&name, dst);
            linux.apply(&Op::PutRoute(key, overlay.clone())).unwrap();
            assert_eq!(observe(linux).routes[&key], overlay);
        }
    });
}

#[test]
fn a_route_of_another_protocol_becomes_ours() {
    on_host(|linux| {
        add_vtep(linux, Family::V4);
        add_vtep(linux, Family::V6);
        run("ip route add 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink");
        run("ip route add fd00:10:244:2::/64 via fd00:10:244:2:: dev flannel-v6.1 onlink");
        run("ip route add unreachable 10.244.3.0/24");
        run("ip route add unreachable fd00:10:244:3::/64");
        for (dev, dst) in [
            (VTEP, "10.244.2.0/24"),
            (VTEP, "10.244.3.0/24"),
            (VTEP_V6, "fd00:10:244:2::/64"),
            (VTEP_V6, "fd00:10:244:3::/64"),
        ] {
            let (key, route) = overlay_route(dev, dst);
            linux.apply(&Op::PutRoute(key, route.clone())).unwrap();
            assert_eq!(observe(linux).routes.get(&key), Some(&route));
            let family = if dst.contains(':') { "-6" } else { "-4" };
            let shown = run(&format!("ip {family} route show {dst}"));
            assert_eq!(shown.lines().count(), 1, "{shown}");
        }
    });
}

#[test]
fn a_route_of_ours_behind_anothers_takes_its_place() {
    on_host(|linux| {
        add_vtep(linux, Family::V4);
        add_vtep(linux, Family::V6);
        run("ip route add 10.244.2.0/24 via 192.168.0.99");
        run("ip route append 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink proto 84");
        run("ip route add fd00:10:244:2::/64 via fd00:a::99");
        run("ip route append fd00:10:244:2::/64 via fd00:a::98");
        for (dev, dst) in [(VTEP, "10.244.2.0/24"), (VTEP_V6, "fd00:10:244:2::/64")] {
            let (key, route) = overlay_route(dev, dst);
            assert_eq!(observe(linux).routes.get(&key), None);
            linux.apply(&Op::PutRoute(key, route.clone())).unwrap();
            assert_eq!(observe(linux).routes.get(&key), Some(&route));
        }
    });
}

#[test]
fn deleting_one_of_several_routes_with_a_key_leaves_the_others() {
    on_host(|linux| {
        add_vtep(linux, Family::V4);
        run("ip route add 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink proto 84");
        run("ip route append 10.244.2.0/24 via 192.168.0.99");
        run("ip route add 10.244.2.0/24 via 192.168.0.98 metric 5");
        let (key, route) = overlay_route(VTEP, "10.244.2.0/24");
        for _ in 0..2 {
            linux.apply(&Op::DelRoute(key, route.clone())).unwrap();
            assert_eq!(
                run("ip route show 10.244.2.0/24"),
                "10.244.2.0/24 via 192.168.0.99 dev eth0 \n10.244.2.0/24 via 192.168.0.98 dev eth0 metric 5 \n"
            );
        }
    });
}

#[test]
fn deletes_undo_puts_and_tolerate_absence() {
    on_host(|linux| {
        for (family, dst, public) in [
            (Family::V4, "10.244.2.0/24", "192.168.0.2"),
            (Family::V6, "fd00:10:244:2::/64", "fd00:a::2"),
        ] {
            let name = add_vtep(linux, family);
            let (key, route) = overlay_route(&name, dst);
            let addr = net(dst).network().into();
            apply_all(linux, &peer_ops(&name, dst, mac(1), public));
            apply_all(linux, [&Op::AddAddr(name.clone(), addr)]);
            let deletes = [
                Op::DelRoute(key, route),
                Op::DelFdb((name.as_str().into(), mac(1)), ip(public)),
                Op::DelNeigh((name.as_str().into(), net(dst).network())),
                Op::DelAddr(name.clone(), addr),
            ];
            for _ in 0..2 {
                apply_all(linux, &deletes);
                let state = observe(linux);
                assert_eq!(state.links.len(), 1, "the link stays");
                let entries = (state.addrs, state.neighs, state.fdb, state.routes);
                assert_eq!(entries, Default::default());
            }
            apply_all(linux, [&Op::DelLink(name.clone())]);
            // Without the link, everything is absent.
            apply_all(linux, &deletes);
            apply_all(linux, [&Op::DelLink(name.clone())]);
            assert_eq!(run("ip -o link show type vxlan"), "");
        }
        let blackhole = Route {
            next_hop: NextHop::Blackhole,
            protocol: 84,
        };
        for dst in ["10.244.1.0/24", "fd00:10:244:1::/64"] {
            let key = RouteKey::of(net(dst));
            let delete = Op::DelRoute(key, blackhole.clone());
            apply_all(
                linux,
                [&Op::PutRoute(key, blackhole.clone()), &delete, &delete],
            );
        }
        assert_eq!(run("ip route show type blackhole"), "");
    });
}

#[test]
fn a_device_is_corrected_in_place() {
    on_host(|linux| {
        let name = add_vtep(linux, Family::V4);
        apply_all(
            linux,
            &peer_ops(&name, "10.244.2.0/24", mac(1), "192.168.0.2"),
        );
        let index = || json("ip -j link show flannel.1")[0]["ifindex"].clone();
        let before = index();
        let (_, link) = vtep(Family::V4);
        run("ip link set flannel.1 mtu 1400 address 02:00:00:00:99:99");
        run("ip link set flannel.1 down");
        run("ip link property add dev flannel.1 altname overlay0");
        let wanted = Link {
            alias: "another alias".to_owned(),
            ..link
        };
        apply_all(linux, [&Op::SetLink(name.clone(), wanted.clone())]);
        let state = observe(linux);
        assert_eq!(state.links[&name], wanted);
        assert_eq!(index(), before);
        assert_eq!(state.fdb.len(), 1, "forwarding entries stay");
        let down = Link {
            up: false,
            alias: String::new(),
            ..wanted
        };
        apply_all(linux, [&Op::SetLink(name.clone(), down.clone())]);
        assert_eq!(observe(linux).links[&name], down);
    });
}

#[test]
fn a_device_that_is_there_already_is_brought_into_form() {
    on_host(|linux| {
        run(
            "ip link add flannel.1 type vxlan id 1 dev eth0 local 192.168.0.1 dstport 8472 nolearning",
        );
        let name = add_vtep(linux, Family::V4);
        let (_, link) = vtep(Family::V4);
        assert_eq!(observe(linux).links[&name], link);
    });
}

#[test]
fn errors_name_the_operation_and_the_reason() {
    on_host(|linux| {
        let (_, link) = vtep(Family::V4);
        let refusal =
            |linux: &mut tweed_kernel::Linux, op: Op| linux.apply(&op).unwrap_err().to_string();
        let (key, route) = overlay_route(VTEP, "10.244.2.0/24");
        assert_eq!(
            refusal(linux, Op::PutRoute(key, route.clone())),
            "put route 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink: there is no interface \
             flannel.1"
        );
        let lost = Link {
            kind: match link.kind.clone() {
                LinkKind::Vxlan(mut vxlan) => {
                    vxlan.underlay = "eth9".to_owned();
                    LinkKind::Vxlan(vxlan)
                }
                kind => kind,
            },
            ..link.clone()
        };
        let error = refusal(linux, Op::AddLink(VTEP.to_owned(), lost));
        assert!(error.ends_with(": there is no interface eth9"), "{error}");

        // The VNI and port belong to a device of another name.
        run("ip link add other type vxlan id 1 dev eth0 local 192.168.0.1 dstport 8472");
        let error = refusal(linux, Op::AddLink(VTEP.to_owned(), link.clone()));
        assert!(
            error.starts_with("add vxlan device flannel.1 id 1: file exists"),
            "{error}"
        );
        run("ip link del other");

        let down = Link { up: false, ..link };
        apply_all(linux, [&Op::AddLink(VTEP.to_owned(), down)]);
        assert_eq!(
            refusal(linux, Op::PutRoute(key, route)),
            "add route 10.244.2.0/24 via 10.244.2.0 dev flannel.1: network is down (Nexthop device \
             is not up)"
        );
        assert_eq!(
            run("ip -d link show flannel.1").matches(ALIAS).count(),
            1,
            "the device itself is there"
        );
    });
}

#[test]
fn a_device_that_somebody_made_anew_is_found_again() {
    on_host(|linux| {
        let name = add_vtep(linux, Family::V4);
        let ops = peer_ops(&name, "10.244.2.0/24", mac(1), "192.168.0.2");
        apply_all(linux, &ops);
        run("ip link del flannel.1");
        run(
            "ip link add flannel.1 type vxlan id 1 dev eth0 local 192.168.0.1 dstport 8472 nolearning",
        );
        run("ip link set flannel.1 up");
        apply_all(linux, &ops);
        let state = observe(linux);
        assert_eq!(
            (state.neighs.len(), state.fdb.len(), state.routes.len()),
            (1, 1, 1)
        );
    });
}
