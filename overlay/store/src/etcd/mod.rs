//! etcd v3 with flannel's schema: `<prefix>/config`, and one key a lease below `<prefix>/subnets/`, attached to an etcd
//! lease that its holder renews. A key without an etcd lease is a reservation.
//!
//! Every write is a compare-and-swap. Requests have deadlines and go to another endpoint when one fails.

mod acquire;
mod client;
mod etcd_lease;
mod grant;
mod keep;
mod last_answer;
mod listing;
mod network;
mod options;
mod pulse;
mod stream;
mod watch;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch as channel};
use tweed_model::{ClusterSnapshot, SubnetKey};

pub use self::keep::EtcdHeld;
use self::network::Network;
pub use self::options::EtcdOptions;
use crate::contact::Contact;
use crate::{LeaseStore, Remote, Request, StoreError};

/// One network in etcd.
#[derive(Clone)]
pub struct Etcd(Arc<Network>);

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Etcd").field(&self.0.keys).finish()
    }
}

impl Etcd {
    /// Checks the options. Connections are made when they are needed.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if the options make no sense together.
    pub fn new(options: EtcdOptions) -> Result<Self, StoreError> {
        Ok(Self(Arc::new(Network::new(options)?)))
    }

    /// How long each lease lasts if its node renews it no more.
    ///
    /// # Errors
    /// If etcd can't be read.
    pub async fn time_left(&self) -> Result<BTreeMap<SubnetKey, Duration>, StoreError> {
        etcd_lease::time_left(&self.0).await
    }
}

impl Remote for Etcd {
    async fn servers(&self) -> Vec<String> {
        self.0.cluster.hosts()
    }

    fn redial(&self) {
        self.0.cluster.redial();
    }
}

impl LeaseStore for Etcd {
    type Held = EtcdHeld;
    type Remote = Self;
    type Cluster = Infallible;

    async fn config(&self) -> Result<String, StoreError> {
        let key = self.0.keys.config();
        let get = |client| async move { client::kv(&client).get(key, None).await };
        let response = self
            .0
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

    fn contact(&self) -> Contact {
        self.0.cluster.contact.clone()
    }

    async fn put_config(&self, text: &str) -> Result<(), StoreError> {
        let key = self.0.keys.config();
        let put = |client| async move { client::kv(&client).put(key, text, None).await };
        self.0
            .cluster
            .call("write the network configuration", put)
            .await
            .map(drop)
    }

    async fn acquire(&self, request: &Request) -> Result<EtcdHeld, StoreError> {
        let (lease, attachment) = acquire::acquire(&self.0, request).await?;
        self.0.cluster.contact.renewal();
        Ok(EtcdHeld {
            network: Arc::clone(&self.0),
            lease,
            attachment,
        })
    }

    async fn release(&self, key: &SubnetKey) -> Result<(), StoreError> {
        let name = self.0.keys.subnet(key);
        let delete = |client| {
            let name = name.clone();
            async move { client::kv(&client).delete(name, None).await }
        };
        let response = self.0.cluster.call("release a lease", delete).await?;
        if response.deleted() == 0 {
            return Err(StoreError::NotFound(name));
        }
        Ok(())
    }

    async fn list(&self) -> Result<ClusterSnapshot, StoreError> {
        let listing = listing::read(&self.0.cluster, &self.0.keys).await?;
        Ok(listing.into_snapshot(self.0.next_listing()))
    }

    async fn follow(&self, out: channel::Sender<Arc<ClusterSnapshot>>, relist: Arc<Notify>) {
        watch::follow(&self.0, &out, &relist).await;
    }

    fn remote(&self) -> Option<&Self> {
        Some(self)
    }
}
