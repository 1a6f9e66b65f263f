//! What an operator can choose, and what is told when it is asked for.

use std::iter;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use tweed_dataplane::worker::Worker;
use tweed_forward::decide::Trust;
use tweed_forward::options::{BusyPoll, ForwardOptions};
use tweed_forward::packet::Malformed;
use tweed_forward::reason::Reason;
use tweed_forward::trace::{Direction, Filter, TraceVerdict};

use crate::lab::{Node, PORT, Underlay, nodes, nodes_with, transfer};
use crate::packet;

#[test]
fn several_workers_share_the_device_and_the_port() {
    let [one, two] = &nodes_with(Underlay::V4, 4, ForwardOptions::default());
    for v6 in [false, true] {
        std::thread::scope(|scope| {
            for flow in 0..8 {
                scope.spawn(move || transfer(one, two, v6, 5000 + flow, 1 << 20));
            }
        });
        for (from, to) in [(one, two), (two, one)] {
            from.sh(&format!("ping -n -c 3 -i 0.01 -W 5 {}", to.pod(v6)));
        }
    }
    let counts = |node: &Node| -> Vec<(u64, u64)> {
        let counters = node.workers().iter().map(Worker::counters);
        let packets = counters.map(|counters| (counters.sent.packets, counters.delivered.packets));
        packets.collect()
    };
    let (there, back) = (counts(one), counts(two));
    for (number, (one, two)) in iter::zip(&there, &back).enumerate() {
        let exchanged = (one.0, two.0) == (two.1, one.1);
        assert!(
            exchanged,
            "worker {number} talks to others: {there:?}, {back:?}"
        );
    }
    let busy = there.iter().filter(|(sent, _)| *sent > 100).count();
    assert!(busy > 1, "one worker does everything: {there:?}");
}

#[test]
fn who_polls_busily_carries_the_same() {
    let options = ForwardOptions {
        busy_poll: BusyPoll::Always(Duration::from_millis(1)),
        ..ForwardOptions::default()
    };
    let [one, two] = &nodes_with(Underlay::V4, 1, options);
    transfer(one, two, false, 5000, 4 << 20);
}

#[test]
fn answers_that_come_at_once_are_looked_for_unless_that_is_forbidden() {
    let options = |busy_poll| ForwardOptions {
        busy_poll,
        ..ForwardOptions::default()
    };
    let questions = "ping -n -q -f -c 1000 -w 10 10.42.2.5";
    let [one, _two] = &nodes_with(Underlay::V4, 1, options(BusyPoll::default()));
    // On a busy machine they may not come at once for a while.
    let looks = (0..20).any(|_| {
        one.sh(questions);
        !one.worker().counters().polling.is_zero()
    });
    assert!(looks, "never looked for an answer");
    let never = options(BusyPoll::Always(Duration::ZERO));
    let [one, _two] = &nodes_with(Underlay::V4, 1, never);
    one.sh(questions);
    assert_eq!(one.worker().counters().polling, Duration::ZERO);
}

#[test]
fn a_silent_peer_is_kept_in_memory_by_empty_datagrams_and_a_busy_one_is_not() {
    let options = ForwardOptions {
        keep_alive: Some(Duration::from_millis(50)),
        ..ForwardOptions::default()
    };
    let [one, two] = &nodes_with(Underlay::V4, 1, options);
    two.counts("keep-alives", |counters| counters.keep_alives >= 3);
    let counters = two.worker().counters();
    assert_eq!(counters.dropped(Malformed::Empty.into()), 0);
    assert_eq!(counters.delivered.packets, 0);
    let before = one.worker().counters().keep_alives_sent;
    one.sh("ping -n -c 40 -i 0.01 -W 5 10.42.2.5");
    let sent = one.worker().counters().keep_alives_sent - before;
    assert!(sent <= 3, "{sent} though packets were sent all the time");
}

