//! What the monitor reports, and what it keeps to itself.

use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use tweed_kernel::{Event, Kernel, Linux, Monitor};
use tweed_model::Family;
use tweed_state::{NextHop, Op, Route, RouteKey};

use crate::host::{
    VTEP, VTEP_V6, add_vtep, apply_all, mac, net, observe, on_host, overlay_route, peer_ops, vtep,
};
use crate::shell::run;

/// Long enough for a notification to get through on a busy machine; silence is asserted over it.
const TIMEOUT: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_millis(150);

pub(crate) fn listen(linux: &Linux) -> (Monitor, Receiver<Event>) {
    let (tell, events) = channel();
    // Events of bridges are tested in places.rs, with those of other interfaces.
    let tell = move |event| match event {
        Event::Attached | Event::Host => {}
        event => tell.send(event).unwrap_or(()),
    };
    let monitor = Monitor::start(linux, tell).unwrap();
    (monitor, events)
}

/// The events until there is silence.
pub(crate) fn settle(events: &Receiver<Event>) -> Vec<Event> {
    let mut seen = Vec::new();
    while let Ok(event) = events.recv_timeout(SILENCE) {
        seen.push(event);
    }
    seen
}

pub(crate) fn expect(events: &Receiver<Event>, event: Event, cause: &str) {
    let first = events.recv_timeout(TIMEOUT);
    assert_eq!(first, Ok(event), "after {cause}");
    let rest = settle(events);
    let expected = |other: &Event| *other == event || event == Event::Uplink;
    assert!(rest.iter().all(expected), "{cause}: {rest:?}");
}

/// A host with VTEPs of both families and a peer each, observed, and silent.
fn on_programmed_host(test: impl FnOnce(&mut Linux, &Receiver<Event>) + Send) {
    on_host(|linux| {
        observe(linux);
        let (monitor, events) = listen(linux);
        program(linux);
        observe(linux);
        settle(&events);
        test(linux, &events);
        monitor.stop();
        assert!(settle(&events).is_empty());
    });
}

fn program(linux: &mut Linux) {
    for (family, own, dst, public) in [
        (Family::V4, "10.244.1.0/32", "10.244.2.0/24", "192.168.0.2"),
        (
            Family::V6,
            "fd00:10:244:1::/128",
            "fd00:10:244:2::/64",
            "fd00:a::2",
        ),
    ] {
        let name = add_vtep(linux, family);
        apply_all(linux, [&Op::AddAddr(name.clone(), net(own))]);
        apply_all(linux, &peer_ops(&name, dst, mac(1), public));
    }
    let direct = Route {
        next_hop: NextHop::via(Some([192, 168, 0, 2].into()), "eth0".into(), false),
        protocol: 84,
    };
    let key = RouteKey::of(net("10.244.3.0/24"));
    apply_all(linux, [&Op::PutRoute(key, direct)]);
}

#[test]
fn whatever_somebody_does_to_our_objects_is_reported() {
    on_programmed_host(|linux, events| {
        for cause in [
            "ip route del 10.244.2.0/24",
            "ip route replace 10.244.2.0/24 via 192.168.0.99",
            "ip route del 10.244.3.0/24",
            "ip -6 route del fd00:10:244:2::/64",
            "ip route add 10.244.9.0/24 dev flannel.1",
            "ip route add 10.244.8.0/24 via 192.168.0.2",
            "ip neigh del 10.244.2.0 dev flannel.1",
            "ip neigh change fd00:10:244:2:: lladdr 02:00:00:00:00:99 dev flannel-v6.1",
            "ip neigh change 10.244.2.0 nud stale dev flannel.1",
            "ip neigh add 10.244.9.0 lladdr 02:00:00:00:00:09 nud permanent dev flannel.1",
            "bridge fdb del 02:00:00:00:00:01 dev flannel.1 self",
            "bridge fdb replace 02:00:00:00:00:01 dst 192.168.0.9 dev flannel.1 self permanent",
            "bridge fdb add 02:00:00:00:00:09 dst fd00:a::9 dev flannel-v6.1 self permanent",
            "ip addr del 10.244.1.0/32 dev flannel.1",
            "ip addr del fd00:10:244:1::/128 dev flannel-v6.1",
            "ip addr add 10.244.1.9/32 dev flannel.1",
            "ip link set flannel.1 mtu 1300",
            "ip link set flannel.1 address 02:00:00:00:77:77",
            "ip link set flannel.1 alias other",
            "ip link set flannel.1 down",
            "ip link set flannel-v6.1 down",
            "ip link del flannel.1",
            "ip link del flannel-v6.1",
        ] {
            run(cause);
            expect(events, Event::Dirty, cause);
            repair(linux, events);
        }
    });
}

