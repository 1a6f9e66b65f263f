//! Sorted maps and sets whose copies share what they have in common.

mod changes;
mod map;
mod set;

pub use changes::Change;
pub use map::{Iter, SharedMap};
pub use set::SharedSet;
