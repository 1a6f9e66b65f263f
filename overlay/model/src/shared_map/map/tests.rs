use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Insert(u16, u8),
    Remove(u16),
    Retain(u16),
    Append(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..600_u16, any::<u8>()).prop_map(|(key, value)| Step::Insert(key, value)),
        4 => (0..600_u16).prop_map(Step::Remove),
        1 => (2..9_u16).prop_map(Step::Retain),
        2 => (1..300_u16).prop_map(Step::Append),
    ]
}

fn is_sound(map: &SharedMap<u16, u8>) -> bool {
    let filled = map
        .chunks
        .iter()
        .all(|chunk| (1..=FULL).contains(&chunk.len()));
    let sum: usize = map.chunks.iter().map(|chunk| chunk.len()).sum();
    filled && sum == map.len && map.keys().is_sorted()
}

fn collected(map: &SharedMap<u16, u8>) -> BTreeMap<u16, u8> {
    map.iter().map(|(key, value)| (*key, *value)).collect()
}

proptest! {
    #[test]
    fn it_is_a_sorted_map_and_a_copy_stays_what_it_was(
        first in proptest::collection::vec((0..600_u16, any::<u8>()), 0..500),
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        let mut model: BTreeMap<u16, u8> = first.iter().copied().collect();
        let mut map: SharedMap<u16, u8> = first.into_iter().collect();
        for step in steps {
            let (copy, before) = (map.clone(), model.clone());
            match step {
                Step::Insert(key, value) => {
                    prop_assert_eq!(map.insert(key, value), model.insert(key, value));
                }
                Step::Remove(key) => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                Step::Retain(number) => {
                    map.retain(|key, _| key % number != 0);
                    model.retain(|key, _| key % number != 0);
                }
                Step::Append(count) => {
                    let from = model.keys().next_back().map_or(0, |last| last + 1);
                    let more = (from..from.saturating_add(count)).map(|key| (key, 0));
                    map.extend(more.clone());
                    model.extend(more);
                }
            }
            prop_assert!(is_sound(&map));
            prop_assert_eq!(collected(&map), model.clone());
            prop_assert_eq!(collected(&copy), before.clone());
            prop_assert_eq!(map == copy, model == before);
            let changed: Vec<_> = map.changes(&copy)
                .map(|change| (*change.key, change.before.copied(), change.now.copied()))
                .collect();
            let mut keys: Vec<u16> = model.keys().chain(before.keys()).copied().collect();
            keys.sort_unstable();
            keys.dedup();
            let expected: Vec<_> = keys.into_iter()
                .map(|key| (key, before.get(&key).copied(), model.get(&key).copied()))
                .filter(|(_, before, now)| before != now)
                .collect();
            prop_assert_eq!(changed, expected);
            for key in [0, 1, 300, 599] {
                let below = model.range(..=key).next_back().map(|(key, value)| (*key, *value));
                let found = map.at_or_below(&key).map(|(key, value)| (*key, *value));
                prop_assert_eq!(found, below);
                prop_assert_eq!(map.get(&key), model.get(&key));
            }
        }
    }
}

/// A value that counts how often it is compared.
#[derive(Clone)]
struct Counted(std::rc::Rc<std::cell::Cell<usize>>);

impl PartialEq for Counted {
    fn eq(&self, _: &Self) -> bool {
        self.0.set(self.0.get() + 1);
        true
    }
}

#[test]
fn one_change_among_thousands_compares_one_chunk() {
    let count = std::rc::Rc::default();
    let entries = (0..20_000).map(|key| (2 * key, Counted(std::rc::Rc::clone(&count))));
    let before: SharedMap<u32, Counted> = entries.collect();
    let mut now = before.clone();
    now.insert(12_345, Counted(std::rc::Rc::clone(&count)));
    let keys: Vec<u32> = now.changes(&before).map(|change| *change.key).collect();
    assert_eq!(keys, [12_345]);
    assert!(count.get() <= FULL, "{} comparisons", count.get());
}

#[test]
fn of_several_values_under_one_key_the_last_one_counts() {
    let map = SharedMap::from([(1, 'a'), (2, 'x'), (1, 'b'), (1, 'c')]);
    assert_eq!(map.into_iter().collect::<Vec<_>>(), [(1, 'c'), (2, 'x')]);
}
