//! Many nodes that ask for a subnet at the same moment.

use std::collections::BTreeSet;

use futures::future::join_all;
use tweed_model::subnet::keys_overlap;
use tweed_model::{Dual, Pool, SubnetKey};
use tweed_store::{Held, LeaseStore};

use super::scene::*;
use super::server::Server;

/// The subnets that so many nodes get, each from its own pools.
async fn acquired(
    server: &Server,
    nodes: u16,
    pools: impl Fn(u16) -> Dual<Pool>,
) -> Vec<SubnetKey> {
    let stores: Vec<_> = (0..nodes).map(|_| server.store()).collect();
    let requests: Vec<_> = (0..nodes).map(|n| request(pools(n), n + 1)).collect();
    let asked = stores.iter().zip(&requests);
    let leases = join_all(asked.map(|(store, request)| store.acquire(request))).await;
    let leases = leases.into_iter();
    leases.map(|lease| lease.unwrap().lease().key).collect()
}

/// Twenty nodes, each with its own connection, want a lease at the same moment.
async fn stampede(pools: Dual<Pool>) -> Vec<SubnetKey> {
    let server = Server::start().await;
    let keys = acquired(&server, 20, |_| pools.clone()).await;
    let stored = server.store().list().await.unwrap().leases;
    assert_eq!(
        stored.keys().copied().collect::<BTreeSet<_>>(),
        keys.iter().copied().collect()
    );
    keys
}

fn assert_disjoint(keys: &[SubnetKey]) {
    for (index, a) in keys.iter().enumerate() {
        for b in &keys[..index] {
            assert!(!keys_overlap(a, b), "{a} and {b}");
        }
    }
}

#[tokio::test]
async fn twenty_nodes_at_once_get_twenty_subnets() {
    // Room for 31: nearly every draw collides.
    let keys = stampede(Dual {
        v4: Some(pool("10.5.0.0/19", 24)),
        v6: None,
    })
    .await;
    assert_disjoint(&keys);
}

#[tokio::test]
async fn twenty_dual_stack_nodes_at_once_share_neither_ipv4_nor_ipv6() {
    let keys = stampede(Dual {
        v4: Some(pool("10.5.0.0/19", 24)),
        v6: Some(pool("fd00:5::/59", 64)),
    })
    .await;
    assert_disjoint(&keys);
}

#[tokio::test]
async fn nodes_with_different_subnet_lengths_at_once_do_not_overlap() {
    let server = Server::start().await;
    let keys = acquired(&server, 12, |n| Dual {
        v4: Some(pool("10.5.0.0/19", 24 + (n % 3) as u8)),
        v6: None,
    })
    .await;
    assert_disjoint(&keys);
}
