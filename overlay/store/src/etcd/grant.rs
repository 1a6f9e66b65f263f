//! The writes that take a lease: each is one transaction that changes nothing unless the world is as it was read.
//!
//! A key is created only if neither it nor any key with the same IPv4 subnet exists. Overlaps that a key range can't
//! express (equal IPv6 under another IPv4, other lengths) show in the same transaction: it also reads what has been
//! created since the list. A node that finds an overlapping key there came second, and takes its own key back.

use etcd_client::{Compare, CompareOp, GetOptions, KeyValue, PutOptions, Txn, TxnOp, TxnResponse};
use tweed_model::subnet::keys_overlap;
use tweed_model::{Dual, SubnetKey};

use super::client;
use super::listing::{Entry, Listing, gets};
use super::network::Network;
use crate::StoreError;

/// How an attempt to create a key ended.
pub(super) enum Created {
    /// At this revision.
    Yes(i64),
    /// Somebody else was quicker.
    Overtaken,
}

impl Network {
    /// Creates a key that overlaps nothing in `listing`, and removes own leases that it replaces.
    pub(super) async fn create(
        &self,
        listing: &Listing,
        key: &SubnetKey,
        value: &str,
        id: i64,
        replaced: &[&Entry],
    ) -> Result<Created, StoreError> {
        let name = self.keys.subnet(key);
        let mut conditions = vec![Compare::version(name.clone(), CompareOp::Equal, 0)];
        conditions.extend(self.no_new_sibling(key, listing.revision));
        let mut steps = Vec::new();
        self.remove(replaced, &mut conditions, &mut steps);
        let put = PutOptions::new().with_lease(id);
        steps.push(TxnOp::put(name.clone(), value, Some(put)));
        let later = GetOptions::new()
            .with_prefix()
            .with_min_create_revision(listing.revision + 1);
        steps.push(TxnOp::get(
            self.keys.subnets(),
            Some(later.with_keys_only()),
        ));
        let response = self.transact("take a lease", conditions, steps).await?;
        if !response.succeeded() {
            return Ok(Created::Overtaken);
        }
        let revision = revision_of(&response);
        let first = gets(response.op_responses())
            .flat_map(|mut get| get.take_kvs())
            .any(|pair| self.came_first(&pair, key, revision));
        if first {
            self.withdraw(key, id).await?;
            return Ok(Created::Overtaken);
        }
        Ok(Created::Yes(revision))
    }

    /// No key with this IPv4 subnet has been created since the list: nothing stands between `10.5.34.0-24` and
    /// `10.5.34.0-24'`, the character after `&`, but the keys with and without an IPv6 subnet.
    fn no_new_sibling(&self, key: &SubnetKey, revision: i64) -> Option<Compare> {
        let v4 = SubnetKey(Dual {
            v4: Some(key.0.v4?),
            v6: None,
        });
        let start = self.keys.subnet(&v4);
        let end = format!("{start}'");
        Some(Compare::create_revision(start, CompareOp::Less, revision + 1).with_range(end))
    }

    fn came_first(&self, pair: &KeyValue, key: &SubnetKey, revision: i64) -> bool {
        pair.create_revision() < revision
            && match self.keys.parse_subnet(pair.key()) {
                Some(Ok(other)) => keys_overlap(&other, key),
                _ => false,
            }
    }

    /// Takes back a key that this process has just created.
    pub(super) async fn withdraw(&self, key: &SubnetKey, id: i64) -> Result<(), StoreError> {
        let name = self.keys.subnet(key);
        let ours = vec![Compare::lease(name.clone(), CompareOp::Equal, id)];
        let delete = vec![TxnOp::delete(name, None)];
        self.transact("withdraw a lease", ours, delete)
            .await
            .map(drop)
    }

    /// Replaces the value and the etcd lease (0 for none) of a key if nobody has touched it since revision `changed`, and
    /// removes own leases that it replaces. Answers the new revision.
    pub(super) async fn replace(
        &self,
        key: &SubnetKey,
        changed: i64,
        value: &str,
        id: i64,
        replaced: &[&Entry],
    ) -> Result<Option<i64>, StoreError> {
        let name = self.keys.subnet(key);
        let mut conditions = vec![Compare::mod_revision(
            name.clone(),
            CompareOp::Equal,
            changed,
        )];
        let mut steps = Vec::new();
        self.remove(replaced, &mut conditions, &mut steps);
        let put = PutOptions::new().with_lease(id);
        steps.push(TxnOp::put(name, value, Some(put)));
        let response = self.transact("update a lease", conditions, steps).await?;
        Ok(response.succeeded().then(|| revision_of(&response)))
    }

    /// Adds the removal of own leases to a transaction, ahead of the key that replaces them: watchers see the steps in
    /// this order, and a flanneld (v0.28) that is told of `10.5.34.0-24` and `10.5.34.0-24&fd00::-64` at the same time,
    /// as when a node becomes dual-stack, ends with a nil pointer dereference.
    fn remove(&self, entries: &[&Entry], conditions: &mut Vec<Compare>, steps: &mut Vec<TxnOp>) {
        for entry in entries {
            let name = self.keys.subnet(&entry.lease.key);
            conditions.push(Compare::mod_revision(
                name.clone(),
                CompareOp::Equal,
                entry.changed,
            ));
            steps.push(TxnOp::delete(name, None));
        }
    }

    pub(super) async fn transact(
        &self,
        what: &str,
        conditions: Vec<Compare>,
        steps: Vec<TxnOp>,
    ) -> Result<TxnResponse, StoreError> {
        let txn = Txn::new().when(conditions).and_then(steps);
        let send = |client| {
            let txn = txn.clone();
            async move { client::kv(&client).txn(txn).await }
        };
        self.cluster.call(what, send).await
    }
}

/// The revision at which a transaction was answered; at its write, if it wrote.
pub(super) fn revision_of(response: &TxnResponse) -> i64 {
    response.header().map_or(0, |header| header.revision())
}
