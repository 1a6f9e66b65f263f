//! UDP datagrams in IP packets, made by hand, so that no field need be what a kernel would write.

use std::net::IpAddr;

/// A UDP datagram in an IP packet.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Source.
    pub from: IpAddr,
    /// Destination, of the same family.
    pub to: IpAddr,
    /// Destination port.
    pub port: u16,
    /// Remaining hop limit.
    pub hops: u8,
    /// Payload of the datagram.
    pub payload: &'a [u8],
}

impl Datagram<'_> {
    /// The whole packet, with its checksums.
    pub fn packet(&self) -> Vec<u8> {
        let (from, to) = (octets(self.from), octets(self.to));
        let mut udp = udp_header(4000, self.port, self.payload.len());
        udp.extend(self.payload);
        let len = udp.len() as u16;
        let pseudo = [&from, &to, &[0, 17][..], &len.to_be_bytes(), &udp].concat();
        udp[6..8].copy_from_slice(&checksum(&pseudo));
        let header = match self.from {
            IpAddr::V4(_) => {
                let mut header = vec![0x45, 0];
                header.extend((20 + len).to_be_bytes());
                header.extend([0, 1, 0, 0, self.hops, 17, 0, 0]);
                header.extend([from, to].concat());
                let sum = checksum(&header);
                header[10..12].copy_from_slice(&sum);
                header
            }
            IpAddr::V6(_) => {
                let mut header = vec![0x60, 0, 0, 0];
                header.extend(len.to_be_bytes());
                header.extend([17, self.hops]);
                header.extend([from, to].concat());
                header
            }
        };
        [header, udp].concat()
    }
}

/// A UDP header without checksum.
pub fn udp_header(from: u16, to: u16, payload: usize) -> Vec<u8> {
    [from, to, 8 + payload as u16, 0]
        .map(u16::to_be_bytes)
        .concat()
}

fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    }
}

/// The Internet checksum (RFC 1071); zero over bytes that hold their own.
pub fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks(2);
    let sum: u32 = words
        .map(|word| u32::from(word[0]) << 8 | u32::from(word.get(1).copied().unwrap_or(0)))
        .sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    (!(sum as u16)).to_be_bytes()
}
