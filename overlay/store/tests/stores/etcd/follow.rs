use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Txn, TxnOp};
use tokio::time::sleep;
use tweed_model::{ClusterSnapshot, Lease, wire};
use tweed_store::LeaseStore;
use tweed_store::etcd::{Etcd, EtcdOptions};

use super::relay::Relay;
use super::scene::*;
use super::server::{PREFIX, Server};

#[tokio::test]
async fn keys_that_cannot_be_read_are_named_and_harm_nobody() {
    let server = Server::start().await;
    let lease = take(&server.store(), &request(v4(), 1)).await;
    let mut client = server.client().await;
    put(&mut client, "x", "y", 0).await;
    let mut followed = follow(server.store());
    followed
        .until(|snapshot| snapshot.broken.len() == 1 && snapshot.leases.contains_key(&lease.key))
        .await;

    put(&mut client, "10.5.99.0-24", "y", 0).await;
    put(&mut client, "10.5.99.7-24", "{}", 0).await;
    client
        .put(format!("{PREFIX}/subnets-foo"), "y", None)
        .await
        .unwrap();
    client
        .put(
            format!("{PREFIX}/subnets/10.5.98.0-24/x"),
            [0xff, 0xfe],
            None,
        )
        .await
        .unwrap();
    let snapshot = followed.until(|snapshot| snapshot.broken.len() == 4).await;
    assert_eq!(snapshot.leases.keys().collect::<Vec<_>>(), [&lease.key]);
    let reason = &snapshot.broken[&format!("{PREFIX}/subnets/10.5.99.7-24")];
    assert!(reason.contains("10.5.99.0-24"), "{reason}");

    put(
        &mut client,
        "10.5.99.0-24",
        r#"{"PublicIP":"192.168.0.9"}"#,
        0,
    )
    .await;
    client
        .delete(format!("{PREFIX}/subnets/x"), None)
        .await
        .unwrap();
    let snapshot = followed.until(|snapshot| snapshot.broken.len() == 2).await;
    assert_eq!(snapshot.leases.len(), 2);
}

#[tokio::test]
async fn the_configuration_is_followed_too() {
    let server = Server::start().await;
    let store = server.store();
    let mut followed = follow(server.store());
    followed
        .until(|snapshot| snapshot.in_sync && snapshot.config.is_none())
        .await;
    store.put_config("{}").await.unwrap();
    followed
        .until(|snapshot| snapshot.config.as_deref() == Some("{}"))
        .await;
    server
        .client()
        .await
        .delete(format!("{PREFIX}/config"), None)
        .await
        .unwrap();
    followed.until(|snapshot| snapshot.config.is_none()).await;
}

#[tokio::test]
async fn saved_peers_stay_until_the_first_list() {
    let mut server = Server::start().await;
    let lease = take(&server.store(), &request(v4(), 1)).await;
    let saved = Lease {
        key: key("10.5.250.0-24"),
        ..lease.clone()
    };
    let saved = ClusterSnapshot {
        leases: [(saved.key, saved.into())].into(),
        ..ClusterSnapshot::default()
    };
    server.stop();
    let mut followed = follow_from(server.store(), saved.clone());
    sleep(Duration::from_millis(500)).await;
    assert_eq!(**followed.snapshots.borrow(), saved);
    server.restart().await;
    let snapshot = followed.until(|snapshot| snapshot.in_sync).await;
    assert_eq!(snapshot.leases.keys().collect::<Vec<_>>(), [&lease.key]);
}

