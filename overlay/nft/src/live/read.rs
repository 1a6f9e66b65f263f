//! Reading tables back. A reading is several dumps; the kernel stamps each message with the generation of the whole
//! packet filter, and dumps that don't belong together are made again.

mod chain;
mod request;
mod rule;
mod set;

use std::collections::BTreeMap;

use netlink_packet_netfilter::nftables::{
    NfTablesMessage, TableAttribute, TableFlags, TableMessage,
};
use netlink_packet_netfilter::{NetfilterMessageInner, NetfilterProtoFamily};

pub use chain::{BaseChain, all_chains, base_chains, drops_by_default, every_chain};
pub(crate) use request::dump_raw;
pub use request::{BRIDGE, INET, consistent, dump, generation, proto, request, text};
pub use rule::{RuleReading, comment_match, rules};
pub(crate) use set::read_elements;
pub use set::{SetReading, element_at};
pub use tweed_netlink::{attribute, attributes};

use tweed_netlink::{Netfilter, NetlinkError};

use crate::{ChainState, userdata};

/// Chains and sets, as they were read.
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
    table_of(socket, INET, name)
}

/// The same for a table of another family.
pub fn table_of(
    socket: &mut Netfilter,
    family: NetfilterProtoFamily,
    name: &str,
) -> Result<(u32, Option<TableReading>), NetlinkError> {
    table_with(socket, (family, name), |_| true)
}

/// The same with the elements of some sets only: the others show as empty. What is read does not grow with those.
pub fn table_with(
    socket: &mut Netfilter,
    (family, name): (NetfilterProtoFamily, &str),
    filled: impl Fn(&str) -> bool,
) -> Result<(u32, Option<TableReading>), NetlinkError> {
    consistent(socket, |socket, generation| {
        if !is_active(socket, family, name)? {
            return Ok((generation, None));
        }
        let mut reading = TableReading {
            chains: chain::chains(socket, (family, name), generation)?,
            sets: set::sets(socket, (family, name), generation)?,
        };
        for rule in rules(socket, family, name, None, Some(generation))? {
            if let Some(chain) = reading.chains.get_mut(&rule.chain) {
                chain.rules.push(rule.fingerprint());
            }
        }
        for (set, there) in reading.sets.iter_mut().filter(|(set, _)| filled(set)) {
            there.elements = set::elements(socket, (family, name), set, generation)?;
        }
        Ok((generation, Some(reading)))
    })
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
fn is_active(
    socket: &mut Netfilter,
    family: NetfilterProtoFamily,
    table: &str,
) -> Result<bool, NetlinkError> {
    let is_dormant = |attribute: &TableAttribute| matches!(attribute, TableAttribute::Flags(flags) if flags.contains(TableFlags::Dormant));
    let attributes = table_attributes(socket, family, table)?;
    Ok(attributes.is_some_and(|all| !all.iter().any(is_dormant)))
}

/// The netlink port of the process that alone may change the table, where there is one. It is that process's id, as a
/// rule.
///
/// # Errors
/// When the kernel refuses to say.
pub fn owner(socket: &mut Netfilter, table: &str) -> Result<Option<u32>, NetlinkError> {
    let mut attributes = table_attributes(socket, INET, table)?.into_iter().flatten();
    Ok(attributes.find_map(|attribute| match attribute {
        TableAttribute::Owner(port) => Some(port),
        _ => None,
    }))
}

/// `None` if the table isn't there.
fn table_attributes(
    socket: &mut Netfilter,
    family: NetfilterProtoFamily,
    table: &str,
) -> Result<Option<Vec<TableAttribute>>, NetlinkError> {
    let inner = NfTablesMessage::GetTable(TableMessage {
        attributes: vec![TableAttribute::Name(table.to_owned())],
    });
    let what = format!("look for nftables table {table}");
    let answer = match socket.get(what, request(family, inner)) {
        Err(error) if error.is_not_found() => return Ok(None),
        answer => answer?,
    };
    Ok(match answer.inner {
        NetfilterMessageInner::NfTables(NfTablesMessage::NewTable(table)) => Some(table.attributes),
        _ => None,
    })
}
