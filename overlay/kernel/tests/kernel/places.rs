//! What the monitor says of bridges, their ports and the plugins' table, and of other interfaces' addresses.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tweed_kernel::{Event, Monitor};

use crate::host::on_host;
use crate::shell::run;

/// Long enough for a notification to get through on a busy machine; silence is asserted over the second.
const LIMIT: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_millis(150);

fn is_quiet(events: &Receiver<Event>) -> bool {
    events.recv_timeout(SILENCE).is_err()
}

#[test]
fn what_takes_something_from_attachments_is_told_and_what_adds_is_not() {
    on_host(|linux| {
        let (tell, events) = channel();
        let tell = move |event| {
            if event == Event::Attached {
                tell.send(event).unwrap_or(());
            }
        };
        let monitor = Monitor::start(linux, tell).unwrap();
        for adds in [
            "ip link add cni0 mtu 1450 address 02:00:00:00:00:01 type bridge",
            "ip link add veth1 mtu 1450 type veth peer name pod1",
            "ip addr add 10.22.0.1/24 dev cni0",
        ] {
            run(adds);
            assert!(is_quiet(&events), "{adds}");
        }
        run("ip link set cni0 up");
        run("ip link set veth1 up master cni0");
        while events.recv_timeout(SILENCE).is_ok() {}
        run("nft add table inet tweed-cni");
        run("nft add set inet tweed-cni masq4 { type ipv4_addr; }");
        while events.recv_timeout(SILENCE).is_ok() {}
        for adds in [
            "nft add element inet tweed-cni masq4 { 10.22.0.5 }",
            "nft add table inet other",
            "nft delete table inet other",
            "ip addr add 10.23.0.1/24 dev cni0",
            "ip link set veth1 up master cni0",
        ] {
            run(adds);
            assert!(is_quiet(&events), "{adds}");
        }
        for takes in [
            "ip link set veth1 down",
            "ip link set veth1 up",
            "bridge link set dev veth1 hairpin on",
            "ip link set veth1 type bridge_slave hairpin off",
            "bridge link set dev veth1 isolated on",
            "ip link set veth1 nomaster",
            "ip addr flush dev cni0",
            "ip link set cni0 mtu 1300",
            "ip link set cni0 address 02:00:00:00:00:77",
            "ip link set cni0 down",
            "nft delete element inet tweed-cni masq4 { 10.22.0.5 }",
            "nft flush ruleset",
            "ip link del cni0",
        ] {
            run(takes);
            if takes.ends_with("veth1 up") {
                continue;
            }
            assert_eq!(events.recv_timeout(LIMIT), Ok(Event::Attached), "{takes}");
            while events.recv_timeout(SILENCE).is_ok() {}
        }
        monitor.stop();
    });
}

#[test]
fn an_address_of_another_interface_that_comes_or_goes_is_told_and_a_link_local_one_is_not() {
    on_host(|linux| {
        let (tell, events) = channel();
        let tell = move |event| {
            if event == Event::Host {
                tell.send(event).unwrap_or(());
            }
        };
        let monitor = Monitor::start(linux, tell).unwrap();
        run("ip link add other type bridge");
        for (change, told) in [
            ("ip addr add 172.17.0.1/16 dev other", true),
            ("ip addr add fe80::7/64 dev other nodad", false),
            ("ip addr del 172.17.0.1/16 dev other", true),
        ] {
            run(change);
            let wait = if told { LIMIT } else { SILENCE };
            assert_eq!(events.recv_timeout(wait).is_ok(), told, "{change}");
            while events.recv_timeout(SILENCE).is_ok() {}
        }
        monitor.stop();
    });
}

#[test]
fn what_takes_something_from_a_routed_container_is_told_and_what_comes_to_it_is_not() {
    on_host(|linux| {
        let (tell, events) = channel();
        let tell = move |event| {
            if event == Event::Attached {
                tell.send(event).unwrap_or(());
            }
        };
        let monitor = Monitor::start(linux, tell).unwrap();
        for comes in [
            "ip link add veth1 type veth peer name pod1",
            "ip link set veth1 alias net/c/eth0 up",
            "ip route add 10.22.0.5/32 dev veth1 proto 86 scope link",
            "ip -6 route add fd00:22::5/128 dev veth1 proto 86",
            "ip neigh add 10.22.0.5 lladdr 02:00:00:00:00:05 dev veth1 nud permanent",
            "ip neigh add fd00:22::5 lladdr 02:00:00:00:00:05 dev veth1 nud permanent",
        ] {
            run(comes);
            assert!(is_quiet(&events), "{comes}");
        }
        run("ip link add veth2 type veth peer name pod2");
        run("ip link set veth2 up");
        for takes in [
            "ip route del 10.22.0.5/32 dev veth1",
            "ip -6 route del fd00:22::5/128 dev veth1",
            "ip neigh del 10.22.0.5 dev veth1",
            "ip neigh replace fd00:22::5 lladdr 02:00:00:00:00:77 dev veth1 nud permanent",
            "ip link set veth1 down",
        ] {
            run(takes);
            assert_eq!(events.recv_timeout(LIMIT), Ok(Event::Attached), "{takes}");
            while events.recv_timeout(SILENCE).is_ok() {}
        }
        run("ip link set veth1 up");
        run("ip route add 10.22.0.5/32 dev veth1 proto 86 scope link");
        while events.recv_timeout(SILENCE).is_ok() {}
        run("ip route replace 10.22.0.5/32 dev veth2");
        let told = events.recv_timeout(LIMIT);
        assert_eq!(told, Ok(Event::Attached), "led elsewhere");
        monitor.stop();
    });
}
