//! What joins packets: streams of several flows with hostile packets in between.

use std::collections::BTreeMap;

use tweed_forward::coalesce::Coalescer;
use tweed_forward::packet::Packet;
use tweed_forward::segment::Segment;
use tweed_forward::split::split;
use tweed_forward::virtio::Offload;

use crate::oracle::{TCP, UDP, fix_header};
use crate::packets::{Draft, draft, packet, suffer, tcp, udp};
use tweed_fuzz::{Source, fuzz};

/// A sender's next packet.
struct Flow {
    draft: Draft,
    ports: [u16; 2],
    sequence: u32,
    size: usize,
    head: Vec<u8>,
}

impl Flow {
    fn new(source: &mut Source) -> Self {
        let protocol = source.pick(&[TCP, UDP]);
        let ports = [source.pick(&[1, 2]), 443];
        let draft = Draft {
            protocol,
            fragment: source.pick(&[0, 0x4000]),
            options: Vec::new(),
            extensions: Vec::new(),
            ..draft(source)
        };
        Self {
            draft,
            ports,
            sequence: source.pick(&[0, u32::MAX - 100, 5]),
            size: source.pick(&[1, 60, 200]),
            head: tcp(source, ports, 0, 0x10),
        }
    }

    fn send(&mut self, source: &mut Source) -> Vec<u8> {
        let len = if source.once_in(6) {
            source.below(self.size + 2)
        } else {
            self.size
        };
        let mut transport = if self.draft.protocol == UDP {
            udp(self.ports, len)
        } else {
            self.head[4..8].copy_from_slice(&self.sequence.to_be_bytes());
            self.head[13] = if source.once_in(8) {
                source.byte()
            } else {
                0x10
            };
            self.head.clone()
        };
        transport.extend(source.bytes(len));
        let draft = Draft {
            transport,
            ..self.draft.clone()
        };
        self.sequence = self.sequence.wrapping_add(len as u32);
        self.draft.id = self.draft.id.wrapping_add(1);
        draft.bytes()
    }
}

/// Packets, each without padding, as they come in one batch.
pub(crate) fn batch(source: &mut Source) -> Vec<Vec<u8>> {
    let mut flows: Vec<Flow> = (0..1 + source.below(3))
        .map(|_| Flow::new(source))
        .collect();
    let count = source.below(24);
    let any = (0..count).map(|_| {
        let flow = source.below(flows.len());
        let mut bytes = match source.below(12) {
            0 => packet(source),
            _ => flows[flow].send(source),
        };
        if source.once_in(6) {
            suffer(source, &mut bytes);
        }
        bytes
    });
    let valid = any.filter_map(|bytes| Some(Packet::parse(&bytes).ok()?.trim(&bytes).to_vec()));
    valid.collect()
}

/// Joins a batch; gives the packets that the kernel would make of it, and how many writes it took.
pub(crate) fn join_and_cut(packets: &[Vec<u8>], seed: u64) -> (Vec<Vec<u8>>, usize) {
    let mut coalescer = Coalescer::new(packets.len(), seed);
    let mut buffer = vec![0xaa; 5];
    for bytes in packets {
        let start = buffer.len();
        buffer.extend(bytes);
        assert!(coalescer.push(&buffer, start, &Packet::parse(bytes).unwrap()));
    }
    coalescer.seal(&mut buffer);
    let mut came = Vec::with_capacity(packets.len());
    for (offload, pieces) in coalescer.packets() {
        let parts: Vec<&[u8]> = pieces.map(|range| &buffer[range]).collect();
        let whole = parts.concat();
        let Offload::Segments { kind, size, .. } = offload else {
            came.push(whole);
            continue;
        };
        let mut out = vec![0; 1 << 17];
        let packet = Packet::parse(&whole).unwrap();
        let cut = split(&packet, &whole, kind, size, &mut out).unwrap();
        came.extend(cut.iter().map(|range| out[range].to_vec()));
    }
    (came, coalescer.len())
}

/// What a packet must keep its order with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    /// Its flow: addresses, protocol and ports.
    Flow(Vec<u8>),
    /// Those that are of no flow.
    Other,
    /// All: a fragment, or a header that makes no sense.
    All,
}

fn order(bytes: &[u8]) -> Order {
    let packet = Packet::parse(bytes).unwrap();
    match Segment::of(&packet, bytes) {
        Some(segment) => {
            let ends = if bytes[0] >> 4 == 6 {
                &bytes[8..40]
            } else {
                &bytes[12..20]
            };
            let ports = &bytes[segment.start..segment.start + 4];
            Order::Flow([ends, &[packet.protocol], ports].concat())
        }
        None if [TCP, UDP].contains(&packet.protocol) => Order::All,
        None => Order::Other,
    }
}

/// A packet without what has no meaning: the identification where nobody may fragment (RFC 6864 §4.1), which a sender
/// may leave at one number or not.
fn meaning(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let whole = Segment::of(&Packet::parse(&bytes).unwrap(), &bytes).is_some();
    if bytes[0] >> 4 == 4 && bytes[6] & 0x40 != 0 && whole {
        bytes[4..6].fill(0);
        fix_header(&mut bytes);
    }
    bytes
}

/// The packets between those that nothing may pass, by what keeps them in order.
pub(crate) fn sorted(packets: &[Vec<u8>]) -> Vec<BTreeMap<Order, Vec<Vec<u8>>>> {
    let mut all = vec![BTreeMap::new()];
    for bytes in packets {
        let order = order(bytes);
        if order == Order::All {
            all.push(BTreeMap::new());
        }
        let last: &mut BTreeMap<Order, Vec<Vec<u8>>> = all.last_mut().unwrap();
        last.entry(order).or_default().push(meaning(bytes));
    }
    all
}

#[test]
fn what_is_joined_and_cut_again_is_what_came_in_order() {
    fuzz("coalesce", 50, |source| {
        let packets = batch(source);
        let (came, writes) = join_and_cut(&packets, source.bits());
        assert!(
            sorted(&came) == sorted(&packets),
            "came {came:02x?}, were {packets:02x?}"
        );
        writes < packets.len()
    });
}
