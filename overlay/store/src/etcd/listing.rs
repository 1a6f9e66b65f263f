//! What etcd holds for one network: read whole, then carried on by events.

use std::collections::BTreeMap;
use std::sync::Arc;

use etcd_client::{Event, EventType, GetOptions, GetResponse, KeyValue, Txn, TxnOp, TxnOpResponse};
use tweed_model::lease::Term;
use tweed_model::wire::{self, EtcdKeys, WireError};
use tweed_model::{ClusterSnapshot, Lease, LeaseAttrs, SubnetKey, shown};

use super::client::{self, Cluster};
use crate::{MOST_ENTRIES, StoreError};

/// A lease as etcd holds it.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) lease: Lease,
    /// The etcd lease that the key is attached to; 0 for a reservation.
    pub(super) id: i64,
    /// Revision of the last change, for compare-and-swap.
    pub(super) changed: i64,
    /// The value as it stands.
    pub(super) value: Vec<u8>,
}

/// The whole of one network at one revision.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) revision: i64,
    pub(super) entries: BTreeMap<SubnetKey, Entry>,
    /// Subnets whose entry can't be read, and the revision of its last change.
    pub(super) unreadable: BTreeMap<SubnetKey, i64>,
    pub(super) broken: BTreeMap<String, String>,
    pub(super) config: Option<String>,
}

/// Reads the configuration and all leases at one revision, linearizably.
pub(super) async fn read(cluster: &Cluster, keys: &EtcdKeys) -> Result<Listing, StoreError> {
    let both = Txn::new().and_then([
        TxnOp::get(keys.config(), None),
        TxnOp::get(keys.subnets(), Some(GetOptions::new().with_prefix())),
    ]);
    let response = cluster
        .call("list leases", |client| {
            let both = both.clone();
            async move { client::kv(&client).txn(both).await }
        })
        .await?;
    let mut listing = Listing {
        revision: response.header().map_or(0, |header| header.revision()),
        ..Listing::default()
    };
    for part in gets(response.op_responses()) {
        for pair in part.kvs() {
            listing.put(keys, pair);
        }
    }
    bounded(listing.entries.len() + listing.broken.len())?;
    Ok(listing)
}

/// So many entries may be held, however short they are.
///
/// # Errors
/// When there are more.
pub(super) fn bounded(entries: usize) -> Result<(), StoreError> {
    match entries > MOST_ENTRIES {
        true => Err(StoreError::Unavailable(format!(
            "there are more than {MOST_ENTRIES} entries, more than any network has nodes: remove those that are no node's"
        ))),
        false => Ok(()),
    }
}

/// The answers to a transaction's reads.
pub(super) fn gets(responses: Vec<TxnOpResponse>) -> impl Iterator<Item = GetResponse> {
    responses.into_iter().filter_map(|response| match response {
        TxnOpResponse::Get(get) => Some(get),
        _ => None,
    })
}

/// Reads one pair below the subnets folder.
pub(super) fn entry(key: SubnetKey, pair: &KeyValue) -> Result<Entry, WireError> {
    Ok(Entry {
        lease: lease(key, wire::parse_attrs(pair.value())?, pair),
        id: pair.lease(),
        changed: pair.mod_revision(),
        value: pair.value().to_vec(),
    })
}

fn lease(key: SubnetKey, attrs: LeaseAttrs, pair: &KeyValue) -> Lease {
    Lease {
        key,
        attrs,
        node: None,
        created: pair.create_revision().unsigned_abs(),
        term: if pair.lease() == 0 {
            Term::Reserved
        } else {
            Term::Leased
        },
    }
}

impl Listing {
    fn put(&mut self, keys: &EtcdKeys, pair: &KeyValue) {
        if pair.key() == keys.config().as_bytes() {
            self.config = Some(text(pair.value()));
            return;
        }
        let Some(parsed) = keys.parse_subnet(pair.key()) else {
            return;
        };
        // A second spelling of a subnet is no lease, but nobody should be given that subnet.
        let subnet = match &parsed {
            Ok(key) | Err(WireError::NotCanonical { want: key, .. }) => Some(*key),
            Err(_) => None,
        };
        match parsed.and_then(|key| entry(key, pair)) {
            Ok(entry) => {
                self.entries.insert(entry.lease.key, entry);
            }
            Err(error) => {
                self.unreadable
                    .extend(subnet.map(|key| (key, pair.mod_revision())));
                self.broken.insert(named(pair.key()), error.to_string());
            }
        }
    }

    /// The leases as the rest of the program sees them.
    pub(super) fn leases(&self) -> Vec<&Lease> {
        self.entries.values().map(|entry| &entry.lease).collect()
    }

    pub(super) fn into_snapshot(self, listings: u64) -> ClusterSnapshot {
        ClusterSnapshot {
            leases: self
                .entries
                .into_iter()
                .map(|(key, entry)| (key, entry.lease.into()))
                .collect(),
            broken: self.broken,
            in_sync: true,
            listings,
            config: self.config,
        }
    }
}

/// Carries a snapshot on by one event. False if nothing that it says is news.
pub(super) fn apply(snapshot: &mut ClusterSnapshot, keys: &EtcdKeys, event: &Event) -> bool {
    let Some(pair) = event.kv() else {
        return false;
    };
    let put = event.event_type() == EventType::Put;
    if pair.key() == keys.config().as_bytes() {
        let config = put.then(|| text(pair.value()));
        let news = snapshot.config != config;
        snapshot.config = config;
        return news;
    }
    let Some(parsed) = keys.parse_subnet(pair.key()) else {
        return false;
    };
    let name = named(pair.key());
    let subnet = parsed.as_ref().ok().copied();
    let (lease, reason) = match parsed.and_then(|key| entry(key, pair)) {
        _ if !put => (None, None),
        Ok(entry) => (Some(Arc::new(entry.lease)), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let old_lease = match (subnet, lease.clone()) {
        (Some(key), Some(lease)) => snapshot.leases.insert(key, lease),
        (Some(key), None) => snapshot.leases.remove(&key),
        (None, _) => None,
    };
    let old_reason = match reason.clone() {
        Some(reason) => snapshot.broken.insert(name, reason),
        None => snapshot.broken.remove(&name),
    };
    old_lease != lease || old_reason != reason
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A key as messages and the list of broken entries have it.
fn named(bytes: &[u8]) -> String {
    shown(&String::from_utf8_lossy(bytes)).into_owned()
}
