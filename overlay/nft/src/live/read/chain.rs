//! Chains.

use std::collections::{BTreeMap, BTreeSet};

use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, Hook, HookNumber, InetHookNumber, NfTablesMessage,
};
use netlink_packet_netfilter::{NetfilterMessageInner, NetfilterProtoFamily};
use tweed_netlink::{Netfilter, NetlinkError};

use super::{dump, request};
use crate::{ChainState, HookPoint};

const NF_DROP: u32 = 0;

/// The chains of a table of ours, still without rules.
pub(super) fn chains(
    socket: &mut Netfilter,
    (family, table): (NetfilterProtoFamily, &str),
    generation: u32,
) -> Result<BTreeMap<String, ChainState>, NetlinkError> {
    let inner = NfTablesMessage::GetChain(ChainMessage {
        attributes: Vec::new(),
    });
    let what = format!("list chains of nftables table {table}");
    let chains = dump(
        socket,
        &what,
        request(family, inner),
        Some(generation),
        |message| match message {
            NfTablesMessage::NewChain(chain) => chain_state(table, &chain.attributes),
            _ => None,
        },
    )?;
    Ok(chains.into_iter().collect())
}

fn chain_state(table: &str, attributes: &[ChainAttribute]) -> Option<(String, ChainState)> {
    let (mut name, mut kind, mut hook, mut policy) = (None, "?", None, None);
    for attribute in attributes {
        match attribute {
            ChainAttribute::Table(of) if of != table => return None,
            ChainAttribute::Name(text) => name = Some(text.clone()),
            ChainAttribute::Type(text) => kind = text,
            ChainAttribute::Hook(attributes) => hook = Some(hook_text(attributes)),
            ChainAttribute::Policy(verdict) => policy = Some(*verdict),
            _ => {}
        }
    }
    let policy = match policy {
        Some(0) => "drop",
        _ => "accept",
    };
    let state = ChainState {
        hook: hook.map(|hook| format!("{kind} {hook} {policy}")),
        rules: Vec::new(),
    };
    Some((name?, state))
}

/// A chain that packets enter at a hook.
#[derive(Debug)]
pub struct BaseChain {
    pub table: String,
    pub chain: String,
    /// Whether what meets no verdict is dropped.
    pub drops: bool,
}

/// The chains of all tables of a family at one hook.
pub fn base_chains(
    socket: &mut Netfilter,
    family: NetfilterProtoFamily,
    hook: HookPoint,
) -> Result<Vec<BaseChain>, NetlinkError> {
    let inner = NfTablesMessage::GetChain(ChainMessage {
        attributes: Vec::new(),
    });
    let what = format!("list nftables chains at hook {hook}");
    let hook = hook.to_string();
    dump(
        socket,
        &what,
        request(family, inner),
        None,
        |message| match message {
            NfTablesMessage::NewChain(chain) => base_chain(&hook, &chain.attributes),
            _ => None,
        },
    )
}

fn base_chain(hook: &str, attributes: &[ChainAttribute]) -> Option<BaseChain> {
    let (mut table, mut name, mut point, mut drops) = (None, None, None, false);
    for attribute in attributes {
        match attribute {
            ChainAttribute::Table(text) => table = Some(text.clone()),
            ChainAttribute::Name(text) => name = Some(text.clone()),
            ChainAttribute::Hook(attributes) => point = Some(hook_text(attributes)),
            ChainAttribute::Policy(verdict) => drops = *verdict == NF_DROP,
            _ => {}
        }
    }
    point.filter(|point| point.split(' ').next() == Some(hook))?;
    Some(BaseChain {
        table: table?,
        chain: name?,
        drops,
    })
}

fn hook_text(attributes: &[Hook]) -> String {
    let (mut point, mut priority) = (String::from("?"), 0);
    for attribute in attributes {
        match attribute {
            Hook::Number(HookNumber::Inet(number)) => point = point_name(*number),
            Hook::Priority(number) => priority = number.cast_signed(),
            _ => {}
        }
    }
    format!("{point} {priority}")
}

fn point_name(number: InetHookNumber) -> String {
    match number {
        InetHookNumber::PreRouting => "prerouting".to_owned(),
        InetHookNumber::LocalIn => "input".to_owned(),
        InetHookNumber::Forward => "forward".to_owned(),
        InetHookNumber::LocalOut => "output".to_owned(),
        InetHookNumber::PostRouting => "postrouting".to_owned(),
        other => format!("hook{}", u32::from(other)),
    }
}

/// All chains of a family's tables: table and name.
pub fn all_chains(
    socket: &mut Netfilter,
    family: NetfilterProtoFamily,
) -> Result<BTreeSet<(String, String)>, NetlinkError> {
    let inner = NfTablesMessage::GetChain(ChainMessage {
        attributes: Vec::new(),
    });
    let what = "list nftables chains";
    let found = dump(socket, what, request(family, inner), None, |message| {
        let NfTablesMessage::NewChain(chain) = message else {
            return None;
        };
        let (mut table, mut name) = (None, None);
        for attribute in chain.attributes {
            match attribute {
                ChainAttribute::Table(text) => table = Some(text),
                ChainAttribute::Name(text) => name = Some(text),
                _ => {}
            }
        }
        Some((table?, name?))
    })?;
    Ok(found.into_iter().collect())
}

/// The chains of every family's tables: table and name.
///
/// # Errors
/// When the kernel refuses to say.
pub fn every_chain(socket: &mut Netfilter) -> Result<BTreeSet<(String, String)>, NetlinkError> {
    let families = [
        NetfilterProtoFamily::IPv4,
        NetfilterProtoFamily::IPv6,
        NetfilterProtoFamily::Inet,
    ];
    let mut found = BTreeSet::new();
    for family in families {
        found.extend(all_chains(socket, family)?);
    }
    Ok(found)
}

/// Whether a base chain is there, and drops what meets no verdict.
pub fn drops_by_default(
    socket: &mut Netfilter,
    family: NetfilterProtoFamily,
    table: &str,
    chain: &str,
) -> Result<Option<bool>, NetlinkError> {
    let inner = NfTablesMessage::GetChain(ChainMessage {
        attributes: vec![
            ChainAttribute::Table(table.to_owned()),
            ChainAttribute::Name(chain.to_owned()),
        ],
    });
    let what = format!("look for chain {chain} of nftables table {table}");
    let answer = match socket.get(what, request(family, inner)) {
        Err(error) if error.is_not_found() => return Ok(None),
        answer => answer?,
    };
    let NetfilterMessageInner::NfTables(NfTablesMessage::NewChain(chain)) = answer.inner else {
        return Ok(None);
    };
    Ok(chain
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            ChainAttribute::Policy(verdict) => Some(*verdict == NF_DROP),
            _ => None,
        }))
}
