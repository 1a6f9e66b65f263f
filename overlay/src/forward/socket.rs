//! The UDP socket of the underlay: many datagrams in one system call, both ways (`UDP_SEGMENT`, Linux 4.18, and
//! `UDP_GRO`, Linux 5.0; `linux/udp.h`).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, RecvMsg, SockFlag, SockType, SockaddrLike,
    SockaddrStorage, bind, connect, getsockopt, recvmsg, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use crate::model::Family;

/// Receive buffer in bytes: 10 ms at 10 Gbit/s. The default loses packets at every burst.
const RECEIVE_BUFFER: usize = 16 << 20;
/// Send buffer in bytes: some tens of super-packets.
const SEND_BUFFER: usize = 4 << 20;
/// How long a send may wait for room in the send buffer, in microseconds. While it waits nothing is read from the
/// device, whose queue then drops, which TCP understands.
const PATIENCE: i64 = 20_000;

/// A bound socket, and another to send from where several share the port: the receiving host spreads flows by their
/// source port.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sender: Option<OwnedFd>,
    family: Family,
    /// Whether the kernel has taken every message of several datagrams so far.
    segments: bool,
    gro: bool,
}

/// How a port is shared by the sockets of several workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// It is this socket's alone.
    Alone,
    /// It is shared; this socket sends from it.
    First,
    /// It is shared; this socket sends from another one.
    Further,
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

