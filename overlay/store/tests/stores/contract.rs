//! What holds for every store in which nodes lease their subnets themselves, whatever stands behind it. Kubernetes
//! assigns them: what it shares with the others is in [`super::kube`].

use std::time::Duration;

use tokio::task::{LocalSet, spawn_local};
use tokio::time::Instant;
use tweed_model::lease::Term;
use tweed_model::subnet::keys_overlap;
use tweed_model::{ClusterSnapshot, Lease, SubnetKey, wire};
use tweed_store::{Held, LeaseStore, StoreError};

use crate::nodes::*;

/// A network in a store, on which each node has a store of its own.
pub(crate) trait Network {
    type Store: LeaseStore + 'static;

    /// An empty one.
    async fn start() -> Self;

    fn node(&self) -> Self::Store;

    /// Writes a lease as an operator or another program does: unconditionally.
    async fn put(&self, key: &SubnetKey, text: &str);
}

fn keep(held: impl Held + 'static) -> (Lease, Kept) {
    let lease = held.lease().clone();
    let kept = Kept::by(|standing| spawn_local(held.keep(standing)));
    (lease, kept)
}

fn follow(store: impl LeaseStore + 'static) -> Followed {
    Followed::by(ClusterSnapshot::default(), |out, relist| {
        spawn_local(async move { store.follow(out, relist).await })
    })
}

async fn nodes_get_a_subnet_each_and_find_it_again(network: impl Network) {
    let mut leases = Vec::new();
    for n in 1..=5 {
        leases.push(take(&network.node(), &request(v4(), n)).await);
    }
    for (n, lease) in (1..).zip(&leases) {
        let others = leases.iter().filter(|other| *other != lease);
        assert!(
            others
                .into_iter()
                .all(|other| !keys_overlap(&other.key, &lease.key))
        );
        assert_eq!(take(&network.node(), &request(v4(), n)).await, *lease);
    }
    let listed = network.node().list().await.unwrap();
    assert!(listed.in_sync && listed.broken.is_empty());
    for lease in &leases {
        assert_eq!(*listed.leases[&lease.key], *lease);
    }
}

async fn a_remembered_subnet_is_taken_again_when_it_is_free_and_left_to_another(
    network: impl Network,
) {
    let mut wish = request(v4(), 1);
    wish.previous = vec![key("10.5.200.0-24").0];
    let lease = take(&network.node(), &wish).await;
    assert_eq!(lease.key, key("10.5.200.0-24"));
    wish.attrs = attrs(&v4(), 2);
    let other = take(&network.node(), &wish).await;
    assert!(!keys_overlap(&other.key, &lease.key));
}

async fn a_process_whose_address_or_backend_changes_goes_on_with_its_lease_at_once(
    network: impl Network,
) {
    let store = network.node();
    let first = request(v4(), 1);
    let before = take(&store, &first).await;
    let mut moved = request(v4(), 2);
    moved.attrs.data = first.attrs.data.clone();
    let mut converted = moved.clone();
    converted.attrs.backend_type = "host-gw".into();
    converted.attrs.data.v4 = None;
    let mut announced = first.attrs;
    for mut changed in [moved, converted] {
        changed.held = Some((before.key, before.created));
        changed.announced = Some(announced);
        let start = Instant::now();
        let after = take(&store, &changed).await;
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "it asked somebody"
        );
        assert_eq!((after.key, after.created), (before.key, before.created));
        let listed = store.list().await.unwrap();
        assert_eq!(listed.leases[&before.key].attrs, changed.attrs);
        announced = changed.attrs;
    }
}

async fn a_twin_takes_nothing_from_a_holder_that_lives_and_a_reinstalled_node_gets_its_own(
    network: impl Network,
) {
    let held = network.node().acquire(&request(v4(), 1)).await.unwrap();
    let (lease, mut kept) = keep(held);
    kept.until_held().await;
    let mut twin = request(v4(), 1);
    twin.attrs.data.v4 = Some(mac_data(99));
    let mut clone = request(v4(), 2);
    clone.attrs.data = lease.attrs.data.clone();
    clone.previous = vec![lease.key.0];
    for other in [&twin, &clone] {
        let other = take(&network.node(), other).await;
        assert!(!keys_overlap(&other.key, &lease.key));
        network.node().release(&other.key).await.unwrap();
    }
    let listed = network.node().list().await.unwrap();
    assert_eq!(listed.leases[&lease.key].attrs, lease.attrs);

    kept.die().await;
    let back = take(&network.node(), &twin).await;
    assert_eq!((back.key, back.created), (lease.key, lease.created));
}

async fn a_kept_lease_is_put_back_and_given_up_to_another_holder(network: impl Network) {
    let held = network.node().acquire(&request(v4(), 1)).await.unwrap();
    let (lease, mut kept) = keep(held);
    kept.until_held().await;
    let whole = async || {
        let listed = network.node().list().await.unwrap();
        let stands = listed.leases.get(&lease.key);
        stands.is_some_and(|stands| stands.attrs == lease.attrs)
    };
    network.node().release(&lease.key).await.unwrap();
    eventually("the lease is back", &whole).await;
    let edited = wire::format_attrs(&lease.attrs).replace("vxlan", "edited");
    network.put(&lease.key, &edited).await;
    eventually("the text is back", &whole).await;
    kept.until_held().await;
    let other = attrs(&v4(), 9);
    network.put(&lease.key, &wire::format_attrs(&other)).await;
    assert_eq!(kept.taken_by().await, other.public);
    let listed = network.node().list().await.unwrap();
    assert_eq!(listed.leases[&lease.key].attrs, other, "it is left alone");
}

