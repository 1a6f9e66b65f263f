//! Where a table differs from the one we want, and the smallest transaction that mends it.

use std::collections::{BTreeMap, BTreeSet};

use super::ruleset::{Ruleset, Set};
use super::{Change, SetState, TableState};

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

fn compare(want: &Set, have: &SetState) -> (BTreeSet<Vec<u8>>, BTreeSet<Vec<u8>>) {
    (
        want.elements.difference(&have.elements).cloned().collect(),
        have.elements.difference(&want.elements).cloned().collect(),
    )
}

fn insert_filled(
    sets: &mut BTreeMap<String, BTreeSet<Vec<u8>>>,
    name: &str,
    elements: BTreeSet<Vec<u8>>,
) {
    if !elements.is_empty() {
        sets.insert(name.to_owned(), elements);
    }
}
