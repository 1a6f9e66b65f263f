//! One nfnetlink message for each object of a table.

use netlink_packet_core::{DefaultNla, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, DataAttribute, Hook as HookAttribute, InetHookNumber,
    ListAttribute, NfTablesMessage, RuleAttribute, RuleMessage, SetAttribute, SetDescription,
    SetElementAttribute, SetElementList, SetElementMessage, SetFlags, SetMessage, TableAttribute,
    TableMessage,
};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};
use tweed_model::Family;

use super::expression::{ExpressionList, rule_expressions};
use crate::fingerprint::rule_fingerprint;
use crate::ruleset::{DataType, Hook, HookPoint, Rule, Set, data_len};
use crate::{inner, userdata};

/// A message of a transaction and its flags, such as `NLM_F_CREATE`.
pub type Message = (NetfilterMessage, u16);

/// An attribute is at most 64 KiB long. An element is never longer than about 220 bytes (a pair of IPv6 prefixes with a
/// full comment), so that this many fit.
const ELEMENTS_PER_MESSAGE: usize = 250;

/// An element of a set in the parts that the kernel wants separately.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element {
    /// The key, or the first key of a range.
    pub key: Vec<u8>,
    /// The last key of a range.
    pub key_end: Option<Vec<u8>>,
    /// What a map leads to.
    pub value: Option<Vec<u8>>,
    /// The owner's name: the kernel keeps it beside the element.
    pub comment: Option<String>,
}

impl Element {
    /// The element in one piece, as [`crate::ruleset::Set`] holds it.
    pub fn bytes(&self) -> Vec<u8> {
        let rest = self.key_end.as_ref().or(self.value.as_ref());
        let mut bytes = self.key.clone();
        bytes.extend(rest.into_iter().flatten());
        bytes
    }

    /// An element that is nothing but its key.
    pub fn plain(key: Vec<u8>) -> Self {
        Self {
            key,
            ..Self::default()
        }
    }
}

/// A message of nftables for a family.
pub(super) fn nft(family: NetfilterProtoFamily, flags: u16, inner: NfTablesMessage) -> Message {
    let header = NetfilterHeader::new(family, 0, 0);
    (NetfilterMessage::new(header, inner), flags)
}

/// The same messages for a table of family bridge: only the family's number differs.
pub fn for_bridges(mut messages: Vec<Message>) -> Vec<Message> {
    for (message, _) in &mut messages {
        message.header.family = NetfilterProtoFamily::Bridge;
    }
    messages
}

fn inet(flags: u16, inner: NfTablesMessage) -> Message {
    nft(NetfilterProtoFamily::Inet, flags, inner)
}

/// Adds a table, or finds it there.
pub(crate) fn add_table(table: &str, comment: &str) -> Message {
    inet(
        NLM_F_CREATE,
        NfTablesMessage::NewTable(TableMessage {
            attributes: vec![
                TableAttribute::Name(table.to_owned()),
                TableAttribute::UserData(userdata::comment(comment)),
            ],
        }),
    )
}

/// Deletes a table and all in it.
pub(crate) fn del_table(table: &str) -> Message {
    inet(
        0,
        NfTablesMessage::DeleteTable(TableMessage {
            attributes: vec![TableAttribute::Name(table.to_owned())],
        }),
    )
}

/// Adds a chain, or finds it there.
pub fn chain_message(table: &str, name: &str, hook: Option<&Hook>) -> Message {
    const NF_DROP: u32 = 0;
    const NF_ACCEPT: u32 = 1;
    let mut attributes = vec![
        ChainAttribute::Table(table.to_owned()),
        ChainAttribute::Name(name.to_owned()),
    ];
    if let Some(hook) = hook {
        attributes.extend([
            ChainAttribute::Hook(vec![
                HookAttribute::Number(hook_number(hook.point).into()),
                HookAttribute::Priority(hook.priority.cast_unsigned()),
            ]),
            ChainAttribute::Policy(if hook.drop { NF_DROP } else { NF_ACCEPT }),
            ChainAttribute::Type(hook.kind.name().to_owned()),
        ]);
    }
    inet(
        NLM_F_CREATE,
        NfTablesMessage::NewChain(ChainMessage { attributes }),
    )
}

