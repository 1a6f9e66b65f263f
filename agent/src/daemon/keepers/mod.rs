//! Keepers: each looks after one thing that gives no event, or not for each change, in every phase of the daemon. All
//! have one shape and one timer, which each of them sets.

pub mod all;
pub mod bridge;
pub mod cni;
pub mod collection;
pub mod data_plane;
pub mod events;
pub mod file_look;
pub mod flanneld;
pub mod hindrances;
pub mod host;
pub mod lock;
pub mod node_report;
mod service;
pub mod socket;
mod state;
pub mod subnet_file;
pub mod tx_checksum;
pub mod uplink;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::facts::Facts;

/// Looks at intervals are made at multiples of this time, so that one wake-up does for all of them.
const TOGETHER: Duration = Duration::from_secs(10);

/// The last such time within a period, which is no shorter.
fn next_look(now: Instant, period: Duration) -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let origin = *ORIGIN.get_or_init(|| now);
    let since = (now + period).saturating_duration_since(origin);
    let beyond = since.as_nanos() % TOGETHER.as_nanos();
    let beyond = u64::try_from(beyond).unwrap_or_default();
    now + period - Duration::from_nanos(beyond)
}

/// Until the next attempt at what is not as it should be, and can only be looked at.
const SOON: Duration = Duration::from_millis(500);

/// Looks after one thing.
pub trait Keeper {
    /// Does what is due and files the result. Returns news that the daemon must act on.
    fn look(&mut self, facts: &mut Facts, now: Instant) -> Option<News>;

    /// When it is to look without an event; none while it waits for one.
    fn due(&self) -> Option<Instant>;
}

/// What the daemon must act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The session must end; the reason.
    SessionEnds(String),
    /// The host's addresses or networks have changed.
    Host,
    /// Attachments are to be looked at.
    Attached,
}
