//! Many nodes that ask for a subnet at the same moment.

use std::collections::BTreeSet;

use futures::future::join_all;
use tweed_model::subnet::keys_overlap;
use tweed_model::{Dual, Pool, SubnetKey};
use tweed_store::{Held, LeaseStore};

use super::scene::*;
use super::server::Server;

/// Twenty nodes, each with its own connection, want a lease at the same moment.
async fn stampede(pools: Dual<Pool>) -> Vec<SubnetKey> {
    let server = Server::start().await;
    let stores: Vec<_> = (0..20).map(|_| server.store()).collect();
    let requests: Vec<_> = (0..20).map(|n| request(pools.clone(), n + 1)).collect();
    let leases = join_all(
        stores
            .iter()
            .zip(&requests)
            .map(|(store, request)| store.acquire(request)),
    )
    .await;
    let keys: Vec<_> = leases
        .into_iter()
        .map(|lease| lease.unwrap().lease().key)
        .collect();
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
    let stores: Vec<_> = (0..12).map(|_| server.store()).collect();
    let requests: Vec<_> = (0..12u16)
        .map(|n| {
            request(
                Dual {
                    v4: Some(pool("10.5.0.0/19", 24 + (n % 3) as u8)),
                    v6: None,
                },
                n + 1,
            )
        })
        .collect();
    let leases = join_all(
        stores
            .iter()
            .zip(&requests)
            .map(|(store, request)| store.acquire(request)),
    )
    .await;
    let keys: Vec<_> = leases
        .into_iter()
        .map(|lease| lease.unwrap().lease().key)
        .collect();
    assert_disjoint(&keys);
}
