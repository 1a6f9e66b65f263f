//! The uplink: the interface over which the other nodes are reached. The rules are in [`select`], the host's interfaces
//! and routes are read in [`facts`].

pub mod facts;
pub mod select;

pub use select::Choice;
