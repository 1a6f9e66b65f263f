use std::sync::Arc;
use std::time::{Duration, Instant};

use etcd_client::{EventType, WatchOptions};
use tokio::time::timeout;
use tweed_model::lease::Term;
use tweed_model::subnet::keys_overlap;
use tweed_model::{Dual, Lease, Pool, wire};
use tweed_store::{LeaseStore, StoreError};

use super::scene::*;
use super::server::{PREFIX, Server};

#[tokio::test]
async fn a_lease_stands_in_etcd_exactly_as_flannel_writes_it() {
    let server = Server::start().await;
    let lease = server.store().acquire(&request(v4(), 1)).await.unwrap();
    let mut client = server.client().await;
    assert_eq!(
        value_of(&mut client, &lease.key).await.unwrap(),
        r#"{"PublicIP":"192.168.0.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:01"}}"#
    );
    assert_eq!(lease.term, Term::Leased);
    let id = etcd_lease_of(&mut client, &lease.key).await;
    let granted = client
        .lease_time_to_live(id, None)
        .await
        .unwrap()
        .granted_ttl();
    assert_eq!(granted, 60);
}

#[tokio::test]
async fn the_same_node_finds_its_lease_again_without_writing_anything() {
    let server = Server::start().await;
    let first = server.store().acquire(&request(v4(), 1)).await.unwrap();
    let mut client = server.client().await;
    let before = revision(&mut client).await;
    let second = server.store().acquire(&request(v4(), 1)).await.unwrap();
    let after = revision(&mut client).await;
    assert_eq!((second, after), (first, before));
}

#[tokio::test]
async fn a_subnet_remembered_from_before_is_taken_again_when_it_is_free() {
    let server = Server::start().await;
    let mut request = request(v4(), 1);
    request.previous = vec![key("10.5.200.0-24").0];
    let lease = server.store().acquire(&request).await.unwrap();
    assert_eq!(lease.key, key("10.5.200.0-24"));
}

#[tokio::test]
async fn a_remembered_subnet_that_somebody_else_holds_is_left_to_him() {
    let server = Server::start().await;
    let other = server.store().acquire(&request(v4(), 2)).await.unwrap();
    let mut request = request(v4(), 1);
    request.previous = vec![other.key.0];
    let lease = server.store().acquire(&request).await.unwrap();
    assert!(!keys_overlap(&lease.key, &other.key));
}

#[tokio::test]
async fn a_node_that_lost_its_state_gets_its_subnet_back() {
    let server = Server::start().await;
    let before = server.store().acquire(&request(v4(), 1)).await.unwrap();
    let mut reinstalled = request(v4(), 1);
    reinstalled.attrs.data.v4 = Some(mac_data(99));
    let after = server.store().acquire(&reinstalled).await.unwrap();
    assert_eq!(after.key, before.key);
    let value = value_of(&mut server.client().await, &after.key)
        .await
        .unwrap();
    assert_eq!(value, wire::format_attrs(&reinstalled.attrs));
}

#[tokio::test]
async fn a_process_whose_address_or_backend_changes_goes_on_with_its_lease_at_once() {
    let server = Server::start().await;
    let store = server.store();
    let before = store.acquire(&request(v4(), 1)).await.unwrap();
    let mut client = server.client().await;
    let id = etcd_lease_of(&mut client, &before.key).await;
    let mut moved = request(v4(), 2);
    moved.attrs.data = request(v4(), 1).attrs.data;
    let mut converted = moved.clone();
    converted.attrs.backend_type = "host-gw".into();
    converted.attrs.data.v4 = None;
    for changed in [moved, converted] {
        let start = Instant::now();
        let after = store.acquire(&changed).await.unwrap();
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "it asked somebody"
        );
        assert_eq!((after.key, &after.attrs), (before.key, &changed.attrs));
        assert_eq!(etcd_lease_of(&mut client, &after.key).await, id);
        assert_eq!(
            value_of(&mut client, &after.key).await,
            Some(wire::format_attrs(&changed.attrs))
        );
    }
}

