//! Nexthop objects: numbers, adoption, what others have, and what the kernel does by itself.

use tweed_kernel::{Event, Kernel, Linux};
use tweed_model::Family;
use tweed_state::{KernelState, NextHop, NextHopObject, ObjectRef, Op, Route, RouteKey};

use crate::host::{VTEP, VTEP_V6, add_vtep, apply_all, ip, net, observe, on_host, overlay_route};
use crate::monitor::{expect, listen, settle};
use crate::shell::{json, run};

const DST: &str = "10.244.2.0/24";

/// A host after an observation, from which the agent knows its own numbers.
fn on_known_host(test: impl FnOnce(&mut Linux) + Send) {
    on_host(|linux| {
        observe(linux);
        test(linux);
    });
}

/// A route by an object, and the object.
fn by_object(mut route: (RouteKey, Route)) -> (RouteKey, Route, NextHopObject) {
    route.1.next_hop = route.1.next_hop.referring_to(ObjectRef::Ours);
    route.1.protocol = 85;
    let object = route.1.next_hop.as_object().unwrap();
    (route.0, route.1, object)
}

fn tunnelled() -> (RouteKey, Route, NextHopObject) {
    by_object(overlay_route(VTEP, DST))
}

fn direct() -> (RouteKey, Route, NextHopObject) {
    let next_hop = NextHop::via(Some(ip("192.168.0.2")), "eth0".into(), false);
    let protocol = 84;
    let key = RouteKey::of(net("10.244.3.0/24"));
    by_object((key, Route { next_hop, protocol }))
}

fn put(linux: &mut Linux, (key, route, object): &(RouteKey, Route, NextHopObject)) {
    let ops = [
        Op::PutNextHop(object.clone()),
        Op::PutRoute(*key, route.clone()),
    ];
    apply_all(linux, &ops);
}

/// Number, gateway and protocol of all objects.
fn shown() -> Vec<(u64, String, String)> {
    let all = json("ip -j nexthop");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let each = |object: &serde_json::Value| {
        let id = object["id"].as_u64().unwrap();
        (id, text(&object["gateway"]), text(&object["protocol"]))
    };
    all.as_array().unwrap().iter().map(each).collect()
}

fn only_number() -> u64 {
    let all = shown();
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].0
}

#[test]
fn a_route_leads_by_its_object_and_both_are_observed() {
    on_known_host(|linux| {
        add_vtep(linux, Family::V4);
        for (key, route, object) in [tunnelled(), direct()] {
            for _ in 0..2 {
                put(linux, &(key, route.clone(), object.clone()));
                let state = observe(linux);
                assert_eq!(state.routes.get(&key), Some(&route));
                assert!(state.nexthops.contains(&object), "{:?}", state.nexthops);
            }
        }
        let all = shown();
        let (id, ..) = all.iter().find(|(_, to, _)| to == "10.244.2.0").unwrap();
        assert!((0x5000_0000..0x6000_0000).contains(id), "{id}");
        let line = format!("10.244.2.0/24 nhid {id} via 10.244.2.0 proto 85 onlink");
        assert_eq!(run("ip route show dev flannel.1").trim(), line);
    });
}

#[test]
fn a_restarted_agent_knows_them_and_makes_no_others() {
    on_known_host(|linux| {
        add_vtep(linux, Family::V4);
        put(linux, &tunnelled());
        put(linux, &direct());
        let (before, numbers) = (observe(linux), shown());
        let mut again = Linux::open().unwrap();
        assert_eq!(observe(&mut again), before);
        put(&mut again, &tunnelled());
        put(&mut again, &direct());
        assert_eq!((observe(&mut again), shown()), (before, numbers));
    });
}

#[test]
fn a_device_that_is_made_anew_gets_the_same_numbers() {
    on_known_host(|linux| {
        add_vtep(linux, Family::V4);
        put(linux, &tunnelled());
        let number = only_number();
        apply_all(linux, [&Op::DelLink(VTEP.to_owned())]);
        assert_eq!(shown(), []);
        add_vtep(linux, Family::V4);
        put(linux, &tunnelled());
        assert_eq!(only_number(), number);
        // Another program deleted it, and no observation followed.
        run("ip link del flannel.1");
        run(
            "ip link add flannel.1 type vxlan id 1 dev eth0 local 192.168.0.1 dstport 8472 nolearning",
        );
        run("ip link set flannel.1 up");
        put(linux, &tunnelled());
        let (key, route, object) = tunnelled();
        let state = observe(linux);
        assert_eq!(state.routes.get(&key), Some(&route));
        assert!(state.nexthops.contains(&object));
    });
}

