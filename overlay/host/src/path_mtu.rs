//! Whether a socket goes by what the kernel knows of the MTUs of paths, and what that is (ip(7), `IP_MTU_DISCOVER`).

use std::io;
use std::os::fd::AsFd;

use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use nix::{getsockopt_impl, setsockopt_impl, sockopt_impl};

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

/// How a socket of IPv4 or IPv6 sends what is larger than a path takes: `IP_PMTUDISC_…`. Both families have the same
/// numbers.
///
/// # Errors
/// The kernel's.
pub fn discovery(socket: &impl AsFd, v6: bool) -> io::Result<libc::c_int> {
    let how = match v6 {
        false => getsockopt(socket, MtuDiscover),
        true => getsockopt(socket, Ipv6MtuDiscover),
    };
    Ok(how?)
}

/// Sets it. With `IP_PMTUDISC_PROBE` a datagram leaves in one packet or not at all, whatever is known of the path.
///
/// # Errors
/// The kernel's.
pub fn set_discovery(socket: &impl AsFd, v6: bool, how: libc::c_int) -> io::Result<()> {
    if v6 {
        setsockopt(
            socket,
            sockopt::Ipv6DontFrag,
            &(how == libc::IP_PMTUDISC_PROBE),
        )?;
        setsockopt(socket, Ipv6MtuDiscover, &how)?;
    } else {
        setsockopt(socket, MtuDiscover, &how)?;
    }
    Ok(())
}

/// The MTU of a connected socket's path as the kernel knows it: that of the route, or less.
///
/// # Errors
/// When the socket isn't connected.
pub fn known(socket: &impl AsFd, v6: bool) -> io::Result<u32> {
    let mtu = match v6 {
        false => getsockopt(socket, sockopt::IpMtu)?,
        true => getsockopt(socket, Ipv6Mtu)?,
    };
    u32::try_from(mtu).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_socket_of_either_family_goes_by_the_path_or_not_and_tells_its_mtu() {
        for (own, v6) in [("127.0.0.1:0", false), ("[::1]:0", true)] {
            let socket = UdpSocket::bind(own).unwrap();
            let usual = discovery(&socket, v6).unwrap();
            for how in [libc::IP_PMTUDISC_PROBE, usual] {
                set_discovery(&socket, v6, how).unwrap();
                assert_eq!(discovery(&socket, v6).unwrap(), how);
            }
            assert!(known(&socket, v6).is_err());
            socket.connect(socket.local_addr().unwrap()).unwrap();
            assert!(known(&socket, v6).unwrap() >= 1280);
        }
    }
}