#[tokio::test]
async fn two_nodes_behind_one_address_do_not_share_a_subnet() {
    let server = Server::start().await;
    let store = Arc::new(server.store());
    let first = store.acquire(&request(v4(), 1)).await.unwrap();
    let mut kept = Kept::new(&store, &first);
    kept.until_held().await;
    let mut twin = request(v4(), 1);
    twin.attrs.data.v4 = Some(mac_data(99));
    let started = Instant::now();
    let second = server.store().acquire(&twin).await.unwrap();
    assert!(!keys_overlap(&first.key, &second.key));
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "a live holder answers at once"
    );
    let value = value_of(&mut server.client().await, &first.key)
        .await
        .unwrap();
    assert_eq!(value, wire::format_attrs(&first.attrs));
}

#[tokio::test]
async fn a_cloned_machine_does_not_take_the_subnet_of_the_original() {
    let server = Server::start().await;
    let store = Arc::new(server.store());
    let original = store.acquire(&request(v4(), 1)).await.unwrap();
    let mut kept = Kept::new(&store, &original);
    kept.until_held().await;
    let mut clone = request(v4(), 2);
    clone.attrs.data = original.attrs.data.clone();
    clone.previous = vec![original.key.0];
    let lease = server.store().acquire(&clone).await.unwrap();
    assert!(!keys_overlap(&lease.key, &original.key));
}

#[tokio::test]
async fn a_reservation_is_kept_without_end() {
    let server = Server::start().await;
    let mut client = server.client().await;
    put(
        &mut client,
        "10.5.77.0-24",
        r#"{"PublicIP":"192.168.0.1"}"#,
        0,
    )
    .await;
    let lease = server.store().acquire(&request(v4(), 1)).await.unwrap();
    assert_eq!(
        (lease.key, lease.term),
        (key("10.5.77.0-24"), Term::Reserved)
    );
    assert_eq!(etcd_lease_of(&mut client, &lease.key).await, 0);
    let again = server.store().acquire(&request(v4(), 1)).await.unwrap();
    assert_eq!(again, lease);
    assert_eq!(
        client.leases().await.unwrap().leases().len(),
        0,
        "no etcd lease is left over"
    );
}

#[tokio::test]
async fn somebody_else_s_reservation_is_not_touched() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let mut pools = v4();
    pools.v4 = Some(pool("10.5.0.0/22", 24));
    put(
        &mut client,
        "10.5.1.0-24",
        r#"{"PublicIP":"192.168.0.9"}"#,
        0,
    )
    .await;
    put(&mut client, "10.5.3.0-24", "not JSON", 0).await;
    let lease = server.store().acquire(&request(pools, 1)).await.unwrap();
    assert_eq!(lease.key, key("10.5.2.0-24"));
    let error = server
        .store()
        .acquire(&request(pools_of(&lease), 2))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Exhausted(_)), "{error}");
}

fn pools_of(lease: &Lease) -> Dual<Pool> {
    let base = lease.key.0.v4.unwrap().addr();
    let mut pool = pool("10.5.0.0/22", 24);
    (pool.min, pool.max) = (base, base);
    Dual {
        v4: Some(pool),
        v6: None,
    }
}

#[tokio::test]
async fn after_a_change_of_the_network_the_old_lease_goes() {
    let server = Server::start().await;
    let old = server.store().acquire(&request(v4(), 1)).await.unwrap();
    let pools = Dual {
        v4: Some(pool("10.6.0.0/16", 24)),
        v6: None,
    };
    let new = server.store().acquire(&request(pools, 1)).await.unwrap();
    let leases = server.store().list().await.unwrap().leases;
    assert_eq!(leases.keys().collect::<Vec<_>>(), [&new.key]);
    assert_ne!(old.key, new.key);
}

#[tokio::test]
async fn a_node_that_goes_dual_stack_keeps_its_ipv4_subnet() {
    let server = Server::start().await;
    let before = server.store().acquire(&request(v4(), 1)).await.unwrap();
    let mut wish = request(dual(), 1);
    wish.previous = vec![before.key.0];
    let after = server.store().acquire(&wish).await.unwrap();
    assert_eq!(after.key.0.v4, before.key.0.v4);
    assert!(after.key.0.v6.is_some());
    let leases = server.store().list().await.unwrap().leases;
    assert_eq!(leases.keys().collect::<Vec<_>>(), [&after.key]);
}

