//! Socket addresses between the standard library and nix.

use std::net::{IpAddr, SocketAddr};

use nix::sys::socket::{AddressFamily, SockaddrStorage};
use tweed_model::Family;

pub(super) fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

/// The address and port of a socket of either family; none of another kind of socket.
pub(super) fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
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
