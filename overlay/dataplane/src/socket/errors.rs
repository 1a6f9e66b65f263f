//! ICMP errors about datagrams that were sent, from the socket's error queue (ip(7), `IP_RECVERR`).

use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};

use super::address::address;

/// An ICMP error about a datagram to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnderlayError {
    /// The MTU of the path, in bytes with the IP header.
    TooBig(u32),
    /// The port is closed, or there is no route to the host.
    Unreachable,
}

/// Whether a call failed for an ICMP error about an earlier datagram, which Linux reports by the next call on the socket:
/// the numbers of `icmp_err_convert` and `icmpv6_err_convert`.
pub(super) fn is_pending_error(errno: Errno) -> bool {
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

/// The next message of a socket's error queue, and the datagram's destination.
pub(super) fn next_error(fd: BorrowedFd<'_>) -> Option<(SocketAddr, UnderlayError)> {
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
            let too_big = error.ee_errno == libc::EMSGSIZE as u32;
            let error = if too_big {
                UnderlayError::TooBig(error.ee_info)
            } else {
                UnderlayError::Unreachable
            };
            return Some((to, error));
        }
    }
}