#[tokio::test]
async fn watchers_see_a_replaced_lease_go_before_its_successor_comes() {
    // The other way round, a flanneld that holds both for a moment compares an IPv6 subnet with none, and ends.
    let server = Server::start().await;
    for (n, [first, second]) in [(1, [v4(), dual()]), (2, [dual(), v4()])] {
        let before = server.store().acquire(&request(first, n)).await.unwrap();
        let folder = format!("{PREFIX}/subnets/");
        let options = WatchOptions::new().with_prefix();
        let mut events = server
            .client()
            .await
            .watch(folder.clone(), Some(options))
            .await
            .unwrap();
        let mut wish = request(second, n);
        wish.previous = vec![before.key.0];
        let after = server.store().acquire(&wish).await.unwrap();
        let mut seen = Vec::new();
        while seen.len() < 2 {
            let response = timeout(SOON, events.message()).await.unwrap().unwrap();
            for event in response.unwrap().events() {
                let key = event.kv().unwrap().key_str().unwrap();
                seen.push((event.event_type(), key.replace(&folder, "")));
            }
        }
        let wanted = [
            (EventType::Delete, before.key.to_string()),
            (EventType::Put, after.key.to_string()),
        ];
        assert_eq!(seen, wanted);
    }
}

#[tokio::test]
async fn ipv6_alone_has_one_lease_a_node() {
    let server = Server::start().await;
    let first = server.store().acquire(&request(v6(), 1)).await.unwrap();
    let second = server.store().acquire(&request(v6(), 2)).await.unwrap();
    assert!(first.key.to_string().starts_with("0.0.0.0-0&fd00:5:0:"));
    assert!(!keys_overlap(&first.key, &second.key));
    assert_eq!(
        server.store().acquire(&request(v6(), 1)).await.unwrap(),
        first
    );
    let value = value_of(&mut server.client().await, &first.key)
        .await
        .unwrap();
    assert!(
        value.starts_with(r#"{"PublicIP":"0.0.0.0","PublicIPv6":"fd99::1","#),
        "{value}"
    );
}

#[tokio::test]
async fn an_equal_ipv4_subnet_under_another_ipv6_one_is_seen() {
    let server = Server::start().await;
    let mut client = server.client().await;
    // flannel guards neither family by itself.
    put(
        &mut client,
        "10.5.1.0-24&fd00:5:0:7::-64",
        r#"{"PublicIP":"192.168.0.9"}"#,
        0,
    )
    .await;
    let mut pools = dual();
    if let Some(pool) = &mut pools.v4 {
        pool.max = "10.5.2.0".parse().unwrap();
    }
    let lease = server.store().acquire(&request(pools, 1)).await.unwrap();
    assert_eq!(lease.key.0.v4, key("10.5.2.0-24").0.v4);
}

#[tokio::test]
async fn a_missing_configuration_is_reported_with_the_way_to_write_it() {
    let server = Server::start().await;
    let store = server.store();
    let error = store.config().await.unwrap_err().to_string();
    assert!(
        error.contains(&format!("{PREFIX}/config")) && error.contains("tweedd config set"),
        "{error}"
    );
    store
        .put_config(r#"{"Network":"10.5.0.0/16"}"#)
        .await
        .unwrap();
    assert_eq!(
        store.config().await.unwrap(),
        r#"{"Network":"10.5.0.0/16"}"#
    );
}

#[tokio::test]
async fn a_released_lease_is_gone_and_an_unknown_one_is_named() {
    let server = Server::start().await;
    let store = server.store();
    let lease = store.acquire(&request(v4(), 1)).await.unwrap();
    store.release(&lease.key).await.unwrap();
    assert!(store.list().await.unwrap().leases.is_empty());
    let error = store.release(&lease.key).await.unwrap_err();
    assert!(
        error.to_string().contains(&lease.key.to_string()),
        "{error}"
    );
}
