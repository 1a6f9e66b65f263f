//! The data plane takes no memory per packet: this program's allocator counts, and the count must not move while
//! packets are decided on, cut, joined, fragmented, gathered and answered; and not in the threads of running workers
//! either, on the real kernel (that test needs root).
#![allow(clippy::unwrap_used, reason = "a test says what it expects")]

// The nodes of the kernel tests, which need more of them than this one does.
#[path = "forward/lab.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod lab;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{IpAddr, SocketAddr};

use tweed_forward::coalesce::Coalescer;
use tweed_forward::decide::{Inbound, Outbound, Trust, inbound, outbound};
use tweed_forward::fragment::fragment;
use tweed_forward::gather::{Flows, Gather};
use tweed_forward::icmp::{self, IcmpError};
use tweed_forward::packet::Packet;
use tweed_forward::split::{Packets, split};
use tweed_forward::table::{Peer, Table};
use tweed_forward::virtio::{Offload, Super};
use tweed_model::Dual;

struct Counting;

thread_local! {
    static TAKEN: Cell<u64> = const { Cell::new(0) };
}

#[expect(
    unsafe_code,
    reason = "GlobalAlloc is an unsafe trait; this one only counts"
)]
// SAFETY: everything is the system allocator's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(place, layout) }
    }
}

fn count() {
    TAKEN.set(TAKEN.get() + 1);
    running::count();
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations by this thread while `work` ran.
fn taken(work: impl FnOnce()) -> u64 {
    let before = TAKEN.get();
    work();
    TAKEN.get() - before
}

/// A node with a thousand peers.
fn table() -> Table {
    let peer = |n: u32| {
        let [.., high, low] = n.to_be_bytes();
        let addr = IpAddr::from([192, 0, high, low]);
        Peer {
            endpoint: SocketAddr::new(addr, 8285),
            addresses: Dual::of_addrs([addr]),
            subnets: Dual::of_nets([format!("10.{}.{low}.0/24", 43 + high).parse().unwrap()]),
            mtu: 1472,
        }
    };
    let own = Dual::of_nets(["10.42.1.0/24".parse().unwrap()]);
    Table::new(own, (0..1000).map(peer).collect())
}

/// A UDP datagram in an IPv4 packet without "don't fragment", and its checksums, as Linux would send it.
fn datagram(from: [u8; 4], to: [u8; 4], id: u16, payload: usize) -> Vec<u8> {
    let sum = |bytes: &[u8]| {
        let words = bytes.chunks(2);
        let words =
            words.map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)));
        let sum: u32 = words.sum();
        let sum = (sum >> 16) + (sum & 0xffff);
        (!((sum >> 16) + sum) as u16).to_be_bytes()
    };
    let len = 8 + payload as u16;
    let [high, low] = len.to_be_bytes();
    let mut udp = vec![0x9c, 0x40, 0x01, 0xbb, high, low, 0, 0];
    udp.resize(8 + payload, 5);
    let pseudo = [&from[..], &to, &[0, 17, high, low], &udp].concat();
    udp[6..8].copy_from_slice(&sum(&pseudo));
    let mut header = vec![0x45, 0];
    header.extend((20 + len).to_be_bytes());
    header.extend(id.to_be_bytes());
    header.extend([0, 0, 64, 17, 0, 0]);
    header.extend(from);
    header.extend(to);
    let checksum = sum(&header);
    header[10..12].copy_from_slice(&checksum);
    [header, udp].concat()
}

#[test]
fn the_counter_counts() {
    assert_eq!(taken(|| drop(Box::new(1))), 1);
}

#[test]
fn towards_a_peer_nothing_is_allocated() {
    let table = table();
    let mut bytes = datagram([10, 42, 1, 2], [10, 44, 7, 9], 1, 30_000);
    let mut out = vec![0; 1 << 16];
    let mut error = [0; icmp::MOST_V4];
    let count = taken(|| {
        let decision = outbound(&table, &Offload::None, &bytes);
        let Outbound::Fragment(mut packet, peer) = decision else {
            panic!("{decision:?}");
        };
        packet.decrement_hop_limit(&mut bytes);
        let segments = split(&packet, &bytes, Super::Udp, 1400, &mut out).unwrap();
        assert_eq!(segments.count(), 22);
        let mtu = table.peer(peer).mtu;
        let fragments = fragment(&packet, &bytes, mtu, &mut out).unwrap();
        assert_eq!(fragments.iter().count(), 21);
        let from = [10, 42, 1, 0].into();
        let told = IcmpError::TooBig { mtu };
        assert!(icmp::write(told, &packet, &bytes, from, &mut error).is_some());
    });
    assert_eq!(count, 0);
}

