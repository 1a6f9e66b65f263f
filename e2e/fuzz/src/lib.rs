//! Inputs without end, each made from its number alone, and the loop that gives them to a target.
#![allow(clippy::unwrap_used, reason = "only tests use it")]

mod run;
mod source;
mod text;

pub use run::{fuzz, fuzz_one_in};
pub use source::Source;
pub use text::changed;
