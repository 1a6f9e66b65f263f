//! Sets, maps and their elements.

use std::collections::BTreeMap;

use netlink_packet_netfilter::nftables::{
    DataAttribute, ListAttribute, NfTablesMessage, SetAttribute, SetElementAttribute,
    SetElementList, SetElementMessage, SetFlags, SetMessage,
};

use super::{INET, attribute_bytes, dump, request};
use crate::firewall::render::types_of_number;
use crate::firewall::ruleset::Set;
use crate::firewall::{Element, userdata};
use crate::netlink::{Netfilter, NetlinkError};

/// A set or map.
#[derive(Debug, Default)]
pub(in crate::kernel::firewall) struct SetReading {
    /// As in [`crate::firewall::SetState`].
    pub(in crate::kernel::firewall) key: String,
    pub(in crate::kernel::firewall) elements: Vec<Element>,
}

/// The sets of a table of ours, still without elements.
pub(super) fn sets(
    socket: &mut Netfilter,
    table: &str,
    generation: u32,
) -> Result<BTreeMap<String, SetReading>, NetlinkError> {
    let inner = NfTablesMessage::GetSet(SetMessage {
        attributes: vec![SetAttribute::Table(table.to_owned())],
    });
    let what = format!("list sets of nftables table inet {table}");
    let sets = dump(
        socket,
        &what,
        request(INET, inner),
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
    table: &str,
    set: &str,
    generation: u32,
) -> Result<Vec<Element>, NetlinkError> {
    let inner = NfTablesMessage::GetSetElement(SetElementMessage {
        attributes: vec![
            SetElementList::Table(table.to_owned()),
            SetElementList::Set(set.to_owned()),
        ],
    });
    let what = format!("list set {set} of nftables table inet {table}");
    let lists = dump(
        socket,
        &what,
        request(INET, inner),
        Some(generation),
        |message| match message {
            NfTablesMessage::NewSetElement(list) => Some(list.attributes),
            _ => None,
        },
    )?;
    let elements = lists.into_iter().flatten().filter_map(|part| match part {
        SetElementList::Elements(elements) => Some(elements),
        _ => None,
    });
    Ok(elements.flatten().filter_map(element).collect())
}

fn element(attribute: ListAttribute<SetElementAttribute>) -> Option<Element> {
    const DATA_VALUE: u16 = 1;
    let ListAttribute::Element(attributes) = attribute else {
        return None;
    };
    let mut element = Element::default();
    for attribute in attributes {
        match attribute {
            SetElementAttribute::Key(DataAttribute::Value(bytes)) => element.key = bytes,
            SetElementAttribute::Data(DataAttribute::Value(bytes)) => element.value = Some(bytes),
            SetElementAttribute::KeyEnd(data) => {
                element.key_end = attribute_bytes(&data, DATA_VALUE);
            }
            SetElementAttribute::UserData(bytes) => {
                element.comment = userdata::read_comment(&bytes).map(str::to_owned);
            }
            _ => {}
        }
    }
    Some(element)
}
