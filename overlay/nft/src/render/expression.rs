//! A rule as the list of expressions that the kernel evaluates: loads into registers, comparisons, actions. The
//! sequences are those that nft itself sends (read off `nft --debug=netlink` 1.0.6), so that it lists them in words.

use ipnet::{IpNet, Ipv4Net};
use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::nftables::{
    Bitwise, Cmp, DataAttribute, ExpressionAttribute, Expressions, ListAttribute, Lookup, Meta,
    MetaKey, Operator, Payload, Register,
};
use tweed_model::Family;

use crate::inner::{inner_source, prefix_mask};
use crate::ruleset::{L4Proto, Match, Rule, Side, Verdict, addr_bytes, name_bytes};
use crate::too_big::{TooBig, whole_bytes};

/// The form in which a rule message carries its expressions.
pub(super) type ExpressionList = Vec<ListAttribute<ExpressionAttribute>>;

/// `NFPROTO_IPV4` and `NFPROTO_IPV6`.
pub(super) fn nfproto(family: Family) -> u8 {
    match family {
        Family::V4 => 2,
        Family::V6 => 10,
    }
}

/// The expressions of a rule in a table of family inet.
pub(crate) fn rule_expressions(rule: &Rule) -> ExpressionList {
    let mut out = Writer::default();
    for part in &rule.matches {
        out.condition(part);
    }
    if rule.counter {
        out.counter();
    }
    out.verdict(&rule.verdict);
    out.list
}

/// The expressions of "address in prefix: accept" in a table of the prefix's own family, counted as iptables does.
pub fn accept_net(side: Side, net: IpNet) -> ExpressionList {
    let mut out = Writer::of_family(Family::of_net(&net));
    out.net(side, false, net);
    out.counter();
    out.verdict(&Verdict::Accept);
    out.list
}

/// Writes expressions one after the other, and what they have made sure of so far.
#[derive(Default)]
pub(super) struct Writer {
    list: ExpressionList,
    /// Packets of another family have already been turned away.
    family: Option<Family>,
    /// Packets of another transport protocol have already been turned away.
    proto: Option<L4Proto>,
}

/// The 4-byte register at this place. The 16-byte registers 1 to 4 begin at 0, 4, 8 and 12.
pub(super) fn register(slot: usize) -> Register {
    Register::from(8 + u32::try_from(slot).expect("there are sixteen registers"))
}

/// Where an address stands in a packet.
pub(super) fn payload_addr(family: Family, side: Side) -> [Payload; 3] {
    const NETWORK_HEADER: u32 = 1;
    let offset = match (family, side) {
        (Family::V4, Side::Source) => 12,
        (Family::V4, Side::Destination) => 16,
        (Family::V6, Side::Source) => 8,
        (Family::V6, Side::Destination) => 24,
    };
    [
        Payload::Base(NETWORK_HEADER),
        Payload::Offset(offset),
        Payload::Len(u32::from(family.bits()) / 8),
    ]
}

impl Writer {
    /// For a table of one family, where packets of the other never are.
    pub(super) fn of_family(family: Family) -> Self {
        Self {
            family: Some(family),
            ..Self::default()
        }
    }

    pub(super) fn into_list(self) -> ExpressionList {
        self.list
    }

    pub(super) fn push(&mut self, expression: Expressions) {
        self.list.push(expression.into());
    }

