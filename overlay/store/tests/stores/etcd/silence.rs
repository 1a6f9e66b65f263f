//! An etcd that says nothing any more: its process is stopped, its machine has no power, or packets are dropped.

use std::time::Duration;

use tokio::time::Instant;
use tweed_model::wire;
use tweed_store::Holding;
use tweed_store::etcd::{Etcd, EtcdOptions};

use super::relay::Relay;
use super::scene::*;
use super::server::Server;

fn attentive(options: EtcdOptions) -> EtcdOptions {
    EtcdOptions {
        pulse: Duration::from_millis(400),
        timeout: Duration::from_secs(1),
        ..options
    }
}

#[test]
fn by_default_silence_is_noticed_within_eight_seconds() {
    assert!(2 * EtcdOptions::default().pulse <= Duration::from_secs(8));
}

#[tokio::test]
async fn a_frozen_etcd_is_noticed_and_watched_again_once_it_goes_on() {
    let server = Server::start().await;
    let store = Etcd::new(attentive(server.options())).unwrap();
    let (_lease, mut kept) = keep(&store, &request(v4(), 1)).await;
    kept.until_held().await;
    let mut followed = follow(Etcd::new(attentive(server.options())).unwrap());
    followed.until(|snapshot| snapshot.in_sync).await;

    server.freeze(true);
    let began = Instant::now();
    let unsure = kept.until_unsure().await;
    assert!(began.elapsed() < Duration::from_secs(5), "too late");
    assert!(format!("{unsure:?}").contains(&server.url()), "{unsure:?}");
    let Holding::Unsure { since, .. } = unsure else {
        unreachable!()
    };
    assert!(since <= began.into_std(), "it has said nothing since");

    server.freeze(false);
    kept.until_held().await;
    let mut client = server.client().await;
    put(
        &mut client,
        "10.5.77.0-24",
        &wire::format_attrs(&attrs(&v4(), 9)),
        0,
    )
    .await;
    followed
        .until(|snapshot| snapshot.leases.contains_key(&key("10.5.77.0-24")))
        .await;
}

#[tokio::test]
async fn a_silent_member_is_passed_over_by_those_who_keep_and_those_who_follow() {
    let server = Server::start().await;
    let relay = Relay::start(&server.url()).await;
    let options = attentive(EtcdOptions {
        endpoints: vec![relay.url.clone(), server.url()],
        ..server.options()
    });
    let store = Etcd::new(options.clone()).unwrap();
    let (lease, mut kept) = keep(&store, &request(v4(), 1)).await;
    kept.until_held().await;
    let mut followed = follow(Etcd::new(options).unwrap());
    followed.until(|snapshot| snapshot.in_sync).await;

    relay.hold();
    kept.until_unsure().await;
    kept.until_held().await;
    let mut client = server.client().await;
    client.delete(etcd_key(&lease.key), None).await.unwrap();
    kept.until(|holding| matches!(holding, Holding::Lost { .. }))
        .await;
    kept.until_held().await;
    let value = wire::format_attrs(&attrs(&v4(), 9));
    put(&mut client, "10.5.77.0-24", &value, 0).await;
    followed
        .until(|snapshot| snapshot.leases.contains_key(&key("10.5.77.0-24")))
        .await;
}
