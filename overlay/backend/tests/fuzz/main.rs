//! Inputs without end for all that reads bytes from others: packets, super-packets, and the texts of the store. `cargo
//! test` takes the first few thousand of each target; `make fuzz` takes a million, from another place each time.
//!
//! An input is made from its number alone, so that a number is all that is needed to see a failure again. Most inputs
//! are right packets of which little has been changed: noise alone never gets past the first check. Each target says
//! how many it must accept at least, so that one that no longer reaches the code fails.
#![allow(clippy::unwrap_used, reason = "a test says what it expects")]

mod cutting;
mod deciding;
mod dhcp;
mod gathering;
mod headers;
mod joining;
mod judge;
mod oracle;
mod packets;
mod texts;
