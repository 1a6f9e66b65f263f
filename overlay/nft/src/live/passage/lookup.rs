//! Sets and maps of others, read when a rule asks for one.

use std::collections::BTreeMap;
use std::rc::Rc;

use netlink_packet_netfilter::NetfilterProtoFamily;
use netlink_packet_netfilter::nftables::{NfTablesMessage, SetAttribute, SetFlags, SetMessage};

use crate::live::read::{attribute, dump, read_elements, request, text};
use tweed_netlink::{Netfilter, NetlinkError};

/// Sets with more elements are not looked at.
const MOST: usize = 4_096;

/// What stands under a key.
pub(super) enum Found {
    Nothing,
    Element,
    Verdict(i32, Option<String>),
}

struct Element {
    key: Vec<u8>,
    /// Where an interval ends that began before.
    ends: bool,
    verdict: Option<(i32, Option<String>)>,
}

/// The elements of one.
pub(super) struct Set {
    intervals: bool,
    elements: Vec<Element>,
}

impl Set {
    /// None where it can't be told.
    pub(super) fn find(&self, key: &[u8]) -> Option<Found> {
        if self.elements.len() > MOST || self.elements.iter().any(|it| it.key.len() != key.len()) {
            return None;
        }
        let found = match self.intervals {
            // The last that begins or ends no later.
            true => {
                let before = self.elements.iter().filter(|it| *it.key <= *key);
                let last = before.max_by(|a, b| (&a.key, !a.ends).cmp(&(&b.key, !b.ends)));
                last.filter(|element| !element.ends)
            }
            false => self.elements.iter().find(|it| it.key == key),
        };
        Some(match found {
            None => Found::Nothing,
            Some(element) => match &element.verdict {
                Some((code, chain)) => Found::Verdict(*code, chain.clone()),
                None => Found::Element,
            },
        })
    }
}

/// Those that have been read.
#[derive(Default)]
pub(super) struct Sets {
    flags: Option<BTreeMap<String, SetFlags>>,
    read: BTreeMap<String, Option<Rc<Set>>>,
}

impl Sets {
    pub(super) fn of(
        &mut self,
        socket: &mut Netfilter,
        family: NetfilterProtoFamily,
        table: &str,
        set: &str,
    ) -> Option<Rc<Set>> {
        if self.flags.is_none() {
            self.flags = flags(socket, family, table).ok();
        }
        let flags = *self.flags.as_ref()?.get(set)?;
        let readable = !flags.intersects(SetFlags::Concat | SetFlags::Timeout | SetFlags::Eval);
        let read = || {
            let elements = elements(socket, family, table, set).ok()?;
            let intervals = flags.contains(SetFlags::Interval);
            Some(Rc::new(Set {
                intervals,
                elements,
            }))
        };
        let read = || readable.then(read).flatten();
        self.read.entry(set.to_owned()).or_insert_with(read).clone()
    }
}

fn flags(
    socket: &mut Netfilter,
    family: NetfilterProtoFamily,
    table: &str,
) -> Result<BTreeMap<String, SetFlags>, NetlinkError> {
    let inner = NfTablesMessage::GetSet(SetMessage {
        attributes: vec![SetAttribute::Table(table.to_owned())],
    });
    let what = format!("list sets of nftables table {table}");
    let found = dump(socket, &what, request(family, inner), None, |message| {
        let NfTablesMessage::NewSet(set) = message else {
            return None;
        };
        let (mut name, mut flags) = (None, SetFlags::empty());
        for attribute in set.attributes {
            match attribute {
                SetAttribute::Name(text) => name = Some(text),
                SetAttribute::Flags(bits) => flags = bits,
                _ => {}
            }
        }
        Some((name?, flags))
    })?;
    Ok(found.into_iter().collect())
}

fn elements(
    socket: &mut Netfilter,
    family: NetfilterProtoFamily,
    table: &str,
    set: &str,
) -> Result<Vec<Element>, NetlinkError> {
    // One without a key stands for all others; a key of no length makes the set one that can't be told of.
    let unknown = || Element {
        key: Vec::new(),
        ends: false,
        verdict: None,
    };
    read_elements(socket, family, (table, set), None, |attributes| {
        element(attributes).unwrap_or_else(unknown)
    })
}

fn element(bytes: &[u8]) -> Option<Element> {
    const KEY: u16 = 1;
    const DATA: u16 = 2;
    const FLAGS: u16 = 3;
    const ENDS: u8 = 1;
    const VALUE: u16 = 1;
    const VERDICT: u16 = 2;
    let verdict = || {
        let verdict = attribute(attribute(bytes, DATA)?, VERDICT)?;
        let code = attribute(verdict, 1)?.try_into().ok()?;
        Some((i32::from_be_bytes(code), attribute(verdict, 2).map(text)))
    };
    Some(Element {
        key: attribute(attribute(bytes, KEY)?, VALUE)?.to_vec(),
        ends: attribute(bytes, FLAGS)
            .and_then(|flags| flags.last())
            .is_some_and(|flags| flags & ENDS != 0),
        verdict: verdict(),
    })
}
