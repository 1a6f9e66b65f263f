//! One network in etcd: its cluster, and where its keys stand.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tweed_model::wire::EtcdKeys;

use super::client::Cluster;
use super::options::EtcdOptions;
use crate::StoreError;

pub(super) struct Network {
    pub(super) cluster: Cluster,
    pub(super) keys: EtcdKeys,
    /// All leases are listed afresh after this at the latest.
    pub(super) relist: Duration,
    listings: AtomicU64,
}

impl Network {
    pub(super) fn new(options: EtcdOptions) -> Result<Self, StoreError> {
        Ok(Self {
            keys: EtcdKeys::new(&options.prefix),
            relist: options.relist,
            cluster: Cluster::new(options)?,
            listings: AtomicU64::new(0),
        })
    }

    pub(super) fn next_listing(&self) -> u64 {
        self.listings.fetch_add(1, Ordering::Relaxed) + 1
    }
}
