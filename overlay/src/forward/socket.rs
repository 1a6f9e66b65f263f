//! The UDP socket of the underlay: many datagrams in one system call, both ways (`UDP_SEGMENT`, Linux 4.18, and
//! `UDP_GRO`, Linux 5.0; `linux/udp.h`).

use std::io::{self, IoSliceMut};
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, SockaddrLike,
    SockaddrStorage, bind, recvmsg, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

/// Receive buffer in bytes: 10 ms at 10 Gbit/s. The default loses packets at every burst.
const RECEIVE_BUFFER: usize = 16 << 20;
/// Send buffer in bytes: some tens of super-packets.
const SEND_BUFFER: usize = 4 << 20;
/// How long a send may wait for room in the send buffer, in microseconds. While it waits nothing is read from the
/// device, whose queue then drops, which TCP understands.
const PATIENCE: i64 = 20_000;

/// The most datagrams of one message (`UDP_MAX_SEGMENTS` before Linux 6.9).
pub const MOST_SEGMENTS: usize = 64;
/// The longest message in bytes: what one datagram of IPv4 could carry.
pub const MOST_BYTES: usize = 65_507;

/// A bound socket.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    /// Whether the kernel has taken every message of several datagrams so far.
    segments: bool,
}

/// How a message went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// In one system call.
    Whole,
    /// A datagram at a time, since the kernel did not take it whole.
    Singly,
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
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        let family = if addr.is_ipv4() {
            AddressFamily::Inet
        } else {
            AddressFamily::Inet6
        };
        let fd = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        if addr.is_ipv6() {
            setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
        }
        // Beyond the host's limit, which needs NET_ADMIN; else up to it.
        if setsockopt(&fd, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
            setsockopt(&fd, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
        }
        if setsockopt(&fd, sockopt::SndBufForce, &SEND_BUFFER).is_err() {
            setsockopt(&fd, sockopt::SndBuf, &SEND_BUFFER)?;
        }
        setsockopt(&fd, sockopt::SendTimeout, &TimeVal::new(0, PATIENCE))?;
        // A kernel without it gives each datagram by itself.
        let _ = setsockopt(&fd, sockopt::UdpGroSegment, &true);
        bind(fd.as_raw_fd(), &SockaddrStorage::from(addr))?;
        Ok(Self { fd, segments: true })
    }

    /// Whether several datagrams go out in one system call. Off for good once the kernel has refused for a reason that
    /// stays, such as an interface that computes no checksums.
    pub fn sends_segments(&self) -> bool {
        self.segments
    }

    /// Sends `bytes` as datagrams of `size` bytes, the last may be shorter: at most [`MOST_SEGMENTS`] and
    /// [`MOST_BYTES`]. A datagram that is too big for the path is fragmented by the kernel, which it does not do for
    /// several at once.
    ///
    /// # Errors
    /// The last error, when any of them was not sent.
    pub fn send(&mut self, to: SocketAddr, bytes: &[u8], size: usize) -> io::Result<Sent> {
        let to = SockaddrStorage::from(to);
        if bytes.len() <= size {
            send(&self.fd, &to, bytes, None)?;
            return Ok(Sent::Whole);
        }
        if self.segments {
            match send(&self.fd, &to, bytes, Some(size as u16)) {
                Ok(()) => return Ok(Sent::Whole),
                // Too big for the path; older kernels say so with EINVAL. The next path may be wider.
                Err(Errno::EMSGSIZE | Errno::EINVAL) => {}
                // By an interface without checksum offload.
                Err(Errno::EIO) => self.segments = false,
                Err(errno) => return Err(errno.into()),
            }
        }
        let mut sent = Ok(Sent::Singly);
        for datagram in bytes.chunks(size) {
            if let Err(errno) = send(&self.fd, &to, datagram, None) {
                sent = Err(errno.into());
            }
        }
        sent
    }

    /// Receives what has come from one sender at once. None when there is nothing at the moment. Datagrams longer than
    /// `buffer` are lost.
    ///
    /// # Errors
    /// When the socket does not work.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        let mut control = Control([0; 24]);
        let mut parts = [IoSliceMut::new(buffer)];
        let fd = self.fd.as_raw_fd();
        let flags = MsgFlags::MSG_DONTWAIT;
        let message = match recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut control.0), flags)
        {
            Ok(message) => message,
            Err(Errno::EAGAIN) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let len = if message.flags.contains(MsgFlags::MSG_TRUNC) {
            0
        } else {
            message.bytes
        };
        let size = message.cmsgs().ok().and_then(|mut messages| {
            messages.find_map(|message| match message {
                ControlMessageOwned::UdpGroSegments(size) => usize::try_from(size).ok(),
                _ => None,
            })
        });
        let from = message.address.as_ref().and_then(address);
        let from = from.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        let size = size.filter(|size| *size > 0).unwrap_or(len);
        Ok(Some(Received { from, len, size }))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
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

/// One `sendmsg`. nix has it too, but takes memory for every control message.
fn send(fd: &OwnedFd, to: &SockaddrStorage, bytes: &[u8], size: Option<u16>) -> Result<(), Errno> {
    let mut part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let mut control = Control([0; 24]);
    #[expect(unsafe_code, reason = "sendmsg without an allocation")]
    // SAFETY: a header of zeroes is a valid one. All it points to lives until the end of this function: the address,
    // the one part, which is only read, and the control message, which has room for what is written (24 bytes for a
    // header of 16 and a number of 2).
    let result = unsafe {
        let mut message: libc::msghdr = mem::zeroed();
        message.msg_name = to.as_ptr().cast_mut().cast();
        message.msg_namelen = to.len();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
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
