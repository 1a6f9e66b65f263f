use std::sync::Arc;
use std::time::Duration;

use etcd_client::PutOptions;
use tokio::time::{Instant, sleep};
use tweed_model::lease::Term;
use tweed_model::{Lease, wire};
use tweed_store::etcd::Etcd;
use tweed_store::{Holding, LeaseStore};

use super::scene::*;
use super::server::Server;

async fn holder(server: &Server, ttl: Duration) -> (Arc<Etcd>, Lease, Kept) {
    let store = Arc::new(server.store());
    let mut request = request(v4(), 1);
    request.ttl = ttl;
    let lease = store.acquire(&request).await.unwrap();
    let mut kept = Kept::new(&store, &lease);
    kept.until_held().await;
    (store, lease, kept)
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_kept_lease_outlives_its_time_and_a_forgotten_one_does_not() {
    let server = Server::start().await;
    let (_store, lease, kept) = holder(&server, Duration::from_secs(2)).await;
    let mut client = server.client().await;
    sleep(Duration::from_secs(5)).await;
    assert!(value_of(&mut client, &lease.key).await.is_some());
    assert_eq!(*kept.standing.borrow(), Holding::Held);
    kept.die();
    let deadline = Instant::now() + SOON;
    while value_of(&mut client, &lease.key).await.is_some() {
        assert!(Instant::now() < deadline, "the lease did not run out");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn the_time_that_a_lease_has_left_is_told_and_a_reservation_has_none() {
    let server = Server::start().await;
    let (store, lease, _kept) = holder(&server, MINUTE).await;
    let mut client = server.client().await;
    let value = wire::format_attrs(&attrs(&v4(), 9));
    put(&mut client, "10.5.77.0-24", &value, 0).await;
    let left = store.time_left().await.unwrap();
    let keys: Vec<_> = left.keys().collect();
    assert_eq!(keys, [&lease.key]);
    let left = left[&lease.key];
    assert!(left > MINUTE / 2 && left <= MINUTE, "{left:?}");
}

#[tokio::test]
async fn a_deleted_key_is_reported_lost_and_taken_back() {
    let server = Server::start().await;
    let (_store, lease, mut kept) = holder(&server, MINUTE).await;
    let mut client = server.client().await;
    let mut lost = kept.standing.clone();
    let seen = tokio::spawn(async move {
        lost.wait_for(|holding| matches!(holding, Holding::Lost { .. }))
            .await
            .is_ok()
    });
    sleep(Duration::from_millis(50)).await;
    client.delete(etcd_key(&lease.key), None).await.unwrap();
    assert!(seen.await.unwrap());
    kept.until_held().await;
    assert_eq!(
        value_of(&mut client, &lease.key).await,
        Some(wire::format_attrs(&lease.attrs))
    );
    assert_ne!(etcd_lease_of(&mut client, &lease.key).await, 0);
}

#[tokio::test]
async fn a_revoked_etcd_lease_is_replaced() {
    let server = Server::start().await;
    let (_store, lease, mut kept) = holder(&server, MINUTE).await;
    let mut client = server.client().await;
    let id = etcd_lease_of(&mut client, &lease.key).await;
    kept.standing.mark_unchanged();
    client.lease_revoke(id).await.unwrap();
    kept.standing.changed().await.unwrap();
    kept.until_held().await;
    assert_ne!(etcd_lease_of(&mut client, &lease.key).await, id);
}

#[tokio::test]
async fn edited_attributes_are_restored_and_keep_their_etcd_lease() {
    let server = Server::start().await;
    let (_store, lease, _kept) = holder(&server, MINUTE).await;
    let mut client = server.client().await;
    let id = etcd_lease_of(&mut client, &lease.key).await;
    for edit in [
        r#"{"PublicIP":"192.168.0.1","PublicIPv6":null}"#,
        "broken",
        r#"{"PublicIP":"1.2.3.4"}"#,
    ] {
        let same_lease = PutOptions::new().with_ignore_lease();
        client
            .put(etcd_key(&lease.key), edit, Some(same_lease))
            .await
            .unwrap();
        let deadline = Instant::now() + SOON;
        while value_of(&mut client, &lease.key).await != Some(wire::format_attrs(&lease.attrs)) {
            assert!(Instant::now() < deadline, "{edit} was not undone");
            sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(etcd_lease_of(&mut client, &lease.key).await, id);
    }
}

#[tokio::test]
async fn an_operator_who_takes_the_end_away_makes_it_a_reservation() {
    let server = Server::start().await;
    let (store, lease, _kept) = holder(&server, MINUTE).await;
    let mut client = server.client().await;
    put(
        &mut client,
        &lease.key.to_string(),
        &wire::format_attrs(&lease.attrs),
        0,
    )
    .await;
    sleep(Duration::from_millis(300)).await;
    assert_eq!(etcd_lease_of(&mut client, &lease.key).await, 0);
    assert_eq!(
        store.acquire(&request(v4(), 1)).await.unwrap().term,
        Term::Reserved
    );
}

#[tokio::test]
async fn another_holder_takes_the_lease_away() {
    let server = Server::start().await;
    let (_store, lease, kept) = holder(&server, MINUTE).await;
    let mut client = server.client().await;
    let other = attrs(&v4(), 9);
    let id = client.lease_grant(60, None).await.unwrap().id();
    put(
        &mut client,
        &lease.key.to_string(),
        &wire::format_attrs(&other),
        id,
    )
    .await;
    let standing = kept.standing.clone();
    assert_eq!(kept.taken_by().await, other.public);
    assert_eq!(*standing.borrow(), Holding::Taken { by: other.public });
    assert_eq!(
        value_of(&mut client, &lease.key).await,
        Some(wire::format_attrs(&other)),
        "it is left alone"
    );
}

#[tokio::test]
async fn a_lease_that_ran_out_and_went_to_somebody_else_is_given_up() {
    let mut server = Server::start().await;
    let (_store, lease, kept) = holder(&server, MINUTE).await;
    // A path to the same etcd that our holder doesn't have while it is cut off: the server is away, comes back, and
    // another node is there first.
    server.stop();
    let mut kept = kept;
    kept.until(|holding| matches!(holding, Holding::Unsure { .. }))
        .await;
    kept.die();
    server.restart().await;
    let mut client = server.client().await;
    client.delete(etcd_key(&lease.key), None).await.unwrap();
    let wider = wire::format_attrs(&attrs(&v4(), 9));
    let around = lease
        .key
        .0
        .v4
        .unwrap()
        .supernet()
        .unwrap()
        .supernet()
        .unwrap();
    put(
        &mut client,
        &format!("{}-{}", around.addr(), around.prefix_len()),
        &wider,
        0,
    )
    .await;
    let returned = Kept::new(&Arc::new(server.store()), &lease);
    assert_eq!(returned.taken_by().await, attrs(&v4(), 9).public);
    assert_eq!(value_of(&mut client, &lease.key).await, None);
}

#[tokio::test]
async fn a_lease_that_ran_out_while_etcd_was_away_is_taken_back() {
    let mut server = Server::start().await;
    let (store, lease, kept) = holder(&server, Duration::from_secs(2)).await;
    kept.die();
    let mut client = server.client().await;
    while value_of(&mut client, &lease.key).await.is_some() {
        sleep(Duration::from_millis(50)).await;
    }
    server.stop();
    let mut kept = Kept::new(&store, &lease);
    let unsure = kept
        .until(|holding| matches!(holding, Holding::Unsure { reason } if reason.contains("etcd")))
        .await;
    assert!(format!("{unsure:?}").contains(&server.url()), "{unsure:?}");
    server.restart().await;
    kept.until_held().await;
    assert_eq!(
        value_of(&mut server.client().await, &lease.key).await,
        Some(wire::format_attrs(&lease.attrs))
    );
}

#[tokio::test]
async fn an_etcd_restart_leaves_the_lease_held() {
    let mut server = Server::start().await;
    let (_store, lease, mut kept) = holder(&server, MINUTE).await;
    let before = etcd_lease_of(&mut server.client().await, &lease.key).await;
    server.stop();
    kept.until(|holding| matches!(holding, Holding::Unsure { .. }))
        .await;
    server.restart().await;
    kept.until_held().await;
    let mut client = server.client().await;
    assert_eq!(etcd_lease_of(&mut client, &lease.key).await, before);
    client.delete(etcd_key(&lease.key), None).await.unwrap();
    let deadline = Instant::now() + SOON;
    while value_of(&mut client, &lease.key).await.is_none() {
        assert!(Instant::now() < deadline, "the key is no longer watched");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_lease_known_only_from_the_state_folder_is_kept_too() {
    let server = Server::start().await;
    let (_store, lease, kept) = holder(&server, MINUTE).await;
    kept.die();
    let mut restarted = Kept::new(&Arc::new(server.store()), &lease);
    restarted.until_held().await;
}

#[tokio::test]
async fn of_two_overlapping_leases_the_second_gives_way() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let first = attrs(&v4(), 9);
    put(&mut client, "10.5.8.0-22", &wire::format_attrs(&first), 0).await;
    let mine = attrs(&v4(), 1);
    put(&mut client, "10.5.9.0-24", &wire::format_attrs(&mine), 0).await;
    let lease = Lease {
        key: key("10.5.9.0-24"),
        attrs: mine,
        node: None,
        created: 2,
        term: Term::Reserved,
    };
    let kept = Kept::new(&Arc::new(server.store()), &lease);
    assert_eq!(kept.taken_by().await, first.public);
}
