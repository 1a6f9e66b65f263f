//! What the underlay says of datagrams that were sent: ICMP errors, from the socket's error queue (ip(7), `IP_RECVERR`).

use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg};

use super::address;

/// What the underlay says of datagrams to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// The path takes so many bytes at once, IP header included.
    Narrow(u32),
    /// Nobody listens there, or there is no way.
    Refused,
}

/// Whether a call failed for what had happened to another datagram: what ICMP errors become (`icmp_err_convert`,
/// `icmpv6_err_convert`).
pub(super) fn is_fate(errno: Errno) -> bool {
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

/// The next message of a socket's error queue, and to whom the datagram was.
pub(super) fn complaint(fd: BorrowedFd<'_>) -> Option<(SocketAddr, Complaint)> {
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
