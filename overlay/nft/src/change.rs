//! Where a table differs from the one we want, and the smallest transaction that mends it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::element_bytes::ElementBytes;
use super::ruleset::{Ruleset, Set};
use super::state::{SetState, TableState};

/// One transaction on our table.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Delete the table if it is there and create it afresh.
    Replace(Ruleset),
    /// Add and remove elements of sets that are otherwise right.
    Elements {
        /// Table name.
        table: String,
        /// Elements to add, by set.
        add: BTreeMap<String, BTreeSet<ElementBytes>>,
        /// Elements to remove, by set.
        remove: BTreeMap<String, BTreeSet<ElementBytes>>,
    },
    /// Delete the table.
    Delete(String),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replace(ruleset) => write!(f, "replace nftables table inet {}", ruleset.table),
            Self::Elements { table, add, remove } => {
                let count = |sets: &BTreeMap<String, BTreeSet<ElementBytes>>| -> usize {
                    sets.values().map(BTreeSet::len).sum()
                };
                let (add, remove) = (count(add), count(remove));
                write!(
                    f,
                    "nftables table inet {table}: add {add}, remove {remove} set elements"
                )
            }
            Self::Delete(table) => write!(f, "delete nftables table inet {table}"),
        }
    }
}

/// The change that turns what is there into what is wanted; `None` if they are equal. Elements of plain sets are added
/// and removed one by one; anything else replaces the table, which counts packets from zero again.
pub fn diff(want: &Ruleset, have: Option<&TableState>) -> Option<Change> {
    let replace = || Some(Change::Replace(want.clone()));
    let Some(have) = have else {
        return replace();
    };
    if !same_chains(want, have) || !want.sets.keys().eq(have.sets.keys()) {
        return replace();
    }
    let (mut add, mut remove) = (BTreeMap::new(), BTreeMap::new());
    for ((name, set), there) in want.sets.iter().zip(have.sets.values()) {
        if set.type_text() != there.key {
            return replace();
        }
        if set.elements != there.elements {
            if !set.is_plain() {
                return replace();
            }
            let (missing, surplus) = compare(set, there);
            insert_filled(&mut add, name, missing);
            insert_filled(&mut remove, name, surplus);
        }
    }
    (!add.is_empty() || !remove.is_empty()).then(|| Change::Elements {
        table: want.table.clone(),
        add,
        remove,
    })
}

fn same_chains(want: &Ruleset, have: &TableState) -> bool {
    want.chains.len() == have.chains.len()
        && want
            .chains
            .iter()
            .all(|(name, chain)| have.chains.get(name) == Some(&chain.state()))
}

fn compare(want: &Set, have: &SetState) -> (BTreeSet<ElementBytes>, BTreeSet<ElementBytes>) {
    (
        want.elements.difference(&have.elements).cloned().collect(),
        have.elements.difference(&want.elements).cloned().collect(),
    )
}

fn insert_filled(
    sets: &mut BTreeMap<String, BTreeSet<ElementBytes>>,
    name: &str,
    elements: BTreeSet<ElementBytes>,
) {
    if !elements.is_empty() {
        sets.insert(name.to_owned(), elements);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ruleset::{Chain, DataType, Rule, Verdict};

    fn want() -> Ruleset {
        let plain = Set {
            key: vec![DataType::Ipv4Addr],
            elements: [[10, 0, 0, 1], [10, 0, 0, 2]]
                .map(ElementBytes::from)
                .into(),
            ..Set::default()
        };
        let pairs = Set {
            key: vec![DataType::Ipv4Addr; 2],
            interval: true,
            ..Set::default()
        };
        let rule = Rule {
            matches: Vec::new(),
            counter: true,
            verdict: Verdict::Accept,
            comment: String::new(),
        };
        let chain = Chain {
            hook: None,
            rules: vec![rule],
        };
        Ruleset {
            table: "t".to_owned(),
            sets: [("pairs".to_owned(), pairs), ("plain".to_owned(), plain)].into(),
            chains: [("c".to_owned(), chain)].into(),
            ..Ruleset::default()
        }
    }

    fn changed(change: impl FnOnce(&mut TableState)) -> Option<Change> {
        let mut have = want().state();
        change(&mut have);
        diff(&want(), Some(&have))
    }

    #[test]
    fn equal_tables_need_nothing_and_a_missing_one_everything() {
        assert_eq!(changed(|_| ()), None);
        assert_eq!(diff(&want(), None), Some(Change::Replace(want())));
    }

    #[test]
    fn elements_of_plain_sets_change_one_by_one() {
        let change = changed(|have| {
            let elements = &mut have.sets.get_mut("plain").unwrap().elements;
            elements.remove(&[10, 0, 0, 1].into());
            elements.insert([10, 0, 0, 9].into());
        });
        let one = |last| {
            BTreeMap::from([(
                "plain".to_owned(),
                BTreeSet::from([[10, 0, 0, last].into()]),
            )])
        };
        let expected = Change::Elements {
            table: "t".to_owned(),
            add: one(1),
            remove: one(9),
        };
        assert_eq!(change, Some(expected));
    }

    #[test]
    fn anything_else_replaces_the_table() {
        let replaced = Some(Change::Replace(want()));
        let pair = || [0; 16].into();
        assert_eq!(
            changed(|t| {
                t.sets.get_mut("pairs").unwrap().elements.insert(pair());
            }),
            replaced
        );
        assert_eq!(
            changed(|t| t.sets.get_mut("plain").unwrap().key.push('x')),
            replaced
        );
        assert_eq!(changed(|t| drop(t.sets.remove("pairs"))), replaced);
        assert_eq!(
            changed(|t| drop(t.sets.insert("x".to_owned(), SetState::default()))),
            replaced
        );
        assert_eq!(
            changed(|t| drop(t.chains.insert("x".to_owned(), Default::default()))),
            replaced
        );
        assert_eq!(
            changed(|t| t.chains.get_mut("c").unwrap().rules.push(0)),
            replaced
        );
        assert_eq!(
            changed(|t| t.chains.get_mut("c").unwrap().hook = Some(String::new())),
            replaced
        );
    }
}
