//! The packet filter as it was last read or written. The kernel counts the transactions of all programs: as long as that
//! number is the same, there is nothing new to read.

use std::collections::BTreeMap;

use tweed_model::Family;
use tweed_nft::{Change, ForeignForward, TableState};
use tweed_state::KernelState;

/// What there is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observed {
    /// Our table, if it is there.
    pub(crate) table: Option<TableState>,
    /// Our accept rules in FORWARD chains that drop.
    pub(crate) foreign_forward: BTreeMap<Family, ForeignForward>,
}

/// What there is since a generation of the packet filter.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) generation: u32,
    pub(super) observed: Observed,
}

impl Known {
    /// What will be known after a change by which the kernel counts one on; none where that is not sure: it does not count
    /// a transaction that changes nothing.
    pub(super) fn after(mut self, change: &Change) -> Option<Self> {
        let table = self.observed.table.as_mut()?;
        let changed = take(table, change);
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        changed.then_some(self)
    }

    /// Shares the memory of a state that says the same.
    pub(super) fn share(&mut self, state: &KernelState) {
        if self.observed.table == state.firewall {
            self.observed.table.clone_from(&state.firewall);
        }
    }
}

/// Makes a change of elements. Whether it is sure to be one.
fn take(table: &mut TableState, change: &Change) -> bool {
    let Change::Elements { add, remove, .. } = change else {
        return false;
    };
    let mut changed = false;
    for (name, elements) in add {
        let Some(set) = table.sets.get_mut(name) else {
            return false;
        };
        for element in elements {
            changed |= set.elements.insert(element.clone());
        }
    }
    for (name, elements) in remove {
        let Some(set) = table.sets.get_mut(name) else {
            return false;
        };
        for element in elements {
            changed |= set.elements.remove(element);
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use tweed_model::SharedSet;
    use tweed_nft::{ElementBytes, SetState};

    fn known(generation: u32) -> Known {
        let set = SetState {
            key: "ipv4_addr".to_owned(),
            elements: SharedSet::from([ElementBytes::from([10, 0, 0, 1])]),
        };
        let table = TableState {
            sets: BTreeMap::from([("peers".to_owned(), set)]),
            ..TableState::default()
        };
        Known {
            generation,
            observed: Observed {
                table: Some(table),
                ..Observed::default()
            },
        }
    }

    fn change(set: &str, add: u8, remove: u8) -> Change {
        let one = |last: u8| {
            let element = ElementBytes::from([10, 0, 0, last]);
            BTreeMap::from([(set.to_owned(), BTreeSet::from([element]))])
        };
        Change::Elements {
            table: "tweed".to_owned(),
            add: one(add),
            remove: one(remove),
        }
    }

    #[test]
    fn a_change_of_elements_is_known_without_a_look() {
        let after = known(7).after(&change("peers", 2, 1)).unwrap();
        assert_eq!(after.generation, 8);
        let elements = &after.observed.table.unwrap().sets["peers"].elements;
        assert_eq!(*elements, [ElementBytes::from([10, 0, 0, 2])].into());
        let first = known(u32::MAX).after(&change("peers", 2, 1)).unwrap();
        assert_eq!(first.generation, 1, "the kernel has no generation 0");
    }

    #[test]
    fn what_may_change_nothing_or_everything_is_not_known() {
        assert!(known(7).after(&change("peers", 1, 9)).is_none());
        assert!(known(7).after(&change("others", 2, 1)).is_none());
        assert!(
            known(7)
                .after(&Change::Delete("tweed".to_owned()))
                .is_none()
        );
        let nothing = Known {
            generation: 7,
            observed: Observed::default(),
        };
        assert!(nothing.after(&change("peers", 2, 1)).is_none());
    }
}
