//! What the kernel knows of the paths' MTUs, and whether a socket goes by it (ip(7), `IP_MTU_DISCOVER`).

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    SockFlag, SockType, SockaddrStorage, connect, getsockopt, setsockopt, socket, sockopt,
};
use nix::{getsockopt_impl, setsockopt_impl, sockopt_impl};
use tweed_model::Family;

use super::{Socket, address_family};

sockopt_impl!(
    /// `IP_MTU_DISCOVER`.
    MtuDiscover,
    Both,
    libc::IPPROTO_IP,
    libc::IP_MTU_DISCOVER,
    libc::c_int
);
sockopt_impl!(
    /// `IPV6_MTU_DISCOVER`.
    Ipv6MtuDiscover,
    Both,
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

/// Whether datagrams are sent by what the kernel remembers of a path: it fragments those that are larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heeds {
    /// How the socket does it by itself: `IP_PMTUDISC_WANT` mostly, or what `net.ipv4.ip_no_pmtu_disc` says.
    usual: libc::c_int,
    now: bool,
}

impl Heeds {
    /// As a socket is opened. One that was left by another process may be otherwise.
    pub(super) fn of(fd: &OwnedFd, family: Family) -> Self {
        let set = match family {
            Family::V4 => getsockopt(fd, MtuDiscover),
            Family::V6 => getsockopt(fd, Ipv6MtuDiscover),
        };
        let usual = match set {
            Ok(usual) if usual != libc::IP_PMTUDISC_PROBE => usual,
            _ => libc::IP_PMTUDISC_WANT,
        };
        let heeds = Self { usual, now: true };
        let _ = heeds.apply(fd, family); // It is that already, mostly.
        heeds
    }

    fn apply(self, fd: &OwnedFd, family: Family) -> Result<(), Errno> {
        // Both families have the same numbers.
        let how = if self.now {
            self.usual
        } else {
            libc::IP_PMTUDISC_PROBE
        };
        match family {
            Family::V4 => setsockopt(fd, MtuDiscover, &how),
            Family::V6 => {
                setsockopt(fd, sockopt::Ipv6DontFrag, &!self.now)?;
                setsockopt(fd, Ipv6MtuDiscover, &how)
            }
        }
    }
}

impl Socket {
    /// From now on datagrams go by what the kernel remembers of a path, or in one piece whatever it remembers. Costs nothing
    /// if it is so already.
    #[inline]
    pub fn heed_path_mtu(&mut self, heed: bool) {
        if self.heeds.now != heed {
            self.switch(heed);
        }
    }

    #[cold]
    fn switch(&mut self, heed: bool) {
        let heeds = Heeds {
            now: heed,
            ..self.heeds
        };
        let fd = self.sender.as_ref().unwrap_or(&self.fd);
        if heeds.apply(fd, self.family).is_ok() {
            self.heeds = heeds;
        }
    }

    /// Whether a datagram was refused that goes by the interface's MTU alone: then it goes by the kernel's memory again.
    pub(super) fn gives_in(&mut self, errno: Errno) -> bool {
        let gives_in = errno == Errno::EMSGSIZE && !self.heeds.now;
        if gives_in {
            self.switch(true);
        }
        gives_in
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
            Family::V6 => getsockopt(&probe, Ipv6Mtu)?,
        };
        u32::try_from(mtu).map_err(io::Error::other)
    }
}
