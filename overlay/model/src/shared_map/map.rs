//! A sorted map whose copies share what they have in common. It is kept in chunks: a copy costs a pointer a chunk, a change
//! copies one chunk, and a comparison passes over the chunks that both sides share. So one lease among thousands costs no
//! walk over all of them.

use std::fmt;
use std::mem;
use std::ops::Index;
use std::slice;
use std::sync::Arc;

/// Entries in a chunk at most.
const FULL: usize = 128;
/// Entries in a chunk of a map that is made at once: room for more, and few wasted.
const USUAL: usize = 96;

pub(super) type Chunk<K, V> = Arc<Vec<(K, V)>>;

/// A sorted map. No chunk is empty.
pub struct SharedMap<K, V> {
    pub(super) chunks: Vec<Chunk<K, V>>,
    len: usize,
}

impl<K, V> SharedMap<K, V> {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The entries in the order of their keys.
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter {
            chunks: self.chunks.iter(),
            chunk: [].iter(),
        }
    }

    /// The keys in order.
    pub fn keys(&self) -> impl Iterator<Item = &K> + Clone {
        self.iter().map(|(key, _)| key)
    }

    /// The values in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> + Clone {
        self.iter().map(|(_, value)| value)
    }
}

impl<K: Ord, V> SharedMap<K, V> {
    /// The value under a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        let chunk = self.chunks.get(self.place(key))?;
        let at = find(chunk, key).ok()?;
        Some(&chunk[at].1)
    }

    /// Whether there is a value under a key.
    pub fn contains_key(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// The last entry whose key is not above this one.
    pub fn at_or_below(&self, key: &K) -> Option<(&K, &V)> {
        let place = self.place(key);
        let within = self.chunks.get(place).and_then(|chunk| {
            let below = chunk.partition_point(|(other, _)| other <= key);
            chunk.get(below.checked_sub(1)?)
        });
        let before = || self.chunks.get(place.checked_sub(1)?)?.last();
        let (key, value) = within.or_else(before)?;
        Some((key, value))
    }

    /// The first chunk that ends at this key or above.
    fn place(&self, key: &K) -> usize {
        let below = |chunk: &Chunk<K, V>| chunk.last().is_some_and(|(last, _)| last < key);
        self.chunks.partition_point(below)
    }
}

impl<K: Ord + Clone, V: Clone> SharedMap<K, V> {
    /// Puts a value under a key, and gives the former one.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let last = self.chunks.len().saturating_sub(1);
        let place = self.place(&key).min(last);
        let Some(chunk) = self.chunks.get_mut(place) else {
            self.push(vec![(key, value)]);
            return None;
        };
        let at = match find(chunk, &key) {
            Ok(at) => return Some(mem::replace(&mut Arc::make_mut(chunk)[at].1, value)),
            Err(at) => at,
        };
        // Keys that come in order fill their chunks.
        if place == last && at == chunk.len() && chunk.len() >= USUAL {
            self.push(vec![(key, value)]);
            return None;
        }
        let entries = Arc::make_mut(chunk);
        entries.insert(at, (key, value));
        self.len += 1;
        if entries.len() > FULL {
            let upper = entries.split_off(FULL / 2);
            entries.shrink_to_fit();
            self.chunks.insert(place + 1, Arc::new(upper));
        }
        None
    }

    /// Takes out the value under a key.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let place = self.place(key);
        let chunk = self.chunks.get_mut(place)?;
        let at = find(chunk, key).ok()?;
        self.len -= 1;
        let (_, value) = Arc::make_mut(chunk).remove(at);
        if chunk.is_empty() {
            self.chunks.remove(place);
        }
        Some(value)
    }

    /// The value under a key, to change.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let place = self.place(key);
        let chunk = self.chunks.get_mut(place)?;
        let at = find(chunk, key).ok()?;
        Some(&mut Arc::make_mut(chunk)[at].1)
    }

    /// All values, to change. Nothing stays shared.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        let chunks = self.chunks.iter_mut();
        let entries = chunks.flat_map(|chunk| Arc::make_mut(chunk).iter_mut());
        entries.map(|(_, value)| value)
    }

    /// Changes what differs between two other maps as it differs there.
    pub fn take_over(&mut self, before: &Self, now: &Self)
    where
        V: PartialEq,
    {
        for change in now.changes(before) {
            match change.now {
                Some(value) => drop(self.insert(change.key.clone(), value.clone())),
                None => drop(self.remove(change.key)),
            }
        }
    }

    /// Keeps the entries of which this is true. Chunks that stay whole stay shared.
    pub fn retain(&mut self, mut stays: impl FnMut(&K, &V) -> bool) {
        for chunk in &mut self.chunks {
            if !chunk.iter().all(|(key, value)| stays(key, value)) {
                Arc::make_mut(chunk).retain(|(key, value)| stays(key, value));
            }
        }
        self.chunks.retain(|chunk| !chunk.is_empty());
        self.len = self.chunks.iter().map(|chunk| chunk.len()).sum();
    }

    fn push(&mut self, entries: Vec<(K, V)>) {
        self.len += entries.len();
        self.chunks.push(Arc::new(entries));
    }
}