/// Back to the programmed state.
fn repair(linux: &mut Linux, events: &Receiver<Event>) {
    let state = observe(linux);
    for name in [VTEP, VTEP_V6] {
        if state.links.contains_key(name) {
            apply_all(linux, [&Op::DelLink(name.to_owned())]);
        }
    }
    for (key, route) in &state.routes {
        apply_all(linux, [&Op::DelRoute(*key, route.clone())]);
    }
    run("ip route flush 10.244.2.0/24");
    program(linux);
    observe(linux);
    settle(events);
}

#[test]
fn our_own_changes_are_not_reported() {
    on_host(|linux| {
        observe(linux);
        let (_monitor, events) = listen(linux);
        program(linux);
        assert_eq!(settle(&events), [], "making everything");
        // Replace, delete one by one, and delete the links with what is on them.
        let (key, route) = overlay_route(VTEP, "10.244.2.0/24");
        apply_all(
            linux,
            &peer_ops(VTEP, "10.244.2.0/24", mac(2), "192.168.0.3"),
        );
        apply_all(
            linux,
            &[
                Op::DelFdb((VTEP.into(), mac(1)), [192, 168, 0, 2].into()),
                Op::DelRoute(key, route),
                Op::DelNeigh((VTEP.into(), [10, 244, 2, 0].into())),
                Op::DelAddr(VTEP.to_owned(), net("10.244.1.0/32")),
            ],
        );
        assert_eq!(settle(&events), [], "replacing and deleting");
        apply_all(
            linux,
            &[
                Op::DelLink(VTEP.to_owned()),
                Op::DelLink(VTEP_V6.to_owned()),
            ],
        );
        assert_eq!(settle(&events), [], "deleting the links");
    });
}

#[test]
fn correcting_a_device_is_not_reported() {
    on_programmed_host(|linux, events| {
        run("ip link set flannel.1 mtu 1300 address 02:00:00:00:77:77");
        expect(events, Event::Dirty, "a change from outside");
        let (name, link) = vtep(Family::V4);
        apply_all(linux, [&Op::SetLink(name, link)]);
        // The kernel reports the parts one by one, so that one look too many may come of it, but no more.
        assert!(settle(events).len() <= 1);
    });
}

#[test]
fn other_programs_objects_are_not_reported() {
    on_programmed_host(|_, events| {
        for cause in [
            "ip link add vxlan9 type vxlan id 9 dev eth0 local 192.168.0.1 dstport 4789",
            "ip link set vxlan9 up",
            "ip addr add 10.9.0.1/24 dev vxlan9",
            "bridge fdb add 02:00:00:00:09:01 dst 192.168.0.9 dev vxlan9 self permanent",
            "ip neigh add 10.9.0.9 lladdr 02:00:00:00:09:09 nud permanent dev vxlan9",
            "ip route add 10.8.0.0/16 via 192.168.0.2",
            "ip route add 10.244.9.0/24 via 192.168.0.99",
            "ip route add 10.244.2.0/24 via 192.168.0.99 table 100",
            "ip route add 10.244.2.0/24 via 192.168.0.99 tos 0x10",
            "ip neigh add 192.168.0.77 lladdr 02:00:00:00:09:02 nud permanent dev eth0",
            "ip neigh add 10.244.2.9 lladdr 02:00:00:00:09:04 nud reachable dev flannel.1",
            "bridge fdb add 02:00:00:00:09:03 dst 192.168.0.9 dev flannel.1 self dynamic",
            "ip link add veth9 type veth peer name wire9",
            "ip link del veth9",
            "ip link del vxlan9",
        ] {
            run(cause);
            assert_eq!(settle(events), [], "{cause}");
        }
    });
}

#[test]
fn changes_of_the_uplink_are_reported_as_such() {
    on_programmed_host(|_, events| {
        for cause in [
            "ip link set eth0 mtu 1600",
            "ip addr add 192.168.7.1/24 dev eth0",
            "ip addr del 192.168.7.1/24 dev eth0",
            "ip -6 addr add fd00:b::1/64 dev eth0 nodad",
        ] {
            run(cause);
            expect(events, Event::Uplink, cause);
        }
        // The same address again, as a router's advertisement renews it.
        run("ip -6 addr change fd00:b::1/64 dev eth0 preferred_lft 1000 valid_lft 2000");
        assert_eq!(settle(events), []);
        for cause in [
            "ip link set eth0 down",
            "ip link set eth0 up",
            "ip link set eth0 name eth7",
        ] {
            run(cause);
            assert!(settle(events).contains(&Event::Uplink), "{cause}");
        }
        run("ip link set eth7 name eth0");
        assert!(settle(events).contains(&Event::Uplink));
        run("ip link del eth0");
        assert!(settle(events).contains(&Event::Uplink));
    });
}

#[test]
fn an_announced_address_is_news_on_whichever_interface_it_comes_and_goes() {
    on_programmed_host(|_, events| {
        for cause in [
            "ip addr add 10.255.0.1/32 dev lo",
            "ip addr del 10.255.0.1/32 dev lo",
            "ip addr add 10.255.0.1/32 dev lo scope host",
        ] {
            run(cause);
            expect(events, Event::Uplink, cause);
        }
        run("ip addr add 10.255.0.2/32 dev lo");
        assert_eq!(settle(events), []);
    });
}

