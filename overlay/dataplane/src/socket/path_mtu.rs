//! The paths' MTUs as the kernel remembers them, and whether a socket goes by them (ip(7), `IP_MTU_DISCOVER`).

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{SockFlag, SockType, SockaddrStorage, connect, socket};
use tweed_host::path_mtu::{discovery, known, set_discovery};
use tweed_model::Family;

use super::address::address_family;

/// Whether datagrams are sent by what the kernel remembers of a path: it fragments those that are larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MtuDiscovery {
    /// How the socket does it by itself: `IP_PMTUDISC_WANT` mostly, or what `net.ipv4.ip_no_pmtu_disc` says.
    usual: libc::c_int,
    on: bool,
}

impl MtuDiscovery {
    /// As a socket is opened. One that was left by another process may be otherwise.
    pub(super) fn of(fd: &OwnedFd, family: Family) -> Self {
        let usual = match discovery(fd, family == Family::V6) {
            Ok(usual) if usual != libc::IP_PMTUDISC_PROBE => usual,
            _ => libc::IP_PMTUDISC_WANT,
        };
        let discovery = Self { usual, on: true };
        let _ = discovery.apply(fd, family); // It is that already, mostly.
        discovery
    }

    /// Whether the socket goes by what the kernel remembers.
    pub(super) fn is_on(self) -> bool {
        self.on
    }

    /// Stays as it is where the kernel refuses.
    pub(super) fn switch(&mut self, on: bool, fd: &OwnedFd, family: Family) {
        let switched = Self { on, ..*self };
        if switched.apply(fd, family).is_ok() {
            *self = switched;
        }
    }

    fn apply(self, fd: &OwnedFd, family: Family) -> io::Result<()> {
        let how = match self.on {
            true => self.usual,
            false => libc::IP_PMTUDISC_PROBE,
        };
        set_discovery(fd, family == Family::V6, how)
    }
}

/// The MTU of the path to an address, as the kernel knows it: that of the route, or less.
pub(super) fn path_mtu(family: Family, to: SocketAddr) -> io::Result<u32> {
    let probe = socket(
        address_family(family),
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    connect(probe.as_raw_fd(), &SockaddrStorage::from(to))?;
    known(&probe, family == Family::V6)
}
