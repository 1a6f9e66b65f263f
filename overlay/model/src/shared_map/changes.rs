//! How one map differs from another.

use std::cmp::Ordering;
use std::sync::Arc;

use super::map::{Chunk, SharedMap};

/// An entry that is not the same in two maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'a, K, V> {
    /// What the value stands under.
    pub key: &'a K,
    /// Its value in the other map.
    pub before: Option<&'a V>,
    /// Its value in this one.
    pub now: Option<&'a V>,
}

impl<K: Ord, V> SharedMap<K, V> {
    /// What differs from another map, in the order of the keys. Chunks that both share are passed over.
    pub fn changes<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = Change<'a, K, V>>
    where
        V: PartialEq,
    {
        self.changes_by(before, |now, before| now == before)
    }

    /// What differs from another map by another measure of sameness.
    pub fn changes_by<'a>(
        &'a self,
        before: &'a Self,
        same: impl Fn(&V, &V) -> bool,
    ) -> impl Iterator<Item = Change<'a, K, V>> {
        let all = SideBySide {
            before: Cursor::of(before),
            now: Cursor::of(self),
        };
        all.filter(move |change| match (change.before, change.now) {
            (Some(before), Some(now)) => !same(now, before),
            _ => true,
        })
    }
}

/// Where one is in a map.
struct Cursor<'a, K, V> {
    chunks: &'a [Chunk<K, V>],
    at: usize,
}

impl<'a, K, V> Cursor<'a, K, V> {
    fn of(map: &'a SharedMap<K, V>) -> Self {
        Self {
            chunks: &map.chunks,
            at: 0,
        }
    }

    /// The chunk that begins here.
    fn beginning(&self) -> Option<&'a Chunk<K, V>> {
        self.chunks.first().filter(|_| self.at == 0)
    }

    fn peek(&self) -> Option<(&'a K, &'a V)> {
        let (key, value) = self.chunks.first()?.get(self.at)?;
        Some((key, value))
    }

    fn step(&mut self) {
        self.at += 1;
        if self
            .chunks
            .first()
            .is_none_or(|chunk| self.at >= chunk.len())
        {
            self.pass();
        }
    }

    fn pass(&mut self) {
        self.chunks = self.chunks.get(1..).unwrap_or_default();
        self.at = 0;
    }
}

/// All entries of two maps but those in chunks that both share.
struct SideBySide<'a, K, V> {
    before: Cursor<'a, K, V>,
    now: Cursor<'a, K, V>,
}

impl<'a, K: Ord, V> Iterator for SideBySide<'a, K, V> {
    type Item = Change<'a, K, V>;

    fn next(&mut self) -> Option<Self::Item> {
        while let (Some(before), Some(now)) = (self.before.beginning(), self.now.beginning())
            && Arc::ptr_eq(before, now)
        {
            self.before.pass();
            self.now.pass();
        }
        let (before, now) = (self.before.peek(), self.now.peek());
        let order = match (before, now) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((before, _)), Some((now, _))) => before.cmp(now),
        };
        let before = before.filter(|_| order.is_le());
        let now = now.filter(|_| order.is_ge());
        if before.is_some() {
            self.before.step();
        }
        if now.is_some() {
            self.now.step();
        }
        let (key, _) = now.or(before)?;
        Some(Change {
            key,
            before: before.map(|(_, value)| value),
            now: now.map(|(_, value)| value),
        })
    }
}
