//! A UDP socket that sends and receives many datagrams in one system call (`UDP_SEGMENT`, Linux 4.18, and `UDP_GRO`,
//! Linux 5.0; `linux/udp.h`).

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt};
use tweed_model::Family;

use super::address::address_family;
use super::errors::{UnderlayError, next_error};
use super::joined::Joined;
use super::path_mtu::{MtuDiscovery, path_mtu};
use super::receiving::{Received, receive};
use super::sending::send;
use super::shared::{bind_sender, share_by_sender};

/// Receive buffer in bytes: 10 ms at 10 Gbit/s. The default loses packets at every burst.
const RECEIVE_BUFFER: usize = 16 << 20;
/// Send buffer in bytes: some tens of super-packets.
const SEND_BUFFER: usize = 4 << 20;
/// How long a turn may wait for room in the send buffer. While it waits nothing is read from the device, whose queue then
/// drops, to which TCP adapts. What finds no room after that is lost.
const MAX_WAIT: Duration = Duration::from_millis(20);
/// Refusals in a row after which a kernel is sent no more messages of several datagrams, whatever reason it gives.
const REFUSALS: u8 = 8;
/// How often a datagram must be refused as too big: the first refusals may be about an earlier one.
const ATTEMPTS: usize = 4;

/// A bound socket, and another to send from where several share the port: its source port tells the receiving host which
/// worker it was.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sender: Option<OwnedFd>,
    family: Family,
    discovery: MtuDiscovery,
    /// Whether the kernel is given messages of several datagrams.
    segments: bool,
    /// How many of them in a row it has called too big for a path that had room.
    refusals: u8,
    /// Whether the kernel joins what comes, and whether that came whole.
    joined: Joined,
    /// How long this turn may still wait for room in the send buffer.
    wait: Duration,
}

/// How a port is shared by the sockets of several workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// It is this socket's alone.
    Alone,
    /// So many workers share it, and this is that of a number. They are bound in their order, from 0 on.
    Shared {
        /// From 0 on.
        number: u8,
        /// The workers of the port.
        of: u8,
    },
}

/// How a message went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// In one system call.
    Whole,
    /// A datagram at a time, since the kernel takes no more at once.
    OneByOne,
    /// A datagram at a time, since they are too big for the path as it is known now.
    Narrow,
}

