//! Sockets with the options that make a probe one.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::timeout;
use tweed_host::path_mtu;

/// Segments of a connection that carries questions and answers. Every IPv4 and IPv6 path takes them, so that a path that
/// swallows large packets does not swallow the news of it.
const SMALL_SEGMENT: u32 = 536;

/// Which segments a connection uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segments {
    /// Such as pass everywhere.
    Small,
    /// As large as the MTU that the kernel has for the path.
    Full,
}

/// Connects, within a time limit.
pub async fn connect(to: SocketAddr, segments: Segments, limit: Duration) -> io::Result<TcpStream> {
    let socket = match to {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    if segments == Segments::Small {
        // This end announces it, so that the other end keeps to it too.
        setsockopt(&socket, sockopt::TcpMaxSeg, &SMALL_SEGMENT)?;
    }
    let stream = timeout(limit, socket.connect(to))
        .await
        .map_err(|_| io::Error::new(ErrorKind::TimedOut, format!("no answer in {limit:?}")))??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A UDP socket to one address whose datagrams leave in one packet or not at all, whatever the kernel remembers of the
/// path's MTU.
pub async fn unfragmented(to: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    path_mtu::set_discovery(&socket, to.is_ipv6(), libc::IP_PMTUDISC_PROBE)?;
    socket.connect(to).await?;
    Ok(socket)
}

/// The MTU of the path of a connected socket, as the kernel has it: the interface's, or what a router said.
pub fn known_mtu(socket: &UdpSocket) -> Option<u32> {
    let v6 = socket.peer_addr().ok()?.is_ipv6();
    path_mtu::known(socket, v6).ok()
}
