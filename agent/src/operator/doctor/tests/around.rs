//! The host around the agent, and the ways between hosts.

use std::net::IpAddr;
use std::time::Duration;

use tweed_netlink::NeighInfo;
use tweed_probe::health::State;

use super::healthy::{UPLINK, addr, link, net, route};
use super::{bad_peer, host, is_found};
use crate::operator::doctor::finding::Severity::{Fail, Warn};
use tweed_model::Dual;

/// The address that the healthy node's peer announces.
const PEER: &str = "192.0.2.12";

fn peer() -> IpAddr {
    addr(PEER)
}

#[test]
fn what_the_host_has_around_the_agent_is_found_by_its_check() {
    is_found("folders", Fail, |facts| {
        facts.surroundings.folders[0]
            .room
            .as_mut()
            .expect("room")
            .bytes = 4096;
    });
    is_found("folders", Fail, |facts| {
        facts.surroundings.folders[0]
            .room
            .as_mut()
            .expect("room")
            .read_only = true;
    });
    is_found("folders", Warn, |facts| {
        facts.surroundings.folders[0]
            .room
            .as_mut()
            .expect("room")
            .free = 1;
    });
    is_found("clock", Warn, |facts| {
        facts.surroundings.future = Some(Duration::from_secs(3600));
    });
    is_found("limits", Warn, |facts| {
        facts.surroundings.limits[0].used = 1000
    });
    is_found("limits", Warn, |facts| facts.surroundings.killed = 1);
    is_found("other-services", Warn, |facts| {
        facts.surroundings.kept = [("flannel.1".to_owned(), "NetworkManager")].into();
    });
    is_found("service-proxy", Warn, |facts| {
        facts.surroundings.proxy.answers = false
    });
    is_found("host-network", Warn, |facts| {
        facts.status.host = vec!["the connected route of eth0 is missing".to_owned()];
    });
    is_found("ipv6", Fail, |facts| {
        facts.networks.push(net("fd00::/48"));
        facts.surroundings.ipv6_off = true;
    });
    is_found("cni-list", Fail, |facts| {
        facts.kubernetes = false;
        let list = facts.runtime.list.as_mut().expect("read");
        let list = list.as_mut().expect("a list");
        (list.ours, list.shadowed) = (false, Some("/etc/cni/net.d/10-tweed.conflist".into()));
    });
    is_found("pods-mtu", Warn, |facts| {
        let mut port = link(7, "veth7", "veth");
        (port.master, port.mtu) = (Some(super::BRIDGE), 1400);
        host(facts).links.push(port);
    });
}

#[test]
fn an_address_that_leads_elsewhere_is_found_by_its_check() {
    is_found("duplicate-addresses", Fail, |facts| {
        let peers = facts.status.peer_list.as_mut().expect("peers");
        peers[0].public = facts.status.public;
        host(facts).underlay.clear();
    });
    // With an answer the address is translated on the way.
    let elsewhere = |facts: &mut super::Facts| {
        facts.status.public = Dual::of_addrs([addr("203.0.113.1")]);
    };
    is_found("public-address", Fail, |facts| {
        elsewhere(facts);
        bad_peer(facts, State::NoAnswer);
        facts.status.peer_states = [(State::NoAnswer, 1)].into();
    });
    let mut facts = super::healthy();
    elsewhere(&mut facts);
    assert_eq!(super::own(&facts), []);
}

#[test]
fn a_way_to_another_node_that_is_wrong_is_found_by_its_check() {
    is_found("underlay-paths", Fail, |facts| {
        host(facts).underlay[0].1 = None
    });
    is_found("underlay-paths", Fail, |facts| {
        host(facts).underlay[0].1 = Some(route("192.0.2.12/32", super::TUNNEL));
    });
    let by_another = |facts: &mut super::Facts| {
        host(facts).links.push(link(9, "eth1", ""));
        host(facts).underlay[0].1 = Some(route("192.0.2.12/32", 9));
    };
    is_found("underlay-paths", Fail, |facts| {
        by_another(facts);
        facts.surroundings.strict = true;
    });
    let mut facts = super::healthy();
    by_another(&mut facts);
    assert_eq!(
        super::own(&facts),
        [],
        "two ways are no fault by themselves"
    );
}

#[test]
fn a_fixed_ethernet_address_is_found_where_its_node_does_not_answer() {
    let fixed = |facts: &mut super::Facts| {
        host(facts).neighs.push(NeighInfo {
            index: UPLINK,
            addr: peer(),
            mac: "02:00:00:00:00:99".parse().ok(),
            permanent: true,
        });
    };
    is_found("neighbour-entries", Fail, |facts| {
        fixed(facts);
        bad_peer(facts, State::NoAnswer);
        facts.status.bad_peers[0].public = Dual::of_addrs([peer()]);
    });
    let mut facts = super::healthy();
    fixed(&mut facts);
    assert_eq!(super::own(&facts), []);
}