impl Socket {
    /// A socket bound to an address and port.
    ///
    /// # Errors
    /// When the address is not ours or the port is taken.
    pub fn bind(addr: SocketAddr, port: Port) -> io::Result<Self> {
        let fd = open(addr)?;
        if port != Port::Alone {
            setsockopt(&fd, sockopt::ReusePort, &true)?;
        }
        // Beyond the host's limit, which needs NET_ADMIN; else up to it.
        if setsockopt(&fd, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            setsockopt(&fd, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
        }
        bind(fd.as_raw_fd(), &SockaddrStorage::from(addr))?;
        if let Port::Shared { number: 0, of } = port {
            share_by_sender(&fd, Family::of(&addr.ip()), addr.port(), of)?;
        }
        let sender = match port {
            Port::Alone | Port::Shared { number: 0, .. } => None,
            Port::Shared { number, .. } => {
                let sender = bind_sender(|| open(addr), addr, number)?;
                // What comes there is never read.
                setsockopt(&sender, sockopt::RcvBuf, &0)?;
                Some(sender)
            }
        };
        Ok(Self::with_offloads(fd, sender, addr))
    }

    /// A bound socket with the offloads that the kernel has.
    pub(super) fn with_offloads(fd: OwnedFd, sender: Option<OwnedFd>, addr: SocketAddr) -> Self {
        let joined = Joined::start(&fd);
        // A kernel without this would send a message as one datagram.
        let segments = setsockopt(&fd, sockopt::UdpGsoSegment, &0).is_ok();
        let family = Family::of(&addr.ip());
        Self {
            discovery: MtuDiscovery::of(sender.as_ref().unwrap_or(&fd), family),
            fd,
            sender,
            family,
            segments,
            refusals: 0,
            joined,
            wait: MAX_WAIT,
        }
    }

    /// Whether several datagrams go out in one system call. Off for good once the kernel has refused for a reason that
    /// stays, such as an interface that computes no checksums.
    pub fn sends_segments(&self) -> bool {
        self.segments
    }

    /// Whether several datagrams come in one system call.
    pub(crate) fn receives_segments(&self) -> bool {
        self.joined.is_on()
    }

    /// Where datagrams come.
    pub fn receiver(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Where datagrams are sent from, if it is another one. Only its error queue is read. An epoll
    /// that waited for more than errors would return at once for ever, after the first datagram of a stranger.
    pub fn sender(&self) -> Option<BorrowedFd<'_>> {
        self.sender.as_ref().map(AsFd::as_fd)
    }

    /// A turn begins, which may wait for room again.
    pub(crate) fn begin_turn(&mut self) {
        self.wait = MAX_WAIT;
    }

    /// Whether this turn has waited as long as it may.
    pub(crate) fn is_out_of_time(&self) -> bool {
        self.wait.is_zero()
    }

    /// Sends `parts` as datagrams of `size` bytes, the last may be shorter, as many as a
    /// [`Message`](tweed_forward::gather::Message) has. Each part ends where a datagram ends. A datagram that is too big for the
    /// path is fragmented by the kernel, which it does not do for several at once.
    ///
    /// # Errors
    /// The last error, when any of them was not sent.
    pub fn send(&mut self, to: SocketAddr, parts: &[IoSlice<'_>], size: usize) -> io::Result<Sent> {
        self.send_by(to, parts, size, self.segments)
    }

    /// Does the same with a system call for each.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub(crate) fn send_one_by_one(
        &mut self,
        to: SocketAddr,
        parts: &[IoSlice<'_>],
        size: usize,
    ) -> io::Result<Sent> {
        self.send_by(to, parts, size, false)
    }

    fn send_by(
        &mut self,
        to: SocketAddr,
        parts: &[IoSlice<'_>],
        size: usize,
        together: bool,
    ) -> io::Result<Sent> {
        let to = SockaddrStorage::from(to);
        if let [part] = parts
            && part.len() <= size
        {
            return Ok(self.send_one(&to, *part)?);
        }
        let mut sent = Sent::OneByOne;
        if together {
            let fd = self.sender.as_ref().unwrap_or(&self.fd);
            match send(fd, &to, parts, Some(size as u16), &mut self.wait) {
                Ok(()) => {
                    self.refusals = 0;
                    return Ok(Sent::Whole);
                }
                // Too big for the path; older kernels say so with EINVAL. The next path may be wider.
                Err(Errno::EMSGSIZE | Errno::EINVAL) => sent = Sent::Narrow,
                // By an interface without checksum offload.
                Err(Errno::EIO) => give_up(&mut self.segments),
                Err(errno) => return Err(errno.into()),
            }
        }
        let mut last = Ok(sent);
        for datagram in parts.iter().flat_map(|part| part.chunks(size)) {
            match self.send_one(&to, IoSlice::new(datagram)) {
                Ok(Sent::Narrow) if last.is_ok() => last = Ok(Sent::Narrow),
                Ok(_) => {}
                Err(errno) => last = Err(errno.into()),
            }
        }
        last
    }

    fn send_one(&mut self, to: &SockaddrStorage, datagram: IoSlice<'_>) -> Result<Sent, Errno> {
        let mut again = false;
        loop {
            let fd = self.sender.as_ref().unwrap_or(&self.fd);
            match send(fd, to, &[datagram], None, &mut self.wait) {
                Err(errno) if self.falls_back(errno) => again = true,
                Ok(()) if again => return Ok(Sent::Narrow),
                result => return result.map(|()| Sent::Whole),
            }
        }
    }

    /// A message was [`Narrow`](Sent::Narrow), though the path's MTU is unchanged. A kernel that goes on like that takes
    /// no such messages at all.
    pub(crate) fn count_refusal(&mut self) {
        self.refusals = self.refusals.saturating_add(1);
        if self.segments && self.refusals >= REFUSALS {
            give_up(&mut self.segments);
        }
    }

    /// Sends one datagram in one piece, whatever the kernel remembers of the path.
    ///
    /// # Errors
    /// `EMSGSIZE` when the interface is too narrow; otherwise as [`send`](Self::send).
    pub fn send_whole(&mut self, to: SocketAddr, datagram: &[u8]) -> io::Result<()> {
        self.use_path_mtu(false);
        let to = SockaddrStorage::from(to);
        let fd = self.sender.as_ref().unwrap_or(&self.fd);
        let mut result = Ok(());
        // An ICMP error about an earlier datagram looks the same, each once.
        for _ in 0..ATTEMPTS {
            let parts = [IoSlice::new(datagram)];
            let mut wait = Duration::ZERO;
            result = send(fd, &to, &parts, None, &mut wait);
            if result != Err(Errno::EMSGSIZE) {
                break;
            }
        }
        Ok(result?)
    }

    /// Receives what has come from one sender at once. None when there is nothing at the moment. Datagrams longer than
    /// `buffer` are lost.
    ///
    /// # Errors
    /// When the socket does not work.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        receive(&self.fd, buffer)
    }

    /// The next ICMP error about a datagram of this socket, and its destination. None when that was all.
    pub(crate) fn next_error(&self) -> Option<(SocketAddr, UnderlayError)> {
        let all = [Some(self.receiver()), self.sender()];
        all.into_iter().flatten().find_map(next_error)
    }

    /// From now on datagrams go by what the kernel remembers of a path, or in one piece whatever it remembers. Costs nothing
    /// if it is so already.
    #[inline]
    pub fn use_path_mtu(&mut self, enable: bool) {
        if self.discovery.is_on() != enable {
            self.switch_discovery(enable);
        }
    }

    #[cold]
    fn switch_discovery(&mut self, enable: bool) {
        let fd = self.sender.as_ref().unwrap_or(&self.fd);
        self.discovery.switch(enable, fd, self.family);
    }

    /// Whether a datagram was refused that goes by the interface's MTU alone: then it goes by the kernel's memory again.
    fn falls_back(&mut self, errno: Errno) -> bool {
        let falls_back = errno == Errno::EMSGSIZE && !self.discovery.is_on();
        if falls_back {
            self.switch_discovery(true);
        }
        falls_back
    }

    /// The MTU of the path to an address, as the kernel knows it: that of the route, or less.
    ///
    /// # Errors
    /// When there is no way there.
    pub fn path_mtu(&self, to: SocketAddr) -> io::Result<u32> {
        path_mtu(self.family, to)
    }

    /// Leaves out what the self-test found to be wrong with this kernel.
    pub(super) fn leave_out(&mut self, segments: bool, joined: bool) {
        self.segments &= !segments;
        if joined {
            self.joined.switch(false, &self.fd);
        }
    }

    /// A message of joined datagrams has come from a peer, and whether it held something that is no packet.
    #[inline]
    pub(crate) fn came_joined(&mut self, damaged: bool, now: Duration) {
        self.joined.came(damaged, now, &self.fd);
    }

    /// Whether datagrams come one by one since they came damaged when joined.
    pub fn joined_damaged(&self) -> bool {
        self.joined.is_damaged()
    }

    /// Asks the kernel to join datagrams again, if it is time.
    pub(crate) fn join_again(&mut self, now: Duration) {
        self.joined.again(now, &self.fd);
    }

    /// Its descriptors: where datagrams come, and where they are sent from if that is another one.
    pub(super) fn into_parts(self) -> (OwnedFd, Option<OwnedFd>) {
        (self.fd, self.sender)
    }
}

fn give_up(segments: &mut bool) {
    *segments = false;
    tracing::warn!(
        "the uplink takes no several datagrams at once; they are sent one by one from now on"
    );
}

fn open(addr: SocketAddr) -> io::Result<OwnedFd> {
    let family = Family::of(&addr.ip());
    let kind = SockType::Datagram;
    let fd = socket(address_family(family), kind, SockFlag::SOCK_CLOEXEC, None)?;
    match family {
        Family::V4 => setsockopt(&fd, sockopt::Ipv4RecvErr, &true)?,
        Family::V6 => {
            setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
            setsockopt(&fd, sockopt::Ipv6RecvErr, &true)?;
        }
    }
    if setsockopt(&fd, sockopt::SndBufForce, &SEND_BUFFER).is_err() {
        setsockopt(&fd, sockopt::SndBuf, &SEND_BUFFER)?;
    }
    // An IPv6 address that is new can't be bound to for a second or two (duplicate address detection).
    setsockopt(&fd, sockopt::IpFreebind, &true)?;
    Ok(fd)
}
