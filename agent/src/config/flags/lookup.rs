//! All flags, and one by its name.

use super::flag::Flag;
use super::table::GROUPS;

/// Every flag of `tweedd run`.
pub fn all() -> impl Iterator<Item = &'static Flag> {
    GROUPS.iter().flat_map(|group| group.flags.iter().copied())
}

/// The flag of that name.
pub fn find(name: &str) -> Option<&'static Flag> {
    all().find(|flag| flag.name == name)
}
