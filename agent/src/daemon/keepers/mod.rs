//! Keepers: each looks after one thing that gives no event, or not for each change, in every phase of the daemon. All
//! have one shape and one timer.

pub mod all;
pub mod bridge;
pub mod cni;
pub mod data_plane;
pub mod flanneld;
pub mod host;
pub mod lock;
pub mod node_report;
pub mod records;
mod service;
pub mod socket;
mod state;
pub mod subnet_file;
mod surroundings;
pub mod sysctls;
pub mod tx_checksum;
pub mod uplink;

use std::time::Instant;

use super::facts::Facts;

/// Looks after one thing.
pub trait Keeper {
    /// Does what is due and files the result. Returns news that the daemon must act on.
    fn look(&mut self, facts: &mut Facts, now: Instant) -> Option<News>;
}

/// What the daemon must act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The session must end; the reason.
    SessionEnds(String),
    /// The host's addresses or networks have changed.
    Host,
    /// The kernel is not as it was left.
    Kernel,
}
