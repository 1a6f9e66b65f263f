//! Nodes whose tables contradict each other: in each the other one has a subnet that belongs to no node any more. What is
//! sent there must come to an end, and soon.

use std::sync::Arc;

use tweed_forward::counters::Counters;
use tweed_forward::decide::Trust;
use tweed_forward::options::ForwardOptions;
use tweed_forward::reason::Reason;
use tweed_forward::table::{Peer, Table};
use tweed_model::Dual;

use crate::lab::{DEVICE, Node, Underlay, nodes_with};

const PINGS: u64 = 5;

/// Two nodes that route from the device to the device too. In the table of each the other one has the subnet. With `own`
/// each has it itself as well.
fn stale(trust: Trust, own: bool) -> [Node; 2] {
    let options = ForwardOptions {
        trust,
        ..ForwardOptions::default()
    };
    let nodes = nodes_with(Underlay::V4, 1, options);
    for node in &nodes {
        node.sh(&format!(
            "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.{DEVICE}.rp_filter=0
             sysctl -qw net.ipv4.conf.all.send_redirects=0 net.ipv4.conf.{DEVICE}.send_redirects=0"
        ));
        let right = node.table(1472);
        let subnets = Dual::of_nets(["10.42.3.0/24".parse().unwrap()]);
        let mut peers = right.peers().to_vec();
        peers.push(Peer {
            subnets,
            ..peers[0].clone()
        });
        let own = if own { subnets } else { *right.own() };
        node.worker().forward_by(Arc::new(Table::new(own, peers)));
    }
    nodes
}

/// Asks for somebody in that subnet, with packets of so many hops. Gives what both have counted, and what was said.
fn ask(nodes: &[Node; 2], hops: u8) -> ([Counters; 2], String) {
    let ping = format!("ping -n -c {PINGS} -i 0.01 -W 1 -t {hops} 10.42.3.9");
    let (answered, said) = nodes[0].tries(&ping);
    assert!(!answered, "{said}");
    (nodes.each_ref().map(|node| node.worker().counters()), said)
}

#[test]
fn what_two_stale_tables_send_to_each_other_goes_no_further_than_the_first() {
    for trust in [Trust::Subnets, Trust::Anyone] {
        let ([one, two], _) = ask(&stale(trust, false), 64);
        assert_eq!(one.sent.packets, PINGS);
        assert_eq!(two.dropped(Reason::Looped), PINGS);
        assert_eq!((two.sent.packets, two.delivered.packets), (0, 0));
        assert_eq!(one.delivered.packets, 0);
    }
}

#[test]
fn where_both_take_it_for_their_own_too_it_comes_back_once_and_is_known_not_to_be_the_senders() {
    let ([one, two], _) = ask(&stale(Trust::Subnets, true), 64);
    assert_eq!([one.sent.packets, two.sent.packets], [PINGS; 2]);
    assert_eq!(two.delivered.packets, PINGS);
    assert_eq!(one.dropped(Reason::SpoofedSource), PINGS);
    assert_eq!(one.delivered.packets, 0);
}

#[test]
fn where_anyone_is_trusted_besides_the_hop_limit_ends_it_and_the_sender_is_told() {
    // A hop for each time it is sent, and for each time that the kernel routes it back.
    for (hops, times) in [(9, 4), (33, 16)] {
        let ([one, two], said) = ask(&stale(Trust::Anyone, true), hops);
        assert_eq!(one.sent.packets + two.sent.packets, times * PINGS);
        assert_eq!(one.dropped(Reason::HopLimit), PINGS);
        assert_eq!(one.answers, PINGS);
        assert!(said.contains("Time to live exceeded"), "{said}");
    }
}
