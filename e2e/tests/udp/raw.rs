//! Sockets that send packets made by hand: as a peer's datagrams, or from a pod with all fields as they are.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Result, bail};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, sendto, socket,
};
use serde_json::{Map, Value};
use tweed_lab::agent::Agent;
use tweed_lab::datagram::{checksum, udp_header};
use tweed_lab::namespace::Place;
use tweed_lab::topology::Host;

/// The data plane's port.
pub(super) const PORT: u16 = 8285;

/// A socket whose datagrams have any source port, and no checksum.
pub(super) struct Unchecked(OwnedFd);

impl Unchecked {
    pub(super) fn new(place: Place<'_>) -> Result<Self> {
        let make = || {
            let (family, flags) = (AddressFamily::Inet, SockFlag::SOCK_CLOEXEC);
            Ok(socket(family, SockType::Raw, flags, SockProtocol::Udp)?)
        };
        place.run(make).map(Self)
    }

    pub(super) fn send(&self, from: u16, to: SocketAddr, payload: &[u8]) -> Result<()> {
        let bytes = [&udp_header(from, to.port(), payload.len()), payload].concat();
        let to = SockaddrStorage::from(to);
        sendto(self.0.as_raw_fd(), &bytes, &to, MsgFlags::empty())?;
        Ok(())
    }
}

/// A socket on a host's uplink, as another program of that host has it.
pub(super) fn on_uplink(host: &Host, port: u16) -> Result<UdpSocket> {
    let addr = (host.v4(), port);
    host.place().run(|| Ok(UdpSocket::bind(addr)?))
}

/// How many packets the agent has dropped, by reason.
pub(super) fn drops(agent: &Agent<'_>) -> Result<Map<String, Value>> {
    let mut status = agent.status()?;
    match status["data_plane"]["dropped"].take() {
        Value::Object(all) => Ok(all),
        _ => bail!("no drops in {status}"),
    }
}

/// How many it has dropped for one of them.
pub(super) fn dropped(agent: &Agent<'_>, reason: &str) -> Result<u64> {
    let all = drops(agent)?;
    Ok(all.get(reason).and_then(Value::as_u64).unwrap_or(0))
}

/// An IPv4 address.
pub(super) fn v4(addr: IpAddr) -> Result<Ipv4Addr> {
    match addr {
        IpAddr::V4(addr) => Ok(addr),
        IpAddr::V6(addr) => bail!("{addr} is not of IPv4"),
    }
}

/// Has a stranger say, by a forged ICMP error, that datagrams from one host to another are too big for a path.
pub(super) fn forge_too_big(stranger: Place<'_>, from: &Host, to: &Host, mtu: u16) -> Result<()> {
    let (from, to) = (v4(from.v4())?, v4(to.v4())?);
    // Type 3, code 4 (RFC 1191), and the start of the datagram that it claims to be about.
    let mut quoted = vec![0x45, 0, 0x05, 0xdc, 0, 0, 0x40, 0, 64, 17, 0, 0];
    quoted.extend(from.octets());
    quoted.extend(to.octets());
    let sum = checksum(&quoted);
    quoted[10..12].copy_from_slice(&sum);
    quoted.extend(udp_header(PORT, PORT, 1472));
    let mut error = vec![3, 4, 0, 0, 0, 0];
    error.extend(mtu.to_be_bytes());
    error.extend(quoted);
    let sum = checksum(&error);
    error[2..4].copy_from_slice(&sum);
    stranger.run(|| {
        let (family, flags) = (AddressFamily::Inet, SockFlag::SOCK_CLOEXEC);
        let fd = socket(family, SockType::Raw, flags, SockProtocol::Icmp)?;
        let at = SockaddrStorage::from(SocketAddr::from((from, 0)));
        sendto(fd.as_raw_fd(), &error, &at, MsgFlags::empty())?;
        Ok(())
    })
}
