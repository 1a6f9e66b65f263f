//! Rules.

use netlink_packet_netfilter::NetfilterProtoFamily;
use netlink_packet_netfilter::nftables::{
    ExpressionAttribute, ListAttribute, NfTablesMessage, RuleAttribute, RuleMessage,
};

use super::{dump, request};
use crate::firewall::userdata;
use crate::netlink::{Netfilter, NetlinkError};

/// A rule, as far as we look at one.
#[derive(Debug, Default)]
pub(in crate::kernel::firewall) struct RuleReading {
    pub(in crate::kernel::firewall) chain: String,
    pub(in crate::kernel::firewall) handle: u64,
    userdata: Vec<u8>,
    expressions: Vec<ListAttribute<ExpressionAttribute>>,
}

impl RuleReading {
    /// Our fingerprint, 0 for a rule that isn't ours.
    pub(in crate::kernel::firewall) fn fingerprint(&self) -> u64 {
        userdata::read_fingerprint(&self.userdata).unwrap_or(0)
    }

    /// The comment in its user data.
    pub(in crate::kernel::firewall) fn comment(&self) -> Option<&str> {
        userdata::read_comment(&self.userdata)
    }

    pub(in crate::kernel::firewall) fn expressions(&self) -> &[ListAttribute<ExpressionAttribute>] {
        &self.expressions
    }
}

/// The rules of one chain, in order.
pub(in crate::kernel::firewall) fn rules(
    socket: &mut Netfilter,
    family: NetfilterProtoFamily,
    table: &str,
    chain: &str,
) -> Result<Vec<RuleReading>, NetlinkError> {
    rules_at(socket, family, table, Some(chain), None)
}

/// The rules of a table or of one chain of it, chain by chain in order, all of one generation.
pub(in crate::kernel::firewall) fn rules_at(
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
    dump(
        socket,
        &what,
        request(family, inner),
        generation,
        |message| match message {
            NfTablesMessage::NewRule(rule) => Some(rule_reading(rule)),
            _ => None,
        },
    )
}

fn rule_reading(message: RuleMessage) -> RuleReading {
    let mut rule = RuleReading::default();
    for attribute in message.attributes {
        match attribute {
            RuleAttribute::Chain(chain) => rule.chain = chain,
            RuleAttribute::Handle(handle) => rule.handle = handle,
            RuleAttribute::UserData(bytes) => rule.userdata = bytes,
            RuleAttribute::Expressions(expressions) => rule.expressions = expressions,
            _ => {}
        }
    }
    rule
}
