//! What happens to a packet, as expressions.

use std::net::SocketAddr;

use netlink_packet_netfilter::nftables::{
    ChecksumFlags, ChecksumType, DataAttribute, Expressions, Immediate, Lookup, Meta, MetaKey,
    Payload, Register, Verdict as KernelVerdict, VerdictAttribute,
};
use tweed_model::Family;

use super::expression::{Writer, nfproto, number, payload_addr, register};
use crate::ruleset::{MapKey, Side, Verdict, addr_bytes};

impl Writer {
    pub(super) fn verdict(&mut self, verdict: &Verdict) {
        const NF_DROP: u32 = 0;
        const NF_ACCEPT: u32 = 1;
        match verdict {
            Verdict::Accept => self.code(KernelVerdict::Other(NF_ACCEPT), None),
            Verdict::Drop => self.code(KernelVerdict::Other(NF_DROP), None),
            Verdict::Return => self.code(KernelVerdict::Return, None),
            Verdict::Jump(chain) => self.code(KernelVerdict::Jump, Some(chain)),
            Verdict::Goto(chain) => self.code(KernelVerdict::Goto, Some(chain)),
            Verdict::Mark(bits) => self.set_mark(*bits),
            Verdict::Masquerade { fully_random } => self.masquerade(*fully_random),
            Verdict::Dnat(to) => self.dnat(*to),
            Verdict::DnatMap { family, key, map } => {
                self.map(*family, *key, map);
                self.nat(*family, usize::from(family.bits()) / 32);
            }
            Verdict::WriteSource { key, map } => {
                self.need_family(Family::V4);
                self.map(Family::V4, *key, map);
                self.write_addr(Side::Source);
            }
            Verdict::WriteDestination(to) => {
                self.need_family(Family::V4);
                self.immediate(0, &to.octets());
                self.write_addr(Side::Destination);
            }
        }
    }

    fn code(&mut self, code: KernelVerdict, chain: Option<&String>) {
        let mut verdict = vec![VerdictAttribute::Code(code)];
        verdict.extend(chain.cloned().map(VerdictAttribute::Chain));
        self.push(Expressions::Immediate(vec![
            Immediate::DestinationRegister(Register::Verdict),
            Immediate::Data(DataAttribute::Verdict(verdict)),
        ]));
    }

    fn set_mark(&mut self, bits: u32) {
        self.meta(MetaKey::Mark, 0);
        self.mask(0, &(!bits).to_ne_bytes(), &bits.to_ne_bytes());
        self.push(Expressions::Meta(vec![
            Meta::Key(MetaKey::Mark),
            Meta::SourceRegister(register(0)),
        ]));
    }

    fn masquerade(&mut self, fully_random: bool) {
        const FLAGS: u16 = 1;
        const NF_NAT_RANGE_PROTO_RANDOM_FULLY: u32 = 1 << 4;
        let flags = if fully_random {
            vec![number(FLAGS, NF_NAT_RANGE_PROTO_RANDOM_FULLY)]
        } else {
            Vec::new()
        };
        self.other("masq", flags);
    }

    fn dnat(&mut self, to: SocketAddr) {
        const PORT_SLOT: usize = 4;
        self.immediate(0, &addr_bytes(to.ip()));
        self.immediate(PORT_SLOT, &to.port().to_be_bytes());
        self.nat(Family::of(&to.ip()), PORT_SLOT);
    }

    fn immediate(&mut self, slot: usize, value: &[u8]) {
        self.push(Expressions::Immediate(vec![
            Immediate::DestinationRegister(register(slot)),
            Immediate::Data(DataAttribute::Value(value.to_vec())),
        ]));
    }

    /// What the map has for this packet, into the first registers; without an entry the next rule follows.
    fn map(&mut self, family: Family, key: MapKey, map: &str) {
        let addr_slots = usize::from(family.bits()) / 32;
        let proto_slot = match key {
            MapKey::ProtoPort => 0,
            MapKey::AddrProtoPort => {
                self.need_family(family);
                self.load_addr(family, Side::Destination, 0);
                addr_slots
            }
            MapKey::Flow => {
                self.need_family(family);
                self.load_addr(family, Side::Source, 0);
                self.load_addr(family, Side::Destination, addr_slots);
                2 * addr_slots
            }
        };
        self.meta(MetaKey::L4Proto, proto_slot);
        self.transport(2, 2, proto_slot + 1);
        self.push(Expressions::Lookup(vec![
            Lookup::Set(map.to_owned()),
            Lookup::SourceRegister(register(0)),
            Lookup::DestinationRegister(register(0)),
            Lookup::Flags(0),
        ]));
    }

    /// Writes the first register over an address of IPv4, and makes the checksums right that it is part of.
    fn write_addr(&mut self, side: Side) {
        const HEADER_CHECKSUM: u32 = 10;
        let mut payload = payload_addr(Family::V4, side).to_vec();
        payload.extend([
            Payload::SourceRegister(register(0)),
            Payload::CsumType(ChecksumType::Inet),
            Payload::CsumOffset(HEADER_CHECKSUM),
            Payload::CsumFlags(ChecksumFlags::L4PseudoHeader),
        ]);
        self.push(Expressions::Payload(payload));
    }

    /// Destination translation to the address in the first registers and the port in `port_slot`.
    fn nat(&mut self, family: Family, port_slot: usize) {
        const TYPE: u16 = 1;
        const FAMILY: u16 = 2;
        const ADDR_MIN: u16 = 3;
        const ADDR_MAX: u16 = 4;
        const PORT_MIN: u16 = 5;
        const PORT_MAX: u16 = 6;
        const DNAT: u32 = 1;
        let (addr, port) = (register(0).into(), register(port_slot).into());
        self.other(
            "nat",
            vec![
                number(TYPE, DNAT),
                number(FAMILY, nfproto(family).into()),
                number(ADDR_MIN, addr),
                number(ADDR_MAX, addr),
                number(PORT_MIN, port),
                number(PORT_MAX, port),
            ],
        );
    }
}
