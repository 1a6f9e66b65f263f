//! What the kernel refuses to do for us. Here it refuses messages of several datagrams because the sockets are
//! UDP-Lite's: Linux cuts them for UDP alone, and says EIO (seen with 6.18), as it does with IPsec, and as older ones do
//! where an interface computes no checksums (`udp_send_skb` in net/ipv4/udp.c).

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{SockaddrStorage, bind};
use tracing::span;
use tweed_dataplane::socket::{Port, Sent, Socket};
use tweed_forward::options::ForwardOptions;
use tweed_netlink::lab::ip;

use crate::lab::{PORT, Underlay, nodes_on, transfer};
use crate::unexpected;

fn udp_lite(addr: SocketAddr) -> OwnedFd {
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    #[expect(unsafe_code, reason = "nix does not know this protocol")]
    // SAFETY: a system call with numbers; the descriptor that it gives is ours alone.
    let fd = unsafe {
        let fd = libc::socket(libc::AF_INET, kind, libc::IPPROTO_UDPLITE);
        OwnedFd::from_raw_fd(Errno::result(fd).unwrap())
    };
    bind(fd.as_raw_fd(), &SockaddrStorage::from(addr)).unwrap();
    fd
}

/// Puts another open file in the place of a socket's.
fn exchange(socket: &Socket, other: &impl AsFd) {
    let place = socket.receiver();
    let (other, place) = (other.as_fd().as_raw_fd(), place.as_raw_fd());
    #[expect(unsafe_code, reason = "the place of an open file belongs to its owner")]
    // SAFETY: both are open, and the owner of the place goes on using it as a socket of datagrams, which it still is.
    let result = unsafe { libc::dup3(other, place, libc::O_CLOEXEC) };
    Errno::result(result).unwrap();
}

fn make_lite(socket: &Socket, addr: SocketAddr) {
    exchange(socket, &udp_lite(addr));
}

/// Counts warnings.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicUsize>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }

    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

