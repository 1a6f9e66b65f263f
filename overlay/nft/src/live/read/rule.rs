//! Rules.

use netlink_packet_netfilter::NetfilterProtoFamily;
use netlink_packet_netfilter::nftables::{NfTablesMessage, RuleAttribute, RuleMessage};
use tweed_netlink::{Netfilter, NetlinkError};

use super::{attribute, attributes, dump_raw, request, text};
use crate::userdata;

/// A rule, as far as we look at one.
#[derive(Clone, Debug, Default)]
pub struct RuleReading {
    pub chain: String,
    pub handle: u64,
    userdata: Vec<u8>,
    expressions: Vec<u8>,
}

impl RuleReading {
    /// Our fingerprint, 0 for a rule that isn't ours.
    pub fn fingerprint(&self) -> u64 {
        userdata::read_fingerprint(&self.userdata).unwrap_or(0)
    }

    /// The comment in its user data.
    pub fn comment(&self) -> Option<&str> {
        userdata::read_comment(&self.userdata)
    }

    /// Whether it drops or rejects whatever comes to it.
    pub fn drops_all(&self) -> bool {
        const DATA: u16 = 2;
        const VERDICT: u16 = 2;
        const CODE: u16 = 1;
        const NF_DROP: [u8; 4] = [0; 4];
        let code = |data| attribute(attribute(attribute(data, DATA)?, VERDICT)?, CODE);
        let harmless = ["counter", "log", "immediate", "reject"];
        let plain = self
            .named()
            .all(|(name, _)| harmless.contains(&name.as_str()));
        let drops = self
            .all("immediate")
            .filter_map(code)
            .any(|code| code == NF_DROP);
        plain && (drops || self.all("reject").next().is_some())
    }

    /// The verdict that it ends with: the kernel's number, and the chain that it leads to.
    pub fn verdict(&self) -> Option<(i32, Option<String>)> {
        const DATA: u16 = 2;
        const VERDICT: u16 = 2;
        const CODE: u16 = 1;
        const CHAIN: u16 = 2;
        let verdict = |data| attribute(attribute(data, DATA)?, VERDICT);
        let verdict = self.all("immediate").filter_map(verdict).last()?;
        let code = attribute(verdict, CODE)?.try_into().ok()?;
        let chain = attribute(verdict, CHAIN).map(text);
        Some((i32::from_be_bytes(code), chain))
    }

    /// Whether one of its expressions compares with exactly these bytes.
    pub fn compares_with(&self, bytes: &[u8]) -> bool {
        self.compared().any(|value| value == bytes)
    }

    /// The bytes that its expressions compare with.
    pub fn compared(&self) -> impl Iterator<Item = &[u8]> {
        const DATA: u16 = 3;
        const VALUE: u16 = 1;
        let value = |data| attribute(attribute(data, DATA)?, VALUE);
        self.all("cmp").filter_map(value)
    }

    /// The attributes of the first expression of this type.
    pub fn expression(&self, name: &str) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// The attributes of each expression of this type.
    fn all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        const DATA: u16 = 2;
        self.named()
            .filter(move |(there, _)| there == name)
            .filter_map(|(_, expression)| attribute(expression, DATA))
    }

    /// The expressions in order, each with the name of its type and its attributes.
    pub fn expressions(&self) -> impl Iterator<Item = (String, &[u8])> {
        const DATA: u16 = 2;
        let data = |bytes| attribute(bytes, DATA).unwrap_or_default();
        self.named().map(move |(name, bytes)| (name, data(bytes)))
    }

    /// The expressions in order, each with the name of its type.
    fn named(&self) -> impl Iterator<Item = (String, &[u8])> {
        const NAME: u16 = 1;
        attributes(&self.expressions).map(|(_, expression)| {
            let name = attribute(expression, NAME).map(text);
            (name.unwrap_or_default(), expression)
        })
    }
}

/// The rules of a table or of one chain of it, chain by chain in order, all of one generation where one is given.
pub fn rules(
    socket: &mut Netfilter,
    family: NetfilterProtoFamily,
    table: &str,
    chain: Option<&str>,
    generation: Option<u32>,
) -> Result<Vec<RuleReading>, NetlinkError> {
    let mut attributes = vec![RuleAttribute::Table(table.to_owned())];
    attributes.extend(chain.map(|chain| RuleAttribute::Chain(chain.to_owned())));
    let inner = NfTablesMessage::GetRule(RuleMessage { attributes });
    let what = format!("list rules of nftables table {table}");
    dump_raw(
        socket,
        &what,
        request(family, inner),
        generation,
        |rules, message| rules.push(rule_reading(message)),
    )
}

fn rule_reading(message: &[u8]) -> RuleReading {
    const CHAIN: u16 = 2;
    const HANDLE: u16 = 3;
    const EXPRESSIONS: u16 = 4;
    const USERDATA: u16 = 7;
    let mut rule = RuleReading::default();
    for (kind, value) in attributes(message) {
        match kind {
            CHAIN => rule.chain = text(value),
            HANDLE => rule.handle = value.try_into().map_or(0, u64::from_be_bytes),
            EXPRESSIONS => rule.expressions = value.to_vec(),
            USERDATA => rule.userdata = value.to_vec(),
            _ => {}
        }
    }
    rule
}

/// The text of iptables' `-m comment`: an expression `match` named `comment`, whose data is the text in 256 bytes.
pub fn comment_match(rule: &RuleReading) -> Option<String> {
    const NAME: u16 = 1;
    const INFO: u16 = 3;
    let data = rule.expression("match")?;
    if !attribute(data, NAME)?.starts_with(b"comment\0") {
        return None;
    }
    let text = attribute(data, INFO)?.split(|byte| *byte == 0).next()?;
    String::from_utf8(text.to_vec()).ok()
}
