//! The tunnel as it was before: one thread that polls a TUN device and a UDP socket and carries one packet for each
//! system call, without offloads, with sockets as the kernel makes them. What flannel's C proxy does, in plain Rust;
//! the wire format is the same. The benchmark starts itself anew for each host.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use ipnet::Ipv4Net;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tun::Layer;

use super::device::Device;

/// The word that makes the benchmark do this instead of measuring.
pub const COMMAND: &str = "naive";
/// flannel's port.
pub const PORT: u16 = 8285;
/// No packet is longer.
const LONGEST: usize = 1 << 16;
/// How often it looks whether it should end, in milliseconds.
const LOOK: u16 = 100;

/// A device, a socket, and where subnets are.
pub struct Loop {
    tun: Device,
    socket: UdpSocket,
    routes: Vec<(Ipv4Net, SocketAddr)>,
}

/// What to do, as words of a command line: device, own address, and pairs of subnet and host.
///
/// # Errors
/// When a word is missing or the kernel refuses.
pub fn run(words: &[String]) -> Result<()> {
    let [device, local, routes @ ..] = words else {
        bail!("{COMMAND} <device> <address> [<subnet> <host>]…, not {words:?}");
    };
    let routes = routes
        .chunks_exact(2)
        .map(|pair| Ok((pair[0].parse()?, pair[1].parse()?)))
        .collect::<Result<Vec<_>>>()?;
    Loop::open(device, local.parse()?, &routes)?.carry(&AtomicBool::new(false))
}

impl Loop {
    /// Attaches to the device in the thread's namespace.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open(device: &str, local: Ipv4Addr, routes: &[(Ipv4Net, Ipv4Addr)]) -> Result<Self> {
        let tun = Device::open(device, Layer::L3)?;
        let socket = UdpSocket::bind((local, PORT))?;
        socket.set_nonblocking(true)?;
        let routes = routes.iter().map(|&(net, host)| (net, (host, PORT).into()));
        Ok(Self {
            tun,
            socket,
            routes: routes.collect(),
        })
    }

    /// Carries packets until `stop`.
    ///
    /// # Errors
    /// When the device is gone.
    pub fn carry(&mut self, stop: &AtomicBool) -> Result<()> {
        let mut buffer = vec![0; LONGEST];
        while !stop.load(Ordering::Relaxed) {
            self.wait()?;
            while self.out(&mut buffer)? | self.back(&mut buffer)? {}
        }
        Ok(())
    }

    fn wait(&self) -> Result<()> {
        let mut fds =
            [self.tun.as_fd(), self.socket.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        poll(&mut fds, PollTimeout::from(LOOK))?;
        Ok(())
    }

    /// One packet from the device to its host. Says whether there was one.
    fn out(&mut self, buffer: &mut [u8]) -> Result<bool> {
        let Some(len) = self.tun.read(buffer)? else {
            return Ok(false);
        };
        if let Some(host) = route(&self.routes, &buffer[..len])
            && decrement_ttl(buffer)
        {
            // A full buffer loses the packet, as a full queue does.
            let _ = self.socket.send_to(&buffer[..len], host);
        }
        Ok(true)
    }

    /// One packet from the network to the device. Says whether there was one.
    fn back(&mut self, buffer: &mut [u8]) -> Result<bool> {
        let Ok((len, _)) = self.socket.recv_from(buffer) else {
            return Ok(false);
        };
        if len >= 20 && decrement_ttl(buffer) {
            self.tun.write(&buffer[..len]);
        }
        Ok(true)
    }
}

fn route(routes: &[(Ipv4Net, SocketAddr)], packet: &[u8]) -> Option<SocketAddr> {
    let octets: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
    let to = Ipv4Addr::from(octets);
    let hit = routes.iter().find(|(net, _)| net.contains(&to));
    hit.map(|(_, host)| *host)
}

/// One hop less, and the header's checksum accordingly (RFC 1141). Says whether the packet may go on.
fn decrement_ttl(packet: &mut [u8]) -> bool {
    if packet[8] <= 1 {
        return false;
    }
    packet[8] -= 1;
    let sum = u32::from(u16::from_be_bytes([packet[10], packet[11]])) + 0x100;
    let sum = (sum + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hop_less_keeps_the_checksum_right() {
        // From the documentation of RFC 1071: the sum over a right header is 0xffff.
        let mut packet = vec![
            0x45, 0, 0, 20, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 1, 2,
        ];
        let sum = |packet: &[u8]| {
            let words = packet
                .chunks_exact(2)
                .map(|w| u32::from(u16::from_be_bytes([w[0], w[1]])));
            let sum: u32 = words.sum();
            (sum & 0xffff) + (sum >> 16)
        };
        let right = !(sum(&packet) as u16);
        packet[10..12].copy_from_slice(&right.to_be_bytes());
        for ttl in (1..64).rev() {
            assert!(decrement_ttl(&mut packet));
            assert_eq!((packet[8], sum(&packet)), (ttl, 0xffff));
        }
        assert!(!decrement_ttl(&mut packet));
    }

    #[test]
    fn packets_go_where_their_subnet_is() {
        let host: SocketAddr = ([198, 18, 0, 2], PORT).into();
        let routes = [("10.1.2.0/24".parse().unwrap(), host)];
        let mut packet = [0; 20];
        packet[16..].copy_from_slice(&[10, 1, 2, 77]);
        assert_eq!(route(&routes, &packet), Some(host));
        packet[18] = 3;
        assert_eq!(route(&routes, &packet), None);
        assert_eq!(route(&routes, &packet[..19]), None);
    }
}
