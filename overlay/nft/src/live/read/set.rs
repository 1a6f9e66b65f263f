//! Sets, maps and their elements.

use std::collections::BTreeMap;

use netlink_packet_netfilter::NetfilterProtoFamily;
use netlink_packet_netfilter::nftables::{
    NfTablesMessage, SetAttribute, SetElementList, SetElementMessage, SetFlags, SetMessage,
};
use tweed_netlink::{Netfilter, NetlinkError};

use super::{attribute, attributes, dump, dump_raw, request};
use crate::render::types_of_number;
use crate::ruleset::Set;
use crate::{Element, userdata};

/// A set or map.
#[derive(Debug, Default)]
pub struct SetReading {
    /// As in [`crate::SetState`].
    pub key: String,
    pub elements: Vec<Element>,
}

/// The sets of a table of ours, still without elements.
pub(super) fn sets(
    socket: &mut Netfilter,
    (family, table): (NetfilterProtoFamily, &str),
    generation: u32,
) -> Result<BTreeMap<String, SetReading>, NetlinkError> {
    let inner = NfTablesMessage::GetSet(SetMessage {
        attributes: vec![SetAttribute::Table(table.to_owned())],
    });
    let what = format!("list sets of nftables table {table}");
    let sets = dump(
        socket,
        &what,
        request(family, inner),
        Some(generation),
        |message| match message {
            NfTablesMessage::NewSet(set) => set_reading(&set.attributes),
            _ => None,
        },
    )?;
    Ok(sets.into_iter().collect())
}

fn set_reading(attributes: &[SetAttribute]) -> Option<(String, SetReading)> {
    let (mut name, mut key, mut value, mut flags) = (None, 0, 0, SetFlags::empty());
    for attribute in attributes {
        match attribute {
            SetAttribute::Name(text) => name = Some(text.clone()),
            SetAttribute::KeyType(number) => key = *number,
            SetAttribute::DataType(number) => value = *number,
            SetAttribute::Flags(bits) => flags = *bits,
            _ => {}
        }
    }
    let ours = SetFlags::Map | SetFlags::Interval | SetFlags::Concat;
    let key = match (types_of_number(key), types_of_number(value)) {
        (Some(key), Some(value)) if ours.contains(flags) => {
            let interval = flags.contains(SetFlags::Interval);
            let set = Set {
                key,
                value,
                interval,
                ..Set::default()
            };
            set.type_text()
        }
        _ => format!("type {key} : {value} flags {:#x}", flags.bits()),
    };
    let elements = Vec::new();
    Some((name?, SetReading { key, elements }))
}

/// The elements of a set in a table of ours.
pub(super) fn elements(
    socket: &mut Netfilter,
    (family, table): (NetfilterProtoFamily, &str),
    set: &str,
    generation: u32,
) -> Result<Vec<Element>, NetlinkError> {
    read_elements(socket, family, (table, set), Some(generation), element)
}

/// Reads each element of a set in any table from its attributes.
pub(crate) fn read_elements<T>(
    socket: &mut Netfilter,
    family: NetfilterProtoFamily,
    (table, set): (&str, &str),
    generation: Option<u32>,
    mut read: impl FnMut(&[u8]) -> T,
) -> Result<Vec<T>, NetlinkError> {
    const ELEMENTS: u16 = 3;
    let inner = NfTablesMessage::GetSetElement(SetElementMessage {
        attributes: vec![
            SetElementList::Table(table.to_owned()),
            SetElementList::Set(set.to_owned()),
        ],
    });
    let what = format!("list set {set} of nftables table {table}");
    let request = request(family, inner);
    dump_raw(socket, &what, request, generation, |elements, message| {
        let lists = attributes(message).filter(|(kind, _)| *kind == ELEMENTS);
        let list = lists.flat_map(|(_, list)| attributes(list));
        elements.extend(list.map(|(_, attributes)| read(attributes)));
    })
}

fn element(bytes: &[u8]) -> Element {
    const KEY: u16 = 1;
    const DATA: u16 = 2;
    const USERDATA: u16 = 6;
    const KEY_END: u16 = 10;
    const VALUE: u16 = 1;
    let data = |data| attribute(data, VALUE).map(<[u8]>::to_vec);
    let mut element = Element::default();
    for (kind, value) in attributes(bytes) {
        match kind {
            KEY => element.key = data(value).unwrap_or_default(),
            DATA => element.value = data(value),
            KEY_END => element.key_end = data(value),
            USERDATA => element.comment = userdata::read_comment(value).map(str::to_owned),
            _ => {}
        }
    }
    element
}