#[test]
fn a_number_that_is_taken_is_left_to_its_holder() {
    on_known_host(|linux| {
        add_vtep(linux, Family::V4);
        put(linux, &tunnelled());
        let number = only_number();
        run(&format!("ip nexthop del id {number}"));
        run(&format!(
            "ip nexthop add id {number} via 192.168.0.9 dev eth0"
        ));
        let foreign = shown();
        assert!(observe(linux).nexthops.is_empty());
        for _ in 0..2 {
            put(linux, &tunnelled());
            let all = shown();
            assert!(all.len() == 2 && all.contains(&foreign[0]), "{all:?}");
            let (key, route, object) = tunnelled();
            let state = observe(linux);
            assert_eq!(state.routes.get(&key), Some(&route));
            assert_eq!(state.nexthops, [object].into());
        }
        apply_all(linux, [&Op::DelNextHop(tunnelled().2)]);
        assert_eq!(shown(), foreign);
    });
}

#[test]
fn a_plain_route_becomes_one_by_an_object_and_back_in_place() {
    on_known_host(|linux| {
        add_vtep(linux, Family::V4);
        run("ip route add 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink");
        let (key, plain) = overlay_route(VTEP, DST);
        let ours = tunnelled();
        for _ in 0..2 {
            put(linux, &ours);
            assert_eq!(observe(linux).routes.get(&key), Some(&ours.1));
            assert_eq!(run("ip route show 10.244.2.0/24").lines().count(), 1);
            apply_all(linux, [&Op::PutRoute(key, plain.clone())]);
            apply_all(linux, [&Op::DelNextHop(ours.2.clone())]);
            assert_eq!(observe(linux).routes.get(&key), Some(&plain));
            assert_eq!(shown(), []);
        }
    });
}

#[test]
fn an_object_goes_with_its_routes_and_a_route_without_its_object() {
    on_known_host(|linux| {
        add_vtep(linux, Family::V4);
        let (key, route, object) = tunnelled();
        let (_, plain) = overlay_route(VTEP, DST);
        put(linux, &tunnelled());
        // An earlier version would delete a plain route of the same key, which isn't there.
        apply_all(linux, [&Op::DelRoute(key, plain)]);
        assert_eq!(observe(linux).routes.get(&key), Some(&route));
        let delete = Op::DelRoute(key, route);
        apply_all(linux, [&delete, &delete]);
        let state = observe(linux);
        assert!(state.routes.is_empty() && state.nexthops.contains(&object));
        put(linux, &tunnelled());
        let object = Op::DelNextHop(object);
        apply_all(linux, [&object, &object, &delete]);
        let state = observe(linux);
        assert!(state.routes.is_empty() && state.nexthops.is_empty());
    });
}

#[test]
fn changes_of_our_objects_by_others_are_observed() {
    on_known_host(|linux| {
        add_vtep(linux, Family::V4);
        put(linux, &tunnelled());
        let number = only_number();
        let (key, route, object) = tunnelled();
        // Another gateway.
        run(&format!(
            "ip nexthop replace id {number} via 10.244.9.0 dev flannel.1 onlink proto 84"
        ));
        let state = observe(linux);
        let elsewhere = NextHopObject {
            gateway: [10, 244, 9, 0].into(),
            ..object.clone()
        };
        assert_eq!(state.nexthops, [elsewhere.clone()].into());
        assert_ne!(state.routes.get(&key), Some(&route));
        put(linux, &tunnelled());
        apply_all(linux, [&Op::DelNextHop(elsewhere)]);
        assert_eq!(observe(linux).routes.get(&key), Some(&route));
        // A second one that is the same, by which the route leads.
        run("ip nexthop add id 77 via 10.244.2.0 dev flannel.1 onlink proto 84");
        run("ip route replace 10.244.2.0/24 nhid 77 proto 85");
        let state = observe(linux);
        let copy = NextHopObject {
            copy: 1,
            ..object.clone()
        };
        assert_eq!(state.nexthops, [object, copy.clone()].into());
        put(linux, &tunnelled());
        apply_all(linux, [&Op::DelNextHop(copy)]);
        assert_eq!(shown().len(), 1);
        assert_eq!(run("ip route show 10.244.2.0/24").lines().count(), 1);
    });
}

#[test]
fn a_route_by_another_programs_object_is_replaced_or_deleted_and_the_object_stays() {
    on_known_host(|linux| {
        add_vtep(linux, Family::V4);
        add_vtep(linux, Family::V6);
        run("ip nexthop add id 7 via 10.244.2.0 dev flannel.1 onlink");
        run("ip route add 10.244.2.0/24 nhid 7");
        run("ip nexthop add id 8 via fd00:10:244:2:: dev flannel-v6.1 onlink");
        run("ip route add fd00:10:244:2::/64 nhid 8");
        for (dev, dst) in [(VTEP, DST), (VTEP_V6, "fd00:10:244:2::/64")] {
            let (key, plain) = overlay_route(dev, dst);
            let there = observe(linux).routes[&key].clone();
            assert_eq!(there.next_hop.object(), ObjectRef::Other);
            apply_all(linux, [&Op::PutRoute(key, plain.clone())]);
            assert_eq!(observe(linux).routes[&key], plain);
            let id = if dev == VTEP { 7 } else { 8 };
            run(&format!("ip route replace {dst} nhid {id}"));
            apply_all(linux, [&Op::DelRoute(key, there)]);
            assert!(!observe(linux).routes.contains_key(&key), "{dst}");
        }
        assert_eq!(shown().len(), 2);
    });
}

