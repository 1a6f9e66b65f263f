//! Sockets with the options that make a probe one.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use nix::libc;
use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use nix::{getsockopt_impl, setsockopt_impl, sockopt_impl};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::timeout;

/// Segments of a connection that carries questions and answers. Every IPv4 and IPv6 path takes them, so that a path that
/// swallows large packets does not swallow the news of it.
const SMALL_SEGMENT: u32 = 536;

sockopt_impl!(
    /// `IP_MTU_DISCOVER`.
    MtuDiscover,
    SetOnly,
    libc::IPPROTO_IP,
    libc::IP_MTU_DISCOVER,
    libc::c_int
);
sockopt_impl!(
    /// `IPV6_MTU_DISCOVER`.
    Ipv6MtuDiscover,
    SetOnly,
    libc::IPPROTO_IPV6,
    libc::IPV6_MTU_DISCOVER,
    libc::c_int
);
sockopt_impl!(
    /// `IPV6_MTU`.
    Ipv6Mtu,
    GetOnly,
    libc::IPPROTO_IPV6,
    libc::IPV6_MTU,
    libc::c_int
);

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
    match to {
        SocketAddr::V4(_) => setsockopt(&socket, MtuDiscover, &libc::IP_PMTUDISC_PROBE)?,
        SocketAddr::V6(_) => {
            setsockopt(&socket, Ipv6MtuDiscover, &libc::IPV6_PMTUDISC_PROBE)?;
            setsockopt(&socket, sockopt::Ipv6DontFrag, &true)?;
        }
    }
    socket.connect(to).await?;
    Ok(socket)
}

/// The MTU of the path of a connected socket, as the kernel has it: the interface's, or what a router said.
pub fn path_mtu(socket: &UdpSocket) -> Option<u32> {
    let mtu = match socket.peer_addr().ok()? {
        SocketAddr::V4(_) => getsockopt(socket, sockopt::IpMtu),
        SocketAddr::V6(_) => getsockopt(socket, Ipv6Mtu),
    };
    mtu.ok()?.try_into().ok()
}
