//! Rules in the form that iptables-nft gives them, for tables that it shares: addresses and interfaces as nft has them,
//! all else as one of iptables' own matches. It lists them, and finds them to delete them.

use ipnet::IpNet;
use netlink_packet_core::{DefaultNla, NLM_F_CREATE};
use netlink_packet_netfilter::NetfilterProtoFamily;
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, Hook, InetHookNumber, MetaKey, NfTablesMessage, TableAttribute,
    TableMessage,
};
use tweed_model::Family;

use super::expression::{ExpressionList, Writer, number};
use super::message::{Message, nft};
use crate::ruleset::{Side, Verdict};

/// A condition of a rule of iptables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IptablesMatch<'a> {
    /// `-s`, `-d`.
    Net(Side, IpNet),
    /// `-i`.
    In(&'a str),
    /// `-o`, or `! -o`.
    Out { not: bool, name: &'a str },
    /// `-m conntrack --ctstate RELATED,ESTABLISHED`.
    Established,
    /// `-m comment --comment`.
    Comment(&'a str),
}

/// The expressions of a rule, counted as iptables does.
pub fn iptables_rule(
    family: Family,
    matches: &[IptablesMatch<'_>],
    verdict: &Verdict,
) -> ExpressionList {
    let mut out = Writer::of_family(family);
    for part in matches {
        match part {
            IptablesMatch::Net(side, net) => out.net(*side, false, *net),
            IptablesMatch::In(name) => out.interface(MetaKey::Iifname, false, name),
            IptablesMatch::Out { not, name } => out.interface(MetaKey::Oifname, *not, name),
            IptablesMatch::Established => out.extension("conntrack", 3, established()),
            IptablesMatch::Comment(text) => out.extension("comment", 0, comment(text)),
        }
    }
    out.counter();
    out.verdict(verdict);
    out.into_list()
}

impl Writer {
    /// A match of iptables, which the kernel's `nft_compat` calls.
    fn extension(&mut self, name: &str, revision: u32, info: Vec<u8>) {
        const NAME: u16 = 1;
        const REVISION: u16 = 2;
        const INFO: u16 = 3;
        let mut text = name.as_bytes().to_vec();
        text.push(0);
        self.other(
            "match",
            vec![
                DefaultNla::new(NAME, text),
                number(REVISION, revision),
                DefaultNla::new(INFO, info),
            ],
        );
    }
}

/// `struct xt_conntrack_mtinfo3`, padded to whole words of eight bytes.
fn established() -> Vec<u8> {
    const LEN: usize = 168;
    const MATCH_FLAGS: usize = 146;
    const STATE_MASK: usize = 150;
    const STATE: u16 = 1;
    const ESTABLISHED: u16 = 1 << 1;
    const RELATED: u16 = 1 << 2;
    let mut info = vec![0; LEN];
    info[MATCH_FLAGS..MATCH_FLAGS + 2].copy_from_slice(&STATE.to_ne_bytes());
    let states = ESTABLISHED | RELATED;
    info[STATE_MASK..STATE_MASK + 2].copy_from_slice(&states.to_ne_bytes());
    info
}

/// `struct xt_comment_info`: a text that ends with a zero byte.
fn comment(text: &str) -> Vec<u8> {
    const LEN: usize = 256;
    let mut info = text.as_bytes().to_vec();
    info.truncate(LEN - 1);
    info.resize(LEN, 0);
    info
}

/// Adds a table of a family, or finds it there.
pub fn iptables_table(family: NetfilterProtoFamily, table: &str) -> Message {
    let attributes = vec![TableAttribute::Name(table.to_owned())];
    let table = NfTablesMessage::NewTable(TableMessage { attributes });
    nft(family, NLM_F_CREATE, table)
}

/// Adds a chain of a family, or finds it there: one that packets come to when they are forwarded, or one that rules lead
/// to. What the first does with packets that meet no verdict is not said, so that it stays as it is.
pub fn iptables_chain(
    family: NetfilterProtoFamily,
    (table, chain): (&str, &str),
    forwards: bool,
) -> Message {
    let mut attributes = vec![
        ChainAttribute::Table(table.to_owned()),
        ChainAttribute::Name(chain.to_owned()),
    ];
    if forwards {
        attributes.extend([
            ChainAttribute::Hook(vec![
                Hook::Number(InetHookNumber::Forward.into()),
                Hook::Priority(0),
            ]),
            ChainAttribute::Type("filter".to_owned()),
        ]);
    }
    let chain = NfTablesMessage::NewChain(ChainMessage { attributes });
    nft(family, NLM_F_CREATE, chain)
}
