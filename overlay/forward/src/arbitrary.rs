//! Packets for property tests, built byte by byte and with checksums of their own, so that no test asks the code under
//! test what is right.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

pub(super) use crate::slow::{checksum as slow_checksum, fix_header as fix_ipv4_checksum};

/// At least so many cases; `PROPTEST_CASES` may ask for more.
pub(super) fn at_least(cases: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: default.cases.max(cases),
        ..default
    }
}

/// A TCP segment or UDP datagram in an IP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spec {
    pub(super) v6: bool,
    pub(super) udp: bool,
    /// The last byte of the source address.
    pub(super) host: u8,
    pub(super) port: u16,
    pub(super) tos: u8,
    pub(super) ttl: u8,
    pub(super) id: u16,
    /// IPv4's word of flags and offset.
    pub(super) fragment: u16,
    /// IPv4's options, a multiple of four bytes.
    pub(super) ip_options: Vec<u8>,
    pub(super) sequence: u32,
    pub(super) ack: u32,
    pub(super) flags: u8,
    pub(super) window: u16,
    /// TCP's options, a multiple of four bytes.
    pub(super) tcp_options: Vec<u8>,
    pub(super) payload: Vec<u8>,
    /// Added to the transport's checksum.
    pub(super) checksum_error: u16,
}

pub(super) const ACK: u8 = 0x10;
pub(super) const PSH: u8 = 0x08;
pub(super) const DONT_FRAGMENT: u16 = 0x4000;

impl Spec {
    pub(super) fn tcp(v6: bool, payload: usize) -> Self {
        Self {
            v6,
            udp: false,
            host: 2,
            port: 40_000,
            tos: 0,
            ttl: 64,
            id: 7,
            fragment: DONT_FRAGMENT,
            ip_options: Vec::new(),
            sequence: 0xffff_f000,
            ack: 99,
            flags: ACK,
            window: 502,
            tcp_options: vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
            payload: (0..payload).map(|n| (n % 251) as u8).collect(),
            checksum_error: 0,
        }
    }

    pub(super) fn udp(v6: bool, payload: usize) -> Self {
        Self {
            udp: true,
            ..Self::tcp(v6, payload)
        }
    }

    pub(super) fn source(&self) -> IpAddr {
        if self.v6 {
            Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, u16::from(self.host)).into()
        } else {
            Ipv4Addr::new(10, 42, 1, self.host).into()
        }
    }

    pub(super) fn destination(&self) -> IpAddr {
        if self.v6 {
            Ipv6Addr::new(0xfd00, 0, 0, 2, 0, 0, 0, 9).into()
        } else {
            Ipv4Addr::new(10, 42, 2, 9).into()
        }
    }

    /// Length of all headers in bytes.
    pub(super) fn headers(&self) -> usize {
        let ip = if self.v6 {
            40
        } else {
            20 + self.ip_options.len()
        };
        ip + if self.udp {
            8
        } else {
            20 + self.tcp_options.len()
        }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let transport = self.transport();
        let mut packet = if self.v6 {
            self.ipv6(transport.len())
        } else {
            self.ipv4(transport.len())
        };
        packet.extend(transport);
        packet
    }

    fn protocol(&self) -> u8 {
        if self.udp { 17 } else { 6 }
    }

    fn transport(&self) -> Vec<u8> {
        let mut bytes = self.port.to_be_bytes().to_vec();
        bytes.extend(443u16.to_be_bytes());
        let at = if self.udp {
            bytes.extend((8 + self.payload.len() as u16).to_be_bytes());
            bytes.extend([0, 0]);
            6
        } else {
            bytes.extend(self.sequence.to_be_bytes());
            bytes.extend(self.ack.to_be_bytes());
            let words = 5 + self.tcp_options.len() as u8 / 4;
            bytes.extend([words << 4, self.flags]);
            bytes.extend(self.window.to_be_bytes());
            bytes.extend([0, 0, 0, 0]);
            bytes.extend(&self.tcp_options);
            16
        };
        bytes.extend(&self.payload);
        let mut sum = [octets(self.source()), octets(self.destination())].concat();
        sum.extend([0, self.protocol()]);
        sum.extend((bytes.len() as u16).to_be_bytes());
        sum.extend(&bytes);
        let checksum = match slow_checksum(&sum) {
            0 if self.udp => 0xffff,
            sum => sum,
        };
        let checksum = checksum.wrapping_add(self.checksum_error);
        bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    fn ipv4(&self, payload: usize) -> Vec<u8> {
        let len = 20 + self.ip_options.len();
        let mut bytes = vec![0x40 | (len / 4) as u8, self.tos];
        bytes.extend(((len + payload) as u16).to_be_bytes());
        bytes.extend(self.id.to_be_bytes());
        bytes.extend(self.fragment.to_be_bytes());
        bytes.extend([self.ttl, self.protocol(), 0, 0]);
        bytes.extend(octets(self.source()));
        bytes.extend(octets(self.destination()));
        bytes.extend(&self.ip_options);
        fix_ipv4_checksum(&mut bytes);
        bytes
    }

    fn ipv6(&self, payload: usize) -> Vec<u8> {
        let mut bytes = vec![0x60 | self.tos >> 4, self.tos << 4, 0, 5];
        bytes.extend((payload as u16).to_be_bytes());
        bytes.extend([self.protocol(), self.ttl]);
        bytes.extend(octets(self.source()));
        bytes.extend(octets(self.destination()));
        bytes
    }
}

fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    }
}

/// A whole segment without anything odd about it.
pub(super) fn spec() -> impl Strategy<Value = Spec> {
    let header = (any::<[bool; 4]>(), any::<u8>(), any::<[u16; 4]>());
    let numbers = (any::<[u32; 2]>(), 2..=255u8, 0..=10usize);
    let payload = prop::collection::vec(any::<u8>(), 0..200);
    (header, numbers, payload).prop_map(|((bits, tos, words), (long, ttl, options), payload)| {
        let [v6, udp, dont_fragment, push] = bits;
        Spec {
            host: words[0] as u8,
            port: words[1],
            tos,
            ttl,
            id: words[2],
            fragment: if dont_fragment { DONT_FRAGMENT } else { 0 },
            sequence: long[0],
            ack: long[1],
            flags: ACK | if push { PSH } else { 0 },
            window: words[3],
            tcp_options: vec![1; options * 4],
            payload,
            ..if udp {
                Spec::udp(v6, 0)
            } else {
                Spec::tcp(v6, 0)
            }
        }
    })
}

/// Bytes that may be anything: noise, and packets of which a few bytes have changed and the end may be cut off. The
/// IPv4 header's checksum is often right all the same, so that what is behind that check is reached.
pub(super) fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let noise = prop::collection::vec(any::<u8>(), 0..120);
    let changes = prop::collection::vec((0..90usize, any::<u8>()), 0..5);
    let changed = (spec(), changes, 0..4usize, 0..120usize, any::<bool>());
    let changed = changed.prop_map(|(spec, changes, cut, keep, fix)| {
        let mut bytes = spec.bytes();
        for (at, byte) in changes {
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
        }
        if cut == 0 {
            bytes.truncate(keep);
        }
        if fix {
            fix_ipv4_checksum(&mut bytes);
        }
        bytes
    });
    prop_oneof![1 => noise, 4 => changed]
}
