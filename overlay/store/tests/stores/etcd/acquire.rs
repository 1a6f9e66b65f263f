use etcd_client::{EventType, WatchOptions};
use tokio::time::timeout;
use tweed_model::lease::Term;
use tweed_model::subnet::keys_overlap;
use tweed_model::{Dual, Lease, Pool};
use tweed_store::{LeaseStore, StoreError};

use super::scene::*;
use super::server::{PREFIX, Server};

#[tokio::test]
async fn a_lease_stands_in_etcd_exactly_as_flannel_writes_it() {
    let server = Server::start().await;
    let lease = take(&server.store(), &request(v4(), 1)).await;
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
    let first = take(&server.store(), &request(v4(), 1)).await;
    let mut client = server.client().await;
    let before = revision(&mut client).await;
    let second = take(&server.store(), &request(v4(), 1)).await;
    let after = revision(&mut client).await;
    assert_eq!((second, after), (first, before));
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
    let lease = take(&server.store(), &request(v4(), 1)).await;
    assert_eq!(
        (lease.key, lease.term),
        (key("10.5.77.0-24"), Term::Reserved)
    );
    assert_eq!(etcd_lease_of(&mut client, &lease.key).await, 0);
    let again = take(&server.store(), &request(v4(), 1)).await;
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
    let lease = take(&server.store(), &request(pools, 1)).await;
    assert_eq!(lease.key, key("10.5.2.0-24"));
    let error = server
        .store()
        .acquire(&request(pools_of(&lease), 2))
        .await
        .err()
        .unwrap();
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
async fn a_node_that_goes_dual_stack_keeps_its_ipv4_subnet() {
    let server = Server::start().await;
    let before = take(&server.store(), &request(v4(), 1)).await;
    let mut wish = request(dual(), 1);
    wish.previous = vec![before.key.0];
    let after = take(&server.store(), &wish).await;
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
        let before = take(&server.store(), &request(first, n)).await;
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
        let after = take(&server.store(), &wish).await;
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
    let first = take(&server.store(), &request(v6(), 1)).await;
    let second = take(&server.store(), &request(v6(), 2)).await;
    assert!(first.key.to_string().starts_with("0.0.0.0-0&fd00:5:0:"));
    assert!(!keys_overlap(&first.key, &second.key));
    assert_eq!(take(&server.store(), &request(v6(), 1)).await, first);
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
    let lease = take(&server.store(), &request(pools, 1)).await;
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
