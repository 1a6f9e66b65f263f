use std::time::Duration;

use etcd_client::PutOptions;
use tokio::time::{Instant, sleep};
use tweed_model::lease::Term;
use tweed_model::{Lease, wire};
use tweed_store::Holding;

use super::scene::*;
use super::server::Server;

async fn holder(server: &Server, ttl: Duration) -> (Lease, Kept) {
    let mut request = request(v4(), 1);
    request.ttl = ttl;
    let (lease, mut kept) = keep(&server.store(), &request).await;
    kept.until_held().await;
    (lease, kept)
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_kept_lease_outlives_its_time_and_a_forgotten_one_does_not() {
    let server = Server::start().await;
    let (lease, kept) = holder(&server, Duration::from_secs(2)).await;
    let mut client = server.client().await;
    sleep(Duration::from_secs(5)).await;
    assert!(value_of(&mut client, &lease.key).await.is_some());
    assert_eq!(*kept.standing.borrow(), Holding::Held);
    kept.die().await;
    let deadline = Instant::now() + SOON;
    while value_of(&mut client, &lease.key).await.is_some() {
        assert!(Instant::now() < deadline, "the lease did not run out");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn the_time_that_a_lease_has_left_is_told_and_a_reservation_has_none() {
    let server = Server::start().await;
    let (lease, _kept) = holder(&server, MINUTE).await;
    let mut client = server.client().await;
    let value = wire::format_attrs(&attrs(&v4(), 9));
    put(&mut client, "10.5.77.0-24", &value, 0).await;
    let left = server.store().time_left().await.unwrap();
    let keys: Vec<_> = left.keys().collect();
    assert_eq!(keys, [&lease.key]);
    let left = left[&lease.key];
    assert!(left > MINUTE / 2 && left <= MINUTE, "{left:?}");
}

#[tokio::test]
async fn a_deleted_key_is_reported_lost_and_taken_back() {
    let server = Server::start().await;
    let (lease, mut kept) = holder(&server, MINUTE).await;
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
    let (lease, mut kept) = holder(&server, MINUTE).await;
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
    let (lease, _kept) = holder(&server, MINUTE).await;
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
    let (lease, _kept) = holder(&server, MINUTE).await;
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
        take(&server.store(), &request(v4(), 1)).await.term,
        Term::Reserved
    );
}

#[tokio::test]
async fn a_lease_that_ran_out_and_went_to_somebody_else_is_given_up() {
    let mut server = Server::start().await;
    let (lease, mut kept) = holder(&server, MINUTE).await;
    // The holder is cut off: etcd runs on another port for a while, and another node is there first.
    server.stop();
    kept.until_unsure().await;
    let around = lease.key.0.v4.unwrap().supernet().unwrap();
    let wider = format!("{}-{}", around.addr(), around.prefix_len());
    let other = attrs(&v4(), 9);
    server
        .elsewhere(async |client| {
            client.delete(etcd_key(&lease.key), None).await.unwrap();
            put(client, &wider, &wire::format_attrs(&other), 0).await;
        })
        .await;
    server.restart().await;
    assert_eq!(kept.taken_by().await, other.public);
    assert_eq!(value_of(&mut server.client().await, &lease.key).await, None);
}

#[tokio::test]
async fn a_lease_that_ran_out_while_etcd_was_away_is_taken_back() {
    let mut server = Server::start().await;
    let (lease, mut kept) = holder(&server, MINUTE).await;
    server.stop();
    let unsure = kept.until_unsure().await;
    assert!(format!("{unsure:?}").contains(&server.url()), "{unsure:?}");
    server
        .elsewhere(async |client| {
            let id = etcd_lease_of(client, &lease.key).await;
            client.lease_revoke(id).await.unwrap();
        })
        .await;
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
    let (lease, mut kept) = holder(&server, MINUTE).await;
    let before = etcd_lease_of(&mut server.client().await, &lease.key).await;
    server.stop();
    kept.until_unsure().await;
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
async fn of_two_overlapping_leases_the_second_gives_way() {
    let server = Server::start().await;
    let mut client = server.client().await;
    // The wider one is there first, and comes to light when the narrower one is looked at.
    let first = attrs(&v4(), 9);
    put(&mut client, "10.5.8.0-22", "not JSON yet", 0).await;
    let mine = wire::format_attrs(&attrs(&v4(), 1));
    put(&mut client, "10.5.9.0-24", &mine, 0).await;
    let (lease, mut kept) = keep(&server.store(), &request(v4(), 1)).await;
    assert_eq!(lease.key, key("10.5.9.0-24"));
    kept.until_held().await;
    put(&mut client, "10.5.8.0-22", &wire::format_attrs(&first), 0).await;
    let edited = mine.replace("vxlan", "edited");
    client
        .put(etcd_key(&lease.key), edited, None)
        .await
        .unwrap();
    assert_eq!(kept.taken_by().await, first.public);
}
