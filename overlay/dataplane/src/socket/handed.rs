//! A socket that goes from one process to the next, with what has come meanwhile.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{SockType, SockaddrStorage, getsockname, getsockopt, sockopt};

use super::address::address;
use super::datagrams::{Port, Socket};
use super::shared::tells;

/// The descriptors of a [`Socket`].
#[derive(Debug)]
pub struct SocketFds {
    /// Receives.
    pub receiver: OwnedFd,
    /// Sends, where that is another socket.
    pub sender: Option<OwnedFd>,
}

impl Socket {
    /// Gives its descriptors away.
    pub fn into_fds(self) -> SocketFds {
        let (receiver, sender) = self.into_parts();
        SocketFds { receiver, sender }
    }

    /// Takes what another process has bound, if it is what [`bind`](Self::bind) would give. The sockets of a shared port
    /// must have been bound in the order of their numbers, as many as there are now.
    pub fn adopt(fds: SocketFds, addr: SocketAddr, port: Port) -> Option<Self> {
        let SocketFds { receiver, sender } = fds;
        let is_shared = getsockopt(&receiver, sockopt::ReusePort).ok()?;
        if bound_to(&receiver).ok()? != addr || is_shared != (port != Port::Alone) {
            return None;
        }
        match (port, &sender) {
            (Port::Alone | Port::Shared { number: 0, .. }, None) => {}
            (Port::Shared { number, .. }, Some(sender)) if number > 0 => {
                let from = bound_to(sender).ok()?;
                if from.ip() != addr.ip() || tells(from.port(), addr.port()) != number {
                    return None;
                }
            }
            _ => return None,
        }
        Some(Self::with_offloads(receiver, sender, addr))
    }
}

/// Where a UDP socket is bound to.
fn bound_to(fd: &OwnedFd) -> io::Result<SocketAddr> {
    if getsockopt(fd, sockopt::SockType)? != SockType::Datagram {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let name = getsockname::<SockaddrStorage>(fd.as_raw_fd())?;
    address(&name).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn local(port: u16) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, port).into()
    }

    fn free() -> SocketAddr {
        let socket = std::net::UdpSocket::bind(local(0)).unwrap();
        socket.local_addr().unwrap()
    }

    fn shared(number: u8) -> Port {
        Port::Shared { number, of: 2 }
    }

    #[test]
    fn what_has_come_is_there_for_the_next_one() {
        let addr = free();
        let fds = Socket::bind(addr, Port::Alone).unwrap().into_fds();
        let peer = std::net::UdpSocket::bind(local(0)).unwrap();
        peer.send_to(b"for the next one", addr).unwrap();
        let socket = Socket::adopt(fds, addr, Port::Alone).unwrap();
        let mut buffer = [0; 64];
        let received = socket.receive(&mut buffer).unwrap().unwrap();
        assert_eq!(&buffer[..received.len], b"for the next one");
        assert_eq!(received.from, peer.local_addr().unwrap());
    }

    #[test]
    fn only_the_same_is_taken() {
        let addr = free();
        let bind = |port| Socket::bind(addr, port).unwrap().into_fds();
        let adopted = |fds, addr, port| Socket::adopt(fds, addr, port).is_some();
        assert!(!adopted(bind(Port::Alone), free(), Port::Alone));
        assert!(!adopted(bind(Port::Alone), addr, shared(0)));
        assert!(!adopted(bind(shared(0)), addr, Port::Alone));
        let (first, second) = (bind(shared(0)), bind(shared(1)));
        assert!(!adopted(second, addr, shared(0)), "it sends from elsewhere");
        let third = bind(shared(1));
        assert!(adopted(first, addr, shared(0)));
        assert!(adopted(third, addr, shared(1)));
    }

    #[test]
    fn something_else_is_no_socket() {
        let (stream, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        for receiver in [
            OwnedFd::from(stream),
            std::fs::File::open("/dev/null").unwrap().into(),
        ] {
            let fds = SocketFds {
                receiver,
                sender: None,
            };
            assert!(Socket::adopt(fds, free(), Port::Alone).is_none());
        }
    }
}
