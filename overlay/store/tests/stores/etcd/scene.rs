//! What stands in etcd, and tasks that keep and follow.

use etcd_client::{Client, PutOptions};
use tweed_model::{ClusterSnapshot, Lease, SubnetKey};
use tweed_store::etcd::Etcd;
use tweed_store::{Held, LeaseStore, Request};

use super::server::PREFIX;
pub(crate) use crate::nodes::*;

pub(crate) fn etcd_key(key: &SubnetKey) -> String {
    format!("{PREFIX}/subnets/{key}")
}

/// Puts a lease as flannel or an operator does: without any condition.
pub(crate) async fn put(client: &mut Client, key: &str, value: &str, etcd_lease: i64) {
    let options = PutOptions::new().with_lease(etcd_lease);
    client
        .put(format!("{PREFIX}/subnets/{key}"), value, Some(options))
        .await
        .unwrap();
}

/// The number of the store's last change.
pub(crate) async fn revision(client: &mut Client) -> i64 {
    let response = client.get("x", None).await.unwrap();
    response.header().unwrap().revision()
}

pub(crate) async fn value_of(client: &mut Client, key: &SubnetKey) -> Option<String> {
    let response = client.get(etcd_key(key), None).await.unwrap();
    response
        .kvs()
        .first()
        .map(|pair| pair.value_str().unwrap().to_owned())
}

pub(crate) async fn etcd_lease_of(client: &mut Client, key: &SubnetKey) -> i64 {
    client.get(etcd_key(key), None).await.unwrap().kvs()[0].lease()
}

/// Takes a lease and keeps it.
pub(crate) async fn keep(store: &Etcd, request: &Request) -> (Lease, Kept) {
    let held = store.acquire(request).await.unwrap();
    let lease = held.lease().clone();
    let kept = Kept::by(|standing| tokio::spawn(held.keep(standing)));
    (lease, kept)
}

pub(crate) fn follow(store: Etcd) -> Followed {
    follow_from(store, ClusterSnapshot::default())
}

pub(crate) fn follow_from(store: Etcd, saved: ClusterSnapshot) -> Followed {
    Followed::by(saved, |out, relist| {
        tokio::spawn(async move { store.follow(out, relist).await })
    })
}