fn hook_number(point: HookPoint) -> InetHookNumber {
    match point {
        HookPoint::Prerouting => InetHookNumber::PreRouting,
        HookPoint::Input => InetHookNumber::LocalIn,
        HookPoint::Forward => InetHookNumber::Forward,
        HookPoint::Output => InetHookNumber::LocalOut,
        HookPoint::Postrouting => InetHookNumber::PostRouting,
    }
}

/// Appends a rule.
pub fn add_rule(table: &str, chain: &str, rule: &Rule) -> Message {
    rule_message(
        NetfilterProtoFamily::Inet,
        NLM_F_APPEND,
        (table, chain),
        rule_expressions(rule),
        userdata::rule(&rule.comment, rule_fingerprint(rule)),
    )
}

/// Adds a rule at the end of a chain (`NLM_F_APPEND`) or at its head (0).
pub fn rule_message(
    family: NetfilterProtoFamily,
    place: u16,
    (table, chain): (&str, &str),
    expressions: ExpressionList,
    userdata: Vec<u8>,
) -> Message {
    nft(
        family,
        NLM_F_CREATE | place,
        NfTablesMessage::NewRule(RuleMessage {
            attributes: vec![
                RuleAttribute::Table(table.to_owned()),
                RuleAttribute::Chain(chain.to_owned()),
                RuleAttribute::Expressions(expressions),
                RuleAttribute::UserData(userdata),
            ],
        }),
    )
}

/// Deletes one rule by its handle.
pub fn del_rule(
    family: NetfilterProtoFamily,
    (table, chain): (&str, &str),
    handle: u64,
) -> Message {
    nft(
        family,
        0,
        NfTablesMessage::DeleteRule(RuleMessage {
            attributes: vec![
                RuleAttribute::Table(table.to_owned()),
                RuleAttribute::Chain(chain.to_owned()),
                RuleAttribute::Handle(handle),
            ],
        }),
    )
}

/// Deletes a chain, which no rule may jump to any more.
pub fn del_chain(family: NetfilterProtoFamily, (table, chain): (&str, &str)) -> Message {
    nft(
        family,
        0,
        NfTablesMessage::DeleteChain(ChainMessage {
            attributes: vec![
                ChainAttribute::Table(table.to_owned()),
                ChainAttribute::Name(chain.to_owned()),
            ],
        }),
    )
}

/// Deletes all rules of a chain.
pub fn flush_chain(table: &str, chain: &str) -> Message {
    inet(
        0,
        NfTablesMessage::DeleteRule(RuleMessage {
            attributes: vec![
                RuleAttribute::Table(table.to_owned()),
                RuleAttribute::Chain(chain.to_owned()),
            ],
        }),
    )
}

/// Adds a set or map, or finds it there. `id` is any number that no other set of the transaction has.
pub fn set_message(table: &str, name: &str, id: u32, set: &Set) -> Message {
    let mut flags = SetFlags::empty();
    let mut attributes = vec![
        SetAttribute::Table(table.to_owned()),
        SetAttribute::Name(name.to_owned()),
        SetAttribute::KeyType(type_number(&set.key)),
        SetAttribute::KeyLen(length(&set.key)),
        SetAttribute::Id(id),
    ];
    if !set.value.is_empty() {
        flags |= SetFlags::Map;
        attributes.push(SetAttribute::DataType(type_number(&set.value)));
        attributes.push(SetAttribute::DataLen(length(&set.value)));
    }
    if set.interval {
        flags |= SetFlags::Interval | SetFlags::Concat;
        attributes.push(SetAttribute::Description(vec![SetDescription::Concat(
            set.key.iter().map(|part| concat_field(*part)).collect(),
        )]));
    }
    attributes.push(SetAttribute::Flags(flags));
    let userdata = inner::userdata(&set.key);
    attributes.extend(userdata.map(|bytes| SetAttribute::UserData(bytes.to_vec())));
    inet(
        NLM_F_CREATE,
        NfTablesMessage::NewSet(SetMessage { attributes }),
    )
}

fn length(parts: &[DataType]) -> u32 {
    u32::try_from(data_len(parts)).expect("a key has at most 64 bytes")
}

/// nft's number of a type that has no other name.
const INTEGER: u32 = 4;

