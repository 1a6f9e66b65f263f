//! A sorted set whose copies share what they have in common.

use std::fmt;

use super::map::SharedMap;

/// A sorted set in shared chunks, see [`SharedMap`].
pub struct SharedSet<T>(SharedMap<T, ()>);

impl<T> SharedSet<T> {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of members.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The members in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> + Clone {
        self.0.keys()
    }
}

impl<T: Ord> SharedSet<T> {
    /// Whether this is one of them.
    pub fn contains(&self, member: &T) -> bool {
        self.0.contains_key(member)
    }

    /// The last member that is not above this one.
    pub fn at_or_below(&self, member: &T) -> Option<&T> {
        self.0.at_or_below(member).map(|(found, ())| found)
    }

    /// The members that another set has not, in order.
    pub fn difference<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a T> {
        let changes = self.0.changes(&other.0);
        changes.filter_map(|change| change.now.map(|()| change.key))
    }
}

impl<T: Ord + Clone> SharedSet<T> {
    /// Adds a member; whether it is new.
    pub fn insert(&mut self, member: T) -> bool {
        self.0.insert(member, ()).is_none()
    }

    /// Takes a member out; whether it was there.
    pub fn remove(&mut self, member: &T) -> bool {
        self.0.remove(member).is_some()
    }

    /// Changes what differs between two other sets as it differs there.
    pub fn take_over(&mut self, before: &Self, now: &Self) {
        self.0.take_over(&before.0, &now.0);
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Keeps the members of which this is true.
    pub fn retain(&mut self, mut stays: impl FnMut(&T) -> bool) {
        self.0.retain(|member, ()| stays(member));
    }
}

impl<T> Default for SharedSet<T> {
    fn default() -> Self {
        Self(SharedMap::default())
    }
}

impl<T> Clone for SharedSet<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Ord> PartialEq for SharedSet<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T: Ord> Eq for SharedSet<T> {}

impl<T: fmt::Debug> fmt::Debug for SharedSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl<T: Ord> FromIterator<T> for SharedSet<T> {
    fn from_iter<I: IntoIterator<Item = T>>(members: I) -> Self {
        Self(members.into_iter().map(|member| (member, ())).collect())
    }
}

impl<T: Ord, const N: usize> From<[T; N]> for SharedSet<T> {
    fn from(members: [T; N]) -> Self {
        members.into_iter().collect()
    }
}

impl<T: Ord + Clone> Extend<T> for SharedSet<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, members: I) {
        self.0
            .extend(members.into_iter().map(|member| (member, ())));
    }
}
