//! Packets: right ones of every kind, and what happens to them on their way here.

use crate::oracle::{ICMP, ICMPV6, TCP, UDP, fix_header, fix_transport, write_transport};
use tweed_fuzz::Source;

/// A packet's parts, before its lengths and checksums are written.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) v6: bool,
    /// The node of each end; see [`address`].
    pub(crate) ends: [u8; 2],
    pub(crate) hosts: [u8; 2],
    pub(crate) tos: u8,
    pub(crate) hop_limit: u8,
    pub(crate) id: u16,
    /// IPv4's flags and offset.
    pub(crate) fragment: u16,
    /// IPv4's options.
    pub(crate) options: Vec<u8>,
    /// IPv6's extension headers: the number of each, and its bytes, of which the first is written here.
    pub(crate) extensions: Vec<(u8, Vec<u8>)>,
    pub(crate) protocol: u8,
    pub(crate) transport: Vec<u8>,
}

/// A host of a node: `10.42.<node>.<host>` or `fd00:0:0:<node>::<host>`.
pub(crate) fn address(v6: bool, node: u8, host: u8) -> Vec<u8> {
    if v6 {
        let mut bytes = vec![0; 16];
        (bytes[0], bytes[7], bytes[15]) = (0xfd, node, host);
        bytes
    } else {
        vec![10, 42, node, host]
    }
}

impl Draft {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = if self.v6 { self.ipv6() } else { self.ipv4() };
        let start = bytes.len();
        bytes.extend(&self.transport);
        write_transport(&mut bytes, start, self.protocol);
        bytes
    }

    fn addresses(&self) -> Vec<u8> {
        let one = |end: usize| address(self.v6, self.ends[end], self.hosts[end]);
        [one(0), one(1)].concat()
    }

    fn ipv4(&self) -> Vec<u8> {
        let len = 20 + self.options.len();
        let mut bytes = vec![0x40 | (len / 4) as u8, self.tos];
        bytes.extend(((len + self.transport.len()) as u16).to_be_bytes());
        bytes.extend(self.id.to_be_bytes());
        bytes.extend(self.fragment.to_be_bytes());
        bytes.extend([self.hop_limit, self.protocol, 0, 0]);
        bytes.extend(self.addresses());
        bytes.extend(&self.options);
        fix_header(&mut bytes);
        bytes
    }

    fn ipv6(&self) -> Vec<u8> {
        let chain: usize = self.extensions.iter().map(|(_, bytes)| bytes.len()).sum();
        let numbers = self.extensions.iter().map(|(number, _)| *number);
        let mut numbers = numbers.chain([self.protocol]);
        let first = numbers.next().unwrap_or(self.protocol);
        let mut bytes = vec![0x60 | self.tos >> 4, self.tos << 4, 0, 5];
        bytes.extend(((chain + self.transport.len()) as u16).to_be_bytes());
        bytes.extend([first, self.hop_limit]);
        bytes.extend(self.addresses());
        for ((_, extension), next) in self.extensions.iter().zip(numbers) {
            bytes.push(next);
            bytes.extend(&extension[1..]);
        }
        bytes
    }
}

/// TCP's header with these fields, and options of `options` words.
pub(crate) fn tcp(source: &mut Source, ports: [u16; 2], sequence: u32, flags: u8) -> Vec<u8> {
    let options = if source.once_in(2) {
        3
    } else {
        source.below(11)
    };
    let mut bytes = ports.map(u16::to_be_bytes).concat();
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(source.bytes(4));
    bytes.extend([(5 + options as u8) << 4, flags, 1, 0xf6, 0, 0, 0, 0]);
    bytes.extend(source.bytes(options * 4));
    bytes
}

/// UDP's header for a payload of this length.
pub(crate) fn udp(ports: [u16; 2], payload: usize) -> Vec<u8> {
    let words = [ports[0], ports[1], 8 + payload as u16, 0];
    words.map(u16::to_be_bytes).concat()
}

