//! The store in memory, where a node can be cut off.

use tweed_model::lease::Term;
use tweed_model::{Lease, SubnetKey, wire};
use tweed_store::memory::Memory;
use tweed_store::{Held, LeaseStore, StoreError};

use crate::contract;
use crate::nodes::*;

pub(crate) struct Network(Memory);

impl contract::Network for Network {
    type Store = Memory;

    async fn start() -> Self {
        Self(Memory::new())
    }

    fn node(&self) -> Memory {
        self.0.node()
    }

    async fn put(&self, key: &SubnetKey, text: &str) {
        let attrs = wire::parse_attrs(text.as_bytes()).unwrap();
        let reserved = attrs.backend_type.is_empty() && attrs.data.is_empty();
        self.0.put(Lease {
            key: *key,
            attrs,
            node: None,
            created: 0,
            term: if reserved {
                Term::Reserved
            } else {
                Term::Leased
            },
        });
    }
}

#[tokio::test]
async fn a_node_that_is_cut_off_is_unsure_until_it_is_connected_again() {
    let store = Memory::new();
    let held = store.acquire(&request(v4(), 1)).await.unwrap();
    assert_eq!(held.lease().term, Term::Leased);
    let mut kept = Kept::by(|standing| tokio::spawn(held.keep(standing)));
    kept.until_held().await;
    store.set_online(false);
    kept.until_unsure().await;
    let refused = store.list().await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))));
    assert!(store.node().list().await.is_ok());
    store.set_online(true);
    kept.until_held().await;
}
