//! All that a store knows at one moment. Consumers see whole snapshots, never events.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Lease, SharedMap, SubnetKey};

/// The content of a lease store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterSnapshot {
    /// Every lease that could be read, the own one included. The next snapshot shares those that stay the same.
    pub leases: SharedMap<SubnetKey, Arc<Lease>>,
    /// Entries that could not be read: the store's key, and why. They harm nobody else.
    pub broken: BTreeMap<String, String>,
    /// False until the first full list has arrived, or while only saved peers are known. Nothing is deleted before.
    pub in_sync: bool,
    /// How many full, linearizable lists this snapshot has seen. A plan that the guard held back waits for a higher one.
    pub listings: u64,
    /// The raw network configuration text as last seen, where the store watches it.
    pub config: Option<String>,
}