#[test]
fn routes_that_the_uplink_silently_takes_along_are_news() {
    for (cause, remedy) in [
        ("ip link set eth0 down", "ip link set eth0 up"),
        (
            "ip addr del 192.168.0.1/24 dev eth0",
            "ip addr add 192.168.0.1/24 dev eth0",
        ),
    ] {
        on_programmed_host(|linux, events| {
            run(cause);
            let seen = settle(events);
            assert!(
                seen.contains(&Event::Dirty) && seen.contains(&Event::Uplink),
                "{cause}"
            );
            let routes = observe(linux).routes;
            assert!(
                !routes.contains_key(&RouteKey::of(net("10.244.3.0/24"))),
                "{cause}"
            );
            run(remedy);
        });
    }
}

#[test]
fn a_default_route_that_comes_moves_or_goes_concerns_the_uplink() {
    on_programmed_host(|_, events| {
        for cause in [
            "ip route add default via 192.168.0.254",
            "ip route replace default via 192.168.0.253 dev eth0",
            "ip route del default",
            "ip -6 route add default via fd00:a::fe",
        ] {
            run(cause);
            expect(events, Event::Uplink, cause);
        }
    });
}

#[test]
fn a_change_of_the_uplink_is_reported_even_if_a_pass_sees_it_first() {
    on_host(|linux| {
        observe(linux);
        let (_monitor, events) = listen(linux);
        for mtu in 1600..1620 {
            run(&format!("ip link set eth0 mtu {mtu}"));
            observe(linux);
            expect(&events, Event::Uplink, "a new MTU");
        }
    });
}

#[test]
fn switching_off_forwarding_is_reported_and_switching_it_on_is_not() {
    on_programmed_host(|linux, events| {
        let forward = Op::SetSysctl("net/ipv4/ip_forward".to_owned(), "1".to_owned());
        apply_all(linux, [&forward]);
        assert_eq!(settle(events), []);
        run("sysctl -qw net.ipv4.ip_forward=0");
        expect(events, Event::Dirty, "forwarding off");
        // Of one interface, or of a family that is not looked after.
        apply_all(linux, [&forward]);
        run("sysctl -qw net.ipv4.conf.eth0.forwarding=0");
        run("sysctl -qw net.ipv6.conf.all.forwarding=1");
        run("sysctl -qw net.ipv6.conf.all.forwarding=0");
        assert_eq!(settle(events), []);
    });
}

#[test]
fn our_table_is_watched_and_others_are_not() {
    on_programmed_host(|_, events| {
        run("nft add table inet tweed");
        expect(events, Event::Dirty, "a table of our name");
        run("nft add table ip filter");
        expect(events, Event::Dirty, "the filter table");
        run("nft add table inet other");
        run("nft add chain inet other c");
        run("nft add chain ip filter DOCKER");
        run("nft add rule ip filter DOCKER accept");
        assert_eq!(settle(events), []);
        run("nft add chain ip filter FORWARD");
        expect(events, Event::Dirty, "the chain");
        run("nft add rule ip filter FORWARD accept");
        expect(events, Event::Dirty, "a rule in the chain");
        run("nft flush ruleset");
        expect(events, Event::Dirty, "a flush");
    });
}

#[test]
fn notifications_that_were_lost_are_news_of_every_kind() {
    on_host(|linux| {
        observe(linux);
        program(linux);
        observe(linux);
        // The monitor waits in its first report until the test releases it.
        let (tell, events) = channel();
        let (go, wait) = channel::<()>();
        let monitor = Monitor::start(linux, move |event| {
            tell.send(event).unwrap();
            let _ = wait.recv();
        });
        run("ip route del 10.244.2.0/24");
        assert_eq!(events.recv_timeout(TIMEOUT), Ok(Event::Dirty));
        // Of no concern to us, but more than the socket's buffer holds.
        let lines: String = (0..40_000)
            .map(|n| format!("route replace 10.50.0.0/24 via 192.168.0.{}\n", 90 + n % 2))
            .collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), lines).unwrap();
        run(&format!("ip -batch {}", file.path().display()));
        drop(go);
        assert_eq!(events.recv_timeout(TIMEOUT), Ok(Event::Uplink));
        assert_eq!(events.recv_timeout(TIMEOUT), Ok(Event::Dirty));
        drop(monitor);
    });
}

#[test]
fn stopping_takes_no_time() {
    on_host(|linux| {
        let (monitor, _events) = listen(linux);
        let start = Instant::now();
        monitor.stop();
        assert!(start.elapsed() < Duration::from_millis(100));
        let again = linux.observe(&crate::host::scope());
        assert!(again.is_ok());
    });
}
