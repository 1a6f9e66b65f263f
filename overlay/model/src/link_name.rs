//! The name of an interface, shared by the thousands of entries on it: a copy is a counter, and comparing a name with
//! its copy is comparing two pointers.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// An interface's name.
#[derive(Clone)]
pub struct LinkName(Arc<str>);

impl Deref for LinkName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for LinkName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl Ord for LinkName {
    fn cmp(&self, other: &Self) -> Ordering {
        match Arc::ptr_eq(&self.0, &other.0) {
            true => Ordering::Equal,
            false => self.0.cmp(&other.0),
        }
    }
}

impl PartialOrd for LinkName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for LinkName {}

impl PartialEq for LinkName {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl PartialEq<str> for LinkName {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

impl Hash for LinkName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ordered_as_their_texts_whether_shared_or_not() {
        let (a, b) = (LinkName::from("flannel-v6.1"), LinkName::from("flannel.1"));
        let another = LinkName::from("flannel-v6.1");
        assert!(a < b && a == a.clone() && a == another && a != b);
        assert_eq!(format!("{a} {a:?}"), "flannel-v6.1 \"flannel-v6.1\"");
    }
}