#[test]
fn over_the_uplink_only_numbers_of_this_instance_are_ours_and_none_that_another_route_needs() {
    on_known_host(|linux| {
        put(linux, &direct());
        let number = only_number();
        let (key, route, object) = direct();
        let delete = Op::DelRoute(key, route);
        apply_all(linux, [&delete]);
        let seen = |linux: &mut Linux| observe(linux).nexthops;
        assert_eq!(seen(linux), [object.clone()].into(), "a stale one");
        // Like an object of an agent with the same part of the numbers.
        run(&format!("ip route add 10.97.2.0/24 nhid {number} proto 85"));
        assert_eq!(seen(linux), [].into());
        put(linux, &direct());
        assert_eq!(shown().len(), 2);
        apply_all(linux, [&delete, &Op::DelNextHop(object)]);
        assert_eq!(only_number(), number);
        run(&format!("ip nexthop del id {number}"));
        // A number of another part.
        let number = if number < 0x5800_0000 {
            number + 0x0400_0000
        } else {
            number - 0x0400_0000
        };
        run(&format!(
            "ip nexthop add id {number} via 192.168.0.2 dev eth0 proto 84"
        ));
        assert_eq!(seen(linux), [].into());
    });
}

#[test]
fn routes_that_lack_a_gateway_are_read_by_their_object() {
    on_known_host(|linux| {
        add_vtep(linux, Family::V4);
        put(linux, &tunnelled());
        put(linux, &direct());
        let routes = |state: KernelState| (state.routes, state.nexthops);
        let before = routes(observe(linux));
        run("sysctl -qw net.ipv4.nexthop_compat_mode=0");
        assert!(!run("ip route show 10.244.2.0/24").contains("via"));
        assert_eq!(routes(observe(linux)), before);
    });
}

#[test]
fn without_a_carrier_a_route_is_a_plain_one_until_its_object_can_be_put() {
    on_known_host(|linux| {
        let (key, route, object) = direct();
        run("ip link set wire down");
        let error = linux
            .apply(&Op::PutNextHop(object))
            .unwrap_err()
            .to_string();
        assert!(error.contains("Carrier"), "{error}");
        apply_all(linux, [&Op::PutRoute(key, route.clone())]);
        let there = observe(linux).routes[&key].next_hop.object();
        assert_eq!(there, ObjectRef::Plain);
        run("ip link set wire up");
        put(linux, &direct());
        assert_eq!(observe(linux).routes.get(&key), Some(&route));
        assert_eq!(run("ip route show 10.244.3.0/24").lines().count(), 1);
    });
}

#[test]
fn changes_of_our_objects_by_others_are_reported_and_our_own_are_not() {
    on_known_host(|linux| {
        observe(linux);
        let (_monitor, events) = listen(linux);
        add_vtep(linux, Family::V4);
        put(linux, &tunnelled());
        put(linux, &direct());
        apply_all(linux, [&Op::DelNextHop(direct().2)]);
        put(linux, &direct());
        assert_eq!(settle(&events), [], "our own changes");
        run("ip nexthop add id 7 via 192.168.0.9 dev eth0 proto 84");
        run("ip nexthop replace id 7 via 192.168.0.8 dev eth0 proto 84");
        run("ip nexthop del id 7");
        assert_eq!(settle(&events), [], "another program's");
        let number = |gateway: &str| {
            let all = shown();
            let found = all.iter().find(|(_, there, _)| there == gateway);
            found.unwrap().0
        };
        let (over_vtep, over_uplink) = (number("10.244.2.0"), number("192.168.0.2"));
        for cause in [
            format!(
                "ip nexthop replace id {over_vtep} via 10.244.9.0 dev flannel.1 onlink proto 84"
            ),
            format!("ip nexthop del id {over_vtep}"),
            format!("ip nexthop replace id {over_uplink} via 192.168.0.9 dev eth0"),
            format!("ip nexthop del id {over_uplink}"),
            "ip nexthop add id 7 via 10.244.9.0 dev flannel.1 onlink proto 84".to_owned(),
        ] {
            run(&cause);
            expect(&events, Event::Dirty, &cause);
            run("ip nexthop flush");
            observe(linux);
            put(linux, &tunnelled());
            put(linux, &direct());
            assert!(observe(linux).nexthops.len() == 2);
            settle(&events);
        }
    });
}

#[test]
fn a_lost_and_regained_carrier_is_reported_since_objects_go_with_it() {
    on_known_host(|linux| {
        put(linux, &direct());
        observe(linux);
        let (_monitor, events) = listen(linux);
        for (cause, left) in [("ip link set wire down", 0), ("ip link set wire up", 0)] {
            run(cause);
            expect(&events, Event::Dirty, cause);
            assert_eq!(observe(linux).nexthops.len(), left);
        }
    });
}