fn find<K: Ord, V>(chunk: &[(K, V)], key: &K) -> Result<usize, usize> {
    chunk.binary_search_by(|(other, _)| other.cmp(key))
}

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            len: 0,
        }
    }
}

impl<K, V> Clone for SharedMap<K, V> {
    fn clone(&self) -> Self {
        Self {
            chunks: self.chunks.clone(),
            len: self.len,
        }
    }
}

impl<K: Ord, V: PartialEq> PartialEq for SharedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.changes(other).next().is_none()
    }
}

impl<K: Ord, V: Eq> Eq for SharedMap<K, V> {}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for SharedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Ord, V> Index<&K> for SharedMap<K, V> {
    type Output = V;

    /// # Panics
    /// When there is no such key.
    fn index(&self, key: &K) -> &V {
        match self.get(key) {
            Some(value) => value,
            None => panic!("no entry found for key"),
        }
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for SharedMap<K, V> {
    /// Of several values under one key the last one counts.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut entries: Vec<(K, V)> = entries.into_iter().collect();
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        // The later one of two is put in the place of the first, which then goes as the second.
        entries.dedup_by(|later, first| {
            let same = later.0 == first.0;
            if same {
                mem::swap(later, first);
            }
            same
        });
        let len = entries.len();
        let mut rest = entries.into_iter();
        let mut chunks = Vec::with_capacity(len.div_ceil(USUAL));
        while rest.len() > 0 {
            let chunk: Vec<(K, V)> = rest.by_ref().take(USUAL).collect();
            chunks.push(Arc::new(chunk));
        }
        Self { chunks, len }
    }
}

impl<K: Ord, V, const N: usize> From<[(K, V); N]> for SharedMap<K, V> {
    fn from(entries: [(K, V); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl<K: Ord + Clone, V: Clone> Extend<(K, V)> for SharedMap<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        if self.is_empty() {
            *self = entries.into_iter().collect();
            return;
        }
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

impl<K: Clone, V: Clone> IntoIterator for SharedMap<K, V> {
    type Item = (K, V);
    type IntoIter = std::iter::FlatMap<
        std::vec::IntoIter<Chunk<K, V>>,
        Vec<(K, V)>,
        fn(Chunk<K, V>) -> Vec<(K, V)>,
    >;

    fn into_iter(self) -> Self::IntoIter {
        self.chunks.into_iter().flat_map(Arc::unwrap_or_clone)
    }
}

impl<'a, K, V> IntoIterator for &'a SharedMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;

    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}

/// The entries of a [`SharedMap`] in order.
pub struct Iter<'a, K, V> {
    chunks: slice::Iter<'a, Chunk<K, V>>,
    chunk: slice::Iter<'a, (K, V)>,
}

impl<K, V> Clone for Iter<'_, K, V> {
    fn clone(&self) -> Self {
        Self {
            chunks: self.chunks.clone(),
            chunk: self.chunk.clone(),
        }
    }
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((key, value)) = self.chunk.next() {
                return Some((key, value));
            }
            self.chunk = self.chunks.next()?.iter();
        }
    }
}

#[cfg(test)]
mod tests;