async fn followers_see_leases_and_configuration_come_change_and_go(network: impl Network) {
    let mut followed = follow(network.node());
    let empty = followed.until(|snapshot| snapshot.in_sync).await;
    assert_eq!((empty.leases.len(), empty.listings), (0, 1));
    let first = take(&network.node(), &request(v4(), 1)).await;
    let is = |lease: &Lease| {
        let lease = lease.clone();
        move |snapshot: &ClusterSnapshot| {
            let stands = snapshot.leases.get(&lease.key);
            stands.is_some_and(|stands| **stands == lease)
        }
    };
    followed.until(is(&first)).await;
    let second = take(&network.node(), &request(v4(), 2)).await;
    followed.until(is(&second)).await;
    let moved = attrs(&v4(), 3);
    network.put(&second.key, &wire::format_attrs(&moved)).await;
    let now = followed
        .until(|snapshot| {
            let stands = snapshot.leases.get(&second.key);
            stands.is_some_and(|stands| stands.attrs == moved)
        })
        .await;
    assert_eq!(now.leases[&second.key].created, second.created);
    network.node().release(&first.key).await.unwrap();
    followed
        .until(|snapshot| !snapshot.leases.contains_key(&first.key))
        .await;
    network.node().put_config("{}").await.unwrap();
    let now = followed
        .until(|snapshot| snapshot.config.as_deref() == Some("{}"))
        .await;
    assert_eq!(now.listings, 1);
    followed.relist.notify_one();
    let again = followed.until(|snapshot| snapshot.listings == 2).await;
    assert_eq!(again.leases, now.leases);
}

async fn a_reservation_is_found_by_its_address_and_kept_as_one(network: impl Network) {
    let text = r#"{"PublicIP":"192.168.0.1"}"#;
    network.put(&key("10.5.77.0-24"), text).await;
    let lease = take(&network.node(), &request(v4(), 1)).await;
    assert_eq!(lease.key, key("10.5.77.0-24"));
    assert_eq!(lease.term, Term::Reserved);
    let other = take(&network.node(), &request(v4(), 2)).await;
    assert!(!keys_overlap(&other.key, &lease.key));
}

async fn what_is_missing_is_named(network: impl Network) {
    let store = network.node();
    let missing = store.config().await.unwrap_err();
    assert!(matches!(missing, StoreError::NoConfig { .. }), "{missing}");
    let config = r#"{"Network":"10.5.0.0/16"}"#;
    store.put_config(config).await.unwrap();
    assert_eq!(store.config().await.unwrap(), config);

    let lease = take(&store, &request(v4(), 1)).await;
    store.release(&lease.key).await.unwrap();
    assert!(store.list().await.unwrap().leases.is_empty());
    let gone = store.release(&lease.key).await.unwrap_err();
    assert!(matches!(gone, StoreError::NotFound(_)), "{gone}");
    assert!(gone.to_string().contains(&lease.key.to_string()), "{gone}");
}

async fn a_pool_without_a_free_subnet_is_exhausted(network: impl Network) {
    let mut pools = v4();
    pools.v4 = Some(pool("10.5.0.0/22", 24));
    for n in 1..=3 {
        take(&network.node(), &request(pools.clone(), n)).await;
    }
    let full = network.node().acquire(&request(pools, 4)).await;
    assert!(matches!(full.err(), Some(StoreError::Exhausted(_))));
}

async fn after_a_change_of_the_network_the_old_lease_goes(network: impl Network) {
    take(&network.node(), &request(v4(), 1)).await;
    let mut pools = v4();
    pools.v4 = Some(pool("10.6.0.0/16", 24));
    let new = take(&network.node(), &request(pools, 1)).await;
    let leases = network.node().list().await.unwrap().leases;
    assert_eq!(leases.keys().collect::<Vec<_>>(), [&new.key]);
}

/// Runs these for each store.
macro_rules! for_each_store {
    ($($test:ident)*) => {
        for_each_store!(memory, crate::memory::Network: $($test)*);
        for_each_store!(file, crate::file::Network: $($test)*);
        for_each_store!(etcd, crate::etcd::Network: $($test)*);
    };
    ($store:ident, $network:ty: $($test:ident)*) => {
        mod $store {
            use super::{LocalSet, Network as _};

            $(
                #[tokio::test]
                async fn $test() {
                    let play = async { super::$test(<$network>::start().await).await };
                    LocalSet::new().run_until(play).await;
                }
            )*
        }
    };
}

for_each_store! {
    nodes_get_a_subnet_each_and_find_it_again
    a_remembered_subnet_is_taken_again_when_it_is_free_and_left_to_another
    a_process_whose_address_or_backend_changes_goes_on_with_its_lease_at_once
    a_twin_takes_nothing_from_a_holder_that_lives_and_a_reinstalled_node_gets_its_own
    a_kept_lease_is_put_back_and_given_up_to_another_holder
    followers_see_leases_and_configuration_come_change_and_go
    a_reservation_is_found_by_its_address_and_kept_as_one
    what_is_missing_is_named
    a_pool_without_a_free_subnet_is_exhausted
    after_a_change_of_the_network_the_old_lease_goes
}