#[test]
fn what_is_gathered_for_peers_takes_nothing_from_the_first_message_on() {
    let table = table();
    let (mut messages, mut packets) = (0, 0);
    // Of many flows, to several peers, of several sizes, in turns.
    let mixed: Vec<Vec<u8>> = (0..250)
        .map(|n: u16| {
            datagram(
                [10, 42, 1, 2],
                [10, 44, 7, (n % 50) as u8],
                n,
                50 * usize::from(n % 20),
            )
        })
        .collect();
    let mut gather = Gather::new(1 << 18);
    let count = taken(|| {
        for _ in 0..4 {
            for bytes in &mixed {
                let packet = Packet::parse(bytes).unwrap();
                let peer = table.lookup(packet.destination).unwrap();
                let flows = Flows::of(&packet, bytes);
                let mut drain = |gather: &mut Gather| {
                    gather.drain(|message| {
                        messages += 1;
                        packets += message.count;
                    });
                };
                if gather.room(bytes.len()).is_none() {
                    drain(&mut gather);
                }
                gather.room(bytes.len()).unwrap()[..bytes.len()].copy_from_slice(bytes);
                let (size, len) = (bytes.len(), bytes.len());
                if gather.add(peer, flows, Packets { size, len }) {
                    drain(&mut gather);
                }
            }
        }
        gather.drain(|message| packets += message.count);
    });
    assert_eq!((count, packets), (0, 1000));
    assert!(messages > 10, "{messages}");
}

#[test]
fn from_a_peer_nothing_is_allocated_from_the_first_batch_on() {
    let table = table();
    let sender = [192, 0, 1, 7].into();
    let of_flow = |flow: u8| move |id| datagram([10, 44, 7, flow], [10, 42, 1, 2], id, 100);
    let flows = (0..50).flat_map(|flow| (0..20).map(of_flow(flow)));
    let packets: Vec<Vec<u8>> = flows.collect();
    let len = packets[0].len();
    let mut buffer = packets.concat();
    let mut coalescer = Coalescer::new(packets.len(), 1);
    let count = taken(|| {
        for start in (0..buffer.len()).step_by(len) {
            let bytes = &buffer[start..start + len];
            let Inbound::Deliver(packet, _) = inbound(&table, Trust::Subnets, sender, bytes) else {
                panic!("not delivered: {:?}", Packet::parse(bytes));
            };
            assert!(coalescer.push(&buffer, start, &packet));
        }
        coalescer.seal(&mut buffer);
        let bytes: usize = coalescer
            .packets()
            .flat_map(|(_, pieces)| pieces)
            .map(|piece| piece.len())
            .sum();
        assert_eq!(bytes, 50 * (28 + 20 * 100));
        assert_eq!(coalescer.len(), 50);
        coalescer.clear();
    });
    assert_eq!(count, 0);
}

/// Workers on the real kernel: two nodes in namespaces, a device and a socket each.
mod running {
    use std::sync::atomic::{AtomicU64, Ordering};

    use crate::lab::{Underlay, nodes, transfer};

    /// Allocations by all workers' threads.
    static BY_WORKERS: AtomicU64 = AtomicU64::new(0);

    /// Counts an allocation if the thread is a worker's: by its name, which the kernel tells without allocating.
    pub(super) fn count() {
        let mut name = [0_u8; 16];
        #[expect(
            unsafe_code,
            reason = "the standard library's name of a thread may not be there yet"
        )]
        // SAFETY: the kernel writes a name of 16 bytes at most.
        let result = unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
        if result == 0 && name.starts_with(b"forward\0") {
            BY_WORKERS.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_worker_carries_thousands_of_packets_without_taking_memory() {
        let nodes = nodes(Underlay::V4);
        let [one, two] = &nodes;
        let carry = |port: u16| {
            for v6 in [false, true] {
                for (from, to) in [(one, two), (two, one)] {
                    transfer(from, to, v6, port, 8 << 20);
                    // Small ones, fragments, and such as are answered with an error.
                    let pod = to.pod(v6);
                    from.sh(&format!("ping -n -q -f -c 500 -w 10 {pod}"));
                    from.sh(&format!("ping -n -q -c 20 -i 0.01 -W 5 -s 20000 {pod}"));
                    assert!(
                        !from
                            .tries(&format!("ping -n -q -c 3 -i 0.01 -W 1 -t 1 {pod}"))
                            .0
                    );
                }
            }
        };
        let reports = || nodes.each_ref().map(|node| node.worker().report());
        let before = reports();
        // The workers took their buffers, and have told what they counted, which takes memory.
        assert!(BY_WORKERS.load(Ordering::Relaxed) > 10);
        let taken = BY_WORKERS.load(Ordering::Relaxed);
        carry(5000);
        let taken = BY_WORKERS.load(Ordering::Relaxed) - taken;
        for (before, after) in before.iter().zip(reports()) {
            let (before, after) = (before.counters, after.counters);
            for (before, after) in [
                (before.sent, after.sent),
                (before.delivered, after.delivered),
            ] {
                assert!(after.packets - before.packets > 10_000, "{after:?}");
                assert!(after.calls - before.calls < after.packets - before.packets);
            }
            assert!(after.answers > before.answers, "{after:?}");
        }
        assert_eq!(taken, 0);
    }
}
