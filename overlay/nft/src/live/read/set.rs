//! Sets, maps and their elements.

use std::collections::BTreeMap;

use netlink_packet_netfilter::NetfilterProtoFamily;
use netlink_packet_netfilter::nftables::{
    NfTablesMessage, SetAttribute, SetElementList, SetElementMessage, SetFlags, SetMessage,
};
use tweed_netlink::{Netfilter, NetlinkError};

use super::{INET, attribute, attributes, dump, dump_raw, request};
use crate::render::{element_question, types_of_number};
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
    let inner = NfTablesMessage::GetSetElement(SetElementMessage {
        attributes: vec![
            SetElementList::Table(table.to_owned()),
            SetElementList::Set(set.to_owned()),
        ],
    });
    let what = format!("list set {set} of nftables table {table}");
    let request = request(family, inner);
    dump_raw(socket, &what, request, generation, |elements, message| {
        elements.extend(listed(message).map(&mut read));
    })
}

/// The attributes of each element in a message.
fn listed(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    const ELEMENTS: u16 = 3;
    let lists = attributes(message).filter(|(kind, _)| *kind == ELEMENTS);
    lists
        .flat_map(|(_, list)| attributes(list))
        .map(|(_, element)| element)
}

/// The element that a set of a table of ours has at the key of another; in a set of ranges, the one that the key lies in.
/// The kernel looks it up as it does for a packet, however many there are. `None` without element, set or table.
///
/// # Errors
/// When the kernel refuses to say.
pub fn element_at(
    socket: &mut Netfilter,
    (table, set): (&str, &str),
    wanted: &Element,
) -> Result<Option<Element>, NetlinkError> {
    /// Family, version, and part of the generation.
    const HEADER: usize = 4;
    let what = format!("look into set {set} of nftables table {table}");
    let message = request(INET, element_question(table, set, wanted));
    let found = socket.get_raw(what, message, |payload| {
        let mut elements = listed(payload.get(HEADER..).unwrap_or_default());
        elements.next().map(element)
    });
    match found {
        Err(error) if error.is_not_found() => Ok(None),
        found => found,
    }
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
