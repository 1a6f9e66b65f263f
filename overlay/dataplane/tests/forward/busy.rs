//! What must not keep a worker from its mail, or from sleeping.

use std::fs;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};
use tweed_forward::options::ForwardOptions;

use crate::lab::{Node, PORT, Underlay, nodes, nodes_with};
use crate::packet;

/// How long anything is sent, if nothing else ends it.
const MOST: Duration = Duration::from_secs(10);

/// Processor time of a node's workers so far.
fn busy(node: &Node) -> Duration {
    let theirs = node.sh("readlink /proc/self/ns/net");
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    let times = tasks.filter_map(|task| {
        let netns = fs::read_link(task.path().join("ns/net")).ok()?;
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        if netns.to_str()? != theirs.trim() || name.trim() != "forward" {
            return None;
        }
        let stat = fs::read_to_string(task.path().join("schedstat")).ok()?;
        Some(Duration::from_nanos(stat.split(' ').next()?.parse().ok()?))
    });
    times.sum()
}

/// The ports that a node's workers send from and do not receive at.
fn sending_ports(node: &Node) -> Vec<u16> {
    let sockets = node.sh("ss -Huln");
    let local = sockets
        .lines()
        .filter_map(|line| line.split_whitespace().nth(3));
    let ports = local.filter_map(|local| local.rsplit(':').next()?.parse().ok());
    ports.filter(|port| *port != PORT).collect()
}

#[test]
fn a_strangers_datagram_to_a_port_that_only_sends_wakes_nobody_for_ever() {
    let [one, two] = &nodes_with(Underlay::V4, 2, ForwardOptions::default());
    let ports = sending_ports(one);
    assert_eq!(ports.len(), 1, "{ports:?}");
    let stranger = two.udp(([192, 0, 2, 2], 0));
    let to = SocketAddr::from(([192, 0, 2, 1], ports[0]));
    for _ in 0..10 {
        stranger.send_to(b"x", to).unwrap();
    }
    thread::sleep(Duration::from_millis(50));
    let before = busy(one);
    assert!(before > Duration::ZERO, "no worker was found");
    thread::sleep(Duration::from_millis(500));
    let spent = busy(one) - before;
    assert!(spent < Duration::from_millis(20), "{spent:?} of 500 ms");
}

#[test]
fn an_underlay_that_takes_next_to_nothing_holds_up_neither_a_report_nor_the_end() {
    let [mut one, _two] = nodes(Underlay::V4);
    one.sh("tc qdisc add dev eth0 root tbf rate 1mbit burst 10kb limit 100mb");
    let socket = one.udp((one.pod(false), 0));
    let (over, start) = (AtomicBool::new(false), Instant::now());
    let reports = thread::scope(|scope| {
        scope.spawn(|| {
            // Sizes that no message can join, more than the send buffer holds.
            for size in (100..1400).step_by(7).cycle() {
                if over.load(Ordering::Relaxed) || start.elapsed() > MOST {
                    break;
                }
                let _ = socket.send_to(&[0; 1400][..size], "10.42.2.5:9");
            }
        });
        one.counts("the send buffer is full", |counters| {
            counters.send_errors > 100
        });
        let reports = [(); 5].map(|()| {
            let start = Instant::now();
            let errors = one.worker().report().counters.send_errors;
            thread::sleep(Duration::from_millis(50));
            (start.elapsed() - Duration::from_millis(50), errors)
        });
        over.store(true, Ordering::Relaxed);
        reports
    });
    let mut times = reports.map(|(time, _)| time);
    times.sort_unstable();
    assert!(times[2] < Duration::from_millis(150), "{times:?}");
    assert!(reports[4].1 > reports[0].1, "each tells anew: {reports:?}");
    let start = Instant::now();
    one.workers.clear();
    let taken = start.elapsed();
    assert!(taken < Duration::from_secs(1), "ended after {taken:?}");
}

/// Messages of 64 packets each that a node's socket of a family has no room for: more come than are carried.
struct Flood {
    sender: UdpSocket,
    bytes: Vec<u8>,
    to: SocketAddr,
}

impl Flood {
    /// From a peer, with packets that its pods may send and nothing can be joined to, so that each takes its time.
    fn new(from: &Node, to: &Node, v6: bool) -> Self {
        let [source, target]: [IpAddr; 2] = match v6 {
            false => [[192, 0, 2, 2].into(), [192, 0, 2, 1].into()],
            true => ["2001:db8::2", "2001:db8::1"].map(|addr| addr.parse().unwrap()),
        };
        let sender = from.udp((source, 0));
        let one = match (from.pod(v6), to.pod(v6)) {
            (IpAddr::V4(from), IpAddr::V4(to)) => packet(from.octets(), to.octets()),
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let header = [0x60, 0, 0, 0, 0, 0, 253, 64];
                [&header[..], &from.octets(), &to.octets()].concat()
            }
            _ => unreachable!("both are of one family"),
        };
        setsockopt(&sender, sockopt::UdpGsoSegment, &(one.len() as i32)).unwrap();
        Self {
            sender,
            bytes: one.repeat(64),
            to: (target, PORT).into(),
        }
    }

    /// Goes on until it is over, a hundred messages each millisecond.
    fn run(&self, over: &AtomicBool) {
        let start = Instant::now();
        while !over.load(Ordering::Relaxed) && start.elapsed() < MOST {
            for _ in 0..100 {
                let _ = self.sender.send_to(&self.bytes, self.to);
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// What a node's socket of a family had no room for so far.
fn overflows(node: &Node, v6: bool) -> u64 {
    let table = node.sh(if v6 {
        "cat /proc/net/udp6"
    } else {
        "cat /proc/net/udp"
    });
    let port = format!(":{PORT:04X}");
    let rows = table.lines().map(|line| line.split_whitespace().collect());
    let mut rows = rows.filter(|row: &Vec<&str>| row.get(1).is_some_and(|at| at.ends_with(&port)));
    let row = rows.next().unwrap_or_else(|| panic!("no socket: {table}"));
    row.last().unwrap().parse().unwrap()
}

#[test]
fn a_family_that_always_has_a_turns_worth_does_not_keep_the_other_waiting() {
    for flooded in [false, true] {
        let [one, two] = &nodes_with(Underlay::Both, 1, ForwardOptions::default());
        let flood = Flood::new(two, one, flooded);
        let other = !flooded;
        let receiver = one.udp((one.pod(other), 9000));
        let target = receiver.local_addr().unwrap();
        receiver.set_read_timeout(Some(MOST / 2)).unwrap();
        let sender = two.udp((two.pod(other), 0));
        let over = AtomicBool::new(false);
        let starved = thread::scope(|scope| {
            scope.spawn(|| flood.run(&over));
            let starved = (0..10).find(|number| {
                let (before, start) = (overflows(one, flooded), Instant::now());
                while overflows(one, flooded) == before {
                    assert!(start.elapsed() < MOST, "it takes all that comes");
                }
                // A full buffer is some hundred thousand packets.
                sender.send_to(&[*number], target).unwrap();
                receiver.recv(&mut [0; 9]).is_err()
            });
            over.store(true, Ordering::Relaxed);
            starved
        });
        assert_eq!(
            starved,
            None,
            "a flood over {}",
            if flooded { "IPv6" } else { "IPv4" }
        );
    }
}
