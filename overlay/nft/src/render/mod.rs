//! Changes as nfnetlink messages. All messages of one [`Change`] belong into one transaction, in order.

mod expression;
mod iptables;
mod message;
mod verdict;
mod words;

use std::collections::BTreeSet;

pub use expression::accept_net;
pub(crate) use expression::rule_expressions;
pub use iptables::{IptablesMatch, iptables_chain, iptables_rule, iptables_table};
pub use message::{Element, Message};
pub use message::{
    add_elements, add_new_elements, add_rule, chain_message, del_chain, del_elements, del_rule,
    flush_chain, for_bridges, rule_message, set_message,
};
pub(crate) use message::{add_table, del_table, element_question, types_of_number};

pub use words::describe;

use super::change::Change;
use super::element_bytes::ElementBytes;
use super::ruleset::{Ruleset, Set, data_len};

/// What `nft list` shows as the table's comment. Agents know by it which tables are of their kind: it never changes.
pub const TABLE_COMMENT: &str = "written by tweed; changes by hand are undone";

/// The messages that make a change.
pub fn change_messages(change: &Change) -> Vec<Message> {
    match change {
        Change::Replace(ruleset) => replace(ruleset),
        Change::Elements { table, add, remove } => {
            let mut messages = Vec::new();
            for (set, elements) in remove {
                messages.extend(del_elements(table, set, &plain(elements)));
            }
            for (set, elements) in add {
                messages.extend(add_elements(table, set, &plain(elements)));
            }
            messages
        }
        Change::Delete(table) => vec![add_table(table, TABLE_COMMENT), del_table(table)],
    }
}

/// Deleting a table that isn't there fails the transaction, so it is added first; adding one that is there is fine.
fn replace(ruleset: &Ruleset) -> Vec<Message> {
    let table = &ruleset.table;
    let mut messages = vec![add_table(table, TABLE_COMMENT), del_table(table)];
    messages.extend(create(ruleset));
    messages
}

/// The messages that fill a table that has none of this yet.
pub fn create(ruleset: &Ruleset) -> Vec<Message> {
    let table = &ruleset.table;
    let mut messages = vec![add_table(table, TABLE_COMMENT)];
    for (id, (name, set)) in (1..).zip(&ruleset.sets) {
        messages.push(set_message(table, name, id, set));
        messages.extend(add_elements(table, name, &set_elements(set)));
    }
    // All chains before the first rule: a rule may jump to any of them.
    for (name, chain) in &ruleset.chains {
        messages.push(chain_message(table, name, chain.hook.as_ref()));
    }
    for (name, chain) in &ruleset.chains {
        messages.extend(chain.rules.iter().map(|rule| add_rule(table, name, rule)));
    }
    messages
}

fn plain(elements: &BTreeSet<ElementBytes>) -> Vec<Element> {
    let keys = elements.iter().map(|element| element.to_vec());
    keys.map(Element::plain).collect()
}

/// A set's elements, taken apart into what the kernel wants separately.
fn set_elements(set: &Set) -> Vec<Element> {
    let key_len = data_len(&set.key);
    let split = |bytes: &ElementBytes| {
        let (key, rest) = bytes.split_at(key_len.min(bytes.len()));
        let (key, rest) = (key.to_vec(), (!rest.is_empty()).then(|| rest.to_vec()));
        let (key_end, value) = if set.interval {
            (rest, None)
        } else {
            (None, rest)
        };
        Element {
            key,
            key_end,
            value,
            comment: None,
        }
    };
    set.elements.iter().map(split).collect()
}
