//! Receives one message, which may be several datagrams of one sender that the kernel has joined.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, RecvMsg, SockaddrStorage, recvmsg};

use super::address::address;
use super::errors::is_pending_error;
use super::sending::Control;

/// Datagrams that have come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Their sender.
    pub from: SocketAddr,
    /// Bytes in all.
    pub len: usize,
    /// Bytes of each but the last.
    pub size: usize,
}

/// None when there is nothing at the moment. Datagrams longer than `buffer` are lost.
pub(super) fn receive(fd: &OwnedFd, buffer: &mut [u8]) -> io::Result<Option<Received>> {
    let mut control = Control([0; 24]);
    let flags = MsgFlags::MSG_DONTWAIT;
    let message = loop {
        let mut parts = [IoSliceMut::new(buffer)];
        let fd = fd.as_raw_fd();
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
            // About an earlier datagram; the error queue has it too, with the address.
            Err(errno) if is_pending_error(errno) => {}
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

fn segment_size(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Option<usize> {
    message.cmsgs().ok()?.find_map(|message| match message {
        ControlMessageOwned::UdpGroSegments(size) => usize::try_from(size).ok(),
        _ => None,
    })
}
