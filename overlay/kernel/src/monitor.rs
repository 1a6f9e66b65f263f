//! Listens to the kernel: a thread of its own that says "look again" when something of ours may have changed, and
//! nothing more. What has changed is for the next dump to find out.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use netlink_packet_core::NetlinkHeader;
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use netlink_sys::{Socket, SocketAddr};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};
use tweed_netlink::{Answer, Frames, link_or_address};

use super::ledger::Ledger;
use super::{Event, Linux, notice};

/// `RTNLGRP_LINK`, `RTNLGRP_NEIGH`, `RTNLGRP_IPV4_IFADDR`, `RTNLGRP_IPV4_ROUTE`, `RTNLGRP_IPV6_IFADDR`,
/// `RTNLGRP_IPV6_ROUTE`, `RTNLGRP_IPV4_NETCONF`, `RTNLGRP_IPV6_NETCONF`. Forwarding entries come with the neighbours.
const ROUTE_GROUPS: [u32; 8] = [1, 3, 5, 7, 9, 11, 24, 25];
/// `RTNLGRP_NEXTHOP`, since Linux 5.3. When an object goes, its routes go without a notification of their own.
const NEXTHOP_GROUP: u32 = 32;
/// `NFNLGRP_NFTABLES`.
const NFTABLES_GROUP: u32 = 7;
/// `RTM_NEWLINK` and `RTM_DELLINK`.
const LINK_MESSAGES: [u16; 2] = [16, 17];

/// Socket buffer in bytes: the echo of some thousand operations, each counted by the kernel as about 1 KiB.
const RECEIVE_BUFFER: usize = 8 * 1024 * 1024;
const DATAGRAM: usize = 64 * 1024;
/// Notifications come in bursts: they are left to gather for so long, milliseconds, and read in one go.
const GATHER: u16 = 5;