fn transport(source: &mut Source, v6: bool) -> (u8, Vec<u8>) {
    let len = source.len(1400);
    let ports = [source.word(), source.pick(&[53, 443, 8285])];
    let (protocol, mut bytes) = match source.below(10) {
        0..4 => {
            let flags = source.pick(&[0x10, 0x18, 0x02, 0x11, 0x90, 0x04]);
            let sequence = source.bits() as u32;
            (TCP, tcp(source, ports, sequence, flags))
        }
        4..8 => (UDP, udp(ports, len)),
        8 => {
            let kind = source.pick(&[0, 3, 8, 11, 1, 2, 128, 129, 137, 200]);
            let protocol = if v6 { ICMPV6 } else { ICMP };
            (protocol, vec![kind, 0, 0, 0, 0, 0, 0, 0])
        }
        _ => (source.byte(), Vec::new()),
    };
    bytes.extend(source.bytes(len));
    (protocol, bytes)
}

/// Options of IPv4: kinds with and without length, copied and not, also such as contradict their length.
fn options(source: &mut Source) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !source.once_in(3) && bytes.len() < 32 {
        match source.below(4) {
            0 => bytes.extend([1; 4]),
            1 => bytes.extend([148, 4, 0, 0]),
            2 => bytes.extend([7, 7, 4, 0, 0, 0, 0, 1]),
            _ => bytes.extend(source.bytes(4)),
        }
    }
    bytes
}

/// Extension headers of IPv6, each as long as it says.
fn extensions(source: &mut Source) -> Vec<(u8, Vec<u8>)> {
    let mut all = Vec::new();
    while !source.once_in(2) && all.len() < 10 {
        let number = source.pick(&[0, 43, 60, 60, 135, 51, 44]);
        let (len, size) = match number {
            51 => (1 + source.below(4), 4),
            44 => (0, 8),
            _ => (source.below(3), 8),
        };
        let extra = if number == 51 { 2 } else { 1 };
        let mut bytes = source.bytes((len + extra) * size);
        bytes[1] = len as u8;
        if number == 44 {
            let word = source.pick(&[0u16, 1, 8, 9, 1480, 0xfff8]);
            bytes[2..4].copy_from_slice(&word.to_be_bytes());
        }
        all.push((number, bytes));
    }
    all
}

/// A right packet of any kind, between any of the nodes 0 to 4.
pub(crate) fn draft(source: &mut Source) -> Draft {
    let v6 = source.once_in(2);
    let (protocol, transport) = transport(source, v6);
    let plain = !source.once_in(3);
    let fragment = match source.below(8) {
        0 => source.pick(&[0x2000, 0x2001, 0x0001, 0x00b9, 0x1fff, 0x6000]),
        1..4 => 0,
        _ => 0x4000,
    };
    Draft {
        v6,
        ends: [source.below(5) as u8, source.below(5) as u8],
        hosts: [source.pick(&[2, 3, 4]), source.pick(&[2, 9, 255])],
        tos: source.byte(),
        hop_limit: source.pick(&[64, 63, 255, 2, 1, 0]),
        id: source.word(),
        fragment: if v6 { 0 } else { fragment },
        options: if plain { Vec::new() } else { options(source) },
        extensions: if plain {
            Vec::new()
        } else {
            extensions(source)
        },
        protocol,
        transport,
    }
}

/// A packet that may have suffered: bytes changed, cut off or added, checksums sometimes right again all the same.
pub(crate) fn packet(source: &mut Source) -> Vec<u8> {
    if source.once_in(20) {
        let len = source.below(120);
        return source.bytes(len);
    }
    let mut bytes = draft(source).bytes();
    suffer(source, &mut bytes);
    bytes
}

/// Changes little, or nothing.
pub(crate) fn suffer(source: &mut Source, bytes: &mut Vec<u8>) {
    const TELLING: [u8; 8] = [0, 1, 0x0f, 0x40, 0x45, 0x60, 0x80, 0xff];
    let changes = if source.once_in(2) {
        0
    } else {
        source.below(4)
    };
    for _ in 0..changes {
        // Headers are where changes mean something.
        let end = if source.once_in(5) {
            bytes.len()
        } else {
            bytes.len().min(72)
        };
        let at = source.below(end.max(1));
        let byte = match source.below(3) {
            0 => source.pick(&TELLING),
            1 => bytes.get(at).copied().unwrap_or(0) ^ 1 << source.below(8),
            _ => source.byte(),
        };
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
    }
    match source.below(16) {
        0 => bytes.truncate(source.below(bytes.len() + 1)),
        1 => {
            let len = source.below(40);
            let padding = source.bytes(len);
            bytes.extend(padding);
        }
        _ => {}
    }
    if !source.once_in(4) {
        fix_header(bytes);
    }
    if source.once_in(2) {
        fix_transport(bytes);
    }
}
