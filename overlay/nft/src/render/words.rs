//! What a message does, in words, for an error text.

use netlink_packet_netfilter::NetfilterMessageInner;
use netlink_packet_netfilter::nftables::{
    ChainAttribute, NfTablesMessage, RuleAttribute, SetAttribute, SetElementList, TableAttribute,
};

use super::Message;

/// The first attribute of a kind, as text.
macro_rules! name {
    ($attributes:expr, $kind:path) => {
        $attributes
            .iter()
            .find_map(|attribute| match attribute {
                $kind(name) => Some(name.as_str()),
                _ => None,
            })
            .unwrap_or("?")
    };
}

/// The operation and its object, such as `add rule to chain input of nftables table tweed`.
pub fn describe((message, _): &Message) -> String {
    let NetfilterMessageInner::NfTables(inner) = &message.inner else {
        return "netfilter request".to_owned();
    };
    let (what, table) = match inner {
        NfTablesMessage::NewTable(m) => {
            ("add ".to_owned(), name!(m.attributes, TableAttribute::Name))
        }
        NfTablesMessage::DeleteTable(m) => (
            "delete ".to_owned(),
            name!(m.attributes, TableAttribute::Name),
        ),
        NfTablesMessage::NewChain(m) => (
            format!(
                "add chain {} to ",
                name!(m.attributes, ChainAttribute::Name)
            ),
            name!(m.attributes, ChainAttribute::Table),
        ),
        NfTablesMessage::NewRule(m) => (
            format!(
                "add rule to chain {} of ",
                name!(m.attributes, RuleAttribute::Chain)
            ),
            name!(m.attributes, RuleAttribute::Table),
        ),
        NfTablesMessage::DeleteRule(m) => (
            format!(
                "delete rule from chain {} of ",
                name!(m.attributes, RuleAttribute::Chain)
            ),
            name!(m.attributes, RuleAttribute::Table),
        ),
        NfTablesMessage::NewSet(m) => (
            format!("add set {} to ", name!(m.attributes, SetAttribute::Name)),
            name!(m.attributes, SetAttribute::Table),
        ),
        NfTablesMessage::NewSetElement(m) => (
            format!(
                "add elements to set {} of ",
                name!(m.attributes, SetElementList::Set)
            ),
            name!(m.attributes, SetElementList::Table),
        ),
        NfTablesMessage::DeleteSetElement(m) => (
            format!(
                "delete elements from set {} of ",
                name!(m.attributes, SetElementList::Set)
            ),
            name!(m.attributes, SetElementList::Table),
        ),
        _ => return "netfilter request".to_owned(),
    };
    format!("{what}nftables table {table}")
}

#[cfg(test)]
mod tests {
    use tweed_model::Dual;

    use super::*;
    use crate::render::{add_elements, add_table, del_table, flush_chain};
    use crate::{Change, Masquerade, PolicyInput, PolicyNetwork, agent_ruleset, change_messages};

    #[test]
    fn every_message_names_its_object_and_table() {
        let network = PolicyNetwork {
            network: "10.244.0.0/16".parse().unwrap(),
            subnet: "10.244.1.0/24".parse().unwrap(),
        };
        let ruleset = agent_ruleset(&PolicyInput {
            table: "tweed".into(),
            networks: Dual {
                v4: Some(network),
                v6: None,
            },
            masquerade: Some(Masquerade { fully_random: true }),
            tunnels: None,
        });
        let texts: Vec<String> = change_messages(&Change::Replace(ruleset))
            .iter()
            .chain(&add_elements("t", "s", &[Default::default()]))
            .chain(&[add_table("t", ""), del_table("t"), flush_chain("t", "c")])
            .map(describe)
            .collect();
        assert!(
            texts.contains(&"add rule to chain postrouting of nftables table tweed".to_owned())
        );
        assert!(texts.contains(&"add elements to set s of nftables table t".to_owned()));
        assert!(
            texts
                .iter()
                .all(|text| !text.contains('?') && text.contains("table ")),
            "{texts:?}"
        );
    }
}
