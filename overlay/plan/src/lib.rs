//! The wanted state of this node ([`desired()`]), and what of a plan is held back ([`guard`]). Pure.

pub mod carried;
pub mod desired;
pub mod guard;

pub use carried::keeping;
pub use desired::{Choices, desired};
pub use guard::{Guard, Held, Verdict};

#[cfg(test)]
mod tests;
