//! The wanted state of this node ([`desired()`]), carried on lease by lease ([`planner`]), and what of a plan is held back
//! ([`guard`]). Pure.

pub mod carried;
mod claims;
pub mod desired;
#[cfg(any(test, feature = "test-util"))]
pub mod example;
pub mod guard;
pub mod planner;

pub use carried::keeping;
pub use desired::{Choices, desired};
pub use guard::{Guard, GuardVerdict, Held};
pub use planner::{Grain, Planner, World};

#[cfg(test)]
mod tests;