fn here(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// A namespace of this thread's own, with this MTU of the loopback device.
fn enter(mtu: u16) {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    ip(&format!("link set lo mtu {mtu} up"));
}

/// What has come, datagram by datagram.
fn datagrams(receiver: &UdpSocket, count: usize) -> Vec<Vec<u8>> {
    receiver
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let mut buffer = [0; 9000];
    let mut one = || {
        let len = receiver.recv(&mut buffer).unwrap();
        buffer[..len].to_vec()
    };
    (0..count).map(|_| one()).collect()
}

/// Sends two datagrams of a size and a shorter one, in two parts.
fn send(socket: &mut Socket, size: usize) -> Sent {
    let whole = [vec![1; size], vec![2; size]].concat();
    let parts = [&whole[..], &[3; 7]].map(std::io::IoSlice::new);
    socket.send(here(PORT), &parts, size).unwrap()
}

#[test]
fn what_the_kernel_refuses_for_good_is_tried_once_and_told_once() {
    enter(1500);
    let mut socket = Socket::bind(here(0), Port::Alone).unwrap();
    let plain = socket.receiver();
    let plain = plain.try_clone_to_owned().unwrap();
    make_lite(&socket, here(0));
    let (udp, lite) = (UdpSocket::bind(here(PORT)).unwrap(), udp_lite(here(PORT)));
    let sent = [vec![1; 1000], vec![2; 1000], vec![3; 7]];
    assert!(socket.sends_segments());
    let warnings = Warnings::default();
    tracing::subscriber::with_default(warnings.clone(), || {
        for _ in 0..3 {
            assert_eq!(send(&mut socket, 1000), Sent::OneByOne);
            assert!(!socket.sends_segments());
        }
        let came = datagrams(&UdpSocket::from(lite), 9);
        assert!(came.chunks(3).all(|came| came == sent));
        // This one would be taken whole: it is no longer tried.
        exchange(&socket, &plain);
        assert_eq!(send(&mut socket, 1000), Sent::OneByOne);
        assert_eq!(datagrams(&udp, 3), sent);
    });
    assert_eq!(warnings.0.load(Ordering::Relaxed), 1);
}

#[test]
fn what_is_too_big_for_one_path_is_tried_again_on_the_next() {
    enter(1280);
    let mut socket = Socket::bind(here(0), Port::Alone).unwrap();
    let receiver = UdpSocket::bind(here(PORT)).unwrap();
    let sizes = [
        (1252, Sent::Whole),
        (1253, Sent::Narrow),
        (1252, Sent::Whole),
        (4000, Sent::Narrow),
        (100, Sent::Whole),
    ];
    for (size, sent) in sizes {
        assert_eq!(send(&mut socket, size), sent, "{size}");
        assert!(socket.sends_segments());
        assert_eq!(
            datagrams(&receiver, 3),
            [vec![1; size], vec![2; size], vec![3; 7]]
        );
    }
}

#[test]
fn what_the_kernel_remembers_of_a_path_counts_only_as_long_as_it_is_heeded() {
    enter(1500);
    ip("route replace local 127.0.0.1 dev lo table local mtu 1000");
    let mut socket = Socket::bind(here(0), Port::Alone).unwrap();
    let receiver = UdpSocket::bind(here(PORT)).unwrap();
    assert_eq!(socket.path_mtu(here(PORT)).unwrap(), 1000);
    let large = [7; 1472];
    for (heed, size, sent) in [
        (true, 1400, Sent::Narrow),
        (false, 1400, Sent::Whole),
        // Too big for the interface.
        (false, 1473, Sent::Narrow),
        (true, 972, Sent::Whole),
    ] {
        socket.use_path_mtu(heed);
        assert_eq!(send(&mut socket, size), sent, "{size}, {heed}");
        let whole = [vec![1; size], vec![2; size], vec![3; 7]];
        assert_eq!(datagrams(&receiver, 3), whole, "{size}, {heed}");
        socket.send_whole(here(PORT), &large).unwrap();
        assert_eq!(datagrams(&receiver, 1), [large.to_vec()]);
        let too_large = socket.send_whole(here(PORT), &[7; 1473]).unwrap_err();
        assert_eq!(too_large.raw_os_error(), Some(libc::EMSGSIZE));
    }
}

#[test]
fn pods_talk_where_the_kernel_takes_no_several_datagrams_at_once() {
    let [one, two] = &nodes_on(Underlay::V4, 1, ForwardOptions::default(), make_lite);
    for v6 in [false, true] {
        transfer(one, two, v6, 5000, 4 << 20);
        transfer(two, one, v6, 5001, 4 << 20);
    }
    for node in [one, two] {
        let report = node.worker().report();
        let counters = report.counters;
        assert_eq!(unexpected(node), []);
        assert_eq!((counters.send_errors, counters.write_errors), (0, 0));
        assert!(!report.offloads.send, "{report:?}");
        assert!(counters.sent_singly > 100, "{counters:?}");
        let sent = counters.sent;
        assert!(
            sent.packets > 5000 && sent.calls == sent.packets,
            "{sent:?}"
        );
        // The device still takes them joined.
        let delivered = counters.delivered;
        assert!(report.offloads.tcp && delivered.calls < delivered.packets);
    }
}

/// Sends without checksums, for which the kernel cuts nothing either. It calls that an argument that makes no sense
/// (EINVAL), as some kernels do what is too big (seen with Linux 6.18).
fn leave_checksums_out(socket: &Socket, _: SocketAddr) {
    let yes: libc::c_int = 1;
    #[expect(unsafe_code, reason = "nix does not know this option")]
    // SAFETY: the kernel reads a number of the length that is said.
    let result = unsafe {
        libc::setsockopt(
            socket.receiver().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NO_CHECK,
            (&raw const yes).cast(),
            size_of_val(&yes) as libc::socklen_t,
        )
    };
    Errno::result(result).unwrap();
}

#[test]
fn a_kernel_that_does_not_say_why_is_asked_a_few_times_and_no_more() {
    let [one, two] = &nodes_on(
        Underlay::V4,
        1,
        ForwardOptions::default(),
        leave_checksums_out,
    );
    transfer(one, two, false, 5000, 4 << 20);
    let report = one.worker().report();
    let counters = report.counters;
    assert!(!report.offloads.send, "{report:?}");
    assert_eq!((counters.send_errors, unexpected(one)), (0, vec![]));
    let sent = counters.sent;
    assert!(
        sent.packets > 2000 && sent.calls == sent.packets,
        "{sent:?}"
    );
    // The path is as wide as it was said to be.
    assert_eq!(report.table.peers()[0].mtu, 1472);
}