/// What the underlay says of datagrams to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// The path takes so many bytes at once, IP header included.
    Narrow(u32),
    /// Nobody listens there, or there is no way.
    Refused,
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
        // A kernel without it gives each datagram by itself.
        let gro = setsockopt(&fd, sockopt::UdpGroSegment, &true).is_ok();
        bind(fd.as_raw_fd(), &SockaddrStorage::from(addr))?;
        let sender = match port {
            Port::Alone | Port::First => None,
            Port::Further => {
                let sender = open(addr)?;
                bind(
                    sender.as_raw_fd(),
                    &SockaddrStorage::from(SocketAddr::new(addr.ip(), 0)),
                )?;
                Some(sender)
            }
        };
        Ok(Self {
            fd,
            sender,
            family: Family::of(&addr.ip()),
            segments: true,
            gro,
        })
    }

    /// Whether several datagrams go out in one system call. Off for good once the kernel has refused for a reason that
    /// stays, such as an interface that computes no checksums.
    pub fn sends_segments(&self) -> bool {
        self.segments
    }

    /// Whether several datagrams come in one system call.
    pub fn receives_segments(&self) -> bool {
        self.gro
    }

    /// What to wait for.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        [Some(&self.fd), self.sender.as_ref()]
            .into_iter()
            .flatten()
            .map(AsFd::as_fd)
    }

    /// Sends `parts` as datagrams of `size` bytes, the last may be shorter, as many as a
    /// [`Message`](super::gather::Message) has. Each part ends where a datagram ends. A datagram that is too big for the
    /// path is fragmented by the kernel, which it does not do for several at once.
    ///
    /// # Errors
    /// The last error, when any of them was not sent.
    pub fn send(&mut self, to: SocketAddr, parts: &[IoSlice<'_>], size: usize) -> io::Result<Sent> {
        let to = SockaddrStorage::from(to);
        let fd = self.sender.as_ref().unwrap_or(&self.fd);
        if let [part] = parts
            && part.len() <= size
        {
            send(fd, &to, parts, None)?;
            return Ok(Sent::Whole);
        }
        let mut sent = Sent::Singly;
        if self.segments {
            match send(fd, &to, parts, Some(size as u16)) {
                Ok(()) => return Ok(Sent::Whole),
                // Too big for the path; older kernels say so with EINVAL. The next path may be wider.
                Err(Errno::EMSGSIZE | Errno::EINVAL) => sent = Sent::Narrow,
                // By an interface without checksum offload.
                Err(Errno::EIO) => {
                    self.segments = false;
                    tracing::warn!(
                        "the uplink takes no several datagrams at once; they are sent one by one from now on"
                    );
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        let mut last = Ok(sent);
        for datagram in parts.iter().flat_map(|part| part.chunks(size)) {
            if let Err(errno) = send(fd, &to, &[IoSlice::new(datagram)], None) {
                last = Err(errno.into());
            }
        }
        last
    }

    /// The MTU of the path to an address, as the kernel knows it: that of the route, or less.
    ///
    /// # Errors
    /// When there is no way there.
    pub fn path_mtu(&self, to: SocketAddr) -> io::Result<u32> {
        let probe = socket(
            address_family(self.family),
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        connect(probe.as_raw_fd(), &SockaddrStorage::from(to))?;
        let mtu = match self.family {
            Family::V4 => getsockopt(&probe, sockopt::IpMtu)?,
            Family::V6 => ipv6_mtu(&probe)?,
        };
        u32::try_from(mtu).map_err(io::Error::other)
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
    pub fn complaint(&self) -> Option<(SocketAddr, Complaint)> {
        self.descriptors().find_map(complaint)
    }
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
    setsockopt(&fd, sockopt::SendTimeout, &TimeVal::new(0, PATIENCE))?;
    Ok(fd)
}

fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

/// Whether a call failed for what had happened to another datagram: what ICMP errors become (`icmp_err_convert`,
/// `icmpv6_err_convert`).
fn is_fate(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::ECONNREFUSED
            | Errno::EHOSTUNREACH
            | Errno::ENETUNREACH
            | Errno::EHOSTDOWN
            | Errno::ENONET
            | Errno::ENOPROTOOPT
            | Errno::EOPNOTSUPP
            | Errno::EPROTO
            | Errno::EACCES
            | Errno::EMSGSIZE
    )
}

fn segment_size(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Option<usize> {
    message.cmsgs().ok()?.find_map(|message| match message {
        ControlMessageOwned::UdpGroSegments(size) => usize::try_from(size).ok(),
        _ => None,
    })
}

fn complaint(fd: BorrowedFd<'_>) -> Option<(SocketAddr, Complaint)> {
    let mut control = [0; 128];
    let mut start = [0; 64];
    loop {
        let mut parts = [IoSliceMut::new(&mut start)];
        let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
        let message =
            recvmsg::<SockaddrStorage>(fd.as_raw_fd(), &mut parts, Some(&mut control), flags)
                .ok()?;
        let error = message.cmsgs().ok()?.find_map(|message| match message {
            ControlMessageOwned::Ipv4RecvErr(error, _)
            | ControlMessageOwned::Ipv6RecvErr(error, _) => Some(error),
            _ => None,
        });
        let to = message.address.as_ref().and_then(address);
        if let (Some(error), Some(to)) = (error, to) {
            let narrow = error.ee_errno == libc::EMSGSIZE as u32;
            let complaint = if narrow {
                Complaint::Narrow(error.ee_info)
            } else {
                Complaint::Refused
            };
            return Some((to, complaint));
        }
    }
}

/// The MTU of the path of a connected socket (`IPV6_MTU`), which nix has for IPv4 alone.
fn ipv6_mtu(fd: &OwnedFd) -> Result<i32, Errno> {
    let mut mtu: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    #[expect(unsafe_code, reason = "nix has no IPV6_MTU")]
    // SAFETY: the kernel writes a number of the length that is said, and the length.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_IPV6,
            libc::IPV6_MTU,
            (&raw mut mtu).cast(),
            &raw mut len,
        )
    };
    Errno::result(result).map(|_| mtu)
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

/// Room for a control message with one number, aligned as one: a header of 16 bytes and 8.
#[repr(C, align(8))]
struct Control([u8; 24]);

/// Sends, and once more if what failed was another datagram.
fn send(
    fd: &OwnedFd,
    to: &SockaddrStorage,
    parts: &[IoSlice<'_>],
    size: Option<u16>,
) -> Result<(), Errno> {
    match send_message(fd, to, parts, size) {
        Err(errno) if is_fate(errno) => send_message(fd, to, parts, size),
        result => result,
    }
}

/// One `sendmsg`. nix has it too, but takes memory for every control message.
fn send_message(
    fd: &OwnedFd,
    to: &SockaddrStorage,
    parts: &[IoSlice<'_>],
    size: Option<u16>,
) -> Result<(), Errno> {
    let mut control = Control([0; 24]);
    #[expect(unsafe_code, reason = "sendmsg without an allocation")]
    // SAFETY: a header of zeroes is a valid one. All it points to lives until the end of this function: the address,
    // the parts, which are only read, and the control message, which has room for what is written (24 bytes for a
    // header of 16 and a number of 2).
    let result = unsafe {
        let mut message: libc::msghdr = mem::zeroed();
        message.msg_name = to.as_ptr().cast_mut().cast();
        message.msg_namelen = to.len();
        // The standard library guarantees a slice of these to be what the kernel expects.
        message.msg_iov = parts.as_ptr().cast_mut().cast();
        message.msg_iovlen = parts.len() as _;
        if let Some(size) = size {
            message.msg_control = (&raw mut control).cast();
            message.msg_controllen = libc::CMSG_SPACE(size_of::<u16>() as u32) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_UDP;
            (*header).cmsg_type = libc::UDP_SEGMENT;
            (*header).cmsg_len = libc::CMSG_LEN(size_of::<u16>() as u32) as _;
            libc::CMSG_DATA(header).cast::<u16>().write_unaligned(size);
        }
        libc::sendmsg(fd.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL)
    };
    Errno::result(result).map(drop)
}