#[test]
fn trust_can_be_given_to_peers_or_to_anyone() {
    for (trust, peer_may, anyone_may) in [
        (Trust::Subnets, false, false),
        (Trust::Peers, true, false),
        (Trust::Anyone, true, true),
    ] {
        let options = ForwardOptions {
            trust,
            ..ForwardOptions::default()
        };
        let [one, two] = &nodes_with(Underlay::V4, 1, options);
        two.sh("ip addr add 192.0.2.66/24 dev eth0");
        let spoofed = packet([10, 42, 77, 9], [10, 42, 1, 5]);
        for (sender, may) in [([192, 0, 2, 2], peer_may), ([192, 0, 2, 66], anyone_may)] {
            let before = one.worker().counters();
            let socket = two.udp((sender, 0));
            socket.send_to(&spoofed, ("192.0.2.1", PORT)).unwrap();
            one.counts("decided on", |counters| {
                let dropped: u64 = counters.drops().map(|(_, count)| count).sum();
                let before: u64 = before.drops().map(|(_, count)| count).sum();
                dropped + counters.delivered.packets > before
            });
            let delivered = one.worker().counters().delivered.packets > before.delivered.packets;
            assert_eq!(delivered, may, "{trust:?}, {sender:?}");
        }
    }
}

#[test]
fn a_peer_that_does_not_listen_is_told_of_and_others_do_not_suffer() {
    let [one, mut two] = nodes(Underlay::V4);
    two.stop();
    assert!(!one.tries("ping -n -c 3 -i 0.01 -W 1 10.42.2.5").0);
    let report = one.worker().report();
    assert!(report.peers.all()[0].refused >= 1, "{report:?}");
    assert!(!one.worker().has_ended());
    two.start(1472);
    one.sh("ping -n -c 3 -i 0.01 -W 5 10.42.2.5");
    let peer = one.worker().report().peers.all()[0];
    assert!(
        peer.received.packets >= 3 && peer.sent.packets >= 6,
        "{peer:?}"
    );
    assert!(peer.sent.bytes >= 6 * 84, "{peer:?}");
    assert!(
        (1..=peer.received.packets).contains(&peer.received.calls),
        "{peer:?}"
    );
}

#[test]
fn what_is_decided_about_a_prefix_is_told_while_somebody_listens() {
    let [one, _two] = &nodes(Underlay::V4);
    let (tell, told) = sync_channel(100);
    let filter = Filter {
        prefix: "10.42.2.0/24".parse().unwrap(),
        every: 1,
    };
    let listener = Arc::new(());
    let trace = |filter, tell| {
        let listener = Arc::downgrade(&listener);
        one.worker().tracer().trace(filter, tell, listener);
    };
    trace(filter, tell);
    one.worker().report();
    one.sh("ping -n -c 1 -W 5 10.42.2.5");
    one.tries("ping -n -c 1 -W 5 -t 1 10.42.2.5");
    one.tries("ping -n -c 1 -W 5 10.42.99.1");
    let verdicts: Vec<(Direction, TraceVerdict)> = told
        .try_iter()
        .map(|traced| (traced.direction, traced.verdict))
        .collect();
    let peer = ([192, 0, 2, 2], PORT).into();
    assert_eq!(
        verdicts,
        [
            (Direction::Out, TraceVerdict::Sent(peer)),
            (Direction::In, TraceVerdict::Delivered),
            (Direction::Out, TraceVerdict::Answered(Reason::HopLimit)),
        ]
    );
    let (tell, told) = sync_channel(100);
    let every = Filter { every: 3, ..filter };
    trace(every, tell);
    one.worker().report();
    one.sh("ping -n -c 6 -i 0.01 -W 5 10.42.2.5");
    assert_eq!(told.try_iter().count(), 4);
    drop(told);
    one.sh("ping -n -c 6 -i 0.01 -W 5 10.42.2.5");
}

#[test]
fn a_table_that_is_exchanged_keeps_the_counts_and_what_was_learned() {
    let [one, two] = &nodes(Underlay::V4);
    for node in [one, two] {
        node.sh("ip link set eth0 mtu 1300");
    }
    // The device, which does not know, still gives packets of 1452 bytes.
    transfer(one, two, false, 5000, 4 << 20);
    let learned = one.worker().report();
    assert_eq!(learned.table.peers()[0].mtu, 1272);
    one.worker().forward_by(Arc::new(one.table(1472)));
    let after = one.worker().report();
    assert_eq!(after.table.peers()[0].mtu, 1272);
    let packets =
        |report: &tweed_dataplane::worker::WorkerReport| report.peers.all()[0].sent.packets;
    assert!(packets(&after) >= packets(&learned) && packets(&learned) > 1000);
    let start = Instant::now();
    transfer(one, two, false, 5001, 4 << 20);
    assert!(start.elapsed() < Duration::from_secs(5));
}