/// nft's number of a type: concatenations have six bits a part.
fn type_number(parts: &[DataType]) -> u32 {
    parts.iter().fold(0, |number, part| {
        let part = match part {
            DataType::Ipv4Addr => 7,
            DataType::Ipv6Addr => 8,
            DataType::InetProto => 12,
            DataType::InetService => 13,
            DataType::IfName => 41,
            DataType::EtherAddr => 9,
            DataType::InnerSource(_) => INTEGER,
        };
        number << 6 | part
    })
}

/// The parts that one of nft's type numbers stands for; `None` where we don't use such a type.
pub(crate) fn types_of_number(mut number: u32) -> Option<Vec<DataType>> {
    let mut parts = Vec::new();
    while number != 0 {
        parts.push(match number & 0x3f {
            // The source of the same family stands before it.
            INTEGER => match (number >> 6) & 0x3f {
                7 => DataType::InnerSource(Family::V4),
                _ => DataType::InnerSource(Family::V6),
            },
            7 => DataType::Ipv4Addr,
            8 => DataType::Ipv6Addr,
            12 => DataType::InetProto,
            13 => DataType::InetService,
            41 => DataType::IfName,
            9 => DataType::EtherAddr,
            _ => return None,
        });
        number >>= 6;
    }
    parts.reverse();
    Some(parts)
}

fn concat_field(part: DataType) -> DefaultNla {
    const LIST_ELEM: u16 = 1;
    const FIELD_LEN: u16 = 1;
    const NESTED: u16 = 1 << 15;
    let len = u32::try_from(part.width()).expect("a part has at most 16 bytes");
    let mut field = Vec::with_capacity(8);
    field.extend(8u16.to_ne_bytes());
    field.extend(FIELD_LEN.to_ne_bytes());
    field.extend(len.to_be_bytes());
    DefaultNla::new(LIST_ELEM | NESTED, field)
}

/// Adds elements; those that are there already stay as they are.
pub fn add_elements(table: &str, set: &str, elements: &[Element]) -> Vec<Message> {
    element_messages(table, set, elements)
        .map(|message| inet(NLM_F_CREATE, NfTablesMessage::NewSetElement(message)))
        .collect()
}

/// Adds elements; one that is there already fails the transaction, as does a range that meets another one.
pub fn add_new_elements(table: &str, set: &str, elements: &[Element]) -> Vec<Message> {
    let mut messages = add_elements(table, set, elements);
    messages
        .iter_mut()
        .for_each(|(_, flags)| *flags |= NLM_F_EXCL);
    messages
}

/// Asks for the element at a key.
pub(crate) fn element_question(table: &str, set: &str, wanted: &Element) -> NfTablesMessage {
    let key = Element::plain(wanted.key.clone());
    NfTablesMessage::GetSetElement(SetElementMessage {
        attributes: vec![
            SetElementList::Table(table.to_owned()),
            SetElementList::Set(set.to_owned()),
            SetElementList::Elements(vec![element_attribute(&key)]),
        ],
    })
}

/// Deletes elements; one that isn't there fails the transaction.
pub fn del_elements(table: &str, set: &str, elements: &[Element]) -> Vec<Message> {
    element_messages(table, set, elements)
        .map(|message| inet(0, NfTablesMessage::DeleteSetElement(message)))
        .collect()
}

fn element_messages(
    table: &str,
    set: &str,
    elements: &[Element],
) -> impl Iterator<Item = SetElementMessage> {
    elements
        .chunks(ELEMENTS_PER_MESSAGE)
        .map(move |chunk| SetElementMessage {
            attributes: vec![
                SetElementList::Table(table.to_owned()),
                SetElementList::Set(set.to_owned()),
                SetElementList::Elements(chunk.iter().map(element_attribute).collect()),
            ],
        })
}

fn element_attribute(element: &Element) -> ListAttribute<SetElementAttribute> {
    const DATA_VALUE: u16 = 1;
    let mut attributes = vec![SetElementAttribute::Key(DataAttribute::Value(
        element.key.clone(),
    ))];
    if let Some(end) = &element.key_end {
        let end = DefaultNla::new(DATA_VALUE, end.clone());
        attributes.push(SetElementAttribute::KeyEnd(vec![end]));
    }
    if let Some(value) = &element.value {
        let value = DataAttribute::Value(value.clone());
        attributes.push(SetElementAttribute::Data(value));
    }
    if let Some(comment) = &element.comment {
        let comment = userdata::comment(comment);
        attributes.push(SetElementAttribute::UserData(comment));
    }
    ListAttribute::Element(attributes)
}