    fn condition(&mut self, part: &Match) {
        match part {
            Match::Net { side, not, net } => self.net(*side, *not, *net),
            Match::InSet {
                side,
                family,
                not,
                set,
            } => {
                self.need_family(*family);
                self.load_addr(*family, *side, 0);
                self.lookup(set, *not);
            }
            Match::PairInSet { family, not, set } => {
                self.need_family(*family);
                self.load_addr(*family, Side::Source, 0);
                let second = usize::from(family.bits()) / 32;
                self.load_addr(*family, Side::Destination, second);
                self.lookup(set, *not);
            }
            Match::FlowInSet { family, set } => {
                let second = usize::from(family.bits()) / 32;
                self.need_family(*family);
                self.load_addr(*family, Side::Source, 0);
                self.load_addr(*family, Side::Destination, second);
                self.meta(MetaKey::L4Proto, 2 * second);
                self.transport(2, 2, 2 * second + 1);
                self.lookup(set, false);
            }
            Match::InnerInSet { family, bits, set } => self.inner(*family, *bits, set),
            Match::Mark { value, mask } => {
                self.meta(MetaKey::Mark, 0);
                self.mask(0, &mask.to_ne_bytes(), &[0; 4]);
                self.compare(false, &value.to_ne_bytes());
            }
            Match::L4Proto(proto) => self.need_proto(*proto),
            Match::DestPort { proto, port } => {
                self.need_proto(*proto);
                self.transport(2, 2, 0);
                self.compare(false, &port.to_be_bytes());
            }
            Match::SourcePort { proto, port } => {
                self.need_proto(*proto);
                self.transport(0, 2, 0);
                self.compare(false, &port.to_be_bytes());
            }
            Match::Transport { offset, bytes } => {
                self.transport(*offset, bytes.len(), 0);
                self.compare(false, bytes);
            }
            Match::TooBig { outside } => self.too_big(outside),
            Match::LocalDestination => self.destination_is_local(),
            Match::Translated => self.translated(),
            Match::AnswerOf(net) => self.answer_of(*net),
            Match::InInterface { not, name } => self.interface(MetaKey::Iifname, *not, name),
            Match::InKind(kind) => self.interface(MetaKey::Iifkind, false, kind),
            Match::PortInSet(set) => {
                self.meta(MetaKey::Iifname, 0);
                self.lookup(set, false);
            }
            Match::SourceNotInSet(set) => {
                self.meta(MetaKey::Iifname, 0);
                self.ether_source(libc::IFNAMSIZ / 4);
                self.lookup(set, true);
            }
            Match::NoWayBack => self.no_way_back(),
            Match::OutInterface { not, name } => self.interface(MetaKey::Oifname, *not, name),
        }
    }

    pub(super) fn net(&mut self, side: Side, not: bool, net: IpNet) {
        let family = Family::of_net(&net);
        self.need_family(family);
        self.load_addr(family, side, 0);
        if net.prefix_len() < net.max_prefix_len() {
            let mask = addr_bytes(net.netmask());
            self.mask(0, &mask, &vec![0; mask.len()]);
        }
        self.compare(not, &addr_bytes(net.network()));
    }

    pub(super) fn need_family(&mut self, family: Family) {
        if self.family != Some(family) {
            self.meta(MetaKey::Nfproto, 0);
            self.compare(false, &[nfproto(family)]);
            self.family = Some(family);
        }
    }

    fn need_proto(&mut self, proto: L4Proto) {
        if self.proto != Some(proto) {
            self.meta(MetaKey::L4Proto, 0);
            self.compare(false, &[proto.number()]);
            self.proto = Some(proto);
        }
    }

    pub(super) fn load_addr(&mut self, family: Family, side: Side, slot: usize) {
        let mut payload = vec![Payload::DestinationRegister(register(slot))];
        payload.extend(payload_addr(family, side));
        self.push(Expressions::Payload(payload));
    }

    pub(super) fn transport(&mut self, offset: u8, len: usize, slot: usize) {
        const TRANSPORT_HEADER: u32 = 2;
        self.push(Expressions::Payload(vec![
            Payload::DestinationRegister(register(slot)),
            Payload::Base(TRANSPORT_HEADER),
            Payload::Offset(u32::from(offset)),
            Payload::Len(u32::try_from(len).expect("a match is a few bytes long")),
        ]));
    }

    pub(super) fn meta(&mut self, key: MetaKey, slot: usize) {
        self.push(Expressions::Meta(vec![
            Meta::DestinationRegister(register(slot)),
            Meta::Key(key),
        ]));
    }

    /// Keeps these bits of what is in a register, then flips those.
    pub(super) fn mask(&mut self, slot: usize, mask: &[u8], flip: &[u8]) {
        self.push(Expressions::Bitwise(vec![
            Bitwise::SourceRegister(register(slot)),
            Bitwise::DestinationRegister(register(slot)),
            Bitwise::Length(u32::try_from(mask.len()).expect("a mask is a few bytes long")),
            Bitwise::Mask(DataAttribute::Value(mask.to_vec())),
            Bitwise::Xor(DataAttribute::Value(flip.to_vec())),
        ]));
    }

    /// Goes on only if the first register is equal (or unequal).
    fn compare(&mut self, not: bool, value: &[u8]) {
        let operator = if not {
            Operator::NotEqual
        } else {
            Operator::Equal
        };
        self.push(Expressions::Cmp(vec![
            Cmp::SourceRegister(register(0)),
            Cmp::Op(operator),
            Cmp::Data(DataAttribute::Value(value.to_vec())),
        ]));
    }

    fn lookup(&mut self, set: &str, not: bool) {
        const INVERTED: u32 = 1;
        self.push(Expressions::Lookup(vec![
            Lookup::Set(set.to_owned()),
            Lookup::SourceRegister(register(0)),
            Lookup::Flags(if not { INVERTED } else { 0 }),
        ]));
    }

