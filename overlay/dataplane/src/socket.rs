//! The UDP socket of the underlay: many datagrams in one system call, both ways (`UDP_SEGMENT`, Linux 4.18, and
//! `UDP_GRO`, Linux 5.0; `linux/udp.h`).

mod complaint;
mod handed;
mod joined;
pub mod loopback;
mod path_mtu;
mod sending;
mod shared;

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, RecvMsg, SockFlag, SockType, SockaddrStorage,
    bind, recvmsg, setsockopt, socket, sockopt,
};

pub use self::complaint::Complaint;
use self::complaint::{complaint, is_fate};
pub use self::handed::SocketFds;
use tweed_model::Family;

use self::joined::Joined;
use self::path_mtu::Heeds;
use self::sending::{Control, send};
use self::shared::{bind_sender, share_by_sender};

/// Receive buffer in bytes: 10 ms at 10 Gbit/s. The default loses packets at every burst.
const RECEIVE_BUFFER: usize = 16 << 20;
/// Send buffer in bytes: some tens of super-packets.
const SEND_BUFFER: usize = 4 << 20;
/// How long a turn may wait for room in the send buffer. While it waits nothing is read from the device, whose queue then
/// drops, which TCP understands. What finds no room after that is lost.
const PATIENCE: Duration = Duration::from_millis(20);
/// Refusals in a row after which a kernel is believed to take no messages of several datagrams, whatever reason it gives.
const REFUSALS: u8 = 8;
/// How often a datagram is called too big before that is believed.
const ATTEMPTS: usize = 4;

/// A bound socket, and another to send from where several share the port: its source port tells the receiving host which
/// worker it was.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sender: Option<OwnedFd>,
    family: Family,
    heeds: Heeds,
    /// Whether the kernel is given messages of several datagrams.
    segments: bool,
    /// How many of them in a row it has called too big for a path that had room.
    refusals: u8,
    gro: bool,
    /// What is joined by the kernel comes whole, or has not.
    joined: Joined,
    /// How long this turn may still wait.
    patience: Duration,
}

/// How a port is shared by the sockets of several workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// It is this socket's alone.
    Alone,
    /// So many workers share it, and this is that of a number. They are bound in their order, from 0 on.
    Shared {
        /// Which one.
        number: u8,
        /// How many there are.
        of: u8,
    },
}

/// How a message went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// In one system call.
    Whole,
    /// A datagram at a time, since the kernel takes no more at once.
    Singly,
    /// A datagram at a time, since they are too big for the path as it is known now.
    Narrow,
}

/// Datagrams that have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Who sent them.
    pub from: SocketAddr,
    /// Bytes in all.
    pub len: usize,
    /// Bytes of each but the last.
    pub size: usize,
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
                // Whatever comes there nobody reads.
                setsockopt(&sender, sockopt::RcvBuf, &0)?;
                Some(sender)
            }
        };
        Ok(Self::with_offloads(fd, sender, addr))
    }

    /// Asks for as much as the kernel has.
    fn with_offloads(fd: OwnedFd, sender: Option<OwnedFd>, addr: SocketAddr) -> Self {
        // A kernel without it gives each datagram by itself.
        let gro = setsockopt(&fd, sockopt::UdpGroSegment, &true).is_ok();
        // One without this would send a message as one datagram.
        let segments = setsockopt(&fd, sockopt::UdpGsoSegment, &0).is_ok();
        let family = Family::of(&addr.ip());
        Self {
            heeds: Heeds::of(sender.as_ref().unwrap_or(&fd), family),
            fd,
            sender,
            family,
            segments,
            refusals: 0,
            gro,
            joined: Joined::default(),
            patience: PATIENCE,
        }
    }

    /// Whether several datagrams go out in one system call. Off for good once the kernel has refused for a reason that
    /// stays, such as an interface that computes no checksums.
    pub fn sends_segments(&self) -> bool {
        self.segments
    }

    /// Whether several datagrams come in one system call.
    pub(crate) fn receives_segments(&self) -> bool {
        self.gro
    }

    /// Where datagrams come.
    pub fn receiver(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Where datagrams are sent from, if it is another one. Nothing is read there but what the underlay says of them: who
    /// waits for more than errors is woken for ever by the first stranger's datagram.
    pub fn sender(&self) -> Option<BorrowedFd<'_>> {
        self.sender.as_ref().map(AsFd::as_fd)
    }

    /// A turn begins.
    pub(crate) fn be_patient(&mut self) {
        self.patience = PATIENCE;
    }

    /// Whether this turn has waited as long as it may.
    pub(crate) fn has_no_patience(&self) -> bool {
        self.patience.is_zero()
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
    pub(crate) fn send_singly(
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
        let mut sent = Sent::Singly;
        if together {
            let fd = self.sender.as_ref().unwrap_or(&self.fd);
            match send(fd, &to, parts, Some(size as u16), &mut self.patience) {
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
            match send(fd, to, &[datagram], None, &mut self.patience) {
                Err(errno) if self.gives_in(errno) => again = true,
                Ok(()) if again => return Ok(Sent::Narrow),
                result => return result.map(|()| Sent::Whole),
            }
        }
    }

    /// A message was [`Narrow`](Sent::Narrow), but the path is as wide as was believed. A kernel that goes on like that takes
    /// no such messages at all.
    pub(crate) fn refused_in_vain(&mut self) {
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
        self.heed_path_mtu(false);
        let to = SockaddrStorage::from(to);
        let fd = self.sender.as_ref().unwrap_or(&self.fd);
        let mut result = Ok(());
        // An ICMP error about an earlier datagram looks the same, each once.
        for _ in 0..ATTEMPTS {
            let parts = [IoSlice::new(datagram)];
            let mut patience = Duration::ZERO;
            result = send(fd, &to, &parts, None, &mut patience);
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
        let mut control = Control([0; 24]);
        let flags = MsgFlags::MSG_DONTWAIT;
        let message = loop {
            let mut parts = [IoSliceMut::new(buffer)];
            let fd = self.fd.as_raw_fd();
            match recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut control.0), flags) {
                Ok(message) => {
                    break (
                        message.address,
                        message.bytes,
                        message.flags,
                        segment_size(&message),
                    );
                }
                Err(Errno::EAGAIN) => return Ok(None),
                // An earlier datagram's fate, told once; the error queue has more of it.
                Err(errno) if is_fate(errno) => {}
                Err(errno) => return Err(errno.into()),
            }
        };
        let (from, len, flags, size) = message;
        let len = if flags.contains(MsgFlags::MSG_TRUNC) {
            0
        } else {
            len
        };
        let from = from.as_ref().and_then(address);
        let from = from.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        let size = size.filter(|size| *size > 0).unwrap_or(len);
        Ok(Some(Received { from, len, size }))
    }

    /// The next of what the underlay said of datagrams sent by this socket, and to whom they were. None when that was
    /// all.
    pub(crate) fn complaint(&self) -> Option<(SocketAddr, Complaint)> {
        let all = [Some(self.receiver()), self.sender()];
        all.into_iter().flatten().find_map(complaint)
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

fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

fn segment_size(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Option<usize> {
    message.cmsgs().ok()?.find_map(|message| match message {
        ControlMessageOwned::UdpGroSegments(size) => usize::try_from(size).ok(),
        _ => None,
    })
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage
        .as_sockaddr_in()
        .map(|addr| (IpAddr::V4(addr.ip()), addr.port()));
    let v6 = || {
        storage
            .as_sockaddr_in6()
            .map(|addr| (IpAddr::V6(addr.ip()), addr.port()))
    };
    v4.or_else(v6).map(SocketAddr::from)
}
