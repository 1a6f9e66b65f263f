//! etcd v3 with flannel's schema: `<prefix>/config`, and one key a lease below `<prefix>/subnets/`, attached to an etcd
//! lease that its holder renews. A key without an etcd lease is a reservation.
//!
//! Every write is a compare-and-swap. Requests have deadlines and go to another endpoint when one fails.

mod acquire;
mod client;
mod grant;
mod keep;
mod listing;
mod options;
mod pulse;
mod watch;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch as channel};

use self::client::Cluster;
pub use self::options::Options;
use tweed_model::wire::EtcdKeys;
use tweed_model::{ClusterSnapshot, Lease, SubnetKey};

use super::{Ended, Holding, LeaseStore, Request, StoreError};

/// One network in etcd.
pub struct Etcd {
    cluster: Cluster,
    keys: EtcdKeys,
    /// What this process knows about the leases that it acquired.
    tenures: Mutex<BTreeMap<SubnetKey, Tenure>>,
    listings: AtomicU64,
    /// All leases are listed afresh after this at the latest.
    relist: Duration,
}

/// The part of an own lease that only etcd knows about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tenure {
    /// The etcd lease to which the key is attached, 0 for a reservation.
    id: i64,
    ttl: Duration,
}

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Etcd")
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

impl Etcd {
    /// Checks the options. Connections are made when they are needed.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if the options make no sense together.
    pub fn new(options: Options) -> Result<Self, StoreError> {
        Ok(Self {
            keys: EtcdKeys::new(&options.prefix),
            relist: options.relist,
            cluster: Cluster::new(options)?,
            tenures: Mutex::default(),
            listings: AtomicU64::new(0),
        })
    }

    fn next_listing(&self) -> u64 {
        self.listings.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn remember(&self, key: SubnetKey, tenure: Tenure) {
        self.tenures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key, tenure);
    }

    fn recall(&self, key: &SubnetKey) -> Option<Tenure> {
        self.tenures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .copied()
    }
}

impl LeaseStore for Etcd {
    async fn config(&self) -> Result<String, StoreError> {
        let key = self.keys.config();
        let get = |client| async move { client::kv(&client).get(key, None).await };
        let response = self
            .cluster
            .call("read the network configuration", get)
            .await?;
        match response.kvs().first() {
            Some(pair) => Ok(String::from_utf8_lossy(pair.value()).into_owned()),
            None => Err(StoreError::NoConfig {
                at: format!("etcd key {key}"),
                fix: format!(
                    "write it with `tweedd config set`, or: etcdctl put {key} '{{\"Network\":\"10.5.0.0/16\",\
                     \"Backend\":{{\"Type\":\"vxlan\"}}}}'"
                ),
            }),
        }
    }

    async fn put_config(&self, text: &str) -> Result<(), StoreError> {
        let key = self.keys.config();
        let put = |client| async move { client::kv(&client).put(key, text, None).await };
        self.cluster
            .call("write the network configuration", put)
            .await
            .map(drop)
    }

    async fn acquire(&self, request: &Request) -> Result<Lease, StoreError> {
        acquire::acquire(self, request).await
    }

    async fn keep(&self, lease: &Lease, standing: channel::Sender<Holding>) -> Ended {
        Ended::Taken(keep::keep(self, lease, &standing).await)
    }

    async fn release(&self, key: &SubnetKey) -> Result<(), StoreError> {
        let name = self.keys.subnet(key);
        let delete = |client| {
            let name = name.clone();
            async move { client::kv(&client).delete(name, None).await }
        };
        let response = self.cluster.call("release a lease", delete).await?;
        if response.deleted() == 0 {
            return Err(StoreError::NotFound(name));
        }
        Ok(())
    }

    fn redial(&self) {
        self.cluster.redial();
    }

    fn heard(&self) -> Option<Instant> {
        self.cluster.heard().map(Into::into)
    }

    async fn servers(&self) -> Vec<String> {
        self.cluster.hosts()
    }

    async fn list(&self) -> Result<ClusterSnapshot, StoreError> {
        let listing = listing::read(&self.cluster, &self.keys).await?;
        Ok(listing.into_snapshot(self.next_listing()))
    }

    async fn time_left(&self) -> Result<BTreeMap<SubnetKey, Duration>, StoreError> {
        listing::time_left(self).await
    }

    async fn follow(&self, out: channel::Sender<Arc<ClusterSnapshot>>, relist: Arc<Notify>) {
        watch::follow(self, &out, &relist).await;
    }
}