    pub(super) fn interface(&mut self, key: MetaKey, not: bool, name: &str) {
        self.meta(key, 0);
        self.compare(not, &name_bytes(name));
    }

    fn ether_source(&mut self, slot: usize) {
        const LINK_HEADER: u32 = 0;
        self.push(Expressions::Payload(vec![
            Payload::DestinationRegister(register(slot)),
            Payload::Base(LINK_HEADER),
            Payload::Offset(6),
            Payload::Len(6),
        ]));
    }

    fn destination_is_local(&mut self) {
        const ADDRTYPE: u32 = 3;
        const DADDR: u32 = 1 << 1;
        self.fib(ADDRTYPE, DADDR);
        self.compare(false, &u32::from(libc::RTN_LOCAL).to_ne_bytes());
    }

    fn inner(&mut self, family: Family, bits: u8, set: &str) {
        let second = usize::from(family.bits()) / 32;
        let len = usize::from(family.bits()) / 8;
        self.need_family(family);
        self.load_addr(family, Side::Source, 0);
        self.transport(inner_source(family), len, second);
        if bits < family.bits() {
            let mask = prefix_mask(family, bits);
            self.mask(second, &mask, &vec![0; mask.len()]);
        }
        self.lookup(set, false);
    }

    fn too_big(&mut self, outside: &IpNet) {
        let family = Family::of_net(outside);
        let error = TooBig::of(family);
        self.need_family(family);
        self.meta(MetaKey::L4Proto, 0);
        self.compare(false, &[error.protocol]);
        self.transport(0, error.kind.len(), 0);
        self.compare(false, error.kind);
        for (not, protocol) in error.protocols {
            self.transport(error.quoted, 1, 0);
            self.compare(*not, &[*protocol]);
        }
        let (network, mask) = whole_bytes(outside);
        self.transport(error.destination, network.len(), 0);
        if let Some(mask) = mask {
            self.mask(0, &mask, &vec![0; mask.len()]);
        }
        self.compare(true, &network);
    }

    fn no_way_back(&mut self) {
        const OIF: u32 = 1;
        const SADDR: u32 = 1;
        const IIF: u32 = 1 << 3;
        const PRESENT: u32 = 1 << 5;
        self.fib(OIF, SADDR | IIF | PRESENT);
        self.compare(false, &[0; 4]);
    }

    /// Asks the routes.
    fn fib(&mut self, result: u32, flags: u32) {
        const DREG: u16 = 1;
        const RESULT: u16 = 2;
        const FLAGS: u16 = 3;
        self.other(
            "fib",
            vec![
                number(DREG, register(0).into()),
                number(RESULT, result),
                number(FLAGS, flags),
            ],
        );
    }

    fn translated(&mut self) {
        const STATUS: u32 = 2;
        const IPS_DST_NAT: u32 = 1 << 5;
        self.connection(STATUS, None);
        self.mask(0, &IPS_DST_NAT.to_ne_bytes(), &[0; 4]);
        self.compare(true, &0u32.to_ne_bytes());
    }

    fn answer_of(&mut self, net: Ipv4Net) {
        const DIRECTION: u32 = 1;
        const DST_IP: u32 = 20;
        const IP_CT_DIR_ORIGINAL: u8 = 0;
        const IP_CT_DIR_REPLY: u8 = 1;
        self.connection(DIRECTION, None);
        self.compare(false, &[IP_CT_DIR_REPLY]);
        self.connection(DST_IP, Some(IP_CT_DIR_ORIGINAL));
        self.mask(0, &net.netmask().octets(), &[0; 4]);
        self.compare(false, &net.network().octets());
    }

    /// Asks connection tracking.
    fn connection(&mut self, key: u32, direction: Option<u8>) {
        const DREG: u16 = 1;
        const KEY: u16 = 2;
        const DIRECTION: u16 = 3;
        let mut attributes = vec![number(DREG, register(0).into()), number(KEY, key)];
        attributes.extend(direction.map(|direction| DefaultNla::new(DIRECTION, vec![direction])));
        self.other("ct", attributes);
    }

    pub(super) fn counter(&mut self) {
        const BYTES: u16 = 1;
        const PACKETS: u16 = 2;
        let zero = || 0u64.to_be_bytes().to_vec();
        self.other(
            "counter",
            vec![
                DefaultNla::new(BYTES, zero()),
                DefaultNla::new(PACKETS, zero()),
            ],
        );
    }

    pub(super) fn other(&mut self, name: &str, attributes: Vec<DefaultNla>) {
        self.push(Expressions::Other {
            expression_type: name.to_owned(),
            attributes,
        });
    }
}

pub(super) fn number(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_be_bytes().to_vec())
}
