//! What the kernel, or a network card, does without an error and wrong: here a rule of the packet filter loses what comes
//! several at once, and peers send what is no packet.

use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use tweed_forward::options::ForwardOptions;
use tweed_forward::packet::Malformed;
use tweed_forward::reason::Reason;
use tweed_forward::table::{Peer, Table};
use tweed_model::Dual;

use crate::lab::{Node, PORT, Underlay, nodes, nodes_with, transfer};

/// Whether all workers send single datagrams to the other node.
fn sends_singly(node: &Node) -> bool {
    let mut workers = node.workers().iter();
    workers.all(|worker| {
        worker
            .report()
            .standings
            .iter()
            .any(|standing| standing.singly)
    })
}

/// Has a node lose what comes several at once.
fn damage(node: &Node, table: &str) {
    node.sh(&format!(
        "nft add table {table} damage
         nft add chain {table} damage in '{{ type filter hook prerouting priority -400; }}'
         nft add rule {table} damage in 'udp dport {PORT} udp length > 1480 drop'"
    ));
}

fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}: not so");
        thread::sleep(Duration::from_millis(20));
    }
}

fn finds_damage(from: &Node, to: &Node) {
    transfer(from, to, false, 5000, 1 << 20);
    eventually("it sends single datagrams", || sends_singly(from));
}

#[test]
fn several_workers_find_out_together_what_reaches_a_peer_in_both_families() {
    for (underlay, table) in [(Underlay::V4, "ip"), (Underlay::V6, "ip6")] {
        let [one, two] = nodes_with(underlay, 2, ForwardOptions::default());
        for (from, to) in [(&one, &two), (&two, &one)] {
            transfer(from, to, false, 5000, 1 << 20);
        }
        assert!(!sends_singly(&one) && !sends_singly(&two), "all is well");
        // The peer was found to be well, which is not looked at again for ten minutes.
        drop([one, two]);
        let nodes = nodes_with(underlay, 2, ForwardOptions::default());
        let [one, two] = &nodes;
        damage(two, table);
        finds_damage(one, two);
        transfer(two, one, false, 5001, 1 << 20);
        assert!(!sends_singly(two), "the other way all is well");
    }
}

#[test]
fn an_older_lease_with_a_peers_address_does_not_keep_it_from_being_tried() {
    let nodes = nodes(Underlay::V4);
    let [one, two] = &nodes;
    let right = one.table(1472);
    let older = Peer {
        subnets: Dual::of_nets(["10.42.9.0/24".parse().unwrap()]),
        ..right.peers()[0].clone()
    };
    let peers = vec![older, right.peers()[0].clone()];
    let table = Table::new(*right.own(), peers);
    one.worker().forward_by(Arc::new(table));
    let standings = || one.worker().report().standings;
    eventually("it has both peers", || standings().len() == 2);
    damage(two, "ip");
    finds_damage(one, two);
}

/// A socket in a node that sends five datagrams at once from an address, none of which is a packet.
fn garbage(from: &Node, addr: &str) -> UdpSocket {
    let addr: IpAddr = addr.parse().unwrap();
    let socket = from.udp((addr, 0));
    setsockopt(&socket, sockopt::UdpGsoSegment, &1000).unwrap();
    socket
}

#[test]
fn a_stranger_cannot_keep_datagrams_from_being_joined() {
    let nodes = nodes(Underlay::V4);
    let [one, two] = &nodes;
    two.sh("ip addr add 192.0.2.77/24 dev eth0");
    let (stranger, peer) = (garbage(two, "192.0.2.77"), garbage(two, "192.0.2.2"));
    let send = |from: &UdpSocket, times: u64| {
        for _ in 0..times {
            from.send_to(&[0; 5000], ("192.0.2.1", PORT)).unwrap();
        }
    };
    let dropped = |count: u64| {
        one.counts("all are dropped", |counters| {
            counters.dropped(Reason::Malformed(Malformed::Version)) == 5 * count
        });
        let report = one.worker().report();
        (report.offloads.receive, report.joined_damaged)
    };
    send(&stranger, 30);
    assert_eq!(dropped(30), (true, false), "a stranger proves nothing");
    send(&peer, 7);
    assert_eq!(dropped(37), (true, false), "seven may be chance");
    transfer(two, one, false, 5000, 1 << 20);
    send(&peer, 7);
    assert_eq!(dropped(44), (true, false), "others came whole meanwhile");
    send(&peer, 1);
    assert_eq!(dropped(45), (false, true));
    transfer(two, one, false, 5001, 1 << 20);
}
