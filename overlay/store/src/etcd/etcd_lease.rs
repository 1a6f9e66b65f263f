//! etcd leases: what keys are attached to, and end with.

use std::collections::BTreeMap;
use std::time::Duration;

use etcd_client::{Client, Error, LeaseGrantOptions};
use futures::{StreamExt, stream};
use tweed_host::random;
use tweed_model::SubnetKey;

use super::listing::{self, Entry};
use super::network::Network;
use crate::StoreError;

/// So many etcd leases are asked about at once.
const ASKED_AT_ONCE: usize = 16;

/// The etcd lease of an own key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attachment {
    /// Its number; 0 for a reservation, which has none.
    pub(super) id: i64,
    /// From one renewal on.
    pub(super) ttl: Duration,
}

impl Attachment {
    /// The etcd lease, where there is one.
    pub(super) fn live(&self) -> Option<i64> {
        Some(self.id).filter(|id| *id != 0)
    }
}

/// The times of an etcd lease.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lasts {
    /// Without another renewal.
    pub(super) left: Duration,
    /// From one renewal on.
    pub(super) granted: Duration,
}

impl Network {
    /// A new etcd lease. Its number is chosen here, so that a request whose answer got lost can be repeated without
    /// leaving a second one behind for a day.
    pub(super) async fn new_etcd_lease(&self, ttl: Duration) -> Result<i64, StoreError> {
        let id = i64::try_from(random::bits() >> 1)
            .unwrap_or(i64::MAX)
            .max(1);
        let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX).max(1);
        let options = LeaseGrantOptions::new().with_id(id);
        let grant = |mut client: Client| {
            let options = options.clone();
            async move {
                match client.lease_grant(seconds, Some(options)).await {
                    Err(Error::GRpcStatus(status))
                        if status.message().contains("lease already exists") =>
                    {
                        Ok(())
                    }
                    result => result.map(drop),
                }
            }
        };
        self.cluster.call("grant an etcd lease", grant).await?;
        Ok(id)
    }

    /// Renews an etcd lease. False if there is none any more.
    pub(super) async fn renew(&self, id: i64) -> Result<bool, StoreError> {
        let renew = |mut client: Client| async move {
            match client.lease_keep_alive(id).await {
                Ok(_) => Ok(true),
                Err(Error::LeaseKeepAliveError(reason)) if reason.contains("not found") => {
                    Ok(false)
                }
                Err(error) => Err(error),
            }
        };
        let renewed = self.cluster.call("renew an etcd lease", renew).await?;
        if renewed {
            self.cluster.contact.renewal();
        }
        Ok(renewed)
    }

    /// How long an etcd lease lasts; `None` if there is none any more.
    pub(super) async fn lasts(&self, id: i64) -> Result<Option<Lasts>, StoreError> {
        let look = |mut client: Client| async move { client.lease_time_to_live(id, None).await };
        let answer = self.cluster.call("look at an etcd lease", look).await?;
        let seconds = |number| u64::try_from(number).ok().map(Duration::from_secs);
        let left = seconds(answer.ttl()).filter(|left| !left.is_zero());
        Ok(left
            .zip(seconds(answer.granted_ttl()))
            .map(|(left, granted)| Lasts { left, granted }))
    }

    /// Gives an etcd lease up that no key is attached to. Should that fail it runs out by itself.
    pub(super) async fn drop_etcd_lease(&self, id: i64) {
        let revoke = |mut client: Client| async move { client.lease_revoke(id).await.map(drop) };
        if let Err(error) = self.cluster.call("revoke an etcd lease", revoke).await {
            tracing::debug!(%error, "an unused etcd lease stays until it runs out");
        }
    }
}

/// How long each key's etcd lease lasts without another renewal.
pub(super) async fn time_left(
    network: &Network,
) -> Result<BTreeMap<SubnetKey, Duration>, StoreError> {
    let listing = listing::read(&network.cluster, &network.keys).await?;
    let leased = listing
        .entries
        .into_iter()
        .filter(|(_, entry)| entry.id != 0);
    let ask = |(key, entry): (SubnetKey, Entry)| async move {
        let time = network.lasts(entry.id).await?;
        Ok::<_, StoreError>(time.map(|time| (key, time.left)))
    };
    let mut answers = stream::iter(leased.map(ask)).buffer_unordered(ASKED_AT_ONCE);
    let mut left = BTreeMap::new();
    while let Some(answer) = answers.next().await {
        left.extend(answer?);
    }
    Ok(left)
}