#[tokio::test]
async fn what_changed_while_etcd_was_away_and_compacted_is_seen_attributes_included() {
    let mut server = Server::start().await;
    let stays = take(&server.store(), &request(v4(), 1)).await;
    let goes = take(&server.store(), &request(v4(), 2)).await;
    let mut followed = follow(server.store());
    let before = followed.until(|snapshot| snapshot.leases.len() == 2).await;
    server.stop();
    sleep(Duration::from_millis(300)).await;
    assert!(
        Arc::ptr_eq(&before, &followed.snapshots.borrow()),
        "an outage empties nothing"
    );

    // The follower waits for this port; etcd comes up on another one first, changes and forgets, then returns.
    let moved = attrs(&v4(), 7);
    server
        .elsewhere(async |client| {
            put(
                client,
                &stays.key.to_string(),
                &wire::format_attrs(&moved),
                0,
            )
            .await;
            client.delete(etcd_key(&goes.key), None).await.unwrap();
            put(client, "10.5.250.0-24", r#"{"PublicIP":"192.168.0.50"}"#, 0).await;
            let revision = revision(client).await;
            client.compact(revision, None).await.unwrap();
        })
        .await;
    server.restart().await;
    let after = followed
        .until(|snapshot| snapshot.listings > before.listings)
        .await;
    assert_eq!(after.leases[&stays.key].attrs, moved);
    assert!(!after.leases.contains_key(&goes.key));
    assert!(after.leases.contains_key(&key("10.5.250.0-24")));
}

#[tokio::test]
async fn a_compaction_under_a_live_watch_is_not_even_noticed() {
    let server = Server::start().await;
    let mut followed = follow(server.store());
    followed.until(|snapshot| snapshot.in_sync).await;
    let mut client = server.client().await;
    for n in 0..50 {
        put(
            &mut client,
            "10.5.9.0-24",
            &wire::format_attrs(&attrs(&v4(), n)),
            0,
        )
        .await;
    }
    let revision = revision(&mut client).await;
    client.compact(revision, None).await.unwrap();
    put(
        &mut client,
        "10.5.10.0-24",
        r#"{"PublicIP":"192.168.0.50"}"#,
        0,
    )
    .await;
    let snapshot = followed.until(|snapshot| snapshot.leases.len() == 2).await;
    assert_eq!(snapshot.listings, 1);
    assert_eq!(snapshot.leases[&key("10.5.9.0-24")].attrs, attrs(&v4(), 49));
}

#[tokio::test]
async fn a_thousand_leases_in_one_go_arrive_whole() {
    let server = Server::start().await;
    let mut followed = follow(server.store());
    followed.until(|snapshot| snapshot.in_sync).await;
    let mut client = server.client().await;
    for block in 0..10u8 {
        let puts: Vec<_> = (0..100u8)
            .map(|n| {
                let key = format!("{PREFIX}/subnets/10.{}.{n}.0-24", block + 10);
                TxnOp::put(key, wire::format_attrs(&attrs(&v4(), u16::from(n))), None)
            })
            .collect();
        client.txn(Txn::new().and_then(puts)).await.unwrap();
    }
    let snapshot = followed
        .until(|snapshot| snapshot.leases.len() == 1000)
        .await;
    assert_eq!(snapshot.leases, server.store().list().await.unwrap().leases);
}

#[tokio::test]
async fn a_watch_that_starts_below_a_compaction_leads_to_a_fresh_list() {
    let server = Server::start().await;
    let stays = take(&server.store(), &request(v4(), 1)).await;
    let goes = take(&server.store(), &request(v4(), 2)).await;
    // The list is long enough to be told from everything else; behind it the way to etcd is shut, so that the watch
    // arrives late.
    server
        .store()
        .put_config(&"x".repeat(30_000))
        .await
        .unwrap();
    let relay = Relay::shutting_after(&server.url(), 30_000).await;
    let options = EtcdOptions {
        endpoints: vec![relay.url.clone()],
        ..server.options()
    };
    let mut followed = follow(Etcd::new(options).unwrap());
    relay.shut().await;
    followed.until(|snapshot| snapshot.leases.len() == 2).await;

    let mut client = server.client().await;
    let moved = attrs(&v4(), 7);
    put(
        &mut client,
        &stays.key.to_string(),
        &wire::format_attrs(&moved),
        0,
    )
    .await;
    client.delete(etcd_key(&goes.key), None).await.unwrap();
    let revision = revision(&mut client).await;
    client.compact(revision, None).await.unwrap();
    relay.open();
    let after = followed.until(|snapshot| snapshot.listings == 2).await;
    assert_eq!(after.leases.keys().collect::<Vec<_>>(), [&stays.key]);
    assert_eq!(after.leases[&stays.key].attrs, moved);
}

#[tokio::test]
async fn a_lease_that_is_written_again_unchanged_is_no_news() {
    let server = Server::start().await;
    let lease = take(&server.store(), &request(v4(), 1)).await;
    let mut followed = follow(server.store());
    let before = followed.until(|snapshot| snapshot.leases.len() == 1).await;
    let mut client = server.client().await;
    let id = client.lease_grant(60, None).await.unwrap().id();
    put(
        &mut client,
        &lease.key.to_string(),
        &wire::format_attrs(&lease.attrs),
        id,
    )
    .await;
    sleep(Duration::from_millis(300)).await;
    assert!(Arc::ptr_eq(&before, &followed.snapshots.borrow()));
}

#[tokio::test]
async fn all_leases_are_listed_afresh_now_and_then_whatever_the_watch_says() {
    let server = Server::start().await;
    let store = Etcd::new(EtcdOptions {
        relist: Duration::from_millis(300),
        ..server.options()
    });
    let mut followed = follow(store.unwrap());
    followed.until(|snapshot| snapshot.listings >= 3).await;
}

#[tokio::test]
async fn after_many_bytes_of_changes_all_is_listed_anew() {
    let server = Server::start().await;
    let mut followed = follow(server.store());
    let first = followed.until(|snapshot| snapshot.in_sync).await.listings;
    let mut client = server.client().await;
    for number in 0..17 {
        let huge = format!("{number:02}{}", "x".repeat(1 << 20));
        put(&mut client, "x", &huge, 0).await;
    }
    followed
        .until(|snapshot| snapshot.listings > first && snapshot.broken.len() == 1)
        .await;
}

#[tokio::test]
async fn more_entries_than_any_network_has_nodes_are_no_list() {
    let server = Server::start().await;
    let store = server.store();
    let mut client = server.client().await;
    let key = |number: usize| format!("{PREFIX}/subnets/z{number:06}");
    for first in (0..=1 << 17).step_by(128) {
        let puts = (first..first + 128).map(|number| TxnOp::put(key(number), "", None));
        let all = Txn::new().and_then(puts.collect::<Vec<_>>());
        client.txn(all).await.unwrap();
    }
    let error = store.list().await.unwrap_err().to_string();
    assert!(error.contains("more than 131072 entries"), "{error}");
}
