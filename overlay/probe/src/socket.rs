//! Sockets that take nothing but echo replies, and send each packet whole or not at all. Those that are meant for it need
//! no right but that the agent's group is in `net.ipv4.ping_group_range` (icmp(7)), where systemd puts every group; raw
//! sockets need `CAP_NET_RAW`.

use std::io;
use std::net::{IpAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6,
    SockaddrStorage, recvfrom, sendto, setsockopt, socket,
};
use nix::{setsockopt_impl, sockopt_impl};
use tweed_host::path_mtu;
use tweed_model::Family;

use crate::echo;

/// linux/icmp.h, linux/icmpv6.h.
const ICMP_FILTER: libc::c_int = 1;
const ICMP6_FILTER: libc::c_int = 1;

sockopt_impl!(
    /// Bits of the kinds that are not wanted.
    IcmpFilter,
    SetOnly,
    libc::SOL_RAW,
    ICMP_FILTER,
    u32
);
sockopt_impl!(
    /// The same of ICMPv6 (RFC 3542, section 3.2).
    Icmp6Filter,
    SetOnly,
    libc::IPPROTO_ICMPV6,
    ICMP6_FILTER,
    [u32; 8]
);

/// `ICMP_ECHOREPLY`, and that of ICMPv6.
const REPLY: u32 = 0;
const REPLY6: usize = 129;

pub(crate) struct EchoSocket {
    fd: OwnedFd,
    pub(crate) family: Family,
    /// What it gives has the header of IPv4.
    header: bool,
}

impl EchoSocket {
    pub(crate) fn open(family: Family) -> io::Result<Self> {
        let (domain, protocol) = match family {
            Family::V4 => (AddressFamily::Inet, SockProtocol::Icmp),
            Family::V6 => (AddressFamily::Inet6, SockProtocol::IcmpV6),
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let of = |kind| socket(domain, kind, flags, protocol);
        let (fd, raw) = match of(SockType::Datagram) {
            Ok(fd) => (fd, false),
            Err(_) => (of(SockType::Raw)?, true),
        };
        match family {
            Family::V4 if raw => setsockopt(&fd, IcmpFilter, &!(1 << REPLY))?,
            Family::V6 if raw => {
                let mut filter = [u32::MAX; 8];
                filter[REPLY6 / 32] &= !(1 << (REPLY6 % 32));
                setsockopt(&fd, Icmp6Filter, &filter)?;
            }
            // The kernel gives it the replies to its own requests.
            Family::V4 | Family::V6 => {}
        }
        path_mtu::set_discovery(&fd, family == Family::V6, libc::IP_PMTUDISC_PROBE)?;
        let header = raw && family == Family::V4;
        Ok(Self { fd, family, header })
    }

    pub(crate) fn send(&self, to: IpAddr, packet: &[u8]) -> io::Result<()> {
        let fd = self.fd.as_raw_fd();
        let none = MsgFlags::empty();
        match to {
            IpAddr::V4(to) => {
                let to = SockaddrIn::from(SocketAddrV4::new(to, 0));
                sendto(fd, packet, &to, none)?
            }
            IpAddr::V6(to) => {
                let to = SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, 0));
                sendto(fd, packet, &to, none)?
            }
        };
        Ok(())
    }

    /// The next message, and where it came from; none if there is none.
    pub(crate) fn receive<'a>(&self, buffer: &'a mut [u8]) -> Option<(&'a [u8], IpAddr)> {
        let (length, from) = recvfrom::<SockaddrStorage>(self.fd.as_raw_fd(), buffer).ok()?;
        let from = from?;
        let v4 = from.as_sockaddr_in().map(|addr| IpAddr::V4(addr.ip()));
        let v6 = from.as_sockaddr_in6().map(|addr| IpAddr::V6(addr.ip()));
        let packet = &buffer[..length.min(buffer.len())];
        let icmp = match self.header {
            true => echo::without_header(packet).unwrap_or_default(),
            false => packet,
        };
        Some((icmp, v4.or(v6)?))
    }
}

impl AsFd for EchoSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