/// The running thread. Ends when dropped.
#[derive(Debug)]
pub struct Monitor {
    stop: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Monitor {
    /// Listens in the namespace of the calling thread, which is to be that of `linux`, from now on. Judges by the scope
    /// of the last observation: before the first, nothing concerns us. Changes that `linux` makes are not reported.
    ///
    /// # Errors
    /// When sockets or thread can't be had.
    pub fn start(linux: &Linux, tell: impl FnMut(Event) + Send + 'static) -> io::Result<Self> {
        let (stop, end) = UnixStream::pair()?;
        let route = listen(NETLINK_ROUTE, &ROUTE_GROUPS)?;
        // A kernel without nexthop objects has no such group.
        let _ = route.add_membership(NEXTHOP_GROUP);
        let mut listener = Listener {
            end,
            route,
            // A kernel without nftables has nothing to tell.
            netfilter: listen(NETLINK_NETFILTER, &[NFTABLES_GROUP]).ok(),
            ledger: Arc::clone(&linux.ledger),
            route_port: linux.netlink.port(),
            netfilter_port: linux.firewall.port(),
            buffer: vec![0; DATAGRAM],
            tell,
        };
        let thread = thread::Builder::new()
            .name("monitor".to_owned())
            .spawn(move || listener.run())?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Ends the thread at once and waits for it.
    pub fn stop(self) {}
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // The other end is open as long as the thread runs; if it doesn't, there is nothing to wake.
        let _ = self.stop.shutdown(Shutdown::Both);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn listen(protocol: isize, groups: &[u32]) -> io::Result<Socket> {
    let mut socket = Socket::new(protocol)?;
    socket.bind(&SocketAddr::new(0, 0))?;
    // The forced form needs privilege; the other is cut at a system-wide limit.
    if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        socket.set_rx_buf_sz(i32::try_from(RECEIVE_BUFFER).unwrap_or(i32::MAX))?;
    }
    for group in groups {
        socket.add_membership(*group)?;
    }
    Ok(socket)
}

struct Listener<T> {
    end: UnixStream,
    route: Socket,
    netfilter: Option<Socket>,
    ledger: Arc<Ledger>,
    /// Port numbers of the sockets that make our own changes: notifications that bear one are echoes.
    route_port: u32,
    netfilter_port: Option<u32>,
    buffer: Vec<u8>,
    tell: T,
}

/// What a batch of notifications amounts to.
#[derive(Clone, Copy, Default)]
struct News {
    dirty: bool,
    attached: bool,
    host: bool,
    uplink: bool,
}

impl<T: FnMut(Event)> Listener<T> {
    fn run(&mut self) {
        while self.wait() {
            let mut news = News::default();
            let (ledger, port) = (&self.ledger, self.route_port);
            drain(&self.route, &mut self.buffer, &mut news, |frame, news| {
                route_notice(ledger, port, frame, news);
            });
            if let Some(netfilter) = &self.netfilter {
                let port = self.netfilter_port;
                drain(netfilter, &mut self.buffer, &mut news, |frame, news| {
                    firewall_notice(ledger, port, frame, news);
                });
            }
            if news.uplink {
                (self.tell)(Event::Uplink);
            }
            if news.dirty || news.uplink {
                (self.tell)(Event::Dirty);
            }
            if news.attached {
                (self.tell)(Event::Attached);
            }
            if news.host {
                (self.tell)(Event::Host);
            }
        }
    }

    /// Sleeps until there is something to read; `false` when it is time to end.
    fn wait(&self) -> bool {
        let sockets = [Some(&self.route), self.netfilter.as_ref()];
        let sockets = sockets.into_iter().flatten().map(AsFd::as_fd);
        let mut fds: Vec<PollFd<'_>> = std::iter::once(self.end.as_fd())
            .chain(sockets)
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        let gathered = [
            poll(&mut fds, PollTimeout::NONE),
            poll(&mut fds[..1], PollTimeout::from(GATHER)),
        ];
        for result in gathered {
            match result {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => {
                    tracing::error!(%error, "the kernel monitor ends");
                    return false;
                }
            }
        }
        // Nothing is ever written to this socket: it becomes readable when the other end is shut down.
        fds[0].any() == Some(false)
    }
}

/// Reads what is there. Notifications that were lost because they came faster than they were read count as news of
/// every kind.
fn drain(
    socket: &Socket,
    buffer: &mut [u8],
    news: &mut News,
    mut judge: impl FnMut((&NetlinkHeader, &[u8]), &mut News),
) {
    loop {
        match socket.recv(&mut &mut *buffer, libc::MSG_DONTWAIT | libc::MSG_TRUNC) {
            Ok(length) => {
                let Some(datagram) = buffer.get(..length) else {
                    news.dirty = true;
                    continue;
                };
                for frame in Frames::new(datagram) {
                    match frame {
                        Ok((header, Answer::Message(payload))) => judge((&header, payload), news),
                        Ok(_) => {}
                        Err(_) => news.dirty = true,
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                *news = News {
                    dirty: true,
                    attached: true,
                    host: true,
                    uplink: true,
                };
                if error.raw_os_error() != Some(libc::ENOBUFS) {
                    tracing::warn!(%error, "listening to the kernel");
                    // Whatever it is, it must not make us spin.
                    thread::sleep(Duration::from_millis(100));
                    return;
                }
            }
        }
    }
}

fn route_notice(
    ledger: &Ledger,
    own_port: u32,
    (header, payload): (&NetlinkHeader, &[u8]),
    news: &mut News,
) {
    let kind = header.message_type;
    let echo = header.port_number == own_port;
    let mut books = ledger.lock();
    // Our own echoes are no news. Links are read even so, since what follows is sorted by their indexes, and what leads
    // to routed containers, since what was put back may be taken again.
    if echo && !LINK_MESSAGES.contains(&kind) {
        books.places.judge_raw(kind, payload);
        return;
    }
    let event = if notice::READ_RAW.contains(&kind) {
        news.attached |= books.places.judge_raw(kind, payload);
        notice::judge_raw(&books, kind, payload)
    } else {
        let Some(message) = link_or_address(kind, payload) else {
            return;
        };
        news.attached |= books.places.judge(&message) && !echo;
        notice::judge(&mut books, echo, message)
    };
    match event {
        Some(Event::Dirty) => news.dirty = true,
        Some(Event::Attached) => news.attached = true,
        Some(Event::Host) => news.host = true,
        Some(Event::Uplink) => news.uplink = true,
        None => {}
    }
}

fn firewall_notice(
    ledger: &Ledger,
    own_port: Option<u32>,
    (header, payload): (&NetlinkHeader, &[u8]),
    news: &mut News,
) {
    if own_port != Some(header.port_number) {
        let kind = header.message_type;
        news.dirty |= notice::concerns_firewall(&ledger.lock(), kind, payload);
        news.attached |= notice::concerns_attachments(kind, payload);
    }
}
