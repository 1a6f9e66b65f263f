//! Reading tables back. A reading is several dumps; the kernel stamps each message with the generation of the whole
//! packet filter, and dumps that don't belong together are made again.

mod chain;
mod raw;
mod rule;
mod set;

use std::collections::BTreeMap;

use netlink_packet_netfilter::nftables::{
    GenAttribute, GenMessage, NfTablesMessage, TableAttribute, TableFlags, TableMessage,
};
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
};

pub use chain::{BaseChain, all_chains, base_chains, drops_by_default};
pub use raw::{attribute, attributes, text};
pub use rule::{RuleReading, comment_match, rules};
pub use set::SetReading;

use tweed_model::Family;
use tweed_netlink::{Netfilter, NetlinkError, Object};

use self::raw::Raw;
use crate::{ChainState, userdata};

/// The family of our own tables.
pub const INET: NetfilterProtoFamily = NetfilterProtoFamily::Inet;

/// The family of iptables' tables.
pub fn proto(family: Family) -> NetfilterProtoFamily {
    match family {
        Family::V4 => NetfilterProtoFamily::IPv4,
        Family::V6 => NetfilterProtoFamily::IPv6,
    }
}

/// How often dumps are repeated that another program's transaction has torn apart.
const ATTEMPTS: u32 = 1000;

/// A table of family inet.
#[derive(Debug, Default)]
pub struct TableReading {
    pub chains: BTreeMap<String, ChainState>,
    pub sets: BTreeMap<String, SetReading>,
}

/// A table of ours; `None` if it isn't there or is dormant. And the packet filter's generation at which that was so.
pub fn table(
    socket: &mut Netfilter,
    name: &str,
) -> Result<(u32, Option<TableReading>), NetlinkError> {
    consistent(socket, |socket, generation| {
        if !is_active(socket, name)? {
            return Ok((generation, None));
        }
        let mut reading = TableReading {
            chains: chain::chains(socket, name, generation)?,
            sets: set::sets(socket, name, generation)?,
        };
        for rule in rules(socket, INET, name, None, Some(generation))? {
            if let Some(chain) = reading.chains.get_mut(&rule.chain) {
                chain.rules.push(rule.fingerprint());
            }
        }
        for (set, there) in &mut reading.sets {
            there.elements = set::elements(socket, name, set, generation)?;
        }
        Ok((generation, Some(reading)))
    })
}

/// Repeats a reading until nothing has changed in its course.
pub fn consistent<T>(
    socket: &mut Netfilter,
    mut read: impl FnMut(&mut Netfilter, u32) -> Result<T, NetlinkError>,
) -> Result<T, NetlinkError> {
    let mut attempt = 0;
    loop {
        let generation = generation(socket)?;
        match read(socket, generation) {
            Err(error) if attempt < ATTEMPTS && (is_torn(&error) || error.is_not_found()) => {
                attempt += 1;
            }
            result => return result,
        }
    }
}

fn is_torn(error: &NetlinkError) -> bool {
    error.errno == libc::EINTR
}

fn torn(what: &str) -> NetlinkError {
    NetlinkError {
        what: what.to_owned(),
        errno: libc::EINTR,
        detail: Some("the packet filter kept changing while it was read".to_owned()),
        object: Object::Netfilter,
    }
}

pub fn request(family: NetfilterProtoFamily, inner: NfTablesMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), inner)
}

pub fn generation(socket: &mut Netfilter) -> Result<u32, NetlinkError> {
    const WHAT: &str = "read the packet filter's generation";
    let inner = NfTablesMessage::GetGen(GenMessage {
        attributes: Vec::new(),
    });
    let answer = socket.get(WHAT, request(NetfilterProtoFamily::Unspec, inner))?;
    let NetfilterMessageInner::NfTables(NfTablesMessage::NewGen(message)) = answer.inner else {
        return Err(torn(WHAT));
    };
    let id = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            GenAttribute::Id(id) => Some(*id),
            _ => None,
        });
    id.ok_or_else(|| torn(WHAT))
}

/// All tables of family inet, with their comments.
pub fn tables(socket: &mut Netfilter) -> Result<Vec<(String, Option<String>)>, NetlinkError> {
    let inner = NfTablesMessage::GetTable(TableMessage {
        attributes: Vec::new(),
    });
    let message = request(INET, inner);
    dump(socket, "list nftables tables", message, None, |message| {
        let NfTablesMessage::NewTable(table) = message else {
            return None;
        };
        let (mut name, mut comment) = (None, None);
        for attribute in table.attributes {
            match attribute {
                TableAttribute::Name(text) => name = Some(text),
                TableAttribute::UserData(data) => {
                    comment = userdata::read_comment(&data).map(str::to_owned);
                }
                _ => {}
            }
        }
        Some((name?, comment))
    })
}

/// Whether the table is there and its rules are in force.
fn is_active(socket: &mut Netfilter, table: &str) -> Result<bool, NetlinkError> {
    let inner = NfTablesMessage::GetTable(TableMessage {
        attributes: vec![TableAttribute::Name(table.to_owned())],
    });
    let what = format!("look for nftables table inet {table}");
    let answer = match socket.get(what, request(INET, inner)) {
        Err(error) if error.is_not_found() => return Ok(false),
        answer => answer?,
    };
    let NetfilterMessageInner::NfTables(NfTablesMessage::NewTable(message)) = answer.inner else {
        return Ok(false);
    };
    Ok(!message.attributes.iter().any(|attribute| {
        matches!(attribute, TableAttribute::Flags(flags) if flags.contains(TableFlags::Dormant))
    }))
}

/// Dumps, and checks that every message is of the generation.
pub fn dump<V>(
    socket: &mut Netfilter,
    what: &str,
    message: NetfilterMessage,
    generation: Option<u32>,
    mut pick: impl FnMut(NfTablesMessage) -> Option<V>,
) -> Result<Vec<V>, NetlinkError> {
    let mut same = true;
    let found = socket.dump(what, message, |message: NetfilterMessage| {
        same &= is_of(message.header.res_id, generation);
        match message.inner {
            NetfilterMessageInner::NfTables(inner) => pick(inner),
            _ => None,
        }
    })?;
    if same { Ok(found) } else { Err(torn(what)) }
}

/// Dumps, and passes each message's attributes on as bytes.
pub(crate) fn dump_raw(
    socket: &mut Netfilter,
    what: &str,
    message: NetfilterMessage,
    generation: Option<u32>,
    mut each: impl FnMut(&[u8]),
) -> Result<(), NetlinkError> {
    let answers = socket.dump(what, Raw::Request(message), |answer| match answer {
        Raw::Answer {
            resource,
            attributes,
        } => Some((resource, attributes)),
        Raw::Request(_) => None,
    })?;
    if !answers
        .iter()
        .all(|(resource, _)| is_of(*resource, generation))
    {
        return Err(torn(what));
    }
    answers.iter().for_each(|(_, attributes)| each(attributes));
    Ok(())
}

/// Whether a message is of this generation; its header has room for the number's lower half.
fn is_of(resource: u16, generation: Option<u32>) -> bool {
    generation.is_none_or(|generation| resource == (generation & 0xffff) as u16)
}
